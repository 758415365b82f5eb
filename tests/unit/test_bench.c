/*
 * The load generator against servers in the test's own loop: honest, faulty, slow by known times,
 * and one that stalls. What it says and compares is tried with invented results.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "measure/bench.h"
#include "conformance/must.h"
#include "support/toy.h"

static struct ev_loop *loop;
static struct toy toy;

static struct bench_options options_for(const char *address)
{
    struct bench_options o = {.connections = 8,
                              .depth = 4,
                              .threads = 2,
                              .size_min = 1,
                              .size_max = 3000,
                              .count = 2000,
                              .timeout_ms = 10000,
                              .separator = "\r\n\r\n",
                              .separator_len = 4};
    struct addr a;
    const char *why;

    assert_int_equal(addr_parse(address, &a, &why), 0);
    assert_int_equal(addresses_find(&a, NULL, NULL, DEADLINE_NEVER, &o.to), 0);
    return o;
}

static void on_tick(struct ev_loop *l, ev_timer *w, int revents)
{
    (void)l;
    (void)w;
    (void)revents;
}

/* The bench has a thread of its own, as the server runs in this one. */
struct job {
    pthread_t thread;
    const struct bench_options *options;
    struct bench_result result;
    int rc;
    atomic_bool is_done;
};

static void *run_job(void *arg)
{
    struct job *j = arg;

    j->rc = bench_measure(j->options, NULL, NULL, &j->result);
    j->is_done = true;
    return NULL;
}

/* Serve until the bench is done, with a stall of @stall_ms in the middle. */
static struct bench_result run(const struct bench_options *o, unsigned stall_after_ms,
                               unsigned stall_ms)
{
    struct job j = {.options = o};
    ev_timer tick;
    uint64_t start = clock_mono_ms();

    assert_int_equal(pthread_create(&j.thread, NULL, run_job, &j), 0);
    ev_timer_init(&tick, on_tick, 0.01, 0.01);
    ev_timer_start(loop, &tick);
    while (!j.is_done) {
        ev_run(loop, EVRUN_ONCE);
        if (stall_ms && clock_mono_ms() - start >= stall_after_ms) {
            usleep(stall_ms * 1000); /* the fault itself */
            stall_ms = 0;
        }
    }
    ev_timer_stop(loop, &tick);
    pthread_join(j.thread, NULL);
    assert_int_equal(j.rc, 0);
    return j.result;
}

static int setup(void **state)
{
    (void)state;
    loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    return loop ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    if (toy.loop)
        toy_stop(&toy);
    toy = (struct toy){0};
    ev_loop_destroy(loop);
    return 0;
}

static void bench__honest_server__exactly_so_many_messages(void **state)
{
    struct bench_options o;
    struct bench_result r;

    (void)state;
    toy_start(&toy, loop, TOY_HONEST, 0);
    o = options_for(toy.addr);
    r = run(&o, 0, 0);
    assert_int_equal(r.counts.messages, 2000);
    assert_int_equal(r.latency.n, 2000);
    assert_int_equal(r.counts.connected, 8);
    assert_int_equal(r.connects.n, 8);
    assert_int_equal(r.counts.unanswered + r.counts.wrong + r.counts.closed + r.counts.reset, 0);
    assert_in_range(r.counts.bytes, 2000 * 5, 2000 * 3004);
    assert_true(r.rate > 0 && r.seconds > 0);
    bench_result_fini(&r);
}

/* Fixed sizes: the bytes are exact; raw echo needs no separator. */
static void bench__raw_and_churn__every_message_on_its_connection(void **state)
{
    struct bench_options o;
    struct bench_result r;

    (void)state;
    toy_start(&toy, loop, TOY_HONEST, 0);
    o = options_for(toy.addr);
    o.separator_len = 0;
    o.size_min = o.size_max = 100;
    o.churn = 10;
    o.threads = 1;
    r = run(&o, 0, 0);
    assert_int_equal(r.counts.messages, 2000);
    assert_int_equal(r.counts.bytes, 200000);
    assert_in_range(r.counts.connected, 200, 208);
    assert_int_equal(r.counts.refused, 0);
    bench_result_fini(&r);
}

