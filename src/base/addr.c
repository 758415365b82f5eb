/*
 * Addresses as people write them. Pure text and structs, except that the name of an interface
 * ("%eth0") is looked up when a v6 address has one.
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/num.h"
#include "base/util.h"

#define FORMS "write HOST:PORT, [V6]:PORT, :PORT or unix:PATH"

#define NAME_CHARACTERS "-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum { NAME_MAX_LEN = 253, LABEL_MAX_LEN = 63 };

static int parse_unix(const char *path, struct addr *a, const char **why)
{
    size_t len = strlen(path);
    *why = "the path after unix: is empty; " FORMS;
    if (len == 0)
        return -EINVAL;
    *why = "abstract sockets (unix:@NAME) are not supported; write unix:PATH";
    if (path[0] == '@')
        return -EINVAL;
    *why = "the path of a unix socket may have at most 107 bytes";
    if (len >= sizeof(a->path))
        return -EINVAL;
    *why = "the path of a unix socket may not hold control characters";
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
            return -EINVAL;
    }
    a->kind = ADDR_UNIX;
    memcpy(a->path, path, len + 1);
    return 0;
}

static int parse_port(const char *text, struct addr *a, const char **why)
{
    uint64_t port;
    *why = "the port is missing; " FORMS;
    if (*text == '\0')
        return -EINVAL;
    *why = "the port must be a whole number from 0 (any free one, to listen on) to 65535";
    if (strlen(text) > 5 || num_parse_u64(text, 0, 65535, &port) != 0)
        return -EINVAL;
    a->port = (uint16_t)port;
    return 0;
}

static int parse_v6(const char *text, struct addr *a, const char **why)
{
    *why = "a v6 address is written [V6]:PORT, for example [::1]:8060";
    const char *end = strchr(text, ']');
    size_t len = end ? (size_t)(end - text - 1) : 0;
    if (len == 0 || len >= sizeof(a->host) || end[1] != ':')
        return -EINVAL;
    memcpy(a->host, text + 1, len);
    a->host[len] = '\0';

    char digits[sizeof(a->host)];
    memcpy(digits, a->host, len + 1);
    char *scope = strchr(digits, '%');
    if (scope) {
        *scope++ = '\0';
        *why = "the scope after % must be the name or number of an interface";
        size_t scope_len = strlen(scope);
        if (scope_len == 0 || scope_len >= IF_NAMESIZE ||
            scope[strspn(scope, NAME_CHARACTERS "._")] != '\0')
            return -EINVAL;
    }
    struct in6_addr in6;
    *why = "what is in the brackets is no v6 address";
    if (inet_pton(AF_INET6, digits, &in6) != 1)
        return -EINVAL;
    a->kind = ADDR_INET6;
    return parse_port(end + 2, a, why);
}

/* A last label of digits only would be read as an old form of a v4 address ("127.1", "0x7f.1"). */
static bool is_numeric_label(const char *label, size_t len)
{
    if (len > 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
        return strspn(label + 2, "0123456789abcdefABCDEF") >= len - 2;
    return strspn(label, "0123456789") >= len;
}

/* RFC 1123: labels of letters, digits and inner hyphens; one dot at the end is allowed. */
static int check_name(const char *name, const char **why)
{
    const char *label = name, *end = name + strlen(name);
    size_t len;

    *why = "a host name has letters, digits, hyphens and dots, 63 bytes a label, 253 in all";
    if (end > name && end[-1] == '.')
        end--;
    if (end > name + NAME_MAX_LEN)
        return -EINVAL;
    for (;; label += len + 1) {
        len = strspn(label, NAME_CHARACTERS);
        if (len == 0 || len > LABEL_MAX_LEN || label[0] == '-' || label[len - 1] == '-')
            return -EINVAL;
        if (label + len == end)
            break;
        if (label[len] != '.')
            return -EINVAL;
    }
    *why = "a v4 address is four numbers from 0 to 255, for example 127.0.0.1";
    return is_numeric_label(label, len) ? -EINVAL : 0;
}

static int parse_host(const char *text, struct addr *a, const char **why)
{
    const char *colon = strchr(text, ':');
    *why = "an address has no scheme before it and no path behind it; " FORMS;
    if (strstr(text, "://"))
        return -EINVAL;
    *why = "the port is missing; " FORMS;
    if (!colon)
        return -EINVAL;
    *why = "a v6 address needs brackets: [V6]:PORT, for example [::1]:8060";
    if (strchr(colon + 1, ':'))
        return -EINVAL;
    size_t len = (size_t)(colon - text);
    if (len == 0) {
        a->kind = ADDR_ANY;
        return parse_port(colon + 1, a, why);
    }
    *why = "for all interfaces write :PORT, without the *";
    if (len == 1 && text[0] == '*')
        return -EINVAL;
    *why = "the host name is too long: at most 253 bytes";
    if (len >= sizeof(a->host))
        return -EINVAL;
    memcpy(a->host, text, len);
    a->host[len] = '\0';

    struct in_addr in;
    if (inet_pton(AF_INET, a->host, &in) == 1)
        a->kind = ADDR_INET;
    else if (check_name(a->host, why) == 0)
        a->kind = ADDR_HOST;
    else
        return -EINVAL;
    return parse_port(colon + 1, a, why);
}

int addr_parse(const char *text, struct addr *ret, const char **ret_why)
{
    struct addr a;
    const char *why;
    int r;

    memset(&a, 0, sizeof(a));
    if (*text == '\0') {
        why = "the address is empty; " FORMS;
        r = -EINVAL;
    } else if (strncmp(text, "unix:", 5) == 0) {
        r = parse_unix(text + 5, &a, &why);
    } else if (text[0] == '[') {
        r = parse_v6(text, &a, &why);
    } else {
        r = parse_host(text, &a, &why);
    }
    if (r < 0)
        *ret_why = why;
    else
        *ret = a;
    return r;
}

static int v6_to_sockaddr(const struct addr *a, struct sockaddr_in6 *sin6)
{
    char digits[sizeof(a->host)];
    memcpy(digits, a->host, sizeof(digits));
    char *scope = strchr(digits, '%');
    if (scope) {
        uint64_t index;
        *scope++ = '\0';
        if (num_parse_u64(scope, 0, UINT32_MAX, &index) != 0)
            index = if_nametoindex(scope);
        if (index == 0)
            return -ENODEV;
        sin6->sin6_scope_id = (uint32_t)index;
    }
    if (inet_pton(AF_INET6, digits, &sin6->sin6_addr) != 1)
        return -EINVAL;
    return 0;
}

int addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    union {
        struct sockaddr_storage any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } sa;
    socklen_t len = 0;
    const char *v4 = a->host;

    memset(&sa, 0, sizeof(sa));
    switch (a->kind) {
    case ADDR_HOST:
        if (strcasecmp(a->host, "localhost") != 0)
            return -EINVAL;
        v4 = "127.0.0.1";
        /* fall through */
    case ADDR_INET:
        sa.in.sin_family = AF_INET;
        sa.in.sin_port = htons(a->port);
        if (inet_pton(AF_INET, v4, &sa.in.sin_addr) != 1)
            return -EINVAL;
        len = sizeof(sa.in);
        break;
    case ADDR_INET6:
    case ADDR_ANY:
        sa.in6.sin6_family = AF_INET6;
        sa.in6.sin6_port = htons(a->port);
        int r = a->kind == ADDR_INET6 ? v6_to_sockaddr(a, &sa.in6) : 0;
        if (r < 0)
            return r;
        len = sizeof(sa.in6);
        break;
    case ADDR_UNIX:
        sa.un.sun_family = AF_UNIX;
        memcpy(sa.un.sun_path, a->path, sizeof(a->path));
        len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a->path) + 1);
        break;
    default:
        return -EINVAL;
    }
    *ret = sa.any;
    *ret_len = len;
    return 0;
}

