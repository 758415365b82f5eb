/*
 * Samples of `info` and the rates between them: whichever process comes or goes in between, a rate
 * is right or unknown, and never negative.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/sample.h"
#include "support/must.h"

#define NS UINT64_C(1000000000)

static struct sample read_text(const char *text, uint64_t now_ns)
{
    json_error_t error;
    json_t *info = json_loads(text, 0, &error);
    struct sample s;

    if (!info)
        fail_msg("%s: %s", error.text, text);
    assert_int_equal(sample_read(info, now_ns, &s), 0);
    json_decref(info);
    return s;
}

/* A server with one worker. */
struct one {
    int arbiter, pid, generation;
    double up, worker_up;
    unsigned long total, requests;
};

static struct sample sample_of(struct one o, uint64_t now_ns)
{
    char text[512];

    snprintf(text, sizeof(text),
             "{\"arbiter\":{\"pid\":%d,\"uptime\":%f},\"workers\":[{\"id\":\"worker.1\","
             "\"pid\":%d,\"generation\":%d,\"uptime\":%f,\"requests\":%lu,\"bytes_in\":%lu,"
             "\"bytes_out\":%lu}],\"totals\":{\"requests\":%lu}}",
             o.arbiter, o.up, o.pid, o.generation, o.worker_up, o.requests, o.requests * 10,
             o.requests * 20, o.total);
    return read_text(text, now_ns);
}

static struct sample rate_between(struct one before, struct one after, uint64_t ns)
{
    struct sample a = sample_of(before, 5 * NS), b = sample_of(after, 5 * NS + ns);

    sample_rate(&b, &a);
    sample_fini(&a);
    return b;
}

static const struct one base = {
    .arbiter = 10,
    .pid = 11,
    .generation = 1,
    .up = 100,
    .worker_up = 100,
    .total = 1000,
    .requests = 600,
};

static void rate__same_process__difference_a_second(void **state UNUSED)
{
    struct one after = base;
    struct sample s;

    after.total += 500;
    after.requests += 500;
    s = rate_between(base, after, 2 * NS);
    assert_true(s.rate.requests == 250);
    assert_true(s.workers[0].rate.requests == 250);
    assert_true(s.workers[0].rate.bytes_in == 2500);
    assert_true(s.workers[0].rate.bytes_out == 5000);
    sample_fini(&s);
}

static void rate__worker_restarted__counts_from_its_start(void **state UNUSED)
{
    struct one after = base;
    struct sample s;

    after.pid = 99;
    after.generation = 2;
    after.worker_up = 0.5;
    after.requests = 30;
    after.total += 30;
    s = rate_between(base, after, NS);
    assert_true(s.workers[0].rate.requests == 30);
    assert_true(s.rate.requests == 30);
    sample_fini(&s);
}

static void
rate__pid_used_again_in_a_new_generation__no_difference_of_two_lives(void **state UNUSED)
{
    struct one after = base;
    struct sample s;

    after.generation = 2; /* the same pid */
    after.worker_up = 0.5;
    after.requests = 700;
    s = rate_between(base, after, NS);
    assert_true(s.workers[0].rate.requests == 700);
    sample_fini(&s);
}

static void rate__old_worker_never_seen__unknown(void **state UNUSED)
{
    struct one after = base;
    struct sample s;

    after.pid = 99;
    after.worker_up = 50;
    s = rate_between(base, after, NS);
    assert_true(isnan(s.workers[0].rate.requests));
    sample_fini(&s);
}

static void rate__counter_went_back__unknown(void **state UNUSED)
{
    struct one after = base;
    struct sample s;

    after.requests = 599;
    after.total = 1;
    s = rate_between(base, after, NS);
    assert_true(isnan(s.workers[0].rate.requests));
    assert_true(isnan(s.rate.requests));
    sample_fini(&s);
}

static void rate__arbiter_restarted__total_counts_from_its_start(void **state UNUSED)
{
    struct one after = {.arbiter = 20,
                        .pid = 21,
                        .generation = 1,
                        .up = 3,
                        .worker_up = 3,
                        .total = 40,
                        .requests = 40};
    struct sample s = rate_between(base, after, 4 * NS);

    assert_true(s.rate.requests == 10);
    assert_true(s.workers[0].rate.requests == 10);
    sample_fini(&s);
}

static void rate__no_sample_before__unknown(void **state UNUSED)
{
    struct sample none = {0}, s = sample_of(base, 5 * NS);

    sample_rate(&s, &none);
    assert_true(isnan(s.rate.requests) && isnan(s.workers[0].rate.bytes_in));
    sample_fini(&s);
}

static void rate__no_time_between__unknown(void **state UNUSED)
{
    struct sample s = rate_between(base, base, 0);

    assert_true(isnan(s.rate.requests) && isnan(s.workers[0].rate.requests));
    sample_fini(&s);
}

/* Any two servers after each other: known rates are finite and not negative. */
static void rate__random_lives__never_negative(void **state UNUSED)
{
    uint64_t rng = 1;
    unsigned n_known = 0;

    for (int i = 0; i < 20000; i++) {
        struct one o[2];
        struct sample s;

        for (int k = 0; k < 2; k++)
            o[k] = (struct one){
                .arbiter = (int)rng_below(&rng, 2) + 1,
                .pid = (int)rng_below(&rng, 3) + 1,
                .generation = (int)rng_below(&rng, 2),
                .up = (double)rng_below(&rng, 10),
                .worker_up = (double)rng_below(&rng, 10),
                .total = rng_below(&rng, 1000),
                .requests = rng_below(&rng, 1000),
            };
        s = rate_between(o[0], o[1], rng_below(&rng, 5 * NS));
        assert_false(s.rate.requests < 0 || isinf(s.rate.requests));
        assert_false(s.workers[0].rate.requests < 0 || isinf(s.workers[0].rate.requests));
        assert_false(s.workers[0].rate.bytes_out < 0);
        if (!isnan(s.workers[0].rate.requests))
            n_known++;
        sample_fini(&s);
    }
    assert_true(n_known > 5000);
}

