/*
 * Tables whose rows may be shorter than here, because they were compiled with earlier headers.
 */
#ifndef BASE_ROWS_H
#define BASE_ROWS_H

#include <stddef.h>
#include <string.h>

/* row_read - row @i of @row_size bytes each, as one of @size: what it does not have is 0 */
static inline void row_read(void *row, size_t size, const void *first, size_t row_size, size_t i)
{
    memset(row, 0, size);
    memcpy(row, (const char *)first + i * row_size, row_size < size ? row_size : size);
}

#endif
