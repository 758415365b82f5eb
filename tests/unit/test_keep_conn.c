/*
 * A worker's connections and its keeper, which the test plays at the other end of the pair: what is
 * registered when, how kept ones end, what is taken, and what a crash adds.
 */
#include "net/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/hash.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "support/move_rig.h"

enum { HELD_MAX = 2048 };

/* The keeper: what it has been told, and the duplicates that it holds. */
struct fake {
    int fd;
    struct keep_message last;
    unsigned n_registers, n_sweeps, n_takens;
    size_t n_held;
    struct keep_entry held[HELD_MAX];
    int fds[HELD_MAX];
};

static struct rig rig;
static struct keep keep;
static struct fake keeper;
static uint64_t n_taken;

static void swallow(void *server UNUSED, struct arb_conn *conn UNUSED, const struct arb_input *in,
                    struct arb_output *out)
{
    out->consumed = in->len;
}

static const struct arb_protocol stateful =
    ARB_PROTOCOL(.name = "stateful", .conn_size = 8, .on_data = swallow);

static void on_taken(struct keep *k UNUSED, uint64_t count)
{
    n_taken += count;
}

static void pair_of(int type, int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

/* Its timer never fires by itself: the test says when. */
static void keep_begin(struct keep *k, struct conn_set *set, uint64_t keep_after_ms)
{
    assert_int_equal(keep_init(k, set, keep_table_make(0), keep_after_ms, on_taken), 0);
    k->tick_ms = 3600000;
    keep_open(k);
}

static void keeper_comes(struct fake *f, struct keep *k)
{
    int ends[2];

    *f = (struct fake){.fd = -1};
    pair_of(SOCK_SEQPACKET, ends);
    f->fd = ends[0];
    keep_link(k, ends[1]);
}

static void keeper_lets_go(struct fake *f)
{
    while (f->n_held > 0)
        close(f->fds[--f->n_held]);
}

static void keeper_dies(struct fake *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    keeper_lets_go(f);
}

/* Reads one datagram. Returns false if there is none. */
static bool keeper_hears_one(struct fake *f)
{
    uint8_t bytes[KEEP_MESSAGE_MAX];
    struct fdpass got;

    if (fdpass_receive(f->fd, &(struct iovec){bytes, sizeof(bytes)}, 1, &got) < 0 || got.len == 0)
        return false;
    assert_int_equal(keep_get(bytes, got.len, &f->last), 0);
    assert_int_equal(got.n_fds, f->last.kind == KEEP_REGISTER ? f->last.count : 0);
    f->n_registers += f->last.kind == KEEP_REGISTER;
    f->n_sweeps += f->last.kind == KEEP_SWEEP;
    f->n_takens += f->last.kind == KEEP_TAKEN;
    for (size_t i = 0; i < got.n_fds; i++) {
        assert_true(f->n_held < HELD_MAX);
        f->held[f->n_held] = f->last.entries[i];
        f->fds[f->n_held++] = got.fds[i];
    }
    return true;
}

static void keeper_hears(struct fake *f)
{
    while (keeper_hears_one(f))
        ;
}

/* Of what it holds, as many as it would pass on now. */
static size_t count_passable(const struct fake *f, const struct keep *k)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_held; i++)
        n += keep_judge(k->table.mark[f->held[i].number], k->table.serial[f->held[i].number],
                        f->held[i].serial) == KEEP_IDLE;
    return n;
}

static void ticks(unsigned n)
{
    while (n-- > 0)
        keep_tick(&keep);
}

static struct arb_conn *first_conn(void)
{
    return container_of(rig.set.all.next, struct arb_conn, link);
}

static int setup_after(uint64_t keep_after_ms)
{
    rig_init(&rig, NULL, 0);
    keep_begin(&keep, &rig.set, keep_after_ms);
    keeper_comes(&keeper, &keep);
    n_taken = 0;
    return 0;
}

