/*
 * One log a process: levels, text (logfmt) or JSON lines, to stderr, a file or syslog.
 * A line is one write; a log that cannot take it (full pipe, full disk) loses the line, counts it,
 * and says so when it takes lines again. Values are escaped here and nowhere else, so that no peer
 * can forge a line or steer a terminal.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/counters.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum { LOG_LINE_MAX = 4096, LOG_CAUSES = 64, LOG_WINDOW_MS = 5000 };

enum { LOG_CAUSE_FIELDS = 3 };

/* A cause that repeats: a message and the values of its first field and of those marked as cause.
 */
struct log_cause {
    uint64_t hash; /* 0 = free */
    uint64_t since_ms;
    uint64_t suppressed;
    enum log_level level;
    char message[96]; /* these three for the closing line, cut to their size */
    /* The first field and the marked ones; without such, the second one of the last line that was
     * held back. */
    char field[LOG_CAUSE_FIELDS][32];
    char value[LOG_CAUSE_FIELDS][96];
};

struct log {
    enum log_level level;
    enum log_format format;
    int fd; /* owned, above 2, close-on-exec: a forked child keeps it. -1 = every line is dropped */
    bool is_syslog;
    bool is_stderr;
    bool is_socket;
    bool must_poll; /* the descriptor may block: look before each write */
    bool is_line_cut; /* the last write was short: the next begins with a newline */
    char path[512]; /* the file, or syslog's socket; "" = stderr */
    char actor[32]; /* who writes: "arbiter", "worker.2" */
    counter_t *dropped; /* borrowed; may be NULL */
    uint64_t lost; /* dropped since the log last said so */
    uint64_t lost_said_ms; /* 0 = never */
    struct log_cause causes[LOG_CAUSES];
};

struct log_field {
    const char *key; /* borrowed; NULL ends the list, and a field whose key is "" is left out */
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_UINT } kind;
    const char *str; /* borrowed, escaped when written; NULL is written as "" */
    int64_t i;
    uint64_t u;
    bool is_cause; /* another value is another cause, which is not held back: log_emit_limited */
};

#define F_STR(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .str = (v)})
#define F_INT(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .i = (int64_t)(v)})
#define F_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_UINT, .u = (uint64_t)(v)})
#define F_CAUSE_STR(k, v)                                                                          \
    ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .str = (v), .is_cause = true})
#define F_CAUSE_INT(k, v)                                                                          \
    ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .i = (int64_t)(v), .is_cause = true})
#define F_ERR(e) F_CAUSE_STR("error", strerror((e) < 0 ? -(e) : (e)))

/*
 * log_open - begin to write; the process has to ignore SIGPIPE
 * @log     any bytes; the caller may set ->dropped afterwards
 * @path    "" = stderr, "syslog", "syslog:SOCKET" for a daemon at another place than usual, or a
 *   file (created 0640, appended to; no symbolic link but as of log_may_follow); borrowed
 * A pipe or terminal is reopened so that only this process's writes do not block.
 * Returns 0 or -errno; on failure @log writes to stderr.
 */
int log_open(struct log *log, const char *path, enum log_level level, enum log_format format,
             const char *actor);
/*
 * log_open_pipe - write to a pipe whose reader passes the lines on
 * @fd  borrowed: its writing end, not blocking. A line is shorter than PIPE_BUF: it goes in whole,
 * or, if the pipe is full, not at all.
 * Returns 0 or -errno.
 */
int log_open_pipe(struct log *log, int fd, enum log_level level, enum log_format format,
                  const char *actor);

/* log_may_follow - may a symbolic link of @owner say which file is the log? Root's may, and this
 * user's; and that of the owner of "/", who is root by another number in a user namespace. */
bool log_may_follow(uid_t owner);

/* log_forked - in a child: write as @actor, and leave the parent's counts to the parent */
void log_forked(struct log *log, const char *actor);

/* log_close - write the counts of repeated causes and close. NULL is fine. */
void log_close(struct log *log);

/* log_reopen - open the file again after a rotation. Returns 0, or -errno and goes on with the old
 * one. */
int log_reopen(struct log *log);

/*
 * log_emit - one line; async-signal-safe
 * log_emit_limited - at most one a cause in LOG_WINDOW_MS; the rest is counted and reported as
 * repeated=N by the cause's next line: a later emission, or log_flush_causes, with the first field
 * and the marked ones, or else the second of the last that was held back. With @now_ms given, for
 * tests.
 */
void log_emit(struct log *log, enum log_level level, const char *message,
              const struct log_field *fields);
void log_emit_limited(struct log *log, enum log_level level, const char *message,
                      const struct log_field *fields);
void log_emit_limited_at(struct log *log, uint64_t now_ms, enum log_level level,
                         const char *message, const struct log_field *fields);

/* log_say_lost - it takes lines again: mark the gap, no more often than any other cause */
void log_say_lost(struct log *log);

/* log_flush_causes - write "… repeated=N" for causes whose window has ended; @now_ms monotonic,
 * UINT64_MAX: for all, before the last line */
void log_flush_causes(struct log *log, uint64_t now_ms);

#define LOG_FIELDS_(...) ((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})
#define LOG_AT_(log, lvl, fn, msg, ...)                                                            \
    do {                                                                                           \
        if ((lvl) >= (log)->level)                                                                 \
            fn((log), (lvl), (msg), LOG_FIELDS_(__VA_ARGS__));                                     \
    } while (0)

#define log_debug(log, msg, ...)   LOG_AT_(log, LOG_LEVEL_DEBUG, log_emit, msg, __VA_ARGS__)
#define log_info(log, msg, ...)    LOG_AT_(log, LOG_LEVEL_INFO, log_emit, msg, __VA_ARGS__)
#define log_warning(log, msg, ...) LOG_AT_(log, LOG_LEVEL_WARNING, log_emit, msg, __VA_ARGS__)
#define log_error(log, msg, ...)   LOG_AT_(log, LOG_LEVEL_ERROR, log_emit, msg, __VA_ARGS__)
#define log_warning_limited(log, msg, ...)                                                         \
    LOG_AT_(log, LOG_LEVEL_WARNING, log_emit_limited, msg, __VA_ARGS__)
#define log_error_limited(log, msg, ...)                                                           \
    LOG_AT_(log, LOG_LEVEL_ERROR, log_emit_limited, msg, __VA_ARGS__)

/*
 * log_render - the pure part, async-signal-safe: one line, '\n' included, escaped, cut at @size
 * with a mark (cut=true)
 * @buf       NUL-terminated as well
 * @wall_ns   CLOCK_REALTIME
 * Returns the length, below @size; always > 0 for @size >= 128.
 */
size_t log_render(char *buf, size_t size, enum log_format format, enum log_level level,
                  const char *actor, int pid, uint64_t wall_ns, const char *message,
                  const struct log_field *fields);

/*
 * log_write_line - a rendered line to its target; async-signal-safe
 * @line  the byte before it is a newline, the last one as well
 * Returns whether all of it was taken.
 */
bool log_write_line(struct log *log, enum log_level level, const char *line, size_t len);

/* log_syslog_address - returns 0 or -ENAMETOOLONG */
struct sockaddr_un;
int log_syslog_address(const char *path, struct sockaddr_un *ret);

/* log_level_name, log_level_parse - "debug", "info", "warning", "error"; parse gives -EINVAL */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *text, enum log_level *ret);

#endif
