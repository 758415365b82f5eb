/*
 * The rates between two answers of `info`: whichever process comes or goes in between, a rate
 * is right or unknown, and never negative.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/info_text.h"
#include "conformance/must.h"

#define NS UINT64_C(1000000000)

/* What the rates of two answers are; NAN = not known. */
struct rates {
    double total, worker, worker_in, worker_out;
};

static double rate_at(const json_t *o, const char *key)
{
    const json_t *rate = json_object_get(o, key);

    assert_true(json_is_null(rate) || json_is_real(rate));
    return json_is_null(rate) ? NAN : json_real_value(rate);
}

/* A server with one worker. */
struct one {
    int arbiter, pid, incarnation;
    double up, worker_up;
    unsigned long total, requests;
};

static json_t *info_of(struct one o)
{
    char text[512];
    json_t *info;

    snprintf(text, sizeof(text),
             "{\"arbiter\":{\"pid\":%d,\"uptime_ms\":%f},\"workers\":[{\"id\":\"worker.1\","
             "\"pid\":%d,\"incarnation\":%d,\"uptime_ms\":%f,\"requests\":%lu,\"bytes_in\":%lu,"
             "\"bytes_out\":%lu}],\"totals\":{\"requests\":%lu}}",
             o.arbiter, o.up * 1e3, o.pid, o.incarnation, o.worker_up * 1e3, o.requests,
             o.requests * 10, o.requests * 20, o.total);
    info = json_loads(text, 0, NULL);
    assert_true(info_is_valid(info));
    return info;
}

static struct rates rate_info(json_t *info, const json_t *before, uint64_t ns)
{
    const json_t *w;
    struct rates r;

    info_rate(info, before, (double)ns / 1e9);
    w = json_array_get(json_object_get(info, "workers"), 0);
    r = (struct rates){rate_at(json_object_get(info, "totals"), "requests_per_s"),
                       rate_at(w, "requests_per_s"), rate_at(w, "bytes_in_per_s"),
                       rate_at(w, "bytes_out_per_s")};
    return r;
}

static struct rates rate_between(struct one before, struct one after, uint64_t ns)
{
    json_t *a = info_of(before), *b = info_of(after);
    struct rates r = rate_info(b, a, ns);

    json_decref(a);
    json_decref(b);
    return r;
}

static const struct one base = {
    .arbiter = 10,
    .pid = 11,
    .incarnation = 1,
    .up = 100,
    .worker_up = 100,
    .total = 1000,
    .requests = 600,
};

static void rate__same_process__difference_a_second(void **state UNUSED)
{
    struct one after = base;
    struct rates r;

    after.total += 500;
    after.requests += 500;
    r = rate_between(base, after, 2 * NS);
    assert_true(r.total == 250);
    assert_true(r.worker == 250);
    assert_true(r.worker_in == 2500);
    assert_true(r.worker_out == 5000);
}

static void rate__worker_restarted__counts_from_its_start(void **state UNUSED)
{
    struct one after = base;
    struct rates r;

    after.pid = 99;
    after.incarnation = 2;
    after.worker_up = 0.5;
    after.requests = 30;
    after.total += 30;
    r = rate_between(base, after, NS);
    assert_true(r.worker == 30);
    assert_true(r.total == 30);
}

static void
rate__pid_used_again_in_a_new_incarnation__no_difference_of_two_lives(void **state UNUSED)
{
    struct one after = base;
    struct rates r;

    after.incarnation = 2; /* the same pid */
    after.worker_up = 0.5;
    after.requests = 700;
    r = rate_between(base, after, NS);
    assert_true(r.worker == 700);
}

static void rate__old_worker_never_seen__unknown(void **state UNUSED)
{
    struct one after = base;
    struct rates r;

    after.pid = 99;
    after.worker_up = 50;
    r = rate_between(base, after, NS);
    assert_true(isnan(r.worker));
}

static void rate__counter_went_back__unknown(void **state UNUSED)
{
    struct one after = base;
    struct rates r;

    after.requests = 599;
    after.total = 1;
    r = rate_between(base, after, NS);
    assert_true(isnan(r.worker));
    assert_true(isnan(r.total));
}

