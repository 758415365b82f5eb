/*
 * Hand-over in difficult circumstances: peers that do nothing, changes that overtake each other.
 * That nothing is lost is test_prove.c's matter, even shares test_spread.c's.
 */
#include <signal.h>
#include <string.h>

#include "base/util.h"
#include "support/server.h"

#define RELOADED "msg=\"reloaded\""

/* Peers that neither read nor send hold up a drain for ever, but not a hand-over. */
static void
handover__peers_that_do_nothing__old_generation_is_gone_and_bytes_are_exact(void **state)
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
    server_wait_log(s, "worker ended\" .*slot=1 generation=1", 1);
    MUST(!proc_is_alive(old), "the old generation lives on");
    for (int i = 0; i < PEERS; i++) {
        peer_expect(reading[i], out.data, SIZE);
        peer_echo(idle[i], "after");
        peer_send_text(half[i], "the second\r\n\r\n");
        peer_expect_text(half[i], "the first half, the second\r\n\r\n");
    }
}

/* One change after the other, without waiting for what the one before moves. */
static void handover__changes_overtake_each_other__nothing_lost(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(handover__peers_that_do_nothing__old_generation_is_gone_and_bytes_are_exact),
        IT(handover__changes_overtake_each_other__nothing_lost),
    };

    return it_run(tests);
}
