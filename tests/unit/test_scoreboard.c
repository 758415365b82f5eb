/*
 * The scoreboard: shared between processes, refused when it is not what it claims to be, and the
 * choice of the least loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/scoreboard.h"
#include "base/util.h"

static const uint64_t second = 1000000000u;

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

static int n_allocations = -1; /* that still go well; -1 = all */

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (n_allocations == 0) {
        errno = ENOSPC;
        return -1;
    }
    n_allocations -= n_allocations > 0;
    return __real_fallocate(fd, mode, offset, len);
}

static void scoreboard_open__new__free_records_on_pages_of_their_own(void **state UNUSED)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 5), 0);
    assert_int_equal(sb.n_records, 5);
    assert_int_equal(counter_get(&sb.header->high), 0);
    for (uint32_t i = 0; i < 5; i++) {
        const struct score_record *r = scoreboard_record(&sb, i);
        const uintptr_t at = (uintptr_t)r, next = (uintptr_t)scoreboard_record(&sb, i + 1);
        assert_int_equal(at % 64, 0);
        assert_int_equal(at / page, ((uintptr_t)(r + 1) - 1) / page);
        if (i < 4) {
            assert_int_equal(at / page + 1, next / page);
            assert_int_not_equal(at % 4096, next % 4096); /* else the cache has room for few */
        }
        assert_int_equal(counter_get(&scoreboard_identity(&sb, i)->slot), 0);
        assert_int_equal(counter_get(&r->state), ACTOR_INITIAL);
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
    assert_int_equal(scoreboard_assign(&sb, 2, 7, 9), 0);
    int fd = dup(sb.fd);
    assert_int_equal(scoreboard_attach(&other, fd), 0);
    assert_int_equal(other.n_records, 3);
    assert_int_equal(counter_get(&other.header->high), 3);
    assert_int_equal(counter_get(&scoreboard_identity(&other, 2)->slot), 7);
    assert_int_equal(counter_get(&scoreboard_identity(&other, 2)->incarnation), 9);
    counter_add(&scoreboard_record(&other, 2)->counters.requests, 5);
    assert_int_equal(counter_get(&scoreboard_record(&sb, 2)->counters.requests), 5);
    scoreboard_close(&other);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    scoreboard_close(&sb);
}

/* What a process does after it has narrowed the scoreboard to record 1 of 3. */
typedef void worker_does(const struct scoreboard *sb);

static void count(const struct scoreboard *sb)
{
    counter_set(&scoreboard_record(sb, 1)->state, ACTOR_RUN);
    counter_add(&scoreboard_record(sb, 1)->counters.accepted, 3);
}

static void read_all(const struct scoreboard *sb)
{
    if (scoreboard_least(sb, 1, second, second, NULL) != UINT64_MAX)
        _exit(2);
    if (counter_get(&scoreboard_identity(sb, 2)->slot) != 12)
        _exit(3);
}

static void have_no_descriptor(const struct scoreboard *sb)
{
    if (sb->fd != -1 || sb->read_fd != -1)
        _exit(2);
    for (int fd = 3; fd < 64; fd++)
        if (fcntl(fd, F_GET_SEALS) > 0)
            _exit(3);
}

static void write_header(const struct scoreboard *sb)
{
    counter_set(&sb->header->high, 1);
}

static void write_identity(const struct scoreboard *sb)
{
    counter_set(&scoreboard_identity(sb, 1)->slot, 3);
}

static void write_before(const struct scoreboard *sb)
{
    counter_set(&scoreboard_record(sb, 0)->connections, 1);
}

static void write_behind(const struct scoreboard *sb)
{
    counter_set(&scoreboard_record(sb, 2)->connections, 1);
}

/* Not even on purpose. */
static void make_writable(const struct scoreboard *sb)
{
    if (mprotect(sb->header, sb->page_bytes, PROT_READ | PROT_WRITE) == 0 || errno != EACCES)
        _exit(2);
    if (mprotect(sb->header, scoreboard_bytes(3), PROT_READ | PROT_WRITE) == 0 || errno != EACCES)
        _exit(3);
    write_header(sb);
}

