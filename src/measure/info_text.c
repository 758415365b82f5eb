/*
 * The result of `info` as text, and its rates. Pure.
 */
#include "measure/info_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

#define REVERSE "\033[7m"
#define RED     "\033[1;31m"
#define PLAIN   "\033[0m"

bool info_is_valid(const json_t *info)
{
    return json_is_object(json_object_get(info, "arbiter")) &&
           json_is_array(json_object_get(info, "workers"));
}

/* ---- rates ---- */

static double number_at(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* In seconds. A process of unknown age counts as older than any sample. */
static double uptime_of(const json_t *o)
{
    const json_t *uptime = json_object_get(o, "uptime_ms");

    return json_is_number(uptime) ? json_number_value(uptime) / 1e3 : INFINITY;
}

/*
 * @before NULL: there was no such process. If it has begun since, all that it counts falls into
 * this time; the slack is for a start in the middle of taking a sample.
 */
static void rate_since(json_t *now, const json_t *before, double uptime, double seconds)
{
    static const char *const keys[][2] = {{"requests", "requests_per_s"},
                                          {"bytes_in", "bytes_in_per_s"},
                                          {"bytes_out", "bytes_out_per_s"}};
    bool is_known = seconds > 0 && (before || uptime <= seconds + 0.1);

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        double more = number_at(now, keys[i][0]) - number_at(before, keys[i][0]);

        json_object_set_new(now, keys[i][1],
                            is_known && more >= 0 ? json_real(more / seconds) : json_null());
    }
}

/* As rate_since; of one processor. */
static void rate_cpu(json_t *now, const json_t *before, double uptime, double seconds)
{
    const bool is_known = seconds > 0 && (before || uptime <= seconds + 0.1);
    const double more = number_at(now, "cpu_ms") - number_at(before, "cpu_ms");

    if (json_object_get(now, "cpu_ms"))
        json_object_set_new(now, "cpu_percent",
                            is_known && more >= 0 ? json_real(more / seconds / 10) : json_null());
}

/* How many there are of the first @i buckets, since @before. */
static double count_since(const json_t *now, const json_t *before, size_t i)
{
    return number_at(json_array_get(json_object_get(now, "buckets"), i), "count") -
           number_at(json_array_get(json_object_get(before, "buckets"), i), "count");
}

/* Between the bounds of a bucket as many as there are are taken to be evenly spread. */
static double percentile_since(const json_t *now, const json_t *before, double n, double percent)
{
    const json_t *buckets = json_object_get(now, "buckets");
    const double wanted = n * percent / 100, max = number_at(now, "max");
    double seen = 0, bound = 0;

    for (size_t i = 0; i < json_array_size(buckets); i++) {
        const double below = seen, from = bound;

        seen = count_since(now, before, i);
        bound = number_at(json_array_get(buckets, i), "le");
        if (seen >= wanted && seen > below)
            return MIN(from + (bound - from) * (wanted - below) / (seen - below), max);
    }
    return max;
}

static void rate_times(json_t *now, const json_t *before)
{
    const double n = number_at(now, "count") - number_at(before, "count");
    json_t *recent;

    if (!now)
        return;
    recent = before && n > 0 ? json_pack("{s:f, s:f, s:f}", "count", n, "p50",
                                         percentile_since(now, before, n, 50), "p99",
                                         percentile_since(now, before, n, 99))
                             : json_null();
    json_object_set_new(now, "recent", recent);
}

static bool is_same_value(const json_t *a, const json_t *b, const char *key)
{
    return json_equal(json_object_get(a, key), json_object_get(b, key));
}

static const json_t *child_before(const json_t *before, const json_t *w)
{
    const json_t *other;
    size_t i;

    json_array_foreach(before, i, other)
    {
        if (is_same_value(other, w, "pid") && is_same_value(other, w, "id") &&
            is_same_value(other, w, "incarnation"))
            return other;
    }
    return NULL;
}

/* Of a counter of the program's own among these totals, or NULL. @row: of own_counters */
static const json_t *own_value(const json_t *totals, const json_t *row)
{
    const char *owner = json_string_value(json_object_get(row, "owner"));
    const char *name = json_string_value(json_object_get(row, "name"));

    return owner && name
               ? json_object_get(json_object_get(json_object_get(totals, "own"), owner), name)
               : NULL;
}

