/*
 * Texts of any bytes as JSON. Paths are bytes of any kind and JSON is UTF-8: each byte stands as
 * one of the code points up to U+00FF. For what only our own processes read.
 */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include <jansson.h>

/* json_text - a new reference; NULL only without memory */
json_t *json_text(const char *text);

/*
 * json_text_read - the text again
 * @ret  malloc'ed, owned by the caller
 * Returns 0, -EBADMSG (not written by json_text) or -ENOMEM.
 */
int json_text_read(const json_t *value, char **ret);

#endif
