/*
 * The header of the PROXY protocol: every row of a table, and every row cut at each byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "wire/peer.h"
#include "wire/proxy.h"

/* A text of bytes that may hold NULs. */
#define BYTES(text) (text), sizeof(text) - 1
#define V2          "\r\n\r\n\0\r\nQUIT\n"
#define V4          "\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x00\x50" /* 192.0.2.1 to 198.51.100.2 */
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xff\xff" \
    "\x01\xbb"
#define TEN        "xxxxxxxxxx"
#define FIFTY      TEN TEN TEN TEN TEN
#define PATH       FIFTY FIFTY "\0\0\0\0\0\0\0\0"
#define UNIX_PATHS PATH PATH

static const struct row {
    const char *name;
    const char *data;
    size_t len;
    enum proxy_found found;
    const char *said; /* the peer as text; why it is refused */
} rows[] = {
    /* Version 1. */
    {"v4", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n"), PROXY_HEADER, "192.0.2.1:4660"},
    {"v4, the ends", BYTES("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), PROXY_HEADER,
     "255.255.255.255:65535"},
    {"v6", BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 65535 443\r\n"), PROXY_HEADER,
     "[2001:db8::1]:65535"},
    {"v6, written out",
     BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     PROXY_HEADER, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    {"mapped", BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), PROXY_HEADER, "192.0.2.1:1"},
    {"unknown", BYTES("PROXY UNKNOWN\r\n"), PROXY_HEADER, "?"},
    {"unknown with more", BYTES("PROXY UNKNOWN ffff::1 what ever 1 2 3 4 5\r\n"), PROXY_HEADER,
     "?"},
    {"unknown, 107 bytes",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     PROXY_HEADER, "?"},
    {"107 bytes", BYTES("PROXY UNKNOWN " FIFTY TEN TEN TEN TEN "x\r\n"), PROXY_HEADER, "?"},
    {"108 bytes", BYTES("PROXY UNKNOWN " FIFTY TEN TEN TEN TEN "xx\r\n"), PROXY_BAD,
     "more than 107 bytes"},
    {"endless", BYTES("PROXY " FIFTY FIFTY FIFTY), PROXY_BAD, "more than 107 bytes"},
    {"no CR", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n"), PROXY_BAD, "without CR"},
    {"no family", BYTES("PROXY \r\n"), PROXY_BAD, "neither TCP4"},
    {"lower case", BYTES("PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n"), PROXY_BAD, "neither TCP4"},
    {"UDP", BYTES("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n"), PROXY_BAD, "neither TCP4"},
    {"UNKNOWNS", BYTES("PROXY UNKNOWNS\r\n"), PROXY_BAD, "neither TCP4"},
    {"two blanks", BYTES("PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n"), PROXY_BAD, "neither TCP4"},
    {"two blanks later", BYTES("PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n"), PROXY_BAD,
     "two addresses"},
    {"a blank at the end", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n"), PROXY_BAD,
     "two addresses"},
    {"one port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n"), PROXY_BAD, "two addresses"},
    {"no address", BYTES("PROXY TCP4\r\n"), PROXY_BAD, "two addresses"},
    {"a name", BYTES("PROXY TCP4 localhost 198.51.100.2 1 2\r\n"), PROXY_BAD, "not an address"},
    {"v6 as v4", BYTES("PROXY TCP4 ::1 198.51.100.2 1 2\r\n"), PROXY_BAD, "not an address"},
    {"v4 as v6", BYTES("PROXY TCP6 192.0.2.1 ::1 1 2\r\n"), PROXY_BAD, "not an address"},
    {"256", BYTES("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n"), PROXY_BAD, "not an address"},
    {"a zero in front", BYTES("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n"), PROXY_BAD,
     "not an address"},
    {"a short address", BYTES("PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n"), PROXY_BAD,
     "not an address"},
    {"a wrong destination", BYTES("PROXY TCP4 192.0.2.1 nobody 1 2\r\n"), PROXY_BAD,
     "not an address"},
    {"port 65536", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n"), PROXY_BAD, "not a port"},
    {"port +1", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n"), PROXY_BAD, "not a port"},
    {"port 01", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n"), PROXY_BAD, "not a port"},
    {"a wrong second port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 x\r\n"), PROXY_BAD,
     "not a port"},
    {"a NUL", BYTES("PROXY UNKNOWN\0\r\n"), PROXY_BAD, "NUL"},

    /* Version 2. */
    {"v4", BYTES(V2 "\x21\x11\0\x0c" V4), PROXY_HEADER, "192.0.2.1:4660"},
    {"v4, UDP", BYTES(V2 "\x21\x12\0\x0c" V4), PROXY_HEADER, "192.0.2.1:4660"},
    {"v6", BYTES(V2 "\x21\x21\0\x24" V6), PROXY_HEADER, "[2001:db8::1]:65535"},
    {"v6, UDP", BYTES(V2 "\x21\x22\0\x24" V6), PROXY_HEADER, "[2001:db8::1]:65535"},
    {"unix", BYTES(V2 "\x21\x31\0\xd8" UNIX_PATHS), PROXY_HEADER, "unix:"},
    {"unix, datagrams", BYTES(V2 "\x21\x32\0\xd8" UNIX_PATHS), PROXY_HEADER, "unix:"},
    {"unspecified", BYTES(V2 "\x21\x00\0\0"), PROXY_HEADER, "?"},
    {"local", BYTES(V2 "\x20\x00\0\0"), PROXY_HEADER, "?"},
    {"local, of any family", BYTES(V2 "\x20\xff\0\x02xx"), PROXY_HEADER, "?"},
    {"local with addresses", BYTES(V2 "\x20\x11\0\x0c" V4), PROXY_HEADER, "?"},
    {"local of HAProxy", BYTES(V2 "\x20\x00\0\x0e\x03\0\x04\xfd\x16\x45\xef\x04\0\x04\0\0\0\0"),
     PROXY_HEADER, "?"},
    {"version 1", BYTES(V2 "\x11\x11\0\x0c" V4), PROXY_BAD, "a version"},
    {"version 3", BYTES(V2 "\x31\x11\0\x0c" V4), PROXY_BAD, "a version"},
    {"command 2", BYTES(V2 "\x22\x11\0\x0c" V4), PROXY_BAD, "a command"},
    {"command 15", BYTES(V2 "\x2f\x11\0\x0c" V4), PROXY_BAD, "a command"},
    {"family 4", BYTES(V2 "\x21\x41\0\x0c" V4), PROXY_BAD, "an unknown family"},
    {"transport 3", BYTES(V2 "\x21\x13\0\x0c" V4), PROXY_BAD, "an unknown family"},
    {"v4, no transport", BYTES(V2 "\x21\x10\0\x0c" V4), PROXY_BAD, "an unknown family"},
    {"no family, a stream", BYTES(V2 "\x21\x01\0\0"), PROXY_BAD, "an unknown family"},
    {"v4, too short", BYTES(V2 "\x21\x11\0\x0b" V4), PROXY_BAD, "shorter"},
    {"v6, too short", BYTES(V2 "\x21\x21\0\x23" V6), PROXY_BAD, "shorter"},
    {"unix, too short", BYTES(V2 "\x21\x31\0\xd7" UNIX_PATHS), PROXY_BAD, "shorter"},
    {"more", BYTES(V2 "\x21\x11\0\x13" V4 "\x04\0\0\xea\0\x01x"), PROXY_HEADER, "192.0.2.1:4660"},
    {"more, unspecified", BYTES(V2 "\x21\x00\0\x03\x04\0\0"), PROXY_HEADER, "?"},
    {"half of a head", BYTES(V2 "\x21\x11\0\x0e" V4 "\x04\0"), PROXY_BAD, "beyond its end"},
    {"overrun", BYTES(V2 "\x21\x11\0\x0f" V4 "\x04\0\x01x"), PROXY_BAD, "beyond its end"},
    {"overrun by far", BYTES(V2 "\x21\x11\0\x10" V4 "\x04\xff\xffx"), PROXY_BAD, "beyond its end"},
    {"a sum", BYTES(V2 "\x21\x11\0\x13" V4 "\x03\0\x04\xb8\x43\xbf\x0e"), PROXY_HEADER,
     "192.0.2.1:4660"},
    {"a wrong sum", BYTES(V2 "\x21\x11\0\x13" V4 "\x03\0\x04\xb8\x43\xbf\x0f"), PROXY_BAD,
     "a wrong checksum"},
    {"a short sum", BYTES(V2 "\x21\x11\0\x12" V4 "\x03\0\x03\xb8\x43\xbf"), PROXY_BAD,
     "not one checksum"},
    {"two sums", BYTES(V2 "\x21\x11\0\x1a" V4 "\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0"), PROXY_BAD,
     "a wrong checksum"},

    /* Neither. */
    {"another word", BYTES("HELLO\r\n\r\n"), PROXY_NONE, NULL},
    {"nearly v1", BYTES("PROXZ TCP4 192.0.2.1 198.51.100.2 1 2\r\n"), PROXY_NONE, NULL},
    {"nearly v2", BYTES("\r\n\r\n\0\r\nQUIT\r"), PROXY_NONE, NULL},
    {"two empty messages", BYTES("\r\n\r\n\r\n\r\n"), PROXY_NONE, NULL},
};

static const char *name_peer(const struct addr_named *peer)
{
    static char text[ADDR_TEXT_LEN];
    struct sockaddr_storage ss;
    const socklen_t len = addr_named_sockaddr(peer, &ss);

    return len ? addr_format((struct sockaddr *)&ss, len, text) : "?";
}

/* @data is copied to where nothing is behind it, so that a sanitizer sees a byte too many. */
static enum proxy_found find(const char *data, size_t len, struct proxy_header *ret,
                             const char **ret_why)
{
    uint8_t *exact = malloc(len ? len : 1);
    enum proxy_found found;

    assert_non_null(exact);
    memcpy(exact, data, len);
    found = proxy_find(exact, len, ret, ret_why);
    free(exact);
    return found;
}

static void proxy_find__by_table__as_it_says(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        struct proxy_header h = {0};
        const char *why = NULL;
        const enum proxy_found found = find(r->data, r->len, &h, &why);

        if (found != r->found)
            fail_msg("row %zu, %s: %d, not %d: %s", i, r->name, (int)found, (int)r->found, why);
        if (found == PROXY_HEADER && (h.len != r->len || strcmp(name_peer(&h.peer), r->said) != 0))
            fail_msg("row %zu, %s: %zu bytes, %s", i, r->name, h.len, name_peer(&h.peer));
        if (found == PROXY_BAD && !strstr(why, r->said))
            fail_msg("row %zu, %s: %s", i, r->name, why);
    }
}

/* Whatever comes behind it is another's. */
static void proxy_find__data_behind__header_ends_where_it_ends(void **state UNUSED)
{
    char text[1024];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        struct proxy_header h = {0};
        const char *why = NULL;

        if (r->found != PROXY_HEADER)
            continue;
        memcpy(text, r->data, r->len);
        memcpy(text + r->len, r->data, r->len); /* even another header */
        assert_int_equal(find(text, 2 * r->len, &h, &why), PROXY_HEADER);
        assert_int_equal(h.len, r->len);
    }
}

/* A part is never taken for the whole, nor for something else; and once it is told that these bytes
 * begin a header, it stays one. */
static void proxy_find__cut_at_each_byte__more_until_it_is_there(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        enum proxy_found before = PROXY_MORE;

        for (size_t len = 0; len < r->len; len++) {
            struct proxy_header h = {0};
            const char *why = NULL;
            const enum proxy_found found = find(r->data, len, &h, &why);

            if (found == PROXY_HEADER || (r->found == PROXY_HEADER && found > PROXY_PARTIAL) ||
                (before == PROXY_PARTIAL && found == PROXY_MORE) ||
                (before >= PROXY_NONE && found != before))
                fail_msg("row %zu, %s, %zu bytes: %d", i, r->name, len, (int)found);
            before = found;
        }
    }
}

static void proxy_find__65535_bytes__whole(void **state UNUSED)
{
    static const char head[] = V2 "\x21\x11\xff\xff" V4 "\x04\xff\xf0";
    char *data = calloc(1, PROXY_V2_MAX);
    struct proxy_header h = {0};
    const char *why = NULL;

    assert_non_null(data);
    memcpy(data, head, sizeof(head) - 1);
    for (size_t len = sizeof(head); len < PROXY_V2_MAX; len += 4099)
        assert_int_equal(find(data, len, &h, &why), PROXY_PARTIAL);
    assert_int_equal(find(data, PROXY_V2_MAX - 1, &h, &why), PROXY_PARTIAL);
    assert_int_equal(find(data, PROXY_V2_MAX, &h, &why), PROXY_HEADER);
    assert_int_equal(h.len, PROXY_V2_MAX);
    assert_string_equal(name_peer(&h.peer), "192.0.2.1:4660");
    data[PROXY_V2_HEAD + 12 + 2]++; /* a byte beyond */
    assert_int_equal(find(data, PROXY_V2_MAX, &h, &why), PROXY_BAD);
    free(data);
}

/* Each bit that is wrong is found, wherever it is. */
static void proxy_find__sum_and_any_bit_wrong__refused(void **state UNUSED)
{
    static const char summed[] = V2 "\x21\x11\0\x13" V4 "\x03\0\x04\xb8\x43\xbf\x0e";
    char data[sizeof(summed)];

    for (size_t bit = 8 * PROXY_V2_HEAD; bit < 8 * (sizeof(summed) - 1); bit++) {
        struct proxy_header h = {0};
        const char *why = NULL;

        memcpy(data, summed, sizeof(data));
        data[bit / 8] ^= (char)(1 << bit % 8);
        if (bit / 8 == PROXY_V2_HEAD + 12)
            continue; /* its type: no sum then */
        assert_int_equal(find(data, sizeof(data) - 1, &h, &why), PROXY_BAD);
    }
}

static void peer__written__same_read(void **state UNUSED)
{
    struct addr_named peers[] = {{.kind = ADDR_NAMED_NONE},
                                 {.kind = ADDR_NAMED_UNIX},
                                 {.kind = ADDR_NAMED_IP, .port = 0x1234}};
    uint8_t buf[PEER_BYTES];
    struct addr_named got;

    for (size_t i = 0; i < sizeof(peers[2].ip.bytes); i++)
        peers[2].ip.bytes[i] = (uint8_t)(i + 1);
    for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
        peer_put(&peers[i], buf);
        assert_int_equal(peer_get(buf, &got), 0);
        assert_int_equal(got.kind, peers[i].kind);
        assert_int_equal(got.port, peers[i].port);
        assert_memory_equal(&got.ip, &peers[i].ip, sizeof(got.ip));
    }
    buf[0] = ADDR_NAMED_UNIX + 1;
    assert_int_not_equal(peer_get(buf, &got), 0);
    buf[0] = ADDR_NAMED_UNIX; /* which has no port */
    assert_int_not_equal(peer_get(buf, &got), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proxy_find__by_table__as_it_says),
        cmocka_unit_test(proxy_find__data_behind__header_ends_where_it_ends),
        cmocka_unit_test(proxy_find__cut_at_each_byte__more_until_it_is_there),
        cmocka_unit_test(proxy_find__65535_bytes__whole),
        cmocka_unit_test(proxy_find__sum_and_any_bit_wrong__refused),
        cmocka_unit_test(peer__written__same_read),
    };

    return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
