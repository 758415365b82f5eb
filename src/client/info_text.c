/*
 * Answers as text. Pure.
 */
#include "client/info_text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"
#include "client/sample.h"

/* A copy that a terminal can bear; compact JSON for what is no text. Owned; NULL without memory. */
static char *plain(const json_t *value)
{
    const char *text = json_string_value(value);
    char *copy = text ? strdup(text) : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    return copy ? human_clean(copy) : NULL;
}

static void write_plain(FILE *f, const json_t *value)
{
    char *text = plain(value);

    fputs(text ? text : "?", f);
    free(text);
}

static void add_plain(struct columns *t, const json_t *o, const char *key)
{
    char *text = plain(json_object_get(o, key));

    columns_add(t, text ? text : "?");
    free(text);
}

static void add_uint(struct columns *t, uint64_t n)
{
    char buf[HUMAN_LEN];

    snprintf(buf, sizeof(buf), "%" PRIu64, n);
    columns_add(t, buf);
}

static int finish(struct columns *t, FILE *f)
{
    int rc = t->is_broken ? -ENOMEM : 0;

    if (rc == 0)
        columns_write(t, f);
    columns_fini(t);
    return rc;
}

/* ---- info ---- */

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
        write_plain(f, value);
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
        write_plain(f, json_object_get(arbiter, "config"));
    else
        fputs("built-in defaults and the command line", f);
    fputs("\n\n", f);
}