static void rate_own(json_t *info, const json_t *totals_before, double seconds)
{
    const json_t *totals = json_object_get(info, "totals");
    const double uptime = uptime_of(json_object_get(info, "arbiter"));
    const bool is_known = seconds > 0 && (totals_before || uptime <= seconds + 0.1);
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(info, "own_counters"), i, row)
    {
        const double more = json_number_value(own_value(totals, row)) -
                            json_number_value(own_value(totals_before, row));

        json_object_set_new(row, "per_s",
                            is_known && more >= 0 ? json_real(more / seconds) : json_null());
    }
}

void info_rate(json_t *info, const json_t *before, double seconds)
{
    static const char *const lists[] = {"workers", "actors"};
    static const char *const times[] = {"reply_us", "loop_lag_us"};
    json_t *arbiter = json_object_get(info, "arbiter"), *now = json_object_get(info, "totals"), *w;
    const json_t *totals = json_object_get(before, "totals");
    const json_t *arbiter_before = json_object_get(before, "arbiter");
    size_t i;

    if (!before)
        seconds = 0;
    if (!is_same_value(arbiter, arbiter_before, "pid"))
        totals = arbiter_before = NULL;
    rate_since(now, totals, uptime_of(arbiter), seconds);
    rate_cpu(now, totals, uptime_of(arbiter), seconds);
    rate_cpu(arbiter, arbiter_before, uptime_of(arbiter), seconds);
    rate_own(info, totals, seconds);
    for (size_t t = 0; t < ARRAY_SIZE(times); t++)
        rate_times(json_object_get(now, times[t]), json_object_get(totals, times[t]));
    for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
        json_array_foreach(json_object_get(info, lists[l]), i, w)
        {
            const json_t *was = child_before(json_object_get(before, lists[l]), w);

            if (l == 0)
                rate_since(w, was, uptime_of(w), seconds);
            rate_cpu(w, was, uptime_of(w), seconds);
        }
}

/* ---- info ---- */

/* The workers and, as the last row, all together. */
static json_t *rows_of(const json_t *info)
{
    const json_t *arbiter = json_object_get(info, "arbiter");
    json_t *rows = json_copy(json_object_get(info, "workers"));
    json_t *total = json_copy(json_object_get(info, "totals"));

    total = total ? total : json_object();
    json_object_set_new(total, "id", json_string("total"));
    json_object_set(total, "restarts", json_object_get(arbiter, "restarts"));
    if (json_is_true(json_object_get(arbiter, "degraded")))
        json_object_set_new(total, "state", json_string("degraded"));
    else
        json_object_set(total, "state", json_object_get(arbiter, "state"));
    json_array_append_new(rows, total);
    return rows;
}

static const struct column arbiter_columns[] = {
    {"VERSION", "arbiter/version", SHOW_TEXT, 0},
    {"PID", "arbiter/pid", SHOW_NUMBER, 0},
    {"STATE", "arbiter/state", SHOW_TEXT, 0},
    {"UP", "arbiter/uptime_ms", SHOW_MS, 0},
    {"REVISION", "arbiter/revision", SHOW_NUMBER, 0},
    {"RELOADS", "arbiter/reloads", SHOW_NUMBER, 0},
    {"RESTARTS", "arbiter/restarts", SHOW_NUMBER, 0},
    {"WANTED", "arbiter/workers_wanted", SHOW_NUMBER, 0},
    {"USER", "arbiter/user", SHOW_TEXT, 0},
    {"GROUP", "arbiter/group", SHOW_TEXT, 0},
    {"SERVING", "arbiter/binds", SHOW_LIST, 0},
    {"CONFIG", "arbiter/config", SHOW_TEXT, 0},
};

