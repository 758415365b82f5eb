/*
 * Descriptors: what closes numbers wholesale runs in a child, which reports by its exit code.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/util.h"

enum { CHILD_SKIP = 77 };

/* The line of the check that failed is the exit code's best use; 0 = all held. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            dprintf(2, "child: %s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, strerror(errno));     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static int in_child(int (*body)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void fds_close__open__closed_and_forgotten(void **state UNUSED)
{
    int fd = open("/dev/null", O_RDONLY), copy = fd;
    assert_true(fd >= 0);
    errno = ENOENT;
    fds_close(&fd);
    assert_int_equal(fd, -1);
    assert_false(is_open(copy));
    errno = ENOENT;
    fds_close(&fd);
    assert_int_equal(errno, ENOENT);
    fd = copy; /* closed already: errno of the caller survives EBADF */
    fds_close(&fd);
    assert_int_equal(errno, ENOENT);
}

static void fds_set__flags__as_asked(void **state UNUSED)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fds_set_nonblock(fds[0]), 0);
    assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    assert_int_equal(fds_set_nonblock(fds[0]), 0);
    assert_int_equal(fds_set_cloexec(fds[0], true), 0);
    assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(fds_set_cloexec(fds[0], false), 0);
    assert_int_equal(fcntl(fds[0], F_GETFD), 0);
    fds_close(&fds[0]);
    fds_close(&fds[1]);
    assert_int_equal(fds_set_nonblock(-1), -EBADF);
    assert_int_equal(fds_set_cloexec(-1, true), -EBADF);
}

