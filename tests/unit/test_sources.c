/*
 * Connections by source: the rate as a pure function, parts of one memory against a naive model,
 * and what a mad process can do to the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/sources.h"
#include "base/hash.h"
#include "base/util.h"

enum { PARTS = 6 };

static const uint64_t second = 1000000000u, start = 77000000000u;

/* ---- the rate ---- */

static void rate__burst__as_many_as_a_second_and_no_more(void **state UNUSED)
{
    uint64_t next = 0;

    for (int i = 0; i < 10; i++)
        assert_true(source_rate_take(&next, start, 10));
    assert_false(source_rate_take(&next, start, 10));
    assert_false(source_rate_take(&next, start + second / 10 - 1, 10));
    assert_true(source_rate_take(&next, start + second / 10, 10));
    assert_false(source_rate_take(&next, start + second / 10, 10));
    /* A pause gives no more than the burst. */
    for (int i = 0; i < 10; i++)
        assert_true(source_rate_take(&next, start + 1000 * second, 10));
    assert_false(source_rate_take(&next, start + 1000 * second, 10));
}

static void rate__one_a_second__each_second_one(void **state UNUSED)
{
    uint64_t next = 0;

    for (uint64_t i = 0; i < 5; i++) {
        assert_true(source_rate_take(&next, start + i * second, 1));
        assert_false(source_rate_take(&next, start + i * second, 1));
        assert_false(source_rate_take(&next, start + (i + 1) * second - 1, 1));
    }
}

static void rate__refused__nothing_is_used_up(void **state UNUSED)
{
    uint64_t next = 0, before;

    while (source_rate_take(&next, start, 1000000))
        ;
    before = next;
    for (int i = 0; i < 100; i++)
        assert_false(source_rate_take(&next, start, 1000000));
    assert_true(next == before);
}

/* In any stretch of time there are at most as many as it has room for, and one burst. */
static void rate__random_times__bounded_in_any_stretch(void **state UNUSED)
{
    enum { N = 3000 };
    static uint64_t taken[N];

    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t rng = seed, now = start, next = 0;
        const uint32_t rate = 1 + (uint32_t)(random_next(&rng) % 50);
        size_t n = 0;

        while (n < N) {
            now += random_next(&rng) % (2 * second / rate);
            if (source_rate_take(&next, now, rate))
                taken[n++] = now;
        }
        for (size_t i = 0; i < N; i++)
            for (size_t k = i + rate; k < N && k < i + 4 * rate; k++)
                assert_true(taken[k] - taken[i] + rate >= (k - i - rate + 1) * (second / rate));
    }
}

/* ---- parts of one memory ---- */

/* As after a fork: part @i is this one's own. */
static void narrow(const struct sources *of, struct sources *ret, uint32_t i)
{
    sources_init(ret);
    assert_int_equal(sources_attach(ret, dup(of->fd), PARTS), 0);
    assert_int_equal(sources_narrow(ret, i, true), 0);
}

struct parts {
    struct sources arbiter, workers[PARTS];
};

static void parts_begin(struct parts *p, uint32_t n)
{
    memset(p, 0, sizeof(*p));
    assert_int_equal(sources_open(&p->arbiter, PARTS, SOURCES_MIN), 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(sources_assign(&p->arbiter, i), 0);
        narrow(&p->arbiter, &p->workers[i], i);
    }
}

static void parts_end(struct parts *p)
{
    for (uint32_t i = 0; i < PARTS; i++)
        if (p->workers[i].header)
            sources_close(&p->workers[i]);
    sources_close(&p->arbiter);
}

static enum source_answer admit(struct sources *s, uint64_t source, uint32_t connections,
                                uint32_t accepts, uint64_t now)
{
    const struct source_limits limits = {connections, accepts};
    const uint32_t entry = sources_find(s, source, now);

    assert_int_not_equal(entry, SOURCES_NONE);
    return sources_admit(s, entry, &limits, now);
}

static void admit__several_workers__counted_together(void **state UNUSED)
{
    struct parts p;

    parts_begin(&p, 3);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(admit(&p.workers[i % 3], 5, 6, 0, start), SOURCE_ADMITTED);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(admit(&p.workers[i], 5, 6, 0, start), SOURCE_HAS_ENOUGH);
    assert_int_equal(admit(&p.workers[0], 6, 6, 0, start), SOURCE_ADMITTED);
    assert_int_equal(p.workers[0].n_in_use, 2);
    sources_drop(&p.workers[2], sources_find(&p.workers[2], 5, start));
    assert_int_equal(admit(&p.workers[1], 5, 6, 0, start), SOURCE_ADMITTED);
    assert_int_equal(admit(&p.workers[2], 5, 6, 0, start), SOURCE_HAS_ENOUGH);
    parts_end(&p);
}

