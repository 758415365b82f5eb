/*
 * What is read of a process that hangs: the formats of /proc, whatever a process calls itself, and
 * a real one that is stopped.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "arbiter/watch.h"
#include "base/util.h"

static void watch_read_stat__any_name__state_and_time(void **state UNUSED)
{
    static const struct {
        const char *text, *state;
        uint64_t cpu_ms;
    } rows[] = {
        {"17 (echo-arbiter) S 1 17 17 0 -1 4194560 5 0 0 0 12 30 0 0 20 0 1 0 77 8 9\n",
         "S (sleeping)", 420},
        {"17 (a) R (b) T) R 1 17 17 0 -1 4194560 5 0 0 0 1 0 0 0", "R (running)", 10},
        {"17 (x\n) D 1 17 17 0 -1 4194560 5 0 0 0 0 0 0 0", "D (disk sleep)", 0},
        {"17 (x) ? 1 17 17 0 -1 4194560 5 0 0 0 0 0 0 0", "", 0},
        {"17 (x) S 1 17", "", 0},
        {"17", "", 0},
        {"", "", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct evidence e = {.cpu_ms = 0};

        watch_read_stat(&e, rows[i].text, 100);
        assert_string_equal(e.state, rows[i].state);
        assert_int_equal(e.cpu_ms, rows[i].cpu_ms);
    }
}

static void watch_read_line__any_text__first_line_cut_to_size(void **state UNUSED)
{
    static const struct {
        const char *text, *line;
    } rows[] = {{"do_signal_stop", "do_signal_stop"},
                {"running\n", "running"},
                {"0", ""},
                {"0\n", ""},
                {"0 0x1", "0 0x1"},
                {"", ""},
                {"0123456789abcdefghij\n", "0123456789abcde"}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char line[16] = "";

        watch_read_line(line, sizeof(line), rows[i].text);
        assert_string_equal(line, rows[i].line);
    }
}

static void watch_read_stack__lines__names_in_a_row(void **state UNUSED)
{
    static const struct {
        const char *text, *stack;
    } rows[] = {
        {"[<0>] do_signal_stop+0x1a3/0x210\n[<0>] get_signal+0x12/0x9\n",
         "do_signal_stop get_signal"},
        {"[<ffffffff81>] ep_poll+0x1/0x2 [module]\n[<0>] last", "ep_poll last"},
        {"no address+0x1\n\n", "no address "},
        {"", ""},
    };
    struct evidence e;
    char big[8192];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        e = (struct evidence){.cpu_ms = 0};
        watch_read_stack(&e, rows[i].text);
        assert_string_equal(e.stack, rows[i].stack);
    }
    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < sizeof(big); i += 100)
        big[i] = '\n';
    big[sizeof(big) - 1] = '\0';
    e = (struct evidence){.cpu_ms = 0};
    watch_read_stack(&e, big);
    assert_in_range(strlen(e.stack), sizeof(e.stack) - 200, sizeof(e.stack) - 1);
}

static void watch_evidence__stopped_child__said_to_be_stopped(void **state UNUSED)
{
    struct evidence e;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    watch_evidence(&e, pid);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_string_equal(e.state, "T (stopped)");
    watch_evidence(&e, pid); /* nobody any more */
    assert_string_equal(e.state, "");
    assert_string_equal(e.wchan, "");
    assert_non_null(strstr(e.unread, "stat: No such file or directory, wchan: "));
    assert_string_equal(e.stack, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watch_read_stat__any_name__state_and_time),
        cmocka_unit_test(watch_read_line__any_text__first_line_cut_to_size),
        cmocka_unit_test(watch_read_stack__lines__names_in_a_row),
        cmocka_unit_test(watch_evidence__stopped_child__said_to_be_stopped),
    };

    return cmocka_run_group_tests_name("evidence", tests, NULL, NULL);
}
