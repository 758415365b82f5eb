/*
 * The control socket: where it is, who may connect, what its clients say and hear, and the sweep
 * that ends what takes too long. Runs in the arbiter; one bounded read or write a wake, no waiting.
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
#include "actor/io_watch.h"
#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/passed.h"
#include "base/title.h"
#include "base/util.h"
#include "wire/message.h"

#define WHO_MAY_CONNECT                                                                            \
    "only root, the server's own user and the members of arbiter.control_group and "               \
    "arbiter.steer_group may connect"

/* -1 = none. Where only those who steer are named, the socket is theirs. */
static gid_t group_of_control(const struct config *c)
{
    return *c->control_access.group ? c->control_access.gid : c->steer_gid;
}

/* ---- a client ---- */

static void client_touch(struct control_client *c)
{
    c->since_ms = clock_mono_ms();
    list_remove(&c->link);
    list_append(&c->arbiter->control.clients, &c->link);
}

/* Answers may be given from inside its own callback, so the memory stays until the sweep. */
static void client_drop(struct control_client *c)
{
    if (c->is_dead)
        return;
    c->is_dead = true;
    answers_forget(&c->arbiter->answers, &c->asker);
    ev_io_stop(c->arbiter->loop, &c->io);
    shutdown(c->io.fd, SHUT_RDWR);
    passed_close(&c->io.fd);
    c->arbiter->control.n_clients--;
    c->arbiter->control.n_askers -= c->is_asker;
}

static void client_free(struct control_client *c)
{
    list_remove(&c->link);
    free(c->in);
    free(c->out);
    free(c);
}

static bool is_full(const struct control_client *c)
{
    return c->n_pending >= (c->is_asker ? CONTROL_ASKER_PENDING_MAX : CONTROL_PENDING_MAX);
}

static void client_watch(struct control_client *c)
{
    const bool is_heard = c->refused_ms || !is_full(c);
    const int events = (is_heard && !c->is_eof ? EV_READ : 0) | (c->out_len ? EV_WRITE : 0);

    if (!c->is_dead)
        io_watch(c->arbiter->loop, &c->io, c->io.fd, events);
}

static void client_flush(struct control_client *c)
{
    ssize_t n;

    if (c->is_dead || c->out_len == 0)
        return;
    n = send(c->io.fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n > 0) {
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
        client_touch(c);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        client_drop(c);
    }
}

/* Every answer is out: one that has half-closed is done, one that is refused hears the end. */
static void end_if_served(struct control_client *c)
{
    if (c->is_dead || c->n_pending || c->out_len || c->in_len)
        return;
    if (c->is_eof)
        client_drop(c);
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
        client_drop(c);
        return;
    }
    c->out = grown;
    memcpy(c->out + c->out_len, text, len);
    c->out[c->out_len + len] = '\n';
    c->out_len += len + 1;
    client_flush(c);
    end_if_served(c);
    client_watch(c);
}

/* One line: {"id":@id, ...@body}. Drops one that does not read. */
static void client_on_answer(struct asker *asker, json_t *id, json_t *body)
{
    struct control_client *c = container_of(asker, struct control_client, asker);
    const bool was_full = is_full(c);
    json_t *line = json_object();
    char *text;

    c->n_pending--;
    json_object_set(line, "id", id);
    json_object_update(line, body);
    text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    if (text)
        send_line(c, text, strlen(text));
    else
        client_drop(c);
    free(text);
    json_decref(line);
    if (was_full && c->in_len && !c->is_dead) /* not from here: it may be one of its own lines */
        ev_feed_event(c->arbiter->loop, &c->io, EV_CUSTOM);
}

static const char *explain_json(const json_error_t *error, char *buf, size_t size)
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
        return explain_json(error, buf, size);
    if (!json_is_object(request))
        return "a request is a JSON object";
    if (message_is_bounded(line, len))
        return NULL;
    snprintf(buf, size, "a request is nested at most %d deep", MESSAGE_DEPTH_MAX);
    return buf;
}

static struct rights rights_now(const struct arbiter *a)
{
    const struct config *config = a->live->config;
    struct rights r = a->control.rights;

    r.own = geteuid();
    r.asker = config->control_access.uid;
    r.askers = group_of_control(config);
    r.steerers = config->steer_gid;
    return r;
}

