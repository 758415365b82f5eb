/*
 * How one rendered line reaches its target. Any process, signal handlers included: nothing here
 * allocates, locks or blocks.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>
#include "base/num.h"
#include "base/title.h"
#include "base/util.h"

int log_syslog_address(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    strcpy(ret->sun_path, path);
    return 0;
}

static ssize_t write_once(const struct log *log, const char *line, size_t len)
{
    struct pollfd p = {.fd = log->fd, .events = POLLOUT};
    ssize_t n;

    if (log->must_poll && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
        return -1;
    do
        n = log->is_socket ? send(log->fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : write(log->fd, line, len);
    while (n < 0 && errno == EINTR);
    return n;
}

/* @line has a newline before its first byte, for the case that the last line broke off. */
static bool write_stream(struct log *log, const char *line, size_t len)
{
    if (log->is_line_cut) {
        line--;
        len++;
    }
    ssize_t n = write_once(log, line, len);
    if (n > 0)
        log->is_line_cut = (size_t)n < len;
    return n == (ssize_t)len;
}

/* "<PRIORITY>NAME[PID]: "; snprintf may not be called by a signal handler. */
static size_t render_head(char *head, enum log_level level)
{
    static const int priorities[] = {
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
        [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_WARNING] = LOG_WARNING,
        [LOG_LEVEL_ERROR] = LOG_ERR,
    };
    const char *name = title_program();
    char *p = head;

    *p++ = '<';
    p = num_put(p, LOG_DAEMON | (unsigned)priorities[level], 10, 1);
    *p++ = '>';
    p = mempcpy(p, name, strnlen(name, 48));
    *p++ = '[';
    p = num_put(p, (unsigned)getpid(), 10, 1);
    p = mempcpy(p, "]: ", 3);
    return (size_t)(p - head);
}

/*
 * Spoken directly, because syslog(3) may block, hides its descriptor (a process that closes all
 * but what it knows would later send its log to whoever gets that number) and cannot say that a
 * line was lost. The daemon adds the time; sending by address survives the daemon's restart.
 */
static bool write_syslog(const struct log *log, enum log_level level, const char *line, size_t len)
{
    struct sockaddr_un un;
    char head[96];

    if (log_syslog_address(log->path, &un) < 0)
        return false;
    struct iovec iov[] = {
        {.iov_base = head, .iov_len = render_head(head, level)},
        {.iov_base = (void *)(uintptr_t)line, .iov_len = len - 1}, /* without the newline */
    };
    struct msghdr msg = {
        .msg_name = &un, .msg_namelen = sizeof(un), .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
    return sendmsg(log->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

bool log_write_line(struct log *log, enum log_level level, const char *line, size_t len)
{
    if (log->is_syslog)
        return write_syslog(log, level, line, len);
    return write_stream(log, line, len);
}
