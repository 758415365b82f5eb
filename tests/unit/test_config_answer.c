/*
 * The parsing child's answer: what is encoded is decoded, and whatever else comes out of the pipe
 * (cut, repeated, reordered, lengthened) is refused as a whole.
 */
#include "conf/config_answer.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"

static struct config *new_config(void)
{
    struct config *c = config_new();

    assert_non_null(c);
    return c;
}

static void set(struct config *c, enum config_key key, const char *text, unsigned line)
{
    struct config_origin origin = {ORIGIN_FILE, line};

    assert_int_equal(config_set(c, key, text, origin, NULL, 0), 0);
}

static struct config *new_filled_config(void)
{
    struct config *c = new_config();

    set(c, CONFIG_WORKERS, "3", 2);
    set(c, CONFIG_PID_FILE, "/a\nvalue b\xff", 70000);
    set(c, CONFIG_BIND, "127.0.0.1:1\nunix:/x", 5);
    set(c, CONFIG_SEPARATOR, "", 6);
    return c;
}

static void encode(const struct config *c, const struct config_errors *errors, char **ret_data,
                   size_t *ret_len)
{
    assert_int_equal(config_answer_encode(c, errors, ret_data, ret_len), 0);
    assert_true(*ret_len < CONFIG_ANSWER_MAX_BYTES);
}

static int decode(const char *data, size_t len, struct config *c, struct config_errors *errors)
{
    char *exact = malloc(len ? len : 1); /* for the sanitizer: nothing behind it */
    int r;

    assert_non_null(exact);
    memcpy(exact, data, len);
    r = config_answer_decode(exact, len, c, errors);
    free(exact);
    return r;
}

static void expect_refused(const char *data, size_t len)
{
    struct config_errors errors = {.n = 0};
    struct config *c = new_config();

    if (decode(data, len, c, &errors) != -EBADMSG)
        fail_msg("\"%.*s\" is not refused", (int)len, data);
    config_errors_fini(&errors);
    config_free(c);
}

static void answer__values__come_through_with_their_lines(void **state UNUSED)
{
    struct config *c = new_filled_config(), *back = new_config();
    struct config_errors none = {.n = 0};
    size_t len;
    char *data;

    encode(c, &none, &data, &len);
    assert_int_equal(decode(data, len, back, &none), 0);
    assert_int_equal(config_diff(c, back, NULL, NULL), 0);
    for (int key = 0; key < CONFIG_KEYS; key++) {
        assert_int_equal(back->origin[key].kind, c->origin[key].kind);
        assert_int_equal(back->origin[key].line, c->origin[key].line);
    }
    free(data);
    config_free(c);
    config_free(back);
}

static void answer__errors__come_through_and_no_values(void **state UNUSED)
{
    struct config *c = new_filled_config(), *back = new_config();
    struct config_errors errors = {.n = 0}, back_errors = {.n = 0};
    size_t len;
    char *data;

    for (unsigned i = 0; i < 2 * CONFIG_ERRORS_MAX; i++)
        config_errors_add(&errors, "/echo.conf", i + 1, "line\n%u \xff", i);
    config_errors_close(&errors, "/echo.conf");
    encode(c, &errors, &data, &len);
    assert_int_equal(decode(data, len, back, &back_errors), -EINVAL);
    assert_int_equal(back_errors.n, CONFIG_ERRORS_MAX);
    for (size_t i = 0; i < errors.n; i++) {
        assert_string_equal(back_errors.text[i], errors.text[i]);
        assert_int_equal(back_errors.line[i], errors.line[i]);
    }
    assert_int_equal(back->origin[CONFIG_WORKERS].kind, ORIGIN_DEFAULT);
    free(data);
    config_errors_fini(&errors);
    config_errors_fini(&back_errors);
    config_free(c);
    config_free(back);
}

static void answer__every_prefix__refused(void **state UNUSED)
{
    struct config *c = new_filled_config();
    struct config_errors none = {.n = 0};
    size_t len;
    char *data;

    encode(c, &none, &data, &len);
    for (size_t i = 0; i < len; i++)
        expect_refused(data, i);
    free(data);
    config_free(c);
}

