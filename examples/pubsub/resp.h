/*
 * RESP2, the protocol of Redis: commands in, replies out. Pure: it knows no connection.
 */
#ifndef PUBSUB_RESP_H
#define PUBSUB_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const char *data; /* borrowed, without a NUL */
    size_t len;
};

/* Text that grows. */
struct text {
    char *data; /* owned */
    size_t len, size;
};

#define WORD(literal)  ((struct bytes){literal, sizeof(literal) - 1})
#define BYTES_OF(text) ((struct bytes){(text).data, (text).len})

/* memory - as realloc; if memory runs out the process ends, as Redis does, and is replaced */
void *memory(void *old, size_t size);

void text_add(struct text *t, const void *data, size_t len);
void text_free(struct text *t);

/* resp_line - "+OK", ":1", "*2", "-ERR …"; ends of lines within become blanks, the end is added */
void resp_line(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void resp_bulk(struct text *t, struct bytes b); /* data NULL = the reply "nil" */
void resp_array(struct text *t, int n, ...); /* of so many struct bytes */

struct resp_parser {
    struct resp_limits {
        uint64_t max_inline, max_bulk, max_args;
    } limits;
    const struct bytes *args; /* of the command that was found, in `list` */
    size_t n_args;
    struct text list, unquoted; /* `unquoted`: arguments of an inline command; both to be freed */
    char error[64]; /* of RESP_ERROR */
};

/* Where the search stands in a command that has not come as a whole. Zeroed for a new one. */
struct resp_place {
    size_t at; /* bytes of it that were looked at */
    uint64_t n_left; /* arguments still to come */
};

enum resp_found { RESP_COMMAND, RESP_NOTHING, RESP_MORE, RESP_ERROR };

/*
 * resp_parse - find the first command
 * @place    where the search for it stands, a new one behind a command
 * @ret_len  bytes of it, for RESP_COMMAND and RESP_NOTHING (an empty command, which has no reply)
 * The arguments are borrowed until the next call, or until the data goes.
 */
enum resp_found resp_parse(struct resp_parser *p, struct bytes in, struct resp_place *place,
                           size_t *ret_len);

/* resp_number - digits as Redis wants them: no sign but '-', no blank, no zero in front */
bool resp_number(struct bytes text, int64_t *ret);

/* glob_match - as Redis: * ? [abc] [^abc] [a-z] \\. At most pattern.len * name.len steps. */
bool glob_match(struct bytes pattern, struct bytes name);

#endif
