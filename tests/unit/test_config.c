/*
 * The key table: every row holds what it promises, values go in and out as one canonical text, and
 * what one key cannot know is checked across keys. No file is read here.
 */
#include "conf/config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/cpus.h"
#include "base/num.h"
#include "base/util.h"
#include "conf/config_codec.h"
#include "conf/config_diff.h"
#include "conf/config_type.h"
#include "support/schema.h"

static const struct config_origin from_command_line = {ORIGIN_COMMAND_LINE, 0};

static struct config *new_config(void)
{
    struct config *c = config_new(schema_of_echo());

    assert_non_null(c);
    return c;
}

static void expect_text(const struct config *c, int key, const char *expected)
{
    char *text = config_get(c, key);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void expect_accepted(struct config *c, int key, const char *text, const char *canonical)
{
    char why[CONFIG_WHY_LEN] = "";

    if (config_set(c, key, text, from_command_line, why, sizeof(why)) != 0)
        fail_msg("%s: \"%s\" is refused: %s", schema_of_echo()->rows[key].name, text, why);
    expect_text(c, key, canonical);
    assert_int_equal(c->origin[key].kind, ORIGIN_COMMAND_LINE);
}

/* The message names key, value and what is allowed; the value of before stays. */
static void expect_refused(struct config *c, int key, const char *text, const char *shown)
{
    char why[CONFIG_WHY_LEN] = "", begin[CONFIG_WHY_LEN];
    struct config_origin before = c->origin[key];
    char *value = config_get(c, key);

    if (config_set(c, key, text, from_command_line, why, sizeof(why)) != -EINVAL)
        fail_msg("%s: \"%s\" is not refused", schema_of_echo()->rows[key].name, text);
    snprintf(begin, sizeof(begin), "%s: %s", schema_of_echo()->rows[key].name, shown);
    if (strncmp(why, begin, strlen(begin)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", why, begin);
    assert_non_null(strstr(why, ", allowed: "));
    assert_non_null(strstr(why, schema_of_echo()->rows[key].allowed));
    expect_text(c, key, value);
    assert_int_equal(c->origin[key].kind, before.kind);
    free(value);
}

/* ---- the table ---- */

static void table__every_row__complete_and_found_by_name(void **state UNUSED)
{
    for (int key = 0; key < KEYS_OF_ECHO; key++) {
        const struct config_row *row = &schema_of_echo()->rows[key];

        assert_non_null(row->name);
        assert_non_null(strchr(row->name, '.'));
        assert_int_equal(config_find(schema_of_echo(), row->name), key);
        assert_non_null(row->initial);
        assert_true(strlen(row->allowed) > 0);
        assert_true(strlen(row->help) > 0);
        assert_non_null(row->type);
    }
    assert_int_equal(config_find(schema_of_echo(), "arbiter.worker"), -1);
    assert_int_equal(config_find(schema_of_echo(), "workers"), -1);
    assert_int_equal(config_find(schema_of_echo(), ""), -1);
}

static void table__defaults__canonical_and_of_origin_default(void **state UNUSED)
{
    struct config *c = new_config();

    for (int key = 0; key < KEYS_OF_ECHO; key++) {
        expect_text(c, key, schema_of_echo()->rows[key].initial);
        assert_int_equal(c->origin[key].kind, ORIGIN_DEFAULT);
    }
    assert_int_equal(c->workers, 0);
    assert_int_equal(c->boot_timeout_ms, 10000);
    assert_int_equal(c->exit_timeout_ms, 30000);
    assert_int_equal(c->n_bind, 1);
    assert_string_equal(c->bind[0].address, "127.0.0.1:8060");
    assert_int_equal(schema_conf_of_echo(c)->max_message, 16 << 20);
    assert_int_equal(schema_conf_of_echo(c)->separator.len, 4);
    assert_memory_equal(schema_conf_of_echo(c)->separator.data, "\r\n\r\n", 4);
    assert_int_equal(c->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config_check(c, NULL, 0), 0);
    config_free(c);
}

/* A bound in the unit of its key's texts. */
static const char *format_bound(const struct config_row *row, uint64_t bound, char *buf)
{
    if (row->type == &config_type_duration)
        return num_format_duration_ms(bound, buf);
    if (row->type == &config_type_size)
        return num_format_size(bound, buf);
    snprintf(buf, NUM_DURATION_LEN, "%" PRIu64, bound);
    return buf;
}

static void table__bounds__enforced_and_named_in_allowed(void **state UNUSED)
{
    struct config *c = new_config();
    unsigned n = 0;

    for (int key = 0; key < KEYS_OF_ECHO; key++) {
        const struct config_row *row = &schema_of_echo()->rows[key];
        char min[NUM_DURATION_LEN], max[NUM_DURATION_LEN], buf[NUM_DURATION_LEN];

        if (!strstr(row->allowed, " from "))
            continue;
        n++;
        format_bound(row, row->min, min);
        format_bound(row, row->max, max);
        expect_accepted(c, key, min, min);
        expect_accepted(c, key, max, max);
        expect_refused(c, key, format_bound(row, row->max + 1, buf), "");
        if (row->min > 0)
            expect_refused(c, key, format_bound(row, row->min - 1, buf), "");
        assert_non_null(strstr(row->allowed, min));
        assert_non_null(strstr(row->allowed, max));
    }
    assert_int_equal(n, 17);
    config_free(c);
}

static void config_set__connections__words_and_samples(void **state UNUSED)
{
    static const char *const bad[] = {"",    "none",      "1",   "1/", "1/0",
                                      "2/3", "1/1000001", "1/x", "OFF"};
    struct config *c = new_config();

    assert_int_equal(c->log_connections, LOG_CONNECTIONS_OFF);
    expect_accepted(c, CONFIG_LOG_CONNECTIONS, "errors", "errors");
    assert_int_equal(c->log_connections, LOG_CONNECTIONS_ERRORS);
    expect_accepted(c, CONFIG_LOG_CONNECTIONS, "1/1000000", "1/1000000");
    assert_int_equal(c->log_connections, 1000000);
    expect_accepted(c, CONFIG_LOG_CONNECTIONS, "all", "all");
    expect_accepted(c, CONFIG_LOG_CONNECTIONS, "1/1", "all");
    assert_int_equal(c->log_connections, 1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(c, CONFIG_LOG_CONNECTIONS, bad[i], "");
    expect_accepted(c, CONFIG_LOG_CONNECTIONS, "off", "off");
    config_free(c);
}

static void table__choices__all_named_in_allowed(void **state UNUSED)
{
    struct config *c = new_config();
    unsigned n = 0;

    for (int key = 0; key < KEYS_OF_ECHO; key++) {
        const char *const *choices = schema_of_echo()->rows[key].choices;

        for (; choices && *choices; choices++, n++) {
            assert_non_null(strstr(schema_of_echo()->rows[key].allowed, *choices));
            expect_accepted(c, key, *choices, *choices);
        }
    }
    assert_int_equal(n, 4 + 2 + 2 + 2 + 3); /* levels, formats, places that are no path, affinities,
                                               sandboxes */
    assert_int_equal(c->log_level, LOG_LEVEL_ERROR);
    assert_int_equal(c->log_format, LOG_FORMAT_JSON);
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++)
        expect_accepted(c, CONFIG_LOG_LEVEL, log_level_name((enum log_level)level),
                        log_level_name((enum log_level)level));
    config_free(c);
}

/* ---- values ---- */

static void config_set__numbers__strict(void **state UNUSED)
{
    static const char *const bad[] = {
        "",           " 4",         "4 ",   "+4",   "-1",   "0x4",
        "04",         "4L",         "4.0",  "1e1",  "inf",  "nan",
        "4294967296", "4294967304", "1025", "four", "true", "18446744073709551617"};
    struct config *c = new_config();

    expect_accepted(c, CONFIG_WORKERS, "8", "8");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(c, CONFIG_WORKERS, bad[i], bad[i]);
    assert_int_equal(c->workers, 8);
    config_free(c);
}

static void config_set__durations__canonical_and_strict(void **state UNUSED)
{
    static const char *const bad[] = {"",          "-1",    "inf",   "nan",        "1e999",
                                      "86400.001", "86401", "10sec", "0x5",        "010",
                                      "1d",        "5.",    "1,5",   "4294967296", "25h"};
    struct config *c = new_config();

    expect_accepted(c, CONFIG_KEEP_ALIVE, "0.250", "0.25");
    assert_int_equal(c->keep_alive_ms, 250);
    expect_accepted(c, CONFIG_KEEP_ALIVE, "1e2", "100");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "0.0001", "0.001");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "0.0", "0");
    expect_accepted(c, CONFIG_KEEP_ALIVE, ".2", "0.2");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "200ms", "0.2");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "10s", "10");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "1.5m", "90");
    expect_accepted(c, CONFIG_KEEP_ALIVE, "24h", "86400");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(c, CONFIG_KEEP_ALIVE, bad[i], bad[i]);
    expect_refused(c, CONFIG_MESSAGE_TIMEOUT, "0", "0 is out of range");
    config_free(c);
}

