/*
 * The program of the test build (build/test/echo-arbiter): the shipped one with hooks for faults
 * that cannot be caused from outside, in its protocol and in front of worker_main, which the
 * Makefile wraps.
 *
 * ECHO_TEST_HOOK names a file; while it exists, each new worker reads one line "WHAT SLOT" (SLOT 0
 * = all) from it before it is ready: crash (SIGSEGV), exit (code 3), hang, wait (until the file is
 * gone); see also move_kill.c. A message \x01crash KIND (segv, null, overflow, abrt, trap …,
 * exit0, exit3, spin, deaf: spin without SIGABRT) does that in the middle of serving; scribbleXX
 * fills its record of the scoreboard with the byte XX, trespass writes into another's, disconnect
 * shuts down the mailbox, lieN says to the arbiter what it may not, leakMB forgets so much memory,
 * linger passes it a socket whose close waits, environ exits with 9 if it has what is the arbiter's
 * alone, rights tries what a worker must not be able to do and answers with the outcome of each,
 * and go on; openat, socket, execve, ptrace, setuid and kill try that system call.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/scoreboard.h"
#include "base/fdpass.h"
#include "base/signals.h"
#include "base/util.h"
#include "echo_arbiter/echo.h"
#include "support/lingering.h"
#include "worker/worker.h"

int __real_worker_main(const struct actor_boot *boot);
int __wrap_worker_main(const struct actor_boot *boot);

static volatile int *volatile nowhere;
static const struct scoreboard *scoreboard;
static uint32_t own_record;
static int mailbox_fd;
static char id[32];

static void __attribute__((noreturn)) spin(void)
{
    for (volatile unsigned turns = 0;; turns++)
        ;
}

/* As deep as the stack goes; the volatile reads keep the compiler from making a loop of it. */
static unsigned overflow(volatile unsigned depth) // NOLINT(misc-no-recursion)
{
    volatile char block[4096] = {(char)depth};

    return depth == 0 ? 0 : overflow(depth + 1) + (unsigned char)block[0];
}

/* What a debugger sets; the next instruction would come after it. */
static void breakpoint(void)
{
#if defined(__x86_64__)
    __asm__ volatile("int3");
#elif defined(__aarch64__)
    __asm__ volatile("brk #0");
#else
    raise(SIGTRAP);
#endif
}

static void spin_deaf(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    spin();
}

static void scribble(const char *hex)
{
    memset(scoreboard_record(scoreboard, own_record), (int)strtoul(hex, NULL, 16),
           sizeof(struct score_record));
}

static void trespass(void)
{
    for (uint32_t i = 0; i < counter_get(&scoreboard->header->high); i++)
        if (i != own_record)
            counter_set(&scoreboard_record(scoreboard, i)->connections, 4711);
}

static void leak(const char *mb)
{
    static void *volatile forgotten;
    const size_t size = strtoul(mb, NULL, 10) << 20;

    forgotten = malloc(size);
    if (forgotten)
        memset(forgotten, 1, size);
}

static void lie(const char *number)
{
    static const char *const lies[] = {
        "this is no message",
        "{\"command\":\"stop\",\"id\":0,\"sender\":\"%s\",\"target\":\"arbiter\",\"args\":{}}",
        "{\"command\":\"ping\",\"id\":1,\"sender\":\"arbiter\",\"target\":\"arbiter\",\"args\":{}}",
        "{\"command\":\"moved\",\"id\":0,\"sender\":\"%s\",\"target\":\"arbiter\",\"args\":{}}",
        "{\"command\":\"jump\",\"id\":0,\"sender\":\"%s\",\"target\":\"arbiter\",\"args\":{}}",
    };
    const char *text = lies[strtoul(number, NULL, 10) % ARRAY_SIZE(lies)];
    const char *name = strstr(text, "%s");
    char out[256];
    const int head = name ? (int)(name - text) : (int)strlen(text);

    snprintf(out, sizeof(out), "%.*s%s%s", head, text, name ? id : "", name ? name + 2 : "");
    send(mailbox_fd, out, strlen(out), MSG_NOSIGNAL);
}

/* Passes the arbiter a socket that it would have to wait for. */
static void linger(void)
{
    static const char text[] = "{\"command\":\"notify\",\"id\":0,\"sender\":\"%s\","
                               "\"target\":\"arbiter\",\"args\":{\"info\":{}}}";
    char out[256];
    int reader, fd = lingering_socket(&reader);
    const int len = snprintf(out, sizeof(out), text, id);

    if (fdpass_send(mailbox_fd, out, (size_t)len, &fd, 1) < 0)
        _exit(3);
    close(fd); /* a test has stopped the arbiter, so that this is not the last one */
}

/* What a service manager has told the arbiter is nothing for programs that a worker may start. */
static void check_environment(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (getenv(names[i]))
            _exit(9);
}

/* What no worker may do. */
static void try_call(const char *kind)
{
    char *const argv[] = {(char[]){"true"}, NULL};

    if (strcmp(kind, "openat") == 0)
        open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    else if (strcmp(kind, "socket") == 0)
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    else if (strcmp(kind, "execve") == 0)
        execv("/bin/true", argv);
    else if (strcmp(kind, "ptrace") == 0)
        ptrace(PTRACE_ATTACH, getppid(), 0, 0);
    else if (strcmp(kind, "setuid") == 0)
        (void)!setuid(0);
    else if (strcmp(kind, "kill") == 0)
        kill(getppid(), SIGCONT);
}

