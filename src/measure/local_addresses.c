/*
 * The kernel says which address leads to the peer, and the interface which others it has.
 */
#include "measure/local_addresses.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORTS_DEFAULT = 28232 };

/* Seven of ten ports: other programs need some, and a closed connection keeps its port for a while.
 */
static unsigned ports_of_an_address(void)
{
    unsigned low = 0, high = 0, n = PORTS_DEFAULT;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

    if (f && fscanf(f, "%u %u", &low, &high) == 2 && high >= low)
        n = high - low + 1;
    if (f)
        fclose(f);
    return n > 1 ? n * 7 / 10 : 1;
}

/* The address that the system would choose: connecting a datagram socket sends nothing. */
static bool find_own(const struct arb_address *to, struct sockaddr_storage *ret)
{
    int fd = socket(to->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*ret);
    bool is_found;

    if (fd < 0)
        return false;
    is_found = connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0 &&
               getsockname(fd, (struct sockaddr *)ret, &len) == 0;
    close(fd);
    return is_found;
}

static bool is_same(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (!a || a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                              &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr);
}

/* Addresses of 127.0.0.0/8 or of a link reach no other machine. */
static bool is_of_use(const struct sockaddr *sa, sa_family_t family)
{
    if (!sa || sa->sa_family != family)
        return false;
    if (family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 != 127;
    return !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr) &&
           !IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

static void add(struct local_addresses *s, const struct sockaddr *sa)
{
    struct arb_address *a = &s->all[s->n++];

    memset(a, 0, sizeof(*a));
    a->len = sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    memcpy(&a->sa, sa, a->len);
}

static void find_interface(const struct sockaddr_storage *own, struct local_addresses *ret)
{
    struct ifaddrs *all = NULL, *of = NULL;

    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i && !of; i = i->ifa_next)
        if (is_same(i->ifa_addr, own))
            of = i;
    for (struct ifaddrs *i = all; of && i && ret->n < LOCAL_ADDRESSES_MAX; i = i->ifa_next)
        if (strcmp(i->ifa_name, of->ifa_name) == 0 && is_of_use(i->ifa_addr, own->ss_family))
            add(ret, i->ifa_addr);
    freeifaddrs(all);
}

static bool is_loopback_v4(const struct arb_address *to)
{
    const struct sockaddr_in *sin = (const void *)&to->sa;

    return to->sa.ss_family == AF_INET && ntohl(sin->sin_addr.s_addr) >> 24 == 127;
}

static void add_loopback(struct local_addresses *s)
{
    for (unsigned i = 0; i < LOCAL_ADDRESSES_MAX; i++) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000101u + i)};

        add(s, (const struct sockaddr *)&sin);
    }
}

void local_addresses_find(const struct arb_address *to, struct local_addresses *ret)
{
    struct sockaddr_storage own;

    *ret = (struct local_addresses){.ports = ports_of_an_address()};
    if (is_loopback_v4(to))
        add_loopback(ret);
    else if ((to->sa.ss_family == AF_INET || to->sa.ss_family == AF_INET6) && find_own(to, &own))
        find_interface(&own, ret);
}

void local_addresses_of_loopback(const struct arb_address *to, unsigned first,
                                 struct local_addresses *ret)
{
    *ret = (struct local_addresses){.ports = 1, .at = first % LOCAL_ADDRESSES_MAX + 1};
    if (is_loopback_v4(to))
        add_loopback(ret);
}
