/*
 * The targets of logs, shared by the revisions that name the same one, each with a writer that is
 * replaced when it ends. What comes of them is reported to the owner.
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

#include "log_writer/log_writer.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/reap.h"
#include "base/util.h"

static struct sink *sink_at(struct list *link)
{
    return container_of(link, struct sink, link);
}

const char *sinks_name(const struct sink *s)
{
    return *s->path ? s->path : "standard error";
}

/* ---- the writer ---- */

static void on_control(struct ev_loop *loop, ev_io *io, int revents);

static void watch_control(struct sink *s)
{
    ev_io_init(&s->io, on_control, s->control_fd, EV_READ);
    ev_io_start(s->sinks->loop, &s->io);
}

static int start_writer(struct sink *s, bool is_last)
{
    const struct log_writer_options options = {
        .path = s->path,
        .pipe_fd = s->ends[0],
        .question = s->wanted,
        .is_daemon = s->is_daemon,
        .is_first = !s->is_ready,
        .is_last = is_last,
    };
    int rc;

    s->started_ms = clock_mono_ms();
    s->is_leaving = s->is_inherited = false;
    rc = log_writer_start(&options, &s->pid, &s->control_fd);
    if (rc < 0)
        return rc;
    s->asked = s->wanted;
    watch_control(s);
    return 0;
}

static void start_writer_later(struct sink *s, unsigned ms)
{
    struct ev_loop *loop = s->sinks->loop;

    ev_timer_stop(loop, &s->timer);
    ev_timer_set(&s->timer, ms / 1e3, 0.);
    ev_now_update(loop);
    ev_timer_start(loop, &s->timer);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct sink *s = container_of(timer, struct sink, timer);
    const int rc = start_writer(s, false);

    if (rc == 0)
        return;
    log_error_limited(*s->sinks->log, "log: its writer cannot be forked", F_ERR(rc));
    start_writer_later(s, SINK_RESTART_MS);
}

static void close_control(struct sink *s)
{
    ev_io_stop(s->sinks->loop, &s->io);
    fds_close(&s->control_fd);
}

/* The next writer opens the target anyway: a writer that is gone or leaving need not be asked. */
static void ask(struct sink *s)
{
    if (s->control_fd < 0 || s->is_leaving || s->asked > s->answered || s->wanted == s->asked)
        return;
    if (s->is_inherited)
        s->is_leaving = log_writer_say(s->control_fd, "leave");
    else if (log_writer_say(s->control_fd, "reopen %llu", (unsigned long long)s->wanted))
        s->asked = s->wanted;
}

/* A writer that has failed tries again of itself: then nobody has asked. */
static void on_opened(struct sink *s, uint64_t question, int error, const char *why)
{
    const bool is_answer = question == s->asked && question > s->answered;
    const bool is_healed = s->error < 0 && error == 0;

    s->error = error;
    snprintf(s->why, sizeof(s->why), "%s", why);
    if (is_answer)
        s->answered = question;
    ask(s);
    if (!s->is_ready) {
        s->is_ready = error == 0;
        s->sinks->ops->on_opened(s->sinks, s);
    } else if (is_answer || is_healed) {
        s->sinks->ops->on_reopened(s->sinks, s);
    }
}

static uint64_t take_number(char **rest)
{
    const char *word = strsep(rest, " ");
    uint64_t n = 0;

    if (word)
        num_parse_u64(word, 0, UINT64_MAX, &n);
    return n;
}

static void on_message(struct sink *s, char *text)
{
    char *rest = text;
    const char *word = strsep(&rest, " ");
    const uint64_t n = take_number(&rest);

    if (strcmp(word, "opened") == 0) {
        const int error = -(int)take_number(&rest);

        on_opened(s, n, error, rest ? rest : "");
    } else if (strcmp(word, "lost") == 0) {
        counter_add(s->sinks->lost, n);
    }
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
    ev_timer_stop(s->sinks->loop, &s->timer);
    fds_close(&s->ends[0]);
    fds_close(&s->ends[1]);
    list_remove(&s->link);
    free(s->path);
    free(s);
}

static struct sink *sink_new(struct sinks *sinks, const char *path, bool is_daemon)
{
    struct sink *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->sinks = sinks;
    s->is_daemon = is_daemon;
    s->wanted = 1;
    s->ends[0] = s->ends[1] = s->control_fd = -1;
    ev_timer_init(&s->timer, on_timer, 0., 0.);
    s->path = strdup(path);
    if (!s->path) {
        free(s);
        return NULL;
    }
    list_append(&sinks->list, &s->link);
    return s;
}

static struct sink *find(struct sinks *sinks, const char *path, size_t *ret_n)
{
    struct sink *found = NULL;
    struct list *link;

