/*
 * Addresses: every form that is accepted, every one that is refused with the sentence that helps,
 * and the ways there and back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/addr.h"
#include "base/util.h"

#define PATH_107                                                                                   \
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"                                       \
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"                                                     \
    "bbbbbbbbbbbbb"
#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void addr_parse__good_forms__kind_host_port(void **state UNUSED)
{
    static const struct {
        const char *text;
        enum addr_kind kind;
        const char *host;
        unsigned port;
    } cases[] = {
        {"127.0.0.1:8060", ADDR_INET, "127.0.0.1", 8060},
        {"0.0.0.0:0", ADDR_INET, "0.0.0.0", 0},
        {"255.255.255.255:65535", ADDR_INET, "255.255.255.255", 65535},
        {"[::1]:8060", ADDR_INET6, "::1", 8060},
        {"[::]:1", ADDR_INET6, "::", 1},
        {"[2001:DB8::ff]:443", ADDR_INET6, "2001:DB8::ff", 443},
        {"[::ffff:1.2.3.4]:80", ADDR_INET6, "::ffff:1.2.3.4", 80},
        {"[fe80::1%lo]:80", ADDR_INET6, "fe80::1%lo", 80},
        {"[fe80::1%1]:80", ADDR_INET6, "fe80::1%1", 80},
        {":8060", ADDR_ANY, "", 8060},
        {":0", ADDR_ANY, "", 0},
        {"localhost:1", ADDR_HOST, "localhost", 1},
        {"a:1", ADDR_HOST, "a", 1},
        {"echo-1.example.com:1", ADDR_HOST, "echo-1.example.com", 1},
        {"example.com.:1", ADDR_HOST, "example.com.", 1},
        {"3com.example:1", ADDR_HOST, "3com.example", 1},
        {"1.2.3.4.example:1", ADDR_HOST, "1.2.3.4.example", 1},
        {"xn--nxasmq6b:1", ADDR_HOST, "xn--nxasmq6b", 1},
        {LABEL_63 ".x:1", ADDR_HOST, LABEL_63 ".x", 1},
        {"unix.example:1", ADDR_HOST, "unix.example", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct addr a;
        const char *why = NULL;
        int r = addr_parse(cases[i].text, &a, &why);
        if (r != 0)
            fail_msg("%s refused: %s", cases[i].text, why);
        assert_int_equal(a.kind, cases[i].kind);
        assert_string_equal(a.host, cases[i].host);
        assert_int_equal(a.port, cases[i].port);
        assert_string_equal(a.path, "");
        assert_null(why);
    }
}

static void addr_parse__unix__path_as_written(void **state UNUSED)
{
    static const char *const paths[] = {"/run/echo.sock", "x", "./a b:c", "/tmp/\xc3\xa9",
                                        PATH_107};
    assert_int_equal(strlen(PATH_107), 107);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char text[200];
        struct addr a;
        const char *why = NULL;
        snprintf(text, sizeof(text), "unix:%s", paths[i]);
        assert_int_equal(addr_parse(text, &a, &why), 0);
        assert_int_equal(a.kind, ADDR_UNIX);
        assert_string_equal(a.path, paths[i]);
    }
}

static void addr_parse__bad_forms__a_reason_that_helps(void **state UNUSED)
{
    static const struct {
        const char *text;
        const char *why; /* must occur in the sentence */
    } cases[] = {
        {"", "empty"},
        {"127.0.0.1", "port is missing"},
        {"localhost", "port is missing"},
        {"http://127.0.0.1:8060", "no scheme"},
        {"tcp://localhost:8060/", "no scheme"},
        {"8060", "port is missing"},
        {"127.0.0.1:", "port is missing"},
        {":", "port is missing"},
        {"[::1]:", "port is missing"},
        {"1.2.3.4:65536", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:99999", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:-1", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:+1", "(any free one, to listen on) to 65535"},
        {"1.2.3.4: 1", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:1 ", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:http", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:0x50", "(any free one, to listen on) to 65535"},
        {"1.2.3.4:18446744073709551617", "(any free one, to listen on) to 65535"},
        {"[::1]:65536", "(any free one, to listen on) to 65535"},
        {"::1", "brackets"},
        {"::1:8060", "brackets"},
        {"fe80::1%lo:80", "brackets"},
        {"::", "brackets"},
        {"[::1]", "[V6]:PORT"},
        {"[::1]8060", "[V6]:PORT"},
        {"[::1", "[V6]:PORT"},
        {"[]:80", "[V6]:PORT"},
        {"[127.0.0.1]:80", "no v6 address"},
        {"[::g]:80", "no v6 address"},
        {"[localhost]:80", "no v6 address"},
        {"[ ::1]:80", "no v6 address"},
        {"[fe80::1%]:80", "interface"},
        {"[fe80::1%a b]:80", "interface"},
        {"[fe80::1%abcdefghijklmnop]:80", "interface"},
        {"*:8060", ":PORT, without"},
        {"256.0.0.1:80", "four numbers"},
        {"1.2.3:80", "four numbers"},
        {"127.1:80", "four numbers"},
        {"2130706433:80", "four numbers"},
        {"0x7f000001:80", "four numbers"},
        {"1.2.3.4.:80", "four numbers"},
        {"a..b:80", "host name"},
        {".a:80", "host name"},
        {".:80", "host name"},
        {"-a:80", "host name"},
        {"a-:80", "host name"},
        {"a-.b:80", "host name"},
        {"a_b:80", "host name"},
        {"a b:80", "host name"},
        {" a:80", "host name"},
        {"a/b:80", "host name"},
        {"caf\xc3\xa9:80", "host name"},
        {LABEL_63 "a:80", "host name"},
        {LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63 ":80", "host name"},
        {"unix:", "empty"},
        {"unix:@name", "abstract"},
        {"unix:" PATH_107 "c", "107 bytes"},
        {"unix:/a\nb", "control"},
        {"unix:/a\x7f", "control"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct addr a = {.port = 4711, .kind = ADDR_UNIX, .path = "untouched"};
        const char *why = NULL;
        int r = addr_parse(cases[i].text, &a, &why);
        if (r != -EINVAL || !why || !strstr(why, cases[i].why))
            fail_msg("%s: %d, %s", cases[i].text, r, why ? why : "no reason");
        assert_int_equal(a.port, 4711);
        assert_string_equal(a.path, "untouched");
    }
}

static void addr_parse__host_longer_than_its_field__refused(void **state UNUSED)
{
    char text[1000];
    struct addr a;
    const char *why;
    for (size_t len = 240; len < 400; len++) {
        memset(text, 'a', len);
        for (size_t i = 60; i < len - 1; i += 61)
            text[i] = '.';
        strcpy(text + len, ":80");
        assert_int_equal(addr_parse(text, &a, &why), len <= 253 ? 0 : -EINVAL);
        text[0] = '[';
        strcpy(text + len, "]:80");
        assert_int_equal(addr_parse(text, &a, &why), -EINVAL);
    }
}

static void addr_format__what_parse_reads__the_same_text(void **state UNUSED)
{
    static const struct {
        const char *text, *formatted;
    } cases[] = {
        {"127.0.0.1:8060", "127.0.0.1:8060"},
        {"localhost:80", "127.0.0.1:80"},
        {"LocalHost:80", "127.0.0.1:80"},
        {"[::1]:8060", "[::1]:8060"},
        {"[2001:DB8:0:0::ff]:443", "[2001:db8::ff]:443"},
        {"[fe80::1%1]:80", "[fe80::1%1]:80"},
        {":8060", "[::]:8060"},
        {"unix:/run/echo.sock", "unix:/run/echo.sock"},
        {"unix:" PATH_107, "unix:" PATH_107},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct addr a;
        struct sockaddr_storage ss;
        socklen_t len;
        const char *why;
        char buf[ADDR_TEXT_LEN];
        assert_int_equal(addr_parse(cases[i].text, &a, &why), 0);
        assert_int_equal(addr_to_sockaddr(&a, &ss, &len), 0);
        assert_ptr_equal(addr_format((struct sockaddr *)&ss, len, buf), buf);
        assert_string_equal(buf, cases[i].formatted);
    }
}

static void addr_to_sockaddr__scope__the_interface(void **state UNUSED)
{
    struct addr a;
    struct sockaddr_storage ss;
    socklen_t len;
    const char *why;
    assert_int_equal(addr_parse("[fe80::1%lo]:80", &a, &why), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), 0);
    assert_int_equal(((struct sockaddr_in6 *)&ss)->sin6_scope_id, if_nametoindex("lo"));
    assert_int_equal(addr_parse("[fe80::1%nosuch0]:80", &a, &why), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), -ENODEV);
    assert_int_equal(addr_parse("[fe80::1%0]:80", &a, &why), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), -ENODEV);
}

