/*
 * Bytes as text that people read and write: configuration, command line, messages of errors. Pure.
 */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stddef.h>
#include <stdint.h>

/*
 * escape_bytes - printable ASCII as it is, the rest as \r \n \t \\ \" \xHH
 * @buf  4 * @len + 1 bytes. Returns @buf.
 */
char *escape_bytes(const uint8_t *bytes, size_t len, char *buf);

/*
 * escape_read - \r \n \t \f \\ \" and \xHH become bytes; everything else stands for itself
 * @ret  @size bytes; untouched on failure
 * Returns 0, -EINVAL (an escape that is none of these) or -E2BIG.
 */
int escape_read(const char *text, uint8_t *ret, size_t size, size_t *ret_len);

#endif