static void admit__rate_over_several_workers__one_rate(void **state UNUSED)
{
    struct parts p;
    unsigned n = 0;

    parts_begin(&p, 4);
    for (uint32_t i = 0; i < 100; i++)
        n += admit(&p.workers[i % 4], 5, 0, 10, start) == SOURCE_ADMITTED;
    assert_int_equal(n, 10);
    for (uint32_t i = 0; i < 100; i++)
        n += admit(&p.workers[i % 4], 5, 0, 10, start + second / 2) == SOURCE_ADMITTED;
    assert_int_equal(n, 15);
    assert_int_equal(admit(&p.workers[0], 5, 1, 10, start + 9 * second), SOURCE_HAS_ENOUGH);
    parts_end(&p);
}

/* Who has used its rate up is remembered after its last connection, but not for ever. */
static void find__full_bucket__nobody_else_until_one_has_nothing_left(void **state UNUSED)
{
    struct parts p;
    uint64_t source = 0;
    unsigned n = 0;

    parts_begin(&p, 1);
    while (sources_find(&p.workers[0], source, start) != SOURCES_NONE) {
        assert_int_equal(admit(&p.workers[0], source, 1, 1, start), SOURCE_ADMITTED);
        source++;
        n++;
    }
    assert_in_range(n, SOURCES_WAYS, SOURCES_MIN);
    for (uint64_t i = 0; i < source; i++)
        sources_drop(&p.workers[0], sources_find(&p.workers[0], i, start));
    assert_int_equal(p.workers[0].n_in_use, 0);
    assert_int_equal(sources_find(&p.workers[0], source, start), SOURCES_NONE);
    assert_int_not_equal(sources_find(&p.workers[0], source, start + second), SOURCES_NONE);
    parts_end(&p);
}

static void release__what_a_dead_process_counted__is_gone(void **state UNUSED)
{
    struct parts p;

    parts_begin(&p, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(admit(&p.workers[1], 5, 3, 0, start), SOURCE_ADMITTED);
    assert_int_equal(admit(&p.workers[0], 5, 3, 0, start), SOURCE_HAS_ENOUGH);
    sources_release(&p.arbiter, 1);
    sources_release(&p.arbiter, 1);
    sources_close(&p.workers[1]);
    assert_int_equal(admit(&p.workers[0], 5, 3, 0, start), SOURCE_ADMITTED);
    /* The next process of that part begins with nothing. */
    assert_int_equal(sources_assign(&p.arbiter, 1), 0);
    narrow(&p.arbiter, &p.workers[1], 1);
    assert_int_equal(admit(&p.workers[1], 5, 2, 0, start), SOURCE_ADMITTED);
    assert_int_equal(admit(&p.workers[1], 5, 2, 0, start), SOURCE_HAS_ENOUGH);
    parts_end(&p);
}

/* Random arrivals, ends, moves and deaths: what is admitted is what the sums say. */
static void parts__random_operations__as_a_naive_model(void **state UNUSED)
{
    enum { SOURCES = 12, LIMIT = 9, STEPS = 20000 };
    static unsigned model[PARTS][SOURCES];
    struct parts p;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t rng = seed;

        memset(model, 0, sizeof(model));
        parts_begin(&p, PARTS);
        for (int step = 0; step < STEPS; step++) {
            const uint32_t w = (uint32_t)(random_next(&rng) % PARTS);
            const uint32_t to = (uint32_t)(random_next(&rng) % PARTS);
            const unsigned source = (unsigned)(random_next(&rng) % SOURCES);
            unsigned sum = 0, in_use = 0;

            for (uint32_t i = 0; i < PARTS; i++)
                sum += model[i][source];
            switch (random_next(&rng) % 16) {
            default: {
                const bool is_expected = sum < LIMIT;

                assert_int_equal(admit(&p.workers[w], source, LIMIT, 0, start) == SOURCE_ADMITTED,
                                 is_expected);
                model[w][source] += is_expected;
                break;
            }
            case 8 ... 12:
                if (model[w][source] == 0)
                    break;
                sources_drop(&p.workers[w], sources_find(&p.workers[w], source, start));
                model[w][source]--;
                break;
            case 13 ... 14: /* one that moves is nobody's for a moment */
                if (model[w][source] == 0)
                    break;
                sources_drop(&p.workers[w], sources_find(&p.workers[w], source, start));
                sources_add(&p.workers[to], sources_find(&p.workers[to], source, start));
                model[w][source]--;
                model[to][source]++;
                break;
            case 15:
                if (random_next(&rng) % 8 != 0)
                    break;
                sources_release(&p.arbiter, w);
                sources_close(&p.workers[w]);
                memset(model[w], 0, sizeof(model[w]));
                assert_int_equal(sources_assign(&p.arbiter, w), 0);
                narrow(&p.arbiter, &p.workers[w], w);
            }
            for (unsigned i = 0; i < SOURCES; i++)
                in_use += model[w][i] > 0;
            assert_int_equal(p.workers[w].n_in_use, in_use);
        }
        for (uint32_t w = 0; w < PARTS; w++)
            for (unsigned i = 0; i < SOURCES; i++)
                for (; model[w][i] > 0; model[w][i]--)
                    sources_drop(&p.workers[w], sources_find(&p.workers[w], i, start));
        for (uint32_t w = 0; w < PARTS; w++) {
            assert_int_equal(p.workers[w].n_in_use, 0);
            for (uint32_t i = 0; i < SOURCES_MIN; i++)
                assert_int_equal(p.workers[w].own[i].count, 0);
        }
        parts_end(&p);
    }
}