static void addr_to_sockaddr__name__needs_a_resolver(void **state UNUSED)
{
    struct addr a;
    struct sockaddr_storage ss = {.ss_family = 99};
    socklen_t len = 4711;
    const char *why;
    assert_int_equal(addr_parse("example.com:80", &a, &why), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), -EINVAL);
    assert_int_equal(ss.ss_family, 99);
    assert_int_equal(len, 4711);
}

static void addr_format__unnamed_abstract_strange__still_text(void **state UNUSED)
{
    char buf[ADDR_TEXT_LEN];
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t head = offsetof(struct sockaddr_un, sun_path);

    assert_string_equal(addr_format((struct sockaddr *)&un, head, buf), "unix:");
    assert_string_equal(addr_format((struct sockaddr *)&un, sizeof(sa_family_t), buf), "unix:");
    memcpy(un.sun_path, "\0abc", 4);
    assert_string_equal(addr_format((struct sockaddr *)&un, head + 4, buf), "unix:@abc");
    /* The kernel may give a path that fills its field, without a NUL. */
    memset(un.sun_path, 'p', sizeof(un.sun_path));
    addr_format((struct sockaddr *)&un, sizeof(un) + 1, buf);
    assert_int_equal(strlen(buf), 5 + sizeof(un.sun_path));

    struct sockaddr sa = {.sa_family = AF_INET};
    assert_string_equal(addr_format(&sa, 3, buf), "?");
    sa.sa_family = AF_PACKET;
    assert_string_equal(addr_format(&sa, sizeof(sa), buf), "?");
}