static void format_unix(const struct sockaddr_un *un, socklen_t len, char *buf)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t n = len > head ? len - head : 0;
    if (n > sizeof(un->sun_path))
        n = sizeof(un->sun_path);
    /* An abstract name begins with NUL and may hold more of them; a path ends at the first. */
    bool is_abstract = n > 0 && un->sun_path[0] == '\0';
    if (!is_abstract)
        n = strnlen(un->sun_path, n);
    char *p = stpcpy(buf, "unix:");
    for (size_t i = 0; i < n; i++)
        *p++ = un->sun_path[i] == '\0' ? '@' : un->sun_path[i];
    *p = '\0';
}

static bool is_wildcard(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET)
        return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

bool addr_conflicts(const struct addr *a, const struct addr *b)
{
    struct sockaddr_storage x, y;
    socklen_t x_len, y_len;

    if (a->kind == ADDR_UNIX || b->kind == ADDR_UNIX)
        return a->kind == b->kind && strcmp(a->path, b->path) == 0;
    if (a->port != b->port || a->port == 0)
        return false;
    if (a->kind == ADDR_ANY || b->kind == ADDR_ANY)
        return true;
    if (addr_to_sockaddr(a, &x, &x_len) < 0 || addr_to_sockaddr(b, &y, &y_len) < 0 ||
        x.ss_family != y.ss_family)
        return false;
    return is_wildcard(&x) || is_wildcard(&y) || memcmp(&x, &y, x_len) == 0;
}

