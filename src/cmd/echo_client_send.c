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
#include "base/escape.h"
#include "base/std_streams.h"
#include "base/util.h"
#include "client/text.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_prompt.h"
#include "client/echo.h"

enum { WINDOW = 256, LINES_CHUNK = 262144, CAME_SHOWN = 48 };

/* A message whose reply is awaited; its bytes are borrowed from the command line or the lines. */
struct awaited {
    const void *data;
    size_t len;
    uint64_t started_ns;
    struct arb_call *call; /* borrowed; NULL = it has ended */
    int status; /* how it has ended */
};

struct sending {
    struct tool *tool;
    struct arb_client *client; /* owned; NULL = there is none yet */
    const char *unit; /* "message" or "line", for errors */
    uint64_t n_done; /* replies printed; at the prompt: lines before this one */
    struct awaited window[WINDOW];
    unsigned first, n;
    uint8_t came[CAME_SHOWN]; /* the first bytes of what was read last */
    size_t n_came;
    bool is_over; /* QUIT was sent: what follows needs another connection */
};

static int fail(struct sending *s, int outcome)
{
    const bool is_other = outcome == ARB_MISMATCH || outcome == ARB_UNEXPECTED;
    char came[4 * CAME_SHOWN + 1], what[sizeof(came) + 64];

    snprintf(what, sizeof(what), "%s %" PRIu64 "%s%s%s", s->unit, s->n_done + 1,
             is_other ? ", what came is \"" : "",
             is_other ? escape_bytes(s->came, s->n_came, came) : "", is_other ? "\"" : "");
    return fail_outcome(s->tool, what, outcome);
}

static int print_reply(struct sending *s, const struct awaited *a)
{
    double ms = (double)(clock_mono_ns() - a->started_ns) / 1e6;
    json_t *o;

    if (!s->tool->is_json)
        return out_line(a->data, a->len);
    o = json_pack("{s:I, s:f}", "bytes", (json_int_t)a->len, "time_ms", ms);
    if (o && text_set_json(o, "reply", a->data, a->len)) {
        json_decref(o);
        o = NULL;
    }
    return out_json(o);
}

/* Each reply has all of --timeout from the one before it on. */
static int wait_for(const struct sending *s, const struct awaited *a)
{
    int timeout_ms = s->tool->timeout_ms ? (int)s->tool->timeout_ms : -1;

    return a->call ? arb_call_wait(a->call, timeout_ms) : a->status;
}

