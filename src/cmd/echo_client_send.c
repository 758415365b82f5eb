/*
 * echo-client send: messages from the command line, the standard input or a prompt, a window of
 * them under way at once, each reply that is its message printed as a line.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/call.h"
#include "client/text.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_prompt.h"
#include "echo/echo.h"

/* Far above any server's max_message: a bound for our own memory. */
#define MESSAGE_MAX ((size_t)1 << 30)

/* A message whose reply is awaited; its bytes are borrowed from the command line or the lines. */
struct awaited {
    const void *data;
    size_t len;
    uint64_t posted_ns;
};

struct sending {
    struct tool *tool;
    struct call call;
    const char *unit; /* "message" or "line", for errors */
    uint64_t n_done; /* replies printed; at the prompt: lines before this one */
    struct awaited window[EXCHANGE_WINDOW];
    unsigned first, n;
};

static int fail(struct sending *s, int outcome)
{
    char what[48];

    snprintf(what, sizeof(what), "%s %" PRIu64, s->unit, s->n_done + 1);
    return fail_outcome(s->tool, what, outcome);
}

static int print_json(const struct awaited *a)
{
    double ms = (double)(clock_mono_ns() - a->posted_ns) / 1e6;
    json_t *o = json_pack("{s:I, s:f}", "bytes", (json_int_t)a->len, "time_ms", ms);

    if (o && text_set_json(o, "reply", a->data, a->len)) {
        json_decref(o);
        o = NULL;
    }
    return out_json(o);
}

/* Wait for the oldest reply, print it. */
static int take_one(struct sending *s)
{
    const struct awaited *a = &s->window[s->first];
    const uint8_t *reply;
    size_t len;
    int rc = call_wait(&s->call, call_deadline(s->tool->timeout_ms), &reply, &len);

    if (rc)
        return fail(s, rc);
    rc = s->tool->is_json ? print_json(a) : out_line(reply, len);
    s->first = (s->first + 1) % EXCHANGE_WINDOW;
    s->n--;
    s->n_done++;
    return rc;
}

static int take_all(struct sending *s)
{
    int rc = 0;

    while (rc == 0 && s->n > 0)
        rc = take_one(s);
    return rc ? rc : out_flush();
}

/* Between messages a closed connection is replaced: nothing can be sent twice. */
static int ensure_connected(struct sending *s)
{
    int rc;

    if (call_is_usable(&s->call))
        return 0;
    rc = call_connect(&s->call, &s->tool->address, call_deadline(s->tool->timeout_ms));
    return rc ? fail_outcome(s->tool, NULL, rc) : 0;
}

/* Line one message up; sends only when the window is full or the conversation ends (QUIT). */
static int push(struct sending *s, const void *data, size_t len)
{
    int rc = exchange_check(&s->call.exchange.rule, data, len);

    if (rc) {
        int rc_before = take_all(s);

        return rc_before ? rc_before : fail(s, rc);
    }
    if (s->n == EXCHANGE_WINDOW || s->call.exchange.is_over)
        rc = take_all(s);
    if (rc == 0 && s->n == 0)
        rc = ensure_connected(s);
    if (rc)
        return rc;
    rc = call_post(&s->call, data, len);
    if (rc)
        return fail(s, rc);
    s->window[(s->first + s->n) % EXCHANGE_WINDOW] = (struct awaited){data, len, clock_mono_ns()};
    s->n++;
    return 0;
}

static int send_words(struct sending *s, int n, char **words)
{
    int rc = 0;

    s->unit = "message";
    for (int i = 0; rc == 0 && i < n; i++)
        rc = push(s, words[i], strlen(words[i]));
    return rc ? rc : take_all(s);
}

static int input_failed(struct sending *s, int rc)
{
    if (rc == -EMSGSIZE)
        return fail(s, CALL_TOO_LONG);
    fprintf(stderr, "echo-client: standard input: %s\n", strerror(-rc));
    return EX_IOERR;
}

/* All lines that are here make a batch; the next read waits until the batch is answered. */
static int send_lines(struct sending *s, struct lines *l)
{
    const char *line;
    size_t len;
    int rc = 0;

    s->unit = "line";
    while (rc == 0) {
        while (rc == 0 && lines_take(l, &line, &len))
            rc = push(s, line, len);
        if (rc == 0)
            rc = take_all(s);
        if (rc || l->is_end)
            break;
        rc = lines_fill(l, MESSAGE_MAX);
        if (rc)
            rc = input_failed(s, rc);
    }
    return rc;
}

/* A failed message does not end the prompt: the next one gets a new connection. */
static int send_prompt(struct sending *s)
{
    struct prompt *p;
    const char *message;
    size_t len;
    int rc = ensure_connected(s);

    if (rc)
        return rc;
    p = prompt_open();
    if (!p)
        return fail(s, -ENOMEM);
    s->unit = "line";
    for (uint64_t n = 0; !s->call.exchange.is_over && prompt_read(p, &message, &len); n++) {
        s->n_done = n;
        rc = push(s, message, len);
        if (rc == 0)
            rc = take_all(s);
        if (rc == EXIT_PIPE || rc == EX_IOERR)
            break;
        if (rc) {
            call_close(&s->call);
            s->n = 0;
        }
    }
    prompt_close(p);
    return rc;
}

static int send_input(struct sending *s)
{
    struct lines l;
    int rc;

    lines_init(&l, STDIN_FILENO);
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        rc = send_prompt(s);
    else
        rc = send_lines(s, &l);
    lines_fini(&l);
    return rc;
}

static error_t parse_send(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

int send_run(struct tool *t, int argc, char **argv)
{
    const struct argp_child children[] = {{&tool_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .parser = parse_send,
        .args_doc = "[MESSAGE...]",
        .doc = "Send messages and print one line for each echo.",
        .children = children,
    };
    struct sending s = {.tool = t};
    struct frame_rule rule;
    int rc, first;

    argp_parse(&argp, argc, argv, 0, &first, t);
    echo_rule_init(&rule, t->separator, t->separator_len, MESSAGE_MAX);
    call_init(&s.call, &rule);
    rc = argc > first ? send_words(&s, argc - first, argv + first) : send_input(&s);
    call_fini(&s.call);
    return rc;
}
