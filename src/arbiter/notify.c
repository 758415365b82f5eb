/*
 * Words for a service manager, and a socket that never blocks. A datagram that is not taken is no
 * loss: what is said is the difference to what has been heard.
 */
#include "arbiter/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/util.h"

/* ---- the words: pure ---- */

/* One more line, if there is room. */
static size_t __attribute__((format(printf, 3, 4)))
add_news(char *buf, size_t len, const char *format, ...)
{
    va_list values;
    int n;

    va_start(values, format);
    n = vsnprintf(buf + len, NOTIFY_TEXT_LEN - len, format, values);
    va_end(values);
    if (n < 0 || (size_t)n >= NOTIFY_TEXT_LEN - len) {
        buf[len] = '\0';
        return len;
    }
    return len + (size_t)n;
}

size_t notify_text(const struct notify_news *said, const struct notify_news *now, uint64_t now_us,
                   char buf[NOTIFY_TEXT_LEN])
{
    const uint64_t until_us = now->until_ms * 1000;
    size_t len = 0;

    if (now->phase != said->phase && now->phase == NOTIFY_SERVING)
        len = add_news(buf, len, "READY=1\n");
    else if (now->phase != said->phase && now->phase == NOTIFY_CHANGING)
        len = add_news(buf, len, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", now_us);
    else if (now->phase != said->phase && now->phase == NOTIFY_STOPPING)
        len = add_news(buf, len, "STOPPING=1\n");
    if (now->main_pid != said->main_pid)
        len = add_news(buf, len, "MAINPID=%d\n", (int)now->main_pid);
    if (now->until_ms && now->until_ms != said->until_ms && until_us > now_us)
        len = add_news(buf, len, "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", until_us - now_us);
    if (strcmp(now->status, said->status) != 0)
        len = add_news(buf, len, "STATUS=%s\n", now->status);
    return len;
}

/* ---- what there is to say ---- */

/* Beyond what the configuration gives a start or stop: for what is slow besides. */
enum { NOTIFY_SLACK_MS = 10000 };

/* While processes of the first set begin, and begin again: the youngest has boot_timeout. */
static uint64_t start_until(const struct arbiter *a)
{
    uint64_t last_ms = a->started_ms;

    for_each_child (a, c)
        last_ms = MAX(last_ms, c->forked_ms);
    return last_ms + a->live->config->boot_timeout_ms + NOTIFY_SLACK_MS;
}

static uint64_t stop_until(const struct arbiter *a)
{
    const uint64_t end_ms =
        a->is_stopping ? a->end_ms : a->leave_ms + a->live->config->exit_timeout_ms + STOP_END_MS;

    return end_ms + NOTIFY_SLACK_MS;
}

static struct notify_news news_of(const struct arbiter *a)
{
    struct notify_news now = {.main_pid = a->live->config->is_daemon ? getpid() : 0};

    if (a->is_leaving) {
        now.phase = NOTIFY_STOPPING;
        now.until_ms = stop_until(a);
        snprintf(now.status, sizeof(now.status), "%s",
                 a->is_stopping ? "stopping" : "stopping after arbiter.stop_delay");
    } else if (a->change.active) {
        now.phase = NOTIFY_CHANGING;
        snprintf(now.status, sizeof(now.status), "%s", a->change.active->obstacle);
    } else if (a->state == ACTOR_RUN) {
        now.phase = NOTIFY_SERVING;
        snprintf(now.status, sizeof(now.status), "serving: revision %" PRIu64 ", %u workers%s",
                 a->live->number, transition_workers(a->engine),
                 transition_is_degraded(a->engine) ? ", not all processes run" : "");
    } else {
        now.phase = NOTIFY_STARTING;
        now.until_ms = start_until(a);
        snprintf(now.status, sizeof(now.status), "starting");
    }
    return now;
}

/* ---- the socket ---- */

/* Returns whether the manager's socket has taken it. */
static bool notify_send(struct arbiter *a, const char *text, size_t len)
{
    struct notify *n = &a->notify;
    const ssize_t sent = sendto(n->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                                (const struct sockaddr *)&n->to, n->to_len);
    const int error = sent < 0 ? errno : 0;

    if (error && !n->is_unheard)
        log_warning(a->log, "the service manager does not hear", F_ERR(-error));
    n->is_unheard = error != 0;
    return error == 0;
}

void notify_look(struct arbiter *a)
{
    char text[NOTIFY_TEXT_LEN];
    struct notify_news now;
    size_t len;

    if (a->notify.to_len == 0)
        return;
    now = news_of(a);
    len = notify_text(&a->notify.said, &now, clock_mono_ns() / 1000, text);
    if (len == 0 || notify_send(a, text, len))
        a->notify.said = now;
}

void notify_refused(struct arbiter *a, const char *why)
{
    struct notify_news now = {.phase = NOTIFY_STARTING};
    char text[NOTIFY_TEXT_LEN];

    if (a->notify.to_len == 0)
        return;
    snprintf(now.status, sizeof(now.status), "cannot start: %s", why);
    for (char *p = now.status; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    notify_send(a, text, notify_text(&(struct notify_news){0}, &now, 0, text));
}

static void on_watchdog(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    static const char text[] = "WATCHDOG=1\n";

    notify_send(ev_userdata(loop), text, strlen(text));
}

void notify_attach(struct arbiter *a)
{
    struct notify *n = &a->notify;

    if (n->to_len == 0 || n->watchdog_us == 0)
        return;
    ev_timer_init(&n->watchdog, on_watchdog, 0., MAX((double)n->watchdog_us / 2e6, 1e-3));
    ev_timer_start(a->loop, &n->watchdog);
}

/* ---- the environment ---- */

static const char socket_name[] = "NOTIFY_SOCKET", period_name[] = "WATCHDOG_USEC",
                  process_name[] = "WATCHDOG_PID";

/* A path, or @ and an abstract name. */
static bool read_address(struct notify *n, const char *text)
{
    const size_t len = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof(n->to.sun_path))
        return false;
    n->to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(n->to.sun_path, text, len);
    if (text[0] == '@')
        n->to.sun_path[0] = '\0';
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
    return true;
}

/* 0 = another process is watched, or none. A daemon is the child of the process that was meant. */
static uint64_t read_watchdog(const struct arbiter *a, bool is_daemon)
{
    const char *period = getenv(period_name), *process = getenv(process_name);
    uint64_t period_us = 0, pid = 0;

    if (!period)
        return 0;
    if (num_parse_u64(period, 0, INT64_MAX, &period_us) < 0) {
        log_warning(a->log, "WATCHDOG_USEC is no number of microseconds: no watchdog is fed",
                    F_STR("value", period));
        return 0;
    }
    if (process && (num_parse_u64(process, 1, INT32_MAX, &pid) < 0 ||
                    ((pid_t)pid != getpid() && !(is_daemon && (pid_t)pid == getppid()))))
        return 0;
    return period_us;
}

void notify_open(struct arbiter *a, enum notify_phase phase, bool is_daemon)
{
    struct notify *n = &a->notify;
    const char *text = getenv(socket_name);

    n->said.phase = phase;
    if (text && *text && read_address(n, text)) {
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        n->watchdog_us = read_watchdog(a, is_daemon);
    } else if (text && *text) {
        log_warning(a->log,
                    "NOTIFY_SOCKET is no absolute path of a unix socket, and no name after @",
                    F_STR("value", text));
    }
    notify_hide();
}

void notify_close(struct arbiter *a)
{
    if (a->notify.to_len)
        fds_close(&a->notify.fd);
    a->notify.to_len = 0;
}

void notify_hide(void)
{
    unsetenv(socket_name);
    unsetenv(period_name);
    unsetenv(process_name);
}

int notify_export(const struct arbiter *a)
{
    const struct notify *n = &a->notify;
    char address[sizeof(n->to.sun_path) + 1] = "", period[24], process[16];
    int rc = 0;

    if (n->to_len == 0)
        return 0;
    memcpy(address, n->to.sun_path, n->to_len - offsetof(struct sockaddr_un, sun_path));
    if (address[0] == '\0')
        address[0] = '@';
    snprintf(period, sizeof(period), "%" PRIu64, n->watchdog_us);
    snprintf(process, sizeof(process), "%d", (int)getpid());
    rc = setenv(socket_name, address, 1);
    if (rc == 0 && n->watchdog_us)
        rc = setenv(period_name, period, 1) < 0 || setenv(process_name, process, 1) < 0 ? -1 : 0;
    return rc < 0 ? -ENOMEM : 0;
}