static void bench__wrong_bytes__never_counted_as_echoes(void **state)
{
    static const struct {
        enum toy_mischief mischief;
        size_t counter;
    } rows[] = {
        {TOY_FLIP, offsetof(struct bench_counts, wrong)},
        {TOY_SKIP, offsetof(struct bench_counts, wrong)},
        {TOY_REPEAT, offsetof(struct bench_counts, wrong)},
        {TOY_CLOSE, offsetof(struct bench_counts, closed)},
        {TOY_RESET, offsetof(struct bench_counts, reset)},
        {TOY_SILENT, offsetof(struct bench_counts, timeout)},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench_options o;
        struct bench_result r;

        toy_start(&toy, loop, rows[i].mischief, 1010);
        o = options_for(toy.addr);
        o.size_min = o.size_max = 97; /* ten whole replies come before it */
        o.connections = o.threads = o.depth = 1;
        o.count = 12;
        o.timeout_ms = 2000; /* for the silent one; no other may come near it */
        r = run(&o, 0, 0);
        assert_in_range(r.counts.messages, 9, 12);
        /* A reset that meets a write first is told as an end. */
        if (rows[i].mischief == TOY_RESET)
            assert_true(r.counts.reset + r.counts.closed >= 1);
        else
            assert_true(*(uint64_t *)(void *)((char *)&r.counts + rows[i].counter) >= 1);
        assert_int_equal(r.counts.messages + r.counts.unanswered + r.counts.unsent, 12);
        bench_result_fini(&r);
        toy_stop(&toy);
    }
    toy = (struct toy){0};
}

/* A stall of a second: each message that was due meanwhile was late, not only those under way. */
static void bench__open_loop_and_a_stall__charged_to_every_message_due(void **state)
{
    struct bench_options o;
    struct bench_result r;

    (void)state;
    toy_start(&toy, loop, TOY_HONEST, 0);
    o = options_for(toy.addr);
    o.connections = 2;
    o.depth = 1;
    o.threads = 1;
    o.rate = 500;
    o.count = 1000; /* two seconds */
    r = run(&o, 500, 1000);
    assert_int_equal(r.counts.messages, 1000);
    assert_true(r.latency.max >= UINT64_C(900000000));
    assert_in_range(hist_above(&r.latency, UINT64_C(500000000)), 200, 1000);
    /* They waited for room, which is no fault of the generator's. */
    bench_result_fini(&r);
}

/* ---- known delays ---- */

/* Long ones: one in a hundred of them is more than a scheduler takes. */

enum { DELAYED = 200 };

struct delayed {
    ev_io io;
    ev_timer timer;
    uint64_t came_ns;
    size_t len;
    char bytes[64];
};

static struct delayed delayed[DELAYED];
static uint64_t took_ns[DELAYED];
static size_t n_delayed, n_took;
static uint64_t delay_rng = 1;

static uint64_t real_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_delay(struct ev_loop *l, ev_timer *w, int revents)
{
    struct delayed *d = container_of(w, struct delayed, timer);

    (void)l;
    (void)revents;
    assert_int_equal(send(d->io.fd, d->bytes, d->len, MSG_NOSIGNAL), d->len);
    took_ns[n_took++] = real_ns() - d->came_ns;
}

/* A message has come when the kernel has it; that this process reads it late is part of the delay.
 */
static ssize_t receive(int fd, struct delayed *d)
{
    char control[256];
    struct iovec iov = {d->bytes, sizeof(d->bytes)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
    struct timespec stamp;
    ssize_t n;

    m.msg_controllen = sizeof(control);
    n = recvmsg(fd, &m, MSG_DONTWAIT);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); n > 0 && c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
        d->came_ns = (uint64_t)stamp.tv_sec * 1000000000 + (uint64_t)stamp.tv_nsec;
    }
    return n;
}

static void on_delayed(struct ev_loop *l, ev_io *w, int revents)
{
    struct delayed *d = container_of(w, struct delayed, io);
    ssize_t n = receive(w->fd, d);

    (void)revents;
    if (n > 0) {
        assert_true(d->came_ns > 0);
        d->len = (size_t)n;
        ev_now_update(l);
        ev_timer_set(&d->timer, 3 + (double)rng_below(&delay_rng, 3000) / 1000, 0.);
        ev_timer_start(l, &d->timer);
    } else if (n == 0) {
        ev_io_stop(l, w);
    }
}

