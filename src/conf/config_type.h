/*
 * The kinds of values that keys have: how the text of one is read, written, and stands in a file.
 * Private to src/conf; the rows of a schema give each key its kind.
 */
#ifndef CONF_CONFIG_TYPE_H
#define CONF_CONFIG_TYPE_H

#include <stddef.h>
#include "conf/config.h"

/* How a value is written in the file. */
enum config_syntax {
    SYNTAX_NUMBER, /* 4 */
    SYNTAX_DURATION, /* 4, 0.25, "200ms": the canonical text is a number */
    SYNTAX_SIZE, /* 65536, "64KiB": the canonical text stands in quotes */
    SYNTAX_BOOLEAN, /* true, false */
    SYNTAX_STRING, /* "…": the canonical text itself */
    SYNTAX_BYTES, /* "…": the canonical text is what stands between the quotes, escapes and all */
    /* "…", ["…", "…"], ("…", { address = "…"; protocol = "…"; }): the elements, joined by '\n' */
    SYNTAX_LISTENERS,
    SYNTAX_STRINGS, /* "…", ["…", "…"]: the elements, joined by '\n' */
};

struct config_type {
    enum config_syntax syntax;
    const char *word; /* for a value, in manuals: "count" */
    /*
     * set - from canonical text. Returns 0, -EINVAL or -ENOMEM; @c is then unchanged.
     * @problem  on -EINVAL: "VALUE is not …", without what is allowed; @size bytes
     */
    int (*set)(struct config *c, const struct config_row *row, const char *text, char *problem,
               size_t size);
    /* get - the canonical text, malloc'ed; NULL only without memory */
    char *(*get)(const struct config *c, const struct config_row *row);
    /* describe - what is allowed, malloc'ed; NULL: the row says it itself */
    char *(*describe)(const struct config_row *row);
};

extern const struct config_type config_type_count; /* unsigned */
extern const struct config_type config_type_duration; /* uint64_t milliseconds, text in seconds */
extern const struct config_type config_type_size; /* uint64_t bytes */
extern const struct config_type config_type_boolean; /* bool */
extern const struct config_type config_type_path; /* char[CONFIG_PATH_MAX], made absolute */
extern const struct config_type config_type_place; /* the same, or the one word that is no path */
extern const struct config_type config_type_control; /* the same, of a socket */
extern const struct config_type config_type_mode; /* int: of a file; -1 = not said */
extern const struct config_type config_type_owner; /* char[CONFIG_OWNER_LEN] */
extern const struct config_type config_type_choice; /* unsigned or enum: an index into choices */
extern const struct config_type config_type_text; /* char[n] */
extern const struct config_type config_type_bytes; /* struct arb_bytes */
extern const struct config_type config_type_cpus; /* enum config_affinity and cpus */
extern const struct config_type config_type_sample; /* unsigned: LOG_CONNECTIONS_* or N */
extern const struct config_type config_type_address; /* char[ADDR_TEXT_LEN] */
extern const struct config_type config_type_bind; /* bind and n_bind */
extern const struct config_type config_type_nets; /* trusted and n_trusted */

/* The types that authors may use. */
struct config_own_type {
    const struct config_type *type;
    size_t size; /* of the field; 0 = any */
    uint64_t max; /* of the row's bound */
};

/* config_own_type - NULL = there is no such type */
const struct config_own_type *config_own_type(enum arb_type type);

/*
 * config_bind_split - the text of an element of server.bind
 * @ret_len  bytes of the words before the '@', if there are any
 * Returns the address, which is borrowed from @text.
 */
const char *config_bind_split(const char *text, size_t *ret_len);

/* config_proxy_names - the words of server.bind's `proxy`, by enum config_proxy; ended by NULL */
extern const char *const config_proxy_names[];

/* config_owner_is_name - may a user or group be called so, or have that number? */
bool config_owner_is_name(const char *text, size_t len);

/*
 * config_show - a value as error messages show it: controls escaped, cut when long
 * @buf  CONFIG_SHOW_LEN bytes. Returns @buf.
 */
enum { CONFIG_SHOW_LEN = 128 };
const char *config_show(const char *text, size_t len, char *buf);

#endif
