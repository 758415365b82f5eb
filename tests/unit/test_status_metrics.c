/*
 * `info` as metrics: which format is asked for; in both of them, whatever `info` says, each family
 * is declared once before its samples and no sample comes twice; the manual lists them all.
 */
#include "status/status_metrics.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/counters.h"
#include "base/util.h"
#include "conformance/must.h"
#include "support/exposition.h"

#define MANUAL "man/echo-arbiter-metrics.7"

static void choose__accept_header__what_is_wanted_most(void **state UNUSED)
{
    static const struct {
        const char *accept;
        enum metrics_format format;
    } rows[] = {
        {NULL, METRICS_TEXT},
        {"", METRICS_TEXT},
        {"*/*", METRICS_TEXT},
        {"text/plain", METRICS_TEXT},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"Application/OpenMetrics-Text; Version=1.0.0", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=2.0.0", METRICS_TEXT},
        {"application/openmetrics-text;version=0.0.1", METRICS_TEXT},
        {"application/openmetrics-text;q=0", METRICS_TEXT},
        {"application/openmetrics-text;q=0,*/*", METRICS_TEXT},
        {"application/openmetrics-text;q=0.2, text/plain;q=0.3", METRICS_TEXT},
        {"application/openmetrics-text;q=0.3, text/plain;q=0.3", METRICS_OPENMETRICS},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", METRICS_TEXT},
        {"application/json", METRICS_TEXT},
        /* Prometheus 2 and 3 */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
         "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
         "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
         METRICS_OPENMETRICS},
        /* nonsense */
        {",,,;;q=,=;q", METRICS_TEXT},
        {"application/openmetrics-text;q=xyz", METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=-1,", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=;q=1", METRICS_TEXT},
        {";", METRICS_TEXT},
        {"   ,   ", METRICS_TEXT},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (metrics_choose(rows[i].accept) != rows[i].format)
            fail_msg("\"%s\" is not format %d", rows[i].accept, rows[i].format);
}

/* Clients write it: any bytes. */
static void choose__any_header__one_of_the_two(void **state UNUSED)
{
    static const char *const words[] = {
        "application/openmetrics-text",
        "text/plain",
        "*/*",
        "text/*",
        "version=1.0.0",
        "q=0.5",
        "q=",
        "=",
        ";",
        ",",
        " ",
        "\t",
        "q=1e9",
        "q=nan",
        "version",
        "\xff",
        "q=0.00000001",
    };
    uint64_t seed = 5;

    for (int i = 0; i < 20000; i++) {
        char text[256] = "", *exact;

        for (uint64_t n = rng_below(&seed, 7); n > 0; n--)
            strcat(text, words[rng_below(&seed, ARRAY_SIZE(words))]);
        exact = strdup(text); /* a sanitizer sees what reads beyond it */
        assert_true(metrics_choose(exact) <= METRICS_OPENMETRICS);
        free(exact);
    }
}

/* Returns what it says, read and found right. */
static struct exposition *render(const json_t *info, enum metrics_format format)
{
    struct exposition *e;
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(metrics_render(info, format, &text, &len), 0);
    assert_int_equal(strlen(text), len);
    e = exposition_new(text, format == METRICS_OPENMETRICS);
    if (*e->problem)
        fail_msg("%s in:\n%s", e->problem, text);
    free(text);
    return e;
}

static void must_be(const struct exposition *e, const char *series, double value)
{
    const struct exposition_sample *s = exposition_find(e, series);

    if (!s || s->value < value || s->value > value)
        fail_msg("%s is %g, not %g", series, s ? s->value : -1, value);
}

static const struct exposition_family *family_of(const struct exposition *e, const char *name)
{
    for (size_t i = 0; i < e->n_families; i++)
        if (strcmp(e->families[i].name, name) == 0)
            return &e->families[i];
    fail_msg("there is no family %s", name);
    return NULL;
}

/* ---- what a server says ---- */

