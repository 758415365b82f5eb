/*
 * `info` as families of metrics.
 */
#include "status/status_metrics.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "actor/state.h"
#include "base/counters.h"
#include "base/util.h"

#define PREFIX "arbiter_"

enum { FAMILY_NAME_LEN = 96, KINDS_SHOWN_MAX = 64 };

/* ---- which format ---- */

static bool is_token(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

/* The value of a parameter of one element of Accept, not terminated; NULL = it has none. */
static const char *find_parameter(const char *element, size_t len, const char *name,
                                  size_t *ret_len)
{
    const char *end = element + len, *at = element, *semicolon;

    while ((semicolon = memchr(at, ';', (size_t)(end - at)))) {
        at = semicolon + 1;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if ((size_t)(end - at) <= strlen(name) || !is_token(at, strlen(name), name) ||
            at[strlen(name)] != '=')
            continue;
        at += strlen(name) + 1;
        for (*ret_len = 0; at + *ret_len < end && !strchr("; \t", at[*ret_len]);)
            ++*ret_len;
        return at;
    }
    return NULL;
}

/* From 0, not wanted, to 1. What is no number is taken for the default. */
static double quality_of(const char *element, size_t len)
{
    size_t value_len;
    const char *value = find_parameter(element, len, "q", &value_len);
    char text[8] = "", *end;
    double q;

    if (!value || value_len >= sizeof(text))
        return 1;
    memcpy(text, value, value_len);
    q = strtod(text, &end);
    return end > text && q >= 0 && q <= 1 ? q : 1;
}

/* Another version of OpenMetrics is another format. */
static bool is_openmetrics(const char *element, size_t len, size_t type_len)
{
    size_t value_len;
    const char *version = find_parameter(element, len, "version", &value_len);

    return is_token(element, type_len, "application/openmetrics-text") &&
           (!version || is_token(version, value_len, "1.0.0"));
}

enum metrics_format metrics_choose(const char *accept)
{
    double text = 0, openmetrics = 0;
    size_t len;

    for (const char *at = accept ? accept : ""; *at; at += len + (at[len] == ',')) {
        const char *element = at + strspn(at, " \t");
        size_t element_len, type_len;
        double q;

        len = strcspn(at, ",");
        if (element > at + len)
            continue;
        element_len = len - (size_t)(element - at);
        q = quality_of(element, element_len);
        type_len = MIN(strcspn(element, "; \t"), element_len);
        if (is_openmetrics(element, element_len, type_len))
            openmetrics = MAX(openmetrics, q);
        else if (is_token(element, type_len, "text/plain") ||
                 is_token(element, type_len, "text/*") || is_token(element, type_len, "*/*"))
            text = MAX(text, q);
    }
    return openmetrics > 0 && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- what is written ---- */

enum family_type { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_INFO, FAMILY_HISTOGRAM };

struct family {
    enum family_type type;
    const char *name; /* without prefix and suffix */
    const char *unit; /* the name's last word; NULL = none */
    const char *help;
};

struct metrics {
    FILE *f;
    enum metrics_format format;
    struct family family; /* whose samples are written now */
};

/* In both formats, and in help texts of both, these three may stand escaped. */
static void put_escaped(FILE *f, const char *text, bool has_quotes)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", f);
        else if (*text == '\\' || (*text == '"' && has_quotes))
            fprintf(f, "\\%c", *text);
        else
            fputc(*text, f);
    }
}

/* Only samples have it in OpenMetrics; in the text format it is a part of the family's name. */
static const char *suffix_of(enum family_type type)
{
    return type == FAMILY_COUNTER ? "_total" : type == FAMILY_INFO ? "_info" : "";
}

