/*
 * The log writer: its process, how that is started, and what is said to it and by it. Knows no
 * arbiter and no loop; in the process itself everything may block.
 */
#include "log_writer/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/mailbox.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/num.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"

/* How long an orphan may hang: it ends with the last worker, and must not outlive it for long. */
enum { ORPHAN_HANG_S = 2 };

struct log_writer {
    const struct log_writer_options *options;
    struct log target; /* fd -1 = could not be opened: to be tried again */
    bool must_reopen; /* the last try has failed: lines go on into the old file, if there is one */
    uint64_t retry_ms; /* then: when to try again */
    uint64_t question; /* the last that was asked */
    counter_t dropped; /* lines that the target has not taken */
    uint64_t reported; /* of them, to the arbiter */
    int control_fd; /* -1 = the arbiter is gone */
};

/* As much as the pipe holds, so that one read takes all that is there: whole lines. Before them, a
 * newline for the case that the last line broke off. */
static char lines[1 + LOG_WRITER_PIPE_BYTES];

static pid_t arbiter_pid;
static volatile sig_atomic_t is_orphan, is_at_target;

/* The arbiter's death sends it. From anybody else it is not obeyed: others still write. */
static void on_term(int signo UNUSED)
{
    if (getppid() == arbiter_pid)
        return;
    is_orphan = true;
    alarm(ORPHAN_HANG_S);
}

static void on_alarm(int signo UNUSED)
{
    if (is_at_target)
        _exit(EX_IOERR);
}

/* Calls follow that may hang as long as the target does. */
static void go_to_target(void)
{
    is_at_target = true;
    if (is_orphan)
        alarm(ORPHAN_HANG_S);
}

static void take_signals(void)
{
    struct sigaction term = {.sa_handler = on_term}, alarm = {.sa_handler = on_alarm};

    sigemptyset(&term.sa_mask);
    sigemptyset(&alarm.sa_mask);
    signals_default_all();
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGALRM, &alarm, NULL);
    signals_ignore_strays(); /* TTOU among them: a terminal does not stop who ignores it */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    is_orphan = getppid() != arbiter_pid;
    signals_unblock_all();
}