static const char sample[] =
    "{'arbiter':{'pid':7,'program':'echo-arbiter','version':'0.1.0','state':'run','uptime_ms':"
    "12500,"
    "'revision':3,'reloads':2,'restarts':1,'upgrades':0,'workers_wanted':2,'ready':true,"
    "'degraded':false,'cpu_ms':1500,'memory_bytes':9000,'fds':20,'fds_max':1024,'sandbox':{'"
    "seccomp':true,'"
    "landlock':7,'is':'seccomp'}},"
    "'workers':[{'id':'worker.1','slot':1,'incarnation':1,'pid':8,'state':'stopping','uptime_ms':"
    "9000,"
    "'connections':3,'owing':1,'kept':2,'sources':0,'memory_bytes':100,'fds':9,'fds_max':64,'"
    "heartbeat_age_ms':500.0,'lag_ms':2.0},"
    "{'id':'worker.1','slot':1,'incarnation':2,'pid':9,'state':'run','uptime_ms':1000,"
    "'connections':4,'owing':0,'kept':1,'sources':0,'memory_bytes':50,'fds':7,'fds_max':32,'"
    "heartbeat_age_ms':250.0,'lag_ms':0.5},"
    "{'id':'worker.2','slot':2,'incarnation':1,'pid':10,'state':'run','uptime_ms':9500,"
    "'connections':5,'owing':0,'kept':0,'sources':0,'memory_bytes':null,'fds':5,'fds_max':64,'"
    "heartbeat_age_ms':125.0,'lag_ms':1.5}],"
    "'actors':[{'id':'keeper.1','kind':'keeper','slot':1,'state':'run'},"
    "{'id':'clock.1','kind':'clock','slot':1,'state':'run'},"
    "{'id':'keeper.2','kind':'keeper','slot':2,'state':'run'}],"
    "'messages':{'numbered':5,'dropped':0,'under_way_bytes':0,'stalled':0},"
    "'own_counters':[{'owner':'pubsub','name':'published','help':'messages of PUBLISH'}],"
    "'totals':{'connections':12,'owing':1,'kept':3,'kept_bytes':4096,'sources':0,"
    "'reply_us':{'count':8,'sum':1500,'p50':1.0,'buckets':[{'le':1,'count':2},{'le':128,'count':7},"
    "{'le':33554432,'count':7}]},"
    "'loop_lag_us':{'count':0,'sum':0,'p50':null,'buckets':[{'le':1,'count':0}]},"
    "'own':{'pubsub':{'published':77}}}}";

static json_t *read_json(const char *text)
{
    char *quoted = strdup(text);
    json_t *o;

    for (char *c = quoted; (c = strchr(c, '\''));)
        *c = '"';
    o = json_loads(quoted, 0, NULL);
    free(quoted);
    assert_non_null(o);
    return o;
}

/* The sample, with each counter of the table: all different. */
#define N(field) (double)(1000 + offsetof(struct counters, field))
static json_t *full_info(void)
{
    json_t *info = read_json(sample), *totals = json_object_get(info, "totals");

#define X(field, help) json_object_set_new(totals, #field, json_integer((json_int_t)N(field)));
    COUNTERS(X)
#undef X
    return info;
}

