/*
 * Names and the order of their addresses.
 */
#include "client/addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "client/outcome.h"
#include "client/resolve.h"

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
        n = resolve(a->host, a->port, deadline_ns, found.all, ADDRESSES_MAX);
    else if ((n = addr_to_sockaddr(a, &found.all[0].sa, &found.all[0].len)) == 0)
        n = 1;
    if (n <= 0)
        return n == 0 ? ARB_UNRESOLVED : n == -EAGAIN ? ARB_NO_RESOLVER : outcome_of(-n);
    found.n = n;
    interleave(&found, ret);
    return 0;
}
