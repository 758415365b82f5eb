/*
 * When the status actor asks the arbiter, what it takes as an answer, and how long that is fresh.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/util.h"
#include "status/status_snapshot.h"

enum { NOW = 100000 };

static int take(struct status_snapshot *s, const char *text, bool is_sealed)
{
    struct iovec part = {(char *)(uintptr_t)text, strlen(text)};
    int fd = fds_memfd("test"), rc;

    assert_true(fd >= 0);
    if (is_sealed)
        assert_int_equal(fds_write_sealed(fd, &part, 1), 0);
    else
        assert_int_equal(fds_write_all(fd, text, strlen(text)), 0);
    rc = status_snapshot_take(s, fd, NOW);
    close(fd);
    return rc;
}

static void status_snapshot__taken__fresh_for_a_while(void **state UNUSED)
{
    struct status_snapshot s = {.text = NULL};

    assert_false(status_snapshot_is_fresh(&s, NOW));
    assert_true(status_snapshot_may_ask(&s, NOW));
    s.asked_ms = NOW;
    assert_false(status_snapshot_may_ask(&s, NOW + STATUS_ANSWER_MS - 1));
    assert_true(status_snapshot_may_ask(&s, NOW + STATUS_ANSWER_MS));
    assert_int_equal(take(&s, "{\"a\":1}", true), 0);
    assert_true(status_snapshot_may_ask(&s, NOW));
    assert_true(status_snapshot_is_fresh(&s, NOW + STATUS_FRESH_MS - 1));
    assert_false(status_snapshot_is_fresh(&s, NOW + STATUS_FRESH_MS));
    assert_int_equal(take(&s, "{\"b\":12}", true), 0);
    assert_memory_equal(s.text, "{\"b\":12}", s.len);
    assert_int_equal(json_integer_value(json_object_get(s.info, "b")), 12);
    status_snapshot_fini(&s);
}

static void status_snapshot__no_answer__the_last_one_stays(void **state UNUSED)
{
    static const char *const texts[] = {"[]", "{", "{\"a\":1,\"a\":2}", "1", "{} {}"};
    struct status_snapshot s = {.text = NULL};

    assert_int_equal(take(&s, "{\"a\":1}", true), 0);
    s.asked_ms = NOW;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(take(&s, texts[i], true), -EBADMSG);
    assert_int_equal(take(&s, "{\"a\":2}", false), -EBADMSG);
    assert_true(status_snapshot_take(&s, STDIN_FILENO, NOW) < 0);
    assert_int_equal(json_integer_value(json_object_get(s.info, "a")), 1);
    assert_int_equal(s.asked_ms, NOW);
    status_snapshot_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_snapshot__taken__fresh_for_a_while),
        cmocka_unit_test(status_snapshot__no_answer__the_last_one_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
