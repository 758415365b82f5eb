/*
 * The OOM killer's counter: where it is, what it says, and that each kill is asked for once.
 */
#include "base/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

static void oom_find_path__any_hierarchy__its_file(void **state UNUSED)
{
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"0::/system.slice/echo.service\n",
         "/sys/fs/cgroup/system.slice/echo.service/memory.events"},
        {"0::/\n", "/sys/fs/cgroup//memory.events"},
        {"9:name=systemd:/\n4:memory:/pod/a:b\n0::/\n",
         "/sys/fs/cgroup/memory/pod/a:b/memory.oom_control"},
        {"5:devices:/x\n0::/y", "/sys/fs/cgroup/y/memory.events"},
        {"5:devices:/x\n", ""},
        {"", ""},
        {"\n\n", ""},
        {"0:", ""},
        {"0:a", ""},
    };
    char path[OOM_PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        oom_find_path(cases[i].text, false, path);
        assert_string_equal(path, cases[i].path);
    }
}

/* In a container without a namespace of control groups the path is the host's. */
static void oom_find_path__at_the_top__the_mount_point(void **state UNUSED)
{
    char path[OOM_PATH_MAX];

    oom_find_path("4:memory:/docker/0123\n0::/\n", true, path);
    assert_string_equal(path, "/sys/fs/cgroup/memory/memory.oom_control");
    oom_find_path("0::/docker/0123\n", true, path);
    assert_string_equal(path, "/sys/fs/cgroup/memory.events");
    oom_find_path("5:devices:/x\n", true, path);
    assert_string_equal(path, "");
}

static void oom_count__text_of_either_file__the_kills(void **state UNUSED)
{
    assert_int_equal(oom_count("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 8\n"), 3);
    assert_int_equal(oom_count("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n"), 12);
    assert_int_equal(oom_count("oom_kill_disable 1\nunder_oom 0\n"), 0);
    assert_int_equal(oom_count(""), 0);
}

static void write_count(const char *path, unsigned n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f, "oom 1\noom_kill %u\n", n);
    assert_int_equal(fclose(f), 0);
}

static void oom_has_killed__n_kills__true_for_n_deaths(void **state UNUSED)
{
    char path[] = "/tmp/test_oom.XXXXXX";
    int fd = mkstemp(path);
    struct oom o = {.n_seen = 0};

    assert_true(fd >= 0);
    close(fd);
    snprintf(o.path, sizeof(o.path), "%s", path);
    write_count(path, 5);
    oom_forget(&o);
    assert_false(oom_has_killed(&o));
    write_count(path, 7);
    assert_true(oom_has_killed(&o));
    assert_true(oom_has_killed(&o));
    assert_false(oom_has_killed(&o));
    write_count(path, 9);
    oom_forget(&o); /* they were others' */
    assert_false(oom_has_killed(&o));
    unlink(path);
    assert_false(oom_has_killed(&o));
}

static void oom_has_killed__no_counter__false(void **state UNUSED)
{
    struct oom o = {.path = ""};

    assert_false(oom_has_killed(&o));
}

static long adjustment(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    return strtol(text, NULL, 10);
}

static void oom_raise__in_a_child__above_its_parent(void **state UNUSED)
{
    const long wanted = MIN(adjustment() + OOM_WORKER_RAISE, 1000L);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        oom_raise();
        _exit(adjustment() == wanted ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oom_find_path__any_hierarchy__its_file),
        cmocka_unit_test(oom_find_path__at_the_top__the_mount_point),
        cmocka_unit_test(oom_count__text_of_either_file__the_kills),
        cmocka_unit_test(oom_has_killed__n_kills__true_for_n_deaths),
        cmocka_unit_test(oom_has_killed__no_counter__false),
        cmocka_unit_test(oom_raise__in_a_child__above_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