/* ---- a mad process ---- */

static void parts__of_another_process__cannot_be_made_writable(void **state UNUSED)
{
    struct parts p;

    parts_begin(&p, 2);
    for (uint32_t i = 0; i < PARTS; i++) {
        char *part =
            (char *)p.workers[0].header + p.workers[0].parts_at + i * p.workers[0].part_bytes;

        assert_int_equal(mprotect(part, p.workers[0].part_bytes, PROT_READ | PROT_WRITE),
                         i == 0 ? 0 : -1);
    }
    assert_int_equal(mprotect(p.workers[0].header, 4096, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(p.workers[0].fd, -1);
    assert_int_equal(p.workers[0].read_fd, -1);
    parts_end(&p);
}

static void admit__impossible_values_of_another__not_believed(void **state UNUSED)
{
    struct parts p;
    uint32_t entry;

    parts_begin(&p, 2);
    entry = sources_find(&p.workers[1], 5, start);
    p.workers[1].own[entry].count = UINT32_MAX;
    counter_set(&p.workers[1].own[entry].next_ns, UINT64_MAX);
    assert_int_equal(admit(&p.workers[0], 5, 3, 1, start), SOURCE_ADMITTED);
    /* What could be is believed, for as long as the liar lives. */
    p.workers[1].own[entry].count = 1000;
    assert_int_equal(admit(&p.workers[0], 5, 3, 0, start), SOURCE_HAS_ENOUGH);
    assert_int_equal(admit(&p.workers[0], 6, 3, 0, start), SOURCE_ADMITTED);
    sources_release(&p.arbiter, 1);
    assert_int_equal(admit(&p.workers[0], 5, 3, 0, start), SOURCE_ADMITTED);
    parts_end(&p);
}

/* ---- the memory ---- */

static void attach__not_such_a_memory__refused(void **state UNUSED)
{
    struct sources s, other;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    sources_init(&other);
    assert_int_equal(sources_open(&s, PARTS, 3), -EINVAL);
    assert_int_equal(sources_open(&s, 0, SOURCES_MIN), -EINVAL);
    assert_int_equal(sources_open(&s, PARTS, SOURCES_MIN), 0);
    assert_int_equal(fcntl(s.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ftruncate(s.fd, 0), -1);
    assert_int_equal(sources_attach(&other, fd, PARTS), -EINVAL);
    assert_int_equal(sources_attach(&other, -1, PARTS), -EINVAL);
    assert_int_equal(sources_attach(&other, s.fd, PARTS + 1), -EINVAL);
    s.header->version++;
    assert_int_equal(sources_attach(&other, s.fd, PARTS), -EINVAL);
    s.header->version--;
    assert_int_equal(sources_attach(&other, dup(s.fd), PARTS), 0);
    assert_true(memcmp(s.header->key, other.header->key, sizeof(other.header->key)) == 0);
    sources_close(&other);
    sources_release(&other, 1);
    sources_close(&s);
    close(fd);
}

static void size__four_times_the_connections__within_bounds(void **state UNUSED)
{
    assert_int_equal(sources_size(0), SOURCES_MIN);
    assert_int_equal(sources_size(64), 256);
    assert_int_equal(sources_size(65), 512);
    assert_int_equal(sources_size(1000000), SOURCES_MAX);
    assert_int_equal(sources_size(UINT64_MAX / 4), SOURCES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate__burst__as_many_as_a_second_and_no_more),
        cmocka_unit_test(rate__one_a_second__each_second_one),
        cmocka_unit_test(rate__refused__nothing_is_used_up),
        cmocka_unit_test(rate__random_times__bounded_in_any_stretch),
        cmocka_unit_test(admit__several_workers__counted_together),
        cmocka_unit_test(admit__rate_over_several_workers__one_rate),
        cmocka_unit_test(find__full_bucket__nobody_else_until_one_has_nothing_left),
        cmocka_unit_test(release__what_a_dead_process_counted__is_gone),
        cmocka_unit_test(parts__random_operations__as_a_naive_model),
        cmocka_unit_test(parts__of_another_process__cannot_be_made_writable),
        cmocka_unit_test(admit__impossible_values_of_another__not_believed),
        cmocka_unit_test(attach__not_such_a_memory__refused),
        cmocka_unit_test(size__four_times_the_connections__within_bounds),
    };

    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