static const struct column worker_columns[] = {
    {"WORKER", "id", SHOW_TEXT, 0},          {"PID", "pid", SHOW_NUMBER, 0},
    {"STATE", "state", SHOW_TEXT, 0},        {"NTH", "incarnation", SHOW_NUMBER, 0},
    {"UP", "uptime_ms", SHOW_MS, 0},         {"CONNS", "connections", SHOW_COUNT, 0},
    {"ACCEPTED", "accepted", SHOW_COUNT, 0}, {"MSGS", "requests", SHOW_COUNT, 0},
    {"IN", "bytes_in", SHOW_BYTES, 0},       {"OUT", "bytes_out", SHOW_BYTES, 0},
    {"LAG", "lag_ms", SHOW_MS, 0},           {"BEAT", "heartbeat_age_ms", SHOW_MS, 0},
};

/* What is no worker has no connections. */
static const struct column actor_columns[] = {
    {"ACTOR", "id", SHOW_TEXT, 0},
    {"PID", "pid", SHOW_NUMBER, 0},
    {"STATE", "state", SHOW_TEXT, 0},
    {"NTH", "incarnation", SHOW_NUMBER, 0},
    {"UP", "uptime_ms", SHOW_MS, 0},
    {"KEPT", "kept", SHOW_COUNT, 0},
    {"KEPT IN", "kept_bytes", SHOW_BYTES, 0},
    {"LAG", "lag_ms", SHOW_MS, 0},
    {"BEAT", "heartbeat_age_ms", SHOW_MS, 0},
};

/* What takes time, and what is used. */
static const struct column use_columns[] = {
    {"TIMES OF", "id", SHOW_TEXT, 0},
    {"REPLY 50 %", "reply_us/p50", SHOW_US, 0},
    {"99 %", "reply_us/p99", SHOW_US, 0},
    {"LONGEST", "reply_us/max", SHOW_US, 0},
    {"LAG 99 %", "loop_lag_us/p99", SHOW_US, 0},
    {"CPU", "cpu_ms", SHOW_MS, 0},
    {"MEMORY", "memory_bytes", SHOW_BYTES, 0},
    {"FDS", "fds", SHOW_NUMBER, 0},
    {"OF", "fds_max", SHOW_NUMBER, 0},
};

static const struct column counter_columns[] = {{"COUNTER", "name", SHOW_TEXT, 0},
                                                {"TOTAL", "value", SHOW_NUMBER, 0}};

static const struct column own_columns[] = {{"OWN COUNTER", "name", SHOW_TEXT, 0},
                                            {"TOTAL", "value", SHOW_NUMBER, 0},
                                            {"WHAT IS COUNTED", "help", SHOW_TEXT, 0}};

static const struct column message_columns[] = {{"MESSAGES", "numbered", SHOW_NUMBER, 0},
                                                {"TO NOBODY", "dropped", SHOW_NUMBER, 0},
                                                {"UNDER WAY", "under_way_bytes", SHOW_BYTES, 0},
                                                {"STALLED", "stalled", SHOW_NUMBER, 0}};

static const struct column note_columns[] = {{"NOTE OF", "id", SHOW_TEXT, 0},
                                             {"AGE", "notified/age_ms", SHOW_MS, 0},
                                             {"NOTE", "notified/info", SHOW_NOTE, 0}};

/* The counters that are not 0. */
static json_t *counters_of(const json_t *info)
{
    json_t *rows = json_array(), *value;
    const char *key;

    json_object_foreach(json_object_get(info, "totals"), key, value)
    {
        if (json_integer_value(value) > 0)
            json_array_append_new(rows, json_pack("{s:s, s:O}", "name", key, "value", value));
    }
    return rows;
}

/* All of them: what they are is known from here alone. */
static json_t *own_counters_of(const json_t *info)
{
    const json_t *totals = json_object_get(info, "totals");
    json_t *rows = json_array(), *row;
    size_t i;

    json_array_foreach(json_object_get(info, "own_counters"), i, row)
    {
        json_t *shown = json_copy(row);

        json_object_set_new(shown, "name",
                            json_sprintf("%s.%s", json_string_value(json_object_get(row, "owner")),
                                         json_string_value(json_object_get(row, "name"))));
        json_object_set(shown, "value", (json_t *)own_value(totals, row));
        json_array_append_new(rows, shown);
    }
    return rows;
}

/* Workers, then actors of other kinds. */
static json_t *children_of(const json_t *info)
{
    json_t *rows = json_copy(json_object_get(info, "workers"));

    json_array_extend(rows, json_object_get(info, "actors"));
    return rows;
}

