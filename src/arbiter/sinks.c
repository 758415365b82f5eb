/*
 * The arbiter's side of the log writers: start, restart, questions, end.
 */
#include "arbiter/sinks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/internal.h"
#include "arbiter/log_writer.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/reap.h"
#include "base/signals.h"
#include "base/util.h"

static struct sink *sink_at(struct list *link)
{
    return container_of(link, struct sink, link);
}

const char *sinks_name(const struct sink *s)
{
    return *s->path ? s->path : "standard error";
}

const char *sinks_path(const struct config *config)
{
    static const char *const names[] = {"/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"};

    /* As paths they cannot be opened if standard error is a socket. */
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(config->log_file, names[i]) == 0)
            return "";
    if (strcmp(config->log_file, "syslog") == 0 || (config->is_daemon && !*config->log_file))
        return NULL;
    return config->log_file;
}

/* ---- the writer ---- */

static void __attribute__((noreturn))
become_writer(const struct sink *s, int control_fd, pid_t arbiter_pid)
{
    const struct log_writer_options options = {
        .path = s->path,
        .pipe_fd = s->ends[0],
        .control_fd = control_fd,
        .arbiter_pid = arbiter_pid,
        .is_daemon = s->is_daemon,
        .is_first = !s->is_ready,
    };
    int keep[] = {s->ends[0], control_fd};

    fds_close_all_except(keep, ARRAY_SIZE(keep));
    log_writer_main(&options);
}

static void on_control(struct ev_loop *loop, ev_io *io, int revents);

static int start_writer(struct sink *s)
{
    const pid_t arbiter_pid = getpid();
    sigset_t mask;
    int pair[2], rc;
    pid_t pid;

    s->started_ms = clock_mono_ms();
    s->is_leaving = false;
    rc = mailbox_pair(pair);
    if (rc < 0)
        return rc;
    signals_block_all(&mask);
    pid = fork();
    if (pid == 0)
        become_writer(s, pair[1], arbiter_pid);
    rc = pid < 0 ? -errno : 0;
    signals_restore(&mask);
    fds_close(&pair[1]);
    if (rc < 0) {
        fds_close(&pair[0]);
        return rc;
    }
    s->pid = pid;
    s->control_fd = pair[0];
    ev_io_init(&s->io, on_control, s->control_fd, EV_READ);
    ev_io_start(s->arbiter->loop, &s->io);
    return 0;
}

static void start_writer_later(struct sink *s, unsigned ms)
{
    ev_timer_stop(s->arbiter->loop, &s->timer);
    ev_timer_set(&s->timer, ms / 1e3, 0.);
    ev_now_update(s->arbiter->loop);
    ev_timer_start(s->arbiter->loop, &s->timer);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct sink *s = container_of(timer, struct sink, timer);
    const int rc = start_writer(s);

    if (rc == 0)
        return;
    log_error_limited(s->arbiter->log, "log: its writer cannot be forked", F_ERR(rc));
    start_writer_later(s, SINK_RESTART_MS);
}

static void close_control(struct sink *s)
{
    if (s->control_fd < 0)
        return;
    ev_io_stop(s->arbiter->loop, &s->io);
    fds_close(&s->control_fd);
}

static bool tell(const struct sink *s, const char *text)
{
    return s->control_fd >= 0 && send(s->control_fd, text, strlen(text), MSG_NOSIGNAL) > 0;
}

/* @why  behind the number: why it could not be opened */
static void on_opened(struct sink *s, int error, const char *why)
{
    struct arbiter *a = s->arbiter;
    const bool is_healed = s->error < 0 && error == 0;

    s->error = error;
    snprintf(s->why, sizeof(s->why), "%s", why);
    if (!s->is_ready) {
        s->is_ready = error == 0;
        a->sinks_ops->on_opened(a, s);
    } else if (s->n_asked > 0 || is_healed) {
        s->n_asked = 0;
        a->sinks_ops->on_reopened(a, s);
    }
}

