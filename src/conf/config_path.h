/*
 * Relative paths of the configuration, made absolute without looking at the file system: the file
 * may not exist yet, and a link is to be followed (or refused) by who opens it.
 */
#ifndef CONF_CONFIG_PATH_H
#define CONF_CONFIG_PATH_H

#include <stdbool.h>
#include <stddef.h>

/*
 * config_path_absolute - @path, joined to the working directory if it is relative
 * The server keeps the directory that it was started in for life, so this means the same thing in a
 * reload.
 * @path  borrowed, not empty
 * @ret   of @size bytes; untouched on failure
 * Returns 0, -ENAMETOOLONG, or what getcwd says.
 */
int config_path_absolute(const char *path, char *ret, size_t size);

/* config_path_is_same - two absolute paths, whose "//" and "/./" say nothing */
bool config_path_is_same(const char *a, const char *b);

#endif
