/*
 * System calls that fail while the server serves: strace makes them fail in a worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"

#define WRITES "write,writev,sendto,sendmsg"
#define READS  "read,readv,recvfrom"
#define WAITS  "?epoll_wait,epoll_pwait"

/* One worker, so that it is the one that every connection meets. */
static struct server *start_one(struct it *it, pid_t *ret_worker)
{
    it_need_strace(it);
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; };");
    *ret_worker = server_worker(s, 0);
    return s;
}

static void faults__short_write__the_rest_follows(void **state)
{
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "warm");
    pid_t tracer = it_inject(it, worker, WRITES, WRITES ":retval=1:when=1");
    peer_send_text(fd, "0123456789\r\n\r\n");
    /* strace says "1 byte" without the call: that byte never leaves, the rest must. */
    peer_expect_text(fd, "123456789\r\n\r\n");
    peer_echo(fd, "and in step again");
    it_tool_stop(it, tracer);
    MUST(it_traced(it, worker, "INJECTED") == 1, "nothing was injected");
}

static void faults__write_would_block__retried_without_spinning(void **state)
{
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "warm");
    pid_t tracer = it_inject(it, worker, WRITES "," WAITS, WRITES ":error=EAGAIN:when=1..20");
    peer_echo(fd, "after twenty attempts");
    it_tool_stop(it, tracer);
    size_t waits = it_traced(it, worker, "^epoll_p?wait"), n = it_traced(it, worker, "INJECTED");
    printf("# %zu writes would block, %zu waits\n", n, waits);
    MUST(n == 20, "%zu writes were tampered with", n);
    MUST(waits <= n + 10, "%zu waits for %zu attempts", waits, n);
}

static void faults__interrupted_calls__are_retried(void **state)
{
    static const char *const calls[] = {READS, WRITES, "accept4", WAITS};
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        char inject[128];
        snprintf(inject, sizeof(inject), "%s:error=EINTR:when=1+2", calls[i]);
        pid_t tracer = it_inject(it, worker, calls[i], inject);
        struct load *l = load_new(&(struct load_options){
            .addr = s->addr[0], .clients = 4, .messages = 5, .max_payload = 9000, .seed = i});
        load_run(l, 300);
        load_finish(l);
        const struct load_report *r = load_report(l);
        load_print(l, calls[i]);
        MUST(r->echoed > 0 && r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
        load_free(l);
        it_tool_stop(it, tracer);
        MUST(it_traced(it, worker, "EINTR .*INJECTED") > 0, "%s: nothing was injected", calls[i]);
    }
}

static void faults__read_fails__only_that_connection_ends(void **state)
{
    static const char *const errors[] = {"ECONNRESET", "ETIMEDOUT", "EIO"};
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    int other = peer_connect(s->addr[0]);
    peer_echo(other, "before");
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        char inject[128];
        int fd = peer_connect(s->addr[0]);
        peer_echo(fd, "before");
        snprintf(inject, sizeof(inject), READS ":error=%s:when=1", errors[i]);
        pid_t tracer = it_inject(it, worker, READS, inject);
        peer_send_text(fd, "never read\r\n\r\n");
        uint64_t n;
        MUST(peer_drain(fd, WAIT_MS, &n) != PEER_SILENT && n == 0, "%s: silence", errors[i]);
        it_tool_stop(it, tracer);
        peer_echo(other, errors[i]);
        peer_close(fd);
    }
    MUST(server_counter(s, closed_reset) == 1, "closed_reset");
    MUST(server_counter(s, closed_error) == 2, "closed_error");
}

static void faults__accept_out_of_resources__pauses_and_recovers(void **state)
{
    static const char *const errors[] = {"ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EMFILE"};
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    server_expect(s, "accepting pauses|all workers are full");
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        char inject[128];
        snprintf(inject, sizeof(inject), "accept4:error=%s:when=1..6", errors[i]);
        uint64_t pauses = server_counter(s, accept_pauses);
        pid_t tracer = it_inject(it, worker, "accept4", inject);
        int fd = peer_connect(s->addr[0]);
        char got[5];
        peer_try_send(fd, "a\r\n\r\n", 5);
        /* At EMFILE the only worker is full: whoever waits may be turned away, visibly. */
        MUST_COME(peer_peek(fd, got, 5) == 5 ||
                      (peer_has_ended(fd) && !strcmp(errors[i], "EMFILE")),
                  "%s: neither served nor turned away", errors[i]);
        MUST_COME(peer_is_served(s->addr[0], 500), "%s: it does not recover", errors[i]);
        it_tool_stop(it, tracer);
        size_t calls = it_traced(it, worker, "^accept4");
        printf("# %s: %zu calls of accept4\n", errors[i], calls);
        MUST(server_counter(s, accept_pauses) > pauses, "%s: no pause", errors[i]);
        MUST(calls < 200, "%s: %zu calls", errors[i], calls);
        peer_close(fd);
    }
    server_must_be_well(s, 1);
    server_must_idle(s);
}

