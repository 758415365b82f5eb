/*
 * The control socket's clients. Runs in the arbiter; one bounded read or write a wake, no waiting.
 */
#include "arbiter/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/answer.h"
#include "arbiter/commands.h"
#include "arbiter/internal.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

static struct control_client *client_at(struct list *link)
{
    return container_of(link, struct control_client, link);
}

static void touch(struct control_client *c)
{
    c->since_ms = clock_mono_ms();
    list_remove(&c->link);
    list_append(&c->arbiter->control.clients, &c->link);
}

/* Answers may be given from inside its own callback, so the memory stays until the sweep. */
static void drop(struct control_client *c)
{
    if (c->is_dead)
        return;
    c->is_dead = true;
    answers_forget(c->arbiter, c);
    ev_io_stop(c->arbiter->loop, &c->io);
    fds_close(&c->io.fd);
    c->arbiter->control.n_clients--;
}

static void client_free(struct control_client *c)
{
    list_remove(&c->link);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(struct control_client *c)
{
    const int events = (c->n_pending < CONTROL_PENDING_MAX && !c->is_eof ? EV_READ : 0) |
                       (c->out_len ? EV_WRITE : 0);

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
        drop(c);
    }
}

/* Half-closed, and every answer is out. */
static void drop_if_served(struct control_client *c)
{
    if (c->is_eof && c->n_pending == 0 && c->out_len == 0 && c->in_len == 0)
        drop(c);
}

static void send_line(struct control_client *c, const char *text, size_t len)
{
    char *grown;

    if (c->is_dead)
        return;
    grown =
        c->out_len + len + 1 <= CONTROL_OUTPUT_MAX ? realloc(c->out, c->out_len + len + 1) : NULL;
    if (!grown) {
        drop(c);
        return;
    }
    c->out = grown;
    memcpy(c->out + c->out_len, text, len);
    c->out[c->out_len + len] = '\n';
    c->out_len += len + 1;
    flush(c);
    drop_if_served(c);
    watch(c);
}

void control_answer(struct control_client *c, json_t *id, json_t *body)
{
    json_t *line = json_object();
    char *text;

    c->n_pending--;
    json_object_set(line, "id", id);
    json_object_update(line, body);
    text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    if (text)
        send_line(c, text, strlen(text));
    else
        drop(c);
    free(text);
    json_decref(line);
}

static void on_line(struct control_client *c, const char *line, size_t len)
{
    struct arbiter *a = c->arbiter;
    json_error_t error;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    json_t *id = json_object_get(request, "id");
    struct answer *w;

    id = json_is_integer(id) || json_is_string(id) ? json_incref(id) : json_null();
    w = answer_new(a, c, id);
    c->n_pending++;
    if (!w) {
        json_t *body = command_error("busy", "too many requests are waiting: try again");

        control_answer(c, id, body);
        json_decref(body);
    } else if (!json_is_object(request)) {
        answer_error(a, w, "bad_request", request ? "a request is a JSON object" : error.text);
    } else {
        commands_dispatch(a, w, request);
    }
    json_decref(id);
    json_decref(request);
}

/* Whole lines that are in; no more than may be pending at a time. */
static void take_lines(struct control_client *c)
{
    size_t start = 0;
    char *end;

    while (!c->is_dead && c->n_pending < CONTROL_PENDING_MAX &&
           (end = memchr(c->in + start, '\n', c->in_len - start))) {
        size_t len = (size_t)(end - (c->in + start));

        if (len > 0)
            on_line(c, c->in + start, len);
        start += len + 1;
    }
    c->in_len -= start;
    memmove(c->in, c->in + start, c->in_len);
}

static void read_some(struct control_client *c)
{
    ssize_t n;

    if (!c->in)
        c->in = malloc(CONTROL_LINE_MAX);
    if (!c->in || c->in_len == CONTROL_LINE_MAX) {
        log_warning_limited(c->arbiter->log,
                            "control: a request is too long, its client is dropped");
        drop(c);
        return;
    }
    n = recv(c->io.fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, 0);
    if (n > 0) {
        c->in_len += (size_t)n;
        touch(c);
        take_lines(c);
    } else if (n == 0) {
        c->is_eof = true;
        take_lines(c);
        if (c->in_len > 0 && !memchr(c->in, '\n', c->in_len)) {
            on_line(c, c->in, c->in_len); /* the last line may have no end */
            c->in_len = 0;
        }
    } else if (errno != EAGAIN && errno != EINTR) {
        drop(c);
    }
}

static void on_client(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct control_client *c = container_of(io, struct control_client, io);

    if (revents & EV_WRITE)
        flush(c);
    if ((revents & EV_READ) && !c->is_dead)
        read_some(c);
    drop_if_served(c);
    watch(c);
}

static bool is_allowed(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

/* Full: who has been silent longest and waits for nothing makes room for an operator. */
static bool make_room(struct control *k)
{
    struct list *link;

    if (k->n_clients < CONTROL_CLIENTS_MAX)
        return true;
    list_for_each (link, &k->clients) {
        if (!client_at(link)->is_dead && client_at(link)->n_pending == 0) {
            drop(client_at(link));
            return true;
        }
    }
    return false;
}

static struct control_client *client_new(struct arbiter *a, int fd)
{
    struct control *k = &a->control;
    struct control_client *c = make_room(k) ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        fds_close(&fd);
        return NULL;
    }
    c->arbiter = a;
    c->since_ms = clock_mono_ms();
    list_append(&k->clients, &c->link);
    k->n_clients++;
    ev_io_init(&c->io, on_client, fd, EV_READ);
    ev_io_start(a->loop, &c->io);
    control_keep_time(a);
    return c;
}

