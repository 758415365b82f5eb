/*
 * The header of the PROXY protocol. Pure. A number is in network order, unlike those of our own
 * codecs.
 */
#include "wire/proxy.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "base/util.h"

static const char v1_begin[] = "PROXY ";
static const uint8_t v2_begin[] = {'\r', '\n', '\r', '\n', '\0', '\r',
                                   '\n', 'Q',  'U',  'I',  'T',  '\n'};

static enum proxy_found proxy_refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return PROXY_BAD;
}

/* ---- version 1: a line ---- */

enum { V1_WORDS = 6 }; /* PROXY TCP4 SOURCE DESTINATION PORT PORT */

/* Cuts @line at each blank. Returns the number of words, at most V1_WORDS; more is one too many. */
static size_t split_line(char *line, char *words[V1_WORDS])
{
    size_t n = 0;

    for (char *word = line; word; n++) {
        if (n < V1_WORDS)
            words[n] = word;
        word = strchr(word, ' ');
        if (word)
            *word++ = '\0';
    }
    return n;
}

static bool read_port(const char *text, uint16_t *ret)
{
    uint64_t port;

    if (num_parse_u64(text, 0, UINT16_MAX, &port) < 0)
        return false;
    *ret = (uint16_t)port;
    return true;
}

static bool read_ip(int family, const char *text, struct addr_ip *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (family == AF_INET)
        return inet_pton(AF_INET, text, &in.sin_addr) == 1 && addr_ip((struct sockaddr *)&in, ret);
    return inet_pton(AF_INET6, text, &in6.sin6_addr) == 1 && addr_ip((struct sockaddr *)&in6, ret);
}

/* Behind UNKNOWN there may be anything: it is a proxy that does not say whose connection it is. */
static enum proxy_found read_line(char *line, struct proxy_header *h, const char **ret_why)
{
    char *words[V1_WORDS];
    const size_t n = split_line(line, words);
    const bool is_v4 = n > 1 && strcmp(words[1], "TCP4") == 0;
    struct addr_ip destination;
    uint16_t port;

    if (n > 1 && strcmp(words[1], "UNKNOWN") == 0)
        return PROXY_HEADER;
    if (n < 2 || (!is_v4 && strcmp(words[1], "TCP6") != 0))
        return proxy_refuse("neither TCP4, TCP6 nor UNKNOWN", ret_why);
    if (n != V1_WORDS)
        return proxy_refuse("not two addresses and two ports", ret_why);
    if (!read_ip(is_v4 ? AF_INET : AF_INET6, words[2], &h->peer.ip) ||
        !read_ip(is_v4 ? AF_INET : AF_INET6, words[3], &destination))
        return proxy_refuse("not an address of its family", ret_why);
    if (!read_port(words[4], &h->peer.port) || !read_port(words[5], &port))
        return proxy_refuse("not a port from 0 to 65535", ret_why);
    h->peer.kind = ADDR_NAMED_IP;
    return PROXY_HEADER;
}

static enum proxy_found find_v1(const uint8_t *data, size_t len, struct proxy_header *ret,
                                const char **ret_why)
{
    const size_t max = MIN(len, (size_t)PROXY_V1_MAX);
    const uint8_t *end = memchr(data, '\n', max);
    struct proxy_header h = {.version = 1};
    char line[PROXY_V1_MAX + 1];
    enum proxy_found found;

    if (!end)
        return len < PROXY_V1_MAX ? PROXY_PARTIAL
                                  : proxy_refuse("a line of more than 107 bytes", ret_why);
    if (end[-1] != '\r')
        return proxy_refuse("a line without CR before LF", ret_why);
    h.len = (size_t)(end - data) + 1;
    memcpy(line, data, h.len - 2);
    line[h.len - 2] = '\0';
    if (strlen(line) != h.len - 2)
        return proxy_refuse("a line with a NUL", ret_why);
    found = read_line(line, &h, ret_why);
    if (found == PROXY_HEADER)
        *ret = h;
    return found;
}

/* ---- version 2: binary ---- */

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21, TLV_HEAD = 3, TLV_CRC32C = 0x03, CRC_BYTES = 4 };

static size_t get_u16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* RFC 9260, appendix A, four bits at a time: a header comes once per connection. */
static uint32_t crc32c_add(uint32_t crc, const uint8_t *p, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (size_t i = 0; i < len; i++) {
        crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ p[i] >> 4) & 15] ^ crc >> 4;
    }
    return crc;
}

/* Of the whole header, in which the sum itself counts as zeros. */
static bool is_sum_right(const uint8_t *data, size_t len, const uint8_t *sum)
{
    static const uint8_t zeros[CRC_BYTES];
    const uint8_t *behind = sum + CRC_BYTES;
    uint32_t crc = UINT32_MAX;

    crc = crc32c_add(crc, data, (size_t)(sum - data));
    crc = crc32c_add(crc, zeros, CRC_BYTES);
    crc = ~crc32c_add(crc, behind, (size_t)(data + len - behind));
    return crc == ((uint32_t)get_u16(sum) << 16 | (uint32_t)get_u16(sum + 2));
}

