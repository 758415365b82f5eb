/*
 * The commands that ask or steer a server over its control socket: one request each, its answer
 * printed as text for people or, with --json, as it came.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/num.h"
#include "client/answer_text.h"
#include "client/text.h"
#include "measure/info_text.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_operator.h"

enum { WORKERS_MAX = 1024 };

/* ---- the command line ---- */

/* How a command is written. */
struct usage {
    const char *words;
    const char *doc;
    int min, max; /* words */
    const struct argp_option *options; /* NULL = those of every command */
};

/* What was written; main has parsed none of it. */
struct words {
    struct tool *tool;
    const struct usage *usage;
    int n;
    char **word; /* borrowed */
    bool is_now; /* stop --now */
    bool is_forced; /* reload --force */
};

enum { OPT_NOW = 1000, OPT_FORCE };

static error_t parse_words(int key, char *arg, struct argp_state *state)
{
    struct words *w = state->input;

    (void)arg; /* no option here has one */
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = w->tool;
        return 0;
    case OPT_FORCE:
        w->is_forced = true;
        return 0;
    case OPT_NOW:
        /* --no, which getopt would take for it, may be meant as anything but that. */
        if (strcmp(state->argv[state->next - 1], "--now") != 0)
            argp_error(state, "%s: write --now to cut the connections",
                       state->argv[state->next - 1]);
        w->is_now = true;
        return 0;
    case ARGP_KEY_ARGS:
        w->n = state->argc - state->next;
        w->word = state->argv + state->next;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (w->n < w->usage->min || w->n > w->usage->max)
            argp_error(state, "%s: it is written: %s",
                       w->n < w->usage->min ? "a word is missing" : "there is a word too many",
                       w->usage->words);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct words take_words(struct tool *t, int argc, char **argv, const struct usage *usage)
{
    static const struct argp_option no_options[] = {{0}};
    const struct argp_child children[] = {{&tool_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = usage->options ? usage->options : no_options,
        .parser = parse_words,
        .args_doc = usage->words,
        .doc = usage->doc,
        .children = children,
    };
    struct words w = {.tool = t, .usage = usage};

    argp_parse(&argp, argc, argv, 0, NULL, &w);
    return w;
}

/* ---- one question, one answer ---- */

typedef int writer(FILE *f, const json_t *result);

/* @args is taken over; NULL = none */
static int ask_and_print(struct tool *t, const char *command, json_t *args, uint64_t slow_ms,
                         writer *write)
{
    struct operator o;
    json_t *result = NULL;
    int rc = operator_open(&o, t, slow_ms);

    if (rc == 0)
        rc = operator_ask(&o, command, NULL, args, &result);
    if (rc == 0)
        rc = operator_print(&o, result, write);
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc;
}

int info_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "info", .doc = "Show the arbiter, its workers and what they have done."};
    take_words(t, argc, argv, &usage);
    return ask_and_print(t, "info", NULL, 0, info_write);
}

int actors_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {.words = "actors",
                                       .doc = "List every actor with its process and state."};
    take_words(t, argc, argv, &usage);
    return ask_and_print(t, "actors", NULL, 0, answer_text_actors);
}

int commands_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {.words = "commands",
                                       .doc = "List what can be asked of an actor with call."};
    take_words(t, argc, argv, &usage);
    return ask_and_print(t, "commands", NULL, 0, answer_text_commands);
}

const struct argp_option reload_argp_options[] = {
    {"force", OPT_FORCE, NULL, 0, "take the file also if it has lost every group that it had", 0},
    {0}};

int reload_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "reload [--force]",
        .doc = "Let the server read its configuration again, and wait until it has changed over.",
        .options = reload_argp_options};
    struct words w = take_words(t, argc, argv, &usage);

    return ask_and_print(t, "reload", w.is_forced ? json_pack("{s:b}", "force", 1) : NULL,
                         OPERATOR_SLOW_MS, answer_text_reload);
}

int upgrade_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "upgrade",
        .doc = "Let the server execute its program anew, in place, and wait until workers of the "
               "new one have taken over."};
    take_words(t, argc, argv, &usage);
    return ask_and_print(t, "upgrade", NULL, OPERATOR_SLOW_MS, answer_text_upgrade);
}

int crashes_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "crashes [show NUMBER]",
        .doc = "List the last crashes of workers, or show one with its call stack.",
        .max = 2};
    struct words w = take_words(t, argc, argv, &usage);
    uint64_t number;

    if (w.n == 0)
        return ask_and_print(t, "crashes", NULL, 0, answer_text_crashes);
    if (w.n != 2 || strcmp(w.word[0], "show") != 0 ||
        num_parse_u64(w.word[1], 1, UINT32_MAX, &number)) {
        fprintf(stderr, "echo-client: it is written: crashes, or crashes show NUMBER\n");
        return EX_USAGE;
    }
    return ask_and_print(t, "crashes", json_pack("{s:I}", "show", (json_int_t)number), 0,
                         answer_text_crashes);
}

static int write_scaled(FILE *f, const json_t *result)
{
    json_int_t n = json_integer_value(json_object_get(result, "workers"));

    if (!json_is_integer(json_object_get(result, "workers")))
        return -EBADMSG;
    fprintf(f, "%" JSON_INTEGER_FORMAT " worker%s\n", n, n == 1 ? " runs" : "s run");
    return 0;
}

