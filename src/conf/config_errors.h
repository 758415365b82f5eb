/*
 * What is wrong with a file: a bounded list, in the order of its lines.
 */
#ifndef CONF_CONFIG_ERRORS_H
#define CONF_CONFIG_ERRORS_H

#include <stddef.h>

enum { CONFIG_ERRORS_MAX = 32, CONFIG_ERROR_LEN = 2048 };

/* Each text is "FILE:LINE: KEY: what, allowed: …". */
struct config_errors {
    size_t n;
    char *text[CONFIG_ERRORS_MAX]; /* owned */
    unsigned line[CONFIG_ERRORS_MAX];
    unsigned n_dropped; /* what did not fit, or found no memory */
};

/*
 * config_errors_add - one more, behind those of the same line and before those of later ones
 * @line  0 = the whole file, and no line in the text
 */
__attribute__((format(printf, 4, 5))) void config_errors_add(struct config_errors *e,
                                                             const char *path, unsigned line,
                                                             const char *format, ...);

/* config_errors_add_text - one that is complete already */
void config_errors_add_text(struct config_errors *e, unsigned line, const char *text);

/* config_errors_close - say how many did not fit; after it nothing may be added */
void config_errors_close(struct config_errors *e, const char *path);

void config_errors_fini(struct config_errors *e);

#endif
