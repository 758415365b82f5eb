/*
 * A check of JSON against doc/echo-client.schema.json, by the few words of JSON Schema that stand
 * there. Stricter than a reader of that file has to be: a member that it does not list is an error.
 */
#ifndef SUPPORT_JSON_SCHEMA_H
#define SUPPORT_JSON_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* json_schema - the whole document: read once, for the life of the process */
const json_t *json_schema(void);

/* json_schema_has - is there a definition of that name? */
bool json_schema_has(const char *name);

/*
 * json_schema_check - is @value as the definition @name says?
 * @why  if not: where, and what is wrong; @size bytes
 */
bool json_schema_check(const char *name, const json_t *value, char *why, size_t size);

/*
 * json_schema_check_output - each line of what echo-client with @args has printed with --json is as
 * the definition of its command says, or an error; it fails the test otherwise. Without --json
 * nothing is looked at.
 */
void json_schema_check_output(const char *const *args, const char *out);

/* Set by a test whose server invents its answers: nothing is looked at. */
extern bool json_schema_is_off;

#endif