/* Wait for the oldest reply, print it. */
static int take_one(struct sending *s)
{
    const struct awaited *a = &s->window[s->first];
    int rc = wait_for(s, a);

    if (rc)
        return fail(s, rc);
    rc = print_reply(s, a);
    s->first = (s->first + 1) % WINDOW;
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

static void disconnect(struct sending *s)
{
    arb_client_free(s->client);
    s->client = NULL;
    s->n = 0;
}

static void on_received(const struct arb_event *event, void *userdata)
{
    struct sending *s = userdata;

    s->n_came = MIN(event->len, (size_t)CAME_SHOWN);
    memcpy(s->came, event->data, s->n_came);
}

static int make_client(struct sending *s)
{
    int rc = tool_client(s->tool, NULL, WINDOW, &s->client);

    return rc ? rc : arb_client_bind(s->client, ARB_DATA_RECEIVED, on_received, s);
}

/* The look-up of the name and the connect share one deadline. */
static int connect_in_time(struct sending *s)
{
    uint64_t started_ns = clock_mono_ns(), spent_ms;
    struct arb_call_options o;
    struct arb_call *lease;
    int rc = s->client ? 0 : make_client(s);

    if (rc)
        return rc;
    spent_ms = (clock_mono_ns() - started_ns) / 1000000;
    arb_call_options_init(&o);
    if (s->tool->timeout_ms)
        o.timeout_ms = (int)(MAX(s->tool->timeout_ms, spent_ms + 1) - spent_ms);
    rc = arb_connect(s->client, &o, &lease);
    if (rc == 0)
        arb_call_free(lease);
    return rc;
}

/* A connection that was closed between two messages is replaced: no message is sent twice. */
static int ensure_connected(struct sending *s)
{
    int rc = connect_in_time(s);

    s->is_over = false;
    return rc ? fail_outcome(s->tool, NULL, rc) : 0;
}

static void on_echoed(struct arb_call *call, int status, void *userdata)
{
    struct awaited *a = userdata;

    (void)call;
    a->call = NULL;
    a->status = status;
}

static int start_call(struct sending *s, const void *data, size_t len)
{
    static const struct arb_call_options no_limit = {0, -1, -1, {-1, -1, -1, -1, -1}};
    struct awaited *a = &s->window[(s->first + s->n) % WINDOW];
    int rc = 0;

    *a = (struct awaited){data, len, clock_mono_ns(), NULL, 0};
    /* In a raw echo no bytes have come back as soon as they are sent. */
    if (len > 0 || s->tool->separator_len > 0)
        rc = arb_call_start(s->client, data, len, &no_limit, on_echoed, a, &a->call);
    if (rc)
        return rc;
    s->n++;
    s->is_over =
        s->tool->separator_len > 0 && len == ECHO_QUIT_LEN && memcmp(data, ECHO_QUIT, len) == 0;
    return 0;
}

/* Start one message; waits only when the window is full or the conversation ends (QUIT). */
static int push(struct sending *s, const void *data, size_t len)
{
    int rc = 0;

    if (s->n == WINDOW || s->is_over)
        rc = take_all(s);
    if (rc == 0 && s->n == 0)
        rc = ensure_connected(s);
    if (rc)
        return rc;
    rc = start_call(s, data, len);
    if (rc) {
        int rc_before = take_all(s);

        return rc_before ? rc_before : fail(s, rc);
    }
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

/* ---- lines of the standard input ---- */

/* Any bytes but the newline, of any length up to a bound. What has been read is never waited for,
 * so that a batch can be sent off. */
struct lines {
    int fd; /* borrowed */
    char *data;
    size_t start, len, capacity; /* unread bytes are data[start..start+len) */
    size_t scanned; /* of these, looked at for a newline */
    bool is_end;
};

/* The next line that is here already, without its newline. @ret is borrowed until lines_fill.
 * Returns 1, or 0 if none is here (or ever will be: is_end). */
static int lines_take(struct lines *l, const char **ret, size_t *ret_len)
{
    char *from = l->data + l->start;
    char *newline = NULL;

    if (l->len > l->scanned)
        newline = memchr(from + l->scanned, '\n', l->len - l->scanned);
    if (!newline) {
        l->scanned = l->len;
        if (!l->is_end || l->len == 0)
            return 0;
    }
    *ret = from;
    *ret_len = newline ? (size_t)(newline - from) : l->len;
    l->start += *ret_len + (newline ? 1 : 0);
    l->len -= *ret_len + (newline ? 1 : 0);
    l->scanned = 0;
    return 1;
}

static int lines_grow(struct lines *l)
{
    size_t capacity = l->capacity ? l->capacity * 2 : LINES_CHUNK;
    char *data = realloc(l->data, capacity);

    if (!data)
        return -ENOMEM;
    l->data = data;
    l->capacity = capacity;
    return 0;
}

/* Reads once; blocks. Lines taken before are gone. Returns 0, -EMSGSIZE or -errno. */
static int lines_fill(struct lines *l, size_t max)
{
    ssize_t n;

    if (l->start > 0)
        memmove(l->data, l->data + l->start, l->len);
    l->start = 0;
    if (l->len > max)
        return -EMSGSIZE;
    if (l->len == l->capacity && lines_grow(l))
        return -ENOMEM;
    n = std_stream_read(l->fd, l->data + l->len, l->capacity - l->len);
    if (n < 0)
        return -errno;
    l->len += (size_t)n;
    l->is_end = n == 0;
    return 0;
}

static int input_failed(struct sending *s, int rc)
{
    if (rc == -EMSGSIZE)
        return fail(s, ARB_TOO_LONG);
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
        rc = lines_fill(l, TOOL_MESSAGE_MAX);
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
    for (uint64_t n = 0; !s->is_over && prompt_read(p, &message, &len); n++) {
        s->n_done = n;
        rc = push(s, message, len);
        if (rc == 0)
            rc = take_all(s);
        if (rc == EXIT_PIPE || rc == EX_IOERR)
            break;
        if (rc)
            disconnect(s);
    }
    prompt_close(p);
    return rc;
}

static int send_input(struct sending *s)
{
    struct lines l = {.fd = STDIN_FILENO};
    int rc;

    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        rc = send_prompt(s);
    else
        rc = send_lines(s, &l);
    free(l.data);
    return rc;
}

int send_run(struct tool *t)
{
    struct sending s = {.tool = t};
    int rc;

    tool_parse(t, NULL, NULL);
    rc = t->n_words > 0 ? send_words(&s, t->n_words, t->words) : send_input(&s);
    disconnect(&s);
    return rc;
}
