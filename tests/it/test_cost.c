/*
 * What a message and an idle connection cost, in counts: a worker of the shipped program is walked
 * instruction by instruction with ptrace(2) through one turn of its loop, from one wait for events
 * to the next.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "base/util.h"
#include "support/server.h"

enum {
    CONNECTIONS_MAX = 64,
    DEPTH_MAX = 16,
    TURNS_MIN = 2, /* in the first some arrays grow for good */
    TURNS_MAX = 6, /* until one is cheap enough: a heartbeat may fall into one */
    INSTRUCTIONS = 350, /* a message */
    IDLE_BASE = 100, /* connections until all that is there only once is there */
    IDLE = 4000,
    WAITS_MAX = 8,
};

#define MESSAGE "012345678901234567890123456789012345678901234567890123456789\r\n\r\n"

struct cost {
    unsigned instructions, reads, writes, waits;
};

static void skip_because(const char *reason)
{
    printf("# skipped: %s\n", reason);
    skip();
}

/* No macro tells of all sanitizers; the compiler's flags do. */
static bool is_plain_build(void)
{
#ifdef __OPTIMIZE__
    const char *cc = getenv("ECHO_CC");

    return !it_is_sanitized() && !(cc && strstr(cc, "-fsanitize"));
#else
    return false;
#endif
}

static struct server *start_one(struct it *it)
{
    return server_start(it, .conf = "arbiter: { workers = 1; };");
}

#ifdef __x86_64__

static void wait_stopped(pid_t pid)
{
    int status;

    MUST(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status), "the worker has not stopped");
}

/* On one processor the two wake each other at the least cost: there are 50 000 steps. */
static void share_processor(pid_t pid)
{
    cpu_set_t all, one;
    unsigned cpu = 0;

    MUST(sched_getaffinity(0, sizeof(all), &all) == 0, "affinity");
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MUST(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
    MUST(sched_setaffinity(pid, sizeof(one), &one) == 0, "affinity");
}

static void attach(pid_t pid)
{
    share_processor(pid);
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
        skip_because(strerror(errno));
    MUST(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0, "interrupt");
    wait_stopped(pid);
}

static void step(pid_t pid)
{
    MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0, "step");
    wait_stopped(pid);
}

/* The system call that is the next instruction; -1 = it is none. */
static long next_call(pid_t pid)
{
    struct user_regs_struct regs;

    MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs) == 0, "registers");
    return (ptrace(PTRACE_PEEKTEXT, pid, regs.rip, 0) & 0xffff) == 0x050f ? (long)regs.rax : -1;
}

static bool is_wait(long call)
{
    return call == SYS_epoll_wait || call == SYS_epoll_pwait;
}

static void count_call(struct cost *c, long call)
{
    c->reads +=
        call == SYS_read || call == SYS_readv || call == SYS_recvfrom || call == SYS_recvmsg;
    c->writes +=
        call == SYS_write || call == SYS_writev || call == SYS_sendto || call == SYS_sendmsg;
    c->waits += is_wait(call);
}

static void walk_to_wait(pid_t pid)
{
    while (!is_wait(next_call(pid)))
        step(pid);
}

/* From one wait for events to the next: a turn of the loop. */
static void walk_turn(pid_t pid, struct cost *c)
{
    long call = next_call(pid);

    do {
        count_call(c, call);
        step(pid);
        c->instructions++;
        call = next_call(pid);
    } while (!is_wait(call));
}

static struct cost cheapest_turn(pid_t pid, const int *fds, unsigned n, unsigned depth)
{
    struct cost best = {.instructions = UINT32_MAX};
    const size_t len = strlen(MESSAGE);
    char batch[DEPTH_MAX * sizeof(MESSAGE)];

    for (unsigned i = 0; i < depth; i++)
        memcpy(batch + i * len, MESSAGE, len);
    walk_to_wait(pid);
    for (unsigned i = 0; i < TURNS_MAX; i++) {
        if (i >= TURNS_MIN && best.instructions <= INSTRUCTIONS * n * depth)
            break;
        struct cost c = {0};
        walk_turn(pid, &c); /* for the heartbeat, which is due now: so it is not in what follows */
        c = (struct cost){0};
        for (unsigned k = 0; k < n; k++)
            peer_send(fds[k], batch, depth * len);
        for (unsigned k = 0; k < n; k++)
            peer_pause_until_acked(fds[k]);
        while (c.writes < n && c.waits < WAITS_MAX)
            walk_turn(pid, &c);
        if (c.instructions < best.instructions)
            best = c;
        for (unsigned k = 0; k < n; k++)
            peer_expect(fds[k], batch, depth * len);
    }
    printf("# %u connections, depth %u: %u reads, %u writes, %.1f instructions per message\n", n,
           depth, best.reads, best.writes, (double)best.instructions / (n * depth));
    return best;
}

static struct cost cost_of_a_turn(struct it *it, unsigned n, unsigned depth)
{
    struct server *s = start_one(it);
    int fds[CONNECTIONS_MAX];
    struct cost c;
    pid_t pid;

    MUST(server_worker_pids(s, &pid) == 1, "one worker");
    for (unsigned i = 0; i < n; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "here");
    }
    attach(pid);
    c = cheapest_turn(pid, fds, n, depth);
    MUST(ptrace(PTRACE_DETACH, pid, 0, 0) == 0, "detach");
    return c;
}

static void
cost__a_message_on_each_of_64_connections__one_read_one_write_350_instructions(void **state)
{
    const struct cost c = cost_of_a_turn(*state, 64, 1);

    MUST(c.reads == 64 && c.writes == 64, "%u reads and %u writes", c.reads, c.writes);
    if (!is_plain_build())
        skip_because("instructions are counted in an optimised build without sanitizers");
    MUST(c.instructions <= INSTRUCTIONS * 64, "%u instructions for %u messages", c.instructions,
         64u);
}

static void cost__sixteen_messages_at_once__one_read_one_write(void **state)
{
    const struct cost c = cost_of_a_turn(*state, 4, 16);

    MUST(c.reads == 4 && c.writes == 4, "%u reads and %u writes", c.reads, c.writes);
}

#endif

static uint64_t resident(pid_t pid)
{
    return (proc_status(pid, "RssAnon", 10) + proc_status(pid, "RssShmem", 10)) * 1024;
}

static void many_descriptors(void)
{
    struct rlimit rl;

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

static void cost__an_idle_connection__192_bytes(void **state)
{
    struct it *it = *state;
    struct rlimit rl;
    uint64_t before = 0;
    double each;
    pid_t pid;

    if (!is_plain_build())
        skip_because("memory is measured in an optimised build without sanitizers");
    many_descriptors();
    getrlimit(RLIMIT_NOFILE, &rl);
    if (rl.rlim_cur < IDLE + 100)
        skip_because("RLIMIT_NOFILE is too low for 4000 connections");
    struct server *s = start_one(it);
    MUST(server_worker_pids(s, &pid) == 1, "one worker");
    for (unsigned i = 0; i < IDLE; i++) {
        if (i == IDLE_BASE)
            before = resident(pid);
        peer_echo(peer_connect(s->addr[0]), "here");
    }
    each = (double)(resident(pid) - before) / (IDLE - IDLE_BASE);
    printf("# %.1f bytes an idle connection\n", each);
    MUST(each <= 192, "%.1f bytes an idle connection", each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef __x86_64__
        IT(cost__a_message_on_each_of_64_connections__one_read_one_write_350_instructions),
        IT(cost__sixteen_messages_at_once__one_read_one_write),
#endif
        IT(cost__an_idle_connection__192_bytes),
    };
    return it_run(tests);
}