static const struct column worker_columns[] = {
    {"WORKER", false}, {"PID", true},   {"STATE", false},   {"GEN", true},
    {"UP", true},      {"CONNS", true}, {"ACCEPTED", true}, {"MSGS", true},
    {"IN", true},      {"OUT", true},   {"LAG", true},      {"BEAT", true},
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
    return finish(&t, f);
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

static void write_note(FILE *f, const char *who, const json_t *actor)
{
    const json_t *note = json_object_get(actor, "notified");

    if (!note)
        return;
    fprintf(f, "note of %s: ", who);
    write_plain(f, note);
    fputc('\n', f);
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

/* ---- the other commands ---- */

int info_text_actors(FILE *f, const json_t *actors)
{
    static const struct column columns[] = {{"ACTOR", false}, {"PID", true}, {"STATE", false}};
    struct columns t;
    const json_t *row;
    size_t i;

    if (!json_is_array(actors))
        return -EBADMSG;
    columns_init(&t, columns, ARRAY_SIZE(columns));
    json_array_foreach(actors, i, row)
    {
        add_plain(&t, row, "id");
        add_plain(&t, row, "pid");
        add_plain(&t, row, "state");
    }
    return finish(&t, f);
}

/* "KEY [KEY]": what need not be given stands in brackets */
static void add_args(struct columns *t, const json_t *args)
{
    char text[256] = "";
    const json_t *arg;
    size_t i, len = 0;

    json_array_foreach(args, i, arg)
    {
        const char *name = json_string_value(json_object_get(arg, "name"));
        bool is_required = json_is_true(json_object_get(arg, "required"));

        if (len < sizeof(text))
            len +=
                (size_t)snprintf(text + len, sizeof(text) - len, is_required ? "%s%s=" : "%s[%s=]",
                                 i > 0 ? " " : "", name ? name : "?");
    }
    columns_add(t, text);
}

static void write_arg_help(FILE *f, const json_t *arg, const char *command)
{
    fprintf(f, "%s: ", command);
    write_plain(f, json_object_get(arg, "name"));
    fputs(" is ", f);
    write_plain(f, json_object_get(arg, "allowed"));
    fputs(": ", f);
    write_plain(f, json_object_get(arg, "help"));
    fputc('\n', f);
}

static void write_args_help(FILE *f, const json_t *commands)
{
    const json_t *row, *arg;
    size_t i, k, n = 0;

    json_array_foreach(commands, i, row)
    {
        char *command = plain(json_object_get(row, "name"));

        json_array_foreach(json_object_get(row, "args"), k, arg)
        {
            if (n++ == 0)
                fputc('\n', f);
            write_arg_help(f, arg, command ? command : "?");
        }
        free(command);
    }
}

int info_text_commands(FILE *f, const json_t *commands)
{
    static const struct column columns[] = {
        {"COMMAND", false}, {"ARGUMENTS", false}, {"ACTORS", false}, {"WHAT IT DOES", false}};
    struct columns t;
    const json_t *row;
    size_t i;
    int rc;

    if (!json_is_array(commands))
        return -EBADMSG;
    columns_init(&t, columns, ARRAY_SIZE(columns));
    json_array_foreach(commands, i, row)
    {
        bool on_arbiter = json_is_true(json_object_get(row, "arbiter"));
        bool on_worker = json_is_true(json_object_get(row, "worker"));

        add_plain(&t, row, "name");
        add_args(&t, json_object_get(row, "args"));
        columns_add(&t, on_arbiter && on_worker ? "all" : on_arbiter ? "arbiter" : "workers");
        add_plain(&t, row, "help");
    }
    rc = finish(&t, f);
    if (rc == 0)
        write_args_help(f, commands);
    return rc;
}

static void write_changes(FILE *f, const json_t *changed)
{
    const json_t *row;
    size_t i;

    json_array_foreach(changed, i, row)
    {
        fputs("  ", f);
        write_plain(f, json_object_get(row, "key"));
        fputs(": ", f);
        write_plain(f, json_object_get(row, "old"));
        fputs(" -> ", f);
        write_plain(f, json_object_get(row, "new"));
        fputc('\n', f);
    }
    if (json_array_size(changed) == 0)
        fputs("  no key has changed\n", f);
}

int info_text_reload(FILE *f, const json_t *reload)
{
    const json_t *workers = json_object_get(reload, "workers"), *row;
    size_t i;

    if (!json_is_integer(json_object_get(reload, "generation")) || !json_is_array(workers))
        return -EBADMSG;
    fprintf(f, "reloaded: generation %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms\n",
            json_integer_value(json_object_get(reload, "generation")),
            json_integer_value(json_object_get(reload, "took_ms")));
    write_changes(f, json_object_get(reload, "changed"));
    json_array_foreach(workers, i, row)
    {
        fputs("  ", f);
        write_plain(f, json_object_get(row, "id"));
        fprintf(f, ": pid %" JSON_INTEGER_FORMAT "\n",
                json_integer_value(json_object_get(row, "pid")));
    }
    return 0;
}

/* A text stands for itself as long as a terminal can bear it, else it is quoted. */
static int write_value(FILE *f, const json_t *value, size_t flags)
{
    const char *text = json_string_value(value);
    char *copy = text ? strdup(text) : NULL;
    bool is_bare =
        copy && strcmp(human_clean(copy), text) == 0 && strlen(text) == json_string_length(value);
    int rc = 0;

    if (is_bare)
        fputs(text, f);
    else
        rc = json_dumpf(value, f,
                        flags | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12)) == 0
                 ? 0
                 : -ENOMEM;
    free(copy);
    fputc('\n', f);
    return rc;
}

/* "worker.1", "worker.2" ... and nothing else */
static bool is_map_of_workers(const json_t *value)
{
    const char *key;
    json_t *member;
    size_t n = 0;

    json_object_foreach((json_t *)value, key, member)
    {
        n += strncmp(key, "worker.", 7) == 0;
    }
    return n > 0 && n == json_object_size(value);
}

static int compare_keys(const void *x, const void *y)
{
    return strverscmp(*(const char *const *)x, *(const char *const *)y);
}

/* A line each, in the order of their numbers. */
static int write_map(FILE *f, const json_t *map)
{
    const char **keys = calloc(json_object_size(map) + 1, sizeof(*keys)), *key;
    json_t *member;
    size_t n = 0;
    int rc = keys ? 0 : -ENOMEM;

    json_object_foreach((json_t *)map, key, member)
    {
        if (keys)
            keys[n++] = key;
    }
    if (keys)
        qsort(keys, n, sizeof(*keys), compare_keys);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char *name = strdup(keys[i]);

        fprintf(f, "%s: ", name ? human_clean(name) : "?");
        free(name);
        rc = write_value(f, json_object_get(map, keys[i]), JSON_COMPACT);
    }
    free(keys);
    return rc;
}

int info_text_value(FILE *f, const json_t *value)
{
    return is_map_of_workers(value) ? write_map(f, value) : write_value(f, value, JSON_INDENT(2));
}