static void begin_family(struct metrics *m, enum family_type type, const char *name,
                         const char *unit, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "info", "histogram"};
    const bool is_open = m->format == METRICS_OPENMETRICS;
    const char *suffix = is_open ? "" : suffix_of(type);

    m->family = (struct family){type, name, unit, help};
    fprintf(m->f, "# HELP " PREFIX "%s%s ", name, suffix);
    put_escaped(m->f, help, is_open);
    fprintf(m->f, "\n# TYPE " PREFIX "%s%s %s\n", name, suffix,
            type == FAMILY_INFO && !is_open ? "gauge" : types[type]);
    if (unit && is_open)
        fprintf(m->f, "# UNIT " PREFIX "%s %s\n", name, unit);
}

struct label {
    const char *name, *value; /* name NULL = none */
};

/* 16 digits: every integer below 2^53, above which Prometheus has none. */
static void put_sample(struct metrics *m, struct label a, struct label b, double value)
{
    const struct label labels[] = {a, b};
    const char *before = "{";

    fprintf(m->f, PREFIX "%s%s", m->family.name, suffix_of(m->family.type));
    for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
        if (!labels[i].name)
            continue;
        fprintf(m->f, "%s%s=\"", before, labels[i].name);
        put_escaped(m->f, labels[i].value, true);
        fputc('"', m->f);
        before = ",";
    }
    fprintf(m->f, "%s %.16g\n", *before == ',' ? "}" : "", value);
}

static const struct label no_label;

/* A number or a boolean as a number; NAN if it is neither. */
static double number_of(const json_t *value)
{
    return json_is_boolean(value)  ? json_is_true(value)
           : json_is_number(value) ? json_number_value(value)
                                   : NAN;
}

/* ---- the server ---- */

/* A number that `info` has once. What is its own has "self" in its name: the arbiter's process,
 * which serves nobody. */
struct server_row {
    const char *part, *member; /* in `info` */
    double scale; /* to the unit */
    struct family family;
};

/* clang-format off */
static const struct server_row server_rows[] = {
    {"arbiter", "uptime_ms", 1e-3, {FAMILY_GAUGE, "uptime_seconds", "seconds", "since the server was started; an upgrade is no start"}},
    {"arbiter", "ready", 1, {FAMILY_GAUGE, "ready", NULL, "1 = clients can be sent here, as /health/ready says"}},
    {"arbiter", "degraded", 1, {FAMILY_GAUGE, "degraded", NULL, "1 = processes keep dying, fewer than wanted may run"}},
    {"arbiter", "revision", 1, {FAMILY_GAUGE, "revision", NULL, "number of the configuration that serves"}},
    {"arbiter", "workers_wanted", 1, {FAMILY_GAUGE, "workers_wanted", NULL, "workers that shall run"}},
    {"arbiter", "reloads", 1, {FAMILY_COUNTER, "reloads", NULL, "reloads that have succeeded"}},
    {"arbiter", "upgrades", 1, {FAMILY_COUNTER, "upgrades", NULL, "upgrades that have succeeded"}},
    {"arbiter", "restarts", 1, {FAMILY_COUNTER, "restarts", NULL, "workers and other actors that ended unplanned"}},
    {"arbiter", "cpu_ms", 1e-3, {FAMILY_COUNTER, "self_cpu_seconds", "seconds", "processor time of the arbiter"}},
    {"arbiter", "memory_bytes", 1, {FAMILY_GAUGE, "self_memory_bytes", "bytes", "resident memory of the arbiter"}},
    {"arbiter", "fds", 1, {FAMILY_GAUGE, "self_fds", NULL, "open descriptors of the arbiter"}},
    {"arbiter", "fds_max", 1, {FAMILY_GAUGE, "self_fds_max", NULL, "how many it may have"}},
    {"totals", "kept_bytes", 1, {FAMILY_GAUGE, "kept_bytes", "bytes", "memory of keepers for the connections that they hold"}},
    {"messages", "numbered", 1, {FAMILY_COUNTER, "messages_numbered", NULL, "messages between actors"}},
    {"messages", "dropped", 1, {FAMILY_COUNTER, "messages_dropped", NULL, "messages between actors that nobody was to get"}},
    {"messages", "under_way_bytes", 1, {FAMILY_GAUGE, "messages_under_way_bytes", "bytes", "messages between actors that not all have"}},
    {"messages", "stalled", 1, {FAMILY_GAUGE, "messages_stalled", NULL, "actors that have to wait before they send"}},
};
/* clang-format on */

