/*
 * The sandbox in children that enter it: what is in the list they may call, what is not ends them
 * with a SIGSYS that says which call it was, and Landlock alone refuses files, connections and
 * signals to others.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "actor/sandbox.h"
#include "base/util.h"

enum { ALLOWED = 0, REFUSED = 1, NOT_ENTERED = 2, STOPPED = 100 };

static void skip_without(bool is_there, const struct sandbox *s, const char *what)
{
    if (is_there)
        return;
    printf("# skipped: there is no %s here: %s\n", what, s->lacks);
    skip();
}

/* What a child tells, in memory that it shares. */
static volatile int *told;

static int share_told(void **state UNUSED)
{
    void *p = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    told = p;
    return p == MAP_FAILED ? -1 : 0;
}

static void on_sys(int signo UNUSED, siginfo_t *info, void *context UNUSED)
{
    *told = info->si_code == SANDBOX_SYS_SECCOMP ? STOPPED + info->si_syscall : NOT_ENTERED;
    _exit(0);
}

/* Returns what became of @call in a process of that sandbox, or STOPPED + the call's number. */
static int run_in(struct sandbox *s, enum sandbox_who who, long (*call)(void))
{
    const struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    const char *step;
    int status;
    pid_t pid;

    *told = NOT_ENTERED;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        sigaction(SIGSYS, &sa, NULL);
        if (sandbox_enter(s, who, &step) == 0)
            *told = call() < 0 ? REFUSED : ALLOWED;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return *told;
}

/* ---- calls ---- */

static long do_open(void)
{
    return open("/etc/passwd", O_RDONLY);
}

static long do_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long do_execve(void)
{
    char *const argv[] = {(char[]){"true"}, NULL};

    return execve("/bin/true", argv, argv + 1);
}

static long do_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static long do_setuid(void)
{
    return setuid(0);
}

static long do_kill(void)
{
    return kill(getppid(), 0);
}

static long do_tgkill(void)
{
    return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long do_fork(void)
{
    return fork();
}

static long do_map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? -1
               : 0;
}

/* Input of others may be claimed by it, and signals sent to them. */
static long do_own(void)
{
    return fcntl(STDIN_FILENO, F_SETOWN, getppid());
}

static long do_push_input(void)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long do_connect_again(void)
{
    return connect(-1, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET},
                   sizeof(struct sockaddr_in));
}

static long do_disconnect(void)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    return connect(-1, &nobody, sizeof(nobody.sa_family)) < 0 && errno == EBADF ? 0 : -1;
}

static long do_raise(void)
{
    return raise(SIGCONT);
}

static long do_map(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

static long do_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof(to)) < 0 &&
                   errno == EACCES
               ? -1
               : 0;
}

/* The file that TZ names is an hour east of Greenwich. */
static long do_local_time(void)
{
    const time_t now = 0;
    struct tm tm;

    return localtime_r(&now, &tm) && tm.tm_gmtoff == 3600 ? 0 : -1;
}

/* What is no call, as a tracer makes of one that is to fail: strace -e inject. */
static long do_nothing(void)
{
    return syscall(-1) < 0 && errno == ENOSYS ? 0 : -1;
}

/* ---- tests ---- */

static bool may_both(const struct sandbox_rule *a, const struct sandbox_rule *b)
{
    bool may = false;

    for (enum sandbox_who who = 0; who < SANDBOX_WHO; who++)
        may |= a->may[who] && b->may[who];
    return may;
}

static void list__is_of_calls__each_with_one_way_or_conditions(void **state UNUSED)
{
    struct sandbox_rule r, other;

    for (size_t i = 0; sandbox_rule(i, &r); i++) {
        assert_true(sandbox_knows_call(r.call));
        assert_true(r.may[SANDBOX_WORKER] || r.may[SANDBOX_KEEPER]);
        for (size_t k = i + 1; sandbox_rule(k, &other); k++)
            assert_false(strcmp(r.call, other.call) == 0 && may_both(&r, &other) &&
                         !(r.is_conditional && other.is_conditional));
    }
    assert_false(sandbox_knows_call("opennat"));
}

