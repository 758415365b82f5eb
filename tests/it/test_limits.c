/*
 * Limits: whatever peers do, memory, descriptors and time stay within what the configuration says.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"
#include "support/tool.h"

/* @n bytes of 4 KiB messages. */
static struct bytes flood_of(size_t n)
{
    char *p = peer_alloc(n);
    memset(p, 'x', n);
    for (size_t i = 4096; i <= n; i += 4096)
        memcpy(p + i - 4, "\r\n\r\n", 4);
    return (struct bytes){p, n};
}

static uint64_t peak_kib(struct server *s)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    uint64_t peak = 0;
    for (size_t i = 0; i < n; i++)
        peak = MAX(peak, proc_status(pids[i], "VmHWM", 10));
    return peak;
}

static void limits__peer_never_reads__closed_and_bounded(void **state)
{
    enum { N = 40 };
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; }; server: { write_timeout = 0.7; };");
    uint64_t before = peak_kib(s);
    struct bytes flood = flood_of(4 << 20);
    int fd[N], other = peer_connect(s->addr[0]);
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect_rcvbuf(s->addr[0], 4096);
        while (peer_try_send(fd[i], flood.data, flood.len) > 0)
            ;
        peer_echo(other, "served meanwhile");
    }
    MUST_COME(server_counter(s, closed_write_timeout) == N, "%llu of %d closed",
              (unsigned long long)server_counter(s, closed_write_timeout), N);
    for (int i = 0; i < N; i++)
        MUST(peer_drain(fd[i], WAIT_MS, NULL) != PEER_SILENT, "peer %d hears nothing", i);
    peer_echo(other, "served at the end");
    printf("# peak %llu KiB, at the start %llu KiB\n", (unsigned long long)peak_kib(s),
           (unsigned long long)before);
    /* The high-water mark, a read beyond it, doubled by growth; sanitizers take their own share. */
    MUST(it_is_sanitized() || peak_kib(s) < before + N * 1024, "it grew too much");
}

static void limits__slow_loris__closed_at_message_timeout(void **state)
{
    enum { N = 100 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { message_timeout = 0.6; };");
    int fd[N], idle = peer_connect(s->addr[0]);
    uint64_t start = clock_mono_ms();
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_send_text(fd[i], "drip");
    }
    /* A byte now and then does not prolong it; the loop ends with the last connection. */
    for (int open = N; open > 0;) {
        MUST(clock_mono_ms() < start + WAIT_MS, "%d are still open", open);
        peer_echo(idle, "others are served");
        open = 0;
        for (int i = 0; i < N; i++) {
            if (peer_has_ended(fd[i]))
                continue;
            open++;
            peer_try_send(fd[i], ".", 1);
        }
    }
    printf("# all closed after %llu ms\n", (unsigned long long)(clock_mono_ms() - start));
    peer_echo(idle, "an idle connection has no such limit");
    for (int i = 0; i < N; i++)
        peer_close(fd[i]);
    MUST_COME(server_counter(s, closed_message_timeout) == N, "closed_message_timeout");
}

static void limits__idle_connection__closed_at_keep_alive(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { keep_alive = 0.4; };");
    int fd = peer_connect(s->addr[0]), mute = peer_connect(s->addr[0]);
    peer_echo(fd, "then idle");
    peer_expect_eof(fd);
    peer_expect_eof(mute);
    MUST_COME(server_counter(s, closed_keep_alive) == 2, "closed_keep_alive");
}

static void limits__one_byte_segments__cost_is_linear(void **state)
{
    enum { N = 1 << 20 };
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; }; server: { message_timeout = 600; };");
    int fd = peer_connect(s->addr[0]);
    char *p = peer_alloc(N + 4);
    memset(p, '\r', N);
    memcpy(p + N - 1, "x\r\n\r\n", 5);
    uint64_t cpu = proc_cpu_ms(server_worker(s, 0));
    peer_exchange(fd, (struct bytes){p, N + 4}, (struct bytes){p, N + 4}, 1, NULL);
    cpu = proc_cpu_ms(server_worker(s, 0)) - cpu;
    uint64_t scanned = server_counter(s, scanned), in = server_counter(s, bytes_in);
    printf("# %llu ms of CPU, %llu bytes examined of %llu\n", (unsigned long long)cpu,
           (unsigned long long)scanned, (unsigned long long)in);
    MUST(in == N + 4, "bytes_in");
    /* With a read for each byte, the three before it are looked at again. */
    MUST(scanned <= 4 * in, "examined too often");
}