/* What there is behind the addresses, from @at on: each with a type and a length. Only a checksum
 * is looked at. */
static const char *check_vectors(const uint8_t *data, size_t len, size_t at)
{
    bool is_summed = false;

    while (at < len) {
        size_t bytes;

        if (len - at < TLV_HEAD || (bytes = get_u16(data + at + 1)) > len - at - TLV_HEAD)
            return "a type-length-value beyond its end";
        if (data[at] == TLV_CRC32C && (is_summed || bytes != CRC_BYTES))
            return "not one checksum of 4 bytes";
        if (data[at] == TLV_CRC32C && !is_sum_right(data, len, data + at + TLV_HEAD))
            return "a wrong checksum";
        is_summed |= data[at] == TLV_CRC32C;
        at += TLV_HEAD + bytes;
    }
    return NULL;
}

/* Which families there are, and how long their addresses are: source, destination, and their ports
 * where there are ports. */
static const struct {
    uint8_t family;
    uint8_t bytes;
    uint8_t ip_bytes; /* 0 = nothing that is a source */
    uint8_t kind; /* enum addr_named_kind */
} families[] = {
    {0x00, 0, 0, ADDR_NAMED_NONE}, /* unspecified */
    {0x11, 12, 4, ADDR_NAMED_IP},  {0x12, 12, 4, ADDR_NAMED_IP},    {0x21, 36, 16, ADDR_NAMED_IP},
    {0x22, 36, 16, ADDR_NAMED_IP}, {0x31, 216, 0, ADDR_NAMED_UNIX}, {0x32, 216, 0, ADDR_NAMED_UNIX},
};

static enum proxy_found read_addresses(const uint8_t *data, struct proxy_header *h,
                                       const char **ret_why)
{
    const uint8_t *source = data + PROXY_V2_HEAD;
    const char *why;
    size_t i = 0;

    while (i < ARRAY_SIZE(families) && families[i].family != data[13])
        i++;
    if (i == ARRAY_SIZE(families))
        return proxy_refuse("an unknown family or transport", ret_why);
    if (h->len - PROXY_V2_HEAD < families[i].bytes)
        return proxy_refuse("shorter than the addresses of its family", ret_why);
    why = check_vectors(data, h->len, PROXY_V2_HEAD + families[i].bytes);
    if (why)
        return proxy_refuse(why, ret_why);
    h->peer.kind = families[i].kind;
    if (families[i].kind == ADDR_NAMED_IP) {
        struct sockaddr_in in = {.sin_family = AF_INET};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        const bool is_v4 = families[i].ip_bytes == sizeof(in.sin_addr);

        memcpy(is_v4 ? (void *)&in.sin_addr : &in6.sin6_addr, source, families[i].ip_bytes);
        addr_ip(is_v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6, &h->peer.ip);
        h->peer.port = (uint16_t)get_u16(source + 2 * (size_t)families[i].ip_bytes);
    }
    return PROXY_HEADER;
}

/* What is behind LOCAL is not looked at, as the text asks for: it is the proxy's own connection. */
static enum proxy_found find_v2(const uint8_t *data, size_t len, struct proxy_header *ret,
                                const char **ret_why)
{
    struct proxy_header h = {.version = 2};

    if (len > 12 && data[12] >> 4 != 2)
        return proxy_refuse("a version other than 2", ret_why);
    if (len > 12 && data[12] != V2_LOCAL && data[12] != V2_PROXY)
        return proxy_refuse("a command other than LOCAL and PROXY", ret_why);
    if (len < PROXY_V2_HEAD)
        return PROXY_PARTIAL;
    h.len = PROXY_V2_HEAD + get_u16(data + 14);
    if (len < h.len)
        return PROXY_PARTIAL;
    if (data[12] == V2_PROXY) {
        const enum proxy_found found = read_addresses(data, &h, ret_why);

        if (found != PROXY_HEADER)
            return found;
    }
    *ret = h;
    return PROXY_HEADER;
}

/* ---- either ---- */

static bool begins_with(const uint8_t *data, size_t len, const void *begin, size_t n)
{
    return memcmp(data, begin, MIN(len, n)) == 0;
}

enum proxy_found proxy_find(const uint8_t *data, size_t len, struct proxy_header *ret,
                            const char **ret_why)
{
    const size_t v1_len = strlen(v1_begin);

    if (len == 0)
        return PROXY_MORE;
    if (begins_with(data, len, v1_begin, v1_len))
        return len < v1_len ? PROXY_MORE : find_v1(data, len, ret, ret_why);
    if (begins_with(data, len, v2_begin, sizeof(v2_begin)))
        return len < sizeof(v2_begin) ? PROXY_MORE : find_v2(data, len, ret, ret_why);
    return PROXY_NONE;
}
