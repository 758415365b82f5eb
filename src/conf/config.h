/*
 * The configuration: one immutable struct, and THE key table from which parsing, overrides, -T,
 * the reload's diff and the checks of man page and example file are derived.
 */
#ifndef CONF_CONFIG_H
#define CONF_CONFIG_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

/* clang-format off */
enum config_key {
    CONFIG_WORKERS, CONFIG_CPU_AFFINITY, CONFIG_BOOT_TIMEOUT, CONFIG_EXIT_TIMEOUT, CONFIG_MAX_REQUESTS,
    CONFIG_MAX_MEMORY, CONFIG_TIMEOUT, CONFIG_CONTROL, CONFIG_PID_FILE, CONFIG_DAEMON,
    CONFIG_BIND, CONFIG_BACKLOG, CONFIG_KEEP_ALIVE, CONFIG_MESSAGE_TIMEOUT, CONFIG_WRITE_TIMEOUT,
    CONFIG_MAX_MESSAGE, CONFIG_MAX_BUFFERED, CONFIG_MAX_CONNECTIONS, CONFIG_SEPARATOR,
    CONFIG_LOG_LEVEL, CONFIG_LOG_FILE, CONFIG_LOG_FORMAT, CONFIG_CRASH_PAYLOAD,
    CONFIG_KEYS
};
/* clang-format on */

enum { CONFIG_BIND_MAX = 64, CONFIG_SEPARATOR_MAX = 16, CONFIG_PATH_MAX = 512 };

/* What a reload does with a changed key. */
enum config_reload {
    RELOAD_ARBITER, /* the arbiter takes it over at once */
    RELOAD_WORKERS, /* takes effect with the new revision of workers */
    RELOAD_RESTART, /* needs a new start: a reload that changes it is refused */
};

enum config_affinity { AFFINITY_OFF, AFFINITY_AUTO, AFFINITY_LIST };

enum config_origin_kind { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_COMMAND_LINE };

struct config_origin {
    enum config_origin_kind kind;
    unsigned line; /* ORIGIN_FILE: from 1 */
};

struct config {
    /* arbiter.* */
    unsigned workers; /* 0 = one per CPU of the affinity mask, or of `cpus` */
    enum config_affinity cpu_affinity;
    cpu_set_t cpus; /* AFFINITY_LIST: not empty */
    uint64_t boot_timeout_ms;
    uint64_t exit_timeout_ms;
    unsigned max_requests; /* 0 = never */
    uint64_t max_memory; /* bytes; 0 = never */
    uint64_t timeout_ms;
    char control[CONFIG_PATH_MAX]; /* "" = none, "auto", or absolute */
    char pid_file[CONFIG_PATH_MAX]; /* "" = none; absolute */
    bool is_daemon;
    /* server.* */
    char *bind[CONFIG_BIND_MAX]; /* owned; as written, checked with addr_parse, no doubles */
    size_t n_bind; /* 1..CONFIG_BIND_MAX */
    unsigned backlog;
    uint64_t keep_alive_ms; /* 0 = for ever */
    uint64_t message_timeout_ms;
    uint64_t write_timeout_ms;
    uint64_t max_message;
    uint64_t max_buffered;
    unsigned max_connections; /* 0 = from RLIMIT_NOFILE */
    uint8_t separator[CONFIG_SEPARATOR_MAX];
    size_t separator_len; /* 0 = raw */
    /* log.* */
    enum log_level log_level;
    char log_file[CONFIG_PATH_MAX]; /* "" = stderr, "syslog", or an absolute path */
    enum log_format log_format;
    bool has_crash_payload;

    char path[CONFIG_PATH_MAX]; /* absolute path of the file, "" = built-in defaults only */
    struct config_origin origin[CONFIG_KEYS];
};

/* One row of THE table. `config_keys[CONFIG_WORKERS].name` is "arbiter.workers". */
struct config_row {
    const char *name;
    enum config_reload reload;
    const char *unit; /* "s", "bytes", "" */
    const char *initial; /* the default, as canonical text */
    const char *allowed; /* for error messages: "a whole number from 0 to 1024" */
    const char *help; /* one line */
    /* The rest is private to config.c. */
    const struct config_type *type;
    size_t offset;
    uint64_t min, max;
};
extern const struct config_row config_keys[CONFIG_KEYS];

