/*
 * The pid file: locked for life, never through a link, never over what is no regular file.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "arbiter/pidfile.h"

static char dir[64], path[96], why[512];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/pidfile.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/pid", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    rmdir(path);
    return rmdir(dir);
}

static void read_file(char *buf, size_t size)
{
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    buf[fread(buf, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void pidfile_open__new_path__holds_the_pid_and_is_removed(void **state)
{
    struct pidfile p;
    char text[32], expected[32];

    (void)state;
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), 0);
    read_file(text, sizeof(text));
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
    assert_string_equal(text, expected);
    pidfile_remove(&p);
    assert_int_equal(access(path, F_OK), -1);
}

static void pidfile_open__held_by_another__busy_and_names_the_holder(void **state)
{
    struct pidfile first, second;
    char pid[32];

    (void)state;
    assert_int_equal(pidfile_open(&first, path, why, sizeof(why)), 0);
    assert_int_equal(pidfile_open(&second, path, why, sizeof(why)), -EBUSY);
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(why, pid));
    assert_int_equal(second.fd, -1);
    pidfile_remove(&second);
    assert_int_equal(access(path, F_OK), 0);
    pidfile_remove(&first);
}

static void pidfile_open__stale_longer_text__rewritten_whole(void **state)
{
    struct pidfile p;
    char text[32], expected[32];
    FILE *f = fopen(path, "w");

    (void)state;
    assert_non_null(f);
    fputs("99999999999 and more\n", f);
    fclose(f);
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), 0);
    read_file(text, sizeof(text));
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
    assert_string_equal(text, expected);
    pidfile_remove(&p);
}

static void pidfile_open__symbolic_link__refused_and_target_intact(void **state)
{
    struct pidfile p;
    char target[128], text[32] = "";
    FILE *f;

    (void)state;
    snprintf(target, sizeof(target), "%s/target", dir);
    f = fopen(target, "w");
    assert_non_null(f);
    fputs("precious", f);
    fclose(f);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EEXIST);
    assert_non_null(strstr(why, "symbolic link"));
    read_file(text, sizeof(text));
    assert_string_equal(text, "precious");
    unlink(target);
}

static void pidfile_open__fifo_or_directory__refused_without_waiting(void **state)
{
    struct pidfile p;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EEXIST);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EEXIST);
    assert_non_null(strstr(why, "directory"));
}

static void pidfile_remove__path_replaced__leaves_the_stranger(void **state)
{
    struct pidfile p;
    FILE *f;

    (void)state;
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), 0);
    unlink(path);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    pidfile_remove(&p);
    assert_int_equal(access(path, F_OK), 0);
}

static void pidfile_open__no_path__holds_nothing(void **state)
{
    struct pidfile p;

    (void)state;
    assert_int_equal(pidfile_open(&p, "", why, sizeof(why)), 0);
    assert_int_equal(p.fd, -1);
    pidfile_remove(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pidfile_open__new_path__holds_the_pid_and_is_removed),
        TEST(pidfile_open__held_by_another__busy_and_names_the_holder),
        TEST(pidfile_open__stale_longer_text__rewritten_whole),
        TEST(pidfile_open__symbolic_link__refused_and_target_intact),
        TEST(pidfile_open__fifo_or_directory__refused_without_waiting),
        TEST(pidfile_remove__path_replaced__leaves_the_stranger),
        TEST(pidfile_open__no_path__holds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
