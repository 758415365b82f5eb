/*
 * The scoreboard: shared between processes, refused when it is not what it claims to be, and the
 * choice of the least loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/scoreboard.h"
#include "base/util.h"

static const uint64_t second = 1000000000u;

static void scoreboard_open__new__free_records_on_cache_lines(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 5), 0);
    assert_int_equal(sb.n_records, 5);
    assert_int_equal(counter_get(&sb.header->high), 0);
    assert_int_equal((uintptr_t)sb.records % 64, 0);
    assert_int_equal((uintptr_t)&sb.records[1] % 64, 0);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(counter_get(&sb.records[i].slot), 0);
        assert_int_equal(counter_get(&sb.records[i].state), ACTOR_INITIAL);
    }
    assert_int_equal(fcntl(sb.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ftruncate(sb.fd, 0), -1);
    assert_int_equal(ftruncate(sb.fd, 1 << 20), -1);
    scoreboard_close(&sb);
    assert_int_equal(sb.fd, -1);
    scoreboard_close(&sb);
    scoreboard_close(NULL);
}

static void scoreboard_open__silly_sizes__refused(void **state UNUSED)
{
    struct scoreboard sb = {.fd = 4711};
    assert_int_equal(scoreboard_open(&sb, 0), -EINVAL);
    assert_int_equal(scoreboard_open(&sb, SCOREBOARD_RECORDS_MAX + 1), -EINVAL);
    assert_int_equal(scoreboard_open(&sb, UINT32_MAX), -EINVAL);
    assert_int_equal(sb.fd, 4711);
}

static void scoreboard_attach__same_memory__seen_by_both(void **state UNUSED)
{
    struct scoreboard sb, other;
    assert_int_equal(scoreboard_open(&sb, 3), 0);
    struct score_record *r = scoreboard_assign(&sb, 2, 7, 9);
    assert_ptr_equal(r, &sb.records[2]);
    int fd = dup(sb.fd);
    assert_int_equal(scoreboard_attach(&other, fd), 0);
    assert_int_equal(other.n_records, 3);
    assert_int_equal(counter_get(&other.header->high), 3);
    assert_int_equal(counter_get(&other.records[2].slot), 7);
    assert_int_equal(counter_get(&other.records[2].incarnation), 9);
    counter_add(&other.records[2].counters.requests, 5);
    assert_int_equal(counter_get(&r->counters.requests), 5);
    scoreboard_close(&other);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    scoreboard_close(&sb);
}

static void scoreboard_attach__written_by_a_child__seen_here(void **state UNUSED)
{
    struct scoreboard sb;
    int status;
    assert_int_equal(scoreboard_open(&sb, 2), 0);
    struct score_record *r = scoreboard_assign(&sb, 0, 1, 1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        counter_set(&r->state, ACTOR_RUN);
        counter_add(&r->counters.accepted, 3);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(counter_get(&r->state), ACTOR_RUN);
    assert_int_equal(counter_get(&r->counters.accepted), 3);
    scoreboard_close(&sb);
}

/* A copy of a good one with one thing wrong. */
enum damage {
    NONE,
    MAGIC,
    VERSION,
    RECORD_BYTES,
    N_RECORDS_MORE,
    N_RECORDS_LESS,
    N_RECORDS_NONE,
    N_RECORDS_WRAP,
    HIGH,
    TOO_SHORT,
    TOO_LONG,
    EMPTY,
    UNSEALED,
    DAMAGES
};