/* A changed byte may give another good answer, but never one that is half applied as good. */
static void answer__every_byte_changed__refused_or_another_value(void **state UNUSED)
{
    struct config *c = new_filled_config();
    struct config_errors none = {.n = 0};
    unsigned n_refused = 0;
    size_t len;
    char *data;

    encode(c, &none, &data, &len);
    for (size_t i = 0; i < len; i++) {
        static const char bytes[] = {'\0', '\n', ' ', '9', 'x', '\xff'};

        for (size_t j = 0; j < sizeof(bytes); j++) {
            struct config *back = new_config();
            char before = data[i];
            int r;

            data[i] = bytes[j];
            r = decode(data, len, back, &none);
            assert_true(r == 0 || r == -EBADMSG);
            assert_int_equal(none.n, 0);
            n_refused += r != 0;
            if (r == 0) {
                assert_int_equal(back->origin[CONFIG_WORKERS].kind, ORIGIN_FILE);
                assert_int_equal(back->origin[CONFIG_SEPARATOR].kind, ORIGIN_FILE);
            }
            data[i] = before;
            config_free(back);
        }
    }
    assert_true(n_refused > len * 2);
    free(data);
    config_free(c);
}

static void answer__nonsense__refused(void **state UNUSED)
{
    static const char *const bad[] = {
        "",
        "\n",
        "end",
        "end \n",
        "end 0",
        "end 1\n",
        "end 0\n\n",
        "end 0\nend 0\n",
        "end 00\n",
        "end -1\n",
        "end 18446744073709551616\n",
        "End 0\n",
        "value log.level 1 4\ninfo\n",
        "value log.level 1 4\ninfo\nend 0\n",
        "value log.level 1 4\ninfo\nend 2\n",
        "value log.level 0 4\ninfo\nend 1\n",
        "value log.level 1 4\nloud\nend 1\n",
        "value log.level 1 5\ninfo\nend 1\n",
        "value log.level 1 3\ninfo\nend 1\n",
        "value log.level 1 99999999\ninfo\nend 1\n",
        "value log.level 4294967296 4\ninfo\nend 1\n",
        "value log.level 1  4\ninfo\nend 1\n",
        "value log.lavel 1 4\ninfo\nend 1\n",
        "value log.level 1 4\ninfo\nvalue log.level 1 4\ninfo\nend 2\n",
        "value log.level 1 4\ninfo\nvalue arbiter.workers 1 1\n1\nend 2\n",
        "value log.level 1 4\ninfo\nerror 1 1\nx\nend 2\n",
        "error 1 1\nx\nvalue log.level 1 4\ninfo\nend 2\n",
        "error 1 0\n\nend 1\n",
        "value                                1 4\ninfo\nend 1\n",
    };
    static const char good[] = "value log.level 1 4\ninfo\nend 1\n";
    struct config_errors none = {.n = 0};
    struct config *c = new_config();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_refused(bad[i], strlen(bad[i]));
    expect_refused("value log.level 1 5\ninfo\0\nend 1\n", 33);
    assert_int_equal(decode(good, strlen(good), c, &none),
                     0); /* so the others fail for their own fault */
    assert_int_equal(decode("end 0\n", 6, c, &none), 0);
    config_free(c);
}

static void answer__more_errors_than_places__refused(void **state UNUSED)
{
    char data[1024], *p = data;

    for (unsigned i = 0; i <= CONFIG_ERRORS_MAX; i++)
        p += sprintf(p, "error 1 1\nx\n");
    p += sprintf(p, "end %d\n", CONFIG_ERRORS_MAX + 1);
    expect_refused(data, (size_t)(p - data));
}

static void child_result__nothing_or_nonsense__one_clear_text(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    assert_int_equal(config_child_result("/echo.conf", "", 0, SIGSEGV, NULL, 0, &c, &errors),
                     -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_non_null(
        strstr(errors.text[0], "/echo.conf: the parser failed: it crashed with signal 11"));
    config_errors_fini(&errors);
    assert_int_equal(
        config_child_result("/echo.conf", "error 1 1\nx\n?", 13, 0, NULL, 0, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_string_equal(
        errors.text[0],
        "/echo.conf: the parser failed: its answer is not complete or not understood");
    config_errors_fini(&errors);
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer__values__come_through_with_their_lines),
        cmocka_unit_test(answer__errors__come_through_and_no_values),
        cmocka_unit_test(answer__every_prefix__refused),
        cmocka_unit_test(answer__every_byte_changed__refused_or_another_value),
        cmocka_unit_test(answer__nonsense__refused),
        cmocka_unit_test(answer__more_errors_than_places__refused),
        cmocka_unit_test(child_result__nothing_or_nonsense__one_clear_text),
    };

    return cmocka_run_group_tests_name("config_answer", tests, NULL, NULL);
}