static void put_server(struct metrics *m, const json_t *info)
{
    for (size_t i = 0; i < ARRAY_SIZE(server_rows); i++) {
        const struct server_row *row = &server_rows[i];
        const struct family *f = &row->family;
        const double value =
            number_of(json_object_get(json_object_get(info, row->part), row->member));

        if (isnan(value))
            continue;
        begin_family(m, f->type, f->name, f->unit, f->help);
        put_sample(m, no_label, no_label, value * row->scale);
    }
}

static void put_build(struct metrics *m, const json_t *info)
{
    const json_t *arbiter = json_object_get(info, "arbiter");
    const char *program = json_string_value(json_object_get(arbiter, "program"));
    const char *version = json_string_value(json_object_get(arbiter, "version"));

    if (!version)
        return;
    begin_family(m, FAMILY_INFO, "build", NULL, "the program and its version");
    put_sample(m, (struct label){program ? "program" : NULL, program},
               (struct label){"version", version}, 1);
}

static void put_sandbox(struct metrics *m, const json_t *info)
{
    const json_t *sandbox = json_object_get(json_object_get(info, "arbiter"), "sandbox");
    const json_t *landlock = json_object_get(sandbox, "landlock");
    const char *seccomp = json_is_true(json_object_get(sandbox, "seccomp")) ? "1" : "0";
    char abi[24];

    if (!json_is_integer(landlock))
        return;
    snprintf(abi, sizeof(abi), "%lld", (long long)json_integer_value(landlock));
    begin_family(m, FAMILY_INFO, "sandbox", NULL,
                 "of workers: 1 = seccomp is on, and the ABI of Landlock, 0 = it is off");
    put_sample(m, (struct label){"seccomp", seccomp}, (struct label){"landlock", abi}, 1);
}

/* ---- what workers count ---- */

#define CLOSED "closed_"
#define BYTES  "bytes"

struct counter_row {
    const char *field, *help;
};

#define X(field, help) {#field, help},
static const struct counter_row counter_rows[] = {COUNTERS(X)};
#undef X

static bool is_reason(const struct counter_row *row)
{
    return strncmp(row->field, CLOSED, strlen(CLOSED)) == 0;
}

/*
 * What counts bytes says so, and has its unit behind its name: bytes_in is in_bytes, scanned is
 * scanned_bytes; cpu_ms is cpu_seconds. Returns the scale to the unit.
 */
static double name_counter(const struct counter_row *row, char name[FAMILY_NAME_LEN],
                           const char **ret_unit)
{
    const size_t len = strlen(row->field), ms = strlen("_ms");
    const bool has_bytes = strncmp(row->help, BYTES " ", strlen(BYTES " ")) == 0;
    const bool is_first = strncmp(row->field, BYTES "_", strlen(BYTES "_")) == 0;

    *ret_unit = has_bytes ? BYTES : NULL;
    snprintf(name, FAMILY_NAME_LEN, "%s%s",
             row->field + (has_bytes && is_first ? strlen(BYTES "_") : 0),
             has_bytes ? "_" BYTES : "");
    if (has_bytes || len <= ms || strcmp(row->field + len - ms, "_ms") != 0)
        return 1;
    *ret_unit = "seconds";
    snprintf(name, FAMILY_NAME_LEN, "%.*s_seconds", (int)(len - ms), row->field);
    return 1e-3;
}

