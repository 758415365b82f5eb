/*
 * The result of `info` as text. Pure.
 */
#include "measure/info_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/answer_text.h"
#include "client/columns.h"
#include "client/human.h"
#include "measure/sample.h"

enum { NOTE_SHOWN = 160 }; /* bytes; --json has all of it */

static void add_uint(struct columns *t, uint64_t n)
{
    char buf[HUMAN_LEN];

    snprintf(buf, sizeof(buf), "%" PRIu64, n);
    columns_add(t, buf);
}

static void write_count(FILE *f, uint64_t n, const char *one, const char *many)
{
    fprintf(f, ", %" PRIu64 " %s", n, n == 1 ? one : many);
}

static void write_list(FILE *f, const char *title, const json_t *list)
{
    const json_t *value;
    size_t i;

    json_array_foreach(list, i, value)
    {
        fputs(i == 0 ? title : ", ", f);
        answer_text_write_plain(f, value);
    }
    if (json_array_size(list) > 0)
        fputc('\n', f);
}

static void write_arbiter(FILE *f, const json_t *arbiter, const struct sample *s)
{
    const char *config = json_string_value(json_object_get(arbiter, "config"));
    char up[HUMAN_LEN];

    fprintf(f, "echo-arbiter %s, pid %d, %s, up %s, generation %" PRIu64, s->version, (int)s->pid,
            s->state, human_duration(s->uptime_s, up), s->generation);
    write_count(f, s->reloads, "reload", "reloads");
    write_count(f, s->restarts, "restart", "restarts");
    fputc('\n', f);
    if (s->is_degraded)
        fprintf(f, "DEGRADED: workers keep dying, fewer than the %" PRIu64 " wanted may run\n",
                s->wanted);
    write_list(f, "serving ", json_object_get(arbiter, "binds"));
    fputs("config  ", f);
    if (config && *config)
        answer_text_write_plain(f, json_object_get(arbiter, "config"));
    else
        fputs("built-in defaults and the command line", f);
    fputs("\n\n", f);
}

static const struct column worker_columns[] = {
    {"WORKER", false, 0}, {"PID", true, 0},   {"STATE", false, 0},   {"NTH", true, 0},
    {"UP", true, 0},      {"CONNS", true, 0}, {"ACCEPTED", true, 0}, {"MSGS", true, 0},
    {"IN", true, 0},      {"OUT", true, 0},   {"LAG", true, 0},      {"BEAT", true, 0},
};

static void add_counts(struct columns *t, const struct sample_counts *c)
{
    char buf[HUMAN_LEN];

    columns_add(t, human_count(c->connections, buf));
    columns_add(t, human_count(c->accepted, buf));
    columns_add(t, human_count(c->requests, buf));
    columns_add(t, human_bytes(c->bytes_in, buf));
    columns_add(t, human_bytes(c->bytes_out, buf));
}

static int write_workers(FILE *f, const struct sample *s)
{
    struct columns t;
    char buf[HUMAN_LEN];

    columns_init(&t, worker_columns, ARRAY_SIZE(worker_columns));
    for (size_t i = 0; i < s->n_workers; i++) {
        const struct sample_worker *w = &s->workers[i];

        columns_add(&t, w->id);
        add_uint(&t, (uint64_t)w->pid);
        columns_add(&t, w->state);
        add_uint(&t, w->generation);
        columns_add(&t, human_duration(w->uptime_s, buf));
        add_counts(&t, &w->counts);
        columns_add(&t, human_duration(w->lag_ms / 1e3, buf));
        columns_add(&t, human_duration(w->heartbeat_age_s, buf));
    }
    columns_add(&t, "total");
    for (int i = 0; i < 4; i++)
        columns_add(&t, "");
    add_counts(&t, &s->totals);
    columns_add(&t, "");
    columns_add(&t, "");
    return columns_finish(&t, f);
}

/* Counters that the table has already, or that say nothing to an operator. */
static bool is_shown_elsewhere(const char *key)
{
    static const char *const keys[] = {"connections", "accepted",  "requests",
                                       "bytes_in",    "bytes_out", "scanned"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* What has happened at all, by name: "closed  12 peer, 3 reset". */
static void write_counters(FILE *f, const char *title, const json_t *totals, const char *prefix)
{
    static const char closed[] = "closed_";
    const char *key;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)totals, key, value)
    {
        bool is_close = strncmp(key, closed, strlen(closed)) == 0;

        if (json_integer_value(value) <= 0 || is_close != (*prefix != '\0') ||
            is_shown_elsewhere(key))
            continue;
        fprintf(f, "%s%" JSON_INTEGER_FORMAT " %s", n++ == 0 ? title : ", ",
                json_integer_value(value), key + strlen(prefix));
    }
    if (n > 0)
        fputc('\n', f);
}

/* At most @max bytes of @text, no character cut in two. */
static size_t utf8_cut(const char *text, size_t max)
{
    size_t len = strnlen(text, max + 1);

    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

static void write_note(FILE *f, const char *who, const json_t *actor)
{
    const json_t *note = json_object_get(actor, "notified");
    char *text, age[HUMAN_LEN];

    if (!note)
        return;
    text = answer_text_plain(json_object_get(note, "info"));
    fprintf(f, "note of %s, %s old: %.*s%s\n", who,
            human_duration(json_number_value(json_object_get(note, "age")), age),
            (int)utf8_cut(text ? text : "?", NOTE_SHOWN), text ? text : "?",
            text && strlen(text) > NOTE_SHOWN ? "..." : "");
    free(text);
}

int info_text_write(FILE *f, const json_t *info)
{
    const json_t *totals = json_object_get(info, "totals");
    struct sample s;
    int rc = sample_read(info, 0, &s);

    if (rc)
        return rc;
    write_arbiter(f, json_object_get(info, "arbiter"), &s);
    rc = write_workers(f, &s);
    fputs("(the total has what ended workers did, too)\n", f);
    write_counters(f, "closed  ", totals, "closed_");
    write_counters(f, "also    ", totals, "");
    write_note(f, "arbiter", json_object_get(info, "arbiter"));
    for (size_t i = 0; i < s.n_workers; i++)
        write_note(f, s.workers[i].id, json_array_get(json_object_get(info, "workers"), i));
    sample_fini(&s);
    return rc;
}
