/*
 * The file is empty, of mode 0600, and there only while somebody has the lock, or was killed then.
 */
#include "base/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fds.h"

enum { GONE = 1, STEP_MS = 5 };

static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_size == 0 &&
           (st->st_mode & 077) == 0;
}

/* Returns GONE if who had it has removed it in the meantime. */
static int take_once(const char *path, int *ret_fd)
{
    struct stat ours, there;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
    int rc = 0;

    if (fd < 0)
        return errno == ELOOP || errno == EISDIR ? -EEXIST : -errno;
    if (fstat(fd, &ours) < 0)
        rc = -errno;
    else if (!is_ours(&ours))
        rc = -EEXIST;
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK || errno == EINTR ? -EBUSY : -errno;
    else if (lstat(path, &there) < 0 || there.st_dev != ours.st_dev || there.st_ino != ours.st_ino)
        rc = GONE;
    if (rc == 0) {
        *ret_fd = fd;
        return 0;
    }
    if (rc != -EBUSY && rc != -EEXIST && rc != GONE)
        unlink(path); /* there is no lock to be had: leave nothing */
    fds_close(&fd);
    return rc;
}

int lockfile_take(const char *path, unsigned patience_ms, int *ret_fd)
{
    int rc = take_once(path, ret_fd);

    for (unsigned ms = 0; ms < patience_ms && (rc == -EBUSY || rc == GONE); ms += STEP_MS) {
        if (rc == -EBUSY)
            nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
        rc = take_once(path, ret_fd);
    }
    return rc == GONE ? -EBUSY : rc;
}

void lockfile_release(const char *path, int *fd)
{
    if (*fd < 0)
        return;
    unlink(path); /* first: whoever has opened this file finds that it is gone */
    fds_close(fd);
}
