/*
 * The commands that ask or steer a server over its control socket: one request each, its answer
 * printed as text for people or, with --json, as it came.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/num.h"
#include "base/slip.h"
#include "base/util.h"
#include "client/answer_text.h"
#include "client/deadlines.h"
#include "client/human.h"
#include "client/text.h"
#include "measure/info_text.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_operator.h"
#include "cmd/echo_client_symbols.h"

enum { WORKERS_MAX = 1024 }; /* that any server can have */

typedef int writer(FILE *f, const json_t *result);

static int write_scaled(FILE *f, const json_t *result)
{
    json_int_t n = json_integer_value(json_object_get(result, "workers"));

    if (!json_is_integer(json_object_get(result, "workers")))
        return -EBADMSG;
    fprintf(f, "%" JSON_INTEGER_FORMAT " worker%s\n", n, n == 1 ? " runs" : "s run");
    return 0;
}

static int write_level(FILE *f, const json_t *result)
{
    const char *level = json_string_value(json_object_get(result, "level"));

    fprintf(f, "the log level is %s until the next reload\n", level ? level : "changed");
    return 0;
}

static int write_reopened(FILE *f, const json_t *result)
{
    const char *to = json_string_value(json_object_get(result, "to"));

    if (json_is_true(json_object_get(result, "reopened")))
        fprintf(f, "the log is open anew: %s\n", to ? to : "");
    else
        fprintf(f, "the log goes to %s: there is no file to open anew\n", to ? to : "");
    return 0;
}

/* ---- one question, one answer ---- */

/* Most commands are one request, perhaps with the last word as its argument, and one answer. */
static const struct request {
    const char *name; /* of the command */
    const char *request; /* what the server calls it */
    const char *key; /* of the argument; NULL = none */
    uint64_t slow_ms; /* as operator_open */
    writer *write;
    bool is_named; /* the server that has done it is named */
} requests[] = {
    {"info", "info", NULL, 0, info_write, false},
    {"actors", "actors", NULL, 0, answer_text_actors, false},
    {"commands", "commands", NULL, 0, answer_text_commands, false},
    {"reload", "reload", NULL, OPERATOR_SLOW_MS, answer_text_reload, true},
    {"scale", "scale", "workers", OPERATOR_SLOW_MS, write_scaled, true},
    {"upgrade", "upgrade", NULL, OPERATOR_SLOW_MS, answer_text_upgrade, true},
    {"crashes", "crashes", "show", 0, answer_text_crashes, false},
    {"log-level", "log_level", "level", 0, write_level, true},
    {"reopen-logs", "reopen_logs", NULL, 0, write_reopened, false},
};

/* @args is taken over; NULL = none */
static int ask_and_print(struct tool *t, json_t *args)
{
    const struct request *r = requests;
    struct operator o;
    json_t *result = NULL;
    char name[OPERATOR_NAME_LEN];
    int rc;

    while (strcmp(r->name, t->command->name) != 0)
        r++;
    rc = operator_open(&o, t, r->slow_ms);
    if (rc == 0 && r->key && t->n_words > 0) {
        json_decref(args);
        args = json_pack("{s:o}", r->key, text_value(t->words[t->n_words - 1]));
        rc = args ? 0 : operator_fail(&o, -EILSEQ);
    }
    if (rc == 0)
        rc = operator_ask(&o, r->request, NULL, args, &result);
    if (rc == 0 && r->write == answer_text_crashes && !t->is_json)
        symbols_name_frames(o.call.peer, result);
    if (rc == 0)
        rc = operator_print(&o, result, r->write);
    if (rc == 0 && r->is_named && !t->is_json)
        rc = out_print("server: %s", operator_name(&o, name));
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc == OPERATOR_NOBODY ? 0 : rc;
}

/* getopt would take -1 for an option, and name another one. */
static void check_negative(const struct tool *t)
{
    for (int i = 1; i < t->argc; i++)
        if (t->argv[i][0] == '-' && t->argv[i][1] >= '0' && t->argv[i][1] <= '9' &&
            t->argv[i - 1][0] != '-')
            usage_error("%s %s: it takes a number that is not negative", t->command->name,
                        t->argv[i]);
}

