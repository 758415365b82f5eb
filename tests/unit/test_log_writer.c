/*
 * The log writer's process where its target is not to be had. open(2) is wrapped, see the Makefile:
 * a file called "hang" hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "log_writer/log_writer.h"
#include "base/util.h"
#include "conformance/must.h"

static volatile int *is_hanging; /* shared */

int __wrap_open(const char *path, int flags, mode_t mode);
int __real_open(const char *path, int flags, mode_t mode);

int __wrap_open(const char *path, int flags, mode_t mode)
{
    while (strcmp(path, "hang") == 0) {
        *is_hanging = 1;
        pause();
    }
    return __real_open(path, flags, mode);
}

/* What it says to standard error is a test's to read. */
static FILE *start(const struct log_writer_options *o, pid_t *ret_pid, int *ret_fd)
{
    FILE *f = tmpfile();
    const int saved = dup(STDERR_FILENO);

    assert_non_null(f);
    dup2(fileno(f), STDERR_FILENO);
    assert_int_equal(log_writer_start(o, ret_pid, ret_fd), 0);
    dup2(saved, STDERR_FILENO);
    close(saved);
    return f;
}

static void must_say(int fd, const char *want)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char text[LOG_WRITER_MESSAGE_MAX + 1];
    ssize_t n;

    assert_int_equal(poll(&p, 1, (int)WAIT_MS), 1);
    n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    assert_string_equal(text, want);
}

static int make_pipe(int ends[2])
{
    return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
}

static void must_have_said(FILE *f, const char *want)
{
    char text[1024];

    rewind(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    assert_non_null(strstr(text, want));
    fclose(f);
}

static void log_writer__never_opened__lost_lines_are_counted_and_said(void **state UNUSED)
{
    int ends[2], fd, status;
    pid_t pid;
    FILE *f;

    assert_int_equal(make_pipe(ends), 0);
    f = start(&(struct log_writer_options){.path = "/", .pipe_fd = ends[0], .question = 3}, &pid,
              &fd);
    must_say(fd, "opened 3 21 Is a directory; lines wait until it can be opened");
    assert_int_equal(write(ends[1], "one\ntwo\nthree\n", 14), 14);
    close(ends[1]);
    must_say(fd, "lost 3");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    must_have_said(f, "msg=\"log: lines were lost\" count=3 to=/");
    close(ends[0]);
    close(fd);
}

static void log_writer__last_of_a_target__only_says_what_is_lost(void **state UNUSED)
{
    int ends[2], fd, status;
    pid_t pid;
    FILE *f;

    assert_int_equal(make_pipe(ends), 0);
    assert_int_equal(write(ends[1], "{}\n{}\n", 6), 6);
    f = start(&(struct log_writer_options){.path = "hang", .pipe_fd = ends[0], .is_last = true},
              &pid, &fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    must_have_said(f, "\"msg\":\"log: lines were lost\",\"count\":2,\"to\":\"hang\"}");
    close(ends[0]);
    close(ends[1]);
    close(fd);
}

static void log_writer__orphan_hangs_in_open__ends(void **state UNUSED)
{
    pid_t arbiter, pid;
    int ends[2], fd, status;

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(make_pipe(ends), 0);
    arbiter = fork();
    if (arbiter == 0) {
        if (log_writer_start(&(struct log_writer_options){.path = "hang", .pipe_fd = ends[0]}, &pid,
                             &fd) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    assert_true(WAIT_UNTIL(*is_hanging, WAIT_MS));
    kill(arbiter, SIGKILL);
    assert_int_equal(waitpid(arbiter, &status, 0), arbiter);
    pid = 0;
    assert_true(WAIT_UNTIL((pid = waitpid(-1, &status, WNOHANG)) != 0, WAIT_MS));
    assert_true(pid > 0 && WIFEXITED(status));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_writer__never_opened__lost_lines_are_counted_and_said),
        cmocka_unit_test(log_writer__last_of_a_target__only_says_what_is_lost),
        cmocka_unit_test(log_writer__orphan_hangs_in_open__ends),
    };

    is_hanging =
        mmap(NULL, sizeof(*is_hanging), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return is_hanging == MAP_FAILED ? 1 : cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