char *addr_format(const struct sockaddr *sa, socklen_t len, char *buf)
{
    char host[INET6_ADDRSTRLEN] = "?";
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (sa->sa_family == AF_INET && len >= sizeof(in)) {
        memcpy(&in, sa, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        snprintf(buf, ADDR_TEXT_LEN, "%s:%u", host, ntohs(in.sin_port));
    } else if (sa->sa_family == AF_INET6 && len >= sizeof(in6)) {
        char scope[16] = "";
        memcpy(&in6, sa, sizeof(in6));
        inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        if (in6.sin6_scope_id != 0)
            snprintf(scope, sizeof(scope), "%%%u", in6.sin6_scope_id);
        snprintf(buf, ADDR_TEXT_LEN, "[%s%s]:%u", host, scope, ntohs(in6.sin6_port));
    } else if (sa->sa_family == AF_UNIX) {
        format_unix((const struct sockaddr_un *)(const void *)sa, len, buf);
    } else {
        snprintf(buf, ADDR_TEXT_LEN, "?");
    }
    return buf;
}

socklen_t addr_peer(int fd, struct sockaddr_storage *ret)
{
    static const socklen_t lens[] = {sizeof(struct sockaddr_in6), sizeof(struct sockaddr_in)};
    socklen_t len = sizeof(*ret);

    if (getpeername(fd, (struct sockaddr *)ret, &len) == 0)
        return len;
    /* After a reset getpeername does not know the peer any more, but SO_PEERNAME does. It is to be
     * told a length that the address has at least. */
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        len = lens[i];
        if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, ret, &len) == 0)
            return len;
    }
    return 0;
}

char *addr_format_peer(int fd, char *buf)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    const socklen_t len = addr_peer(fd, &peer);

    buf[0] = '\0';
    if (len > 0)
        addr_format((struct sockaddr *)&peer, len, buf);
    return buf;
}

/* ---- numbers without a port ---- */

enum { IP_BITS = 128, V4_BITS = 32, MAPPED_BITS = IP_BITS - V4_BITS, MAPPED_BYTES = 12 };

