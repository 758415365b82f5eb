/*
 * Where log lines go and which of them may go. Any process; never blocks, never fails its caller:
 * what the log cannot take at once is dropped and counted.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fds.h"
#include "base/hash.h"
#include "base/util.h"

enum { LINKS_MAX = 40 }; /* as many as the kernel follows */

/* --- targets ---------------------------------------------------------------------------------- */

/* 0, 1 and 2 belong to who started us, even while one of them is closed. */
static int above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    fds_close(&fd);
    return moved;
}

/*
 * O_NONBLOCK belongs to the open file description, which stderr shares with the shell and others:
 * set there, it would break them. So a pipe or terminal is opened anew; where that is refused
 * (another user's terminal, no /proc), each write is preceded by a poll.
 */
static void open_stderr(struct log *log)
{
    struct stat st;

    log->is_stderr = true;
    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
        log->fd = above_stdio(
            open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_APPEND | O_CLOEXEC | O_NOCTTY));
    if (log->fd < 0) {
        log->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        log->must_poll = true;
    }
    log->is_socket = S_ISSOCK(st.st_mode);
}

bool log_may_follow(uid_t owner)
{
    struct stat st;

    return owner == 0 || owner == geteuid() || (stat("/", &st) == 0 && owner == st.st_uid);
}

/* Where the link at @path leads to. Returns 0, 1 (it is one of /proc, which no path replaces) or
 * -errno. */
static int read_link(const char *path, char target[PATH_MAX])
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), rc = 0;
    struct statfs fs;
    struct stat st;
    ssize_t n = 0;

    if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        rc = -errno;
    else if (fs.f_type == PROC_SUPER_MAGIC)
        rc = 1;
    else if (!log_may_follow(st.st_uid))
        rc = -ELOOP;
    else if ((n = readlinkat(fd, "", target, PATH_MAX)) < 0)
        rc = -errno;
    else if (n == PATH_MAX)
        rc = -ENAMETOOLONG;
    else
        target[n] = '\0';
    fds_close(&fd);
    return rc;
}