/* Rights may have changed since it connected. */
static void give_request(struct control_client *c, struct answer *w, json_t *request)
{
    static const unsigned callers[] = {
        [RIGHT_ASK] = COMMAND_BY_ASKER, [RIGHT_STEER] = COMMAND_BY_OPERATOR};
    struct arbiter *a = c->arbiter;
    const struct rights rights = rights_now(a);
    const char *command = json_string_value(json_object_get(request, "command"));
    struct ucred peer;
    const enum right right = rights_of_peer(&rights, c->io.fd, &peer);

    if (right == RIGHT_NONE)
        answer_error(w, "not_allowed", "you may ask nothing any more: " WHO_MAY_CONNECT);
    else if (a->control.on_request(a, w, callers[right], request) == 0)
        return;
    log_warning_limited(a->log, "control: a command is refused", F_UINT("uid", peer.uid),
                        F_INT("peer_pid", peer.pid), F_STR("command", command ? command : ""));
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
    w = answer_new(&a->answers, &c->asker, id);
    c->n_pending++;
    if (!w) {
        json_t *body = command_error("busy", "too many requests are waiting: try again");

        client_on_answer(&c->asker, id, body);
        json_decref(body);
    } else if (fault) {
        answer_error(w, "bad_request", fault);
    } else {
        give_request(c, w, request);
    }
    json_decref(id);
    json_decref(request);
}

/* Whole lines that are in; no more than may be pending at a time. The last one may have no end. */
static void take_lines(struct control_client *c)
{
    size_t start = 0;

    while (!c->is_dead && start < c->in_len && !is_full(c)) {
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
static void client_refuse(struct control_client *c)
{
    json_t *body = command_error("bad_request", "a request has at most 65536 bytes, with the "
                                                "newline that ends it");

    log_warning_limited(c->arbiter->log, "control: a request is too long, its client is refused");
    c->in_len = 0;
    c->refused_ms = clock_mono_ms();
    c->n_pending++;
    client_on_answer(&c->asker, json_null(), body);
    json_decref(body);
}

static void read_some(struct control_client *c)
{
    size_t room;
    ssize_t n;

    take_lines(c); /* what was postponed leaves its room first */
    if (c->is_dead || (is_full(c) && !c->refused_ms))
        return;
    if (!c->in)
        c->in = malloc(CONTROL_LINE_MAX);
    if (!c->in) {
        client_drop(c);
        return;
    }
    if (c->in_len == CONTROL_LINE_MAX)
        client_refuse(c);
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
        client_touch(c);
        take_lines(c);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        client_drop(c);
    }
}

static void on_client(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct control_client *c = container_of(io, struct control_client, io);

    if (revents & EV_WRITE)
        client_flush(c);
    if ((revents & EV_READ) && !c->is_dead)
        read_some(c);
    else
        take_lines(c);
    end_if_served(c);
    client_watch(c);
}

/* Somebody is connected, or cannot be accepted now. */
static void keep_time(struct arbiter *a)
{
    if (!ev_is_active(&a->control.sweep))
        ev_timer_again(a->loop, &a->control.sweep);
}

/* Full: who has been silent longest and waits for nothing makes room for an operator. Who may only
 * ask pushes out nobody but another one. */
static bool make_room(struct control *k, bool is_asker)
{
    struct list *link;

    if (k->n_clients < CONTROL_CLIENTS_MAX && !(is_asker && k->n_askers >= CONTROL_ASKERS_MAX))
        return true;
    list_for_each (link, &k->clients) {
        struct control_client *c = container_of(link, struct control_client, link);

        if (!c->is_dead && c->n_pending == 0 && (c->is_asker || !is_asker)) {
            client_drop(c);
            return true;
        }
    }
    return false;
}

/* @fd is taken over if it succeeds. NULL: no room, no memory. */
static struct control_client *client_new(struct arbiter *a, int fd, bool is_asker)
{
    struct control *k = &a->control;
    struct control_client *c = make_room(k, is_asker) ? calloc(1, sizeof(*c)) : NULL;

    if (!c)
        return NULL;
    c->is_asker = is_asker;
    k->n_askers += is_asker;
    c->arbiter = a;
    c->asker.give = client_on_answer;
    c->since_ms = clock_mono_ms();
    passed_may_come(fd);
    list_append(&k->clients, &c->link);
    k->n_clients++;
    ev_io_init(&c->io, on_client, fd, EV_READ);
    ev_io_start(a->loop, &c->io);
    keep_time(a);
    return c;
}

struct control_client *control_inherit_client(struct arbiter *a, int fd)
{
    struct control *k = &a->control;
    const struct rights rights = rights_now(a);
    struct ucred peer;
    struct control_client *c = client_new(a, fd, rights_of_peer(&rights, fd, &peer) != RIGHT_STEER);

    if (!c) {
        k->lost[k->n_lost++] = fd;
        keep_time(a);
    }
    return c;
}

static void close_lost(struct control *k)
{
    while (k->n_lost > 0)
        fds_close(&k->lost[--k->n_lost]);
}

static bool is_overdue(const struct control_client *c, uint64_t now_ms)
{
    const uint64_t age_ms = now_ms - c->since_ms;

    if (c->refused_ms)
        return now_ms - c->refused_ms >= CONTROL_LINGER_MS;
    return c->out_len ? age_ms >= CONTROL_STALL_MS : c->n_pending == 0 && age_ms >= CONTROL_IDLE_MS;
}

static void client_sweep(struct control_client *c, uint64_t now_ms)
{
    if (!c->is_dead && is_overdue(c, now_ms))
        client_drop(c);
    take_lines(c);
    end_if_served(c);
    if (c->is_dead)
        client_free(c);
}

/* ---- the socket ---- */

static const char not_allowed[] =
    "{\"id\":null,\"error\":{\"code\":\"not_allowed\",\"message\":\"" WHO_MAY_CONNECT "\"}}\n";

/* Whatever the file's mode says: it is somebody who may at least ask. */
static void accept_client(struct arbiter *a, int fd)
{
    const struct rights rights = rights_now(a);
    struct ucred peer;
    const enum right right = rights_of_peer(&rights, fd, &peer);

    if (right != RIGHT_NONE) {
        if (!client_new(a, fd, right != RIGHT_STEER))
            fds_close(&fd);
        return;
    }
    log_warning_limited(a->log, "control: a peer of another user is refused",
                        F_UINT("uid", peer.uid), F_INT("peer_pid", peer.pid));
    send(fd, not_allowed, sizeof(not_allowed) - 1, MSG_NOSIGNAL); /* a new socket has room for it */
    passed_close(&fd);
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    for (int i = 0; i < CONTROL_ACCEPTS_A_WAKE; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accept_client(a, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
                log_warning_limited(a->log, "control: accepting pauses", F_ERR(errno));
            /* Level-triggered: without a pause this would spin. The sweep takes it up again. */
            ev_io_stop(loop, io);
            keep_time(a);
            return;
        }
    }
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);
    struct control *k = &a->control;
    const uint64_t now_ms = clock_mono_ms();
    struct list *link, *next;

    close_lost(k);
    list_for_each_safe (link, next, &k->clients)
        client_sweep(container_of(link, struct control_client, link), now_ms);
    if (k->listener && !ev_is_active(&k->io))
        ev_io_start(loop, &k->io);
    if (list_is_empty(&k->clients))
        ev_timer_stop(loop, timer);
}

