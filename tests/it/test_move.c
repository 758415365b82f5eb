/*
 * Move in difficult circumstances: peers that do nothing, changes that overtake each other,
 * workers that stand still or cannot open anything.
 * That nothing is lost is test_prove.c's matter, even shares test_spread.c's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

#define RELOADED "msg=\"reloaded\""

/* Each has been served once. */
static void connect_all(struct server *s, int *fds, int n)
{
    for (int i = 0; i < n; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < n; i++)
        peer_echo(fds[i], "before");
}

/* Peers that neither read nor send hold up a drain for ever, but not a move. */
static void moved__peers_that_do_nothing__old_revision_is_gone_and_bytes_are_exact(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 60; };");
    enum { PEERS = 40, SIZE = 300000 };
    struct bytes out = {peer_alloc(SIZE), SIZE};
    pid_t old = server_worker(s, 0);
    int reading[PEERS], idle[PEERS], half[PEERS];

    memset((void *)out.data, 'x', SIZE);
    memcpy((char *)out.data + SIZE - 4, "\r\n\r\n", 4);
    for (int i = 0; i < PEERS; i++) {
        reading[i] = peer_connect_rcvbuf(s->addr[0], 4096);
        peer_send(reading[i], out.data, SIZE); /* the reply does not fit: output is unsent */
        idle[i] = peer_connect(s->addr[0]);
        peer_echo(idle[i], "before");
        half[i] = peer_connect(s->addr[0]);
        peer_send_text(half[i], "the first half, ");
        peer_pause_until_acked(half[i]);
    }
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    server_wait_log(s, "worker ended\" .*slot=1 incarnation=1", 1);
    MUST(!proc_is_alive(old), "the old revision lives on");
    for (int i = 0; i < PEERS; i++) {
        peer_expect(reading[i], out.data, SIZE);
        peer_echo(idle[i], "after");
        peer_send_text(half[i], "the second\r\n\r\n");
        peer_expect_text(half[i], "the first half, the second\r\n\r\n");
    }
}

/* Each byte of a large message may be the one that the old worker has read last. */
static void moved__in_the_middle_of_a_mebibyte__finished_elsewhere_bytes_exact(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    enum { PEERS = 40, SIZE = 1 << 20 };
    struct bytes out = {peer_alloc(SIZE + 4), SIZE + 4};
    uint64_t rng = it_seed();
    size_t sent[PEERS];
    int fds[PEERS];

    for (size_t i = 0; i < SIZE; i++)
        ((uint8_t *)out.data)[i] = (uint8_t)("abc\r"[rng_below(&rng, 4)]);
    memcpy((char *)out.data + SIZE, "\r\n\r\n", 4);
    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        sent[i] = 0;
    }
    for (size_t round = 1; round <= 3; round++) {
        /* Every second one has begun. */
        for (int i = 0; i < PEERS; i += 2) {
            const size_t n = 1 + rng_below(&rng, SIZE / 3);

            peer_send(fds[i], (const char *)out.data + sent[i], n);
            sent[i] += n;
        }
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, round);
    }
    for (int i = 0; i < PEERS; i++) {
        peer_exchange(fds[i], (struct bytes){(const char *)out.data + sent[i], out.len - sent[i]},
                      out, 0, NULL);
        peer_echo(fds[i], "after");
    }
}

/* --- nearly all of max_buffered --- */

/* The beginning of a message of @size bytes. */
static struct bytes letters(size_t size)
{
    char *text = peer_alloc(size + 4);

    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + (i * 2654435761u >> 16) % 23);
    memcpy(text + size, "\r\n\r\n", 4);
    return (struct bytes){text, size + 4};
}

/* Until the worker has read, and holds, @until bytes of @m. */
static void send_more(struct server *s, int fd, struct bytes m, size_t *sent, size_t until)
{
    const uint64_t before = server_counter(s, bytes_in);

    peer_send(fd, (const char *)m.data + *sent, until - *sent);
    MUST_COME(server_counter(s, bytes_in) == before + until - *sent, "the bytes are not read");
    *sent = until;
}

static void finish_message(int fd, struct bytes m, size_t begun)
{
    peer_exchange(fd, (struct bytes){(const char *)m.data + begun, m.len - begun}, m, 0, NULL);
    peer_echo(fd, "after");
}

/* 13.8 of the 15 MiB that are there for large blocks: three blocks of 4 MiB, and one that grew into
 * what was left. It is the oldest connection's, and so the first that the taker receives. */