enum { NOT_A_KEY = -1 };

/* config_find - the key of that full name, or NOT_A_KEY */
int config_find(const char *name);

/* config_new - all defaults. Owned by the caller: config_free. NULL only without memory. */
struct config *config_new(void);
void config_free(struct config *c);

/* config_copy - owned by the caller. NULL only without memory. */
struct config *config_copy(const struct config *c);

/*
 * config_set - one value from its canonical text
 * The file parser, the command line and the table that the parsing child returns all come through
 * here. Lists are elements joined by '\n'; the separator's bytes may be written \r \n \t \f \\ \"
 * \xHH (a NUL only here as \x00: libconfig's strings cannot hold one). Relative paths are joined to
 * the working directory, which the server therefore never changes.
 * @why      on -EINVAL: "KEY: VALUE is …, allowed: …"; @why_size bytes
 * Returns 0, -EINVAL or -ENOMEM; on failure the configuration is unchanged.
 */
int config_set(struct config *c, enum config_key key, const char *text, struct config_origin origin,
               char *why, size_t why_size);

/* config_get - the value as canonical text, which config_set reads back. malloc'ed, owned by the
 * caller. */
char *config_get(const struct config *c, enum config_key key);

/*
 * config_check - what one key cannot know (e.g. max_message against max_buffered)
 * @why  on -EINVAL: "WHERE: KEY: VALUE is …, allowed: …"; @why_size bytes
 * Returns 0 or -EINVAL.
 */
int config_check(const struct config *c, char *why, size_t why_size);

/* config_where - the origin of a value: "default", "FILE:LINE" or "command line". Returns @buf. */
enum { CONFIG_WHERE_LEN = CONFIG_PATH_MAX + 16, CONFIG_WHY_LEN = 1024 };
const char *config_where(const struct config *c, enum config_key key, char *buf);

/* config_name_key - put before @why which key it is about, and where that is set: a file's
 * line, or the option that sets it */
void config_name_key(const struct config *c, enum config_key key, char *why, size_t why_size);

/* config_log_path - where the log goes: "" = standard error; NULL = syslog */
const char *config_log_path(const struct config *c);

/* config_effective_workers - workers, with 0 resolved by the list of CPUs or the affinity mask */
unsigned config_effective_workers(const struct config *c);

/* config_cpu - the CPU for the worker of @slot (1..N) if this process may use @allowed; -1 = any */
int config_cpu(const struct config *c, const cpu_set_t *allowed, unsigned slot);

/* ---- names, cut at the dot: a group is known by its first key ---- */

/* config_name_group_len - bytes of the key's name before the dot */
size_t config_name_group_len(int key);

/* config_name_short - the key's name behind the dot */
const char *config_name_short(int key);

/* config_name_find_group - the first key of that group, or NOT_A_KEY */
int config_name_find_group(const char *name, size_t len);

/* config_name_group - the first key of the group that @key is in */
int config_name_group(int key);

/* config_name_find - the key of that short name, in @group or (NOT_A_KEY) in any; or NOT_A_KEY */
int config_name_find(int group, const char *name, size_t len);

/* config_name_list - "arbiter, server, log" or, with a group, its short names. Returns @buf. */
const char *config_name_list(int group, char *buf, size_t size);

/* config_name_explain - of a full name that config_find does not know: what there is instead */
void config_name_explain(const char *name, char *why, size_t why_size);

/*
 * ---- paths, made absolute without looking at the file system ----
 * The file may not exist yet, and a link is to be followed (or refused) by who opens it.
 */

/*
 * config_path_absolute - @path, joined to the working directory if it is relative
 * The server keeps the directory that it was started in for life, so this means the same thing in a
 * reload.
 * @path  borrowed, not empty
 * @ret   of @size bytes; untouched on failure
 * Returns 0, -ENAMETOOLONG, or what getcwd says.
 */
int config_path_absolute(const char *path, char *ret, size_t size);

/* config_path_is_same - two absolute paths, whose "//" and "/./" say nothing */
bool config_path_is_same(const char *a, const char *b);

#endif