    *ret_n = 0;
    list_for_each (link, &sinks->list) {
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

int sinks_take(struct sinks *sinks, const char *path, bool is_daemon, struct sink **ret, char *why,
               size_t size)
{
    size_t n;
    struct sink *s = find(sinks, path, &n);
    char error[LIMITS_ERROR_LEN];
    int rc = 0;

    if (!s && n >= SINKS_MAX) {
        snprintf(why, size, "%zu logs are still being written: does a file system hang?", n);
        return -EBUSY;
    }
    if (!s) {
        s = sink_new(sinks, path, is_daemon);
        if (!s) {
            snprintf(why, size, "out of memory");
            return -ENOMEM;
        }
        rc = make_pipe(s->ends);
        if (rc == 0)
            rc = start_writer(s, false);
    }
    if (rc < 0) {
        snprintf(why, size, "its writer cannot be started: %s", limits_error(-rc, error));
        sink_free(s);
        return rc;
    }
    s->refs++;
    *ret = s;
    return 0;
}

/* The writer reads on to the end of file, which is when the last worker that logs to it ends. */
void sinks_release(struct sink *s)
{
    if (!s || --s->refs > 0)
        return;
    fds_close(&s->ends[1]);
    if (!s->pid && !s->is_ready)
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

void sinks_reopen(struct sinks *sinks)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        sink_at(link)->wanted++;
        ask(sink_at(link));
    }
}

void sinks_renew(struct sinks *sinks)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (s->refs > 0 && s->is_inherited && !s->is_leaving)
            s->is_leaving = log_writer_say(s->control_fd, "leave");
    }
}

static void on_writer_end(struct sink *s, int status)
{
    const bool is_young = clock_mono_ms() - s->started_ms < SINK_RESTART_MS;
    const bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool is_at_end;

    while (s->control_fd >= 0) /* what it has still said */
        receive(s);
    s->pid = 0;
    s->is_leaving |= s->is_inherited && is_clean; /* the image before may have told it to */
    is_at_end = is_clean && !s->is_leaving;
    /* The lines of a sink that is left are not lost with a writer that dies: another follows. */
    if (s->refs == 0 && (is_at_end || !s->is_ready || s->ends[0] < 0)) {
        sink_free(s);
        return;
    }
    if (!s->is_ready) {
        if (s->error == 0)
            on_opened(s, s->asked, -ECHILD, "its writer has died");
        return;
    }
    if (!s->is_leaving)
        log_warning(*s->sinks->log, "log: its writer has died, another goes on",
                    F_STR("to", sinks_name(s)),
                    F_STR("kind", WIFSIGNALED(status) ? "signal" : "exit"),
                    F_INT("code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    start_writer_later(s, is_young && !s->is_leaving ? SINK_RESTART_MS : 0);
}

bool sinks_on_exit(struct sinks *sinks, pid_t pid, int status)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &sinks->list) {
        if (sink_at(link)->pid != pid)
            continue;
        on_writer_end(sink_at(link), status);
        return true;
    }
    return false;
}

/* ---- over an exec ---- */

int sinks_inherit(struct sinks *sinks, const char *path, bool is_daemon, const int ends[2],
                  int control_fd, pid_t pid)
{
    struct sink *s = sink_new(sinks, path, is_daemon);

    if (!s)
        return -ENOMEM;
    s->ends[0] = ends[0];
    s->ends[1] = ends[1];
    s->control_fd = control_fd;
    s->pid = pid;
    s->is_ready = s->is_inherited = true;
    s->asked = s->answered = s->wanted;
    return 0;
}

void sinks_attach(struct sinks *sinks)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (s->control_fd >= 0)
            watch_control(s);
        if (!s->pid)
            start_writer_later(s, 0);
    }
}

/* ---- the end ---- */

static void await_writers(struct sinks *sinks, uint64_t deadline_ms)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (s->pid && reap_by(s->pid, deadline_ms, NULL))
            s->pid = 0;
    }
}

static void kill_writers(struct sinks *sinks, uint64_t deadline_ms)
{
    struct list *link;

    list_for_each (link, &sinks->list)
        if (sink_at(link)->pid)
            kill(sink_at(link)->pid, SIGKILL);
    await_writers(sinks, deadline_ms);
}

static bool has_lines(const struct sink *s)
{
    struct pollfd p = {.fd = s->ends[0], .events = POLLIN};

    return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

/* A writer that was told to leave, perhaps by the image before, has left its lines to another. */
static void follow_leaving(struct sinks *sinks)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (!s->pid && (s->is_leaving || s->is_inherited) && has_lines(s)) {
            close_control(s);
            start_writer(s, false);
        }
    }
}

/* Not in this process: standard error may hang as the log does. */
static void say_lost(struct sinks *sinks, uint64_t deadline_ms)
{
    struct list *link;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (!s->pid && has_lines(s)) {
            close_control(s);
            start_writer(s, true);
        }
    }
    await_writers(sinks, deadline_ms);
}

/* A writer in an uninterruptible wait is left: nothing ends it but what it waits for. */
void sinks_fini(struct sinks *sinks, uint64_t deadline_ms)
{
    const uint64_t said_ms = deadline_ms - SINK_KILLED_MS;
    const uint64_t killed_ms = said_ms - SINK_SAY_MS;
    const uint64_t drained_ms = killed_ms - SINK_KILLED_MS;
    struct list *link, *next;

    list_for_each (link, &sinks->list) {
        struct sink *s = sink_at(link);

        if (!s->pid && s->is_ready)
            start_writer(s, false);
        fds_close(&s->ends[1]);
    }
    await_writers(sinks, drained_ms);
    follow_leaving(sinks);
    await_writers(sinks, drained_ms);
    kill_writers(sinks, killed_ms);
    say_lost(sinks, said_ms);
    kill_writers(sinks, deadline_ms);
    list_for_each_safe (link, next, &sinks->list)
        sink_free(sink_at(link));
}