static void scoreboard_narrow__own_record_alone__can_be_written(void **state UNUSED)
{
    static const struct {
        worker_does *does;
        int signo; /* that it dies of; 0 = none */
    } rows[] = {
        {count, 0},
        {read_all, 0},
        {have_no_descriptor, 0},
        {write_header, SIGSEGV},
        {write_identity, SIGSEGV},
        {write_before, SIGSEGV},
        {write_behind, SIGSEGV},
        {make_writable, SIGSEGV},
    };
    struct scoreboard sb;
    int status;
    assert_int_equal(scoreboard_open(&sb, 3), 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(scoreboard_assign(&sb, i, i + 10, 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            signal(SIGSEGV, SIG_DFL);
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            if (scoreboard_narrow(&sb, 1) < 0)
                _exit(1);
            rows[i].does(&sb);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (rows[i].signo ? !WIFSIGNALED(status) || WTERMSIG(status) != rows[i].signo : status != 0)
            fail_msg("row %zu: status %x", i, (unsigned)status);
    }
    assert_int_equal(counter_get(&scoreboard_record(&sb, 1)->state), ACTOR_RUN);
    assert_int_equal(counter_get(&scoreboard_record(&sb, 1)->counters.accepted), 3);
    assert_int_equal(counter_get(&sb.header->high), 3);
    assert_int_equal(counter_get(&scoreboard_identity(&sb, 1)->slot), 11);
    assert_int_equal(counter_get(&scoreboard_record(&sb, 0)->connections), 0);
    assert_int_equal(counter_get(&scoreboard_record(&sb, 2)->connections), 0);
    scoreboard_close(&sb);
}

/* Pages of shared memory that are there. */
static blkcnt_t blocks(const struct scoreboard *sb)
{
    struct stat st;
    assert_int_equal(fstat(sb->fd, &st), 0);
    return st.st_blocks;
}

static void scoreboard_assign__memory__taken_for_one_record_at_a_time(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 1000), 0);
    const blkcnt_t page = (blkcnt_t)sb.page_bytes / 512, before = blocks(&sb);
    assert_true(before <= 2 * page);
    assert_int_equal(scoreboard_assign(&sb, 0, 1, 1), 0);
    assert_int_equal(blocks(&sb), before + page);
    assert_int_equal(scoreboard_assign(&sb, 0, 1, 2), 0);
    assert_int_equal(blocks(&sb), before + page);
    assert_int_equal(scoreboard_assign(&sb, 1, 2, 1), 0);
    assert_int_equal(blocks(&sb), before + 2 * page);
    scoreboard_close(&sb);
}

/* Nobody is told of a record that has no memory, and it can be had later. */
static void scoreboard_assign__no_memory__error_and_record_stays_free(void **state UNUSED)
{
    struct scoreboard sb;
    assert_int_equal(scoreboard_open(&sb, 3), 0);
    for (n_allocations = 0; n_allocations < 2;) {
        const int n = n_allocations;
        assert_int_equal(scoreboard_assign(&sb, 1, 7, 1), -ENOSPC);
        assert_int_equal(counter_get(&sb.header->high), 0);
        assert_int_equal(counter_get(&scoreboard_identity(&sb, 1)->slot), 0);
        n_allocations = n + 1;
    }
    n_allocations = -1;
    assert_int_equal(scoreboard_assign(&sb, 1, 7, 1), 0);
    assert_int_equal(counter_get(&sb.header->high), 2);
    scoreboard_close(&sb);
    n_allocations = 0;
    assert_int_equal(scoreboard_open(&sb, 3), -ENOSPC);
    n_allocations = -1;
}

/* A copy of a good one with one thing wrong. */
enum damage {
    NONE,
    MAGIC,
    VERSION,
    PAGE_BYTES,
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
    size_t bytes = scoreboard_bytes(sb->n_records);
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
    case PAGE_BYTES:
        h.page_bytes *= 2;
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
        struct score_record *r = scoreboard_record(&sb, 1);
        const struct score_identity *id = scoreboard_identity(&sb, 1);
        assert_int_equal(scoreboard_assign(&sb, 1, 4, round), 0);
        assert_int_equal(counter_get(&r->state), ACTOR_INACTIVE);
        assert_true(counter_get(&r->heartbeat_ns) > 0);
        assert_int_equal(counter_get(&id->slot), 4);
        assert_int_equal(counter_get(&id->incarnation), round);
        assert_int_equal(counter_get(&id->pid), 0);
        assert_int_equal(counter_get(&id->started_ns), counter_get(&r->heartbeat_ns));
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
        counter_set(&r->kept_bytes, 1);
        counter_set(&r->memory_bytes, 1);
        counter_set(&r->fds, 1);
        timing_add(&r->times.reply, second, 1);
        timing_add(&r->times.lag, second, 1);
        scoreboard_release(&sb, 1);
        assert_int_equal(counter_get(&id->slot), 0);
        assert_int_equal(counter_get(&r->state), ACTOR_INITIAL);
        assert_int_equal(counter_get(&r->connections), 0);
        assert_int_equal(counter_get(&r->is_accepting), 0);
        assert_int_equal(counter_get(&r->lag_ns), 0);
        assert_int_equal(counter_get(&r->kept_bytes), 0);
        assert_int_equal(counter_get(&r->memory_bytes) + counter_get(&r->fds), 0);
        assert_int_equal(timing_count(&r->times.reply) + timing_count(&r->times.lag), 0);
        assert_int_equal(counter_get(&r->times.reply.max_ns), 0);
    }
    scoreboard_close(&sb);
}

