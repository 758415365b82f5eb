/*
 * What the parsing child tells its parent: rows (key, line, canonical text), or errors. Bytes in,
 * values out; the reading side trusts nothing.
 */
#ifndef CONF_CONFIG_ANSWER_H
#define CONF_CONFIG_ANSWER_H

#include <stddef.h>
#include "conf/config.h"
#include "conf/config_errors.h"

/*
 * config_answer_encode - the errors, or without any the values of @c that come from the file
 * @ret  owned by the caller, free()
 * Returns 0 or -ENOMEM.
 */
int config_answer_encode(const struct config *c, const struct config_errors *errors, char **ret,
                         size_t *ret_len);

/*
 * config_answer_decode - apply the rows to @c, or take the errors
 * Returns 0, -EINVAL (@errors has texts of the child's), -EBADMSG (not such an answer, or not all
 * of it; @c may be half filled) or -ENOMEM.
 */
int config_answer_decode(const char *data, size_t len, struct config *c,
                         struct config_errors *errors);

#endif