static void rate__arbiter_restarted__total_counts_from_its_start(void **state UNUSED)
{
    struct one after = {.arbiter = 20,
                        .pid = 21,
                        .incarnation = 1,
                        .up = 3,
                        .worker_up = 3,
                        .total = 40,
                        .requests = 40};
    struct rates r = rate_between(base, after, 4 * NS);

    assert_true(r.total == 10);
    assert_true(r.worker == 10);
}

static void rate__no_answer_before__unknown(void **state UNUSED)
{
    json_t *info = info_of(base);
    struct rates r = rate_info(info, NULL, 5 * NS);

    assert_true(isnan(r.total) && isnan(r.worker_in));
    json_decref(info);
}

static void rate__no_time_between__unknown(void **state UNUSED)
{
    struct rates r = rate_between(base, base, 0);

    assert_true(isnan(r.total) && isnan(r.worker));
}

/* Any two servers after each other: known rates are finite and not negative. */
static void rate__random_lives__never_negative(void **state UNUSED)
{
    uint64_t rng = 1;
    unsigned n_known = 0;

    for (int i = 0; i < 20000; i++) {
        struct one o[2];
        struct rates r;

        for (int k = 0; k < 2; k++)
            o[k] = (struct one){
                .arbiter = (int)rng_below(&rng, 2) + 1,
                .pid = (int)rng_below(&rng, 3) + 1,
                .incarnation = (int)rng_below(&rng, 2),
                .up = (double)rng_below(&rng, 10),
                .worker_up = (double)rng_below(&rng, 10),
                .total = rng_below(&rng, 1000),
                .requests = rng_below(&rng, 1000),
            };
        r = rate_between(o[0], o[1], rng_below(&rng, 5 * NS));
        assert_false(r.total < 0 || isinf(r.total));
        assert_false(r.worker < 0 || isinf(r.worker));
        assert_false(r.worker_out < 0);
        if (!isnan(r.worker))
            n_known++;
    }
    assert_true(n_known > 5000);
}

static void rate__fields_missing_or_of_another_type__no_guess(void **state UNUSED)
{
    json_t *before = json_loads("{\"arbiter\":{},\"workers\":[]}", 0, NULL);
    json_t *info =
        json_loads("{\"arbiter\":{\"pid\":\"x\"},\"workers\":[{},7,{\"requests\":-5}]}", 0, NULL);
    json_t *workers = json_object_get(info, "workers");

    info_rate(info, before, 1);
    assert_true(json_is_null(json_object_get(json_array_get(workers, 0), "requests_per_s")));
    assert_true(json_is_null(json_object_get(json_array_get(workers, 2), "requests_per_s")));
    json_decref(before);
    json_decref(info);
}

static void info__of_another_shape__not_valid(void **state UNUSED)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "{\"arbiter\":{}}",
                                        "{\"workers\":[]}",
                                        "{\"arbiter\":1,\"workers\":[]}",
                                        "{\"arbiter\":{},\"workers\":{}}"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_t *info = json_loads(texts[i], 0, NULL);

        assert_non_null(info);
        assert_false(info_is_valid(info));
        json_decref(info);
    }
    assert_false(info_is_valid(NULL));
}

static json_t *own_info(int pid, double up, int published)
{
    json_t *info =
        json_pack("{s:{s:i,s:f},s:[],s:{s:{s:{s:i}}},s:[{s:s,s:s}]}", "arbiter", "pid", pid,
                  "uptime_ms", up * 1e3, "workers", "totals", "own", "pubsub", "published",
                  published, "own_counters", "owner", "pubsub", "name", "published");

    assert_non_null(info);
    return info;
}