/* What any server would refuse is told without one. */
static void check_number(const struct tool *t, const char *word, uint64_t max, const char *of_what)
{
    uint64_t n;

    if (num_parse_u64(word, 1, max, &n) < 0)
        usage_error("%s %s: it takes %s, from 1 to %" PRIu64, t->command->name, word, of_what, max);
}

static void check_level(const char *word)
{
    enum log_level level;

    if (log_level_parse(word, &level) == 0)
        return;
    for (level = LOG_LEVEL_DEBUG; *word && level <= LOG_LEVEL_ERROR; level++) {
        const char *name = log_level_name(level);

        if (strncmp(word, name, strlen(word)) == 0 ||
            slip_is(word, strlen(word), name, strlen(name)))
            usage_error(
                "log-level %s: no level; did you mean %s? There are debug, info, warning and "
                "error",
                word, name);
    }
    usage_error("log-level %s: it takes debug, info, warning or error", word);
}

static void check_crashes(const struct tool *t)
{
    if (t->n_words == 0)
        return;
    if (t->n_words != 2 || strcmp(t->words[0], "show") != 0)
        usage_error("crashes %s: it is written: crashes, or crashes show NUMBER", t->words[0]);
    check_number(t, t->words[1], UINT32_MAX, "the number of a crash, which crashes lists");
}

int request_run(struct tool *t)
{
    check_negative(t);
    tool_parse(t, NULL, NULL);
    if (strcmp(t->command->name, "crashes") == 0)
        check_crashes(t);
    else if (strcmp(t->command->name, "scale") == 0)
        check_number(t, t->words[0], WORKERS_MAX, "a number of workers");
    else if (strcmp(t->command->name, "log-level") == 0)
        check_level(t->words[0]);
    return ask_and_print(t, NULL);
}

struct steering {
    bool is_now; /* stop */
    bool is_forced; /* reload */
    bool is_optional; /* reopen-logs */
};

int reload_run(struct tool *t)
{
    static const struct own_option options[] = {
        {"force", 0, NULL, "take the file also if it has lost every group that it had", OPTION_SET,
         OPTION_AT(struct steering, is_forced), 0, 0},
        {0}};
    struct steering s = {0};

    tool_parse(t, options, &s);
    return ask_and_print(t, s.is_forced ? json_pack("{s:b}", "force", 1) : NULL);
}

int reopen_run(struct tool *t)
{
    static const struct own_option options[] = {
        {"if-running", 0, NULL, "say nothing, and succeed, if no server is there", OPTION_SET,
         OPTION_AT(struct steering, is_optional), 0, 0},
        {0}};
    struct steering s = {0};

    tool_parse(t, options, &s);
    t->is_optional = s.is_optional;
    return ask_and_print(t, NULL);
}

/* ---- ready ---- */

static int write_ready(FILE *f, const json_t *result)
{
    const char *reason = json_string_value(json_object_get(result, "reason"));
    char text[256];

    if (json_is_true(json_object_get(result, "ready"))) {
        fputs("ready\n", f);
    } else if (reason) {
        snprintf(text, sizeof(text), "%s", reason);
        fprintf(f, "not ready: %s\n", human_clean(text));
    } else {
        return -EBADMSG;
    }
    return 0;
}

int ready_run(struct tool *t)
{
    struct operator o;
    json_t *result = NULL;
    int rc;

    tool_parse(t, NULL, NULL);
    rc = operator_open(&o, t, 0);
    if (rc == 0)
        rc = operator_ask(&o, "ready", NULL, NULL, &result);
    if (rc == 0)
        rc = operator_print(&o, result, write_ready);
    if (rc == 0 && !json_is_true(json_object_get(result, "ready")))
        rc = 1;
    json_decref(result);
    operator_close(&o);
    return rc;
}

/* ---- stop ---- */

static int print_stopped(const struct operator* o, const char *name)
{
    if (o->tool->is_json)
        return out_json(json_pack("{s:b, s:i}", "stopped", 1, "pid", (int)o->call.peer));
    return out_print("echo-arbiter has stopped%s%s%s", *name ? " (" : "", name, *name ? ")" : "");
}