static int find_signal(const char *kind)
{
    static const struct {
        const char *kind;
        int signo;
    } signals[] = {
        {"segv", SIGSEGV}, {"bus", SIGBUS},   {"ill", SIGILL}, {"fpe", SIGFPE},
        {"abrt", SIGABRT}, {"trap", SIGTRAP}, {"sys", SIGSYS},
    };

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (strcmp(signals[i].kind, kind) == 0)
            return signals[i].signo;
    return 0;
}

static void fail(const char *kind)
{
    if (find_signal(kind))
        raise(find_signal(kind));
    else if (strcmp(kind, "null") == 0)
        *nowhere = 1;
    else if (strcmp(kind, "breakpoint") == 0)
        breakpoint();
    else if (strcmp(kind, "overflow") == 0)
        overflow(1);
    else if (strcmp(kind, "exit0") == 0)
        _exit(0);
    else if (strcmp(kind, "exit3") == 0)
        _exit(3);
    else if (strcmp(kind, "spin") == 0)
        spin();
    else if (strcmp(kind, "deaf") == 0)
        spin_deaf();
    else if (strcmp(kind, "disconnect") == 0)
        shutdown(mailbox_fd, SHUT_RDWR);
    else if (strcmp(kind, "linger") == 0)
        linger();
    else if (strcmp(kind, "environ") == 0)
        check_environment();
    else if (strcmp(kind, "trespass") == 0)
        trespass();
    else if (strncmp(kind, "scribble", 8) == 0)
        scribble(kind + 8);
    else if (strncmp(kind, "lie", 3) == 0)
        lie(kind + 3);
    else if (strncmp(kind, "leak", 4) == 0)
        leak(kind + 4);
    else
        try_call(kind);
}

static const char *outcome(long rc)
{
    return rc < 0 ? strerrorname_np(errno) : "done";
}

/* The file that ECHO_TEST_SECRET names is root's alone. */
static size_t try_rights(char *ret, size_t size)
{
    const char *secret = getenv("ECHO_TEST_SECRET");
    const pid_t arbiter = getppid();
    size_t len = 0;

#define TRY(name, call)                                                                            \
    len += (size_t)snprintf(ret + len, size - len, " %s=%s", name, outcome(call))
    TRY("setuid", setuid(0));
    TRY("setgid", setgid(0));
    TRY("setgroups", setgroups(0, NULL));
    TRY("open", open(secret ? secret : "", O_RDONLY | O_CLOEXEC));
    TRY("ptrace", ptrace(PTRACE_SEIZE, arbiter, NULL, NULL));
    TRY("kill", kill(arbiter, 0));
    TRY("chroot", chroot("/"));
    TRY("dumpable", prctl(PR_GET_DUMPABLE) == 0 ? 0 : -1);
#undef TRY
    return len;
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    static const char prefix[] = "\x01"
                                 "crash ";
    char kind[16] = "";

    if (in->len > sizeof(prefix) && memcmp(in->data, prefix, sizeof(prefix) - 1) == 0 &&
        sscanf((const char *)in->data + sizeof(prefix) - 1, "%15[a-z0-9]", kind) == 1)
        fail(kind);
    if (strcmp(kind, "rights") == 0) {
        static char text[256];

        out->reply_len = try_rights(text, sizeof(text));
        out->reply = (const uint8_t *)text;
        out->consumed = in->len;
        return;
    }
    echo_protocol.on_data(server, conn, in, out);
}

static void fail_before_ready(const struct actor_boot *boot)
{
    const char *path = getenv("ECHO_TEST_HOOK");
    FILE *f = path ? fopen(path, "re") : NULL;
    char what[16] = "";
    unsigned slot = 0;

    if (!f)
        return;
    if (fscanf(f, "%15s %u", what, &slot) < 1)
        what[0] = '\0';
    fclose(f);
    if (slot != 0 && slot != boot->slot)
        return;
    if (strcmp(what, "crash") == 0) {
        signals_unblock_all();
        raise(SIGSEGV);
    } else if (strcmp(what, "exit") == 0) {
        _exit(3);
    } else if (strcmp(what, "hang") == 0) {
        for (;;)
            pause();
    } else if (strcmp(what, "wait") == 0) {
        while (access(path, F_OK) == 0)
            usleep(2000);
    }
}

int __wrap_worker_main(const struct actor_boot *boot)
{
    fail_before_ready(boot);
    scoreboard = boot->scoreboard;
    own_record = boot->proc;
    mailbox_fd = boot->mailbox_fd;
    snprintf(id, sizeof(id), "%s", boot->id);
    return __real_worker_main(boot);
}

/* Of the test, out of the memory that becomes the title. */
static const char *default_config(void)
{
    static char path[256];
    const char *given = getenv("ECHO_TEST_CONFIG");

    if (!given)
        return NULL;
    snprintf(path, sizeof(path), "%s", given);
    return path;
}

int main(int argc, char **argv)
{
    static const char *const calls[] = {"openat", "unlink", NULL};
    struct arb_protocol hooked = echo_protocol;
    const struct arb_protocol *const protocols[] = {&hooked, NULL};
    const struct arb_program program =
        ARB_PROGRAM(.name = "echo-arbiter", .version = ECHO_VERSION, .protocols = protocols,
                    .config = default_config(), .calls = getenv("ECHO_TEST_HOOK") ? calls : NULL);

    hooked.on_data = on_data;
    return arb_main(&program, argc, argv);
}
