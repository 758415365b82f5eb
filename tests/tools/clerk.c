/*
 * A server for tests whose connections have what makes moving hard: state of any size, replies that
 * come later, timeouts. Written as an author would, on the installed headers alone.
 *
 * A line is a request:
 *   set TEXT      keep TEXT; "ok"                    get            TEXT
 *   fill N        keep N bytes more; "ok"            size           how many that are
 *   blank         call the state blank; "ok"         refuse         the next restore fails; "ok"
 *   late MS TEXT  TEXT in MS; not read before        later MS TEXT  the same, and reads on
 *   never         "ok", and owes more for ever       wake MS        "woken" in MS
 *   id, pid       of the connection, the process     all TEXT       TEXT to every connection
 *   crash         SIGSEGV                            quit           "bye", and the end
 *
 * At addresses of the protocol `crier` every line comes back behind "! ".
 */
#include <arbiter/server.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct clerk {
    struct arb_actor *self;
    struct late *lates; /* owned: replies that are owed, and those that nobody will give */
};

struct state {
    char text[128];
    char *filling; /* owned; NULL = none */
    size_t filled; /* bytes of it */
    bool is_refused;
};

struct late {
    struct late *next;
    struct clerk *clerk; /* borrowed */
    struct arb_request *request; /* NULL = ended */
    char text[128];
};

enum { OPENED, MOVED_IN, RESCUED, CLOSED, MOVED_AWAY, GONE };

static const struct arb_counter counters[] = {
    {"opened", "on_open of an accepted connection"},
    {"moved_in", "on_open of one that came from another worker"},
    {"rescued", "on_open of one whose worker had crashed"},
    {"closed", "on_close, except of one that is served elsewhere"},
    {"moved_away", "on_close of one that is served elsewhere"},
    {"gone", "connections that ended before they got a late reply"},
};

static int clerk_start(struct arb_actor *self, const void *conf, void **ret_data)
{
    struct clerk *k = calloc(1, sizeof(*k));

    (void)conf;
    if (!k)
        return -ENOMEM;
    k->self = self;
    *ret_data = k;
    return 0;
}

static void clerk_stop(void *server)
{
    struct clerk *k = server;

    while (k->lates) {
        struct late *l = k->lates;

        k->lates = l->next;
        free(l);
    }
    free(k);
}

static int clerk_on_open(void *server, struct arb_conn *conn, enum arb_origin origin)
{
    static const unsigned counter[] = {OPENED, MOVED_IN, RESCUED};
    struct clerk *k = server;

    (void)conn;
    arb_count(k->self, counter[origin], 1);
    return 0;
}

static void clerk_on_close(void *server, struct arb_conn *conn, enum arb_end why)
{
    struct state *s = arb_conn_state(conn);
    struct clerk *k = server;

    arb_count(k->self, why == ARB_END_MOVED ? MOVED_AWAY : CLOSED, 1);
    free(s->filling);
    s->filling = NULL;
}

/* ---- late replies ---- */

static void on_gone(struct arb_request *request, void *data)
{
    struct late *l = data;

    (void)request;
    arb_count(l->clerk->self, GONE, 1);
}

static void on_due(void *data)
{
    struct late *l = data;

    arb_request_reply(l->request, l->text, strlen(l->text));
    arb_request_end(l->request, ARB_GO_ON);
    l->request = NULL;
}

/* Freed with the worker: this is a test. */
static void owe(struct clerk *k, struct arb_conn *conn, unsigned ms, const char *text)
{
    struct late *l = calloc(1, sizeof(*l));

    if (!l)
        return;
    l->next = k->lates;
    k->lates = l;
    l->clerk = k;
    snprintf(l->text, sizeof(l->text), "%.120s\n", text);
    l->request = arb_request_new(conn, on_gone, l);
    if (l->request && ms > 0)
        arb_timer_new(k->self, ms, 0, on_due, l);
}

/* ---- requests ---- */

static void send_text(struct arb_conn *conn, void *text)
{
    arb_conn_send(conn, text, strlen(text));
}

static bool fill(struct state *s, size_t bytes)
{
    char *filling = bytes > 0 ? realloc(s->filling, s->filled + bytes) : NULL;

    if (!filling)
        return bytes == 0;
    memset(filling + s->filled, 'f', bytes);
    s->filling = filling;
    s->filled += bytes;
    return true;
}

/* Returns what the arguments of @line are, or NULL if it is not about @verb. */
static const char *after(const char *line, const char *verb)
{
    const size_t len = strlen(verb);

    if (strncmp(line, verb, len) != 0 || (line[len] != ' ' && line[len] != '\0'))
        return NULL;
    return line[len] == ' ' ? line + len + 1 : line + len;
}

static enum arb_next serve_line(struct clerk *k, struct arb_conn *conn, const char *line)
{
    struct state *s = arb_conn_state(conn);
    char reply[160] = "ok", *text = NULL;
    const char *args;