static int setup(void **state UNUSED)
{
    return setup_after(1000);
}

static int teardown(void **state UNUSED)
{
    conn_set_cut(&rig.set);
    for (size_t i = 0; i < rig.set.marks_end; i++)
        assert_int_equal(keep.table.serial[i], 0);
    assert_int_equal(keep.n_kept, 0);
    keep_fini(&keep);
    rig_fini(&rig);
    keeper_dies(&keeper);
    return 0;
}

/* --- registration ----------------------------------------------------------------------------- */

static void register__the_timer_has_fired__it_waits_as_long_again(void **state UNUSED)
{
    const int peer = rig_connect(&rig);

    ev_timer_stop(rig.loop, &keep.tick);
    keep.tick_ms = 2;
    keep.ticks_a_step = 1000;
    ticks(1);
    for (unsigned before = keep.ticks; keep.ticks < before + 3;) {
        ev_run(rig.loop, EVRUN_ONCE);
        assert_true(ev_timer_remaining(rig.loop, &keep.tick) > 0.);
    }
    close(peer);
}

static void register__two_steps_old__in_batches_once(void **state UNUSED)
{
    int peers[300];

    for (unsigned i = 0; i < 300; i++)
        peers[i] = rig_connect(&rig);
    ticks(1);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 0);
    ticks(1);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_registers, 2);
    assert_int_equal(keeper.n_held, 300);
    assert_int_equal(keep.n_kept, 300);
    assert_int_equal(count_passable(&keeper, &keep), 300);
    assert_true(keeper.held[0].origin.protocol == hash_name("echo"));
    ticks(5);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_registers, 2);
    for (unsigned i = 0; i < 300; i++)
        close(peers[i]);
}

static const struct addr_named somebody = {
    .kind = ADDR_NAMED_IP, .port = 4711, .ip = {{0x20, 1, [15] = 7}}};

static void expect_somebody(const struct addr_named *peer)
{
    assert_int_equal(peer->kind, somebody.kind);
    assert_int_equal(peer->port, somebody.port);
    assert_memory_equal(&peer->ip, &somebody.ip, sizeof(peer->ip));
}

static void register__named_by_a_proxy__the_keeper_hears_it(void **state UNUSED)
{
    const int plain = rig_connect(&rig);
    const int named = rig_connect(&rig);

    assert_int_equal(conn_set_name(&rig.set, first_conn()->io.fd, &somebody), 0);
    ticks(2);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 2);
    expect_somebody(&keeper.held[0].peer);
    assert_int_equal(keeper.held[1].peer.kind, ADDR_NAMED_NONE);
    close(plain);
    close(named);
}

static void register__awaits_its_header__not_before_that_has_come(void **state UNUSED)
{
    int ends[2];

    pair_of(SOCK_STREAM, ends);
    assert_int_equal(conn_set_add_headed(&rig.set, ends[1], 0, PROXY_REQUIRED, false), 0);
    ticks(3);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 0);
    assert_int_equal(keep.table.mark[ends[1]], CONN_MARK_BUSY);
    rig_send_text(&rig, ends[0], "PROXY TCP4 192.0.2.1 192.0.2.2 4711 1\r\n");
    ticks(3);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 1);
    assert_int_equal(keeper.held[0].peer.port, 4711);
    assert_int_equal(count_passable(&keeper, &keep), 1);
    close(ends[0]);
}

/* Not an instant passes in which it would be judged by an earlier message. */
static void
register__in_the_middle_of_a_message__not_passable_until_it_is_answered(void **state UNUSED)
{
    const int peer = rig_connect(&rig);

    ticks(2);
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), 1);
    rig_send_text(&rig, peer, "half");
    assert_int_equal(count_passable(&keeper, &keep), 0);
    rig_send_text(&rig, peer, "\r\n\r\n");
    rig_expect_text(&rig, peer, "half\r\n\r\n");
    assert_int_equal(count_passable(&keeper, &keep), 1);
    close(peer);
}