static void on_message(struct sink *s, char *text)
{
    char *number = strchr(text, ' '), *rest;
    uint64_t n;

    if (!number)
        return;
    *number++ = '\0';
    rest = strchr(number, ' ');
    if (rest)
        *rest++ = '\0';
    if (num_parse_u64(number, 0, INT32_MAX, &n) < 0)
        return;
    if (strcmp(text, "open") == 0)
        on_opened(s, -(int)n, rest ? rest : "");
    else if (strcmp(text, "lost") == 0)
        counter_add(&s->arbiter->totals.log_dropped, n);
}

/* One message: what it leads to may release the sink. */
static void receive(struct sink *s)
{
    char text[LOG_WRITER_MESSAGE_MAX + 1];
    const ssize_t n = recv(s->control_fd, text, LOG_WRITER_MESSAGE_MAX, MSG_DONTWAIT);

    if (n > 0) {
        text[n] = '\0';
        on_message(s, text);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_control(s); /* it has ended: the sweep says how */
    }
}

static void on_control(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    receive(container_of(io, struct sink, io));
}

/* ---- sinks ---- */

static void sink_free(struct sink *s)
{
    close_control(s);
    ev_timer_stop(s->arbiter->loop, &s->timer);
    fds_close(&s->ends[0]);
    fds_close(&s->ends[1]);
    list_remove(&s->link);
    free(s->path);
    free(s);
}

static struct sink *sink_new(struct arbiter *a, const char *path, bool is_daemon)
{
    struct sink *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->arbiter = a;
    s->is_daemon = is_daemon;
    s->ends[0] = s->ends[1] = s->control_fd = -1;
    ev_timer_init(&s->timer, on_timer, 0., 0.);
    list_init(&s->link);
    s->path = strdup(path);
    if (!s->path) {
        free(s);
        return NULL;
    }
    return s;
}

static struct sink *find(struct arbiter *a, const char *path, size_t *ret_n)
{
    struct sink *found = NULL;
    struct list *link;

    *ret_n = 0;
    list_for_each (link, &a->sinks) {
        struct sink *s = sink_at(link);

        if (s->ends[1] >= 0 && strcmp(s->path, path) == 0)
            found = s;
        ++*ret_n;
    }
    return found;
}

/* More than the usual 64 KiB, if the user's share of pipe memory allows. */
static int make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, LOG_WRITER_PIPE_BYTES);
    return 0;
}

