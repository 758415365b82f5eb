/*
 * The system's resolver, within a deadline. getaddrinfo knows none (its limits are those of
 * resolv.conf), so with a deadline it runs in a thread that is left behind if it takes too long;
 * it ends and frees its part when the system's limits do.
 */
#include "client/dial.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"

/* Shared by the caller and the thread; whoever lets go last frees it. */
struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t is_answered;
    unsigned n_holders;
    bool has_answer;
    char host[sizeof(((struct addr *)0)->host)];
    uint16_t port;
    int n; /* as dial_resolve returns */
    struct arb_address found[ADDRESSES_MAX];
};

/* Called with the lock, gives it back. */
static void let_go(struct lookup *l)
{
    bool is_last = --l->n_holders == 0;

    pthread_mutex_unlock(&l->lock);
    if (!is_last)
        return;
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->is_answered);
    free(l);
}

static void *resolve_thread(void *arg)
{
    struct lookup *l = arg;
    int n = addresses_resolve(NULL, l->host, l->port, l->found, ADDRESSES_MAX);

    pthread_mutex_lock(&l->lock);
    l->n = n;
    l->has_answer = true;
    pthread_cond_signal(&l->is_answered);
    let_go(l);
    return NULL;
}

/* No signal of the caller's process may be handled in the thread. Returns 0 or -errno. */
static int start_thread(struct lookup *l)
{
    sigset_t all, old;
    pthread_t thread;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, NULL, resolve_thread, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        pthread_detach(thread);
    return -rc;
}

static struct lookup *lookup_new(const char *host, uint16_t port)
{
    struct lookup *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->is_answered, NULL);
    snprintf(l->host, sizeof(l->host), "%s", host);
    l->port = port;
    l->n_holders = 2;
    return l;
}

int dial_resolve(const char *host, uint16_t port, uint64_t deadline_ns, struct arb_address *ret,
                 int max)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    struct lookup *l;
    int rc;

    if (deadline_ns == DIAL_FOREVER)
        return addresses_resolve(NULL, host, port, ret, max);
    l = lookup_new(host, port);
    if (!l)
        return -ENOMEM;
    rc = start_thread(l);
    pthread_mutex_lock(&l->lock);
    if (rc < 0)
        l->n_holders--;
    while (rc == 0 && !l->has_answer)
        rc = -pthread_cond_clockwait(&l->is_answered, &l->lock, CLOCK_MONOTONIC, &until);
    if (l->has_answer) {
        rc = MIN(l->n, max);
        for (int i = 0; i < rc; i++)
            ret[i] = l->found[i];
    }
    let_go(l);
    return rc;
}
