/*
 * The pid file: locked for life, never through a link, never over what is no regular file.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/pidfile.h"

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

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void pidfile_open__stale_longer_number__rewritten_whole(void **state)
{
    struct pidfile p;
    char text[32], expected[32];

    (void)state;
    write_file("99999999999\n");
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), 0);
    read_file(text, sizeof(text));
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
    assert_string_equal(text, expected);
    pidfile_remove(&p);
}

static void pidfile_open__stale_and_empty_or_cut__taken_over(void **state)
{
    static const char *const stale[] = {"", "17", "17\n"};
    struct pidfile p;

    (void)state;
    for (size_t i = 0; i < sizeof(stale) / sizeof(*stale); i++) {
        write_file(stale[i]);
        assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), 0);
        pidfile_remove(&p);
    }
}

static void pidfile_open__other_file__refused_and_untouched(void **state)
{
    static const char *const precious[] = {"\n",
                                           "17\n\n",
                                           " 17\n",
                                           "17 and more\n",
                                           "-1\n",
                                           "1\n2\n",
                                           "secret",
                                           "server: { bind = [\":8060\"]; };\n",
                                           "1234567890123456789012345678901234567890\n"};
    struct pidfile p;
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(precious) / sizeof(*precious); i++) {
        write_file(precious[i]);
        assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EEXIST);
        assert_non_null(strstr(why, "holds something else than one process id"));
        pidfile_remove(&p);
        read_file(text, sizeof(text));
        assert_string_equal(text, precious[i]);
    }
}

static void pidfile_open__setting_of_the_kernel__refused(void **state)
{
    struct pidfile p;

    (void)state;
    assert_int_equal(pidfile_open(&p, "/proc/self/oom_score_adj", why, sizeof(why)), -EEXIST);
}

static void pidfile_open__file_of_another_user__refused_and_untouched(void **state)
{
    struct pidfile p;
    char text[64];

    (void)state;
    if (geteuid() != 0)
        skip();
    write_file("17\n");
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EEXIST);
    assert_non_null(strstr(why, "belongs to user 65534"));
    read_file(text, sizeof(text));
    assert_string_equal(text, "17\n");
}

static void pidfile_open__cannot_be_written__names_the_cause_and_leaves_nothing(void **state)
{
    struct rlimit old;
    struct pidfile p;

    (void)state;
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            write_file("17\n");
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, old.rlim_max}), 0);
        assert_int_equal(pidfile_open(&p, path, why, sizeof(why)), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_non_null(strstr(why, strerror(EFBIG)));
        assert_int_equal(access(path, F_OK), -1);
    }
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
        TEST(pidfile_open__stale_longer_number__rewritten_whole),
        TEST(pidfile_open__stale_and_empty_or_cut__taken_over),
        TEST(pidfile_open__other_file__refused_and_untouched),
        TEST(pidfile_open__setting_of_the_kernel__refused),
        TEST(pidfile_open__file_of_another_user__refused_and_untouched),
        TEST(pidfile_open__cannot_be_written__names_the_cause_and_leaves_nothing),
        TEST(pidfile_open__symbolic_link__refused_and_target_intact),
        TEST(pidfile_open__fifo_or_directory__refused_without_waiting),
        TEST(pidfile_remove__path_replaced__leaves_the_stranger),
        TEST(pidfile_open__no_path__holds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
