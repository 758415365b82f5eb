/*
 * What connections ask of the system: the number of calls and allocations a message, and every
 * answer that the system may give. Linked with --wrap, so that the calls come through here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/conn_rig.h"

enum { MIB = 1 << 20 };

static struct rig rig;
static int peer = -1, other_peer = -1; /* whose calls are the test's own */
static unsigned n_reads, n_writes, n_allocations;

/* The next answers of the system: an errno to fail with, and a bound on what is taken or given. */
static struct {
    unsigned n_left;
    int error;
    size_t at_most; /* 0 = no bound */
} on_read, on_write;

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
    if (fd == peer || fd == other_peer)
        return __real_recv(fd, buf, len, flags);
    n_reads++;
    if (on_read.n_left > 0) {
        on_read.n_left--;
        if (on_read.error) {
            errno = on_read.error;
            return -1;
        }
    }
    if (on_read.at_most > 0 && len > on_read.at_most)
        len = on_read.at_most;
    return __real_recv(fd, buf, len, flags);
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
    n_reads++;
    if (on_read.n_left > 0) {
        on_read.n_left--;
        if (on_read.error) {
            errno = on_read.error;
            return -1;
        }
    }
    if (on_read.at_most > 0 && on_read.at_most < iov[0].iov_len)
        return __real_recv(fd, iov[0].iov_base, on_read.at_most, 0);
    return __real_readv(fd, iov, n);
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
    if (fd == peer || fd == other_peer)
        return __real_send(fd, buf, len, flags);
    n_writes++;
    assert_true(flags & MSG_NOSIGNAL);
    if (on_write.n_left > 0) {
        on_write.n_left--;
        if (on_write.error) {
            errno = on_write.error;
            return -1;
        }
        if (on_write.at_most > 0 && len > on_write.at_most)
            len = on_write.at_most;
    }
    return __real_send(fd, buf, len, flags);
}

void *__wrap_malloc(size_t size)
{
    n_allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    n_allocations++;
    return __real_realloc(p, size);
}

static int setup(void **state UNUSED)
{
    memset(&on_read, 0, sizeof(on_read));
    memset(&on_write, 0, sizeof(on_write));
    rig_init(&rig, NULL, 16 * MIB);
    peer = rig_connect(&rig);
    other_peer = -1;
    return 0;
}

static int teardown(void **state UNUSED)
{
    memset(&on_read, 0, sizeof(on_read));
    memset(&on_write, 0, sizeof(on_write));
    close(peer);
    rig_fini(&rig);
    return 0;
}

static void count_from_here(void)
{
    n_reads = n_writes = n_allocations = 0;
}

static void take(const void *expected, size_t len)
{
    static uint8_t got[4 * MIB];

    assert_int_equal(recv(peer, got, sizeof(got), 0), len);
    assert_memory_equal(got, expected, len);
}

static void conn__one_message_after_another__one_read_one_write_no_allocation(void **state UNUSED)
{
    const char *message =
        "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n";

    count_from_here();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(send(peer, message, 68, MSG_NOSIGNAL), 68);
        rig_run(&rig);
        take(message, 68);
    }
    assert_int_equal(n_reads, 1000);
    assert_int_equal(n_writes, 1000);
    assert_int_equal(n_allocations, 0);
    assert_int_equal(counter_get(&rig.counters.requests), 1000);
}

static void conn__sixteen_at_once__one_read_one_write_no_allocation(void **state UNUSED)
{
    char batch[16 * 68];

    for (size_t i = 0; i < sizeof(batch); i += 68)
        memcpy(batch + i,
               "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n", 68);
    count_from_here();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(send(peer, batch, sizeof(batch), MSG_NOSIGNAL), sizeof(batch));
        rig_run(&rig);
        take(batch, sizeof(batch));
    }
    assert_int_equal(n_reads, 100);
    assert_int_equal(n_writes, 100);
    assert_int_equal(n_allocations, 0);
}

static void conn__messages_in_two_parts__no_allocation_after_the_first(void **state UNUSED)
{
    static const size_t sizes[] = {10, 1000, 5000, 70000, 150000};

    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        uint8_t *message = calloc(1, sizes[k]);

        memcpy(message + sizes[k] - 4, "\r\n\r\n", 4);
        for (int i = 0; i < 20; i++) {
            if (i == 2)
                count_from_here();
            rig_send(&rig, peer, message, sizes[k] / 2);
            rig_send(&rig, peer, message + sizes[k] / 2, sizes[k] - sizes[k] / 2);
            take(message, sizes[k]);
        }
        assert_int_equal(n_allocations, 0);
        assert_int_equal(n_writes, 18);
        assert_int_equal(rig.set.pool.used_bytes, 0);
        free(message);
    }
}

static void conn__two_with_much_input__one_read_each_a_turn(void **state UNUSED)
{
    uint8_t *data = malloc(150000);

    for (size_t i = 0; i < 150000; i += 10)
        memcpy(data + i, "123456\r\n\r\n", 10);
    other_peer = rig_connect(&rig);
    rig_run(&rig);
    assert_int_equal(send(peer, data, 150000, MSG_NOSIGNAL), 150000);
    assert_int_equal(send(other_peer, data, 150000, MSG_NOSIGNAL), 150000);
    for (int turn = 0; turn < 2; turn++) {
        count_from_here();
        ev_run(rig.loop, EVRUN_NOWAIT);
        assert_int_equal(n_reads, 2);
        assert_int_equal(n_writes, 2);
    }
    rig_run(&rig);
    free(data);
    close(other_peer);
}