/* Four accepting records with 10, 20, 30, 40 connections, heartbeats at one second. */
static void four(struct scoreboard *sb)
{
    assert_int_equal(scoreboard_open(sb, 8), 0);
    for (uint32_t i = 0; i < 4; i++) {
        struct score_record *r = scoreboard_record(sb, i);
        assert_int_equal(scoreboard_assign(sb, i, i + 1, 1), 0);
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
    assert_int_equal(scoreboard_assign(&sb, 0, 1, 1), 0);
    check_least(&sb, 0, UINT64_MAX, true);
    scoreboard_close(&sb);
}

static void scoreboard_least__not_able__passed_over(void **state UNUSED)
{
    struct scoreboard sb;
    four(&sb);
    counter_set(&scoreboard_record(&sb, 0)->is_full, 1);
    check_least(&sb, 3, 20, false);
    counter_set(&scoreboard_record(&sb, 1)->is_accepting, 0);
    check_least(&sb, 3, 30, false);
    scoreboard_release(&sb, 2);
    check_least(&sb, 3, UINT64_MAX, true); /* what self has, self knows */
    check_least(&sb, 0, 40, false);
    counter_set(&scoreboard_record(&sb, 3)->is_full, 1);
    check_least(&sb, 0, UINT64_MAX, true);
    counter_set(&scoreboard_record(&sb, 1)->is_accepting, 1);
    check_least(&sb, 3, 20, false);
    scoreboard_close(&sb);
}

static void scoreboard_least__heartbeat__fresh_stale_or_ahead(void **state UNUSED)
{
    struct scoreboard sb;
    bool are_full;
    four(&sb);
    counter_set(&scoreboard_record(&sb, 0)->heartbeat_ns,
                2 * second); /* written after the caller looked */
    assert_int_equal(scoreboard_least(&sb, 3, second + 1000, 1000, &are_full), 10);
    assert_int_equal(scoreboard_least(&sb, 3, second + 1001, 1000, &are_full), 10);
    assert_false(are_full);
    counter_set(&scoreboard_record(&sb, 0)->heartbeat_ns, 1);
    assert_int_equal(scoreboard_least(&sb, 3, second + 1000, 1000, &are_full), 20);
    assert_false(are_full);
    /* Whoever hangs has no room for anybody. */
    assert_int_equal(scoreboard_least(&sb, 3, second + 1001, 1000, &are_full), UINT64_MAX);
    assert_true(are_full);
    scoreboard_close(&sb);
}

/* Whatever stands there, nobody hears "the others are full" unless it can be true. */
static void scoreboard_least__impossible_values__nobody_is_called_full(void **state UNUSED)
{
    static const struct {
        size_t offset;
        uint64_t value;
    } rows[] = {
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
        for (uint32_t k = 0; k < 3; k++)
            counter_set(&scoreboard_record(&sb, k)->is_full, 1);
        check_least(&sb, 3, UINT64_MAX, true);
        counter_set((counter_t *)((char *)scoreboard_record(&sb, 1) + rows[i].offset),
                    rows[i].value);
        check_least(&sb, 3, UINT64_MAX, false);
        scoreboard_close(&sb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scoreboard_open__new__free_records_on_pages_of_their_own),
        cmocka_unit_test(scoreboard_open__silly_sizes__refused),
        cmocka_unit_test(scoreboard_attach__same_memory__seen_by_both),
        cmocka_unit_test(scoreboard_narrow__own_record_alone__can_be_written),
        cmocka_unit_test(scoreboard_assign__memory__taken_for_one_record_at_a_time),
        cmocka_unit_test(scoreboard_assign__no_memory__error_and_record_stays_free),
        cmocka_unit_test(scoreboard_attach__anything_wrong__refused),
        cmocka_unit_test(scoreboard_release__used__free_and_zero_for_the_next),
        cmocka_unit_test(scoreboard_least__others__without_self),
        cmocka_unit_test(scoreboard_least__alone__others_are_full),
        cmocka_unit_test(scoreboard_least__not_able__passed_over),
        cmocka_unit_test(scoreboard_least__heartbeat__fresh_stale_or_ahead),
        cmocka_unit_test(scoreboard_least__impossible_values__nobody_is_called_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