/* --no, which getopt would take for --now, may be meant as anything but that. */
static void check_now(const struct tool *t)
{
    for (int i = 1; i < t->argc; i++)
        if (strncmp(t->argv[i], "--n", 3) == 0 && strcmp(t->argv[i], "--now") != 0)
            usage_error("%s: write --now to cut the connections", t->argv[i]);
}

/* Milliseconds, at most a day. */
static uint64_t delay_of(const json_t *stopping)
{
    const json_int_t ms = json_integer_value(json_object_get(stopping, "delay_ms"));

    return ms < 0 ? 0 : MIN((uint64_t)ms, UINT64_C(86400000));
}

int stop_run(struct tool *t)
{
    static const struct own_option options[] = {
        {"now", 0, NULL, "at once: cut the connections instead of draining them", OPTION_SET,
         OPTION_AT(struct steering, is_now), 0, 0},
        {0}};
    struct steering s = {0};
    struct operator o;
    json_t *args, *result = NULL;
    char name[OPERATOR_NAME_LEN] = "";
    int rc;

    tool_parse(t, options, &s);
    check_now(t);
    args = json_pack("{s:b}", "graceful", !s.is_now);
    rc = operator_open(&o, t, OPERATOR_SLOW_MS);
    if (rc == 0 && !t->is_json)
        operator_name(&o, name);
    if (rc == 0)
        rc = operator_ask(&o, "stop", NULL, args, &result);
    if (rc == 0) {
        /* Its arbiter.stop_delay is no part of the time that a stop may take. */
        if (!t->has_timeout)
            o.deadline_ns = deadline_after_ms(OPERATOR_SLOW_MS + delay_of(result));
        rc = control_call_wait_end(&o.call, o.deadline_ns);
        if (rc == ARB_TIMEOUT) {
            fprintf(stderr,
                    "echo-client: stop: it stops, and has not ended yet: follow it with: "
                    "echo-client info; or cut it off with: echo-client stop --now (a second stop "
                    "means the same)\n");
            rc = EX_TEMPFAIL;
        } else {
            rc = rc ? operator_fail(&o, rc) : print_stopped(&o, name);
        }
    }
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc;
}

/* ---- call ---- */

/* Each worker has its own answer; the first that failed decides the exit code. */
static int exit_of_map(const json_t *map)
{
    const char *id;
    json_t *value;

    json_object_foreach((json_t *)map, id, value)
    {
        const char *code =
            json_string_value(json_object_get(json_object_get(value, "error"), "code"));

        if (code)
            return operator_error_exit(code);
    }
    return 0;
}

/* Reads the words as arguments, of the types that the server gives. Without words it is not asked.
 */
static int read_args(struct operator* o, const struct tool *w, json_t **ret_args)
{
    json_t *table = NULL;
    char why[256];
    int rc = 0;

    if (w->n_words > 2)
        rc = operator_ask(o, "commands", NULL, NULL, &table);
    if (rc)
        return rc;
    rc = text_parse_args(w->words + 2, (size_t)(w->n_words - 2), table, w->words[1], ret_args, why,
                         sizeof(why));
    json_decref(table);
    if (rc == -EINVAL) {
        fprintf(stderr, "echo-client: call %s %s: %s\n", w->words[0], w->words[1], why);
        return EX_USAGE;
    }
    return rc ? operator_fail(o, rc) : 0;
}

static bool is_config(const struct tool *t)
{
    return strcmp(t->words[0], "arbiter") == 0 && strcmp(t->words[1], "config") == 0;
}

int call_run(struct tool *t)
{
    struct operator o;
    json_t *args = NULL, *result = NULL;
    int rc;

    tool_parse(t, NULL, NULL);
    rc = operator_open(&o, t, OPERATOR_SLOW_MS);
    if (rc == 0)
        rc = read_args(&o, t, &args);
    if (rc == 0)
        rc = operator_ask(&o, t->words[1], t->words[0], args, &result);
    if (rc == 0)
        rc = operator_print(&o, result, is_config(t) ? answer_text_config : answer_text_value);
    if (rc == 0 && strcmp(t->words[0], "workers") == 0)
        rc = exit_of_map(result);
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc;
}
