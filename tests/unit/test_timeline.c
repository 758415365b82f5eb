/*
 * The timeline of an audit and its verdict, with invented counts and times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "measure/audit_text.h"
#include "measure/timeline.h"

#define MS UINT64_C(1000000)

static void timeline__nothing_wrong__no_outage(void **state)
{
    static struct timeline t;
    struct audit_counts c = {0};

    (void)state;
    t = (struct timeline){0};
    for (uint64_t i = 1; i < 100; i++) {
        c.sent += 10;
        c.echoed += 10;
        c.connected++;
        c.finished++;
        timeline_look(&t, &c, 0, 0, i * 50 * MS);
    }
    assert_int_equal(t.n, 0);
    assert_int_equal(t.n_all, 0);
}

static void timeline__failures_close_together__one_outage_with_their_sum(void **state)
{
    static struct timeline t;
    struct audit_counts c = {0};

    (void)state;
    t = (struct timeline){0};
    timeline_look(&t, &c, 0, 0, 1000 * MS);
    c.failed_reset = 3;
    c.reset = 2;
    timeline_look(&t, &c, 0, 0, 1050 * MS);
    timeline_look(&t, &c, 0, 0, 1100 * MS);
    c.refused = 4;
    timeline_look(&t, &c, 1, 1020 * MS, 1400 * MS);
    timeline_look(&t, &c, 0, 0, 2000 * MS);
    c.lost = 1;
    timeline_look(&t, &c, 0, 0, 2100 * MS);
    assert_int_equal(t.n_all, 2);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.kept[0].from_ns, 1000 * MS);
    assert_int_equal(t.kept[0].to_ns, 1400 * MS);
    assert_int_equal(t.kept[0].delta.failed_reset, 3);
    assert_int_equal(t.kept[0].delta.reset, 2);
    assert_int_equal(t.kept[0].delta.refused, 4);
    assert_int_equal(t.kept[0].waiting, 1);
    assert_int_equal(t.kept[1].from_ns, 2000 * MS);
    assert_int_equal(t.kept[1].delta.lost, 1);
    assert_int_equal(t.kept[1].delta.refused, 0);
}

/* A stall is noticed late and began before. */
static void timeline__waiting__outage_from_when_it_began(void **state)
{
    static struct timeline t;
    struct audit_counts c = {0};

    (void)state;
    t = (struct timeline){0};
    timeline_look(&t, &c, 0, 0, 1000 * MS);
    timeline_look(&t, &c, 0, 0, 1050 * MS);
    timeline_look(&t, &c, 7, 790 * MS, 1100 * MS);
    timeline_look(&t, &c, 9, 790 * MS, 1150 * MS);
    assert_int_equal(t.n_all, 1);
    assert_int_equal(t.kept[0].from_ns, 790 * MS);
    assert_int_equal(t.kept[0].to_ns, 1150 * MS);
    assert_int_equal(t.kept[0].waiting, 9);
}

static void timeline__too_many_outages__all_counted_the_first_kept(void **state)
{
    static struct timeline t;
    struct audit_counts c = {0};
    uint64_t now = 1000 * MS;

    (void)state;
    t = (struct timeline){0};
    timeline_look(&t, &c, 0, 0, now);
    for (int i = 0; i < TIMELINE_OUTAGES_MAX + 10; i++) {
        c.closed++;
        timeline_look(&t, &c, 0, 0, now += 10 * MS);
        timeline_look(&t, &c, 0, 0, now += 2000 * MS);
    }
    assert_int_equal(t.n, TIMELINE_OUTAGES_MAX);
    assert_int_equal(t.n_all, TIMELINE_OUTAGES_MAX + 10);
    assert_int_equal(t.kept[TIMELINE_OUTAGES_MAX - 1].delta.closed, 1);
}

static struct audit_tally good(void)
{
    struct audit_tally t = {.counts = {.sent = 1000, .echoed = 1000, .connected = 1},
                            .stall = {.ns = 41 * MS, .at_ns = 1}};
    return t;
}