static void config_set__sizes__canonical_and_strict(void **state UNUSED)
{
    static const char *const bad[] = {"",   "0",    "64kib", "64kB", "0.3",
                                      "-1", "2GiB", "0x10",  "1 MiB"};
    struct config *c = new_config();

    expect_accepted(c, KEY_MAX_MESSAGE, "65536", "64KiB");
    expect_accepted(c, KEY_MAX_MESSAGE, "1000", "1000");
    expect_accepted(c, KEY_MAX_MESSAGE, "1GiB", "1GiB");
    expect_accepted(c, KEY_MAX_MESSAGE, "64k", "64KiB");
    expect_accepted(c, KEY_MAX_MESSAGE, "1.5MiB", "1536KiB");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(c, KEY_MAX_MESSAGE, bad[i], "\"");
    config_free(c);
}

static void config_set__words__exact(void **state UNUSED)
{
    struct config *c = new_config();

    expect_accepted(c, CONFIG_DAEMON, "true", "true");
    assert_true(c->is_daemon);
    expect_accepted(c, CONFIG_DAEMON, "false", "false");
    assert_false(c->is_daemon);
    expect_refused(c, CONFIG_DAEMON, "TRUE", "\"TRUE\"");
    expect_refused(c, CONFIG_DAEMON, "1", "\"1\"");
    expect_refused(c, CONFIG_DAEMON, "", "\"\"");
    expect_refused(c, CONFIG_LOG_LEVEL, "Info", "\"Info\"");
    expect_refused(c, CONFIG_LOG_LEVEL, "notice", "\"notice\"");
    expect_refused(c, CONFIG_LOG_FORMAT, "", "\"\"");
    config_free(c);
}

static void config_set__separator__any_bytes(void **state UNUSED)
{
    struct config *c = new_config();

    expect_accepted(c, KEY_SEPARATOR, "", "");
    assert_int_equal(schema_conf_of_echo(c)->separator.len, 0);
    expect_accepted(c, KEY_SEPARATOR, "\\x00\\xfF\\x0a", "\\x00\\xff\\n");
    assert_int_equal(schema_conf_of_echo(c)->separator.len, 3);
    assert_memory_equal(schema_conf_of_echo(c)->separator.data, "\0\xff\n", 3);
    expect_accepted(c, KEY_SEPARATOR, "\n\xff\"", "\\n\\xff\\\"");
    expect_accepted(c, KEY_SEPARATOR, "a\\\\r\\\"\\t\\f", "a\\\\r\\\"\\t\\x0c");
    assert_memory_equal(schema_conf_of_echo(c)->separator.data, "a\\r\"\t\f", 6);
    expect_accepted(c, KEY_SEPARATOR, "0123456789abcdef", "0123456789abcdef");
    expect_refused(c, KEY_SEPARATOR, "0123456789abcdefg", "\"0123456789abcdefg\" is too long");
    expect_refused(c, KEY_SEPARATOR, "a\\", "\"a\\\\\" has a backslash");
    expect_refused(c, KEY_SEPARATOR, "\\q", "\"\\\\q\" has a backslash");
    expect_refused(c, KEY_SEPARATOR, "\\x4", "\"\\\\x4\" has a backslash");
    expect_refused(c, KEY_SEPARATOR, "\\xg0", "\"\\\\xg0\" has a backslash");
    config_free(c);
}

