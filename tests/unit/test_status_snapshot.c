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

static int take(struct status_snapshot *s, const char *text, bool is_sealed, uint64_t taken_ns)
{
    struct iovec part = {(char *)(uintptr_t)text, strlen(text)};
    int fd = fds_memfd("test"), rc;

    assert_true(fd >= 0);
    if (is_sealed)
        assert_int_equal(fds_write_sealed(fd, &part, 1), 0);
    else
        assert_int_equal(fds_write_all(fd, text, strlen(text)), 0);
    rc = status_snapshot_take(s, fd, taken_ns);
    close(fd);
    return rc;
}

static void status_snapshot__questions__one_at_a_time_and_not_too_often(void **state UNUSED)
{
    struct status_snapshot s = {.text = NULL};

    assert_int_equal(status_snapshot_wait_ms(&s, NOW), 0);
    status_snapshot_asked(&s, NOW);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW), STATUS_ANSWER_MS);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW + STATUS_ANSWER_MS - 1), 1);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW + STATUS_ANSWER_MS), 0);
    assert_int_equal(take(&s, "{\"a\":1}", true, 1), 0);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW + 1), STATUS_FRESH_MS - 1);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW + STATUS_FRESH_MS), 0);
    status_snapshot_asked(&s, NOW + STATUS_FRESH_MS);
    assert_int_equal(take(&s, "{}", true, (NOW + 1500) * UINT64_C(1000000)), 0);
    assert_int_equal(status_snapshot_wait_ms(&s, NOW + 1510), STATUS_FRESH_MS - 10);
    status_snapshot_fini(&s);
}

/* Whoever asks while a question is under way may know more than its answer says. */
static void status_snapshot__a_request__is_shown_what_was_taken_after_it(void **state UNUSED)
{
    struct status_snapshot s = {.text = NULL};

    assert_false(status_snapshot_has(&s, 0));
    assert_int_equal(take(&s, "{\"a\":1}", true, 7), 0);
    assert_true(status_snapshot_has(&s, 6));
    assert_false(status_snapshot_has(&s, 7));
    assert_int_equal(take(&s, "{\"b\":12}", true, 9), 0);
    assert_true(status_snapshot_has(&s, 8));
    assert_memory_equal(s.text, "{\"b\":12}", s.len);
    assert_int_equal(json_integer_value(json_object_get(s.info, "b")), 12);
    status_snapshot_fini(&s);
}

static void status_snapshot__no_answer__the_last_one_stays(void **state UNUSED)
{
    static const char *const texts[] = {"[]", "{", "{\"a\":1,\"a\":2}", "1", "{} {}"};
    struct status_snapshot s = {.text = NULL};

    status_snapshot_asked(&s, NOW);
    assert_int_equal(take(&s, "{\"a\":1}", true, 1), 0);
    status_snapshot_asked(&s, NOW + STATUS_FRESH_MS);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(take(&s, texts[i], true, 2), -EBADMSG);
    assert_int_equal(take(&s, "{\"a\":2}", false, 2), -EBADMSG);
    assert_true(status_snapshot_take(&s, STDIN_FILENO, 2) < 0);
    assert_int_equal(json_integer_value(json_object_get(s.info, "a")), 1);
    assert_true(s.taken_ns == 1 && s.is_asking);
    status_snapshot_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_snapshot__questions__one_at_a_time_and_not_too_often),
        cmocka_unit_test(status_snapshot__a_request__is_shown_what_was_taken_after_it),
        cmocka_unit_test(status_snapshot__no_answer__the_last_one_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