static void moved__worker_nearly_full__all_it_held_moves(void **state)
{
    enum { KIB = 1024, PEERS = 4, FULL = 3700 * KIB, OVER_2_MIB = 2080 * KIB, LAST = 2900 * KIB };
    static const struct {
        int peer;
        size_t until;
    } order[] = {{1, FULL},       {2, FULL}, {0, 1900 * KIB}, {3, OVER_2_MIB},
                 {0, OVER_2_MIB}, {3, FULL}, {0, LAST}};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; exit_timeout = 5; };"
                                                "server: { max_message = \"3840KiB\";"
                                                "          max_buffered = \"20MiB\"; };");
    struct bytes m = letters(FULL + 20000);
    size_t begun[PEERS] = {0};
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i] = peer_connect(s->addr[0]), "before");
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        send_more(s, fds[order[i].peer], m, &begun[order[i].peer], order[i].until);
    for (size_t round = 1; round <= 3; round++) {
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, round);
        server_wait_log(s, "worker ended\"", round);
    }
    for (int i = PEERS; i-- > 0;)
        finish_message(fds[i], m, begun[i]);
}

/* Two of which each holds 87 % of what large blocks may, and one takes all: it is above its limit
 * until its clients have finished, and no message is lost for that. */
static void moved__two_nearly_full__one_takes_all(void **state)
{
    enum { PEERS = 28, BEGUN = 127 * 1024 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 5; };"
                                                "server: { max_message = \"512KiB\";"
                                                "          max_buffered = \"2800KiB\"; };");
    struct bytes m = letters(BEGUN + 900);
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i] = peer_connect(s->addr[0]), "before");
    for (int i = 0; i < PEERS; i++) {
        size_t begun = 0;

        send_more(s, fds[i], m, &begun, BEGUN);
    }
    server_signal(s, SIGTTOU);
    server_wait_log(s, "worker ended\"", 1);
    for (int i = 0; i < PEERS; i++)
        finish_message(fds[i], m, BEGUN);
}

/* Nobody has memory files any more: the state goes through pipes, and what is too large for one
 * stays where it is until its message is answered. */
static void moved__no_memory_files__idle_ones_move_the_rest_is_drained(void **state)
{
    enum { PEERS = 60, BEGUN = 3 << 20 };
    struct it *it = *state;
    struct server *s;
    struct bytes m = letters(BEGUN + 1000);
    int fds[PEERS], half, large;
    size_t begun = 0, begun_half = 0;

    it_need_strace(it);
    s = server_start(it, .conf = "arbiter: { workers = 1; exit_timeout = 4; };");
    server_expect(s, "cannot be moved\"|could not be handed over");
    connect_all(s, fds, PEERS);
    half = peer_connect(s->addr[0]);
    send_more(s, half, BYTES("the first half, "), &begun_half, 16);
    large = peer_connect(s->addr[0]);
    send_more(s, large, m, &begun, BEGUN);
    pid_t old = server_worker(s, 0);
    pid_t tracer = it_inject(it, old, "memfd_create", "memfd_create:error=EMFILE");
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    server_wait_log(s, "could not be handed over in time: they are drained\" connections=1", 1);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
    peer_send_text(half, "the second\r\n\r\n");
    peer_expect_text(half, "the first half, the second\r\n\r\n");
    peer_exchange(large, (struct bytes){(const char *)m.data + begun, m.len - begun}, m, 0, NULL);
    peer_expect_eof(large);
    peer_close(large);
    server_wait_log(s, "worker ended\"", 1);
    it_tool_stop(it, tracer);
    MUST(server_log_count(s, "are cut") == 0, "some were cut");
}

/* One change after the other, without waiting for what the one before moves. */
static void moved__changes_overtake_each_other__nothing_lost(void **state)
{
    static const int storm[] = {SIGHUP,  SIGTTOU, SIGTTIN, SIGHUP, SIGHUP,
                                SIGTTIN, SIGTTOU, SIGTTOU, SIGTTIN};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    enum { PEERS = 50 };
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int round = 0; round < (it_is_soak() ? 50 : 8); round++) {
        for (size_t i = 0; i < ARRAY_SIZE(storm); i++) {
            server_signal(s, storm[i]);
            peer_echo(fds[i], "between two changes");
        }
        for (int i = 0; i < PEERS; i++)
            peer_echo(fds[i], "still here");
    }
    server_configure(s, "");
    server_signal(s, SIGHUP);
    server_wait_workers(s, 2);
}

/* From now on @pid cannot open anything. Returns its limit of before. */
static struct rlimit leave_no_descriptor(pid_t pid)
{
    struct rlimit limit, before;
    char path[64];

    MUST(proc_limit_fds(pid, NULL, &before), "prlimit");
    limit = before;
    limit.rlim_cur = 0;
    do
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)limit.rlim_cur);
    while (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && ++limit.rlim_cur);
    MUST(proc_limit_fds(pid, &limit, NULL), "prlimit");
    return before;
}