static void limits__message_too_long__counted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { max_message = \"1000\"; };");
    int fd = peer_connect(s->addr[0]);
    char *p = peer_alloc(1005);
    memset(p, 'x', 1005);
    peer_send_text(fd, "a\r\n\r\n");
    peer_send(fd, p, 1005);
    peer_expect_text(fd, "a\r\n\r\n");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "it stays open");
    MUST_COME(server_counter(s, closed_too_big) == 1, "closed_too_big");
}

static uint64_t n_spent(struct server *s)
{
    return server_counter(s, closed_buffered) + server_counter(s, closed_evicted);
}

static void limits__buffers_spent__some_are_closed_and_others_go_on(void **state)
{
    enum { N = 12, PART = 200000 };
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; };"
                                 "server: { max_message = \"512KiB\"; max_buffered = \"2MiB\"; };");
    int fd[N], other = peer_connect(s->addr[0]);
    char *p = peer_alloc(PART);
    server_expect(s, "server.max_buffered is spent");
    memset(p, 'x', PART);
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_send_until_end(fd[i], (struct bytes){p, PART});
        peer_echo(other, "others go on");
    }
    MUST_COME(n_spent(s) > 0, "nobody was closed");
    MUST(n_spent(s) < N, "everybody was closed");
    for (int i = 0; i < N; i++) {
        if (peer_has_ended(fd[i]))
            continue;
        peer_send_text(fd[i], "\r\n\r\n");
        peer_expect(fd[i], p, PART);
        peer_expect_text(fd[i], "\r\n\r\n");
        peer_close(fd[i]);
    }
    printf("# %llu closed of %d\n", (unsigned long long)n_spent(s), N);
    MUST(peer_is_served(s->addr[0], WAIT_MS), "new connections are not served");
}

static void limits__half_close_and_reset_in_message__counted_and_silent(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    size_t lines = server_log_count(s, ".");
    for (int i = 0; i < 10; i++) {
        int fd = peer_connect(s->addr[0]);
        peer_send_text(fd, "a\r\n\r\nhalf");
        peer_half_close(fd);
        peer_expect_text(fd, "a\r\n\r\n");
        peer_expect_eof(fd);
        peer_close(fd);
    }
    MUST_COME(server_counter(s, closed_partial) == 10, "closed_partial");
    for (int i = 0; i < 10; i++) {
        int fd = peer_connect(s->addr[0]);
        peer_send_text(fd, "a\r\n\r\nhalf");
        peer_expect_text(fd, "a\r\n\r\n");
        peer_reset(fd);
    }
    MUST_COME(server_counter(s, closed_reset) == 10, "closed_reset");
    for (int i = 0; i < 10; i++) {
        int fd = peer_connect(s->addr[0]);
        peer_echo(fd, "complete");
        peer_close(fd);
    }
    MUST_COME(server_counter(s, closed_peer) == 10, "closed_peer");
    MUST(server_log_count(s, ".") == lines, "it speaks of it above debug");
}

static void limits__port_scan__no_line_and_no_leak(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    size_t lines = server_log_count(s, ".");
    for (int i = 0; i < (it_is_soak() ? 50000 : 3000); i++) {
        int fd = peer_connect(s->addr[0]);
        if (i % 3 == 0)
            peer_send_text(fd, "GET / HTTP/1.0\r\n");
        if (i % 2)
            peer_close(fd);
        else
            peer_reset(fd);
    }
    MUST_COME(server_gauge(s, connections) == 0, "connections are left");
    server_must_be_well(s, 2);
    MUST(server_log_count(s, ".") == lines, "%zu lines more", server_log_count(s, ".") - lines);
    /* The descriptors are compared at the end, as in every test. */
}

static void limit_descriptors(pid_t pid, rlim_t n)
{
    struct rlimit rl = {n, n};
    MUST(proc_limit_fds(pid, &rl, NULL), "prlimit");
}