static void audit_judge__each_way_to_break__told_apart(void **state)
{
    struct audit_limits limits = {.max_stall_ns = 200 * MS};
    struct audit_tally t = good();

    (void)state;
    assert_true(audit_judge(&t, &limits).is_delivered);
    t.counts.sent = t.counts.echoed = 0;
    assert_true(audit_judge(&t, &limits).is_idle);
    assert_false(audit_judge(&t, &limits).is_delivered);

    uint64_t *const lossy[] = {&t.counts.lost,         &t.counts.truncated,
                               &t.counts.corrupted,    &t.counts.failed_closed,
                               &t.counts.failed_reset, &t.counts.failed_timeout};
    for (size_t i = 0; i < sizeof(lossy) / sizeof(lossy[0]); i++) {
        t = good();
        *lossy[i] = 1;
        limits.max_loss.count = 0;
        assert_true(audit_judge(&t, &limits).is_lossy);
        assert_false(audit_judge(&t, &limits).is_delivered);
        limits.max_loss.count = 1;
        assert_true(audit_judge(&t, &limits).is_delivered);
    }
    /* No limit makes these right. */
    uint64_t *const wrong[] = {&t.counts.reordered, &t.counts.duplicated, &t.counts.foreign};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        t = good();
        *wrong[i] = 1;
        assert_true(audit_judge(&t, &limits).is_wrong);
        assert_false(audit_judge(&t, &limits).is_delivered);
    }
    uint64_t *const cut[] = {&t.counts.closed, &t.counts.reset, &t.counts.given_up};
    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
        t = good();
        *cut[i] = 1;
        limits.max_cut.count = 0;
        assert_true(audit_judge(&t, &limits).is_cut);
        assert_false(audit_judge(&t, &limits).is_delivered);
        limits.max_cut.count = 1;
        assert_true(audit_judge(&t, &limits).is_delivered);
    }
    t = good();
    t.stall.ns = 200 * MS;
    assert_true(audit_judge(&t, &limits).is_delivered);
    t.stall.ns++;
    assert_true(audit_judge(&t, &limits).is_stalled);
    assert_false(audit_judge(&t, &limits).is_delivered);
}

/* The words, with every number of its own. */
static void audit_text__a_broken_lane__named_with_its_reasons(void **state)
{
    static struct timeline timeline;
    struct audit_limits limits = {.max_stall_ns = UINT64_MAX};
    struct audit_incidents incidents = {0};
    struct audit_tally lanes[] = {good(), good()};
    struct hist echoed;
    struct audit_result r = {
        .lanes = lanes, .n_lanes = 2, .incidents = &incidents, .echoed = &echoed};
    json_t *o;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    assert_int_equal(hist_init(&echoed), 0);
    hist_add(&echoed, MS, 990);
    hist_add(&echoed, 2 * MS, 9);
    hist_add(&echoed, 41 * MS, 1);
    lanes[1].counts.echoed -= 3;
    lanes[1].counts.failed_reset = 3;
    lanes[1].counts.reset = 1;
    audit_counts_add(&r.total.counts, &lanes[0].counts);
    audit_counts_add(&r.total.counts, &lanes[1].counts);
    r.total.stall = lanes[0].stall;
    timeline = (struct timeline){0};
    timeline_look(&timeline, &r.total.counts, 0, 0, 5000 * MS);
    assert_non_null(f);
    o = audit_json(&r, &timeline, &limits);
    assert_int_equal(audit_text_write(f, o, false), 0);
    json_decref(o);
    fclose(f);
    assert_non_null(strstr(text, "3 of 2 000 lost\n"));
    assert_non_null(strstr(text, "         41ms  1970-01-01T00:00:00.0"));
    assert_non_null(strstr(text, "  1.00ms  1.00ms  2.00ms  41.00ms\n"));
    assert_non_null(strstr(text, "\n         2  broken      3  1000 "));
    assert_non_null(strstr(text, "  3 failed_reset 1 reset\n"));
    assert_null(strstr(text, "\n         1  "));
    assert_non_null(strstr(text, "1 of 2 connections without a flaw\n"));
    assert_non_null(strstr(text, "outages: 1\n"));
    assert_non_null(strstr(
        text, "verdict: BROKEN: too many messages were lost, too many connections were cut\n"));
    free(text);
    hist_fini(&echoed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeline__nothing_wrong__no_outage),
        cmocka_unit_test(timeline__failures_close_together__one_outage_with_their_sum),
        cmocka_unit_test(timeline__waiting__outage_from_when_it_began),
        cmocka_unit_test(timeline__too_many_outages__all_counted_the_first_kept),
        cmocka_unit_test(audit_judge__each_way_to_break__told_apart),
        cmocka_unit_test(audit_text__a_broken_lane__named_with_its_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