static void begin_to_accept(struct arbiter *a)
{
    struct control *k = &a->control;

    ev_io_init(&k->io, on_acceptable, k->listener->fd, EV_READ);
    ev_io_start(a->loop, &k->io);
}

struct listener_access control_access(const struct config *c)
{
    const struct config_access *said = &c->control_access;
    const gid_t group = group_of_control(c);
    const bool has_group = group != (gid_t)-1;

    return (struct listener_access){.mode = said->mode >= 0 ? said->mode
                                            : has_group     ? 0660
                                                            : 0600,
                                    .uid = said->uid,
                                    .gid = group};
}

int control_access_key(const struct config *c)
{
    return *c->control_access.owner   ? CONFIG_CONTROL_OWNER
           : *c->control_access.group ? CONFIG_CONTROL_GROUP
           : *c->steer_group          ? CONFIG_STEER_GROUP
                                      : CONFIG_CONTROL_MODE;
}

static int listen_at(struct arbiter *a, const char *path, unsigned patience_ms, char *why,
                     size_t why_size)
{
    char text[RUNTIME_PATH_MAX + 8];
    int rc;

    snprintf(text, sizeof(text), "unix:%s", path);
    rc = listener_open(text, control_access(a->live->config), CONTROL_BACKLOG, 0, patience_ms,
                       (struct listener_outgoing){0}, &a->control.listener, why, why_size);
    if (rc < 0)
        return rc == -EADDRINUSE ? -EBUSY : rc;
    snprintf(a->control.path, sizeof(a->control.path), "%s", path);
    begin_to_accept(a);
    return 0;
}