static void config_set__every_separator__reads_back(void **state UNUSED)
{
    struct config *c = new_config(), *back = new_config();

    for (unsigned i = 0; i < 65536; i += 7) {
        char *text;

        schema_conf_of_echo(c)->separator.data[0] = (uint8_t)i;
        schema_conf_of_echo(c)->separator.data[1] = (uint8_t)(i >> 8);
        schema_conf_of_echo(c)->separator.len = 1 + i % 2;
        text = config_get(c, KEY_SEPARATOR);
        assert_non_null(text);
        assert_int_equal(config_set(back, KEY_SEPARATOR, text, from_command_line, NULL, 0), 0);
        assert_int_equal(schema_conf_of_echo(back)->separator.len,
                         schema_conf_of_echo(c)->separator.len);
        assert_memory_equal(schema_conf_of_echo(back)->separator.data,
                            schema_conf_of_echo(c)->separator.data,
                            schema_conf_of_echo(c)->separator.len);
        free(text);
    }
    config_free(c);
    config_free(back);
}

static void config_set__relative_paths__joined_to_the_working_directory(void **state UNUSED)
{
    char dir[4096], expected[8192], longest[CONFIG_PATH_MAX + 1];
    struct config *c = new_config();

    assert_non_null(getcwd(dir, sizeof(dir)));
    snprintf(expected, sizeof(expected), "%s/run/echo.pid", dir);
    expect_accepted(c, CONFIG_PID_FILE, "run/echo.pid", expected);
    expect_accepted(c, CONFIG_PID_FILE, ".//./run/echo.pid", expected);
    expect_accepted(c, CONFIG_PID_FILE, "/run/echo.pid", "/run/echo.pid");
    expect_accepted(c, CONFIG_PID_FILE, "", "");
    snprintf(expected, sizeof(expected), "%s/syslog", dir);
    expect_accepted(c, CONFIG_LOG_FILE, "./syslog", expected);
    expect_accepted(c, CONFIG_LOG_FILE, "syslog", "syslog");
    memset(longest, 'x', CONFIG_PATH_MAX);
    longest[0] = '/';
    longest[CONFIG_PATH_MAX] = '\0';
    expect_refused(c, CONFIG_LOG_FILE, longest, "\"/xxxx");
    longest[CONFIG_PATH_MAX - 1] = '\0';
    expect_accepted(c, CONFIG_LOG_FILE, longest, longest);
    config_free(c);
}

static void config_set__control_path__fits_into_a_socket_s(void **state UNUSED)
{
    struct config *c = new_config();
    char text[109], dir[4096];

    memset(text, 'x', sizeof(text) - 1);
    text[0] = '/';
    text[108] = '\0';
    expect_refused(c, CONFIG_CONTROL, text, "\"/xxx");
    text[107] = '\0';
    expect_accepted(c, CONFIG_CONTROL, text, text);
    assert_non_null(getcwd(dir, sizeof(dir)));
    assert_true(strlen(dir) > 1);
    expect_refused(c, CONFIG_CONTROL, text + 1, "\"xxx");
    config_free(c);
}

static void config_set__relative_path_in_a_removed_directory__refused(void **state UNUSED)
{
    struct config *c = new_config();
    char dir[] = "/tmp/test_config.XXXXXX", before[4096];

    assert_non_null(getcwd(before, sizeof(before)));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(rmdir(dir), 0);
    expect_refused(c, CONFIG_PID_FILE, "echo.pid", "\"echo.pid\" is relative");
    expect_accepted(c, CONFIG_PID_FILE, "/echo.pid", "/echo.pid");
    assert_int_equal(chdir(before), 0);
    config_free(c);
}

/* ---- server.bind ---- */

static void config_set__bind__good_lists(void **state UNUSED)
{
    static const char *const good[] = {
        "127.0.0.1:8060",
        ":8060",
        "[::1]:8060",
        "[::]:8060",
        "localhost:8060",
        "unix:/run/echo.sock",
        "127.0.0.1:8060\n127.0.0.2:8060\n[::1]:8060\nunix:/run/echo.sock",
        "127.0.0.1:0\n127.0.0.2:0\n:0",
        "0.0.0.0:8060\n[::1]:8060",
        "127.0.0.1:8060\n:8061",
        "mode=0660,owner=www-data,group=33@unix:/run/x.sock",
        "group=a.b-c$@unix:/a@b\nmode=0000@unix:/c,mode=0777@d",
        "unix:/a\nunix:/b",
    };
    struct config *c = new_config();

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        expect_accepted(c, CONFIG_BIND, good[i], good[i]);
    assert_int_equal(c->n_bind, 2);
    assert_string_equal(c->bind[1].address, "unix:/b");
    config_free(c);
}

static void config_set__bind_with_access__one_spelling(void **state UNUSED)
{
    struct config *c = new_config(), *copy;

    expect_accepted(c, CONFIG_BIND, "unix:/a", "unix:/a");
    assert_int_equal(c->bind[0].access.mode, -1);
    expect_accepted(c, CONFIG_BIND, "group=g,mode=660@unix:/a", "mode=0660,group=g@unix:/a");
    assert_int_equal(c->bind[0].access.mode, 0660);
    assert_string_equal(c->bind[0].access.owner, "");
    assert_string_equal(c->bind[0].access.group, "g");
    assert_int_equal(c->bind[0].access.gid, (gid_t)-1);
    copy = config_copy(c);
    assert_string_equal(copy->bind[0].access.group, "g");
    config_free(copy);
    config_free(c);
}