/* ---- numbers without a port ---- */

static struct addr_ip ip_of(const char *text)
{
    struct sockaddr_storage ss;
    struct addr_ip ip;
    struct addr a;
    const char *why;
    socklen_t len;

    assert_int_equal(addr_parse(text, &a, &why), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), 0);
    assert_true(addr_ip((struct sockaddr *)&ss, &ip));
    return ip;
}

static uint64_t source_of(const char *text)
{
    const struct addr_ip ip = ip_of(text);

    return addr_source(&ip);
}

static void addr_source__v4_by_address_v6_by_64_bits(void **state UNUSED)
{
    const struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct addr_ip ip;

    assert_true(source_of("10.0.0.1:80") == source_of("10.0.0.1:81"));
    assert_true(source_of("10.0.0.1:80") == source_of("[::ffff:10.0.0.1]:80"));
    assert_true(source_of("10.0.0.1:80") != source_of("10.0.0.2:80"));
    assert_true(source_of("[2001:db8::1]:80") == source_of("[2001:db8::ffff:1:2:3]:80"));
    assert_true(source_of("[2001:db8::1]:80") != source_of("[2001:db8:0:1::1]:80"));
    assert_true(source_of("[::1]:80") == 0);
    assert_true(source_of("[::10.0.0.1]:80") != source_of("10.0.0.1:80"));
    assert_false(addr_ip((const struct sockaddr *)&un, &ip));
}

