/*
 * One log line from a signal handler: the same bytes as log_render's, made without what POSIX
 * forbids there. Values are text of our own; a byte that would need an escape is written as '?'.
 */
#ifndef BASE_LOG_RAW_H
#define BASE_LOG_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

struct log_raw {
    bool is_json;
    bool is_cut; /* a field did not fit; none follows */
    size_t len;
    char text[1 + LOG_LINE_MAX]; /* the line stands behind a newline: log_write_line's rule */
};

/* log_raw_begin - time, level, actor, pid and message */
void log_raw_begin(struct log_raw *l, const struct log *log, enum log_level level, uint64_t wall_ns,
                   unsigned pid, const char *message);

/* A field each; NULL is written as "". log_raw_address - hexadecimal, as a string */
void log_raw_str(struct log_raw *l, const char *key, const char *value);
void log_raw_uint(struct log_raw *l, const char *key, uint64_t value);
void log_raw_address(struct log_raw *l, const char *key, uint64_t value);

/* log_raw_digits - @value to the @base (10 or 16), behind "0x" if 16; @p has room for 24 bytes.
 * Returns the end, which is terminated. */
char *log_raw_digits(char *p, uint64_t value, unsigned base);

/* log_raw_end - the line's end; it stands at @l->text + 1. Returns its length. */
size_t log_raw_end(struct log_raw *l);

#endif