/* Of all processes, and of all together; no row from a server that does not say it. */
static json_t *uses_of(const json_t *info)
{
    json_t *rows = json_array(), *children = children_of(info), *o;
    json_t *arbiter = json_copy(json_object_get(info, "arbiter"));
    json_t *total = json_copy(json_object_get(info, "totals"));
    size_t i;

    json_object_set_new(arbiter, "id", json_string("arbiter"));
    json_object_set_new(total, "id", json_string("total"));
    json_array_insert_new(children, 0, arbiter);
    json_array_append_new(children, total);
    json_array_foreach(children, i, o)
    {
        if (json_object_get(o, "cpu_ms"))
            json_array_append(rows, o);
    }
    json_decref(children);
    return rows;
}

/* Between actors; no row if the program has none. */
static json_t *messages_of(const json_t *info)
{
    json_t *rows = json_array(), *messages = json_object_get(info, "messages");

    if (messages)
        json_array_append(rows, messages);
    return rows;
}

static json_t *notes_of(const json_t *info)
{
    json_t *rows = json_array(), *arbiter = json_copy(json_object_get(info, "arbiter")), *w;
    json_t *children = children_of(info);
    size_t i;

    json_object_set_new(arbiter, "id", json_string("arbiter"));
    if (json_object_get(arbiter, "notified"))
        json_array_append(rows, arbiter);
    json_decref(arbiter);
    json_array_foreach(children, i, w)
    {
        if (json_object_get(w, "notified"))
            json_array_append(rows, w);
    }
    json_decref(children);
    return rows;
}

/* A blank line before it; nothing if there are no rows, which are freed. */
static int write_section(FILE *f, const struct column *columns, size_t n, json_t *rows)
{
    int rc = 0;

    if (json_array_size(rows) > 0) {
        fputc('\n', f);
        rc = columns_write(f, columns, n, rows);
    }
    json_decref(rows);
    return rc;
}

/* A text of the server's behind @title; nothing if there is none. */
static void write_remark(FILE *f, const char *title, const json_t *info, const char *path)
{
    const char *value = json_string_value(columns_value(info, path));
    char text[512];

    if (!value)
        return;
    snprintf(text, sizeof(text), "%s", value);
    fprintf(f, "%s: %s\n", title, human_clean(text));
}

int info_write(FILE *f, const json_t *info)
{
    int rc;

    if (!info_is_valid(info))
        return -EBADMSG;
    rc = columns_write(f, arbiter_columns, ARRAY_SIZE(arbiter_columns), info);
    if (json_is_true(columns_value(info, "arbiter/degraded")))
        fputs("DEGRADED: processes keep dying, fewer than wanted may run\n", f);
    write_remark(f, "WORKERS", info, "arbiter/workers_why");
    write_remark(f, "NOT READY", info, "arbiter/not_ready");
    write_remark(f, "SANDBOX", info, "arbiter/sandbox/is");
    write_remark(f, "STATUS OVER HTTP", info, "arbiter/status_bind");
    if (rc == 0)
        rc = write_section(f, worker_columns, ARRAY_SIZE(worker_columns), rows_of(info));
    fputs("(the total has what ended workers did, too)\n", f);
    if (rc == 0)
        rc = write_section(f, actor_columns, ARRAY_SIZE(actor_columns),
                           json_copy(json_object_get(info, "actors")));
    if (rc == 0)
        rc = write_section(f, use_columns, ARRAY_SIZE(use_columns), uses_of(info));
    if (rc == 0)
        rc = write_section(f, counter_columns, ARRAY_SIZE(counter_columns), counters_of(info));
    if (rc == 0)
        rc = write_section(f, own_columns, ARRAY_SIZE(own_columns), own_counters_of(info));
    if (rc == 0)
        rc = write_section(f, message_columns, ARRAY_SIZE(message_columns), messages_of(info));
    if (rc == 0)
        rc = write_section(f, note_columns, ARRAY_SIZE(note_columns), notes_of(info));
    return rc;
}

/* ---- a frame ---- */