static void config_set__bind_with_proxy__one_spelling(void **state UNUSED)
{
    struct config *c = new_config();
    const struct config_bind *bind = &c->bind[0];
    const struct config_bind *second = &c->bind[1];
    struct addr_ip ip = {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1}};

    expect_accepted(c, CONFIG_BIND, ":80", ":80");
    assert_int_equal(bind->proxy, CONFIG_PROXY_OFF);
    expect_accepted(c, CONFIG_BIND, "proxy=off@:80", ":80");
    expect_accepted(c, CONFIG_BIND,
                    "proxy_from=10.0.0.0/8+2001:0db8::/32,proxy=accept@[::1]:80\n"
                    "echo,proxy=require@unix:/a,b@c",
                    "proxy=accept,proxy_from=10.0.0.0/8+2001:db8::/32@[::1]:80\n"
                    "proxy=require@unix:/a,b@c");
    assert_int_equal(bind->proxy, CONFIG_PROXY_ACCEPT);
    assert_int_equal(bind->n_proxy_from, 2);
    assert_true(addr_nets_have(bind->proxy_from, 2, &ip));
    assert_int_equal(second->proxy, CONFIG_PROXY_REQUIRE);
    assert_int_equal(second->n_proxy_from, 0);
    assert_string_equal(second->address, "unix:/a,b@c");
    config_free(c);
}

static void config_set__the_longest_list__still_a_value(void **state UNUSED)
{
    struct config *c = new_config();
    char name[CONFIG_OWNER_LEN], path[64], *text = malloc(131072), *p = text;

    assert_non_null(text);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    for (unsigned i = 0; i < CONFIG_BIND_MAX; i++)
        p += sprintf(p, "%smode=0660,owner=%s,group=%s@unix:/%s/%.36s%02u", i ? "\n" : "", name,
                     name, path, path, i);
    expect_accepted(c, CONFIG_BIND, text, text);
    assert_true(p - text > 16384 && p - text <= CONFIG_VALUE_MAX);
    p = text;
    for (unsigned i = 0; i < CONFIG_BIND_MAX; i++) {
        p += sprintf(p, "%sproxy=require,proxy_from=", i ? "\n" : "");
        for (unsigned k = 0; k < CONFIG_PROXY_FROM_MAX; k++)
            p += sprintf(p, "%s1111:2222:3333:4444:5555:6666:7777:8888", k ? "+" : "");
        p += sprintf(p, "@[1111:2222:3333:4444:5555:6666:7777:8888]:%u", 10000 + i);
    }
    expect_accepted(c, CONFIG_BIND, text, text);
    assert_true(p - text > 65536 && p - text <= CONFIG_VALUE_MAX);
    free(text);
    config_free(c);
}

static void config_set__control_access__strict(void **state UNUSED)
{
    struct config *c = new_config();

    assert_int_equal(c->control_access.mode, -1);
    expect_accepted(c, CONFIG_CONTROL_MODE, "660", "0660");
    assert_int_equal(c->control_access.mode, 0660);
    expect_accepted(c, CONFIG_CONTROL_MODE, "", "");
    expect_refused(c, CONFIG_CONTROL_MODE, "0666", "\"0666\" is no such mode");
    expect_refused(c, CONFIG_CONTROL_MODE, "0o660", "\"0o660\" is no such mode");
    expect_refused(c, CONFIG_CONTROL_MODE, "06600", "\"06600\" is no such mode");
    expect_refused(c, CONFIG_CONTROL_MODE, "60", "\"60\" is no such mode");
    expect_accepted(c, CONFIG_CONTROL_OWNER, "monitor", "monitor");
    expect_accepted(c, CONFIG_CONTROL_OWNER, "", "");
    expect_accepted(c, CONFIG_STEER_GROUP, "4", "4");
    expect_refused(c, CONFIG_CONTROL_GROUP, "a b", "\"a b\" is no name");
    expect_refused(c, CONFIG_CONTROL_GROUP, "a@b", "\"a@b\" is no name");
    expect_refused(c, CONFIG_CONTROL_GROUP, "4294967295", "\"4294967295\" is too great a number");
    expect_accepted(c, CONFIG_CONTROL_GROUP, "4294967294", "4294967294");
    config_free(c);
}

static void config_set__bind__relative_unix_path_becomes_absolute(void **state UNUSED)
{
    struct config *c = new_config();
    char before[4096];

    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir("/tmp"), 0);
    expect_accepted(c, CONFIG_BIND, "unix:echo.sock", "unix:/tmp/echo.sock");
    expect_accepted(c, CONFIG_BIND, "unix:./echo.sock", "unix:/tmp/echo.sock");
    expect_refused(c, CONFIG_BIND, "unix:echo.sock\nunix:/tmp/echo.sock",
                   "\"unix:/tmp/echo.sock\": an element before it");
    assert_int_equal(chdir(before), 0);
    config_free(c);
}