int scale_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {.words = "scale N",
                                       .doc =
                                           "Change the number of workers, and wait until they run.",
                                       .min = 1,
                                       .max = 1};
    struct words w = take_words(t, argc, argv, &usage);
    uint64_t n;

    if (num_parse_u64(w.word[0], 1, WORKERS_MAX, &n)) {
        fprintf(stderr, "echo-client: scale %s: write a number of workers from 1 to %d\n",
                w.word[0], WORKERS_MAX);
        return EX_USAGE;
    }
    return ask_and_print(t, "scale", json_pack("{s:I}", "workers", (json_int_t)n), OPERATOR_SLOW_MS,
                         write_scaled);
}

static int write_level(FILE *f, const json_t *result)
{
    const char *level = json_string_value(json_object_get(result, "level"));

    fprintf(f, "the log level is %s until the next reload\n", level ? level : "changed");
    return 0;
}

int log_level_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {.words = "log-level debug|info|warning|error",
                                       .doc = "Change the log level until the next reload.",
                                       .min = 1,
                                       .max = 1};
    struct words w = take_words(t, argc, argv, &usage);
    json_t *args = json_pack("{s:s}", "level", w.word[0]);

    if (!args) {
        fprintf(stderr, "echo-client: log-level: debug, info, warning or error\n");
        return EX_USAGE;
    }
    return ask_and_print(t, "log_level", args, 0, write_level);
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

int reopen_logs_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {.words = "reopen-logs",
                                       .doc = "Let the server open its log file anew."};
    take_words(t, argc, argv, &usage);
    return ask_and_print(t, "reopen_logs", NULL, 0, write_reopened);
}

/* ---- stop ---- */

const struct argp_option stop_argp_options[] = {
    {"now", OPT_NOW, NULL, 0, "at once: cut the connections instead of draining them", 0}, {0}};

static int print_stopped(const struct operator* o)
{
    char text[96];

    if (o->tool->is_json)
        snprintf(text, sizeof(text), "{\"stopped\":true,\"pid\":%d}", (int)o->call.peer);
    else if (o->call.peer > 0)
        snprintf(text, sizeof(text), "echo-arbiter has stopped (pid %d)", (int)o->call.peer);
    else
        snprintf(text, sizeof(text), "echo-arbiter has stopped");
    return out_line(text, strlen(text));
}

int stop_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "stop [--now]",
        .doc = "Stop the server and wait until it is gone: every message that is on its way is "
               "still answered, within arbiter.exit_timeout.",
        .options = stop_argp_options};
    struct words w = take_words(t, argc, argv, &usage);
    struct operator o;
    json_t *args = json_pack("{s:b}", "graceful", !w.is_now), *result = NULL;
    int rc = operator_open(&o, t, OPERATOR_SLOW_MS);

    if (rc == 0)
        rc = operator_ask(&o, "stop", NULL, args, &result);
    if (rc == 0) {
        rc = control_call_wait_end(&o.call, o.deadline_ns);
        if (rc == ARB_TIMEOUT) {
            fprintf(stderr, "echo-client: stop: it still drains: allow more time with --timeout "
                            "SECONDS, or cut it off with: echo-client stop --now\n");
            rc = EX_TEMPFAIL;
        } else {
            rc = rc ? operator_fail(&o, rc) : print_stopped(&o);
        }
    }
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc;
}

/* ---- call ---- */

/* Of several workers each has its own answer; one that failed decides the exit code. */
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

/* The words as arguments, by the types that the server gives; it is asked only if there are any. */
static int read_args(struct operator* o, const struct words *w, json_t **ret_args)
{
    json_t *table = NULL;
    char why[256];
    int rc = 0;

    if (w->n > 2)
        rc = operator_ask(o, "commands", NULL, NULL, &table);
    if (rc)
        return rc;
    rc = text_parse_args(w->word + 2, (size_t)(w->n - 2), table, w->word[1], ret_args, why,
                         sizeof(why));
    json_decref(table);
    if (rc == -EINVAL) {
        fprintf(stderr, "echo-client: call %s %s: %s\n", w->word[0], w->word[1], why);
        return EX_USAGE;
    }
    return rc ? operator_fail(o, rc) : 0;
}

int call_run(struct tool *t, int argc, char **argv)
{
    static const struct usage usage = {
        .words = "call ACTOR COMMAND [KEY=VALUE...]",
        .doc = "Give one command to an actor (arbiter, worker.N, or workers for all of them) and "
               "print its answer. The commands are listed by: echo-client commands",
        .min = 2,
        .max = INT32_MAX};
    struct words w = take_words(t, argc, argv, &usage);
    struct operator o;
    json_t *args = NULL, *result = NULL;
    int rc = operator_open(&o, t, OPERATOR_SLOW_MS);

    if (rc == 0)
        rc = read_args(&o, &w, &args);
    if (rc == 0)
        rc = operator_ask(&o, w.word[1], w.word[0], args, &result);
    if (rc == 0)
        rc = operator_print(&o, result, answer_text_value);
    if (rc == 0 && strcmp(w.word[0], "workers") == 0)
        rc = exit_of_map(result);
    json_decref(result);
    json_decref(args);
    operator_close(&o);
    return rc;
}
