/*
 * The configuration as JSON, and the parsing child's answer that is made of it: what is encoded is
 * decoded, and whatever else comes out of the pipe (cut, repeated, of another type) is refused as a
 * whole.
 */
#include "conf/config_codec.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/json_text.h"
#include "base/util.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"
#include "support/schema.h"

static const char path[] = "/echo.conf";
static const char bad_answer[] =
    "/echo.conf: the parser failed: its answer is not complete or not understood";

static void set(struct config *c, int key, const char *text, unsigned line)
{
    struct config_origin origin = {line ? ORIGIN_FILE : ORIGIN_COMMAND_LINE, line};

    assert_int_equal(config_set(c, key, text, origin, NULL, 0), 0);
}

static struct config *new_filled_config(void)
{
    struct config *c = config_new(schema_of_echo());

    assert_non_null(c);
    set(c, CONFIG_WORKERS, "3", 2);
    set(c, CONFIG_PID_FILE, "/a\nvalue b\xff\x80\xc3", 70000);
    set(c, CONFIG_BIND, "127.0.0.1:1\nunix:/x", 5);
    set(c, KEY_SEPARATOR, "", 6);
    set(c, CONFIG_LOG_LEVEL, "error", 0);
    return c;
}

static void expect_same(const struct config *a, const struct config *b)
{
    assert_int_equal(config_diff(a, b, NULL, NULL), 0);
    assert_memory_equal(a->origin, b->origin, sizeof(a->origin));
}

static void codec__values__come_through_with_their_lines(void **state UNUSED)
{
    struct config *c = new_filled_config(), *back = config_new(schema_of_echo());
    struct config_errors errors = {.n = 0};
    json_t *values = config_encode(c);

    assert_int_equal(json_array_size(values), 5);
    assert_int_equal(config_decode(back, values, path, &errors), 0);
    assert_int_equal(errors.n, 0);
    expect_same(c, back);
    json_decref(values);
    config_free(c);
    config_free(back);
}

/* For who asks a server what it runs with. */
static void config_json__each_kind__a_value_of_its_type(void **state UNUSED)
{
    static const struct {
        int key;
        const char *text, *json;
    } rows[] = {
        {CONFIG_WORKERS, "3", "3"},
        {CONFIG_KEEP_ALIVE, "250ms", "0.25"},
        {CONFIG_EXIT_TIMEOUT, "1m", "60"},
        {CONFIG_MAX_BUFFERED, "16M", "16777216"},
        {CONFIG_DAEMON, "true", "true"},
        {CONFIG_LOG_LEVEL, "error", "\"error\""},
        {CONFIG_PID_FILE, "/a\xff", "\"/a\xc3\xbf\""},
        {CONFIG_BIND, ":1\nunix:/x", "[\":1\",\"unix:/x\"]"},
        {CONFIG_TRUSTED, "", "[]"},
    };
    struct config *c = config_new(schema_of_echo());

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *value;
        char *text;

        set(c, rows[i].key, rows[i].text, 1);
        value = config_json(c, rows[i].key);
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        assert_non_null(text);
        assert_string_equal(text, rows[i].json);
        free(text);
        json_decref(value);
    }
    config_free(c);
}

static void config_copy__everything__the_same_and_apart(void **state UNUSED)
{
    struct config *c = new_filled_config(), *copy = config_copy(c);

    expect_same(c, copy);
    assert_ptr_not_equal(c->bind[0].address, copy->bind[0].address);
    config_free(c);
    assert_string_equal(copy->bind[1].address, "unix:/x");
    config_free(copy);
}

/* @answer as the child writes it: what config_child_result makes of it. */
static int take(const char *answer, struct config **ret, struct config_errors *errors)
{
    const size_t len = strlen(answer);
    char *exact = malloc(len ? len : 1); /* for the sanitizer: nothing behind it */
    int r;

    assert_non_null(exact);
    memcpy(exact, answer, len);
    *ret = NULL;
    r = config_child_result(schema_of_echo(), path, exact, len, 0, NULL, 0, ret, errors);
    free(exact);
    return r;
}

static void expect_refused(const char *answer)
{
    struct config_errors errors = {.n = 0};
    struct config *c;

    if (take(answer, &c, &errors) != -EINVAL || errors.n != 1 ||
        strcmp(errors.text[0], bad_answer) != 0)
        fail_msg("\"%s\" is not refused: %s", answer, errors.n ? errors.text[0] : "no error");
    assert_null(c);
    config_errors_fini(&errors);
}

#define LEVEL    "{\"key\":\"log.level\",\"line\":1,\"text\":\"info\"}"
#define NO_ERROR "\"owners\":{},\"errors\":[],\"dropped\":0,\"unclear\":false"
#define GOOD     "{\"values\":[" LEVEL "]," NO_ERROR "}"

static void child_result__every_prefix__refused(void **state UNUSED)
{
    char answer[] = GOOD;
    struct config_errors errors = {.n = 0};
    struct config *c;

    assert_int_equal(take(answer, &c, &errors), 0);
    assert_int_equal(c->log_level, LOG_LEVEL_INFO);
    assert_int_equal(c->origin[CONFIG_LOG_LEVEL].line, 1);
    config_free(c);
    for (size_t len = strlen(answer); len-- > 0;) {
        answer[len] = '\0';
        expect_refused(answer);
    }
}