static void seccomp__what_is_not_in_the_list__is_stopped(void **state UNUSED)
{
    static const struct {
        long (*call)(void);
        int number;
    } forbidden[] = {
        {do_open, SYS_openat},      {do_socket, SYS_socket},        {do_execve, SYS_execve},
        {do_ptrace, SYS_ptrace},    {do_setuid, SYS_setuid},        {do_kill, SYS_kill},
        {do_tgkill, SYS_tgkill},    {do_map_code, SYS_mmap},        {do_own, SYS_fcntl},
        {do_push_input, SYS_ioctl}, {do_connect_again, SYS_connect}};
    struct sandbox s = {.is_known = false};

    assert_int_equal(sandbox_init(&s, NULL), 0);
    skip_without(s.has_seccomp, &s, "seccomp");
    for (enum sandbox_who who = 0; who < SANDBOX_WHO; who++) {
        for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
            assert_int_equal(run_in(&s, who, forbidden[i].call), STOPPED + forbidden[i].number);
        assert_true(run_in(&s, who, do_fork) >= STOPPED);
        assert_int_equal(run_in(&s, who, do_raise), ALLOWED);
        assert_int_equal(run_in(&s, who, do_map), ALLOWED);
        assert_int_equal(run_in(&s, who, do_nothing), ALLOWED);
    }
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_disconnect), ALLOWED);
    assert_string_equal(sandbox_call_name(&s, SYS_execve), "execve");
    assert_string_equal(sandbox_call_name(&s, -1), "?");
    assert_string_equal(sandbox_call_name(&s, SANDBOX_NAMES_MAX), "?");
    assert_string_equal(sandbox_call_name(NULL, SYS_execve), "?");
    sandbox_fini(&s);
}

static void further_calls__of_the_program__may_be_made_by_workers_alone(void **state UNUSED)
{
    static const char *const files[] = {"openat", "fcntl", NULL}, *const all[] = {"*", NULL};
    struct sandbox s = {.is_known = false};

    assert_int_equal(sandbox_init(&s, files), 0);
    skip_without(s.has_seccomp, &s, "seccomp");
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_open), ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_own), ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_socket), STOPPED + SYS_socket);
    assert_int_equal(run_in(&s, SANDBOX_KEEPER, do_open), STOPPED + SYS_openat);
    assert_int_equal(sandbox_landlock(&s), 0);
    sandbox_fini(&s);

    assert_int_equal(sandbox_init(&s, all), 0);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_socket), ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_KEEPER, do_socket), STOPPED + SYS_socket);
    assert_false(sandbox_has_seccomp(&s));
    assert_non_null(strstr(s.lacks, "every system call"));
    sandbox_fini(&s);
}

static void landlock__alone__refuses_files_connections_and_signals(void **state UNUSED)
{
    struct sandbox s = {.is_known = false};

    assert_int_equal(sandbox_init(&s, NULL), 0);
    skip_without(s.landlock_abi > 0, &s, "Landlock");
    s.has_seccomp = false;
    printf("# Landlock's ABI is %d\n", s.landlock_abi);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_open), REFUSED);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_socket), ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_connect),
                     s.landlock_abi >= 4 ? REFUSED : ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_kill), s.landlock_abi >= 6 ? REFUSED : ALLOWED);
    sandbox_fini(&s);
}

static void zone__of_a_file__is_known_inside(void **state UNUSED)
{
    static const uint8_t file[] = "TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* tzfile(5) */
                                  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4"
                                  "\0\0\16\20\0\0ABC";
    char path[] = "/tmp/arbiter_zone_XXXXXX", zone[sizeof(path) + 1];
    const int fd = mkstemp(path);
    struct sandbox s = {.is_known = false};

    assert_int_equal(write(fd, file, sizeof(file)), sizeof(file));
    close(fd);
    snprintf(zone, sizeof(zone), ":%s", path);
    setenv("TZ", zone, 1);
    assert_int_equal(sandbox_init(&s, NULL), 0);
    assert_int_equal(run_in(&s, SANDBOX_WORKER, do_local_time), ALLOWED);
    assert_int_equal(run_in(&s, SANDBOX_KEEPER, do_local_time), ALLOWED);
    sandbox_fini(&s);
    unsetenv("TZ");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list__is_of_calls__each_with_one_way_or_conditions),
        cmocka_unit_test(seccomp__what_is_not_in_the_list__is_stopped),
        cmocka_unit_test(further_calls__of_the_program__may_be_made_by_workers_alone),
        cmocka_unit_test(landlock__alone__refuses_files_connections_and_signals),
        cmocka_unit_test(zone__of_a_file__is_known_inside),
    };

    return cmocka_run_group_tests_name("sandbox", tests, share_told, NULL);
}
