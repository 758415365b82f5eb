/*
 * The handler for fatal signals, in children that crash: they die as if there were no handler, and
 * leave two lines wherever the log goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/boot.h"
#include "actor/scoreboard.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/util.h"
#include "conf/config.h"
#include "worker/crash.h"

static struct scoreboard board;
static struct log worker_log;
static char dir[] = "/tmp/test_fatal.XXXXXX", path[64], text[16384];
static volatile int *volatile nowhere;
static const uint8_t *payload; /* of the message that is being served; NULL = none */

static int set_up(void **state UNUSED)
{
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/log", dir);
    assert_int_equal(scoreboard_open(&board, 1), 0);
    assert_int_equal(scoreboard_assign(&board, 0, 3, 9), 0);
    counter_set(&scoreboard_record(&board, 0)->connections, 77);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    scoreboard_close(&board);
    unlink(path);
    return rmdir(dir);
}

/* The sanitizer would tell, and end the process its own way. */
__attribute__((no_sanitize("null", "address"))) static void do_null(void)
{
    *nowhere = 1;
}

static unsigned dig(volatile unsigned depth) // NOLINT(misc-no-recursion)
{
    volatile char block[4096] = {(char)depth};

    return depth == 0 ? 0 : dig(depth + 1) + (unsigned char)block[0];
}

static void do_overflow(void)
{
    setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20});
    dig(1);
}

static void do_bus(void)
{
    int fd = memfd_create("bus", MFD_CLOEXEC);
    volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    *p = 1;
}

static void do_abort(void)
{
    abort();
}

static void do_raise_sys(void)
{
    raise(SIGSYS);
}

static void do_raise_fpe(void)
{
    raise(SIGFPE);
}

static void do_trap(void)
{
#if defined(__x86_64__)
    __asm__ volatile("ud2");
#else
    raise(SIGILL);
#endif
}

/* A hang while every signal is blocked that can be: the alarm does not come, but neither is it
 * needed. */
static void do_wait_for_abort(void)
{
    kill(getppid(), SIGUSR1);
    for (;;)
        pause();
}

/* Forks a worker that installs the handler and then fails. Returns its status. */
static pid_t start_crash(void (*crash)(void))
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        static struct actor_boot boot;
        static struct conn_set conns; /* none open */
        static struct keep keep; /* none */
        static const struct config config = {.has_crash_payload = true};

        boot = (struct actor_boot){.id = "worker.3",
                                   .slot = 3,
                                   .incarnation = 9,
                                   .config = &config,
                                   .scoreboard = &board,
                                   .log = &worker_log,
                                   .keep_table_fd = -1};
        conns.serving.data = payload;
        conns.serving.len = 5;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signals_block_all(&(sigset_t){0});
        signals_ignore_strays();
        if (scoreboard_narrow(&board, 0) < 0 || crash_install(&boot, &conns, &keep) < 0)
            _exit(100);
        crash();
        _exit(101);
    }
    return pid;
}

static int crash_status(void (*crash)(void))
{
    int status;

    assert_int_equal(waitpid(start_crash(crash), &status, 0) > 0, 1);
    return status;
}

static void open_log(enum log_format format)
{
    unlink(path);
    assert_int_equal(log_open(&worker_log, path, LOG_LEVEL_INFO, format, "worker.3"), 0);
}

static void read_log(void)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);

    assert_true(n >= 0);
    text[n] = '\0';
    close(fd);
    log_close(&worker_log);
}

static void must_match(const char *pattern)
{
    regex_t re;
    int rc;

    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    rc = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    if (rc != 0)
        fail_msg("not in the log: %s\n%s", pattern, text);
}

static void fatal__each_signal__two_lines_and_the_death_it_means(void **state UNUSED)
{
    static const struct {
        void (*crash)(void);
        int signo;
        const char *pattern;
    } rows[] = {
        {do_null, SIGSEGV, "signal=SEGV code=1 address=0x0 pc=0x[0-9a-f]+ slot=3 incarnation=9 "},
        {do_overflow, SIGSEGV, "signal=SEGV code=[0-9]+ address=0x[0-9a-f]+ pc="},
        {do_bus, SIGBUS, "signal=BUS code=2 address=0x[0-9a-f]+ pc="},
        {do_trap, SIGILL, "signal=ILL "},
        {do_abort, SIGABRT, "signal=ABRT sent_by_pid=[0-9]+ pc="},
        {do_raise_fpe, SIGFPE, "signal=FPE sent_by_pid=[0-9]+ pc="},
        {do_raise_sys, SIGSYS, "signal=SYS sent_by_pid=[0-9]+ pc="},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        open_log(LOG_FORMAT_TEXT);
        int status = crash_status(rows[i].crash);
        read_log();
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), rows[i].signo);
        must_match("^ts=[^ ]+Z level=error actor=worker.3 pid=[0-9]+ msg=\"worker crashes\" ");
        must_match(rows[i].pattern);
        must_match(" uptime_ms=[0-9]+ connections=77 requests=0\n");
        must_match(
            "\nts=[^\n]*msg=\"backtrace\" signal=[A-Z]+ frames=\"[^\"\n]+\\+0x[^\"\n]+\"\n$");
    }
}

