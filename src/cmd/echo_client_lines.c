/*
 * Lines of the standard input: any bytes but the newline, of any length up to a bound. What has
 * been read is never waited for, so that the caller knows when it may send a batch off.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/echo_client.h"

enum { LINES_CHUNK = 262144 };

void lines_init(struct lines *l, int fd)
{
    *l = (struct lines){.fd = fd};
}

void lines_fini(struct lines *l)
{
    free(l->data);
    *l = (struct lines){.fd = -1};
}

int lines_take(struct lines *l, const char **ret, size_t *ret_len)
{
    char *from = l->data + l->start;
    char *newline = NULL;

    if (l->len > l->scanned)
        newline = memchr(from + l->scanned, '\n', l->len - l->scanned);
    if (!newline) {
        l->scanned = l->len;
        if (!l->is_end || l->len == 0)
            return 0;
    }
    *ret = from;
    *ret_len = newline ? (size_t)(newline - from) : l->len;
    l->start += *ret_len + (newline ? 1 : 0);
    l->len -= *ret_len + (newline ? 1 : 0);
    l->scanned = 0;
    return 1;
}

static int grow(struct lines *l)
{
    size_t capacity = l->capacity ? l->capacity * 2 : LINES_CHUNK;
    char *data = realloc(l->data, capacity);

    if (!data)
        return -ENOMEM;
    l->data = data;
    l->capacity = capacity;
    return 0;
}

int lines_fill(struct lines *l, size_t max)
{
    ssize_t n;

    if (l->start > 0)
        memmove(l->data, l->data + l->start, l->len);
    l->start = 0;
    if (l->len > max)
        return -EMSGSIZE;
    if (l->len == l->capacity && grow(l))
        return -ENOMEM;
    do {
        n = read(l->fd, l->data + l->len, l->capacity - l->len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    l->len += (size_t)n;
    l->is_end = n == 0;
    return 0;
}