bool log_writer_say(int control_fd, const char *format, ...)
{
    char text[LOG_WRITER_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return control_fd >= 0 && send(control_fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

/* ---- the target ---- */

static void explain_target(const char *path, int rc, char *why, size_t size)
{
    struct stat st;

    if (rc == -ENXIO && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        snprintf(why, size,
                 "it is a socket, which cannot be opened: name a file, or leave log.file empty for "
                 "standard error");
    else if (rc == -ENXIO && stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
        snprintf(why, size, "nobody reads from this FIFO");
    else if (rc == -ELOOP && lstat(path, &st) == 0 && !log_may_follow(st.st_uid))
        snprintf(
            why, size,
            "it is a symbolic link of user %u, and only those of root and of this server's own "
            "user are followed: remove it, or name another file",
            st.st_uid);
    else if (rc == -ELOOP)
        snprintf(why, size,
                 "it leads through a symbolic link of a user who is neither root nor this "
                 "server's, or through too many links");
    else
        snprintf(why, size, "%s", strerror(-rc));
}

/* A description that was opened here is nobody else's: to wait for it is simpler than to ask. */
static void make_blocking(const struct log *target)
{
    const int flags = fcntl(target->fd, F_GETFL);

    if (!target->must_poll && flags >= 0)
        fcntl(target->fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Where somebody may look for what the log itself cannot take. Returns 0 or -errno. */
static int open_aside(const struct log_writer_options *o, enum log_format format, struct log *ret)
{
    return log_open(ret, o->is_daemon ? "syslog" : "", LOG_LEVEL_WARNING, format, "log");
}

/* The file that is open is one that was rotated away. */
static void say_aside(struct log_writer *w, const char *why)
{
    const char *path = w->options->path;
    struct log aside;

    if (open_aside(w->options, w->target.format, &aside) == 0)
        log_error(&aside, "log: the file cannot be opened", F_STR("file", path),
                  F_STR("reason", why));
    else if (w->target.fd >= 0)
        log_error(&w->target, "log: the file cannot be opened", F_STR("file", path),
                  F_STR("reason", why));
    log_close(&aside);
}

static int open_target(struct log_writer *w)
{
    struct log opened;
    int rc;

    go_to_target();
    if (w->target.fd >= 0) {
        rc = log_reopen(&w->target);
    } else {
        rc = log_open(&opened, w->options->path, LOG_LEVEL_DEBUG, w->target.format, "log");
        if (rc == 0 && opened.fd < 0)
            rc = -EMFILE; /* standard error, which always is there */
        if (rc == 0) {
            opened.dropped = &w->dropped;
            w->target = opened;
        } else {
            log_close(&opened);
        }
    }
    is_at_target = false;
    if (rc == 0)
        make_blocking(&w->target);
    return rc;
}

/* Tells the arbiter each time, and others when it begins to fail. */
static int open_and_tell(struct log_writer *w)
{
    char why[LOG_WRITER_MESSAGE_MAX / 2] = "";
    const char *effect = "";
    const int rc = open_target(w);

    if (rc < 0)
        explain_target(w->options->path, rc, why, sizeof(why));
    if (rc < 0 && (w->target.fd >= 0 || !w->options->is_first)) {
        effect = w->target.fd >= 0 ? "; lines go on into the file that was open"
                                   : "; lines wait until it can be opened";
        if (!w->must_reopen)
            say_aside(w, why);
    }
    w->must_reopen = rc < 0;
    w->retry_ms = clock_mono_ms() + LOG_WRITER_RETRY_MS;
    log_writer_say(w->control_fd, "opened %" PRIu64 " %d %s%s", w->question, -rc, why, effect);
    return rc;
}

/* ---- lines ---- */

static void report_lost(struct log_writer *w)
{
    const uint64_t lost = counter_get(&w->dropped);

    if (lost > w->reported && log_writer_say(w->control_fd, "lost %" PRIu64, lost - w->reported))
        w->reported = lost;
}

/* Returns how much was written; less than @len if the target takes no more. */
static size_t write_all(const struct log_writer *w, const char *data, size_t len)
{
    struct pollfd p = {.fd = w->target.fd, .events = POLLOUT};
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(w->target.fd, data + done, len - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            /* A description that others share and have made so. A terminal may seem to have room
             * and take nothing, so time passes as well. */
            poll(&p, 1, -1);
            poll(NULL, 0, 10);
        } else if (n == 0 || errno != EINTR) {
            break;
        }
    }
    return done;
}

static uint64_t count_lines(const char *data, size_t len)
{
    uint64_t n = 0;

    for (const char *end = data + len; (data = memchr(data, '\n', (size_t)(end - data))); data++)
        n++;
    return n;
}

/* @len bytes of whole lines stand at lines + 1. */
static void write_lines(struct log_writer *w, size_t len)
{
    const char *data = lines + !w->target.is_line_cut;
    size_t done;

    len += w->target.is_line_cut;
    go_to_target();
    done = write_all(w, data, len);
    is_at_target = false;
    if (done > 0)
        w->target.is_line_cut = data[done - 1] != '\n';
    w->target.format = lines[1] == '{' ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    if (done < len) {
        const uint64_t lost = count_lines(data + done, len - done);

        w->target.lost += lost;
        counter_add(&w->dropped, lost);
    } else if (w->target.lost > 0) {
        log_say_lost(&w->target);
    }
    report_lost(w);
}

/* Returns false at the end of file. */
static bool pass_on(struct log_writer *w)
{
    const ssize_t n = read(w->options->pipe_fd, lines + 1, LOG_WRITER_PIPE_BYTES);

    if (n > 0)
        write_lines(w, (size_t)n);
    return n != 0;
}

/* What stands in the pipe is written by nobody any more. */
static void lose_rest(struct log_writer *w)
{
    struct log aside;
    uint64_t lost = 0;
    ssize_t n;

    while ((n = read(w->options->pipe_fd, lines + 1, LOG_WRITER_PIPE_BYTES)) > 0) {
        w->target.format = lines[1] == '{' ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
        lost += count_lines(lines + 1, (size_t)n);
    }
    counter_add(&w->dropped, lost);
    report_lost(w);
    if (lost > 0 && open_aside(w->options, w->target.format, &aside) == 0) {
        log_warning(&aside, "log: lines were lost", F_UINT("count", lost),
                    F_STR("to", *w->options->path ? w->options->path : "standard error"));
        log_close(&aside);
    }
}

/* ---- life ---- */

/* Returns false if it is told to leave. */
static bool obey(struct log_writer *w)
{
    char text[LOG_WRITER_MESSAGE_MAX];
    const ssize_t n = recv(w->control_fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        fds_close(&w->control_fd); /* what its workers still say is written all the same */
    if (n <= 0)
        return true;
    text[n] = '\0';
    if (strncmp(text, "reopen ", strlen("reopen ")) == 0) {
        num_parse_u64(text + strlen("reopen "), 1, UINT64_MAX, &w->question);
        if (w->target.fd >= 0)
            pass_on(w);
        open_and_tell(w);
    }
    return strcmp(text, "leave") != 0;
}

static int wait_ms(const struct log_writer *w)
{
    const uint64_t now_ms = clock_mono_ms();

    if (!w->must_reopen)
        return -1;
    return w->retry_ms > now_ms ? (int)(w->retry_ms - now_ms) : 0;
}

/* What is read is written before anything else is looked at, so nothing is lost when it ends. */
static void serve(struct log_writer *w)
{
    for (;;) {
        const bool is_open = w->target.fd >= 0;
        struct pollfd p[] = {
            {.fd = w->options->pipe_fd, .events = is_open ? POLLIN : 0},
            {.fd = w->control_fd, .events = POLLIN},
        };
        const bool has_news = poll(p, ARRAY_SIZE(p), wait_ms(w)) > 0;

        if (wait_ms(w) == 0)
            open_and_tell(w);
        if (has_news && p[1].revents && !obey(w))
            return;
        if (!has_news || !p[0].revents)
            continue;
        if (w->target.fd < 0 && open_target(w) < 0) {
            lose_rest(w);
            return;
        }
        if (!pass_on(w))
            return; /* nobody writes any more */
    }
}

static void __attribute__((noreturn))
log_writer_main(const struct log_writer_options *options, int control_fd)
{
    struct log_writer w = {.options = options,
                           .target = {.fd = -1},
                           .question = options->question,
                           .control_fd = control_fd};
    int keep[] = {options->pipe_fd, control_fd};

    fds_close_all_except(keep, ARRAY_SIZE(keep));
    lines[0] = '\n';
    title_set("log", *options->path ? options->path : "standard error");
    take_signals();
    if (options->is_last) {
        lose_rest(&w);
        _exit(EX_OK);
    }
    if (open_and_tell(&w) < 0 && options->is_first)
        _exit(EX_CANTCREAT);
    if (options->is_daemon)
        fds_null_stdio();
    serve(&w);
    log_close(&w.target);
    _exit(EX_OK);
}

int log_writer_start(const struct log_writer_options *options, pid_t *ret_pid, int *ret_control_fd)
{
    sigset_t mask;
    int pair[2], rc;
    pid_t pid;

    rc = mailbox_pair(pair);
    if (rc < 0)
        return rc;
    arbiter_pid = getpid();
    signals_block_all(&mask);
    pid = fork();
    if (pid == 0)
        log_writer_main(options, pair[1]);
    rc = pid < 0 ? -errno : 0;
    signals_restore(&mask);
    fds_close(&pair[1]);
    if (rc < 0) {
        fds_close(&pair[0]);
        return rc;
    }
    *ret_pid = pid;
    *ret_control_fd = pair[0];
    return 0;
}