static void config_set__bind__bad_lists(void **state UNUSED)
{
    static const struct {
        const char *text, *shown;
    } bad[] = {
        {"", "\"\": empty"},
        {"\n", "\"\": "},
        {"127.0.0.1:8060\n", "\"\": "},
        {"127.0.0.1", "\"127.0.0.1\": "},
        {"127.0.0.1:65536", "\"127.0.0.1:65536\": "},
        {"127.0.0.1:http", "\"127.0.0.1:http\": "},
        {"127.0.0.256:80", "\"127.0.0.256:80\": "},
        {"[::1:80", "\"[::1:80\": "},
        {"unix:", "\"unix:\": "},
        {"example.org:80", "\"example.org:80\": a name"},
        {"127.0.0.1:1\nexample.org:80", "\"example.org:80\": a name"},
        {"127.0.0.1:80\n127.0.0.1:80", "\"127.0.0.1:80\": an element before it"},
        {"127.0.0.1:0\n127.0.0.1:0", "\"127.0.0.1:0\": an element before it"},
        {"127.0.0.1:80\nlocalhost:80", "\"localhost:80\": an element before it"},
        {"[::1]:80\n[0:0::1]:80", "\"[0:0::1]:80\": an element before it"},
        {":80\n127.0.0.1:80", "\"127.0.0.1:80\": an element before it"},
        {"[::1]:80\n:80", "\":80\": an element before it"},
        {"0.0.0.0:80\n127.0.0.1:80", "\"127.0.0.1:80\": an element before it"},
        {"[::1]:80\n[::]:80", "\"[::]:80\": an element before it"},
        {"unix:/a\nunix:/a", "\"unix:/a\": an element before it"},
        {"mode=0660@127.0.0.1:80", "\"127.0.0.1:80\": only a unix socket has a mode"},
        {"group=g@:80", "\":80\": only a unix socket has a mode"},
        {"mode=0860@unix:/a", "\"mode=0860@unix:/a\": mode is octal digits up to 0777"},
        {"mode=1777@unix:/a", "\"mode=1777@unix:/a\": mode is octal digits up to 0777"},
        {"mode=@unix:/a", "\"mode=@unix:/a\": mode is octal digits up to 0777"},
        {"proxy=require@:80", "\":80\": proxy needs proxy_from"},
        {"proxy=accept@:80", "\":80\": proxy needs proxy_from"},
        {"proxy_from=::1@:80", "\":80\": proxy_from has a meaning only with proxy"},
        {"proxy=off,proxy_from=::1@:80", "\":80\": proxy_from has a meaning only with proxy"},
        {"proxy=accept,proxy_from=::1@unix:/a", "\"unix:/a\": peers of a unix socket have no"},
        {"proxy=maybe@:80", "\"proxy=maybe@:80\": proxy is off, accept or require"},
        {"proxy=accept,proxy=require@:80",
         "\"proxy=require@:80\": proxy is off, accept or require, and said once"},
        {"proxy=accept,proxy_from=@:80", "\"proxy_from=@:80\": proxy_from is up to 32"},
        {"proxy=accept,proxy_from=10.0.0.1/8@:80",
         "\"proxy_from=10.0.0.1/8@:80\": proxy_from is up to 32"},
        {"proxy=accept,proxy_from=::1+@:80", "\"proxy_from=::1+@:80\": proxy_from is up to 32"},
        {"proxy=accept,proxy_from=::1,proxy_from=::2@:80",
         "\"proxy_from=::2@:80\": proxy_from is up to 32"},
        {"proxy=accept,proxy_from=::1,::2@:80", "\"::2@:80\": no name of a protocol; +"},
        {"owner=@unix:/a", "\"owner=@unix:/a\": owner is the name or the number"},
        {"mode=0660,mode=0600@unix:/a", "\"mode=0600@unix:/a\": mode is octal digits up to 0777"},
        {"owner=a,owner=b@unix:/a", "\"owner=b@unix:/a\": owner is the name or the number"},
        {"mood=1@unix:/a", "\"mood=1@unix:/a\": no mode=MODE"},
        {",mode=0660@unix:/a", "\",mode=0660@unix:/a\": there is no such protocol"},
    };
    struct config *c = new_config();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(c, CONFIG_BIND, bad[i].text, bad[i].shown);
    config_free(c);
}

static void config_set__bind__at_most_64(void **state UNUSED)
{
    struct config *c = new_config();
    char text[2048] = "", *p = text;

    for (unsigned i = 1; i <= CONFIG_BIND_MAX; i++)
        p += sprintf(p, "%s127.0.0.1:%u", i > 1 ? "\n" : "", i);
    expect_accepted(c, CONFIG_BIND, text, text);
    strcpy(p, "\n127.0.0.1:65");
    expect_refused(c, CONFIG_BIND, text, "\"127.0.0.1:65\": one too many");
    assert_int_equal(c->n_bind, CONFIG_BIND_MAX);
    config_free(c);
}

static void config_set__trusted__networks(void **state UNUSED)
{
    struct config *c = new_config();
    char text[2048] = "", *p = text;

    expect_accepted(c, CONFIG_TRUSTED, "10.0.0.0/8\n::1", "10.0.0.0/8\n::1");
    assert_int_equal(c->n_trusted, 2);
    expect_accepted(c, CONFIG_TRUSTED, "192.0.2.1,2001:db8::/32", "192.0.2.1\n2001:db8::/32");
    expect_refused(c, CONFIG_TRUSTED, "10.0.0.0/8\n", "\"\": it is neither");
    expect_refused(c, CONFIG_TRUSTED, "10.0.0.0/8,", "\"\": it is neither");
    expect_refused(c, CONFIG_TRUSTED, "::1\n10.0.0.1/8", "\"10.0.0.1/8\": the address has bits");
    expect_accepted(c, CONFIG_TRUSTED, "", "");
    assert_int_equal(c->n_trusted, 0);
    for (unsigned i = 1; i <= CONFIG_TRUSTED_MAX; i++)
        p += sprintf(p, "%s2001:db8:ffff:ffff:ffff::%x/128", i > 1 ? "\n" : "", i);
    assert_int_equal(config_set(c, CONFIG_TRUSTED, text, (struct config_origin){0}, NULL, 0), 0);
    assert_int_equal(c->n_trusted, CONFIG_TRUSTED_MAX);
    strcpy(p, "\n::1");
    expect_refused(c, CONFIG_TRUSTED, text, "\"::1\": one too many");
    config_free(c);
}

/* ---- messages ---- */