static void register__who_comes_and_goes__nothing_is_said(void **state UNUSED)
{
    for (unsigned i = 0; i < 100; i++) {
        close(rig_connect(&rig));
        ticks(i % 2);
        rig_run(&rig);
    }
    ticks(1);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_registers + keeper.n_sweeps, 0);
}

static void register__keep_after_0__before_the_loop_sleeps(void **state UNUSED)
{
    const int peer = rig_connect(&rig);

    rig_run(&rig);
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), 1);
    close(peer);
}

static int setup_at_once(void **state UNUSED)
{
    return setup_after(0);
}

static void register__the_queue_is_full__the_rest_when_there_is_room(void **state UNUSED)
{
    const int small = 4096;
    int peers[1200];

    setsockopt(keep.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        peers[i] = rig_connect(&rig);
    ticks(2);
    assert_in_range(keep.n_kept, 1, ARRAY_SIZE(peers) - 1);
    for (unsigned i = 0; i < 100 && keep.n_kept < ARRAY_SIZE(peers); i++) {
        keeper_hears(&keeper);
        rig_run(&rig);
    }
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), ARRAY_SIZE(peers));
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        close(peers[i]);
}

/* --- what is not to be kept ------------------------------------------------------------------- */

static void keep__not_to_be_kept_any_more__serial_and_duplicate_go(void **state UNUSED)
{
    const int peer = rig_connect(&rig);
    struct arb_conn *c = first_conn();

    ticks(2);
    keeper_hears(&keeper);
    arb_conn_keep(c, false);
    assert_int_equal(keep.table.serial[c->io.fd], 0);
    assert_int_equal(keep.table.mark[c->io.fd], CONN_MARK_STATEFUL);
    ticks(5);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_sweeps, 1);
    assert_int_equal(keeper.n_registers, 1);
    arb_conn_keep(c, true);
    ticks(2);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_registers, 2);
    assert_int_equal(count_passable(&keeper, &keep), 1);
    rig_send_text(&rig, peer, "x\r\n\r\n");
    rig_expect_text(&rig, peer, "x\r\n\r\n");
    close(peer);
}

static void keep__with_state__only_while_it_is_blank(void **state UNUSED)
{
    struct arb_conn *c;
    int peers[3];

    rig_use_protocol(&rig, &stateful, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        peers[i] = rig_connect(&rig);
    ticks(5);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 0);
    c = first_conn();
    arb_conn_set_blank(c, true);
    ticks(2);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 1);
    assert_int_equal(keeper.held[0].number, c->io.fd);
    arb_conn_set_blank(c, false);
    assert_int_equal(keep.table.serial[c->io.fd], 0);
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        close(peers[i]);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void end__the_keeper_holds_a_duplicate__the_peer_sees_it_at_once(void **state UNUSED)
{
    const int peer = rig_connect_tcp(&rig);
    const int number = first_conn()->io.fd;

    ticks(2);
    keeper_hears(&keeper);
    conn_set_cut(&rig.set);
    rig_expect_eof(&rig, peer);
    assert_int_equal(keep.table.serial[number], 0);
    assert_int_equal(keep.table.mark[number], CONN_MARK_FREE);
    ticks(2);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_sweeps, 1);
    close(peer);
}

static void end__aborted__a_reset(void **state UNUSED)
{
    const int peer = rig_connect_tcp(&rig);

    ticks(2);
    keeper_hears(&keeper);
    conn_abort(first_conn(), CONN_END_WRITE_TIMEOUT);
    rig_expect_reset(&rig, peer);
    close(peer);
}

static void end__aborted_unix__the_end(void **state UNUSED)
{
    const int peer = rig_connect_unix(&rig);

    ticks(2);
    keeper_hears(&keeper);
    conn_abort(first_conn(), CONN_END_WRITE_TIMEOUT);
    rig_expect_eof(&rig, peer);
    close(peer);
}

