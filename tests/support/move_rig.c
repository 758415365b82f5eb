/*
 * The rig for moves.
 */
#include "support/move_rig.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "support/proc.h"

enum { PATIENCE_MS = 20000 };

static void on_given(struct move_out *t)
{
    (void)t;
}

static void on_taken(struct move_in *t)
{
    (void)t;
}

void move_rig_init(struct move_rig *t, size_t n_takers, const struct conn_limits *limits)
{
    memset(t, 0, sizeof(*t));
    t->fds_before = proc_count_fds(getpid());
    t->n_takers = n_takers;
    rig_init(&t->giver, limits, 16 << 20);
    for (size_t i = 0; i < n_takers; i++) {
        struct taker *k = &t->takers[i];
        int pair[2];

        rig_init(&k->rig, limits, 16 << 20);
        assert_int_equal(
            socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        t->fds[i] = pair[0];
        k->fd = pair[1];
    }
}

void move_rig_connect(struct move_rig *t, size_t n)
{
    t->peers = realloc(t->peers, (t->n_peers + n) * sizeof(*t->peers));
    assert_non_null(t->peers);
    while (n-- > 0)
        t->peers[t->n_peers++] = rig_connect(&t->giver);
}

void giver_gives(struct move_rig *t, size_t count)
{
    assert_int_equal(move_give(&t->out, &t->giver.set, t->fds, t->n_takers, count, on_given), 0);
    for (size_t i = 0; i < t->n_takers; i++)
        t->fds[i] = -1;
}

void giver_turns(struct move_rig *t)
{
    if (!t->is_giver_dead)
        ev_run(t->giver.loop, EVRUN_NOWAIT);
}

void giver_dies(struct move_rig *t)
{
    if (t->is_giver_dead)
        return;
    t->is_giver_dead = true;
    if (t->out.set)
        move_out_fini(&t->out);
    for (size_t i = 0; i < t->n_takers; i++)
        if (t->fds[i] >= 0)
            close(t->fds[i]);
    rig_fini(&t->giver);
}

void taker_takes(struct taker *k, size_t max_open)
{
    move_take(&k->in, &k->rig.set, k->fd, max_open, on_taken);
    k->fd = -1;
}

void taker_turns(struct taker *k)
{
    if (k->rig.loop)
        ev_run(k->rig.loop, EVRUN_NOWAIT);
}

void taker_dies(struct taker *k)
{
    if (!k->rig.loop)
        return;
    if (k->in.set)
        move_in_fini(&k->in);
    if (k->fd >= 0)
        close(k->fd);
    rig_fini(&k->rig);
    k->rig.loop = NULL;
    k->in.is_done = true;
}

static bool is_over(const struct move_rig *t)
{
    if (!t->is_giver_dead && !t->out.is_done)
        return false;
    for (size_t i = 0; i < t->n_takers; i++)
        if (t->takers[i].in.set && !t->takers[i].in.is_done)
            return false;
    return true;
}

void move_rig_run(struct move_rig *t)
{
    const uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;

    while (!is_over(t)) {
        assert_true(clock_mono_ms() < end_ms);
        giver_turns(t);
        for (size_t i = 0; i < t->n_takers; i++)
            taker_turns(&t->takers[i]);
    }
}

void move_rig_settle(struct move_rig *t)
{
    if (!t->is_giver_dead)
        rig_run(&t->giver);
    for (size_t i = 0; i < t->n_takers; i++)
        if (t->takers[i].rig.loop)
            rig_run(&t->takers[i].rig);
}

void move_rig_fini(struct move_rig *t)
{
    for (size_t i = 0; i < t->n_peers; i++)
        if (t->peers[i] >= 0)
            close(t->peers[i]);
    free(t->peers);
    giver_dies(t);
    for (size_t i = 0; i < t->n_takers; i++)
        taker_dies(&t->takers[i]);
    assert_int_equal(proc_count_fds(getpid()), t->fds_before);
}

bool move_rig_echo(struct move_rig *t, int fd)
{
    static const char text[] = "Is anybody there?\r\n\r\n";
    const uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    char got[sizeof(text)] = "";
    size_t n = 0;

    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return false;
    while (n < strlen(text)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t k;

        assert_true(clock_mono_ms() < end_ms); /* neither an echo nor an end: silence */
        move_rig_settle(t);
        if (poll(&p, 1, 1) <= 0)
            continue;
        k = recv(fd, got + n, sizeof(got) - n, 0);
        if (k <= 0)
            return false;
        n += (size_t)k;
    }
    assert_string_equal(got, text);
    return true;
}

void move_rig_expect_echoes(struct move_rig *t, size_t n)
{
    size_t n_echoes = 0;

    for (size_t i = 0; i < t->n_peers; i++)
        n_echoes += move_rig_echo(t, t->peers[i]);
    assert_int_equal(n_echoes, n);
}