static void render__a_whole_server__each_number_in_its_place(void **state UNUSED)
{
    static const struct {
        const char *series;
        double value;
    } rows[] = {
        {"arbiter_build_info{program=\"echo-arbiter\",version=\"0.1.0\"}", 1},
        {"arbiter_sandbox_info{seccomp=\"1\",landlock=\"7\"}", 1},
        {"arbiter_uptime_seconds", 12.5},
        {"arbiter_ready", 1},
        {"arbiter_degraded", 0},
        {"arbiter_reloads_total", 2},
        {"arbiter_restarts_total", 1},
        {"arbiter_workers_wanted", 2},
        {"arbiter_workers{state=\"run\"}", 2},
        {"arbiter_workers{state=\"stopping\"}", 1},
        {"arbiter_workers{state=\"starting\"}", 0},
        {"arbiter_actors{kind=\"keeper\"}", 2},
        {"arbiter_actors{kind=\"clock\"}", 1},
        {"arbiter_messages_numbered_total", 5},
        {"arbiter_accepted_total", N(accepted)},
        {"arbiter_requests_total", N(requests)},
        {"arbiter_in_bytes_total", N(bytes_in)},
        {"arbiter_out_bytes_total", N(bytes_out)},
        {"arbiter_closed_total{reason=\"peer\"}", N(closed_peer)},
        {"arbiter_closed_total{reason=\"too_big\"}", N(closed_too_big)},
        {"arbiter_scanned_bytes_total", N(scanned)},
        {"arbiter_own_published_total{owner=\"pubsub\"}", 77},
        {"arbiter_cpu_seconds_total", N(cpu_ms) / 1e3},
        {"arbiter_self_cpu_seconds_total", 1.5},
        {"arbiter_kept_bytes", 4096},
        {"arbiter_self_fds_max", 1024},
        {"arbiter_reply_seconds_bucket{le=\"1e-06\"}", 2},
        {"arbiter_reply_seconds_bucket{le=\"0.000128\"}", 7},
        {"arbiter_reply_seconds_bucket{le=\"33.554432\"}", 7},
        {"arbiter_reply_seconds_bucket{le=\"+Inf\"}", 8},
        {"arbiter_reply_seconds_sum", 0.0015},
        {"arbiter_reply_seconds_count", 8},
        {"arbiter_loop_lag_seconds_bucket{le=\"+Inf\"}", 0},
        /* two processes in a slot */
        {"arbiter_connections{worker=\"1\"}", 7},
        {"arbiter_connections{worker=\"2\"}", 5},
        {"arbiter_worker_incarnation{worker=\"1\"}", 2},
        {"arbiter_worker_memory_bytes{worker=\"1\"}", 150},
        {"arbiter_worker_fds{worker=\"1\"}", 9},
        {"arbiter_worker_fds_max{worker=\"1\"}", 32},
        {"arbiter_worker_uptime_seconds{worker=\"1\"}", 1},
        {"arbiter_worker_heartbeat_age_seconds{worker=\"1\"}", 0.5},
        {"arbiter_worker_loop_lag_seconds{worker=\"1\"}", 0.002},
        {"arbiter_worker_loop_lag_seconds{worker=\"2\"}", 0.0015},
    };
    json_t *info = full_info();

    for (enum metrics_format f = METRICS_TEXT; f <= METRICS_OPENMETRICS; f++) {
        struct exposition *e = render(info, f);

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
            must_be(e, rows[i].series, rows[i].value);
        for (size_t i = 0; i < e->n_samples; i++)
            assert_null(strstr(e->samples[i].series, "pid"));
        exposition_free(e);
    }
    json_decref(info);
}

static void render__both_formats__each_declares_in_its_own_way(void **state UNUSED)
{
    json_t *info = full_info();
    struct exposition *text = render(info, METRICS_TEXT), *open = render(info, METRICS_OPENMETRICS);

    assert_string_equal(family_of(text, "arbiter_accepted_total")->type, "counter");
    assert_string_equal(family_of(text, "arbiter_accepted_total")->help, "connections accepted");
    assert_string_equal(family_of(text, "arbiter_in_bytes_total")->type, "counter");
    assert_string_equal(family_of(text, "arbiter_build_info")->type, "gauge");
    assert_string_equal(family_of(open, "arbiter_accepted")->type, "counter");
    assert_string_equal(family_of(open, "arbiter_in_bytes")->type, "counter");
    assert_string_equal(family_of(open, "arbiter_build")->type, "info");
    assert_int_equal(text->n_families, open->n_families);
    assert_int_equal(text->n_samples, open->n_samples);
    for (size_t i = 0; i < text->n_samples; i++)
        assert_string_equal(text->samples[i].series, open->samples[i].series);
    exposition_free(text);
    exposition_free(open);
    json_decref(info);
}

