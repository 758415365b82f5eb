/*
 * Detaching from the terminal. Errors go to the terminal until the server serves.
 */
#include "server/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fds.h"

/* The server dies without a word: its end of the pipe closes, and that is an answer too. */
static int wait_for_report(int fd)
{
    uint8_t code;
    ssize_t n;

    do
        n = read(fd, &code, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? code : EX_SOFTWARE;
}

int daemon_detach(struct daemon_launch *ret)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid = fork();
    if (pid < 0) {
        int rc = -errno;

        fds_close(&ends[0]);
        fds_close(&ends[1]);
        return rc;
    }
    if (pid > 0) {
        fds_close(&ends[1]);
        return wait_for_report(ends[0]) + 1;
    }
    fds_close(&ends[0]);
    /* A child is no group leader, so this cannot fail; without a terminal it never gets one by
     * accident. */
    setsid();
    ret->fd = ends[1];
    return 0;
}

void daemon_report(struct daemon_launch *launch, int code)
{
    const uint8_t byte = (uint8_t)code;

    if (launch->fd < 0)
        return;
    fds_write_all(launch->fd, &byte, 1);
    fds_close(&launch->fd);
    if (code == EX_OK)
        fds_null_stdio();
}
