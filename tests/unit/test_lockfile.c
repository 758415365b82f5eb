/*
 * A lock by a file that nobody else can open, and that is gone afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/lockfile.h"
#include "base/util.h"

static char dir[64], path[96];

static int make_dir(void **state UNUSED)
{
    snprintf(dir, sizeof(dir), "/tmp/lockfile.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/lock", dir);
    return 0;
}

static int remove_dir(void **state UNUSED)
{
    remove(path);
    return rmdir(dir);
}

static void lockfile_take__nothing_there__private_and_gone_afterwards(void **state UNUSED)
{
    struct stat st;
    int fd = -1;

    umask(0);
    assert_int_equal(lockfile_take(path, 0, &fd), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    lockfile_release(path, &fd);
    assert_int_equal(fd, -1);
    assert_int_equal(access(path, F_OK), -1);
    lockfile_release(path, &fd);
}

static void lockfile_take__held__busy_and_untouched(void **state UNUSED)
{
    int fd = -1, second = -1;

    assert_int_equal(lockfile_take(path, 0, &fd), 0);
    assert_int_equal(lockfile_take(path, 10, &second), -EBUSY);
    assert_int_equal(second, -1);
    lockfile_release(path, &fd);
    assert_int_equal(lockfile_take(path, 0, &second), 0);
    lockfile_release(path, &second);
}

/* Its holder was killed. */
static void lockfile_take__left_over__taken(void **state UNUSED)
{
    int fd = open(path, O_CREAT | O_RDWR, 0600);

    close(fd);
    assert_int_equal(lockfile_take(path, 0, &fd), 0);
    lockfile_release(path, &fd);
}

static void make(const char *kind)
{
    int fd;

    remove(path);
    if (*kind == 'l')
        assert_int_equal(symlink("/dev/null", path), 0);
    if (*kind == 'd')
        assert_int_equal(mkdir(path, 0700), 0);
    if (*kind == 'p')
        assert_int_equal(mkfifo(path, 0600), 0);
    if (*kind == 'c' || *kind == 'w' || *kind == 'o') {
        fd = open(path, O_CREAT | O_RDWR, 0600);
        assert_true(fd >= 0 && (*kind != 'c' || write(fd, "x", 1) == 1));
        assert_int_equal(fchmod(fd, *kind == 'w' ? 0644 : 0600), 0);
        close(fd);
    }
    if (*kind == 'o')
        assert_int_equal(chown(path, 65534, 65534), 0);
}

static void lockfile_take__something_else__refused_and_untouched(void **state UNUSED)
{
    static const char *const kinds[] = {"link",    "directory", "pipe",
                                        "content", "wide mode", "other user's"};
    struct stat before, after;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        int fd = -1;

        if (kinds[i][0] == 'o' && geteuid() != 0)
            continue;
        make(kinds[i]);
        assert_int_equal(lstat(path, &before), 0);
        if (lockfile_take(path, 10, &fd) != -EEXIST)
            fail_msg("%s: not refused", kinds[i]);
        assert_int_equal(fd, -1);
        assert_int_equal(lstat(path, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
    }
}

/* Many take and release it: it is never held twice, and in the end it is gone. */
static void lockfile_take__many_at_once__one_holder(void **state UNUSED)
{
    enum { N = 8, ROUNDS = 50 };
    char inside[112];
    int status;

    snprintf(inside, sizeof(inside), "%s.inside", path);
    for (int i = 0; i < N; i++) {
        if (fork() != 0)
            continue;
        for (int k = 0; k < ROUNDS; k++) {
            int fd = -1;

            while (lockfile_take(path, 1000, &fd) < 0)
                ;
            /* Nobody else is here. */
            if (mkdir(inside, 0700) < 0 || rmdir(inside) < 0)
                _exit(1);
            lockfile_release(path, &fd);
        }
        _exit(0);
    }
    for (int i = 0; i < N; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(access(path, F_OK), -1);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(lockfile_take__nothing_there__private_and_gone_afterwards),
        IN_DIR(lockfile_take__held__busy_and_untouched),
        IN_DIR(lockfile_take__left_over__taken),
        IN_DIR(lockfile_take__something_else__refused_and_untouched),
        IN_DIR(lockfile_take__many_at_once__one_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