/* What libev's set in the kernel holds, of all its sets in this process. */
static unsigned count_watched(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 64; fd++) {
        char name[64], line[256];
        FILE *f;

        snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
        f = fopen(name, "re");
        while (f && fgets(line, sizeof(line), f))
            n += sscanf(line, "tfd: %*d%n", &(int){0}) == 0 && line[0] == 't' && line[1] == 'f';
        if (f)
            fclose(f);
    }
    return n;
}

static void end__a_duplicate_lives__the_kernel_watches_it_no_more(void **state UNUSED)
{
    unsigned before;
    int peers[20];

    rig_run(&rig); /* the keeper's end is watched */
    before = count_watched();
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        peers[i] = rig_connect(&rig);
    rig_run(&rig);
    assert_int_equal(count_watched(), before + ARRAY_SIZE(peers));
    ticks(2);
    keeper_hears(&keeper);
    conn_set_cut(&rig.set);
    assert_int_equal(count_watched(), before);
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        close(peers[i]);
}

static void end__the_number_is_used_again__another_serial(void **state UNUSED)
{
    const int first = rig_connect(&rig), number = first_conn()->io.fd;
    uint32_t serial;
    int second;

    ticks(2);
    serial = keep.table.serial[number];
    close(first);
    rig_run(&rig);
    second = rig_connect(&rig); /* both ends are higher now or the same */
    dup2(first_conn()->io.fd, number);
    ticks(2);
    keeper_hears(&keeper);
    assert_true(serial != 0 && keep.table.serial[first_conn()->io.fd] != 0);
    assert_true(keep.table.serial[first_conn()->io.fd] != serial);
    assert_int_equal(count_passable(&keeper, &keep), 1);
    if (first_conn()->io.fd != number)
        close(number);
    close(second);
}

/* --- the keeper goes and comes ---------------------------------------------------------------- */

static void keeper__dies__nobody_is_kept_until_the_next_has_all(void **state UNUSED)
{
    int peers[300];

    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        peers[i] = rig_connect(&rig);
    ticks(2);
    keeper_hears(&keeper);
    keeper_dies(&keeper);
    rig_run(&rig);
    assert_int_equal(keep.n_kept, 0);
    for (size_t i = 0; i < rig.set.marks_end; i++)
        assert_int_equal(keep.table.serial[i], 0);
    ticks(3);
    rig_send_text(&rig, peers[7], "x\r\n\r\n");
    rig_expect_text(&rig, peers[7], "x\r\n\r\n");
    keeper_comes(&keeper, &keep);
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), 300);
    for (unsigned i = 0; i < ARRAY_SIZE(peers); i++)
        close(peers[i]);
}

static void keeper__another_comes_while_it_lives__only_the_new_one_would_pass(void **state UNUSED)
{
    struct fake other;
    const int peer = rig_connect(&rig);

    ticks(2);
    keeper_hears(&keeper);
    keeper_comes(&other, &keep);
    keeper_hears(&other);
    assert_int_equal(count_passable(&keeper, &keep), 0);
    assert_int_equal(count_passable(&other, &keep), 1);
    keeper_dies(&other);
    rig_run(&rig);
    close(peer);
}

/* --- offers ----------------------------------------------------------------------------------- */

/* Offers one end of each of @n fresh pairs, all of which speak @protocol. */
static void keeper_offers(struct fake *f, uint32_t batch, const char *protocol, int *peers,
                          uint32_t n, int type)
{
    struct keep_message m = {.kind = KEEP_OFFER, .batch = batch, .count = n};
    uint8_t bytes[KEEP_MESSAGE_MAX];
    int fds[KEEP_COUNT_MAX];
    size_t len;

    for (uint32_t i = 0; i < n; i++) {
        int ends[2];

        pair_of(type, ends);
        peers[i] = ends[0];
        fds[i] = ends[1];
        m.entries[i].origin.protocol = hash_name(protocol);
        if (i % 2)
            m.entries[i].peer = somebody;
    }
    len = keep_put(&m, bytes);
    assert_int_equal(fdpass_send(f->fd, bytes, len, fds, n), 0);
    for (uint32_t i = 0; i < n; i++)
        close(fds[i]);
}