/* The ways to those who would take do not arrive; it says so, and is asked again. */
static void moved__worker_without_descriptors__asked_again_and_nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; }; log: { level = \"debug\"; };");
    enum { PEERS = 30 };
    int fds[PEERS];

    connect_all(s, fds, PEERS);
    for (size_t round = 1; round <= 2; round++) {
        pid_t pid = server_worker(s, 0);
        struct rlimit before = leave_no_descriptor(pid);
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, round);
        server_wait_log(s, "connections moved\" .*count=0 refused=30", round);
        MUST(proc_limit_fds(pid, &before, NULL), "prlimit");
        server_wait_log(s, "worker ended\"", round);
        for (int i = 0; i < PEERS; i++)
            peer_echo(fds[i], "after");
    }
    MUST(server_log_count(s, "connections moved\" .*count=0 refused=30") >= 2,
         "it had descriptors");
}

/* A reload does not wait for one that does not do what it was told. */
static void moved__giver_stands_still__reload_goes_on_and_nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { timeout = 3600; }; log: { level = \"debug\"; };");
    enum { PEERS = 200 };
    int fds[PEERS];

    connect_all(s, fds, PEERS);
    pid_t still = server_slot_pid(s, 2);
    kill(still, SIGSTOP);
    server_signal(s, SIGTTIN);
    server_wait_log(s, "msg=\"?balance\"? .*from_slot=2", 1);
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    kill(still, SIGCONT);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
    server_wait_log(s, "worker ended\"", 3);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "still here");
}

static void moved__told_to_stop_while_it_gives__nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    enum { PEERS = 100 };
    int fds[PEERS];
    char control[160];

    connect_all(s, fds, PEERS);
    snprintf(control, sizeof(control), "unix:%s/control", s->run);
    pid_t taker = server_slot_pid(s, 1);
    kill(taker, SIGSTOP);
    server_signal(s, SIGTTOU);
    server_wait_log(s, "msg=\"scaling\" workers=1", 1);
    int asker = peer_connect(control);
    peer_send_text(asker, "{\"command\":\"stop\",\"target\":\"worker.2\",\"id\":1}\n");
    peer_expect_text(asker, "{\"id\":1,\"result\":{\"stopping\":true}}\n");
    kill(taker, SIGCONT);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
}

/* Its mailbox takes no order any more, not even the one to drain: that is repeated. */
static void moved__mailbox_is_full__told_later_and_nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { timeout = 3600; };");
    enum { PEERS = 50, REQUESTS = 50 };
    static const char request[] = "{\"command\":\"log_level\",\"args\":{\"level\":\"info\"}}\n";
    char control[160], answer[REQUESTS * 64];
    int fds[PEERS];

    server_expect(s, "mailbox: not sent\"");
    connect_all(s, fds, PEERS);
    pid_t still = server_slot_pid(s, 2);
    kill(still, SIGSTOP);
    snprintf(control, sizeof(control), "unix:%s/control", s->run);
    int asker = peer_connect(control);
    while (server_log_count(s, "mailbox: not sent\"") == 0) {
        for (int i = 0; i < REQUESTS; i++)
            peer_send(asker, request, sizeof(request) - 1);
        /* All answers: all is in the mailbox. */
        for (int n = 0; n < REQUESTS;) {
            size_t len = peer_peek(asker, answer, sizeof(answer));

            for (size_t i = 0; i < len; i++)
                n += answer[i] == '\n';
            peer_expect(asker, answer, len);
        }
    }
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    server_wait_log(s, "mailbox: not sent\" .*command=stop", 1);
    kill(still, SIGCONT);
    server_wait_log(s, "worker ended\" .*slot=2 ", 1);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(moved__peers_that_do_nothing__old_revision_is_gone_and_bytes_are_exact),
        IT(moved__in_the_middle_of_a_mebibyte__finished_elsewhere_bytes_exact),
        IT(moved__worker_nearly_full__all_it_held_moves),
        IT(moved__two_nearly_full__one_takes_all),
        IT(moved__no_memory_files__idle_ones_move_the_rest_is_drained),
        IT(moved__changes_overtake_each_other__nothing_lost),
        IT(moved__worker_without_descriptors__asked_again_and_nothing_lost),
        IT(moved__giver_stands_still__reload_goes_on_and_nothing_lost),
        IT(moved__told_to_stop_while_it_gives__nothing_lost),
        IT(moved__mailbox_is_full__told_later_and_nothing_lost),
    };

    return it_run(tests);
}