/* The columns up to IN/S, and up to CPU in the table of workers, fit 80 characters. */
static const struct column head_columns[] = {
    {"VERSION", "arbiter/version", SHOW_TEXT, 0},
    {"PID", "arbiter/pid", SHOW_NUMBER, 0},
    {"STATE", "arbiter/state", SHOW_TEXT, 8},
    {"UP", "arbiter/uptime_ms", SHOW_MS, 7},
    {"RESTARTS", "arbiter/restarts", SHOW_NUMBER, 0},
    {"RELOADS", "arbiter/reloads", SHOW_NUMBER, 0},
    {"CONNS", "totals/connections", SHOW_COUNT, 6},
    {"MSGS/S", "totals/requests_per_s", SHOW_RATE, 6},
    {"IN/S", "totals/bytes_in_per_s", SHOW_BYTE_RATE, 7},
    {"OUT/S", "totals/bytes_out_per_s", SHOW_BYTE_RATE, 7},
    {"WANTED", "arbiter/workers_wanted", SHOW_NUMBER, 0},
};

/* Since the view before, but for the longest. */
static const struct column times_columns[] = {
    {"REPLY 50 %", "totals/reply_us/recent/p50", SHOW_US, 0},
    {"99 %", "totals/reply_us/recent/p99", SHOW_US, 7},
    {"LONGEST EVER", "totals/reply_us/max", SHOW_US, 0},
    {"LAG 99 %", "totals/loop_lag_us/recent/p99", SHOW_US, 0},
    {"CPU %", "totals/cpu_percent", SHOW_FIXED, 6},
    {"ARBITER %", "arbiter/cpu_percent", SHOW_FIXED, 0},
};

static const struct column frame_columns[] = {
    {"WORKER", "id", SHOW_TEXT, 0},
    {"STATE", "state", SHOW_TEXT, 8},
    {"NTH", "incarnation", SHOW_NUMBER, 0},
    {"CONNS", "connections", SHOW_COUNT, 6},
    {"MSGS/S", "requests_per_s", SHOW_RATE, 6},
    {"IN/S", "bytes_in_per_s", SHOW_BYTE_RATE, 7},
    {"OUT/S", "bytes_out_per_s", SHOW_BYTE_RATE, 7},
    {"LAG", "lag_ms", SHOW_MS, 6},
    {"CPU %", "cpu_percent", SHOW_FIXED, 5},
    {"MEMORY", "memory_bytes", SHOW_BYTES, 7},
    {"BEAT", "heartbeat_age_ms", SHOW_MS, 6},
    {"UP", "uptime_ms", SHOW_MS, 7},
    {"FDS", "fds", SHOW_NUMBER, 5},
    {"PID", "pid", SHOW_NUMBER, 7},
};

static const struct column own_frame_columns[] = {
    {"OWN COUNTER", "name", SHOW_TEXT, 0},
    {"TOTAL", "value", SHOW_COUNT, 6},
    {"/S", "per_s", SHOW_RATE, 6},
    {"WHAT IS COUNTED", "help", SHOW_TEXT, 0},
};

enum { TIMES_MIN_HEIGHT = 12 }; /* below that the workers have the room */

struct frame {
    FILE *f;
    const struct info_look *look;
    size_t n_lines; /* written so far */
};

/* One line, cut to the width; nothing below the last one. @colour "" = none */
static void put_line(struct frame *fr, const char *text, const char *colour)
{
    bool has_colour = fr->look->has_colour && *colour && *text;
    size_t width = 0, len = 0;

    if (fr->n_lines == fr->look->height)
        return;
    for (; text[len]; len++) {
        width += ((unsigned char)text[len] & 0xc0) != 0x80;
        if (width > fr->look->width)
            break;
    }
    fprintf(fr->f, "%s%s%.*s%s", fr->n_lines++ > 0 ? "\n" : "", has_colour ? colour : "", (int)len,
            text, has_colour ? PLAIN : "");
}

static int put_row(struct frame *fr, const struct columns *t, size_t row, size_t n)
{
    char *line = NULL;
    size_t len;
    FILE *f = open_memstream(&line, &len);

    if (!f)
        return -ENOMEM;
    columns_write_row(t, f, row, n);
    if (fclose(f) == 0)
        put_line(fr, line, row == 0 ? REVERSE : "");
    free(line);
    return 0;
}