static void config_set__hostile_value__shown_escaped_and_cut(void **state UNUSED)
{
    struct config *c = new_config();
    char text[1000], why[CONFIG_WHY_LEN];

    expect_refused(c, CONFIG_WORKERS, "", "\"\" is not understood");
    expect_refused(c, CONFIG_LOG_LEVEL, "a\033[2J\n\xff\"", "\"a\\x1b[2J\\n\\xff\\\"\" is");
    memset(text, '\001', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(config_set(c, CONFIG_WORKERS, text, from_command_line, why, sizeof(why)),
                     -EINVAL);
    assert_non_null(strstr(why, "\\x01... is not understood, allowed: a whole number"));
    for (const char *p = why; *p; p++)
        assert_true(*p >= 0x20 && *p < 0x7f);
    config_free(c);
}

static void config_set__small_buffer_for_why__cut_with_nul(void **state UNUSED)
{
    struct config *c = new_config();
    char why[8] = "#######";

    assert_int_equal(config_set(c, CONFIG_WORKERS, "x", from_command_line, why, 5), -EINVAL);
    assert_string_equal(why, "arbi");
    assert_string_equal(why + 5, "##");
    config_free(c);
}

/* ---- across keys ---- */

static void set(struct config *c, int key, const char *text)
{
    char why[CONFIG_WHY_LEN] = "";

    if (config_set(c, key, text, from_command_line, why, sizeof(why)) != 0)
        fail_msg("%s", why);
}

static void config_check__message_larger_than_buffers__names_both(void **state UNUSED)
{
    struct config *c = new_config();
    char why[CONFIG_WHY_LEN] = "";

    set(c, CONFIG_MAX_BUFFERED, "1MiB");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "command line: server.max_buffered: "));
    assert_non_null(strstr(why, "\"16MiB\""));
    assert_non_null(strstr(why, "\"1MiB\""));
    assert_non_null(strstr(why, ", allowed: "));
    set(c, KEY_MAX_MESSAGE, "262144");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    set(c, KEY_MAX_MESSAGE, "262145");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "command line: server.max_message: messages of \"262145\""));
    config_free(c);
}

static void config_check__control_mode_locks_the_group_out__refused(void **state UNUSED)
{
    struct config *c = new_config();
    char why[CONFIG_WHY_LEN] = "";

    expect_accepted(c, CONFIG_CONTROL_MODE, "0640", "0640");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    expect_accepted(c, CONFIG_CONTROL_GROUP, "7", "7");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "arbiter.control_mode: 0640 lets no member of "
                                "arbiter.control_group connect"));
    expect_accepted(c, CONFIG_CONTROL_GROUP, "", "");
    expect_accepted(c, CONFIG_STEER_GROUP, "7", "7");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "no member of arbiter.steer_group connect"));
    expect_accepted(c, CONFIG_CONTROL_MODE, "0620", "0620");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    config_free(c);
}

static void status_bind__one_tcp_address__or_none(void **state UNUSED)
{
    static const char *const addresses[] = {":9100", "127.0.0.1:0", "[::1]:9100", "localhost:9100",
                                            ""};
    struct config *c = new_config();

    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
        expect_accepted(c, CONFIG_STATUS_BIND, addresses[i], addresses[i]);
    expect_refused(c, CONFIG_STATUS_BIND, "unix:/run/x", "\"unix:/run/x\" is a unix socket");
    expect_refused(c, CONFIG_STATUS_BIND, "example.com:80", "\"example.com:80\" is a name");
    expect_refused(c, CONFIG_STATUS_BIND, "127.0.0.1", "\"127.0.0.1\": ");
    expect_refused(c, CONFIG_STATUS_BIND, "http://127.0.0.1:80", "\"http://127.0.0.1:80\"");
    expect_refused(c, CONFIG_STATUS_BIND, ":65536", "\":65536\": ");
    expect_refused(c, CONFIG_STATUS_BIND, ":1\n:2", "\":1\\n:2\": ");
    config_free(c);
}

static void config_check__status_at_a_served_address__refused(void **state UNUSED)
{
    static const struct {
        const char *served, *status;
        int result;
    } rows[] = {
        {":9100", "127.0.0.1:9100", -EINVAL},
        {"127.0.0.1:9100", ":9100", -EINVAL},
        {"127.0.0.1:9100", "127.0.0.1:9100", -EINVAL},
        {"127.0.0.1:9100", "127.0.0.2:9100", 0},
        {":9100", ":9101", 0},
        {"127.0.0.1:0", "127.0.0.1:0", 0},
        {"unix:/run/x", ":9100", 0},
        {":9100", "", 0},
    };
    char why[CONFIG_WHY_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config *c = new_config();

        expect_accepted(c, CONFIG_BIND, rows[i].served, rows[i].served);
        expect_accepted(c, CONFIG_STATUS_BIND, rows[i].status, rows[i].status);
        assert_int_equal(config_check(c, why, sizeof(why)), rows[i].result);
        if (rows[i].result < 0)
            assert_non_null(strstr(why, "is what server.bind has, allowed: "));
        config_free(c);
    }
}

static void config_check__files_of_two_uses__refused(void **state UNUSED)
{
    struct config *c = new_config();
    char why[CONFIG_WHY_LEN] = "";

    set(c, CONFIG_PID_FILE, "/run/a");
    set(c, CONFIG_LOG_FILE, "/run/b");
    set(c, CONFIG_BIND, "127.0.0.1:1\nunix:/run/c");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    set(c, CONFIG_LOG_FILE, "/run/a");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "command line: arbiter.pid_file: \"/run/a\" is what log.file has"));
    set(c, CONFIG_LOG_FILE, "/run/c");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "log.file: \"/run/c\""));
    set(c, CONFIG_LOG_FILE, "");
    set(c, CONFIG_PID_FILE, "/run/c");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "arbiter.pid_file: \"/run/c\""));
    set(c, CONFIG_PID_FILE, "");
    set(c, CONFIG_CONTROL, "/run/c");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "arbiter.control: \"/run/c\" is what server.bind has"));
    set(c, CONFIG_CONTROL, "");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    config_free(c);
}

static void config_check__one_path_in_two_ways__refused(void **state UNUSED)
{
    static const struct {
        const char *a, *b;
        int result;
    } rows[] = {
        {"/run/a", "//run/./a", -EINVAL}, {"/run/a", "/run//a", -EINVAL},
        {"/run/./a", "/run/a", -EINVAL},  {"/run/a", "/run/a/", -EINVAL},
        {"/run/a", "/run/.a", 0},         {"/run/a", "/run/a.", 0},
        {"/run/a", "/run/aa", 0},         {"/run/a", "/run/a/a", 0},
        {"/run/a", "/run/../a", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config *c = new_config();
        char why[CONFIG_WHY_LEN] = "";

        set(c, CONFIG_PID_FILE, rows[i].a);
        set(c, CONFIG_LOG_FILE, rows[i].b);
        assert_int_equal(config_check(c, why, sizeof(why)), rows[i].result);
        config_free(c);
    }
}

static void config_check__the_control_sockets_default__is_a_path_too(void **state UNUSED)
{
    struct config *c = new_config();
    char why[CONFIG_WHY_LEN] = "";

    setenv("RUNTIME_DIRECTORY", "/run/service", 1);
    set(c, CONFIG_BIND, "unix:/run/service/control");
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "command line: server.bind: \"/run/service/control\" is what "
                                "arbiter.control has"));
    unsetenv("RUNTIME_DIRECTORY");
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    config_free(c);
}