static bool is_dev_null(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static int stdio_all_closed(void)
{
    int err = fcntl(2, F_DUPFD_CLOEXEC, 10);
    CHECK(err >= 0);
    close(0), close(1), close(2), close(3);
    int r = fds_ensure_stdio();
    bool all = is_dev_null(0) && is_dev_null(1) && is_dev_null(2) && !is_open(3);
    bool inherited = fcntl(0, F_GETFD) == 0 && fcntl(2, F_GETFD) == 0;
    dup2(err, 2);
    CHECK(r == 0);
    CHECK(all);
    CHECK(inherited);
    return 0;
}

static int stdio_one_closed(void)
{
    int pipe_fds[2];
    struct stat before, after;
    CHECK(pipe(pipe_fds) == 0 && dup2(pipe_fds[1], 1) == 1 && fstat(1, &before) == 0);
    close(0);
    CHECK(fds_ensure_stdio() == 0);
    CHECK(is_dev_null(0));
    CHECK(fstat(1, &after) == 0 && after.st_ino == before.st_ino);
    return 0;
}

static void fds_ensure_stdio__closed__dev_null(void **state UNUSED)
{
    assert_int_equal(in_child(stdio_all_closed), 0);
    assert_int_equal(in_child(stdio_one_closed), 0);
}

static int close_all_but_some(void)
{
    enum { FIRST = 20, N = 400 };
    int null = open("/dev/null", O_RDONLY);
    CHECK(null >= 0);
    for (int i = 0; i < N; i++)
        CHECK(dup2(null, FIRST + i) == FIRST + i);
    int keep[] = {FIRST + 399, -1, FIRST + 7, 1, FIRST + 8, FIRST + 8, -1, FIRST + 200, 99999};
    fds_close_all_except(keep, ARRAY_SIZE(keep));
    for (int fd = 3; fd < 1024; fd++) {
        bool is_kept = fd == FIRST + 7 || fd == FIRST + 8 || fd == FIRST + 200 || fd == FIRST + 399;
        CHECK(is_open(fd) == is_kept);
    }
    CHECK(is_open(0) && is_open(1) && is_open(2));
    fds_close_all_except(NULL, 0);
    for (int fd = 3; fd < 1024; fd++)
        CHECK(!is_open(fd));
    CHECK(is_open(2));
    return 0;
}

static int close_without_close_range(void)
{
#ifdef SYS_close_range
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        return CHILD_SKIP;
    CHECK(syscall(SYS_close_range, 5000, 5000, 0) == -1 && errno == ENOSYS);
#endif
    return close_all_but_some();
}

static void fds_close_all_except__unsorted_list__only_those_left(void **state UNUSED)
{
    assert_int_equal(in_child(close_all_but_some), 0);
}

static void fds_close_all_except__no_close_range__same(void **state UNUSED)
{
    int r = in_child(close_without_close_range);
    if (r == CHILD_SKIP) {
        print_message("skipped: this system has no seccomp filters\n");
        skip();
    }
    assert_int_equal(r, 0);
}

static void fds_write_all__pipe__all_or_errno(void **state UNUSED)
{
    int fds[2];
    char buf[64];
    static char big[1 << 20];

    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    assert_int_equal(fds_write_all(fds[1], "hello", 5), 0);
    assert_int_equal(read(fds[0], buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(fds_write_all(fds[1], NULL, 0), 0);
    assert_int_equal(read(fds[0], buf, sizeof(buf)), -1);
    assert_int_equal(fds_write_all(fds[1], big, sizeof(big)), -EAGAIN);
    fds_close(&fds[0]);
    fds_close(&fds[1]);
    assert_int_equal(fds_write_all(-1, "x", 1), -EBADF);
}

/* A pipe takes less than is written at a time: the reader makes room while the writer waits. */
static void fds_write_all__more_than_a_pipe__in_pieces(void **state UNUSED)
{
    enum { TOTAL = 1 << 20 };
    int fds[2], status;
    size_t got = 0;
    ssize_t n;
    static unsigned char data[TOTAL];

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (size_t i = 0; i < TOTAL; i++)
            data[i] = (unsigned char)(i * 31);
        close(fds[0]);
        _exit(fds_write_all(fds[1], data, TOTAL) == 0 ? 0 : 1);
    }
    fds_close(&fds[1]);
    while ((n = read(fds[0], data + got, TOTAL - got)) > 0)
        got += (size_t)n;
    assert_int_equal(got, TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        assert_int_equal(data[i], (unsigned char)(i * 31));
    fds_close(&fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* --- sealed memory --- */

static void fds_map_sealed__written_in_pieces__same_bytes(void **state UNUSED)
{
    struct iovec iov[] = {{(char[]){"he"}, 2}, {NULL, 0}, {(char[]){"llo"}, 3}};
    int fd = fds_memfd("test");
    const void *data;
    size_t len;

    assert_int_equal(fds_write_sealed(fd, iov, ARRAY_SIZE(iov)), 0);
    assert_int_equal(fds_map_sealed(fd, 5, &data, &len), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(data, "hello", 5);
    munmap((void *)(uintptr_t)data, len);
    assert_int_equal(fds_map_sealed(fd, 4, &data, &len), -EBADMSG);
    assert_int_equal(pwrite(fd, "j", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 1), -1);
    fds_close(&fd);
}

static void fds_map_sealed__empty_unsealed_or_no_memory_file__refused(void **state UNUSED)
{
    const void *data;
    size_t len;
    int empty = fds_memfd("test"), unsealed = fds_memfd("test"), null = open("/dev/null", O_RDONLY);

    assert_int_equal(fds_write_sealed(empty, NULL, 0), 0);
    assert_int_equal(fds_map_sealed(empty, 5, &data, &len), -EBADMSG);
    assert_int_equal(fds_write_all(unsealed, "hello", 5), 0);
    assert_int_equal(fds_map_sealed(unsealed, 5, &data, &len), -EBADMSG);
    assert_int_equal(fds_map_sealed(null, 5, &data, &len), -EBADMSG);
    assert_int_equal(fds_map_sealed(-1, 5, &data, &len), -EBADMSG);
    fds_close(&empty);
    fds_close(&unsealed);
    fds_close(&null);
}

/* --- descriptors over a socket --- */

static void make_pair(int ret[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret), 0);
}

static int receive(int fd, char *data, size_t size, struct fdpass *ret)
{
    return fdpass_receive(fd, &(struct iovec){data, size}, 1, ret);
}

static void fdpass__as_many_as_the_kernel_passes__all_arrive(void **state UNUSED)
{
    int pair[2], many[FDPASS_MAX + 1];
    struct fdpass got;
    char data[8];

    make_pair(pair);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = pair[0];
    assert_int_equal(fdpass_send(pair[0], "x", 1, many, FDPASS_MAX + 1), -EINVAL);
    assert_int_equal(fdpass_send(pair[0], "x", 1, many, FDPASS_MAX), 0);
    assert_int_equal(receive(pair[1], data, sizeof(data), &got), 0);
    assert_int_equal(got.n_fds, FDPASS_MAX);
    for (size_t i = 0; i < got.n_fds; i++) {
        assert_int_equal(fcntl(got.fds[i], F_GETFD), FD_CLOEXEC);
        fds_close(&got.fds[i]);
    }
    assert_int_equal(receive(pair[1], data, sizeof(data), &got), -EAGAIN);
    fds_close(&pair[0]);
    assert_int_equal(receive(pair[1], data, sizeof(data), &got), 0);
    assert_int_equal(got.len + got.n_fds, 0);
    fds_close(&pair[1]);
}

static void fdpass__no_room__the_rest_is_cut_and_said(void **state UNUSED)
{
    struct rlimit before, few;
    int pair[2];
    struct fdpass got;
    char data[3];

    make_pair(pair);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(fdpass_send(pair[0], "12345", 5, (const int[]){0, 1}, 2), 0);
    /* The next number that is free is the last one. */
    few = before;
    few.rlim_cur = (rlim_t)fcntl(0, F_DUPFD, 0) + 1;
    close((int)few.rlim_cur - 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(receive(pair[1], data, sizeof(data), &got), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(got.len, 3);
    assert_int_equal(got.n_fds, 1);
    assert_true(got.is_data_cut && got.is_fds_cut);
    fds_close(&got.fds[0]);
    fds_close(&pair[0]);
    fds_close(&pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fds_close__open__closed_and_forgotten),
        cmocka_unit_test(fds_set__flags__as_asked),
        cmocka_unit_test(fds_ensure_stdio__closed__dev_null),
        cmocka_unit_test(fds_close_all_except__unsorted_list__only_those_left),
        cmocka_unit_test(fds_close_all_except__no_close_range__same),
        cmocka_unit_test(fds_write_all__pipe__all_or_errno),
        cmocka_unit_test(fds_write_all__more_than_a_pipe__in_pieces),
        cmocka_unit_test(fds_map_sealed__written_in_pieces__same_bytes),
        cmocka_unit_test(fds_map_sealed__empty_unsealed_or_no_memory_file__refused),
        cmocka_unit_test(fdpass__as_many_as_the_kernel_passes__all_arrive),
        cmocka_unit_test(fdpass__no_room__the_rest_is_cut_and_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
