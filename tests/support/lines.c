/*
 * The protocol of lines.
 */
#include "support/lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const origins[] = {
    [ARB_ACCEPTED] = "accepted", [ARB_MOVED] = "moved", [ARB_RESCUED] = "rescued"};

static const char *const ends[] = {
    [ARB_END_PEER] = "peer",       [ARB_END_PARTIAL] = "partial", [ARB_END_CLOSED] = "closed",
    [ARB_END_REFUSED] = "refused", [ARB_END_RESET] = "reset",     [ARB_END_TIMEOUT] = "timeout",
    [ARB_END_LIMIT] = "limit",     [ARB_END_DRAINED] = "drained", [ARB_END_CUT] = "cut",
    [ARB_END_MOVED] = "moved",     [ARB_END_BROKEN] = "broken",
};

__attribute__((format(printf, 2, 3))) static void note(struct lines *s, const char *format, ...)
{
    const size_t len = strlen(s->log);
    va_list args;

    va_start(args, format);
    if (len > 0 && len + 1 < sizeof(s->log))
        s->log[len] = ' ';
    vsnprintf(s->log + len + (len > 0), sizeof(s->log) - len - 1, format, args);
    va_end(args);
}

const char *lines_told(struct lines *s)
{
    static char told[sizeof(s->log)];

    snprintf(told, sizeof(told), "%s", s->log);
    s->log[0] = '\0';
    memset(s->log, 0, sizeof(s->log));
    return told;
}

static void on_gone(struct arb_request *request, void *data)
{
    struct lines *s = data;

    note(s, arb_request_conn(request) ? "gone?" : "gone");
}

static struct arb_request *owe(struct lines *s, struct arb_conn *conn)
{
    struct arb_request *request = arb_request_new(conn, on_gone, s);

    if (!request || s->n_requests == LINES_REQUESTS)
        note(s, "no-request");
    else
        s->requests[s->n_requests++] = request;
    return request;
}

int lines_answer(struct lines *s, const char *text, enum arb_next next)
{
    struct arb_request *request = s->requests[s->n_ended++];
    const int rc = arb_request_reply(request, text, strlen(text));

    arb_request_end(request, next);
    return rc;
}

static void reply(struct lines *s, const char *text, size_t len)
{
    if (s->reply_len + len > sizeof(s->reply))
        abort();
    memcpy(s->reply + s->reply_len, text, len);
    s->reply_len += len;
}

void lines_send_to(struct arb_conn *conn, void *data)
{
    const struct text *t = data;

    t->server->sent = arb_conn_send(conn, t->bytes, t->len);
}

static void close_it(struct arb_conn *conn, void *data)
{
    (void)data;
    arb_conn_close(conn, ARB_CLOSE);
}

static void lie(struct arb_output *out, const struct arb_input *in, unsigned which)
{
    switch (which) {
    case 1:
        out->consumed = in->len + 1;
        break;
    case 2:
        out->resume = in->len - out->consumed + 1;
        break;
    case 3:
        out->reply_len = 10;
        break;
    case 4:
        out->reply = in->data + 1;
        out->reply_len = in->len;
        break;
    default:
        out->next = (enum arb_next)7;
    }
}

/* Returns false if what follows the line is to wait. */
static bool do_line(struct lines *s, struct arb_conn *conn, const char *line, size_t len,
                    struct arb_output *out)
{
    struct text rest = {s, line + 1, len - 1};

    switch (len > 0 ? line[0] : '?') {
    case '=':
        reply(s, rest.bytes, rest.len);
        break;
    case '!':
        s->sent = arb_conn_send(conn, rest.bytes, rest.len);
        break;
    case '*':
        arb_conn_each(s->actor, lines_send_to, &rest);
        break;
    case 'k':
        arb_conn_each(s->actor, close_it, NULL);
        break;
    case 'W':
        arb_conn_send(conn, s->reply, s->reply_len); /* what precedes it */
        s->reply_len = 0;
        out->next = ARB_WAIT;
        if (owe(s, conn))
            lines_answer(s, "now;", ARB_GO_ON);
        return false;
    case 'w':
        out->next = ARB_WAIT;
        owe(s, conn);
        return false;
    case 'r':
        owe(s, conn);
        break;
    case 'q':
    case 'x':
        out->next = line[0] == 'q' ? ARB_CLOSE : ARB_REFUSE;
        return false;
    case 'c':
    case 'C':
        arb_conn_close(conn, line[0] == 'c' ? ARB_CLOSE : ARB_REFUSE);
        break;
    case 't':
        arb_conn_timeout(conn, (uint32_t)strtoul(rest.bytes, NULL, 10));
        break;
    case 'b':
    case 'B':
        arb_conn_set_blank(conn, line[0] == 'b');
        break;
    default:
        reply(s, "?", 1);
    }
    return true;
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    struct lines *s = server;
    struct lines_conn *state = arb_conn_state(conn);
    bool goes_on = true;

    s->n_calls++;
    s->reply_len = 0;
    if (in->is_end)
        note(s, "end");
    while (goes_on && out->consumed < in->len) {
        const char *line = (const char *)in->data + out->consumed;
        const size_t left = in->len - out->consumed;
        const char *newline = memchr(line, '\n', left);
        const bool is_rest = !newline && in->is_end && s->answers_rest;
        const size_t len = newline ? (size_t)(newline - line) : left;

        if (!newline && !is_rest)
            break;
        out->consumed += newline ? len + 1 : len;
        out->messages++;
        state->n_lines++;
        if (len == 2 && line[0] == 'l') {
            lie(out, in, (unsigned)(line[1] - '0'));
            return;
        }
        goes_on = do_line(s, conn, line, len, out);
    }
    out->reply = s->reply;
    out->reply_len = s->reply_len;
}

static int on_open(void *server, struct arb_conn *conn, enum arb_origin origin)
{
    struct lines *s = server;
    const struct lines_conn *state = arb_conn_state(conn);

    note(s, "open:%s%s", origins[origin], state->n_lines == 0 ? "" : "?");
    return s->refuses;
}

static void on_close(void *server, struct arb_conn *conn, enum arb_end why)
{
    struct lines *s = server;
    const int rc = arb_conn_send(conn, "x", 1);

    note(s, "close:%s%s", ends[why], rc < 0 ? "" : "?");
}

static void on_timeout(void *server, struct arb_conn *conn)
{
    note(server, "timeout");
    arb_conn_send(conn, "T", 1);
}

static void on_writable(void *server, struct arb_conn *conn)
{
    note(server, "writable%s", arb_conn_unsent(conn) < ARB_HIGH_WATER / 2 ? "" : "?");
}

static void on_drain(void *server, struct arb_conn *conn)
{
    struct lines *s = server;

    note(s, "drain");
    if (s->says_goodbye)
        arb_conn_send(conn, "bye", 3);
}

static size_t save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    (void)server;
    if (size >= sizeof(struct lines_conn))
        memcpy(buf, arb_conn_state(conn), sizeof(struct lines_conn));
    return sizeof(struct lines_conn);
}

static int restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                   size_t len)
{
    (void)server, (void)version;
    if (len != sizeof(struct lines_conn))
        return -1;
    memcpy(arb_conn_state(conn), data, len);
    return 0;
}

const struct arb_protocol lines_protocol =
    ARB_PROTOCOL(.name = "lines", .conn_size = sizeof(struct lines_conn), .on_open = on_open,
                 .on_data = on_data, .on_timeout = on_timeout, .on_writable = on_writable,
                 .on_drain = on_drain, .on_close = on_close, .save = save, .restore = restore);
