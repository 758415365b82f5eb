/*
 * Names and the order of their addresses.
 */
#include "client/addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "client/outcome.h"

enum { PATIENCE_MAX = 1000 }; /* seconds; no resolver waits longer */

/* ---- the system's resolver ---- */

/*
 * getaddrinfo knows no deadline (its limits are those of resolv.conf) and cannot be cancelled. So,
 * with a deadline, a thread calls it, and writes the answer to a pipe. One that is too late finds
 * nobody there and ends.
 */
struct lookup {
    int fd; /* owned: of the pipe */
    int seconds_left; /* at the beginning, rounded up */
    char host[sizeof(((struct addr *)NULL)->host)];
    uint16_t port;
};

struct answer {
    int n; /* as an arb_resolver returns */
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

/* glibc keeps the resolver's limits a thread: this one need not ask longer than is waited for. */
static void limit_patience(int seconds)
{
    if (res_init() == 0 && _res.retrans >= seconds) {
        _res.retrans = seconds;
        _res.retry = 1;
    }
}

static size_t answer_size(const struct answer *a)
{
    return offsetof(struct answer, found) + (size_t)MAX(a->n, 0) * sizeof(a->found[0]);
}

/* Owns @arg. */
static void *resolve_thread(void *arg)
{
    struct lookup *l = arg;
    struct answer a = {0};

    limit_patience(l->seconds_left);
    a.n = ask_system(l->host, l->port, a.found, ADDRESSES_MAX);
    fds_write_all(l->fd, &a, answer_size(&a));
    close(l->fd);
    free(l);
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

static int read_answer(int fd, uint64_t deadline_ns, struct answer *ret)
{
    size_t len = 0;

    ret->n = 0;
    while (len < sizeof(ret->n) || len < answer_size(ret)) {
        int rc = deadline_poll(fd, POLLIN, deadline_ns);
        ssize_t n = rc ? -1 : read(fd, (char *)ret + len, sizeof(*ret) - len);

        if (rc)
            return rc == ARB_TIMEOUT ? -ETIMEDOUT : rc;
        if (n <= 0)
            return -EIO;
        len += (size_t)n;
    }
    return ret->n;
}

static int resolve_in_time(const struct addr *a, uint64_t deadline_ns, struct answer *ret)
{
    struct lookup *l = calloc(1, sizeof(*l));
    uint64_t now_ns = clock_mono_ns();
    uint64_t seconds = deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000000u : 0;
    int ends[2], rc = l ? 0 : -ENOMEM;
    pthread_t thread;

    if (rc == 0 && pipe2(ends, O_CLOEXEC) < 0)
        rc = -errno;
    if (rc) {
        free(l);
        return rc;
    }
    *l = (struct lookup){.fd = ends[1],
                         .seconds_left = (int)MIN(seconds, (uint64_t)PATIENCE_MAX) + 1,
                         .port = a->port};
    memcpy(l->host, a->host, sizeof(l->host));
    rc = start_thread(l, &thread);
    if (rc) {
        close(ends[1]);
        free(l);
    } else {
        rc = read_answer(ends[0], deadline_ns, ret);
        if (rc == -ETIMEDOUT)
            pthread_detach(thread);
        else
            pthread_join(thread, NULL);
    }
    close(ends[0]);
    return rc;
}

int addresses_resolve(const struct addr *a, uint64_t deadline_ns, struct arb_address *ret)
{
    struct answer answer;
    int rc;

    if (deadline_ns == DEADLINE_NEVER)
        return ask_system(a->host, a->port, ret, ADDRESSES_MAX);
    rc = resolve_in_time(a, deadline_ns, &answer);
    if (rc > 0)
        memcpy(ret, answer.found, (size_t)rc * sizeof(*ret));
    return rc;
}

/* ---- the order of addresses ---- */

static int loopback(uint16_t port, struct arb_address *ret)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v6.sin6_addr = in6addr_loopback;
    memcpy(&ret[0].sa, &v4, sizeof(v4));
    ret[0].len = sizeof(v4);
    memcpy(&ret[1].sa, &v6, sizeof(v6));
    ret[1].len = sizeof(v6);
    return 2;
}

static bool is_like_first(const struct addresses *from, int i)
{
    return from->all[i].sa.ss_family == from->all[0].sa.ss_family;
}

/* The first one's family and the others take turns, each in its own order. */
static void interleave(const struct addresses *from, struct addresses *ret)
{
    int next[2] = {0, 0}; /* of the others, of the first one's family */
    bool turn = true;

    for (ret->n = 0; ret->n < from->n; turn = !turn) {
        int *i = &next[turn];

        while (*i < from->n && is_like_first(from, *i) != turn)
            (*i)++;
        if (*i < from->n)
            ret->all[ret->n++] = from->all[(*i)++];
    }
}

int addresses_find(const struct addr *a, arb_resolver *resolver, void *userdata,
                   uint64_t deadline_ns, struct addresses *ret)
{
    struct addresses found = {0};
    int n = 1;

    if (a->kind == ADDR_ANY)
        n = loopback(a->port, found.all);
    else if (a->kind == ADDR_HOST && resolver)
        n = resolver(userdata, a->host, a->port, found.all, ADDRESSES_MAX);
    else if (a->kind == ADDR_HOST)
        n = addresses_resolve(a, deadline_ns, found.all);
    else if ((n = addr_to_sockaddr(a, &found.all[0].sa, &found.all[0].len)) == 0)
        n = 1;
    if (n <= 0)
        return n == 0 ? ARB_UNRESOLVED : n == -EAGAIN ? ARB_NO_RESOLVER : outcome_of(-n);
    found.n = n;
    interleave(&found, ret);
    return 0;
}
