/*
 * The wrapped calls.
 */
#include "support/calls.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/util.h"
#include "conformance/must.h"

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

struct calls calls;

void calls_reset(void)
{
    calls = (struct calls){.peer = -1, .other_peer = -1};
}

void calls_count_from_here(void)
{
    calls.n_reads = calls.n_writes = calls.n_allocations = 0;
}

/* Returns true if the call has to fail; bounds @len otherwise. */
static bool answer(struct answer *a, size_t *len)
{
    if (a->n_left == 0)
        return false;
    a->n_left--;
    errno = a->error;
    if (a->at_most > 0)
        *len = MIN(*len, a->at_most);
    return a->error != 0;
}

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
    if (fd == calls.peer || fd == calls.other_peer)
        return __real_recv(fd, buf, len, flags);
    calls.n_reads++;
    return answer(&calls.on_read, &len) ? -1 : __real_recv(fd, buf, len, flags);
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
    size_t len = iov[0].iov_len;

    calls.n_reads++;
    if (answer(&calls.on_read, &len))
        return -1;
    if (len < iov[0].iov_len)
        return __real_recv(fd, iov[0].iov_base, len, 0);
    return __real_readv(fd, iov, n);
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
    if (fd == calls.peer || fd == calls.other_peer)
        return __real_send(fd, buf, len, flags);
    calls.n_writes++;
    MUST(flags & MSG_NOSIGNAL, "a send without MSG_NOSIGNAL");
    return answer(&calls.on_write, &len) ? -1 : __real_send(fd, buf, len, flags);
}

static bool fails_to_allocate(void)
{
    calls.n_allocations++;
    return calls.fail_allocation > 0 && --calls.fail_allocation == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails_to_allocate() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_to_allocate() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails_to_allocate() ? NULL : __real_realloc(p, size);
}
