/*
 * The rows from which the state is written, read, freed and searched for descriptors. Shared by
 * upgrade_state.c and upgrade_rows.c alone.
 */
#ifndef ARBITER_UPGRADE_ROWS_H
#define ARBITER_UPGRADE_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum kind {
    UINT, /* uint64_t, 0..max */
    WORD, /* uint64_t, any bits */
    BOOL,
    TEXT, /* char * */
    BYTES, /* struct state_bytes, at most max; any */
    FD, /* int, above 2 */
    MAYBE_FD, /* or -1 */
    JSON, /* json_t *, anything */
    LIST, /* a pointer and, at offset_n, a size_t; at most max */
    MAYBE_LIST, /* or missing: an image that knew nothing of it has none */
};

struct row {
    const char *name;
    enum kind kind;
    size_t offset, offset_n;
    uint64_t max;
    const struct table *of; /* LIST, MAYBE_LIST */
};

struct table {
    const struct row *rows;
    size_t n;
    size_t size; /* of the struct */
};

/* upgrade_state_table - of struct upgrade_state */
extern const struct table upgrade_state_table;

#endif
