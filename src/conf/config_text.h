/*
 * What libconfig does not check, read from the text itself before libconfig sees it: numbers (it
 * wraps 4294967296 to 0 and takes 1e999 as infinity), @include (it may exit the process), NUL,
 * depth, and keys that are unknown or given twice (it would stop at the first). Pure: bytes in,
 * errors out.
 */
#ifndef CONF_CONFIG_TEXT_H
#define CONF_CONFIG_TEXT_H

#include <stddef.h>
#include "conf/config.h"
#include "conf/config_errors.h"

enum { CONFIG_TEXT_DEPTH = 16, CONFIG_TEXT_UNREADABLE = 1 };

struct config_text {
    struct {
        unsigned line; /* where the key stands; 0 = nowhere */
        const char *number; /* borrowed from the text: a number as it was written, or NULL */
        size_t number_len;
    } key[CONFIG_KEYS_MAX];
};

/*
 * config_text_scan - check the text, note its keys and numbers
 * What is reported is blanked out of the text, lines kept, so that libconfig reads the rest and its
 * errors can be told together with these.
 * @text    NUL-terminated after @len bytes; changed
 * @path    for the messages
 * @errors  takes what is wrong
 * Returns 0, or CONFIG_TEXT_UNREADABLE if libconfig had better not see it (an error says why).
 */
int config_text_scan(const struct config_schema *schema, char *text, size_t len, const char *path,
                     struct config_text *ret, struct config_errors *errors);

#endif
