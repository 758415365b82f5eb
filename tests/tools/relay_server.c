/*
 * A tiny program whose connections publish and subscribe, for tests of the messages between actors.
 * Lines: "SUB"; "PUB TEXT", which waits for credit if there is none; "TO ACTOR TEXT"; "BIG BYTES",
 * which publishes so many; "WHO". A subscriber gets "NUMBER TEXT" for each message that was
 * published, and "to TEXT" for one to its actor. The arbiter, and an actor of the kind `oracle`,
 * answer a text that ends with a question mark to the actor that it came from.
 */
#include <arbiter/server.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct relay_server {
    struct arb_actor *self;
    struct parked *first, **last; /* messages that wait for credit */
};

struct state {
    bool is_subscribed;
};

struct parked {
    struct parked *next;
    struct arb_request *request;
    size_t len;
    char data[];
};

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    struct relay_server *s = calloc(1, sizeof(*s));

    (void)conf;
    if (!s)
        return -ENOMEM;
    s->self = self;
    s->last = &s->first;
    *ret_server = s;
    return 0;
}

static void stop(void *server)
{
    struct relay_server *s = server;

    while (s->first) {
        struct parked *p = s->first;

        s->first = p->next;
        arb_request_end(p->request, ARB_GO_ON);
        free(p);
    }
    free(s);
}

/* ---- publishing ---- */

static const char *outcome(int rc)
{
    return rc == 0 ? "+OK\n" : rc == -EMSGSIZE ? "-EMSGSIZE\n" : "-EAGAIN\n";
}

static void on_can_send(void *server)
{
    struct relay_server *s = server;

    while (s->first) {
        struct parked *p = s->first;
        struct arb_conn *conn = arb_request_conn(p->request);
        const int rc = conn ? arb_send(s->self, conn, "all", "news", p->data, p->len) : 0;

        if (rc == -EAGAIN)
            return;
        arb_request_reply(p->request, outcome(rc), strlen(outcome(rc)));
        arb_request_end(p->request, ARB_GO_ON);
        s->first = p->next;
        if (!s->first)
            s->last = &s->first;
        free(p);
    }
}

/* Returns whether the connection has to wait. */
static bool publish(struct relay_server *s, struct arb_conn *conn, const char *text, size_t len)
{
    const int rc = arb_send(s->self, conn, "all", "news", text, len);
    struct parked *p;

    if (rc != -EAGAIN) {
        arb_conn_send(conn, outcome(rc), strlen(outcome(rc)));
        return false;
    }
    p = malloc(sizeof(*p) + len);
    if (!p || !(p->request = arb_request_new(conn, NULL, NULL)))
        abort();
    p->next = NULL;
    p->len = len;
    memcpy(p->data, text, len);
    *s->last = p;
    s->last = &p->next;
    return true;
}

static bool publish_big(struct relay_server *s, struct arb_conn *conn, const char *number)
{
    static char data[ARB_MESSAGE_MAX + 1];
    const size_t len = strtoul(number, NULL, 10);

    memset(data, 'x', sizeof(data));
    return publish(s, conn, data, len <= sizeof(data) ? len : sizeof(data));
}

static void send_to(struct relay_server *s, struct arb_conn *conn, char *rest)
{
    char *text = strchr(rest, ' ');
    const char *reply = "-what?\n";

    if (text) {
        *text++ = '\0';
        reply = outcome(arb_send(s->self, conn, rest, "direct", text, strlen(text)));
    }
    arb_conn_send(conn, reply, strlen(reply));
}

/* One line. Returns whether the connection has to wait. */
static bool run(struct relay_server *s, struct arb_conn *conn, char *line)
{
    char reply[264];

    if (strncmp(line, "PUB ", 4) == 0)
        return publish(s, conn, line + 4, strlen(line + 4));
    if (strncmp(line, "BIG ", 4) == 0)
        return publish_big(s, conn, line + 4);
    if (strncmp(line, "TO ", 3) == 0) {
        send_to(s, conn, line + 3);
        return false;
    }
    if (strcmp(line, "SUB") == 0)
        ((struct state *)arb_conn_state(conn))->is_subscribed = true;
    snprintf(reply, sizeof(reply), "+%s\n",
             strcmp(line, "WHO") == 0 ? arb_actor_id(s->self) : line);
    arb_conn_send(conn, reply, strlen(reply));
    return false;
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    const char *data = (const char *)in->data, *end;

    while (out->next == ARB_GO_ON &&
           (end = memchr(data + out->consumed, '\n', in->len - out->consumed))) {
        char line[256];

        snprintf(line, sizeof(line), "%.*s", (int)(end - data - (long)out->consumed),
                 data + out->consumed);
        out->consumed = (size_t)(end - data) + 1;
        out->messages++;
        if (run(server, conn, line))
            out->next = ARB_WAIT;
    }
    if (out->next == ARB_GO_ON && in->len - out->consumed > 200)
        out->next = ARB_REFUSE;
}

/* ---- subscribing ---- */

static void deliver(struct arb_conn *conn, void *data)
{
    const struct arb_message *m = data;
    const struct state *state = arb_conn_state(conn);
    char line[320];

    if (!state->is_subscribed)
        return;
    if (strcmp(m->topic, "news") == 0)
        snprintf(line, sizeof(line), "%llu %.*s\n", (unsigned long long)m->number,
                 m->len < 256 ? (int)m->len : 3, (const char *)m->data);
    else
        snprintf(line, sizeof(line), "to %.*s\n", (int)m->len, (const char *)m->data);
    arb_conn_send(conn, line, strlen(line));
}

static void on_message(void *server, struct arb_conn *conn, const struct arb_message *message)
{
    const struct relay_server *s = server;
    void *m = (void *)(uintptr_t)message;

    if (conn)
        deliver(conn, m);
    else
        arb_conn_each(s->self, deliver, m);
}

static size_t save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    const struct state *state = arb_conn_state(conn);

    (void)server;
    if (size > 0)
        *(uint8_t *)buf = state->is_subscribed;
    return 1;
}

static int restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                   size_t len)
{
    struct state *state = arb_conn_state(conn);

    (void)server;
    if (version != 1 || len != 1)
        return -EBADMSG;
    state->is_subscribed = *(const uint8_t *)data;
    return 0;
}

static const struct arb_protocol protocol =
    ARB_PROTOCOL(.name = "relay", .start = start, .stop = stop, .on_data = on_data,
                 .conn_size = sizeof(struct state), .state_version = 1, .save = save,
                 .restore = restore, .on_message = on_message, .on_can_send = on_can_send);
static const struct arb_protocol *const protocols[] = {&protocol, NULL};

/* ---- other actors ---- */

static int oracle_start(struct arb_actor *self, const void *const *confs, void **ret_data)
{
    (void)confs;
    *ret_data = self;
    return 0;
}

static void oracle_on_message(void *data, const struct arb_message *m)
{
    struct arb_actor *self = data;
    char answer[64];

    if (strcmp(m->topic, "direct") != 0 || m->len == 0 ||
        ((const char *)m->data)[m->len - 1] != '?')
        return;
    snprintf(answer, sizeof(answer), "42 says %s", arb_actor_id(self));
    if (arb_send(self, NULL, m->from, "direct", answer, strlen(answer)) != 0)
        abort();
}

static const struct arb_kind oracle =
    ARB_KIND(.name = "oracle", .count = 1, .start = oracle_start, .on_message = oracle_on_message);
static const struct arb_kind *const kinds[] = {&oracle, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "relay-server", .version = "1", .doc = "For tests.", .protocols = protocols,
                .kinds = kinds, .init = oracle_start, .on_message = oracle_on_message);

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
