/*
 * The control socket's clients. Runs in the arbiter; one bounded read or write a wake, no waiting.
 */
#include "arbiter/control_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/answer.h"
#include "arbiter/commands.h"
#include "arbiter/internal.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/passed.h"
#include "base/util.h"
#include "wire/message.h"

static void touch(struct control_client *c)
{
    c->since_ms = clock_mono_ms();
    list_remove(&c->link);
    list_append(&c->arbiter->control.clients, &c->link);
}

/* Answers may be given from inside its own callback, so the memory stays until the sweep. */
void control_client_drop(struct control_client *c)
{
    if (c->is_dead)
        return;
    c->is_dead = true;
    answers_forget(c->arbiter, c);
    ev_io_stop(c->arbiter->loop, &c->io);
    shutdown(c->io.fd, SHUT_RDWR);
    passed_close(&c->io.fd);
    c->arbiter->control.n_clients--;
}

void control_client_free(struct control_client *c)
{
    list_remove(&c->link);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(struct control_client *c)
{
    const bool is_heard = c->refused_ms || c->n_pending < CONTROL_PENDING_MAX;
    const int events = (is_heard && !c->is_eof ? EV_READ : 0) | (c->out_len ? EV_WRITE : 0);

    if (c->is_dead || events == (c->io.events & (EV_READ | EV_WRITE)))
        return;
    ev_io_stop(c->arbiter->loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    if (events)
        ev_io_start(c->arbiter->loop, &c->io);
}

static void flush(struct control_client *c)
{
    ssize_t n;

    if (c->is_dead || c->out_len == 0)
        return;
    n = send(c->io.fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n > 0) {
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
        touch(c);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        control_client_drop(c);
    }
}

/* Every answer is out: one that has half-closed is done, one that is refused hears the end. */
static void end_if_served(struct control_client *c)
{
    if (c->is_dead || c->n_pending || c->out_len || c->in_len)
        return;
    if (c->is_eof)
        control_client_drop(c);
    else if (c->refused_ms)
        shutdown(c->io.fd, SHUT_WR);
}

static void send_line(struct control_client *c, const char *text, size_t len)
{
    char *grown;

    if (c->is_dead)
        return;
    grown =
        c->out_len + len + 1 <= CONTROL_OUTPUT_MAX ? realloc(c->out, c->out_len + len + 1) : NULL;
    if (!grown) {
        control_client_drop(c);
        return;
    }
    c->out = grown;
    memcpy(c->out + c->out_len, text, len);
    c->out[c->out_len + len] = '\n';
    c->out_len += len + 1;
    flush(c);
    end_if_served(c);
    watch(c);
}

void control_client_answer(struct control_client *c, json_t *id, json_t *body)
{
    const bool was_full = c->n_pending-- >= CONTROL_PENDING_MAX;
    json_t *line = json_object();
    char *text;

    json_object_set(line, "id", id);
    json_object_update(line, body);
    text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    if (text)
        send_line(c, text, strlen(text));
    else
        control_client_drop(c);
    free(text);
    json_decref(line);
    if (was_full && c->in_len && !c->is_dead) /* not from here: it may be one of its own lines */
        ev_feed_event(c->arbiter->loop, &c->io, EV_CUSTOM);
}

static const char *explain(const json_error_t *error, char *buf, size_t size)
{
    switch (json_error_code(error)) {
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a text may not have \\u0000 in it";
    case json_error_duplicate_key:
        return "a request has each member only once";
    case json_error_stack_overflow:
        return "a request is nested too deep";
    case json_error_out_of_memory:
        return "there is no memory for it";
    default:
        snprintf(buf, size, "a request is a JSON object, this is none from byte %d on",
                 error->position);
        return buf;
    }
}

/* What it is refused for before its members are looked at; NULL = nothing. */
static const char *find_fault(const json_t *request, const char *line, size_t len,
                              const json_error_t *error, char *buf, size_t size)
{
    if (!request)
        return explain(error, buf, size);
    if (!json_is_object(request))
        return "a request is a JSON object";
    if (message_is_bounded(line, len))
        return NULL;
    snprintf(buf, size, "a request is nested at most %d deep", MESSAGE_DEPTH_MAX);
    return buf;
}

static void on_line(struct control_client *c, const char *line, size_t len)
{
    struct arbiter *a = c->arbiter;
    json_error_t error;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    json_t *id = json_object_get(request, "id");
    char buf[96];
    const char *fault = find_fault(request, line, len, &error, buf, sizeof(buf));
    struct answer *w;

    id = json_is_integer(id) || json_is_string(id) ? json_incref(id) : json_null();
    w = answer_new(a, c, id);
    c->n_pending++;
    if (!w) {
        json_t *body = command_error("busy", "too many requests are waiting: try again");

        control_client_answer(c, id, body);
        json_decref(body);
    } else if (fault) {
        answer_error(a, w, "bad_request", fault);
    } else {
        commands_dispatch(a, w, request);
    }
    json_decref(id);
    json_decref(request);
}

/* Whole lines that are in; no more than may be pending at a time. The last one may have no end. */
static void take_lines(struct control_client *c)
{
    size_t start = 0;

    while (!c->is_dead && start < c->in_len && c->n_pending < CONTROL_PENDING_MAX) {
        const char *line = c->in + start, *end = memchr(line, '\n', c->in_len - start);
        const size_t len = end ? (size_t)(end - line) : c->in_len - start;

        if (!end && !c->is_eof)
            break;
        start += end ? len + 1 : len;
        if (len > 0)
            on_line(c, line, len);
    }
    c->in_len -= start;
    if (c->in_len)
        memmove(c->in, c->in + start, c->in_len);
}

/*
 * It is told why before it loses its connection, and what it still sends is read meanwhile: closed
 * with unread input the connection would be reset, and the reason could be lost.
 */
static void refuse(struct control_client *c)
{
    json_t *body = command_error("bad_request", "a request has at most 65536 bytes, with the "
                                                "newline that ends it");

    log_warning_limited(c->arbiter->log, "control: a request is too long, its client is refused");
    c->in_len = 0;
    c->refused_ms = clock_mono_ms();
    c->n_pending++;
    control_client_answer(c, json_null(), body);
    json_decref(body);
}

static void read_some(struct control_client *c)
{
    size_t room;
    ssize_t n;

    take_lines(c); /* what was postponed leaves its room first */
    if (c->is_dead || (c->n_pending >= CONTROL_PENDING_MAX && !c->refused_ms))
        return;
    if (!c->in)
        c->in = malloc(CONTROL_LINE_MAX);
    if (!c->in) {
        control_client_drop(c);
        return;
    }
    if (c->in_len == CONTROL_LINE_MAX)
        refuse(c);
    if (c->is_dead)
        return;
    room = CONTROL_LINE_MAX - c->in_len;
    n = passed_recv(c->io.fd,
                    &(struct iovec){c->in + c->in_len,
                                    c->refused_ms ? room : MIN(room, (size_t)CONTROL_READ_BYTES)},
                    1);
    if (n == 0) {
        c->is_eof = true;
        take_lines(c);
    } else if (n > 0 && !c->refused_ms) {
        c->in_len += (size_t)n;
        touch(c);
        take_lines(c);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        control_client_drop(c);
    }
}

static void on_client(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct control_client *c = container_of(io, struct control_client, io);

    if (revents & EV_WRITE)
        flush(c);
    if ((revents & EV_READ) && !c->is_dead)
        read_some(c);
    else
        take_lines(c);
    end_if_served(c);
    watch(c);
}

/* Full: who has been silent longest and waits for nothing makes room for an operator. */
static bool make_room(struct control *k)
{
    struct list *link;

    if (k->n_clients < CONTROL_CLIENTS_MAX)
        return true;
    list_for_each (link, &k->clients) {
        struct control_client *c = container_of(link, struct control_client, link);

        if (!c->is_dead && c->n_pending == 0) {
            control_client_drop(c);
            return true;
        }
    }
    return false;
}

struct control_client *control_client_new(struct arbiter *a, int fd)
{
    struct control *k = &a->control;
    struct control_client *c = make_room(k) ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        fds_close(&fd);
        return NULL;
    }
    c->arbiter = a;
    c->since_ms = clock_mono_ms();
    passed_may_come(fd);
    list_append(&k->clients, &c->link);
    k->n_clients++;
    ev_io_init(&c->io, on_client, fd, EV_READ);
    ev_io_start(a->loop, &c->io);
    control_keep_time(a);
    return c;
}

struct control_client *control_client_adopt(struct arbiter *a, int fd, const void *in,
                                            size_t in_len, const void *out, size_t out_len)
{
    struct control_client *c = control_client_new(a, fd);

    if (!c)
        return NULL;
    c->in = malloc(CONTROL_LINE_MAX);
    c->out = malloc(out_len ? out_len : 1);
    if (!c->in || !c->out || in_len > CONTROL_LINE_MAX || out_len > CONTROL_OUTPUT_MAX) {
        control_client_drop(c);
        return NULL;
    }
    if (in_len)
        memcpy(c->in, in, in_len);
    if (out_len)
        memcpy(c->out, out, out_len);
    c->in_len = in_len;
    c->out_len = out_len;
    watch(c);
    return c;
}

static bool is_overdue(const struct control_client *c, uint64_t now_ms)
{
    const uint64_t age_ms = now_ms - c->since_ms;

    if (c->refused_ms)
        return now_ms - c->refused_ms >= CONTROL_LINGER_MS;
    return c->out_len ? age_ms >= CONTROL_STALL_MS : c->n_pending == 0 && age_ms >= CONTROL_IDLE_MS;
}

void control_client_sweep(struct control_client *c, uint64_t now_ms)
{
    if (!c->is_dead && is_overdue(c, now_ms))
        control_client_drop(c);
    take_lines(c);
    end_if_served(c);
    if (c->is_dead)
        control_client_free(c);
}
