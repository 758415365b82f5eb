/*
 * Glob patterns as Redis has them: * ? [abc] [^abc] [a-z] and a backslash before any of these.
 * Pure.
 */
#ifndef PUBSUB_GLOB_H
#define PUBSUB_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* glob_match - does all of the text match? At most pattern_len * len steps. */
bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t len);

#endif