static void config_where__each_origin__named(void **state UNUSED)
{
    struct config *c = new_config();
    struct config_origin file = {ORIGIN_FILE, 12};
    char buf[CONFIG_WHERE_LEN];

    strcpy(c->path, "/etc/echo.conf");
    assert_string_equal(config_where(c, CONFIG_WORKERS, buf), "default");
    set(c, CONFIG_WORKERS, "1");
    assert_string_equal(config_where(c, CONFIG_WORKERS, buf), "command line");
    assert_int_equal(config_set(c, CONFIG_WORKERS, "2", file, NULL, 0), 0);
    assert_string_equal(config_where(c, CONFIG_WORKERS, buf), "/etc/echo.conf:12");
    config_free(c);
}

static void config_set__cpus__a_mode_or_a_list(void **state UNUSED)
{
    struct config *c = new_config();

    expect_accepted(c, CONFIG_CPU_AFFINITY, "3,0-1", "0-1,3");
    assert_int_equal(c->cpu_affinity, AFFINITY_LIST);
    expect_refused(c, CONFIG_CPU_AFFINITY, "on", "\"on\" is no list of CPUs");
    expect_refused(c, CONFIG_CPU_AFFINITY, "", "\"\" is no list of CPUs");
    expect_refused(c, CONFIG_CPU_AFFINITY, "auto,1", "\"auto,1\" is no list of CPUs");
    expect_refused(c, CONFIG_CPU_AFFINITY, "0,4096",
                   "\"0,4096\" has a number that is out of range");
    expect_accepted(c, CONFIG_CPU_AFFINITY, "auto", "auto");
    expect_accepted(c, CONFIG_CPU_AFFINITY, "off", "off");
    config_free(c);
}

static void config_check__cpu_that_is_not_allowed__named_with_those_that_are(void **state UNUSED)
{
    struct config *c = new_config();
    char why[CONFIG_WHY_LEN], expected[CONFIG_WHY_LEN], text[CPUS_TEXT_LEN];
    cpu_set_t allowed;
    unsigned other = 0;

    assert_int_equal(cpus_allowed(&allowed), 0);
    cpus_format(&allowed, text);
    set(c, CONFIG_CPU_AFFINITY, text);
    assert_int_equal(config_check(c, why, sizeof(why)), 0);
    while (CPU_ISSET(other, &allowed))
        other++;
    CPU_SET(other, &allowed);
    set(c, CONFIG_CPU_AFFINITY, cpus_format(&allowed, text));
    CPU_CLR(other, &allowed);
    assert_int_equal(config_check(c, why, sizeof(why)), -EINVAL);
    snprintf(expected, sizeof(expected),
             "command line: arbiter.cpu_affinity: CPU %u is none that the server may use, "
             "allowed: %.99s",
             other, cpus_format(&allowed, text));
    assert_string_equal(why, expected);
    config_free(c);
}

static void config_cpu__slots__go_round_the_allowed_or_the_listed(void **state UNUSED)
{
    static const int of_auto[] = {1, 2, 3, 9, 1}, of_list[] = {2, 9, 2, 9, 2};
    struct config *c = new_config();
    cpu_set_t allowed;

    assert_int_equal(cpus_parse("1-3,9", &allowed), 0);
    assert_int_equal(config_cpu(c, &allowed, 1), -1);
    for (unsigned i = 0; i < ARRAY_SIZE(of_auto); i++) {
        set(c, CONFIG_CPU_AFFINITY, "auto");
        assert_int_equal(config_cpu(c, &allowed, i + 1), of_auto[i]);
        set(c, CONFIG_CPU_AFFINITY, "2,9");
        assert_int_equal(config_cpu(c, &allowed, i + 1), of_list[i]);
    }
    assert_int_equal(config_effective_workers(c), 2);
    set(c, CONFIG_WORKERS, "5");
    assert_int_equal(config_effective_workers(c), 5);
    config_free(c);
}