/* Another server of this user has the usual place: the first one beside it that is free. */
static int listen_beside(struct arbiter *a, const char *socket, char *why, size_t why_size)
{
    char path[RUNTIME_PATH_MAX];
    int rc = -EBUSY;

    for (unsigned n = 2; rc == -EBUSY && n <= RUNTIME_SERVERS_MAX; n++) {
        if (runtime_path_nth(socket, n, path) < 0)
            return rc;
        rc = listen_at(a, path, 0, why, why_size);
    }
    if (rc == 0)
        log_warning(a->log, "another server has the default control socket",
                    F_STR("default", socket), F_STR("ours", path),
                    F_STR("hint", "clients find this server by its address, or by that path"));
    return rc;
}

static int listen_at_default(struct arbiter *a, unsigned patience_ms, char *why, size_t why_size)
{
    struct control *k = &a->control;
    struct runtime_path place;
    int rc = runtime_path_default(title_program(), getenv("RUNTIME_DIRECTORY"),
                                  getenv("XDG_RUNTIME_DIR"), geteuid() == 0, &place);

    if (rc == -ENAMETOOLONG)
        snprintf(why, why_size,
                 "the path in the runtime directory is longer than %d bytes: give arbiter.control "
                 "a shorter one",
                 RUNTIME_PATH_MAX - 1);
    else if (rc < 0)
        snprintf(why, why_size, "there is no runtime directory: give arbiter.control a path");
    if (rc < 0)
        return rc;
    if (place.is_ours && mkdir(place.dir, 0755) == 0) {
        chmod(place.dir,
              0755); /* whatever the umask: who may ask has to get as far as the socket */
        snprintf(k->made_dir, sizeof(k->made_dir), "%s", place.dir);
    }
    rc = listen_at(a, place.socket, patience_ms, why, why_size);
    if (rc != -EBUSY)
        return rc;
    rc = listen_beside(a, place.socket, why, why_size);
    /* The first server cannot remove its directory while we are in it. */
    if (rc == 0 && place.is_ours)
        snprintf(k->made_dir, sizeof(k->made_dir), "%s", place.dir);
    return rc;
}

static bool is_default(const char *setting)
{
    return strcmp(setting, "auto") == 0;
}

static void control_init(struct control *k)
{
    list_init(&k->clients);
    rights_find_unknown(&k->rights);
    ev_init(&k->sweep, on_sweep);
    k->sweep.repeat = CONTROL_SWEEP_MS / 1e3;
}

int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size)
{
    int rc;

    control_init(&a->control);
    if (!*setting)
        return 0;
    rc = is_default(setting) ? listen_at_default(a, LISTENER_START_MS, why, why_size)
                             : listen_at(a, setting, LISTENER_START_MS, why, why_size);
    if (rc == -EPERM || rc == -EINVAL) {
        config_name_key(a->live->config, control_access_key(a->live->config), why, why_size);
    } else if (rc < 0 && is_default(setting)) {
        log_warning(a->log, "no control socket", F_STR("reason", why),
                    F_STR("hint", "no command reaches this server; a reload tries again"));
        rc = 0;
    } else if (rc < 0) {
        config_name_key(a->live->config, CONFIG_CONTROL, why, why_size);
    }
    return rc;
}

void control_inherit(struct arbiter *a)
{
    control_init(&a->control);
    if (a->control.listener)
        begin_to_accept(a);
}

void control_repair(struct arbiter *a)
{
    struct control *k = &a->control;
    struct listener *old = k->listener;
    const char *setting = a->live->config->control;
    char why[CONFIG_WHY_LEN];

    if (!*setting || (old && listener_is_reachable(old)))
        return;
    if (old)
        ev_io_stop(a->loop, &k->io);
    if ((is_default(setting) ? listen_at_default(a, 0, why, sizeof(why))
                             : listen_at(a, setting, 0, why, sizeof(why))) < 0) {
        if (old)
            ev_io_start(a->loop, &k->io);
        log_warning(a->log, "the control socket is missing and cannot be made",
                    F_STR("reason", why));
        return;
    }
    listener_close(old);
    log_info(a->log, "the control socket was missing: made anew", F_STR("path", k->path));
}

void control_close(struct arbiter *a)
{
    struct control *k = &a->control;

    if (!k->clients.next)
        return;
    ev_timer_stop(a->loop, &k->sweep);
    close_lost(k);
    while (!list_is_empty(&k->clients)) {
        struct control_client *c = container_of(k->clients.next, struct control_client, link);

        client_drop(c);
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