static void fatal__json__every_line_parses(void **state UNUSED)
{
    char *line, *save;
    int n = 0;

    open_log(LOG_FORMAT_JSON);
    crash_status(do_null);
    read_log();
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
        json_t *o = json_loads(line, 0, NULL);

        assert_string_equal(json_string_value(json_object_get(o, "signal")), "SEGV");
        json_decref(o);
    }
    assert_int_equal(n, 2);
}

static void fatal__syslog__one_datagram_a_line(void **state UNUSED)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char at[sizeof(path) + 8];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), status;
    ssize_t n;

    unlink(path);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    snprintf(at, sizeof(at), "syslog:%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(log_open(&worker_log, at, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "worker.3"), 0);
    status = crash_status(do_abort);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    for (int i = 0; i < 2; i++) {
        n = recv(fd, text, sizeof(text) - 1, 0);
        assert_true(n > 0);
        text[n] = '\0';
        must_match("^<27>[^ ]+\\[[0-9]+\\]: ts=[^ ]+Z level=error actor=worker.3 ");
        must_match(i == 0 ? "worker crashes" : "backtrace");
        assert_null(strchr(text, '\n'));
    }
    assert_true(recv(fd, text, sizeof(text), 0) < 0 && errno == EAGAIN);
    close(fd);
    log_close(&worker_log);
}

static void fatal__payload__is_in_the_record(void **state UNUSED)
{
    const struct crash_record *r = &scoreboard_record(&board, 0)->crash;

    open_log(LOG_FORMAT_TEXT);
    payload = (const uint8_t *)"hello";
    crash_status(do_null);
    payload = NULL;
    read_log();
    assert_int_equal(r->payload_len, 5);
    assert_memory_equal(r->payload, "hello", 5);
}

/* Memory may be damaged, and the pointer to the message with it. */
static void fatal__payload_cannot_be_read__the_signal_is_recorded_and_logged(void **state UNUSED)
{
    const struct crash_record *r = &scoreboard_record(&board, 0)->crash;
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;

    assert_int_equal(scoreboard_assign(&board, 0, 3, 9), 0);
    open_log(LOG_FORMAT_TEXT);
    payload = page;
    status = crash_status(do_null);
    payload = NULL;
    munmap(page, 4096);
    read_log();
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_int_equal(r->signo, SIGSEGV);
    assert_int_equal(r->payload_len, 0);
    must_match("msg=\"worker crashes\" signal=SEGV ");
}

/* Whoever has got the log's number since must not find a crash record in his file. */
static void fatal__no_log__dies_all_the_same_and_writes_nowhere(void **state UNUSED)
{
    int ends[2], status;
    char byte;

    open_log(LOG_FORMAT_TEXT);
    log_close(&worker_log);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    status = crash_status(do_null);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_true(read(ends[0], &byte, 1) < 0 && errno == EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

static void fatal__full_pipe__does_not_block(void **state UNUSED)
{
    char block[4096] = {0};
    int fd, status;

    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    assert_int_equal(log_open(&worker_log, path, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "worker.3"), 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    status = crash_status(do_null);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    close(fd);
    log_close(&worker_log);
}

/* What the arbiter does with one that hangs: a stopped process handles nothing before it goes on.
 */
static void fatal__stopped_then_aborted__dies_when_it_goes_on(void **state UNUSED)
{
    sigset_t set, old;
    int status;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    open_log(LOG_FORMAT_TEXT);
    pid = start_crash(do_wait_for_abort);
    assert_int_equal(sigwaitinfo(&set, NULL), SIGUSR1);
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    kill(pid, SIGABRT);
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    sigprocmask(SIG_SETMASK, &old, NULL);
    snprintf(text, sizeof(text), "signal=ABRT sent_by_pid=%d ", (int)getpid());
    char *pattern = strdup(text);
    read_log();
    must_match(pattern);
    free(pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fatal__each_signal__two_lines_and_the_death_it_means),
        cmocka_unit_test(fatal__json__every_line_parses),
        cmocka_unit_test(fatal__syslog__one_datagram_a_line),
        cmocka_unit_test(fatal__payload__is_in_the_record),
        cmocka_unit_test(fatal__payload_cannot_be_read__the_signal_is_recorded_and_logged),
        cmocka_unit_test(fatal__no_log__dies_all_the_same_and_writes_nowhere),
        cmocka_unit_test(fatal__full_pipe__does_not_block),
        cmocka_unit_test(fatal__stopped_then_aborted__dies_when_it_goes_on),
    };

    return cmocka_run_group_tests_name("fatal", tests, set_up, tear_down);
}
