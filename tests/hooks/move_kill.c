/*
 * The steps of a move in the test build, at which a process can be killed or stopped. Wraps
 * the two functions through which either side speaks, see the Makefile.
 *
 * The file that ECHO_TEST_HOOK names has lines "STEP N WHAT". The steps are give (before its N-th
 * batch is sent), given (after that), heard (the N-th answer, 0 = the greeting), got (the N-th
 * batch), answered (it, 0 = greeted). WHAT is kill, which removes the file first, or stop.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/move_wire.h"

int __real_move_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds);
int __wrap_move_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds);
int __real_move_receive(int fd, struct move_datagram *ret);
int __wrap_move_receive(int fd, struct move_datagram *ret);

static unsigned n_given, n_heard, n_got, n_answered;

static void halt_if_at(const char *step, unsigned n)
{
    const char *path = getenv("ECHO_TEST_HOOK");
    FILE *f = path && *path ? fopen(path, "re") : NULL;
    char name[16], what[16];
    unsigned wanted;

    if (!f)
        return;
    while (fscanf(f, "%15s %u %15s", name, &wanted, what) == 3) {
        if (strcmp(name, step) != 0 || wanted != n)
            continue;
        if (strcmp(what, "stop") == 0) {
            raise(SIGSTOP);
            break;
        }
        unlink(path);
        raise(SIGKILL);
    }
    fclose(f);
}

int __wrap_move_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds)
{
    int rc;

    if (n_fds > 0)
        halt_if_at("give", n_given + 1);
    rc = __real_move_send(fd, data, len, fds, n_fds);
    if (rc < 0)
        return rc;
    if (n_fds > 0)
        halt_if_at("given", ++n_given);
    else
        halt_if_at("answered", n_answered++);
    return 0;
}

int __wrap_move_receive(int fd, struct move_datagram *ret)
{
    const int rc = __real_move_receive(fd, ret);

    if (rc != 0)
        return rc;
    if (ret->got.n_fds > 0)
        halt_if_at("got", ++n_got);
    else
        halt_if_at("heard", n_heard++);
    return 0;
}
