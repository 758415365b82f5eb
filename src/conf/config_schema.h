/*
 * The schema: which keys a program has. The framework's own rows come first, in the order of `enum
 * config_key`; behind them those of each protocol of the program. Parsing, overrides, -T, a
 * reload's difference and the checks of manual and example file are derived from the rows.
 */
#ifndef CONF_CONFIG_SCHEMA_H
#define CONF_CONFIG_SCHEMA_H

#include <arbiter/server.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
enum config_key {
    CONFIG_WORKERS, CONFIG_CPU_AFFINITY, CONFIG_BOOT_TIMEOUT, CONFIG_EXIT_TIMEOUT, CONFIG_STOP_DELAY,
    CONFIG_MAX_REQUESTS,
    CONFIG_MAX_MEMORY, CONFIG_TIMEOUT, CONFIG_KEEPERS, CONFIG_KEEP_AFTER, CONFIG_USER, CONFIG_GROUP,
    CONFIG_SANDBOX, CONFIG_CONTROL, CONFIG_CONTROL_MODE, CONFIG_CONTROL_OWNER, CONFIG_CONTROL_GROUP, CONFIG_STEER_GROUP,
    CONFIG_PID_FILE,
    CONFIG_DAEMON,
    CONFIG_BIND, CONFIG_BACKLOG, CONFIG_KEEP_ALIVE, CONFIG_MESSAGE_TIMEOUT, CONFIG_WRITE_TIMEOUT,
    CONFIG_MAX_BUFFERED, CONFIG_MAX_CONNECTIONS, CONFIG_MAX_PER_SOURCE, CONFIG_ACCEPT_RATE, CONFIG_TRUSTED,
    CONFIG_LOG_LEVEL, CONFIG_LOG_FILE, CONFIG_LOG_FORMAT, CONFIG_CRASH_PAYLOAD, CONFIG_LOG_CONNECTIONS,
    CONFIG_STATUS_BIND,
    CONFIG_KEYS /* of the framework: a program's own have numbers from here on */
};
/* clang-format on */

enum {
    NOT_A_KEY = -1,
    CONFIG_KEYS_MAX = 256, /* the framework's and a program's together */
    CONFIG_NAME_MAX = 63, /* bytes of GROUP.KEY, and of the name of a protocol */
    CONFIG_TEXT_MAX = 4096, /* bytes of an own text */
};

/* What a reload does with a changed key. */
enum config_reload {
    RELOAD_ARBITER, /* the arbiter takes it over at once */
    RELOAD_WORKERS, /* takes effect with the new revision of workers */
    RELOAD_RESTART, /* needs a new start: a reload that changes it is refused */
};

/* One row. `rows[CONFIG_WORKERS].name` is "arbiter.workers". */
struct config_row {
    const char *name;
    enum config_reload reload;
    const char *initial; /* the default, as canonical text */
    const char *allowed; /* for error messages: "a whole number from 0 to 1024" */
    const char *help; /* one line */
    /* The rest is private to src/conf. */
    const struct config_type *type;
    const char *const *choices; /* words that the value may be: NULL-ended, or NULL */
    size_t owner; /* 0 = the framework; i + 1 = protocol i */
    size_t offset, size; /* of the field, in the struct of the owner */
    uint64_t min, max;
    int group; /* the first key of its group, which stands for the group */
    size_t group_len; /* bytes of the name before the dot */
};

struct config_schema {
    struct config_row rows[CONFIG_KEYS_MAX];
    int n_keys;
    int listed[CONFIG_KEYS_MAX]; /* the keys in the order of listings: each group is in one piece */
    const struct arb_protocol *protocols[ARB_PROTOCOLS_MAX]; /* borrowed */
    size_t n_protocols;
    char *texts[2 * CONFIG_KEYS_MAX]; /* owned: names and descriptions */
    size_t n_texts;
};

/*
 * config_schema_new - the rows of the framework and of a program's protocols
 * @protocols  NULL-ended, borrowed for as long as the schema; NULL = none
 * @ret        owned by the caller: config_schema_free
 * @why        on -EINVAL, an error of the program: a sentence; @why_size bytes
 * Returns 0, -EINVAL or -ENOMEM.
 */
int config_schema_new(const struct arb_protocol *const *protocols, struct config_schema **ret,
                      char *why, size_t why_size);
void config_schema_free(struct config_schema *s);

/* config_schema_protocol - the index of that protocol, or -1 */
int config_schema_protocol(const struct config_schema *s, const char *name, size_t len);

/* config_find - the key of that full name, or NOT_A_KEY */
int config_find(const struct config_schema *s, const char *name);

/* ---- names, cut at the dot: a group is known by its first key ---- */

/* config_name_short - the key's name behind the dot */
const char *config_name_short(const struct config_row *row);

/* config_name_find_group - the first key of that group, or NOT_A_KEY */
int config_name_find_group(const struct config_schema *s, const char *name, size_t len);

/* config_name_find - the key of that short name, in @group or (NOT_A_KEY) in any; or NOT_A_KEY */
int config_name_find(const struct config_schema *s, int group, const char *name, size_t len);

/* config_name_meant - a key of @group, or (NOT_A_KEY) a group, of which the name may be a slip;
 * borrowed, of @ret_len bytes. "" = none */
const char *config_name_meant(const struct config_schema *s, int group, const char *name,
                              size_t len, size_t *ret_len);

/* config_name_list - "arbiter, server, log" or, with a group, its short names. Returns @buf. */
const char *config_name_list(const struct config_schema *s, int group, char *buf, size_t size);

/* config_name_protocols - the same of the protocols */
const char *config_name_protocols(const struct config_schema *s, char *buf, size_t size);

/* config_name_explain - of a full name that config_find does not know: what there is instead */
void config_name_explain(const struct config_schema *s, const char *name, char *why,
                         size_t why_size);

#endif