static void conn__short_writes__rest_follows_in_order(void **state UNUSED)
{
    const char *text = "one\r\n\r\ntwo\r\n\r\nthree\r\n\r\n";

    for (size_t bound = 1; bound < 25; bound++) {
        on_write.n_left = 20;
        on_write.at_most = bound;
        rig_send_text(&rig, peer, text);
        rig_send_text(&rig, peer, "x");
        rig_send_text(&rig, peer, text);
        rig_expect_text(&rig, peer, text);
        rig_expect_text(&rig, peer, "x");
        rig_expect_text(&rig, peer, text);
        assert_int_equal(rig.set.pool.used_bytes, 0);
    }
}

static void conn__write_would_block__waits_without_spinning(void **state UNUSED)
{
    static const int errors[] = {EAGAIN, EINTR};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        on_write.error = errors[i];
        on_write.n_left = 3;
        count_from_here();
        rig_send_text(&rig, peer, "message\r\n\r\n");
        rig_expect_text(&rig, peer, "message\r\n\r\n");
        assert_int_equal(n_writes, 4);
        assert_int_equal(on_write.n_left, 0);
    }
    /* EV_WRITE is not armed any more. */
    count_from_here();
    rig_run(&rig);
    assert_int_equal(n_writes + n_reads, 0);
}

static void conn__read_interrupted_or_not_ready__read_again(void **state UNUSED)
{
    static const int errors[] = {EAGAIN, EINTR};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        on_read.error = errors[i];
        on_read.n_left = 3;
        rig_send_text(&rig, peer, "mess");
        rig_expect_nothing(&rig, peer);
        on_read.n_left = 3;
        rig_send_text(&rig, peer, "age\r\n\r\n");
        rig_expect_text(&rig, peer, "message\r\n\r\n");
        assert_int_equal(on_read.n_left, 0);
    }
}

static void conn__reads_of_one_byte__same_echo(void **state UNUSED)
{
    const char *text = "one\r\n\r\n\r\n\r\n\r\n\r\nQUI\r\n\r\r\n\r\n";

    on_read.at_most = 1;
    on_write.at_most = 1;
    on_write.n_left = 30;
    rig_send_text(&rig, peer, text);
    rig_expect_text(&rig, peer, text);
}

static void conn__socket_error__only_that_one_ends(void **state UNUSED)
{
    static const struct {
        int error;
        bool is_write;
        size_t counter;
    } rows[] = {
        {ECONNRESET, false, offsetof(struct counters, closed_reset)},
        {ETIMEDOUT, false, offsetof(struct counters, closed_error)},
        {EIO, false, offsetof(struct counters, closed_error)},
        {ECONNRESET, true, offsetof(struct counters, closed_reset)},
        {EPIPE, true, offsetof(struct counters, closed_reset)},
        {EHOSTUNREACH, true, offsetof(struct counters, closed_error)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const counter_t *counter =
            (const counter_t *)((const char *)&rig.counters + rows[i].counter);
        const uint64_t before = counter_get(counter);

        other_peer = rig_connect(&rig);
        rig_run(&rig);
        if (rows[i].is_write) {
            on_write.error = rows[i].error;
            on_write.n_left = 1;
        } else {
            on_read.error = rows[i].error;
            on_read.n_left = 1;
        }
        rig_send_text(&rig, other_peer, "a\r\n\r\nb");
        assert_int_equal(counter_get(counter), before + 1);
        assert_int_equal(rig.set.n_closes, i + 1);
        assert_int_equal(rig.set.pool.used_bytes, 0);
        rig_send_text(&rig, peer, "still\r\n\r\n");
        rig_expect_text(&rig, peer, "still\r\n\r\n");
        close(other_peer);
    }
}

static void conn__error_after_the_half_close__keeps_its_reason(void **state UNUSED)
{
    other_peer = rig_connect(&rig);
    rig_send_text(&rig, other_peer, "QUIT\r\n\r\n");
    rig_expect_text(&rig, other_peer, "QUIT\r\n\r\n");
    on_read.error = ECONNRESET;
    on_read.n_left = 1;
    rig_send_text(&rig, other_peer, "x");
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
    close(other_peer);
}

static void conn__error_before_what_is_owed_is_sent__counted_as_reset(void **state UNUSED)
{
    other_peer = rig_connect(&rig);
    rig_run(&rig);
    on_write.error = EAGAIN;
    on_write.n_left = 1;
    assert_int_equal(send(other_peer, "QUIT\r\n\r\n", 8, MSG_NOSIGNAL), 8);
    ev_run(rig.loop, EVRUN_NOWAIT);
    assert_int_equal(n_writes > 0 && rig.set.n_closes == 0, 1);
    on_write.error = EPIPE;
    on_write.n_left = 1;
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_reset, 1);
    close(other_peer);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__one_message_after_another__one_read_one_write_no_allocation),
        TEST(conn__sixteen_at_once__one_read_one_write_no_allocation),
        TEST(conn__messages_in_two_parts__no_allocation_after_the_first),
        TEST(conn__two_with_much_input__one_read_each_a_turn),
        TEST(conn__short_writes__rest_follows_in_order),
        TEST(conn__write_would_block__waits_without_spinning),
        TEST(conn__read_interrupted_or_not_ready__read_again),
        TEST(conn__reads_of_one_byte__same_echo),
        TEST(conn__socket_error__only_that_one_ends),
        TEST(conn__error_after_the_half_close__keeps_its_reason),
        TEST(conn__error_before_what_is_owed_is_sent__counted_as_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