/* The end of a connection is one family, by its reason; each other counter is its own. */
static void put_counters(struct metrics *m, const json_t *info)
{
    const json_t *totals = json_object_get(info, "totals");
    char name[FAMILY_NAME_LEN];
    bool has_begun = false;
    const char *unit;
    double scale;

    for (size_t i = 0; i < ARRAY_SIZE(counter_rows); i++) {
        const struct counter_row *row = &counter_rows[i];
        const double value = number_of(json_object_get(totals, row->field));

        if (isnan(value) || is_reason(row))
            continue;
        scale = name_counter(row, name, &unit);
        begin_family(m, FAMILY_COUNTER, name, unit, row->help);
        put_sample(m, no_label, no_label, value * scale);
    }
    for (size_t i = 0; i < ARRAY_SIZE(counter_rows); i++) {
        const struct counter_row *row = &counter_rows[i];
        const double value = number_of(json_object_get(totals, row->field));

        if (isnan(value) || !is_reason(row))
            continue;
        if (!has_begun)
            begin_family(m, FAMILY_COUNTER, "closed", NULL,
                         "connections ended by a worker or seen to end, by reason");
        has_begun = true;
        put_sample(m, (struct label){"reason", row->field + strlen(CLOSED)}, no_label, value);
    }
}

/* ---- times ---- */

/* Of `totals`: times in microseconds. */
static const struct {
    const char *member;
    struct family family;
} histogram_rows[] = {
    {"reply_us",
     {FAMILY_HISTOGRAM, "reply_seconds", "seconds",
      "from the last byte of a message that was read to its reply; one read in 256 is timed and "
      "stands for all"}},
    {"loop_lag_us",
     {FAMILY_HISTOGRAM, "loop_lag_seconds", "seconds",
      "how late the loops of all processes were, at each heartbeat"}},
};

/* In its parts: put_sample writes whole names. */
static void put_part(struct metrics *m, const char *part, struct label label, double value)
{
    const struct family family = m->family;
    char name[FAMILY_NAME_LEN];

    snprintf(name, sizeof(name), "%s%s", family.name, part);
    m->family.name = name;
    put_sample(m, label, no_label, value);
    m->family = family;
}

static void put_histogram(struct metrics *m, const struct family *f, const json_t *times)
{
    const json_t *bucket;
    char bound[32];
    size_t i;

    begin_family(m, f->type, f->name, f->unit, f->help);
    json_array_foreach(json_object_get(times, "buckets"), i, bucket)
    {
        snprintf(bound, sizeof(bound), "%.10g", number_of(json_object_get(bucket, "le")) / 1e6);
        put_part(m, "_bucket", (struct label){"le", bound},
                 number_of(json_object_get(bucket, "count")));
    }
    put_part(m, "_bucket", (struct label){"le", "+Inf"},
             number_of(json_object_get(times, "count")));
    put_part(m, "_sum", no_label, number_of(json_object_get(times, "sum")) / 1e6);
    put_part(m, "_count", no_label, number_of(json_object_get(times, "count")));
}

static bool are_times(const json_t *times)
{
    const json_t *buckets = json_object_get(times, "buckets"), *bucket;
    bool are = json_array_size(buckets) > 0 && json_is_number(json_object_get(times, "count")) &&
               json_is_number(json_object_get(times, "sum"));
    size_t i;

    json_array_foreach(buckets, i, bucket)
    {
        are &= json_is_number(json_object_get(bucket, "le")) &&
               json_is_number(json_object_get(bucket, "count"));
    }
    return are;
}

static void put_histograms(struct metrics *m, const json_t *info)
{
    const json_t *totals = json_object_get(info, "totals");

    for (size_t i = 0; i < ARRAY_SIZE(histogram_rows); i++) {
        const json_t *times = json_object_get(totals, histogram_rows[i].member);

        if (are_times(times))
            put_histogram(m, &histogram_rows[i].family, times);
    }
}

/* ---- what the program counts itself ---- */

static const char *text_at(const json_t *o, const char *member)
{
    const char *text = json_string_value(json_object_get(o, member));

    return text ? text : "";
}

/* A name that ends as samples do could be the sample of another family. */
static void name_own(const char *counter, char name[FAMILY_NAME_LEN])
{
    static const char *const ends[] = {"_total", "_created", "_counted"};
    const size_t len = strlen(counter);
    const char *more = "";

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (len >= strlen(ends[i]) && strcmp(counter + len - strlen(ends[i]), ends[i]) == 0)
            more = "_counted";
    snprintf(name, FAMILY_NAME_LEN, "own_%.31s%s", counter, more);
}