static void config_effective_workers__zero__one_for_each_cpu_of_the_mask(void **state UNUSED)
{
    struct config *c = new_config();
    cpu_set_t before, one;
    struct cpu_quota quota; /* of the container that this may run in */
    char why[CONFIG_WORKERS_WHY_LEN];

    cpu_quota_read("", &quota);
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(config_effective_workers(c),
                     quota.cpus ? MIN((int)quota.cpus, CPU_COUNT(&before)) : CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (size_t cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(config_explain_workers(c, why, sizeof(why)), 1);
    assert_string_equal(why, "1 CPU");
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    set(c, CONFIG_WORKERS, "1000");
    assert_int_equal(config_explain_workers(c, why, sizeof(why)), 1000);
    assert_string_equal(why, "arbiter.workers");
    config_free(c);
}

/* ---- diff and dump ---- */

struct changes {
    char text[1024];
    size_t len;
};

static void on_change(const struct config_row *row, const char *old_text, const char *new_text,
                      void *userdata)
{
    struct changes *changes = userdata;

    changes->len +=
        (size_t)snprintf(changes->text + changes->len, sizeof(changes->text) - changes->len,
                         "%s: %s -> %s\n", row->name, old_text, new_text);
}

/* A configuration with those keys from its file. */
static struct config *from_file(const int *keys, size_t n)
{
    struct config *c = config_new(schema_of_echo());

    assert_non_null(c);
    for (size_t i = 0; i < n; i++)
        c->origin[keys[i]] = (struct config_origin){ORIGIN_FILE, (unsigned)i + 1};
    return c;
}

static void config_has_lost_all__every_pair_of_groups__only_without_any(void **state UNUSED)
{
    /* Bits of a set: a key of arbiter, two of server, one of log. */
    static const int keys[] = {CONFIG_WORKERS, CONFIG_BIND, KEY_SEPARATOR, CONFIG_LOG_LEVEL};
    static const unsigned group_of[] = {1, 2, 2, 4};

    for (unsigned old_set = 0; old_set < 16; old_set++) {
        for (unsigned new_set = 0; new_set < 16; new_set++) {
            int in_old[4], in_new[4];
            unsigned n_old = 0, n_new = 0, old_groups = 0, new_groups = 0;

            for (unsigned i = 0; i < 4; i++) {
                if (old_set & (1u << i))
                    in_old[n_old++] = keys[i], old_groups |= group_of[i];
                if (new_set & (1u << i))
                    in_new[n_new++] = keys[i], new_groups |= group_of[i];
            }
            struct config *old = from_file(in_old, n_old), *new = from_file(in_new, n_new);
            assert_int_equal(config_has_lost_all(old, new),
                             old_groups != 0 && (old_groups & new_groups) == 0);
            config_free(old);
            config_free(new);
        }
    }
}

static void config_diff__changed_keys__told_in_table_order(void **state UNUSED)
{
    struct config *old = new_config(), *new = new_config();
    struct changes changes = {.len = 0};

    set(new, CONFIG_LOG_LEVEL, "debug");
    set(new, CONFIG_KEEP_ALIVE, "0.5");
    set(new, CONFIG_BIND, "127.0.0.1:8060\n:8061");
    set(new, CONFIG_WORKERS, "0"); /* only the origin differs */
    set(new, KEY_MAX_MESSAGE, "16777216");
    set(new, KEY_SEPARATOR, "\\x0d\\n\\r\\n");
    assert_int_equal(config_diff(old, new, on_change, &changes), 3);
    assert_string_equal(changes.text, "server.bind: 127.0.0.1:8060 -> 127.0.0.1:8060\n:8061\n"
                                      "server.keep_alive: 0 -> 0.5\n"
                                      "log.level: info -> debug\n");
    config_free(old);
    config_free(new);
}

static void config_dump__origins_and_quotes__in_the_files_syntax(void **state UNUSED)
{
    struct config *c = new_config();
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    set(c, CONFIG_LOG_FILE, "/a\"b\\c\nd");
    set(c, CONFIG_BIND, "127.0.0.1:1\nunix:/a b");
    set(c, KEY_SEPARATOR, "\"\\n");
    assert_int_equal(config_dump(c, f), 0);
    fclose(f);
    assert_non_null(strstr(text, "arbiter = {\n    workers = 0;  # default\n"));
    assert_non_null(strstr(text, "    file = \"/a\\\"b\\\\c\\x0ad\";  # command line\n"));
    assert_non_null(strstr(text, "    bind = [\"127.0.0.1:1\", \"unix:/a b\"];  # command line\n"));
    assert_non_null(strstr(text, "    separator = \"\\\"\\n\";  # command line\n"));
    free(text);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__every_row__complete_and_found_by_name),
        cmocka_unit_test(table__defaults__canonical_and_of_origin_default),
        cmocka_unit_test(table__bounds__enforced_and_named_in_allowed),
        cmocka_unit_test(config_set__connections__words_and_samples),
        cmocka_unit_test(table__choices__all_named_in_allowed),
        cmocka_unit_test(config_set__numbers__strict),
        cmocka_unit_test(config_set__durations__canonical_and_strict),
        cmocka_unit_test(config_set__sizes__canonical_and_strict),
        cmocka_unit_test(config_set__words__exact),
        cmocka_unit_test(config_set__separator__any_bytes),
        cmocka_unit_test(config_set__every_separator__reads_back),
        cmocka_unit_test(config_set__relative_paths__joined_to_the_working_directory),
        cmocka_unit_test(config_set__control_path__fits_into_a_socket_s),
        cmocka_unit_test(config_set__relative_path_in_a_removed_directory__refused),
        cmocka_unit_test(config_set__bind__good_lists),
        cmocka_unit_test(config_set__bind__relative_unix_path_becomes_absolute),
        cmocka_unit_test(config_set__bind_with_access__one_spelling),
        cmocka_unit_test(config_set__bind_with_proxy__one_spelling),
        cmocka_unit_test(config_set__the_longest_list__still_a_value),
        cmocka_unit_test(config_set__control_access__strict),
        cmocka_unit_test(config_set__bind__bad_lists),
        cmocka_unit_test(config_set__bind__at_most_64),
        cmocka_unit_test(config_set__trusted__networks),
        cmocka_unit_test(config_set__hostile_value__shown_escaped_and_cut),
        cmocka_unit_test(config_set__small_buffer_for_why__cut_with_nul),
        cmocka_unit_test(config_check__message_larger_than_buffers__names_both),
        cmocka_unit_test(config_check__control_mode_locks_the_group_out__refused),
        cmocka_unit_test(status_bind__one_tcp_address__or_none),
        cmocka_unit_test(config_check__status_at_a_served_address__refused),
        cmocka_unit_test(config_check__files_of_two_uses__refused),
        cmocka_unit_test(config_check__one_path_in_two_ways__refused),
        cmocka_unit_test(config_check__the_control_sockets_default__is_a_path_too),
        cmocka_unit_test(config_where__each_origin__named),
        cmocka_unit_test(config_set__cpus__a_mode_or_a_list),
        cmocka_unit_test(config_check__cpu_that_is_not_allowed__named_with_those_that_are),
        cmocka_unit_test(config_cpu__slots__go_round_the_allowed_or_the_listed),
        cmocka_unit_test(config_effective_workers__zero__one_for_each_cpu_of_the_mask),
        cmocka_unit_test(config_has_lost_all__every_pair_of_groups__only_without_any),
        cmocka_unit_test(config_diff__changed_keys__told_in_table_order),
        cmocka_unit_test(config_dump__origins_and_quotes__in_the_files_syntax),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
