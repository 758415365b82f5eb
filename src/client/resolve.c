/*
 * getaddrinfo knows no deadline (its limits are those of resolv.conf) and cannot be cancelled. So,
 * with a deadline, a thread calls it; one whose answer comes too late drops it and ends.
 */
#include "client/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "client/addresses.h"
#include "client/deadlines.h"

enum { PATIENCE_MAX = 1000 }; /* seconds; no resolver waits longer */

/* Shared by the caller and the thread; whoever lets go last frees it. */
struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t is_answered;
    unsigned n_holders;
    bool has_answer;
    int seconds_left; /* at the beginning, rounded up */
    char host[sizeof(((struct addr *)0)->host)];
    uint16_t port;
    int n; /* as resolve returns */
    struct arb_address found[ADDRESSES_MAX];
};

static int ask_system(const char *host, uint16_t port, struct arb_address *ret, int max)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    char service[8];
    int rc, n = 0;

    snprintf(service, sizeof(service), "%hu", port);
    hints.ai_flags = AI_NUMERICSERV;
    rc = getaddrinfo(host, service, &hints, &all);
    if (rc == EAI_MEMORY)
        return -ENOMEM;
    if (rc == EAI_SYSTEM)
        return errno ? -errno : -EIO;
    if (rc == EAI_AGAIN)
        return -EAGAIN;
    if (rc != 0)
        return 0;
    for (struct addrinfo *ai = all; ai && n < max; ai = ai->ai_next) {
        if (ai->ai_addrlen > sizeof(ret[n].sa))
            continue;
        memcpy(&ret[n].sa, ai->ai_addr, ai->ai_addrlen);
        ret[n++].len = ai->ai_addrlen;
    }
    freeaddrinfo(all);
    return n;
}

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

/* glibc keeps the resolver's limits a thread: this one need not ask longer than is waited for. */
static void limit_patience(int seconds)
{
    if (res_init() == 0 && _res.retrans >= seconds) {
        _res.retrans = seconds;
        _res.retry = 1;
    }
}

static void *resolve_thread(void *arg)
{
    struct lookup *l = arg;
    int n;

    limit_patience(l->seconds_left);
    n = ask_system(l->host, l->port, l->found, ADDRESSES_MAX);
    pthread_mutex_lock(&l->lock);
    l->n = n;
    l->has_answer = true;
    pthread_cond_signal(&l->is_answered);
    let_go(l);
    return NULL;
}

/* No signal of the caller's process may be handled in the thread. Returns 0 or -errno. */
static int start_thread(struct lookup *l, pthread_t *ret)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(ret, NULL, resolve_thread, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

static struct lookup *lookup_new(const char *host, uint16_t port, uint64_t deadline_ns)
{
    struct lookup *l = calloc(1, sizeof(*l));
    uint64_t now_ns = clock_mono_ns();
    uint64_t seconds = deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000000u : 0;

    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->is_answered, NULL);
    snprintf(l->host, sizeof(l->host), "%s", host);
    l->port = port;
    l->n_holders = 1;
    l->seconds_left = seconds < PATIENCE_MAX ? (int)seconds + 1 : PATIENCE_MAX;
    return l;
}

/* Returns as resolve; the thread is gone, or it is detached. */
static int wait_for(struct lookup *l, pthread_t thread, const struct timespec *until)
{
    int rc = 0;

    while (rc == 0 && !l->has_answer)
        rc = pthread_cond_clockwait(&l->is_answered, &l->lock, CLOCK_MONOTONIC, until);
    if (!l->has_answer) {
        pthread_detach(thread);
        return -rc;
    }
    pthread_mutex_unlock(&l->lock);
    pthread_join(thread, NULL);
    pthread_mutex_lock(&l->lock);
    return l->n;
}

int resolve(const char *host, uint16_t port, uint64_t deadline_ns, struct arb_address *ret, int max)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    struct lookup *l;
    pthread_t thread;
    int rc;

    if (deadline_ns == DEADLINE_NEVER)
        return ask_system(host, port, ret, max);
    l = lookup_new(host, port, deadline_ns);
    if (!l)
        return -ENOMEM;
    pthread_mutex_lock(&l->lock);
    rc = start_thread(l, &thread);
    if (rc == 0) {
        l->n_holders++;
        rc = wait_for(l, thread, &until);
    }
    if (rc > max)
        rc = max;
    for (int i = 0; i < rc; i++)
        ret[i] = l->found[i];
    let_go(l);
    return rc;
}