static void expect_echoes(const int *peers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rig_send_text(&rig, peers[i], "x\r\n\r\n");
        rig_expect_text(&rig, peers[i], "x\r\n\r\n");
        close(peers[i]);
    }
}

static void offer__all_can_be_served__taken_registered_and_served(void **state UNUSED)
{
    int peers[2 * 252];

    keeper_offers(&keeper, 1, "echo", peers, 252, SOCK_STREAM);
    keeper_offers(&keeper, 2, "echo", peers + 252, 252, SOCK_STREAM);
    rig_run(&rig);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 2);
    assert_int_equal(keeper.last.batch, 2);
    assert_int_equal(keeper.last.count, 252);
    for (unsigned i = 0; i < 252; i++) {
        const struct keep_entry *e = &keeper.last.entries[i];

        assert_int_equal(
            keep_judge(keep.table.mark[e->number], keep.table.serial[e->number], e->serial),
            KEEP_IDLE);
        if (i % 2)
            expect_somebody(conn_set_named(&rig.set, (int)e->number));
        else
            assert_int_equal(conn_set_named(&rig.set, (int)e->number)->kind, ADDR_NAMED_NONE);
    }
    assert_int_equal(n_taken, 504);
    assert_int_equal(counter_get(&rig.counters.rescued), 504);
    assert_int_equal(keep.n_kept, 504);
    ticks(5);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_registers, 0);
    expect_echoes(peers, 504);
}

static void expect_all_refused(uint32_t count)
{
    rig_run(&rig);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 1);
    assert_int_equal(keeper.last.count, count);
    for (unsigned i = 0; i < count; i++)
        assert_true(keeper.last.entries[i].number == KEEP_REFUSED);
    assert_int_equal(rig.set.n_open, 0);
    assert_int_equal(keep.n_kept, 0);
}

static void offer__unknown_protocol__refused(void **state UNUSED)
{
    int peers[3];

    keeper_offers(&keeper, 1, "gopher", peers, 3, SOCK_STREAM);
    expect_all_refused(3);
    for (unsigned i = 0; i < 3; i++)
        close(peers[i]);
}

static void offer__to_one_that_drains__refused(void **state UNUSED)
{
    int peers[3];

    keep_close(&keep);
    keeper_offers(&keeper, 1, "echo", peers, 3, SOCK_STREAM);
    expect_all_refused(3);
    for (unsigned i = 0; i < 3; i++)
        close(peers[i]);
}

static void offer__before_this_worker_serves__waits(void **state UNUSED)
{
    int peers[3];

    keep.is_open = false;
    keeper_comes(&keeper, &keep);
    keeper_offers(&keeper, 1, "echo", peers, 3, SOCK_STREAM);
    rig_run(&rig);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 0);
    keep_open(&keep);
    rig_run(&rig);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 1);
    expect_echoes(peers, 3);
}

static void offer__the_keeper_is_dead_by_then__served_and_not_kept(void **state UNUSED)
{
    int peers[3];

    keeper_offers(&keeper, 1, "echo", peers, 3, SOCK_STREAM);
    keeper_dies(&keeper);
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 3);
    assert_int_equal(keep.n_kept, 0);
    keeper_comes(&keeper, &keep);
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), 3);
    expect_echoes(peers, 3);
}

static void offer__another_keeper_comes_first__what_was_offered_is_taken(void **state UNUSED)
{
    struct fake other;
    int peers[3];

    keeper_offers(&keeper, 1, "echo", peers, 3, SOCK_STREAM);
    keeper_comes(&other, &keep);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 1);
    assert_int_equal(n_taken, 3);
    keeper_hears(&other);
    assert_int_equal(count_passable(&other, &keep), 3);
    expect_echoes(peers, 3);
    keeper_dies(&other);
    rig_run(&rig);
}

