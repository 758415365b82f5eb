/*
 * The result of `info` as text for people. Pure; writes to a stream that it is given.
 */
#ifndef MEASURE_INFO_TEXT_H
#define MEASURE_INFO_TEXT_H

#include <jansson.h>
#include <stdio.h>

/*
 * info_text_write - the arbiter, a table of its workers, the totals and what else has happened
 * Returns 0, -EBADMSG (that is no such result) or -ENOMEM.
 */
int info_text_write(FILE *f, const json_t *info);

#endif