static void accept_client(struct arbiter *a, int fd)
{
    if (is_allowed(fd)) {
        client_new(a, fd);
        return;
    }
    log_warning_limited(a->log, "control: a peer of another user is refused");
    fds_close(&fd);
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    for (int i = 0; i < CONTROL_ACCEPTS_A_WAKE; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accept_client(a, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* Level-triggered: without a pause this would spin. The sweep takes it up again. */
            ev_io_stop(loop, io);
            control_keep_time(a);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static bool is_overdue(const struct control_client *c, uint64_t now_ms)
{
    const uint64_t age_ms = now_ms - c->since_ms;

    return c->out_len ? age_ms >= CONTROL_STALL_MS : c->n_pending == 0 && age_ms >= CONTROL_IDLE_MS;
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);
    struct control *k = &a->control;
    const uint64_t now_ms = clock_mono_ms();
    struct list *link, *next;
    bool is_needed = answers_sweep(a, now_ms);

    list_for_each_safe (link, next, &k->clients) {
        struct control_client *c = client_at(link);

        if (!c->is_dead && is_overdue(c, now_ms))
            drop(c);
        if (!c->is_dead && c->in_len > 0 && c->n_pending < CONTROL_PENDING_MAX)
            take_lines(c);
        drop_if_served(c);
        if (c->is_dead)
            client_free(c);
    }
    if (k->listener && !ev_is_active(&k->io))
        ev_io_start(loop, &k->io);
    if (!is_needed && list_is_empty(&k->clients))
        ev_timer_stop(loop, timer);
}

void control_keep_time(struct arbiter *a)
{
    if (!ev_is_active(&a->control.sweep))
        ev_timer_again(a->loop, &a->control.sweep);
}

static void begin_to_accept(struct arbiter *a, const char *path)
{
    struct control *k = &a->control;

    snprintf(k->path, sizeof(k->path), "%s", path);
    ev_io_init(&k->io, on_acceptable, k->listener->fd, EV_READ);
    ev_io_start(a->loop, &k->io);
}

static int listen_at(struct arbiter *a, const char *path, char *why, size_t why_size)
{
    struct control *k = &a->control;
    char text[RUNTIME_PATH_MAX + 8];
    mode_t mask;
    int rc;

    snprintf(text, sizeof(text), "unix:%s", path);
    mask = umask(0177); /* from its first moment nobody else may connect */
    rc = listener_open(text, CONTROL_BACKLOG, 0, &k->listener, why, why_size);
    umask(mask);
    if (rc == -EADDRINUSE) {
        snprintf(why, why_size,
                 "arbiter.control %s: another server has it: stop that one or choose another path",
                 path);
        rc = -EBUSY;
    }
    if (rc < 0)
        return rc;
    begin_to_accept(a, path);
    return 0;
}

static void listen_at_default(struct arbiter *a)
{
    struct control *k = &a->control;
    struct runtime_path place;
    char why[512] = "no runtime directory";
    int rc = runtime_path_default(getenv("RUNTIME_DIRECTORY"), getenv("XDG_RUNTIME_DIR"),
                                  geteuid() == 0, &place);

    if (rc == 0 && place.is_ours && mkdir(place.dir, 0755) == 0)
        snprintf(k->made_dir, sizeof(k->made_dir), "%s", place.dir);
    if (rc == 0)
        rc = listen_at(a, place.socket, why, sizeof(why));
    if (rc < 0)
        log_info(a->log, "no control socket", F_STR("reason", why));
}

static void init(struct control *k)
{
    list_init(&k->clients);
    ev_init(&k->sweep, on_sweep);
    k->sweep.repeat = CONTROL_SWEEP_MS / 1e3;
}

int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size)
{
    init(&a->control);
    if (!*setting)
        return 0;
    if (strcmp(setting, "auto") != 0)
        return listen_at(a, setting, why, why_size);
    listen_at_default(a);
    return 0;
}

void control_adopt(struct arbiter *a, const char *path, const char *made_dir)
{
    struct control *k = &a->control;

    init(k);
    snprintf(k->made_dir, sizeof(k->made_dir), "%s", made_dir);
    if (k->listener)
        begin_to_accept(a, path);
}

struct control_client *control_adopt_client(struct arbiter *a, int fd, const void *in,
                                            size_t in_len, const void *out, size_t out_len)
{
    struct control_client *c = client_new(a, fd);

    if (!c)
        return NULL;
    c->in = malloc(CONTROL_LINE_MAX);
    c->out = malloc(out_len ? out_len : 1);
    if (!c->in || !c->out) {
        drop(c);
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

void control_close(struct arbiter *a)
{
    struct control *k = &a->control;

    if (!k->clients.next)
        return;
    ev_timer_stop(a->loop, &k->sweep);
    while (!list_is_empty(&k->clients)) {
        struct control_client *c = client_at(k->clients.next);

        drop(c);
        client_free(c);
    }
    if (k->listener) {
        ev_io_stop(a->loop, &k->io);
        listener_close(k->listener);
        k->listener = NULL;
    }
    if (k->made_dir[0])
        rmdir(k->made_dir); /* fails if somebody else uses it, which is right */
}