static bool has_same_name(const json_t *rows, size_t n, const char *counter)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text_at(json_array_get(rows, i), "name"), counter) == 0)
            return true;
    return false;
}

/* Counters of one name that several owners have are one family: its help is the first one's. */
static void put_own(struct metrics *m, const json_t *info)
{
    const json_t *own = json_object_get(json_object_get(info, "totals"), "own");
    const json_t *rows = json_object_get(info, "own_counters"), *row;
    char name[FAMILY_NAME_LEN];
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *counter = text_at(row, "name"), *help = text_at(row, "help");

        if (!*counter || has_same_name(rows, i, counter))
            continue;
        name_own(counter, name);
        begin_family(m, FAMILY_COUNTER, name, NULL, *help ? help : "counted by the program");
        for (size_t k = i; k < json_array_size(rows); k++) {
            const json_t *other = json_array_get(rows, k);
            const char *owner = text_at(other, "owner");
            const double value = number_of(json_object_get(json_object_get(own, owner), counter));

            if (strcmp(text_at(other, "name"), counter) == 0 && !isnan(value))
                put_sample(m, (struct label){"owner", owner}, no_label, value);
        }
    }
}

/* ---- workers, by slot ---- */

/* While one takes over from another, a slot has two processes. */
enum fold { FOLD_SUM, FOLD_MAX, FOLD_MIN };

struct worker_row {
    const char *member; /* of one of `workers` */
    enum fold fold;
    double scale; /* to the unit */
    const char *name, *unit, *help;
};

/* clang-format off */
static const struct worker_row worker_rows[] = {
    {"connections", FOLD_SUM, 1, "connections", NULL, "connections open now"},
    {"owing", FOLD_SUM, 1, "owing", NULL, "connections that owe a reply"},
    {"kept", FOLD_SUM, 1, "kept", NULL, "connections that a keeper has as well"},
    {"sources", FOLD_SUM, 1, "sources", NULL, "source addresses for which connections are counted"},
    {"incarnation", FOLD_MAX, 1, "worker_incarnation", NULL, "which process of its slot a worker is"},
    {"uptime_ms", FOLD_MIN, 1e-3, "worker_uptime_seconds", "seconds", "since a worker was forked"},
    {"heartbeat_age_ms", FOLD_MAX, 1e-3, "worker_heartbeat_age_seconds", "seconds", "since a worker has shown that its loop turns"},
    {"memory_bytes", FOLD_SUM, 1, "worker_memory_bytes", "bytes", "resident memory of a worker"},
    {"fds", FOLD_MAX, 1, "worker_fds", NULL, "open descriptors of a worker"},
    {"fds_max", FOLD_MIN, 1, "worker_fds_max", NULL, "how many it may have"},
    {"lag_ms", FOLD_MAX, 1e-3, "worker_loop_lag_seconds", "seconds", "how late a worker's loop was at most, in the last second or two"},
};
/* clang-format on */

struct slot_values {
    json_int_t number;
    double of[ARRAY_SIZE(worker_rows)]; /* NAN = not known */
};

static double fold_values(enum fold fold, double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) ? b : a;
    return fold == FOLD_SUM ? a + b : fold == FOLD_MAX ? MAX(a, b) : MIN(a, b);
}

/* `info` has the processes of a slot one after the other: the search is short. */
static struct slot_values *find_slot(struct slot_values *slots, size_t *n, json_int_t number)
{
    for (size_t i = *n; i-- > 0;)
        if (slots[i].number == number)
            return &slots[i];
    slots[*n].number = number;
    for (size_t r = 0; r < ARRAY_SIZE(worker_rows); r++)
        slots[*n].of[r] = NAN;
    return &slots[(*n)++];
}