static void on_accept(struct ev_loop *l, ev_io *w, int revents)
{
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

    (void)revents;
    if (fd < 0)
        return;
    assert_true(n_delayed < DELAYED);
    struct delayed *d = &delayed[n_delayed++];
    ev_init(&d->timer, on_delay);
    ev_io_init(&d->io, on_delayed, fd, EV_READ);
    ev_io_start(l, &d->io);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The server knows how long it took; the percentiles must say the same, within one in a hundred. */
static void bench__known_delays__percentiles_agree(void **state)
{
    static const unsigned percents[] = {10, 25, 50, 75, 90, 99, 100};
    struct bench_options o;
    struct bench_result r;
    int one = 1;

    (void)state;
    if (!getenv("ECHO_PROFILE")) {
        print_message("skipped: its delays are real time, which a loaded machine stretches; "
                      "ECHO_PROFILE=soak runs it\n");
        skip();
    }
    toy_start(&toy, loop, TOY_HONEST, 0);
    assert_int_equal(setsockopt(toy.accept.fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)), 0);
    ev_io_stop(loop, &toy.accept);
    ev_set_cb(&toy.accept, on_accept);
    ev_io_start(loop, &toy.accept);
    o = options_for(toy.addr);
    o.connections = DELAYED;
    o.count = DELAYED;
    o.depth = o.threads = 1;
    o.size_min = o.size_max = 20;
    r = run(&o, 0, 0);
    assert_int_equal(r.counts.messages, DELAYED);
    assert_int_equal(n_took, DELAYED);
    qsort(took_ns, DELAYED, sizeof(took_ns[0]), by_value);
    for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
        double want = (double)took_ns[DELAYED * percents[i] / 100 - 1];
        double got = (double)hist_percentile(&r.latency, percents[i]);

        print_message("%u %%: %.2f ms, measured %.2f ms\n", percents[i], want / 1e6, got / 1e6);
        assert_true(got >= want * 0.99 && got <= want * 1.01);
    }
    for (size_t i = 0; i < n_delayed; i++) {
        ev_io_stop(loop, &delayed[i].io);
        close(delayed[i].io.fd);
    }
    bench_result_fini(&r);
}

/* ---- what it says ---- */

static json_t *invented(double rate, double half, double most)
{
    return json_pack("{s:f, s:{s:f, s:f}}", "rate", rate, "latency_ms", "p50", half, "p99", most);
}

static void bench_compare__better_or_worse__told(void **state)
{
    static const struct {
        double rate, half, max_percent;
        int expected;
    } rows[] = {
        {1000, 1, 5, 0}, {1100, 1, 10, 0}, {1100, 1, 5, 1}, {1000, 0.9, 5, 1}, {1000, 0.9, 12, 0}};
    json_t *now = invented(1000, 1, 2), *other = json_object();
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *before = invented(rows[i].rate, rows[i].half, 2);

        assert_int_equal(bench_compare(f, before, now, rows[i].max_percent), rows[i].expected);
        json_decref(before);
    }
    assert_int_equal(bench_compare(f, other, now, 5), -EINVAL);
    fclose(f);
    assert_non_null(strstr(text, "messages/s  1100.000  1000.000      -9.1  WORSE\n"));
    free(text);
    json_decref(now);
    json_decref(other);
}

static void bench__late_messages__fallen_behind_only_in_the_open_loop(void **state)
{
    struct bench_options o = {.rate = 1000};
    struct bench_result r = {.counts = {.messages = 1000, .late = 10}};

    (void)state;
    assert_false(bench_has_fallen_behind(&o, &r));
    r.counts.late = 11;
    assert_true(bench_has_fallen_behind(&o, &r));
    o.rate = 0;
    assert_false(bench_has_fallen_behind(&o, &r));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bench__honest_server__exactly_so_many_messages),
        CASE(bench__raw_and_churn__every_message_on_its_connection),
        CASE(bench__wrong_bytes__never_counted_as_echoes),
        CASE(bench__open_loop_and_a_stall__charged_to_every_message_due),
        CASE(bench__known_delays__percentiles_agree),
        cmocka_unit_test(bench_compare__better_or_worse__told),
        cmocka_unit_test(bench__late_messages__fallen_behind_only_in_the_open_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