static int make_damaged(const struct scoreboard *sb, enum damage d)
{
    size_t bytes = sizeof(*sb->header) + sb->n_records * sizeof(*sb->records);
    int fd = memfd_create("damaged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, sb->header, bytes), bytes);
    struct scoreboard_header h;
    memcpy(&h, sb->header, sizeof(h));
    switch (d) {
    case MAGIC:
        h.magic++;
        break;
    case VERSION:
        h.version++;
        break;
    case RECORD_BYTES:
        h.record_bytes += 64;
        break;
    case N_RECORDS_MORE:
        h.n_records++;
        break;
    case N_RECORDS_LESS:
        h.n_records--;
        break;
    case N_RECORDS_NONE:
        h.n_records = 0;
        break;
    case N_RECORDS_WRAP:
        h.n_records = UINT32_MAX;
        break;
    case HIGH:
        counter_set(&h.high, sb->n_records + 1);
        break;
    case TOO_SHORT:
        assert_int_equal(ftruncate(fd, (off_t)bytes - 1), 0);
        break;
    case TOO_LONG:
        assert_int_equal(ftruncate(fd, (off_t)bytes + 1), 0);
        break;
    case EMPTY:
        assert_int_equal(ftruncate(fd, 0), 0);
        break;
    default:
        break;
    }
    if (d != EMPTY)
        assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
    if (d != UNSEALED)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

static void scoreboard_attach__anything_wrong__refused(void **state UNUSED)
{
    struct scoreboard sb, other;
    assert_int_equal(scoreboard_open(&sb, 3), 0);
    for (int d = NONE; d < DAMAGES; d++) {
        int fd = make_damaged(&sb, (enum damage)d);
        int r = scoreboard_attach(&other, fd);
        if (r != (d == NONE ? 0 : -EINVAL))
            fail_msg("damage %d gave %d", d, r);
        if (r == 0)
            scoreboard_close(&other);
        else
            assert_int_equal(close(fd), 0); /* not taken over */
    }
    scoreboard_close(&sb);

    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(scoreboard_attach(&other, fds[0]), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(scoreboard_attach(&other, -1), -EBADF);
}

static void scoreboard_release__used__free_and_zero_for_the_next(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 2), 0);
    for (unsigned round = 1; round <= 2; round++) {
        struct score_record *r = scoreboard_assign(&sb, 1, 4, round);
        assert_int_equal(counter_get(&r->state), ACTOR_INACTIVE);
        assert_true(counter_get(&r->heartbeat_ns) > 0);
        assert_int_equal(counter_get(&r->started_ns), counter_get(&r->heartbeat_ns));
#define X(field, help) assert_int_equal(counter_get(&r->counters.field), 0);
        COUNTERS(X)
#undef X
        assert_true(r->crash.signo == 0 && r->crash.rescued == 0 && r->crash.n_frames == 0);
        r->crash = (struct crash_record){.signo = 11, .rescued = 3, .n_frames = 2};
        uint64_t n = 1;
#define X(field, help) counter_set(&r->counters.field, n++);
        COUNTERS(X)
#undef X
        counter_set(&r->connections, 5);
        counter_set(&r->is_accepting, 1);
        counter_set(&r->lag_ns, 1);
        scoreboard_release(&sb, 1);
        assert_int_equal(counter_get(&r->slot), 0);
        assert_int_equal(counter_get(&r->state), ACTOR_INITIAL);
        assert_int_equal(counter_get(&r->connections), 0);
        assert_int_equal(counter_get(&r->is_accepting), 0);
        assert_int_equal(counter_get(&r->lag_ns), 0);
    }
    scoreboard_close(&sb);
}

static void scoreboard_restate__written_over__true_again_and_noticed(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 2), 0);
    struct score_record *r = scoreboard_assign(&sb, 0, 4, 9);
    assert_true(scoreboard_restate(r, 4, 9, ACTOR_RUN)); /* it was inactive */
    assert_false(scoreboard_restate(r, 4, 9, ACTOR_RUN));
    memset(r, 0xa5, sizeof(*r));
    assert_true(scoreboard_restate(r, 4, 9, ACTOR_RUN));
    assert_int_equal(counter_get(&r->slot), 4);
    assert_int_equal(counter_get(&r->incarnation), 9);
    assert_int_equal(counter_get(&r->state), ACTOR_RUN);
    assert_int_equal(counter_get(&r->pid), getpid());
    assert_false(scoreboard_restate(r, 4, 9, ACTOR_RUN));

    memset(sb.header, 0xa5, sizeof(*sb.header));
    scoreboard_restate_header(&sb, 1);
    assert_int_equal(counter_get(&sb.header->high), 1);
    struct scoreboard other;
    assert_int_equal(scoreboard_attach(&other, dup(sb.fd)), 0);
    assert_int_equal(other.n_records, 2);
    scoreboard_close(&other);
    scoreboard_close(&sb);
}

/* Four accepting records with 10, 20, 30, 40 connections, heartbeats at one second. */
static void four(struct scoreboard *sb)
{
    assert_int_equal(scoreboard_open(sb, 8), 0);
    for (uint32_t i = 0; i < 4; i++) {
        struct score_record *r = scoreboard_assign(sb, i, i + 1, 1);
        counter_set(&r->connections, (i + 1) * 10);
        counter_set(&r->heartbeat_ns, second);
        counter_set(&r->is_accepting, 1);
    }
}

static void check_least(const struct scoreboard *sb, uint32_t self, uint64_t least, bool are_full)
{
    bool are_others_full = !are_full;
    uint64_t got = scoreboard_least(sb, self, second + 100, 1000, &are_others_full);
    assert_int_equal(got, least);
    assert_int_equal(are_others_full, are_full);
    assert_int_equal(scoreboard_least(sb, self, second + 100, 1000, NULL), least);
}

static void scoreboard_least__others__without_self(void **state UNUSED)
{
    struct scoreboard sb;
    four(&sb);
    check_least(&sb, 0, 20, false);
    check_least(&sb, 1, 10, false);
    check_least(&sb, 7, 10, false);
    scoreboard_close(&sb);
}

static void scoreboard_least__alone__others_are_full(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 8), 0);
    scoreboard_assign(&sb, 0, 1, 1);
    check_least(&sb, 0, UINT64_MAX, true);
    scoreboard_close(&sb);
}