static void offer__the_answer_cannot_be_sent__nobodys_until_it_is(void **state UNUSED)
{
    const int small = 1;
    int peers[3], n = 0, other, sent;

    other = rig_connect(&rig);
    setsockopt(keep.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    while ((sent = (int)send(keep.fd, "junk", 4, MSG_DONTWAIT)) == 4)
        n++;
    keeper_offers(&keeper, 1, "echo", peers, 3, SOCK_STREAM);
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 1);
    ticks(3);
    assert_int_equal(rig.set.n_open, 1);
    for (char junk[4]; n > 0; n--)
        assert_int_equal(recv(keeper.fd, junk, 4, MSG_DONTWAIT), 4);
    ticks(1);
    assert_int_equal(rig.set.n_open, 4);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_takens, 1);
    expect_echoes(peers, 3);
    close(other);
}

static void offer__nonsense__the_keeper_is_left(void **state UNUSED)
{
    const int peer = rig_connect(&rig);

    ticks(2);
    assert_int_equal(send(keeper.fd, "nonsense", 8, MSG_DONTWAIT), 8);
    rig_run(&rig);
    assert_int_equal(keep.fd, -1);
    assert_int_equal(keep.n_kept, 0);
    close(peer);
}

/* --- a crash ---------------------------------------------------------------------------------- */

static void crash__young_ones__idle_ones_are_registered_too(void **state UNUSED)
{
    int peers[600];

    for (unsigned i = 0; i < 300; i++)
        peers[i] = rig_connect(&rig);
    ticks(2);
    for (unsigned i = 300; i < 600; i++)
        peers[i] = rig_connect(&rig);
    for (unsigned i = 0; i < 600; i += 100)
        rig_send_text(&rig, peers[i], "half");
    assert_int_equal(keep_crash(&keep), 594);
    keeper_hears(&keeper);
    assert_int_equal(count_passable(&keeper, &keep), 594);
    keep.n_kept = keeper.n_held; /* a handler would not return */
    for (struct list *l = rig.set.all.next; l != &rig.set.all; l = l->next)
        if (keep.table.serial[container_of(l, struct arb_conn, link)->io.fd])
            container_of(l, struct arb_conn, link)->kept = CONN_KEPT;
    for (unsigned i = 0; i < 600; i++)
        close(peers[i]);
}

static void crash__marks_are_damaged__only_connections_are_registered(void **state UNUSED)
{
    const int peer = rig_connect(&rig);

    conn_set_mark(&rig.set, keep.fd, CONN_MARK_IDLE);
    conn_set_mark(&rig.set, 0, CONN_MARK_IDLE);
    conn_set_mark(&rig.set, 5000, CONN_MARK_IDLE);
    assert_int_equal(keep_crash(&keep), 1);
    keeper_hears(&keeper);
    assert_int_equal(keeper.n_held, 1);
    first_conn()->kept = CONN_KEPT; /* a handler would not return */
    keep.n_kept = 1;
    close(peer);
}

/* --- moves ------------------------------------------------------------------------------------ */