/* @path becomes what the link at it says. Returns 0 or -ENAMETOOLONG. */
static int enter_link(char path[PATH_MAX], const char *target)
{
    const char *slash = strrchr(path, '/');
    const size_t dir_len = *target == '/' || !slash ? 0 : (size_t)(slash + 1 - path);

    if (dir_len + strlen(target) >= PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(path + dir_len, target);
    return 0;
}

/*
 * Non-blocking, so that a FIFO without a reader is an error and one that is full drops lines.
 * Links are followed one by one, by what they are and not by their name, so that whoever may write
 * in the directory cannot put another one there meanwhile.
 */
static int open_file(const char *path)
{
    static const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    char at[PATH_MAX], target[PATH_MAX];

    snprintf(at, sizeof(at), "%s", path);
    for (int n_links = 0; n_links < LINKS_MAX; n_links++) {
        int fd = open(at, flags | O_NOFOLLOW, 0640), rc;

        if (fd < 0 && errno == ELOOP) {
            rc = read_link(at, target);
            if (rc == 0)
                rc = enter_link(at, target);
            if (rc == 0)
                continue;
            if (rc < 0)
                return rc;
            fd = open(at, flags, 0640);
        }
        fd = above_stdio(fd);
        return fd < 0 ? -errno : fd;
    }
    return -ELOOP;
}

/* A probe is connected, so that a daemon that is not there is heard of now. */
static int open_syslog(struct log *log)
{
    struct sockaddr_un un;
    int r = log_syslog_address(log->path, &un);
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int fd = above_stdio(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

    if (r == 0 && (probe < 0 || fd < 0))
        r = -errno;
    if (r == 0 && connect(probe, (struct sockaddr *)&un, sizeof(un)) < 0)
        r = -errno;
    fds_close(&probe);
    if (r < 0)
        fds_close(&fd);
    log->fd = fd;
    log->is_syslog = r == 0;
    return r;
}

static int open_target(struct log *log, const char *path)
{
    static const char syslog[] = "syslog", syslog_at[] = "syslog:";
    const bool is_default = strcmp(path, syslog) == 0;
    const bool is_syslog = is_default || strncmp(path, syslog_at, strlen(syslog_at)) == 0;

    if (is_syslog)
        path = is_default ? _PATH_LOG : path + strlen(syslog_at);
    if (strlen(path) >= sizeof(log->path))
        return -ENAMETOOLONG;
    strcpy(log->path, path);
    if (is_syslog)
        return open_syslog(log);
    if (*path)
        log->fd = open_file(path);
    return *path && log->fd < 0 ? log->fd : 0;
}

int log_open(struct log *log, const char *path, enum log_level level, enum log_format format,
             const char *actor)
{
    int r;

    *log = (struct log){.level = level, .format = format, .fd = -1};
    snprintf(log->actor, sizeof(log->actor), "%s", actor);
    r = open_target(log, path);
    if (r < 0 || !*path) {
        log->fd = -1;
        log->path[0] = '\0';
        open_stderr(log);
    }
    return r;
}

int log_open_pipe(struct log *log, int fd, enum log_level level, enum log_format format,
                  const char *actor)
{
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (copy < 0)
        return -errno;
    *log = (struct log){.level = level, .format = format, .fd = copy};
    snprintf(log->actor, sizeof(log->actor), "%s", actor);
    return 0;
}

int log_reopen(struct log *log)
{
    if (log->is_syslog || log->is_stderr)
        return 0;
    int fd = open_file(log->path);
    if (fd < 0)
        return fd;
    fds_close(&log->fd);
    log->fd = fd;
    log->is_line_cut = false;
    return 0;
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool emit(struct log *log, enum log_level level, const char *message,
                 const struct log_field *fields)
{
    char line[1 + LOG_LINE_MAX];
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t wall_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    line[0] = '\n';
    size_t len = log_render(line + 1, sizeof(line) - 1, log->format, level, log->actor,
                            (int)getpid(), wall_ns, message, fields);
    if (log_write_line(log, level, line + 1, len))
        return true;
    log->lost++;
    if (log->dropped)
        counter_add(log->dropped, 1);
    return false;
}

void log_say_lost(struct log *log)
{
    const uint64_t now_ms = clock_mono_ms(), lost = log->lost;
    const struct log_field fields[] = {F_UINT("count", lost), {.key = NULL}};

    if (log->lost_said_ms && now_ms - log->lost_said_ms < LOG_WINDOW_MS)
        return;
    log->lost_said_ms = now_ms;
    if (emit(log, LOG_LEVEL_WARNING, "log: lines were lost", fields))
        log->lost -= lost;
}

void log_emit(struct log *log, enum log_level level, const char *message,
              const struct log_field *fields)
{
    if (emit(log, level, message, fields) && log->lost > 0)
        log_say_lost(log);
}

/* --- causes that repeat ----------------------------------------------------------------------- */

/* The NUL included, so that "ab","c" is not "a","bc". */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

static const char *field_text(const struct log_field *f, char digits[24])
{
    if (!f || !f->key)
        return "";
    if (f->kind == LOG_FIELD_STR)
        return f->str ? f->str : "";
    snprintf(digits, 24, f->kind == LOG_FIELD_INT ? "%" PRId64 : "%" PRIu64,
             f->kind == LOG_FIELD_INT ? f->i : (int64_t)f->u);
    return digits;
}

static bool is_over(const struct log_cause *c, uint64_t now_ms)
{
    return now_ms >= c->since_ms && now_ms - c->since_ms >= LOG_WINDOW_MS;
}

static void write_cause(struct log *log, const struct log_cause *c)
{
    struct log_field fields[LOG_CAUSE_FIELDS + 2] = {{.key = NULL}};
    size_t n = 0;

    for (; n < LOG_CAUSE_FIELDS && c->field[n][0]; n++)
        fields[n] = F_STR(c->field[n], c->value[n]);
    fields[n] = F_UINT("repeated", c->suppressed);
    log_emit(log, c->level, c->message, fields);
}

void log_flush_causes(struct log *log, uint64_t now_ms)
{
    for (size_t i = 0; i < LOG_CAUSES; i++) {
        struct log_cause *c = &log->causes[i];
        if (c->hash == 0 || !is_over(c, now_ms))
            continue;
        if (c->suppressed == 0) {
            c->hash = 0;
            continue;
        }
        /* This is the cause's one line of the next window. */
        write_cause(log, c);
        c->suppressed = 0;
        c->since_ms = now_ms;
    }
}

/* The slot of that cause, else a free one, else the oldest, whose count is written first. */
static struct log_cause *find_cause(struct log *log, uint64_t hash)
{
    struct log_cause *free_one = NULL, *oldest = &log->causes[0];
    for (size_t i = 0; i < LOG_CAUSES; i++) {
        struct log_cause *c = &log->causes[i];
        if (c->hash == hash)
            return c;
        if (c->hash == 0 && !free_one)
            free_one = c;
        if (c->since_ms < oldest->since_ms)
            oldest = c;
    }
    if (free_one)
        return free_one;
    if (oldest->suppressed > 0)
        write_cause(log, oldest);
    oldest->hash = 0;
    return oldest;
}

static void keep_field(struct log_cause *c, size_t i, const struct log_field *f)
{
    char digits[24];

    snprintf(c->field[i], sizeof(c->field[i]), "%s", f && f->key ? f->key : "");
    snprintf(c->value[i], sizeof(c->value[i]), "%s", field_text(f, digits));
}

/* The marked fields behind the first one. Returns how many were kept. */
static size_t keep_marked(struct log_cause *c, const struct log_field *fields)
{
    size_t n = 0;

    for (const struct log_field *f = fields; f && f->key; f++)
        if (f != fields && f->is_cause && *f->key && n < LOG_CAUSE_FIELDS - 1)
            keep_field(c, ++n, f);
    return n;
}

static uint64_t hash_cause(const char *message, const struct log_field *fields)
{
    uint64_t h = hash_text(HASH_INIT, message);
    char digits[24];

    h = hash_text(h, field_text(fields, digits));
    for (const struct log_field *f = fields; f && f->key; f++)
        if (f != fields && f->is_cause)
            h = hash_text(h, field_text(f, digits));
    return h | 1;
}

static void emit_with_count(struct log *log, enum log_level level, const char *message,
                            const struct log_field *fields, uint64_t repeated)
{
    struct log_field copy[16] = {{.key = NULL}};
    size_t n = 0;

    for (; fields && fields[n].key && n < ARRAY_SIZE(copy) - 2; n++)
        copy[n] = fields[n];
    copy[n] = F_UINT("repeated", repeated);
    log_emit(log, level, message, copy);
}

void log_emit_limited_at(struct log *log, uint64_t now_ms, enum log_level level,
                         const char *message, const struct log_field *fields)
{
    const uint64_t hash = hash_cause(message, fields);
    struct log_cause *c = find_cause(log, hash);

    if (c->hash == hash && !is_over(c, now_ms)) {
        c->suppressed++;
        if (keep_marked(c, fields) == 0)
            keep_field(c, 1, fields && fields->key ? fields + 1 : NULL);
        return;
    }
    uint64_t repeated = c->hash == hash ? c->suppressed : 0;
    *c = (struct log_cause){.hash = hash, .since_ms = now_ms, .level = level};
    snprintf(c->message, sizeof(c->message), "%s", message);
    keep_field(c, 0, fields);
    keep_marked(c, fields);
    if (repeated > 0)
        emit_with_count(log, level, message, fields, repeated);
    else
        log_emit(log, level, message, fields);
}

void log_emit_limited(struct log *log, enum log_level level, const char *message,
                      const struct log_field *fields)
{
    log_emit_limited_at(log, clock_mono_ms(), level, message, fields);
}

void log_forked(struct log *log, const char *actor)
{
    snprintf(log->actor, sizeof(log->actor), "%s", actor);
    memset(log->causes, 0, sizeof(log->causes));
    log->lost = log->lost_said_ms = 0;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < LOG_CAUSES; i++) {
        if (log->causes[i].suppressed > 0)
            write_cause(log, &log->causes[i]);
    }
    memset(log->causes, 0, sizeof(log->causes));
    fds_close(&log->fd);
}
