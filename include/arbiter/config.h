/*
 * libarbiter: configuration keys of a program's own, one row each.
 *
 * Everything that is said about a key is derived from its row: -t and -T, the difference that a
 * reload shows, `-o GROUP.KEY=VALUE`, the command `config`, and the error messages. A changed value
 * reaches new workers, which replace the old ones as in any reload.
 */
#ifndef ARB_CONFIG_H
#define ARB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of values, and the type of the field that holds one. */
enum arb_type {
    ARB_COUNT = 1, /* unsigned: a whole number */
    ARB_DURATION, /* uint64_t, milliseconds: in the file seconds, such as 0.5, or "200ms", "30s",
                     "5m", "1h" */
    ARB_SIZE, /* uint64_t, bytes: in the file such as 65536, "64k" or "64KiB" */
    ARB_BOOL, /* bool */
    ARB_TEXT, /* char[n]: at most n - 1 bytes, without NUL */
    ARB_BYTES, /* struct arb_bytes: with \r \n \t \f \\ \" \xHH in the file */
    ARB_CHOICE, /* unsigned: an index into `choices` */
};

enum { ARB_BYTES_MAX = 64 };

struct arb_bytes {
    size_t len;
    uint8_t data[ARB_BYTES_MAX];
};

/* A key. Made by the macros below, which check the type of the field. */
struct arb_key {
    const char *name; /* without its group: [a-z][a-z_]* */
    enum arb_type type;
    size_t offset, size; /* of the field, bytes */
    const char *initial; /* the default, as it would stand in the file, without quotes */
    uint64_t min, max; /* ARB_COUNT; ARB_DURATION: ms; ARB_SIZE, ARB_TEXT, ARB_BYTES: bytes */
    const char *const *choices; /* ARB_CHOICE: NULL-ended */
    const char *help; /* one line */
};

/* A table of them. The size of a row stands beside it, so that later versions can have more. */
struct arb_keys {
    const struct arb_key *first;
    size_t count, row_size;
};

/* clang-format off */
#define ARB_KEYS(table) { (table), sizeof(table) / sizeof((table)[0]), sizeof((table)[0]) }

/* Place and size of a field; does not compile if its type is not @t. */
#if defined(__GNUC__) && !defined(__cplusplus)
#define ARB_MUST_BE(s, f, t) \
    sizeof(char[__builtin_types_compatible_p(__typeof__(((s *)0)->f), t) ? 1 : -1])
#define ARB_MUST_BE_TEXT(s, f) ARB_MUST_BE(s, f, char[sizeof(((s *)0)->f)])
#else
#define ARB_MUST_BE(s, f, t) sizeof(&((s *)0)->f == (t *)0)
#define ARB_MUST_BE_TEXT(s, f) sizeof(&((s *)0)->f == (char (*)[sizeof(((s *)0)->f)])0)
#endif
#define ARB_FIELD(s, f, t) offsetof(s, f), sizeof(((s *)0)->f) + 0 * ARB_MUST_BE(s, f, t)

#define ARB_KEY_COUNT(s, f, initial, min, max, help) \
    { #f, ARB_COUNT, ARB_FIELD(s, f, unsigned), initial, min, max, NULL, help }
#define ARB_KEY_DURATION(s, f, initial, min_ms, max_ms, help) \
    { #f, ARB_DURATION, ARB_FIELD(s, f, uint64_t), initial, min_ms, max_ms, NULL, help }
#define ARB_KEY_SIZE(s, f, initial, min, max, help) \
    { #f, ARB_SIZE, ARB_FIELD(s, f, uint64_t), initial, min, max, NULL, help }
#define ARB_KEY_BOOL(s, f, initial, help) \
    { #f, ARB_BOOL, ARB_FIELD(s, f, bool), initial, 0, 1, NULL, help }
#define ARB_KEY_TEXT(s, f, initial, help) \
    { #f, ARB_TEXT, offsetof(s, f), sizeof(((s *)0)->f) + 0 * ARB_MUST_BE_TEXT(s, f), initial, 0, \
      sizeof(((s *)0)->f) - 1, NULL, help }
#define ARB_KEY_BYTES(s, f, initial, max, help) \
    { #f, ARB_BYTES, ARB_FIELD(s, f, struct arb_bytes), initial, 0, max, NULL, help }
#define ARB_KEY_CHOICE(s, f, initial, choices, help) \
    { #f, ARB_CHOICE, ARB_FIELD(s, f, unsigned), initial, 0, 0, choices, help }
/* clang-format on */

/* What the framework's own keys say, for a check across keys. */
struct arb_limits {
    uint64_t max_buffered; /* bytes per worker */
    uint32_t max_connections; /* per worker; 0 = what the limit of descriptors allows */
    uint32_t workers;
};

enum { ARB_SIZE_TEXT_LEN = 24 };

#pragma GCC visibility push(default)

/* arb_size_text - so many bytes as the file would have them, for messages: "64KiB". Returns @buf.
 */
const char *arb_size_text(uint64_t bytes, char buf[ARB_SIZE_TEXT_LEN]);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