/* Rows that do not fit are counted. @below: lines to be left free */
static int put_table(struct frame *fr, const struct column *columns, size_t n, const json_t *rows,
                     size_t below)
{
    const size_t height = fr->look->height - MIN(fr->look->height, below);
    size_t room = height - MIN(height, fr->n_lines + 1), n_rows, n_shown;
    struct columns t;
    char line[64];
    int rc;

    columns_init(&t, columns, n);
    columns_add(&t, rows);
    rc = t.is_broken ? -ENOMEM : 0;
    n = MAX(columns_fitting(&t, fr->look->width), (size_t)1);
    n_rows = columns_rows(&t);
    n_shown = n_rows > room ? room - MIN(room, (size_t)1) : n_rows;
    for (size_t row = 0; rc == 0 && row <= n_shown; row++)
        rc = put_row(fr, &t, row, n);
    snprintf(line, sizeof(line), "and %zu more", n_rows - n_shown);
    if (n_shown < n_rows)
        put_line(fr, line, "");
    columns_fini(&t);
    return rc;
}

int info_frame(FILE *f, const json_t *info, const struct info_look *look)
{
    struct frame fr = {.f = f, .look = look};
    json_t *own = own_counters_of(info), *children = children_of(info);
    int rc = put_table(&fr, head_columns, ARRAY_SIZE(head_columns), info, 0);
    const bool has_times = json_object_get(json_object_get(info, "totals"), "reply_us") &&
                           look->height >= TIMES_MIN_HEIGHT;
    size_t n_own = json_array_size(own), left;

    if (look->trouble)
        put_line(&fr, look->trouble, RED);
    else if (json_is_true(columns_value(info, "arbiter/degraded")))
        put_line(&fr, "DEGRADED: processes keep dying", RED);
    else
        put_line(&fr, "", "");
    if (rc == 0 && has_times) {
        rc = put_table(&fr, times_columns, ARRAY_SIZE(times_columns), info, 0);
        put_line(&fr, "", "");
    }
    /* With a blank line and their titles, in the lower half of what is left. */
    left = look->height - MIN(look->height, fr.n_lines);
    n_own = n_own > 0 ? MIN(n_own + 2, left / 2) : 0;
    n_own = n_own < 3 ? 0 : n_own;
    if (rc == 0)
        rc = put_table(&fr, frame_columns, ARRAY_SIZE(frame_columns), children, n_own);
    if (rc == 0 && n_own > 0) {
        put_line(&fr, "", "");
        rc = put_table(&fr, own_frame_columns, ARRAY_SIZE(own_frame_columns), own, 0);
    }
    json_decref(own);
    json_decref(children);
    return rc;
}

/* ---- lines ---- */

static const struct column line_columns[] = {
    {"ACTOR", "id", SHOW_TEXT, 12},
    {"STATE", "state", SHOW_TEXT, 9},
    {"NTH", "incarnation", SHOW_NUMBER, 4},
    {"RESTARTS", "restarts", SHOW_NUMBER, 0},
    {"CONNS", "connections", SHOW_NUMBER, 8},
    {"MSGS/S", "requests_per_s", SHOW_FIXED, 10},
    {"IN_MB/S", "bytes_in_per_s", SHOW_MEGA, 9},
    {"OUT_MB/S", "bytes_out_per_s", SHOW_MEGA, 9},
    {"LAG_MS", "lag_ms", SHOW_FIXED_2, 8},
    {"CPU_%", "cpu_percent", SHOW_FIXED, 6},
};

int info_lines(FILE *f, const json_t *info, const char *time, bool has_title)
{
    json_t *rows = rows_of(info);
    struct columns t;
    int rc;

    columns_init(&t, line_columns, ARRAY_SIZE(line_columns));
    columns_add(&t, rows);
    rc = t.is_broken ? -ENOMEM : 0;
    for (size_t row = has_title ? 0 : 1; rc == 0 && row <= columns_rows(&t); row++) {
        fprintf(f, "%-8s  ", row == 0 ? "TIME" : time);
        columns_write_row(&t, f, row, t.n_columns);
        fputc('\n', f);
    }
    columns_fini(&t);
    json_decref(rows);
    return rc;
}