static void move__keepers_on_both_sides__kept_by_the_takers_alone(void **state UNUSED)
{
    static struct move_rig t;
    struct keep keeps[2];
    struct fake fakes[2];

    move_rig_init(&t, 1, NULL);
    keep_begin(&keeps[0], &t.giver.set, 1000);
    keep_begin(&keeps[1], &t.takers[0].rig.set, 1000);
    keeper_comes(&fakes[0], &keeps[0]);
    keeper_comes(&fakes[1], &keeps[1]);
    move_rig_connect(&t, 300);
    rig_run(&t.giver);
    keep_tick(&keeps[0]);
    keep_tick(&keeps[0]);
    keeper_hears(&fakes[0]);
    assert_int_equal(count_passable(&fakes[0], &keeps[0]), 300);
    taker_takes(&t.takers[0], 100000);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    assert_int_equal(count_passable(&fakes[0], &keeps[0]), 0); /* on their way */
    move_rig_run(&t);
    keeper_hears(&fakes[1]);
    assert_int_equal(keeps[0].n_kept, 0);
    assert_int_equal(count_passable(&fakes[0], &keeps[0]), 0);
    assert_int_equal(count_passable(&fakes[1], &keeps[1]), 300);
    keep_tick(&keeps[0]);
    keeper_hears(&fakes[0]);
    assert_int_equal(fakes[0].n_sweeps, 1);
    move_rig_expect_echoes(&t, 300);
    for (unsigned i = 0; i < 2; i++) {
        keeper_dies(&fakes[i]);
        keep_fini(&keeps[i]);
    }
    move_rig_fini(&t);
}

static void move__the_taker_dies__kept_by_the_giver_as_before(void **state UNUSED)
{
    static struct move_rig t;
    struct keep k;
    struct fake f;

    move_rig_init(&t, 1, NULL);
    keep_begin(&k, &t.giver.set, 1000);
    keeper_comes(&f, &k);
    move_rig_connect(&t, 300);
    rig_run(&t.giver);
    keep_tick(&k);
    keep_tick(&k);
    keeper_hears(&f);
    taker_takes(&t.takers[0], 100000);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    taker_dies(&t.takers[0]);
    move_rig_run(&t);
    assert_int_equal(count_passable(&f, &k), 300);
    move_rig_expect_echoes(&t, 300);
    keeper_dies(&f);
    keep_fini(&k);
    move_rig_fini(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(register__two_steps_old__in_batches_once),
        TEST(register__named_by_a_proxy__the_keeper_hears_it),
        TEST(register__awaits_its_header__not_before_that_has_come),
        TEST(register__the_timer_has_fired__it_waits_as_long_again),
        TEST(register__in_the_middle_of_a_message__not_passable_until_it_is_answered),
        TEST(register__who_comes_and_goes__nothing_is_said),
        cmocka_unit_test_setup_teardown(register__keep_after_0__before_the_loop_sleeps,
                                        setup_at_once, teardown),
        TEST(register__the_queue_is_full__the_rest_when_there_is_room),
        TEST(keep__not_to_be_kept_any_more__serial_and_duplicate_go),
        TEST(keep__with_state__only_while_it_is_blank),
        TEST(end__the_keeper_holds_a_duplicate__the_peer_sees_it_at_once),
        TEST(end__aborted__a_reset),
        TEST(end__aborted_unix__the_end),
        TEST(end__a_duplicate_lives__the_kernel_watches_it_no_more),
        TEST(end__the_number_is_used_again__another_serial),
        TEST(keeper__dies__nobody_is_kept_until_the_next_has_all),
        TEST(keeper__another_comes_while_it_lives__only_the_new_one_would_pass),
        TEST(offer__all_can_be_served__taken_registered_and_served),
        TEST(offer__unknown_protocol__refused),
        TEST(offer__to_one_that_drains__refused),
        TEST(offer__before_this_worker_serves__waits),
        TEST(offer__the_keeper_is_dead_by_then__served_and_not_kept),
        TEST(offer__another_keeper_comes_first__what_was_offered_is_taken),
        TEST(offer__the_answer_cannot_be_sent__nobodys_until_it_is),
        TEST(offer__nonsense__the_keeper_is_left),
        TEST(crash__young_ones__idle_ones_are_registered_too),
        TEST(crash__marks_are_damaged__only_connections_are_registered),
        cmocka_unit_test(move__keepers_on_both_sides__kept_by_the_takers_alone),
        cmocka_unit_test(move__the_taker_dies__kept_by_the_giver_as_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