static void render__texts_of_others__escaped(void **state UNUSED)
{
    json_t *info = read_json("{'arbiter':{'version':'x'},'totals':{'own':{'a':{'n':1}}},"
                             "'own_counters':[{'owner':'a','name':'n','help':'x'}]}");
    struct exposition *e;

    json_object_set_new(json_object_get(info, "arbiter"), "version", json_string("1\" 2\n3\\4} 5"));
    json_object_set_new(json_array_get(json_object_get(info, "own_counters"), 0), "help",
                        json_string("says \"a\"\n# EOF\\"));
    e = render(info, METRICS_OPENMETRICS);
    must_be(e, "arbiter_build_info{version=\"1\\\" 2\\n3\\\\4} 5\"}", 1);
    assert_string_equal(family_of(e, "arbiter_own_n")->help, "says \\\"a\\\"\\n# EOF\\\\");
    exposition_free(e);
    json_decref(info);
}

/* What one family's samples are called no other family may be. */
static void must_not_clash(const struct exposition *e)
{
    for (size_t i = 0; i < e->n_families; i++)
        for (size_t k = 0; k < e->n_families; k++) {
            const char *name = e->families[i].name, *other = e->families[k].name;
            const char *suffix = name + MIN(strlen(name), strlen(other));

            if (strncmp(name, other, strlen(other)) == 0 &&
                (strcmp(suffix, "_total") == 0 || strcmp(suffix, "_created") == 0))
                fail_msg("%s could be a sample of %s", name, other);
        }
}

/* Nothing that an author may call a counter makes two families of one, or one of two. */
static void render__own_counters_of_any_name__no_family_twice(void **state UNUSED)
{
    static const char *const owners[] = {"a", "a_b", "info", "total"};
    static const char *const names[] = {
        "x",       "x_total", "x_created", "x_counted", "x_total_counted", "b_x",
        "total",   "_",       "_total",    "x_info",    "x_bucket",        "x_sum",
        "x_count", "x_bytes", "accepted",  "closed",
    };
    json_t *rows = json_array(), *own = json_object(), *info;
    struct exposition *e;

    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        json_t *counters = json_object();

        for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
            json_object_set_new(counters, names[k], json_integer((json_int_t)(100 * i + k)));
            json_array_append_new(
                rows, json_pack("{s:s,s:s,s:s}", "owner", owners[i], "name", names[k], "help", ""));
        }
        json_object_set_new(own, owners[i], counters);
    }
    info = json_pack("{s:o,s:{s:o}}", "own_counters", rows, "totals", "own", own);
    for (enum metrics_format f = METRICS_TEXT; f <= METRICS_OPENMETRICS; f++) {
        e = render(info, f);
        assert_int_equal(e->n_families, ARRAY_SIZE(names));
        assert_int_equal(e->n_samples, ARRAY_SIZE(names) * ARRAY_SIZE(owners));
        must_be(e, "arbiter_own_x_total{owner=\"a_b\"}", 100);
        must_be(e, "arbiter_own_x_total_counted_total{owner=\"a\"}", 1);
        if (f == METRICS_OPENMETRICS)
            must_not_clash(e);
        exposition_free(e);
    }
    json_decref(info);
}

