/*
 * waitpid(2) has no deadline, so it is asked again and again.
 */
#include "base/reap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

#include "base/clock.h"

bool reap_by(pid_t pid, uint64_t deadline_ms, int *ret_status)
{
    pid_t rc;

    while ((rc = waitpid(pid, ret_status, WNOHANG)) == 0 || (rc < 0 && errno == EINTR)) {
        if (clock_mono_ms() >= deadline_ms)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

bool reap_killed(pid_t pid, int *ret_status)
{
    kill(pid, SIGKILL);
    return reap_by(pid, clock_mono_ms() + REAP_KILLED_MS, ret_status);
}