static void limits__reload_without_descriptors__refused_with_the_number(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    char control[128], path[64], text[96];
    struct tool_run r;
    struct stat st;
    unsigned n = 0;

    do
        snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)s->pid, n++);
    while (lstat(path, &st) == 0);
    snprintf(control, sizeof(control), "%s/control", s->run);
    server_expect(s, "reload refused");
    limit_descriptors(s->pid, n); /* one is free, for whoever asks */
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    snprintf(text, sizeof(text), "Too many open files: all %u that RLIMIT_NOFILE allows are in use",
             n);
    tool_must_fail(&r, 78, text);
    server_must_be_well(s, 2);
}

static void limits__one_worker_out_of_descriptors__siblings_go_on(void **state)
{
    enum { N = 100 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd[N];
    server_expect(s, "accepting pauses");
    limit_descriptors(server_worker(s, 0), 40);
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_echo(fd[i], "served by whoever has room");
    }
    MUST(server_gauge(s, connections) == N, "connections");
    MUST(server_counter(s, closed_refused) == 0, "somebody was turned away");
    server_must_idle(s);
    for (int i = 0; i < N; i++)
        peer_close(fd[i]);
    server_must_be_well(s, 2);
}

static void limits__all_out_of_descriptors__excess_hears_of_it(void **state)
{
    enum { N = 120 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd[N], served = 0, turned_away = 0;
    server_expect(s, "accepting pauses|all workers are full");
    limit_descriptors(server_worker(s, 0), 40);
    limit_descriptors(server_worker(s, 1), 40);
    uint64_t start = clock_mono_ms();
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_try_send(fd[i], "hello\r\n\r\n", 9);
    }
    for (int i = 0; i < N; i++) {
        char got[9];
        MUST_COME(peer_peek(fd[i], got, 9) == 9 || peer_has_ended(fd[i]), "peer %d: silence", i);
        if (peer_peek(fd[i], got, 9) == 9)
            served++;
        else
            turned_away++;
    }
    printf("# %d served, %d turned away within %llu ms, %llu pauses\n", served, turned_away,
           (unsigned long long)(clock_mono_ms() - start),
           (unsigned long long)server_counter(s, accept_pauses));
    MUST(served > 30 && turned_away > 0, "see above");
    /* Many in a pause: one each would let the last of them wait for 15 s. */
    MUST(server_counter(s, closed_refused) > server_counter(s, accept_pauses), "one a pause");
    server_must_idle(s);
    for (int i = 0; i < N; i++)
        peer_close(fd[i]);
    server_must_be_well(s, 2);
}

static void limits__max_connections__excess_is_turned_away(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; }; server: { max_connections = 5; };");
    int fd[6];
    server_expect(s, "all workers are full|accepting pauses");
    for (int i = 0; i < 5; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_echo(fd[i], "within the limit");
    }
    fd[5] = peer_connect(s->addr[0]);
    MUST(peer_drain(fd[5], WAIT_MS, NULL) != PEER_SILENT, "the sixth hears nothing");
    peer_echo(fd[0], "untouched");
    peer_close(fd[4]);
    MUST_COME(peer_is_served(s->addr[0], 1000), "there is room again");
}

static void few_descriptors(void)
{
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64});
}

static void limits__descriptor_limit_below_max_connections__says_both_numbers(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { max_connections = 1000; };",
                                    .in_child = few_descriptors);
    server_expect(s, "max_connections=1000 (rlimit_nofile=64|repeated=)");
    MUST(server_log_count(s, "level=warning .*max_connections=1000 rlimit_nofile=64") > 0,
         "no warning with both numbers");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(limits__peer_never_reads__closed_and_bounded),
        IT(limits__slow_loris__closed_at_message_timeout),
        IT(limits__idle_connection__closed_at_keep_alive),
        IT(limits__one_byte_segments__cost_is_linear),
        IT(limits__message_too_long__counted),
        IT(limits__buffers_spent__some_are_closed_and_others_go_on),
        IT(limits__half_close_and_reset_in_message__counted_and_silent),
        IT(limits__port_scan__no_line_and_no_leak),
        IT(limits__reload_without_descriptors__refused_with_the_number),
        IT(limits__one_worker_out_of_descriptors__siblings_go_on),
        IT(limits__all_out_of_descriptors__excess_hears_of_it),
        IT(limits__max_connections__excess_is_turned_away),
        IT(limits__descriptor_limit_below_max_connections__says_both_numbers),
    };
    return it_run(tests);
}