static const uint8_t mapped_prefix[MAPPED_BYTES] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const struct addr_ip *ip)
{
    return memcmp(ip->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

static void map_v4(struct addr_ip *ip, const void *four)
{
    memcpy(ip->bytes, mapped_prefix, sizeof(mapped_prefix));
    memcpy(ip->bytes + MAPPED_BYTES, four, sizeof(ip->bytes) - MAPPED_BYTES);
}

bool addr_ip(const struct sockaddr *sa, struct addr_ip *ret)
{
    if (sa->sa_family == AF_INET)
        map_v4(ret, (const char *)sa + offsetof(struct sockaddr_in, sin_addr));
    else if (sa->sa_family == AF_INET6)
        memcpy(ret->bytes, (const char *)sa + offsetof(struct sockaddr_in6, sin6_addr),
               sizeof(ret->bytes));
    else
        return false;
    return true;
}

/* No network of v6 that a peer may have begins with 32 bits of 1: those are multicast addresses. */
uint64_t addr_source(const struct addr_ip *ip)
{
    const uint8_t *p = is_mapped(ip) ? ip->bytes + 8 : ip->bytes;
    uint64_t source = 0;

    for (size_t i = 0; i < sizeof(source); i++)
        source = source << 8 | p[i];
    return is_mapped(ip) ? source | UINT64_C(0xffffffff) << V4_BITS : source;
}

static bool is_v4_net(const struct addr_net *net)
{
    return is_mapped(&net->ip) && net->bits >= MAPPED_BITS;
}

/* Is bit @i, counted from the first one, set? */
static bool ip_bit(const struct addr_ip *ip, size_t i)
{
    return ip->bytes[i / 8] >> (7 - i % 8) & 1;
}

static int parse_ip(const char *text, struct addr_ip *ret)
{
    struct in_addr in;

    if (inet_pton(AF_INET6, text, ret->bytes) == 1)
        return 0;
    if (inet_pton(AF_INET, text, &in) != 1)
        return -EINVAL;
    map_v4(ret, &in);
    return 0;
}

int addr_net_parse(const char *text, struct addr_net *ret, const char **ret_why)
{
    char digits[INET6_ADDRSTRLEN];
    const char *slash = strchrnul(text, '/');
    const size_t len = (size_t)(slash - text);
    struct addr_net net = {.bits = IP_BITS};
    uint64_t bits = IP_BITS, first = 0;

    *ret_why = "it is neither a numeric address nor ADDRESS/BITS";
    if (len == 0 || len >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (parse_ip(digits, &net.ip) < 0)
        return -EINVAL;
    if (!strchr(digits, ':'))
        first = MAPPED_BITS;
    *ret_why = first ? "a v4 address has 32 bits: write /0 to /32 behind it"
                     : "a v6 address has 128 bits: write /0 to /128 behind it";
    if (*slash) {
        if (strlen(slash + 1) > 3 || num_parse_u64(slash + 1, 0, IP_BITS - first, &bits) != 0)
            return -EINVAL;
        bits += first;
    }
    *ret_why = "the address has bits behind those that count: they have to be 0";
    for (size_t i = bits; i < IP_BITS; i++)
        if (ip_bit(&net.ip, i))
            return -EINVAL;
    net.bits = (uint8_t)bits;
    *ret = net;
    return 0;
}

char *addr_net_format(const struct addr_net *net, char *buf)
{
    const bool is_v4 = is_v4_net(net);
    char digits[INET6_ADDRSTRLEN] = "?";

    inet_ntop(is_v4 ? AF_INET : AF_INET6, net->ip.bytes + (is_v4 ? MAPPED_BYTES : 0), digits,
              sizeof(digits));
    if (net->bits == IP_BITS)
        snprintf(buf, ADDR_NET_LEN, "%s", digits);
    else
        snprintf(buf, ADDR_NET_LEN, "%s/%d", digits, net->bits - (is_v4 ? MAPPED_BITS : 0));
    return buf;
}

bool addr_net_has(const struct addr_net *net, const struct addr_ip *ip)
{
    const size_t bytes = net->bits / 8, rest = net->bits % 8;

    return is_v4_net(net) == is_mapped(ip) && memcmp(net->ip.bytes, ip->bytes, bytes) == 0 &&
           (rest == 0 || (net->ip.bytes[bytes] ^ ip->bytes[bytes]) >> (8 - rest) == 0);
}

bool addr_nets_have(const struct addr_net *nets, size_t n, const struct addr_ip *ip)
{
    for (size_t i = 0; i < n; i++)
        if (addr_net_has(&nets[i], ip))
            return true;
    return false;
}

/* ---- peers that somebody has named ---- */

socklen_t addr_named_sockaddr(const struct addr_named *peer, struct sockaddr_storage *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(peer->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(peer->port)};

    *ret = (struct sockaddr_storage){.ss_family = AF_UNIX};
    if (peer->kind == ADDR_NAMED_UNIX)
        return offsetof(struct sockaddr_un, sun_path);
    if (peer->kind != ADDR_NAMED_IP)
        return 0;
    memcpy(&in.sin_addr, peer->ip.bytes + MAPPED_BYTES, sizeof(in.sin_addr));
    memcpy(&in6.sin6_addr, peer->ip.bytes, sizeof(in6.sin6_addr));
    if (is_mapped(&peer->ip))
        memcpy(ret, &in, sizeof(in));
    else
        memcpy(ret, &in6, sizeof(in6));
    return is_mapped(&peer->ip) ? sizeof(in) : sizeof(in6);
}
