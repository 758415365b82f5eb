/*
 * Datagrams with descriptors, and the sealed files that go with them. Runs in a worker.
 */
#include "net/move_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/fds.h"

enum { PIPE_BYTES = 1 << 20 };

/* As much as a pipe of any user may hold. */
static int fill_pipe(struct iovec *iov, int n_iov)
{
    size_t bytes = 0;
    int ends[2];
    int rc;

    for (int i = 0; i < n_iov; i++)
        bytes += iov[i].iov_len;
    if (bytes > PIPE_BYTES)
        return -EFBIG;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, (int)bytes); /* if it is not granted, a write fails */
    rc = fds_writev_all(ends[1], iov, n_iov);
    fds_close(&ends[1]);
    if (rc < 0)
        fds_close(&ends[0]);
    return rc < 0 ? rc : ends[0];
}

int move_file(struct iovec *iov, int n_iov)
{
    int fd = fds_memfd("move");
    int rc;

    if (fd < 0) {
        rc = fill_pipe(iov, n_iov);
        return rc < 0 ? fd : rc;
    }
    rc = fds_write_sealed(fd, iov, n_iov);
    if (rc < 0)
        fds_close(&fd);
    return rc < 0 ? rc : fd;
}

/* What its writer had in it when it closed it, all of it. */
static int map_pipe(int fd, uint64_t bytes, const uint8_t **ret)
{
    int there = 0;
    size_t done = 0;
    uint8_t *p;

    if (ioctl(fd, FIONREAD, &there) < 0 || there <= 0 || (uint64_t)there != bytes)
        return -EBADMSG;
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    while (done < bytes) {
        const ssize_t n = read(fd, p + done, bytes - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            munmap(p, bytes);
            return -EBADMSG;
        }
        done += (size_t)n;
    }
    *ret = p;
    return 0;
}

int move_map(int fd, uint64_t bytes, const uint8_t **ret)
{
    struct stat st;
    const void *data;
    size_t len;
    int rc;

    if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        return map_pipe(fd, bytes, ret);
    rc = fds_map_sealed(fd, bytes, &data, &len);
    if (rc < 0)
        return rc;
    if (len != bytes) {
        munmap((void *)(uintptr_t)data, len);
        return -EBADMSG;
    }
    *ret = data;
    return 0;
}

int move_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds)
{
    return fdpass_send(fd, data, len, fds, n_fds);
}

int move_receive(int fd, struct move_datagram *ret)
{
    int rc;

    /* ECONNRESET is reported once. */
    do
        rc = fdpass_receive(fd, &(struct iovec){ret->data, sizeof(ret->data)}, 1, &ret->got);
    while (rc == -ECONNRESET);
    if (rc < 0)
        return rc;
    ret->is_cut = ret->got.is_data_cut || ret->got.is_fds_cut;
    return ret->got.len == 0 && ret->got.n_fds == 0 ? MOVE_END : 0;
}