static void faults__accept_fails_for_one__others_are_served(void **state)
{
    static const char *const errors[] = {"ECONNABORTED", "EPROTO", "EHOSTDOWN", "ENETDOWN"};
    struct it *it = *state;
    pid_t worker;
    struct server *s = start_one(it, &worker);
    size_t lines = server_log_count(s, ".");
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        char inject[128];
        snprintf(inject, sizeof(inject), "accept4:error=%s:when=1+2", errors[i]);
        pid_t tracer = it_inject(it, worker, "accept4", inject);
        for (int k = 0; k < 10; k++)
            MUST(peer_is_served(s->addr[0], WAIT_MS), "%s: connection %d", errors[i], k);
        it_tool_stop(it, tracer);
    }
    MUST(server_counter(s, accept_errors) >= 20, "accept_errors");
    MUST(server_log_count(s, ".") == lines, "it speaks of it above debug");
}

static void faults__fork_fails__slot_is_filled_later(void **state)
{
    struct it *it = *state;
    it_need_strace(it);
    struct server *s = server_start(it, .conf = "");
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    server_expect(s, "worker cannot be forked");
    pid_t tracer = it_inject(it, s->pid, "?clone,?clone3,?fork,?vfork",
                             "?clone,?clone3,?fork,?vfork:error=EAGAIN:when=1..3");
    kill(server_worker(s, 0), SIGKILL);
    server_wait_log(s, "worker cannot be forked", 1);
    server_wait_workers(s, 2);
    it_tool_stop(it, tracer);
    MUST(it_traced(it, s->pid, "INJECTED") == 3, "the forks were not tampered with");
    server_must_be_well(s, 2);
}

/* Into a network of our own; returns a way back, or skips. */
static int enter_own_network(struct it *it)
{
    const char *nft[] = {"nft", "--version", NULL};
    int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (it_tool_run(it, "tools.log", nft) != 0 || unshare(CLONE_NEWNET) < 0) {
        printf("# skipped: no nft, or no network namespace: %s\n", strerror(errno));
        close(back);
        skip();
    }
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0, "lo: %s", strerror(errno));
    close(fd);
    return back;
}

static void faults__reset_in_the_path__both_ends_hear(void **state)
{
    struct it *it = *state;
    int back = enter_own_network(it);
    struct server *s = server_start(it, .conf = "");
    const char *port = strrchr(s->addr[0], ':') + 1;
    char rule[512];
    snprintf(rule, sizeof(rule),
             "add table ip t; add chain ip t in { type filter hook input priority 0; }; "
             "add rule ip t in tcp dport %s ct original bytes > 4000 reject with tcp reset",
             port);
    const char *nft[] = {"nft", rule, NULL};
    int code = it_tool_run(it, "tools.log", nft);
    if (code == 0) {
        struct load *l = load_new(&(struct load_options){
            .addr = s->addr[0], .clients = 4, .max_payload = 500, .seed = 1});
        load_run(l, 500);
        load_finish(l);
        load_print(l, "reset in the path");
        MUST(load_report(l)->reset > 0, "no connection was reset");
        load_free(l);
    }
    const char *flush[] = {"nft", "flush ruleset", NULL};
    it_tool_run(it, "tools.log", flush);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(setns(back, CLONE_NEWNET) == 0, "no way back: %s", strerror(errno));
    close(back);
    if (code != 0) {
        printf("# skipped: nft cannot reset here\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(faults__short_write__the_rest_follows),
        IT(faults__write_would_block__retried_without_spinning),
        IT(faults__interrupted_calls__are_retried),
        IT(faults__read_fails__only_that_connection_ends),
        IT(faults__accept_out_of_resources__pauses_and_recovers),
        IT(faults__accept_fails_for_one__others_are_served),
        IT(faults__fork_fails__slot_is_filled_later),
        IT(faults__reset_in_the_path__both_ends_hear),
    };
    return it_run(tests);
}