static void addr_net_parse__good_forms__formatted_the_same(void **state UNUSED)
{
    static const char *const good[] = {"10.0.0.0/8",    "192.0.2.1",   "0.0.0.0/0",
                                       "2001:db8::/32", "2001:db8::1", "::/0",
                                       "::1",           "fe80::/10",   "127.0.0.128/25"};
    struct addr_net net;
    const char *why;
    char buf[ADDR_NET_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(addr_net_parse(good[i], &net, &why), 0);
        assert_string_equal(addr_net_format(&net, buf), good[i]);
    }
    assert_int_equal(addr_net_parse("::ffff:10.0.0.0/104", &net, &why), 0);
    assert_string_equal(addr_net_format(&net, buf), "10.0.0.0/8");
    assert_int_equal(addr_net_parse("10.0.0.1/32", &net, &why), 0);
    assert_string_equal(addr_net_format(&net, buf), "10.0.0.1");
}

static void addr_net_parse__bad_forms__a_reason_that_helps(void **state UNUSED)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "neither"},
        {"localhost", "neither"},
        {"10.0.0.0/33", "/0 to /32"},
        {"10.0.0.0/", "/0 to /32"},
        {"10.0.0.0/-1", "/32"},
        {"::/129", "/0 to /128"},
        {"10.0.0.1/8", "to be 0"},
        {"::1/64", "to be 0"},
        {"10.0.0.0/8/8", "/32"},
        {"/8", "neither"},
        {"10.0.0/8", "neither"},
        {"[::1]", "neither"},
        {"10.0.0.1:80", "neither"},
        {"::/0000", "/128"},
    };
    struct addr_net net = {.bits = 77};
    const char *why;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(addr_net_parse(bad[i].text, &net, &why), -EINVAL);
        if (!strstr(why, bad[i].why))
            fail_msg("%s: %s", bad[i].text, why);
        assert_int_equal(net.bits, 77);
    }
}

static void addr_net_has__bits_that_count__and_the_family(void **state UNUSED)
{
    static const struct {
        const char *net, *address;
        bool is_in;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2:1", true},
        {"10.0.0.0/8", "11.0.0.0:1", false},
        {"10.0.0.0/8", "[::ffff:10.0.0.1]:1", true},
        {"127.0.0.128/25", "127.0.0.128:1", true},
        {"127.0.0.128/25", "127.0.0.127:1", false},
        {"0.0.0.0/0", "1.2.3.4:1", true},
        {"0.0.0.0/0", "[::1]:1", false},
        {"::/0", "1.2.3.4:1", false},
        {"::/0", "[2001:db8::1]:1", true},
        {"2001:db8::/33", "[2001:db8:8000::1]:1", false},
        {"2001:db8::/33", "[2001:db8:7fff::1]:1", true},
        {"::1", "[::2]:1", false},
        {"192.0.2.1", "192.0.2.1:9", true},
    };
    struct addr_net net;
    const char *why;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct addr_ip ip = ip_of(cases[i].address);

        assert_int_equal(addr_net_parse(cases[i].net, &net, &why), 0);
        if (addr_net_has(&net, &ip) != cases[i].is_in)
            fail_msg("%s and %s", cases[i].net, cases[i].address);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addr_parse__good_forms__kind_host_port),
        cmocka_unit_test(addr_parse__unix__path_as_written),
        cmocka_unit_test(addr_parse__bad_forms__a_reason_that_helps),
        cmocka_unit_test(addr_parse__host_longer_than_its_field__refused),
        cmocka_unit_test(addr_format__what_parse_reads__the_same_text),
        cmocka_unit_test(addr_to_sockaddr__scope__the_interface),
        cmocka_unit_test(addr_to_sockaddr__name__needs_a_resolver),
        cmocka_unit_test(addr_source__v4_by_address_v6_by_64_bits),
        cmocka_unit_test(addr_net_parse__good_forms__formatted_the_same),
        cmocka_unit_test(addr_net_parse__bad_forms__a_reason_that_helps),
        cmocka_unit_test(addr_net_has__bits_that_count__and_the_family),
        cmocka_unit_test(addr_format__unnamed_abstract_strange__still_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