static void info_rate__own_counters__as_the_others(void **state UNUSED)
{
    static const struct {
        int pid_before, before, now;
        double rate;
    } rows[] = {
        {7, 100, 150, 25},
        {7, 100, 100, 0},
        {7, 100, 99, NAN}, /* backwards */
        {8, 100, 150, NAN}, /* another server, which is older than the sample */
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *before = own_info(rows[i].pid_before, 50, rows[i].before);
        json_t *now = own_info(7, 52, rows[i].now);
        const json_t *row = json_array_get(json_object_get(now, "own_counters"), 0);
        double rate;

        info_rate(now, before, 2);
        rate = rate_at(row, "per_s");
        assert_true(isnan(rows[i].rate) ? isnan(rate) : rate == rows[i].rate);
        json_decref(before);
        json_decref(now);
    }
}

static json_t *times_info(int pid, int cpu_ms, int n_up_to_2, int n_up_to_4, int n)
{
    return json_pack("{s:{s:i,s:f,s:i},s:[{s:s,s:i,s:i,s:i}],s:{s:i,s:{s:i,s:f,s:[{s:i,s:i},{s:i,s:"
                     "i},{s:i,s:i}]}}}",
                     "arbiter", "pid", pid, "uptime_ms", 1e6, "cpu_ms", cpu_ms, "workers", "id",
                     "worker.1", "pid", 9, "incarnation", 1, "cpu_ms", 2 * cpu_ms, "totals",
                     "cpu_ms", 2 * cpu_ms, "reply_us", "count", n, "max", 9.5, "buckets", "le", 2,
                     "count", n_up_to_2, "le", 4, "count", n_up_to_4, "le", 8, "count", n_up_to_4);
}

static double recent_at(const json_t *info, const char *name)
{
    const json_t *totals = json_object_get(info, "totals");

    return rate_at(json_object_get(json_object_get(totals, "reply_us"), "recent"), name);
}

static bool has_recent(const json_t *info)
{
    const json_t *totals = json_object_get(info, "totals");

    return json_is_object(json_object_get(json_object_get(totals, "reply_us"), "recent"));
}

/* Of 100 since the view before 80 took up to 2, 18 up to 4, and 2 more than 8. */
static void info_rate__times_and_processors__of_the_time_between(void **state UNUSED)
{
    json_t *before = times_info(7, 100, 1000, 2000, 3000), *now;

    now = times_info(7, 600, 1080, 2098, 3100);
    info_rate(now, before, 2);
    assert_true(recent_at(now, "p50") == 1.25); /* 50 of 80 */
    assert_true(recent_at(now, "p99") == 9.5);
    assert_true(rate_at(json_object_get(now, "arbiter"), "cpu_percent") == 25);
    assert_true(rate_at(json_object_get(now, "totals"), "cpu_percent") == 50);
    assert_true(rate_at(json_array_get(json_object_get(now, "workers"), 0), "cpu_percent") == 50);
    json_decref(now);
    now = times_info(7, 600, 1000, 2000, 3000); /* nothing came */
    info_rate(now, before, 2);
    assert_false(has_recent(now));
    json_decref(now);
    now = times_info(8, 600, 1080, 2098, 3100); /* of another server */
    info_rate(now, before, 2);
    assert_false(has_recent(now));
    json_decref(now);
    json_decref(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_rate__own_counters__as_the_others),
        cmocka_unit_test(info_rate__times_and_processors__of_the_time_between),
        cmocka_unit_test(rate__same_process__difference_a_second),
        cmocka_unit_test(rate__worker_restarted__counts_from_its_start),
        cmocka_unit_test(rate__pid_used_again_in_a_new_incarnation__no_difference_of_two_lives),
        cmocka_unit_test(rate__old_worker_never_seen__unknown),
        cmocka_unit_test(rate__counter_went_back__unknown),
        cmocka_unit_test(rate__arbiter_restarted__total_counts_from_its_start),
        cmocka_unit_test(rate__no_answer_before__unknown),
        cmocka_unit_test(rate__no_time_between__unknown),
        cmocka_unit_test(rate__random_lives__never_negative),
        cmocka_unit_test(rate__fields_missing_or_of_another_type__no_guess),
        cmocka_unit_test(info__of_another_shape__not_valid),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
