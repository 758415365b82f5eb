/*
 * Standard streams that wait. The tool and the server's short answers (-t, --help).
 */
#include "base/std_streams.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* Whether the call that has just failed is to be made again. */
static bool wait_after(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    const bool is_full = errno == EAGAIN, is_early = is_full || errno == EINTR;

    if (is_full)
        (void)!poll(&p, 1, -1);
    return is_early;
}

ssize_t std_stream_read(int fd, void *buf, size_t size)
{
    ssize_t n;

    do {
        n = read(fd, buf, size);
    } while (n < 0 && wait_after(fd, POLLIN));
    return n;
}

static int write_error;

int std_streams_error(void)
{
    return write_error;
}

int std_stream_write(int fd, const void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = write(fd, (const char *)data + done, len - done);

        if (n >= 0)
            done += (size_t)n;
        else if (!wait_after(fd, POLLOUT))
            return -errno;
    }
    return 0;
}

/* As fopencookie(3) wants it: all, or 0 for an error, which errno names. */
static ssize_t write_waiting(void *cookie, const char *data, size_t len)
{
    const int rc = std_stream_write((int)(intptr_t)cookie, data, len);

    if (rc == 0)
        return (ssize_t)len;
    write_error = -rc;
    errno = -rc;
    return 0;
}

static FILE *open_waiting(int fd, FILE *before, int mode)
{
    FILE *f =
        fopencookie((void *)(intptr_t)fd, "w", (cookie_io_functions_t){.write = write_waiting});

    if (f)
        setvbuf(f, NULL, mode, BUFSIZ);
    return f ? f : before;
}

void std_streams_wait(void)
{
    stdout = open_waiting(STDOUT_FILENO, stdout, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
    stderr = open_waiting(STDERR_FILENO, stderr, _IOLBF);
}