static void read__all_fields__each_in_its_place(void **state UNUSED)
{
    struct sample s = read_text(
        "{\"arbiter\":{\"pid\":1,\"version\":\"9.8\",\"state\":\"run\",\"uptime\":2.5,"
        "\"generation\":3,\"reloads\":4,\"restarts\":5,\"workers_wanted\":6,\"degraded\":true},"
        "\"workers\":[{\"id\":\"worker.7\",\"pid\":8,\"generation\":9,\"state\":\"stopping\","
        "\"uptime\":10,\"connections\":11,\"accepted\":12,\"requests\":13,\"bytes_in\":14,"
        "\"bytes_out\":15,\"heartbeat_age\":0.25,\"lag_ms\":1.5}],"
        "\"totals\":{\"connections\":16,\"accepted\":17,\"requests\":18,\"bytes_in\":19,"
        "\"bytes_out\":20}}",
        7);
    const struct sample_worker *w = &s.workers[0];

    assert_int_equal(s.taken_ns, 7);
    assert_int_equal(s.pid, 1);
    assert_string_equal(s.version, "9.8");
    assert_string_equal(s.state, "run");
    assert_true(s.uptime_s == 2.5);
    assert_int_equal(s.generation, 3);
    assert_int_equal(s.reloads, 4);
    assert_int_equal(s.restarts, 5);
    assert_int_equal(s.wanted, 6);
    assert_true(s.is_degraded);
    assert_int_equal(s.n_workers, 1);
    assert_string_equal(w->id, "worker.7");
    assert_int_equal(w->pid, 8);
    assert_int_equal(w->generation, 9);
    assert_string_equal(w->state, "stopping");
    assert_true(w->uptime_s == 10 && w->heartbeat_age_s == 0.25 && w->lag_ms == 1.5);
    assert_int_equal(w->counts.connections, 11);
    assert_int_equal(w->counts.accepted, 12);
    assert_int_equal(w->counts.requests, 13);
    assert_int_equal(w->counts.bytes_in, 14);
    assert_int_equal(w->counts.bytes_out, 15);
    assert_int_equal(s.totals.connections, 16);
    assert_int_equal(s.totals.accepted, 17);
    assert_int_equal(s.totals.requests, 18);
    assert_int_equal(s.totals.bytes_in, 19);
    assert_int_equal(s.totals.bytes_out, 20);
    sample_fini(&s);
}

static void read__fields_missing_or_of_another_type__no_guess(void **state UNUSED)
{
    struct sample s = read_text("{\"arbiter\":{\"pid\":\"x\",\"state\":5},\"workers\":[{},7,"
                                "{\"requests\":-5,\"lag_ms\":\"?\"}]}",
                                1);

    assert_int_equal(s.pid, 0);
    assert_string_equal(s.state, "?");
    assert_true(isnan(s.uptime_s));
    assert_int_equal(s.n_workers, 3);
    assert_string_equal(s.workers[1].id, "?");
    assert_int_equal(s.workers[2].counts.requests, 0);
    assert_true(isnan(s.workers[2].lag_ms));
    sample_fini(&s);
}

static void read__escape_sequences__made_harmless(void **state UNUSED)
{
    struct sample s = read_text("{\"arbiter\":{\"version\":\"\\u001b[2J\"},\"workers\":["
                                "{\"id\":\"a\\nb\",\"state\":\"a state with a name that is "
                                "longer than any\"}]}",
                                1);

    assert_string_equal(s.version, "?[2J");
    assert_string_equal(s.workers[0].id, "a?b");
    assert_int_equal(strlen(s.workers[0].state), SAMPLE_NAME_LEN - 1);
    sample_fini(&s);
}

static void read__no_info__bad_message(void **state UNUSED)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "{\"arbiter\":{}}",
                                        "{\"workers\":[]}",
                                        "{\"arbiter\":1,\"workers\":[]}",
                                        "{\"arbiter\":{},\"workers\":{}}"};
    struct sample s;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_t *info = json_loads(texts[i], 0, NULL);

        assert_non_null(info);
        assert_int_equal(sample_read(info, 1, &s), -EBADMSG);
        json_decref(info);
    }
    assert_int_equal(sample_read(NULL, 1, &s), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate__same_process__difference_a_second),
        cmocka_unit_test(rate__worker_restarted__counts_from_its_start),
        cmocka_unit_test(rate__pid_used_again_in_a_new_generation__no_difference_of_two_lives),
        cmocka_unit_test(rate__old_worker_never_seen__unknown),
        cmocka_unit_test(rate__counter_went_back__unknown),
        cmocka_unit_test(rate__arbiter_restarted__total_counts_from_its_start),
        cmocka_unit_test(rate__no_sample_before__unknown),
        cmocka_unit_test(rate__no_time_between__unknown),
        cmocka_unit_test(rate__random_lives__never_negative),
        cmocka_unit_test(read__all_fields__each_in_its_place),
        cmocka_unit_test(read__fields_missing_or_of_another_type__no_guess),
        cmocka_unit_test(read__escape_sequences__made_harmless),
        cmocka_unit_test(read__no_info__bad_message),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