static void child_result__nonsense__refused(void **state UNUSED)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        GOOD "x",
        "{\"values\":[" LEVEL "," LEVEL "]," NO_ERROR "}",
        "{\"values\":[" LEVEL "]," NO_ERROR ",\"more\":1}",
        "{\"values\":{}," NO_ERROR "}",
        "{\"values\":[1]," NO_ERROR "}",
        "{\"values\":[],\"owners\":{},\"errors\":[]}",
        "{\"values\":[],\"owners\":{},\"errors\":[],\"dropped\":0,\"unclear\":0}",
        "{\"values\":[],\"owners\":{},\"errors\":{},\"dropped\":0,\"unclear\":false}",
        "{\"values\":[],\"owners\":{},\"errors\":[],\"dropped\":-1,\"unclear\":false}",
        "{\"values\":[],\"owners\":{},\"errors\":[],\"dropped\":4294967296,\"unclear\":false}",
        "{\"values\":[],\"owners\":{},\"errors\":[{\"line\":1,\"text\":\"\"}],\"dropped\":0,"
        "\"unclear\":false}",
        "{\"values\":[],\"owners\":{},\"errors\":[{\"line\":-1,\"text\":\"x\"}],\"dropped\":0,"
        "\"unclear\":false}",
        "{\"values\":[],\"owners\":{},\"errors\":[{\"text\":\"x\"}],\"dropped\":0,\"unclear\":"
        "false}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":0,\"text\":\"info\"}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":4294967296,\"text\":\"info\"}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":1.5,\"text\":\"info\"}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":1,\"text\":1}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":1,\"text\":\"\u20ac\"}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"line\":1,\"text\":\"info\",\"x\":1}]," NO_ERROR "}",
        "{\"values\":[{\"key\":\"log.level\",\"key\":\"log.level\",\"line\":1,\"text\":\"\"}]"
        "," NO_ERROR "}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(bad[i]);
}

/* What the child has found, what the parent refuses and what did not fit, in the order of lines. */
static void child_result__errors_of_both__told_together(void **state UNUSED)
{
    static const char *const expected[] = {
        "/echo.conf:1: of the child \xff",
        "/echo.conf:2: log.level: \"loud\" is not known, allowed: ",
        "/echo.conf:3: log.lavel: this version has no such key",
        "/echo.conf:4: of the child, too",
        "/echo.conf: 7 more of this kind",
    };
    struct config_errors errors = {.n = 0};
    struct config *c;

    assert_int_equal(
        take("{\"values\":["
             "{\"key\":\"log.lavel\",\"line\":3,\"text\":\"info\"},"
             "{\"key\":\"log.level\",\"line\":2,\"text\":\"loud\"}],\"owners\":{},\"errors\":["
             "{\"line\":1,\"text\":\"/echo.conf:1: of the child \u00ff\"},"
             "{\"line\":4,\"text\":\"/echo.conf:4: of the child, too\"}],"
             "\"dropped\":7,\"unclear\":true}",
             &c, &errors),
        -EINVAL);
    assert_null(c);
    assert_int_equal(errors.n, ARRAY_SIZE(expected));
    for (size_t i = 0; i < errors.n; i++)
        if (strncmp(errors.text[i], expected[i], strlen(expected[i])) != 0)
            fail_msg("%s", errors.text[i]);
    config_errors_fini(&errors);
}

static void child_result__nothing__says_how_the_child_ended(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    assert_int_equal(
        config_child_result(schema_of_echo(), path, "", 0, SIGSEGV, NULL, 0, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_non_null(
        strstr(errors.text[0], "/echo.conf: the parser failed: it crashed with signal 11"));
    config_errors_fini(&errors);
    assert_null(c);
}

static void json_text__any_bytes__come_back(void **state UNUSED)
{
    char bytes[256], *back;
    json_t *value;

    for (int i = 1; i < 256; i++)
        bytes[i - 1] = (char)i;
    bytes[255] = '\0';
    value = json_text(bytes);
    assert_int_equal(json_text_read(value, &back), 0);
    assert_string_equal(back, bytes);
    json_decref(value);
    free(back);
    value = json_null();
    assert_int_equal(json_text_read(value, &back), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codec__values__come_through_with_their_lines),
        cmocka_unit_test(config_copy__everything__the_same_and_apart),
        cmocka_unit_test(config_json__each_kind__a_value_of_its_type),
        cmocka_unit_test(child_result__every_prefix__refused),
        cmocka_unit_test(child_result__nonsense__refused),
        cmocka_unit_test(child_result__errors_of_both__told_together),
        cmocka_unit_test(child_result__nothing__says_how_the_child_ended),
        cmocka_unit_test(json_text__any_bytes__come_back),
    };

    return cmocka_run_group_tests_name("config_codec", tests, NULL, NULL);
}