/* A server of another version, or none at all: what is not there is left out, nothing is 0. */
static void render__members_missing_or_of_another_type__left_out(void **state UNUSED)
{
    static const char *const infos[] = {
        "{}",
        "[]",
        "{'arbiter':{}}",
        "{'arbiter':[],'workers':{},'totals':7,'actors':'x'}",
        "{'workers':[1,null,{},{'slot':'x'},{'slot':1}]}",
        "{'arbiter':{'version':7,'ready':'yes','uptime_ms':null,'sandbox':{'landlock':'x'}}}",
        "{'own_counters':[1,{},{'name':'x'},{'name':7},{'name':'y','owner':'z'}]}",
        "{'own_counters':[{'name':'y','owner':'x'}],'totals':{'own':{'x':7}}}",
        "{'totals':{'accepted':'many','requests':null,'closed_peer':{}}}",
        "{'totals':{'reply_us':{'count':1,'sum':1,'buckets':[{'le':1,'count':null}]}}}",
        "{'totals':{'reply_us':{'count':1,'buckets':[]},'loop_lag_us':{'buckets':7}}}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(infos); i++)
        for (enum metrics_format f = METRICS_TEXT; f <= METRICS_OPENMETRICS; f++) {
            json_t *info = read_json(infos[i]);
            struct exposition *e = render(info, f);

            for (size_t k = 0; k < e->n_samples; k++)
                assert_int_equal(strncmp(e->samples[k].series, "arbiter_workers{", 16), 0);
            exposition_free(e);
            json_decref(info);
        }
}

/* ---- the manual ---- */

static char *read_manual(void)
{
    static char text[65536];
    FILE *f = fopen(MANUAL, "re");

    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    return text;
}

/* ".It Va NAME Pq TYPE", and on the next line its help text as a sentence. */
static void must_list(const char *manual, const char *item, const char *help)
{
    char entry[512];
    char *text = entry + snprintf(entry, sizeof(entry), "\n.It %s\n", item);

    snprintf(text, sizeof(entry) - (size_t)(text - entry), "%s.\n", help);
    *text = (char)toupper((unsigned char)*text);
    if (!strstr(manual, entry))
        fail_msg(MANUAL " does not have:%s", entry);
}

static size_t count_items(const char *manual, const char *macro)
{
    size_t n = 0;

    for (; (manual = strstr(manual, macro)); manual++)
        n++;
    return n;
}

static void manual__every_family__listed_with_its_help(void **state UNUSED)
{
    json_t *info = full_info();
    struct exposition *e = render(info, METRICS_TEXT);
    const char *manual = read_manual();
    char item[256];
    size_t n_own = 0;

    for (size_t i = 0; i < e->n_families; i++) {
        const struct exposition_family *f = &e->families[i];

        if (strncmp(f->name, "arbiter_own_", strlen("arbiter_own_")) == 0) {
            n_own++;
            continue;
        }
        snprintf(item, sizeof(item), "Va %s Pq %s", f->name, f->type);
        must_list(manual, item, f->help);
    }
    assert_int_equal(count_items(manual, "\n.It Va arbiter_"), e->n_families - n_own);
    exposition_free(e);
    json_decref(info);
}

static void manual__every_reason__listed_with_its_help(void **state UNUSED)
{
    static const struct {
        const char *field, *help;
    } rows[] = {
#define X(field, help) {#field, help},
        COUNTERS(X)
#undef X
    };
    const char *manual = read_manual();
    char item[64];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strncmp(rows[i].field, "closed_", strlen("closed_")) != 0)
            continue;
        snprintf(item, sizeof(item), "Li %s", rows[i].field + strlen("closed_"));
        must_list(manual, item, rows[i].help);
        n++;
    }
    assert_int_equal(count_items(manual, "\n.It Li "), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choose__accept_header__what_is_wanted_most),
        cmocka_unit_test(choose__any_header__one_of_the_two),
        cmocka_unit_test(render__a_whole_server__each_number_in_its_place),
        cmocka_unit_test(render__both_formats__each_declares_in_its_own_way),
        cmocka_unit_test(render__texts_of_others__escaped),
        cmocka_unit_test(render__own_counters_of_any_name__no_family_twice),
        cmocka_unit_test(render__members_missing_or_of_another_type__left_out),
        cmocka_unit_test(manual__every_family__listed_with_its_help),
        cmocka_unit_test(manual__every_reason__listed_with_its_help),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