int sinks_take(struct arbiter *a, const struct config *config, struct sink **ret, char *why,
               size_t size)
{
    const char *path = sinks_path(config);
    size_t n;
    struct sink *s = find(a, path, &n);
    int rc;

    if (s) {
        *ret = sinks_hold(s);
        return 0;
    }
    if (n >= SINKS_MAX) {
        snprintf(why, size, "%zu logs are still being written: does a file system hang?", n);
        return -EBUSY;
    }
    s = sink_new(a, path, config->is_daemon);
    if (!s) {
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    list_append(&a->sinks, &s->link);
    rc = make_pipe(s->ends);
    if (rc == 0)
        rc = start_writer(s);
    if (rc < 0) {
        snprintf(why, size, "its writer cannot be started: %s", strerror(-rc));
        sink_free(s);
        return rc;
    }
    *ret = sinks_hold(s);
    return 0;
}

struct sink *sinks_hold(struct sink *s)
{
    s->refs++;
    return s;
}

/* The writer reads on to the end of file, which is when the last worker that logs to it ends. */
void sinks_release(struct sink *s)
{
    if (!s || --s->refs > 0)
        return;
    ev_timer_stop(s->arbiter->loop, &s->timer);
    fds_close(&s->ends[0]);
    fds_close(&s->ends[1]);
    if (!s->pid)
        sink_free(s);
}

int sinks_wait(struct sink *s)
{
    const uint64_t deadline_ms = clock_mono_ms() + SINK_OPEN_MS;

    while (!s->is_ready && s->error == 0) {
        struct pollfd p = {.fd = s->control_fd, .events = POLLIN};
        const uint64_t now_ms = clock_mono_ms();

        if (s->control_fd < 0 || now_ms >= deadline_ms) {
            s->error = s->control_fd < 0 ? -ECHILD : -ETIMEDOUT;
            snprintf(s->why, sizeof(s->why), "%s",
                     s->control_fd < 0 ? "its writer has died"
                                       : "not opened within 10 s: does its file system hang?");
        } else if (poll(&p, 1, (int)(deadline_ms - now_ms)) > 0) {
            receive(s);
        }
    }
    return s->error;
}

void sinks_reopen(struct arbiter *a)
{
    struct list *link;

    list_for_each (link, &a->sinks) {
        struct sink *s = sink_at(link);

        /* One that has ended, or is about to start, has a successor that opens it anyway. */
        if (tell(s, "reopen") || s->control_fd < 0)
            s->n_asked++;
    }
}

void sinks_renew(struct arbiter *a)
{
    struct list *link;

    list_for_each (link, &a->sinks) {
        struct sink *s = sink_at(link);

        if (s->refs > 0)
            s->is_leaving = tell(s, "leave");
    }
}

static void on_writer_end(struct sink *s, int status)
{
    struct arbiter *a = s->arbiter;
    const bool is_young = clock_mono_ms() - s->started_ms < SINK_RESTART_MS;

    while (s->control_fd >= 0) /* what it has still said */
        receive(s);
    s->pid = 0;
    if (s->refs == 0) {
        sink_free(s);
        return;
    }
    if (!s->is_ready) {
        if (s->error == 0)
            on_opened(s, -ECHILD, "its writer has died");
        return;
    }
    if (!s->is_leaving)
        log_warning(a->log, "log: its writer has died, another goes on", F_STR("to", sinks_name(s)),
                    F_STR("kind", WIFSIGNALED(status) ? "signal" : "exit"),
                    F_INT("code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    start_writer_later(s, is_young && !s->is_leaving ? SINK_RESTART_MS : 0);
}

bool sinks_on_exit(struct arbiter *a, pid_t pid, int status)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &a->sinks) {
        if (sink_at(link)->pid != pid)
            continue;
        on_writer_end(sink_at(link), status);
        return true;
    }
    return false;
}

/* ---- over an exec ---- */

int sinks_inherit(struct arbiter *a, const char *path, bool is_daemon, const int ends[2],
                  int control_fd, pid_t pid)
{
    struct sink *s = sink_new(a, path, is_daemon);
    int rc = 0;

    if (!s)
        return -ENOMEM;
    if (ends)
        memcpy(s->ends, ends, sizeof(s->ends));
    else
        rc = make_pipe(s->ends);
    if (rc < 0) {
        sink_free(s);
        return rc;
    }
    s->control_fd = control_fd;
    s->pid = pid;
    s->is_ready = true;
    list_append(&a->sinks, &s->link);
    return 0;
}

void sinks_attach(struct arbiter *a)
{
    struct list *link;

    list_for_each (link, &a->sinks) {
        struct sink *s = sink_at(link);

        if (s->control_fd >= 0) {
            ev_io_init(&s->io, on_control, s->control_fd, EV_READ);
            ev_io_start(a->loop, &s->io);
        }
        if (!s->pid && s->refs > 0)
            start_writer_later(s, 0);
    }
}

/* ---- the end ---- */

void sinks_detach(struct arbiter *a)
{
    struct list *link;

    list_for_each (link, &a->sinks) {
        ev_io_stop(a->loop, &sink_at(link)->io);
        ev_timer_stop(a->loop, &sink_at(link)->timer);
    }
}

/* One in an uninterruptible wait is left: nothing ends it but what it waits for. */
void sinks_fini(struct arbiter *a)
{
    const uint64_t deadline_ms = clock_mono_ms() + SINK_DRAIN_MS;
    struct list *link, *next;

    list_for_each_safe (link, next, &a->sinks) {
        struct sink *s = sink_at(link);

        fds_close(&s->ends[1]);
        if (s->pid && !reap_by(s->pid, deadline_ms, NULL))
            reap_killed(s->pid, NULL);
        fds_close(&s->ends[0]);
        fds_close(&s->control_fd);
        list_remove(&s->link);
        free(s->path);
        free(s);
    }
}
