/*
 * What a reload changes, and the listings of -T and --manual.
 */
#ifndef CONF_CONFIG_DIFF_H
#define CONF_CONFIG_DIFF_H

#include <stdio.h>
#include "conf/config.h"

/*
 * config_diff - call @on_change for each key whose value differs, in the order of listings; it may
 * be NULL. Both have the same schema.
 * @old_text,@new_text  canonical, borrowed for the call
 * Returns the number of changed keys, or -ENOMEM.
 */
typedef void config_on_change(const struct config_row *row, const char *old_text,
                              const char *new_text, void *userdata);
int config_diff(const struct config *old, const struct config *new, config_on_change *on_change,
                void *userdata);

/*
 * config_has_lost_all - has the new file no key in any of the groups in which the old one had some?
 * So looks a file that was cut off or mixed up, rather than changed on purpose.
 */
bool config_has_lost_all(const struct config *old, const struct config *new);

/* config_dump - -T: each key, its effective value in the file's syntax, and its origin as a comment
 */
int config_dump(const struct config *c, FILE *out);

/*
 * config_manual - --manual: the keys of the program's own, as a part of a manual page (mdoc)
 * Returns 0, -ENOMEM or -EIO.
 */
int config_manual(const struct config_schema *s, FILE *out);

#endif
