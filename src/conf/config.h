/*
 * The configuration: one immutable struct that holds the values of all keys of a schema: those of
 * the framework in its own fields, those of each protocol in the struct that its author has
 * declared.
 */
#ifndef CONF_CONFIG_H
#define CONF_CONFIG_H

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"
#include "base/cpu_quota.h"
#include "base/log.h"
#include "conf/config_schema.h"

enum {
    CONFIG_BIND_MAX = 64,
    CONFIG_TRUSTED_MAX = 64,
    CONFIG_PROXY_FROM_MAX = 32,
    CONFIG_PATH_MAX = 512,
    CONFIG_OWNER_LEN = 64
};

enum config_affinity { AFFINITY_OFF, AFFINITY_AUTO, AFFINITY_LIST };

enum config_sandbox { SANDBOX_AUTO, SANDBOX_OFF, SANDBOX_REQUIRE };

/* Of which ends of connections there is a line; 1 = of all. */
#define LOG_CONNECTIONS_OFF    0u
#define LOG_CONNECTIONS_ERRORS UINT_MAX

enum config_origin_kind { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_COMMAND_LINE };

struct config_origin {
    enum config_origin_kind kind;
    unsigned line; /* ORIGIN_FILE: from 1 */
};

/* Who may connect to a unix socket. What is not said is left to the system. */
struct config_access {
    int mode; /* -1 = not said */
    char owner[CONFIG_OWNER_LEN]; /* a name or a number; "" = not said */
    char group[CONFIG_OWNER_LEN];
    uid_t uid; /* of `owner`, set by config_owners_apply; -1 = not said */
    gid_t gid;
};

/* Does a connection begin with a header of the PROXY protocol? */
enum config_proxy { CONFIG_PROXY_OFF, CONFIG_PROXY_ACCEPT, CONFIG_PROXY_REQUIRE };

/*
 * A listener. Its canonical text is "WORDS@ADDRESS", where words are separated by commas: PROTOCOL,
 * mode=MODE, owner=NAME, group=NAME, proxy=WORD and proxy_from=NET+NET; or ADDRESS alone for the
 * first protocol.
 */
struct config_bind {
    char *address; /* owned; as written, checked with addr_parse */
    unsigned protocol; /* index into the protocols of the schema */
    struct config_access access; /* of a unix socket */
    enum config_proxy proxy;
    struct addr_net proxy_from[CONFIG_PROXY_FROM_MAX]; /* whose headers are believed; of TCP */
    size_t n_proxy_from; /* not 0 with a header and TCP */
};

struct config {
    const struct config_schema *schema; /* borrowed */
    void *own[ARB_PROTOCOLS_MAX]; /* owned: conf_size bytes for each protocol of the schema */
    /* arbiter.* */
    unsigned workers; /* 0 = one per CPU of the affinity mask, or of `cpus` */
    enum config_affinity cpu_affinity;
    cpu_set_t cpus; /* AFFINITY_LIST: not empty */
    uint64_t boot_timeout_ms;
    uint64_t exit_timeout_ms;
    uint64_t stop_delay_ms; /* 0 = none */
    unsigned max_requests; /* 0 = never */
    uint64_t max_memory; /* bytes; 0 = never */
    uint64_t timeout_ms;
    bool has_keepers;
    uint64_t keep_after_ms; /* 0 = at once */
    char user[CONFIG_OWNER_LEN], group[CONFIG_OWNER_LEN]; /* whom workers run as; "" = not said */
    enum config_sandbox sandbox;
    char control[CONFIG_PATH_MAX]; /* "" = none, "auto", or absolute */
    struct config_access control_access;
    char steer_group[CONFIG_OWNER_LEN]; /* as an owner's group; "" = none */
    gid_t steer_gid; /* -1 = none */
    char pid_file[CONFIG_PATH_MAX]; /* "" = none; absolute */
    bool is_daemon;
    /* server.* */
    struct config_bind bind[CONFIG_BIND_MAX]; /* no address twice */
    size_t n_bind; /* 1..CONFIG_BIND_MAX */
    unsigned backlog;
    uint64_t keep_alive_ms; /* 0 = for ever */
    uint64_t message_timeout_ms;
    uint64_t write_timeout_ms;
    uint64_t max_buffered;
    unsigned max_connections; /* 0 = from RLIMIT_NOFILE */
    unsigned max_per_source; /* 0 = no limit */
    unsigned accept_rate; /* a second and source; 0 = no limit */
    struct addr_net trusted[CONFIG_TRUSTED_MAX];
    size_t n_trusted;
    /* log.* */
    enum log_level log_level;
    char log_file[CONFIG_PATH_MAX]; /* "" = stderr, "syslog", or an absolute path */
    enum log_format log_format;
    bool has_crash_payload;
    unsigned log_connections; /* LOG_CONNECTIONS_*, or N: one of N */
    /* status.* */
    char status_bind[ADDR_TEXT_LEN]; /* "" = none; as written, checked with addr_parse */

