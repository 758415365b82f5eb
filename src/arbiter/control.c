/*
 * The control socket itself: where it is, who may connect, and the sweep that ends what takes too
 * long. Runs in the arbiter.
 */
#include "arbiter/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arbiter/answer.h"
#include "arbiter/control_client.h"
#include "arbiter/internal.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/passed.h"
#include "base/util.h"

static const char not_allowed[] =
    "{\"id\":null,\"error\":{\"code\":\"not_allowed\",\"message\":\"only root and the server's own "
    "user may connect\"}}\n";

/* Whatever the file's mode says: it is root, or the arbiter's own user. */
static void accept_client(struct arbiter *a, int fd)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
        (peer.uid == 0 || peer.uid == geteuid())) {
        control_client_new(a, fd);
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

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);
    struct control *k = &a->control;
    const uint64_t now_ms = clock_mono_ms();
    struct list *link, *next;
    bool is_needed = answers_sweep(a, now_ms);

    list_for_each_safe (link, next, &k->clients)
        control_client_sweep(container_of(link, struct control_client, link), now_ms);
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
    char text[RUNTIME_PATH_MAX + 8];
    mode_t mask;
    int rc;

    snprintf(text, sizeof(text), "unix:%s", path);
    mask = umask(0177); /* from its first moment nobody else may connect */
    rc = listener_open(text, CONTROL_BACKLOG, 0, (struct listener_outgoing){0},
                       &a->control.listener, why, why_size);
    umask(mask);
    if (rc < 0)
        return rc == -EADDRINUSE ? -EBUSY : rc;
    begin_to_accept(a, path);
    return 0;
}

static int listen_at_default(struct arbiter *a, char *why, size_t why_size)
{
    struct control *k = &a->control;
    struct runtime_path place;
    int rc = runtime_path_default(getenv("RUNTIME_DIRECTORY"), getenv("XDG_RUNTIME_DIR"),
                                  geteuid() == 0, &place);

    if (rc == -ENAMETOOLONG)
        snprintf(why, why_size,
                 "the path in the runtime directory is longer than %d bytes: give arbiter.control "
                 "a shorter one",
                 RUNTIME_PATH_MAX - 1);
    else if (rc < 0)
        snprintf(why, why_size, "there is no runtime directory: give arbiter.control a path");
    if (rc < 0)
        return rc;
    if (place.is_ours && mkdir(place.dir, 0755) == 0)
        snprintf(k->made_dir, sizeof(k->made_dir), "%s", place.dir);
    return listen_at(a, place.socket, why, why_size);
}

static bool is_default(const char *setting)
{
    return strcmp(setting, "auto") == 0;
}

static void init(struct control *k)
{
    list_init(&k->clients);
    ev_init(&k->sweep, on_sweep);
    k->sweep.repeat = CONTROL_SWEEP_MS / 1e3;
}

int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size)
{
    int rc;

    init(&a->control);
    if (!*setting)
        return 0;
    if (is_default(setting)) {
        if (listen_at_default(a, why, why_size) < 0)
            log_warning(
                a->log, "no control socket", F_STR("reason", why),
                F_STR("hint", "echo-client cannot reach this server; a reload tries again"));
        return 0;
    }
    rc = listen_at(a, setting, why, why_size);
    if (rc < 0)
        revision_name_key(a->live->config, CONFIG_CONTROL, why, why_size);
    return rc;
}

void control_adopt(struct arbiter *a, const char *path, const char *made_dir)
{
    struct control *k = &a->control;

    init(k);
    snprintf(k->made_dir, sizeof(k->made_dir), "%s", made_dir);
    if (k->listener)
        begin_to_accept(a, path);
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
    if ((is_default(setting) ? listen_at_default(a, why, sizeof(why))
                             : listen_at(a, setting, why, sizeof(why))) < 0) {
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
    while (!list_is_empty(&k->clients)) {
        struct control_client *c = container_of(k->clients.next, struct control_client, link);

        control_client_drop(c);
        control_client_free(c);
    }
    if (k->listener) {
        ev_io_stop(a->loop, &k->io);
        listener_close(k->listener);
        k->listener = NULL;
    }
    if (k->made_dir[0])
        rmdir(k->made_dir); /* fails if somebody else uses it, which is right */
}