static void scoreboard_least__not_able__passed_over(void **state UNUSED)
{
    struct scoreboard sb;
    four(&sb);
    counter_set(&sb.records[0].is_full, 1);
    check_least(&sb, 3, 20, false);
    counter_set(&sb.records[1].is_accepting, 0);
    check_least(&sb, 3, 30, false);
    counter_set(&sb.records[2].slot, 0);
    check_least(&sb, 3, UINT64_MAX, true); /* what self has, self knows */
    check_least(&sb, 0, 40, false);
    counter_set(&sb.records[3].is_full, 1);
    check_least(&sb, 0, UINT64_MAX, true);
    counter_set(&sb.records[1].is_accepting, 1);
    check_least(&sb, 3, 20, false);
    scoreboard_close(&sb);
}

static void scoreboard_least__heartbeat__fresh_stale_or_ahead(void **state UNUSED)
{
    struct scoreboard sb;
    bool are_full;
    four(&sb);
    counter_set(&sb.records[0].heartbeat_ns, 2 * second); /* written after the caller looked */
    assert_int_equal(scoreboard_least(&sb, 3, second + 1000, 1000, &are_full), 10);
    assert_int_equal(scoreboard_least(&sb, 3, second + 1001, 1000, &are_full), 10);
    assert_false(are_full);
    counter_set(&sb.records[0].heartbeat_ns, 1);
    assert_int_equal(scoreboard_least(&sb, 3, second + 1000, 1000, &are_full), 20);
    assert_false(are_full);
    /* Whoever hangs has no room for anybody. */
    assert_int_equal(scoreboard_least(&sb, 3, second + 1001, 1000, &are_full), UINT64_MAX);
    assert_true(are_full);
    scoreboard_close(&sb);
}

static void scoreboard_least__above_high__not_read(void **state UNUSED)
{
    struct scoreboard sb;
    four(&sb);
    counter_set(&sb.records[6].slot, 7);
    counter_set(&sb.records[6].is_accepting, 1);
    counter_set(&sb.records[6].heartbeat_ns, second);
    check_least(&sb, 7, 10, false);
    counter_set(&sb.header->high, 7);
    check_least(&sb, 7, 0, false);
    /* A `high` beyond the records is not believed. */
    counter_set(&sb.header->high, UINT64_MAX);
    check_least(&sb, 7, 0, false);
    scoreboard_close(&sb);
}

/* Whatever stands there, nobody hears "the others are full" unless it can be true. */
static void scoreboard_least__impossible_values__nobody_is_called_full(void **state UNUSED)
{
    static const struct {
        size_t offset;
        uint64_t value;
    } rows[] = {
        {offsetof(struct score_record, slot), UINT64_MAX},
        {offsetof(struct score_record, state), ACTOR_STATES},
        {offsetof(struct score_record, state), UINT64_MAX},
        {offsetof(struct score_record, heartbeat_ns), 3 * UINT64_C(1000000000)},
        {offsetof(struct score_record, heartbeat_ns), UINT64_MAX},
        {offsetof(struct score_record, connections), UINT64_C(1) << 31},
        {offsetof(struct score_record, is_full), 2},
        {offsetof(struct score_record, is_accepting), 2},
        {offsetof(struct score_record, is_accepting), UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scoreboard sb;
        four(&sb);
        for (int k = 0; k < 3; k++)
            counter_set(&sb.records[k].is_full, 1);
        check_least(&sb, 3, UINT64_MAX, true);
        counter_set((counter_t *)((char *)&sb.records[1] + rows[i].offset), rows[i].value);
        check_least(&sb, 3, UINT64_MAX, false);
        scoreboard_close(&sb);
    }
}

static void scoreboard_least__all_written_over__nobody_is_called_full(void **state UNUSED)
{
    static const int patterns[] = {0x00, 0x01, 0x55, 0xff};
    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        struct scoreboard sb;
        four(&sb);
        memset(sb.header, patterns[i], sizeof(*sb.header) + 8 * sizeof(*sb.records));
        check_least(&sb, 3, UINT64_MAX, false);
        check_least(&sb, UINT32_MAX, UINT64_MAX, false);
        scoreboard_close(&sb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scoreboard_open__new__free_records_on_cache_lines),
        cmocka_unit_test(scoreboard_open__silly_sizes__refused),
        cmocka_unit_test(scoreboard_attach__same_memory__seen_by_both),
        cmocka_unit_test(scoreboard_attach__written_by_a_child__seen_here),
        cmocka_unit_test(scoreboard_attach__anything_wrong__refused),
        cmocka_unit_test(scoreboard_release__used__free_and_zero_for_the_next),
        cmocka_unit_test(scoreboard_restate__written_over__true_again_and_noticed),
        cmocka_unit_test(scoreboard_least__others__without_self),
        cmocka_unit_test(scoreboard_least__alone__others_are_full),
        cmocka_unit_test(scoreboard_least__not_able__passed_over),
        cmocka_unit_test(scoreboard_least__heartbeat__fresh_stale_or_ahead),
        cmocka_unit_test(scoreboard_least__above_high__not_read),
        cmocka_unit_test(scoreboard_least__impossible_values__nobody_is_called_full),
        cmocka_unit_test(scoreboard_least__all_written_over__nobody_is_called_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
