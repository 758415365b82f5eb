/*
 * Fork, with signals blocked until the child has lost the parent's handlers.
 */
#include "base/answerer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/signals.h"

static void __attribute__((noreturn))
answerer_begin(answerer_main *main, const void *job, int fd, pid_t parent)
{
    signals_default_all();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signals_unblock_all();
    main(job, fd);
    _exit(1);
}

int answerer_start(answerer_main *main, const void *job, pid_t *ret_pid, int *ret_fd)
{
    const pid_t parent = getpid();
    sigset_t mask;
    int ends[2], rc;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    rc = fds_set_nonblock(ends[0]);
    signals_block_all(&mask);
    pid = rc == 0 ? fork() : -1;
    if (pid == 0)
        answerer_begin(main, job, ends[1], parent);
    if (rc == 0 && pid < 0)
        rc = -errno;
    signals_restore(&mask);
    fds_close(&ends[1]);
    if (rc < 0) {
        fds_close(&ends[0]);
        return rc;
    }
    *ret_pid = pid;
    *ret_fd = ends[0];
    return 0;
}