    if ((args = after(line, "set")) != NULL) {
        snprintf(s->text, sizeof(s->text), "%s", args);
        arb_conn_set_blank(conn, false);
    } else if (after(line, "get")) {
        snprintf(reply, sizeof(reply), "%s", s->text);
    } else if ((args = after(line, "fill")) != NULL) {
        fill(s, strtoul(args, NULL, 10));
        arb_conn_set_blank(conn, false);
    } else if (after(line, "size")) {
        snprintf(reply, sizeof(reply), "%zu", s->filled);
    } else if (after(line, "blank")) {
        arb_conn_set_blank(conn, true);
    } else if (after(line, "refuse")) {
        s->is_refused = true;
    } else if ((args = after(line, "late")) != NULL || (args = after(line, "later")) != NULL) {
        const unsigned ms = (unsigned)strtoul(args, &text, 10);

        owe(k, conn, ms, *text == ' ' ? text + 1 : text);
        return strncmp(line, "later", 5) == 0 ? ARB_GO_ON : ARB_WAIT;
    } else if (after(line, "never")) {
        send_text(conn, (char[]){"ok\n"});
        owe(k, conn, 0, "");
        return ARB_GO_ON;
    } else if ((args = after(line, "wake")) != NULL) {
        arb_conn_timeout(conn, (uint32_t)strtoul(args, NULL, 10));
    } else if (after(line, "id")) {
        snprintf(reply, sizeof(reply), "%" PRIu64, arb_conn_id(conn));
    } else if (after(line, "pid")) {
        snprintf(reply, sizeof(reply), "%d", (int)getpid());
    } else if ((args = after(line, "all")) != NULL) {
        snprintf(reply, sizeof(reply), "%.100s\n", args);
        arb_conn_each(k->self, send_text, reply);
        return ARB_GO_ON;
    } else if (after(line, "crash")) {
        raise(SIGSEGV);
    } else if (after(line, "quit")) {
        send_text(conn, (char[]){"bye\n"});
        return ARB_CLOSE;
    } else {
        snprintf(reply, sizeof(reply), "what?");
    }
    strcat(reply, "\n");
    send_text(conn, reply);
    return ARB_GO_ON;
}

static void clerk_on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                          struct arb_output *out)
{
    const uint8_t *end;
    char line[256];

    while (out->next == ARB_GO_ON && out->consumed < in->len &&
           (end = memchr(in->data + out->consumed, '\n', in->len - out->consumed)) != NULL) {
        const size_t len = (size_t)(end - in->data) - out->consumed;

        snprintf(line, sizeof(line), "%.*s", (int)len, (const char *)in->data + out->consumed);
        out->consumed += len + 1;
        out->messages++;
        out->next = serve_line(server, conn, line);
    }
}

static void clerk_on_timeout(void *server, struct arb_conn *conn)
{
    (void)server;
    send_text(conn, (char[]){"woken\n"});
}

/* ---- state ---- */

static size_t clerk_save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    const struct state *s = arb_conn_state(conn);
    const size_t len = sizeof(*s) + s->filled;

    (void)server;
    if (len > size)
        return len;
    memcpy(buf, s, sizeof(*s));
    if (s->filled > 0)
        memcpy((char *)buf + sizeof(*s), s->filling, s->filled);
    return len;
}

static int clerk_restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                         size_t len)
{
    struct state *s = arb_conn_state(conn), saved;

    (void)server;
    if (version != 7 || len < sizeof(saved))
        return -EPROTO;
    memcpy(&saved, data, sizeof(saved));
    if (len != sizeof(saved) + saved.filled || saved.is_refused)
        return -EPROTO;
    memcpy(s->text, saved.text, sizeof(s->text));
    return fill(s, saved.filled) ? 0 : -ENOMEM;
}

static const struct arb_protocol clerk =
    ARB_PROTOCOL(.name = "clerk", .counters = ARB_COUNTERS(counters), .start = clerk_start,
                 .stop = clerk_stop, .conn_size = sizeof(struct state), .on_open = clerk_on_open,
                 .on_data = clerk_on_data, .on_timeout = clerk_on_timeout,
                 .on_close = clerk_on_close, .state_version = 7, .save = clerk_save,
                 .restore = clerk_restore);

/* ---- a second protocol, without state: "TEXT" is answered with "! TEXT" ---- */

static void crier_on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                          struct arb_output *out)
{
    const uint8_t *end;

    (void)server;
    while (out->consumed < in->len &&
           (end = memchr(in->data + out->consumed, '\n', in->len - out->consumed)) != NULL) {
        const size_t len = (size_t)(end - in->data) + 1 - out->consumed;

        arb_conn_send(conn, "! ", 2);
        arb_conn_send(conn, in->data + out->consumed, len);
        out->consumed += len;
        out->messages++;
    }
}

static const struct arb_protocol crier = ARB_PROTOCOL(.name = "crier", .on_data = crier_on_data);

static const struct arb_protocol *const protocols[] = {&clerk, &crier, NULL};

static const struct arb_program program =
    ARB_PROGRAM(.name = "clerk", .version = "1", .doc = "Keeps what it is told.",
                .protocols = protocols);

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