    char path[CONFIG_PATH_MAX]; /* absolute path of the file, "" = built-in defaults only */
    struct config_origin origin[CONFIG_KEYS_MAX];
};

/* The framework's rows; those without `allowed` have it in a schema. */
extern const struct config_row config_keys[CONFIG_KEYS];

/*
 * config_try_new - config_new with a schema whose defaults may not be allowed
 * @why  on -EINVAL: which is not; @why_size bytes
 * Returns 0, -EINVAL or -ENOMEM.
 */
int config_try_new(const struct config_schema *schema, struct config **ret, char *why,
                   size_t why_size);

/* config_new - all defaults. Owned by the caller: config_free. NULL only without memory. */
struct config *config_new(const struct config_schema *schema);
void config_free(struct config *c);

/* config_copy - owned by the caller. NULL only without memory. */
struct config *config_copy(const struct config *c);

/*
 * config_set - one value from its canonical text
 * The file parser, the command line and the table that the parsing child returns all come through
 * here. Lists are elements joined by '\n'; bytes may be written \r \n \t \f \\ \"
 * \xHH (a NUL only here as \x00: libconfig's strings cannot hold one). Relative paths are joined to
 * the working directory, which the server therefore never changes.
 * @why      on -EINVAL: "KEY: VALUE is …, allowed: …"; @why_size bytes
 * Returns 0, -EINVAL or -ENOMEM; on failure the configuration is unchanged.
 */
int config_set(struct config *c, int key, const char *text, struct config_origin origin, char *why,
               size_t why_size);

/* config_get - the value as canonical text, which config_set reads back. malloc'ed, owned by the
 * caller. */
char *config_get(const struct config *c, int key);

/*
 * config_check - what one key cannot know (e.g. paths that two of them make), and the checks of the
 * protocols
 * @why  on -EINVAL: "WHERE: KEY: VALUE is …, allowed: …"; @why_size bytes
 * Returns 0 or -EINVAL.
 */
int config_check(const struct config *c, char *why, size_t why_size);

/* config_where - the origin of a value: "default", "FILE:LINE" or "command line". Returns @buf. */
enum { CONFIG_WHERE_LEN = CONFIG_PATH_MAX + 16, CONFIG_WHY_LEN = 1024 };
const char *config_where(const struct config *c, int key, char *buf);

/* config_name_key - put before @why which key it is about, and where that is set: a file's
 * line, or the option that sets it */
void config_name_key(const struct config *c, int key, char *why, size_t why_size);

/*
 * config_fingerprint - of the rules of protocol @i: equal where its name, the version of its state,
 * the program's version and the values of its keys are
 * Returns 0 or -ENOMEM.
 */
int config_fingerprint(const struct config *c, size_t i, const char *version, uint64_t *ret);

/* config_has_source_limits - are connections counted by source? */
static inline bool config_has_source_limits(const struct config *c)
{
    return c->max_per_source > 0 || c->accept_rate > 0;
}

/* config_log_path - where the log goes: "" = standard error; NULL = syslog */
const char *config_log_path(const struct config *c);

/*
 * config_effective_workers - workers, with 0 resolved by the list of CPUs or the affinity mask, and
 * by the CPU quota of the control groups, whatever is the least of them
 * config_explain_workers - the same
 * @why  why so many: "arbiter.workers", "2 of 8 CPUs: quota of /sys/fs/cgroup/x"; @size bytes
 */
unsigned config_effective_workers(const struct config *c);
enum { CONFIG_WORKERS_WHY_LEN = CPU_QUOTA_PATH_MAX + 64 };
unsigned config_explain_workers(const struct config *c, char *why, size_t size);

/*
 * config_server - the number of the server that this is the configuration of
 * Two with the same file and pid file are the same server; without a file, two with the same
 * addresses.
 */
uint64_t config_server(const struct config *c);

/* config_cpu - the CPU for the worker of @slot (1..N) if this process may use @allowed; -1 = any */
int config_cpu(const struct config *c, const cpu_set_t *allowed, unsigned slot);

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

/* config_path_default - what is read if no file was named: @path, or NULL if nothing is there.
 * @path  borrowed; NULL = there is no such file */
const char *config_path_default(const char *path);

/* config_path_is_same - two absolute paths, whose "//" and "/./" say nothing */
bool config_path_is_same(const char *a, const char *b);

#endif