/* Returns how many slots there are. */
static size_t read_slots(const json_t *workers, struct slot_values *slots)
{
    const json_t *w;
    size_t i, n = 0;

    json_array_foreach(workers, i, w)
    {
        const json_t *number = json_object_get(w, "slot");
        struct slot_values *slot;

        if (!json_is_integer(number))
            continue;
        slot = find_slot(slots, &n, json_integer_value(number));
        for (size_t r = 0; r < ARRAY_SIZE(worker_rows); r++)
            slot->of[r] = fold_values(worker_rows[r].fold, slot->of[r],
                                      number_of(json_object_get(w, worker_rows[r].member)));
    }
    return n;
}

static void put_worker_row(struct metrics *m, size_t r, const struct slot_values *slots, size_t n)
{
    const struct worker_row *row = &worker_rows[r];
    bool has_begun = false;
    char number[24];

    for (size_t i = 0; i < n; i++) {
        if (isnan(slots[i].of[r]))
            continue;
        if (!has_begun)
            begin_family(m, FAMILY_GAUGE, row->name, row->unit, row->help);
        has_begun = true;
        snprintf(number, sizeof(number), "%lld", (long long)slots[i].number);
        put_sample(m, (struct label){"worker", number}, no_label, slots[i].of[r] * row->scale);
    }
}

static int put_workers(struct metrics *m, const json_t *info)
{
    const json_t *workers = json_object_get(info, "workers");
    struct slot_values *slots = calloc(json_array_size(workers) + 1, sizeof(*slots));
    size_t n;

    if (!slots)
        return -ENOMEM;
    n = read_slots(workers, slots);
    for (size_t r = 0; r < ARRAY_SIZE(worker_rows); r++)
        put_worker_row(m, r, slots, n);
    free(slots);
    return 0;
}

static size_t count_texts(const json_t *list, const char *member, const char *text)
{
    const json_t *o;
    size_t i, n = 0;

    json_array_foreach(list, i, o) n += strcmp(text_at(o, member), text) == 0;
    return n;
}

static void put_states(struct metrics *m, const json_t *info)
{
    const json_t *workers = json_object_get(info, "workers");

    if (!json_is_array(workers))
        return;
    begin_family(m, FAMILY_GAUGE, "workers", NULL, "processes of workers, by state");
    for (enum actor_state s = 0; s < ACTOR_STATES; s++) {
        const char *name = actor_state_name(s);

        put_sample(m, (struct label){"state", name}, no_label,
                   (double)count_texts(workers, "state", name));
    }
}

static void put_actors(struct metrics *m, const json_t *info)
{
    const json_t *actors = json_object_get(info, "actors"), *o;
    const char *kinds[KINDS_SHOWN_MAX];
    size_t i, n = 0, k;

    json_array_foreach(actors, i, o)
    {
        const char *kind = text_at(o, "kind");

        for (k = 0; k < n && strcmp(kinds[k], kind) != 0;)
            k++;
        if (k == n && n < ARRAY_SIZE(kinds))
            kinds[n++] = kind;
    }
    if (n > 0)
        begin_family(m, FAMILY_GAUGE, "actors", NULL, "processes of other actors, by kind");
    for (k = 0; k < n; k++)
        put_sample(m, (struct label){"kind", kinds[k]}, no_label,
                   (double)count_texts(actors, "kind", kinds[k]));
}

int metrics_render(const json_t *info, enum metrics_format format, char **ret, size_t *ret_len)
{
    struct metrics m = {.format = format};
    char *text = NULL;
    size_t len;
    int rc;

    m.f = open_memstream(&text, &len);
    if (!m.f)
        return -ENOMEM;
    put_build(&m, info);
    put_sandbox(&m, info);
    put_server(&m, info);
    put_states(&m, info);
    put_actors(&m, info);
    put_counters(&m, info);
    put_histograms(&m, info);
    put_own(&m, info);
    rc = put_workers(&m, info);
    if (format == METRICS_OPENMETRICS)
        fputs("# EOF\n", m.f);
    if (ferror(m.f))
        rc = -ENOMEM;
    if (fclose(m.f) != 0)
        rc = -ENOMEM;
    if (rc < 0) {
        free(text);
        return rc;
    }
    *ret = text;
    *ret_len = len;
    return 0;
}
