/*
 * An end of the messages between actors over a real mailbox, whose other side is played by the
 * test: what is sent, what is heard, what is kept for a move, and what the arbiter is told.
 */
#include <errno.h>
#include <ev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/relay.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/util.h"

static struct fixture {
    struct ev_loop *loop;
    struct mailbox mailbox;
    struct relay relay;
    int peer; /* the arbiter's end */
    unsigned n_heard, n_can_send, n_numbered;
    uint64_t last;
    uint64_t current; /* as on_message saw it */
    char text[64]; /* numbers that were repeated */
} f;

static void on_message(struct relay *r, const struct arb_message *m, bool is_for_all)
{
    assert_true(!is_for_all || r->current == m->number);
    f.current = r->current;
    f.n_heard++;
    f.last = m->number;
}

static void on_can_send(struct relay *r UNUSED)
{
    f.n_can_send++;
}

static void on_numbered(struct relay *r UNUSED)
{
    f.n_numbered++;
}

static const struct relay_ops ops = {
    .on_message = on_message, .on_can_send = on_can_send, .on_numbered = on_numbered};

static int on_data(struct mailbox *mb UNUSED, const uint8_t *data, size_t len)
{
    return relay_on_datagram(&f.relay, data, len);
}

static void on_control(struct mailbox *mb UNUSED, struct message *m UNUSED, int *fds UNUSED,
                       size_t n_fds UNUSED)
{
}

static void on_close(struct mailbox *mb UNUSED, int error UNUSED)
{
}

static int setup(void **state UNUSED)
{
    int fds[2];

    memset(&f, 0, sizeof(f));
    f.loop = ev_loop_new(EVFLAG_AUTO);
    if (!f.loop || mailbox_pair(fds) != 0)
        return -1;
    f.peer = fds[1];
    mailbox_start(&f.mailbox, f.loop, fds[0], on_control, on_close);
    f.mailbox.on_data = on_data;
    relay_start(&f.relay, f.loop, &f.mailbox, 3, &ops);
    return 0;
}

static int teardown(void **state UNUSED)
{
    relay_stop(&f.relay);
    mailbox_stop(&f.mailbox);
    fds_close(&f.peer);
    ev_loop_destroy(f.loop);
    return 0;
}

static void turn(void)
{
    ev_run(f.loop, EVRUN_NOWAIT);
}

/* What the arbiter says. */
static void say(const struct relayed *m)
{
    uint8_t buf[1024];

    relayed_put(m, buf);
    assert_int_equal(fdpass_send(f.peer, buf, relayed_bytes(m), NULL, 0), 0);
    turn();
}

static void say_message(uint64_t number, bool is_for_all)
{
    say(&(struct relayed){.kind = RELAYED_MESSAGE,
                          .is_for_all = is_for_all,
                          .origin = 7,
                          .number = number,
                          .sequence = 1,
                          .share = RELAY_WINDOW_BYTES,
                          .topic = "t",
                          .from = "worker.7",
                          .target = "all"});
}

static void say_status(uint64_t number, uint64_t sequence, uint64_t done, uint32_t share)
{
    say(&(struct relayed){.kind = RELAYED_STATUS,
                          .number = number,
                          .sequence = sequence,
                          .done = done,
                          .share = share});
}

/* The next thing that the arbiter hears. Returns false if there is none. */
static bool hear(struct relayed *ret)
{
    static uint8_t buf[RELAYED_MAX_BYTES];
    const ssize_t n = read(f.peer, buf, sizeof(buf));

    if (n < 0)
        return false;
    assert_int_equal(relayed_get(buf, (size_t)n, ret), 0);
    return true;
}

static int post(size_t len)
{
    static uint8_t data[RELAYED_DATA_MAX + 1];
    uint64_t sequence;

    return relay_post(&f.relay, "all", "topic", data, len, &sequence);
}

/* ---- sending ---- */

static void relay_post__in_turn__numbered_and_fence_opened(void **state UNUSED)
{
    struct relayed m;

    say_status(10, 0, 10, RELAY_WINDOW_BYTES);
    assert_int_equal(post(5), 0);
    assert_int_equal(post(6), 0);
    assert_true(hear(&m));
    assert_int_equal(m.kind, RELAYED_SEND);
    assert_int_equal(m.sequence, 1);
    assert_int_equal(m.done, 10);
    assert_string_equal(m.target, "all");
    assert_int_equal(m.data_len, 5);
    assert_true(hear(&m));
    assert_int_equal(m.sequence, 2);
    assert_true(relay_is_fenced(&f.relay.end, 2));
    say_status(12, 2, 10, RELAY_WINDOW_BYTES);
    assert_int_equal(f.n_numbered, 1);
    assert_false(relay_is_fenced(&f.relay.end, 2));
    assert_true(f.relay.end.held_bytes > 0);
    say_status(12, 2, 12, RELAY_WINDOW_BYTES);
    assert_int_equal(f.relay.end.held_bytes, 0);
}

static void relay_post__share_used_up__again_and_told_once(void **state UNUSED)
{
    struct relayed m;
    unsigned n = 0;

    say_status(0, 0, 0, 4 * 1256);
    while (post(1000) == 0)
        n++;
    assert_int_equal(n, 4);
    assert_int_equal(post(1000), -EAGAIN);
    while (hear(&m))
        ;
    for (unsigned i = 1; i <= 4; i++)
        say_status(i, i, 0, 4 * 1256);
    say_status(4, 4, 1, 4 * 1256); /* three are more than half */
    assert_int_equal(f.n_can_send, 0);
    say_status(4, 4, 2, 4 * 1256);
    assert_int_equal(f.n_can_send, 1);
    say_status(4, 4, 4, 4 * 1256);
    assert_int_equal(f.n_can_send, 1);
    assert_int_equal(post(RELAYED_DATA_MAX), 0); /* a single one is never too much */
    assert_int_equal(post(0), -EAGAIN);
}

static void relay_post__waits_for_credit__arbiter_knows(void **state UNUSED)
{
    struct relayed m;
    bool has_said = false;

    say_status(0, 0, 0, 100);
    assert_int_equal(post(1), 0);
    assert_int_equal(post(1), -EAGAIN);
    ev_run(f.loop, EVRUN_ONCE); /* the report's timer */
    while (hear(&m))
        has_said |= m.kind == RELAYED_STATUS && m.is_stalled;
    assert_true(has_said);
}

static void relay_post__too_long_or_nobody_there__said_so(void **state UNUSED)
{
    char name[RELAYED_NAME_MAX + 2];
    uint64_t sequence;

    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(post(RELAYED_DATA_MAX + 1), -EMSGSIZE);
    assert_int_equal(relay_post(&f.relay, name, "", "", 0, &sequence), -EMSGSIZE);
    assert_int_equal(relay_post(&f.relay, "all", name, "", 0, &sequence), -EMSGSIZE);
    assert_int_equal(relay_post(&f.relay, "", "", "", 0, &sequence), -EMSGSIZE);
    mailbox_stop(&f.mailbox);
    assert_int_equal(post(1), -EPIPE);
    assert_int_equal(f.relay.end.held_bytes, 0);
}

/* ---- hearing ---- */

static void relay_hear__out_of_order_or_nonsense__refused(void **state UNUSED)
{
    const struct relayed send = {.kind = RELAYED_SEND, .sequence = 1, .target = "all"};
    const struct relayed status = {.kind = RELAYED_STATUS, .number = 4};

    say_message(5, true);
    assert_int_equal(f.n_heard, 1);
    assert_int_equal(relay_hear(&f.relay, &status), -EBADMSG);
    assert_int_equal(relay_hear(&f.relay, &send), -EBADMSG);
    assert_int_equal(relay_on_datagram(&f.relay, (const uint8_t *)"\xa5", 1), -EBADMSG);
    say_message(5, true);
    assert_int_equal(f.n_heard, 1);
    assert_true(f.mailbox.is_closed);
}

static void relay_hear__a_while_later__reported(void **state UNUSED)
{
    struct relayed m = {0};

    say_message(5, true);
    say_message(6, false);
    assert_int_equal(f.current, 0); /* nobody has heard it elsewhere */
    while (!hear(&m))
        ev_run(f.loop, EVRUN_ONCE);
    assert_int_equal(m.kind, RELAYED_STATUS);
    assert_int_equal(m.done, 6);
    assert_false(hear(&m));
}

/* ---- moves ---- */

static void note_number(void *data UNUSED, const struct arb_message *m)
{
    const size_t len = strlen(f.text);

    assert_string_equal(m->from, "worker.7");
    f.text[len] = (char)('0' + m->number);
    f.text[len + 1] = '\0';
}

static void relay_replay__taker__what_was_missed_until_trimmed(void **state UNUSED)
{
    struct relay_pair p = {.floor = 0};

    say_message(1, true);
    relay_take_begin(&f.relay, &p);
    say_message(2, true);
    say_message(3, false);
    say_message(4, true);
    relay_replay(&f.relay, 1, note_number, NULL);
    assert_string_equal(f.text, "24");
    relay_replay(&f.relay, 2, note_number, NULL);
    assert_string_equal(f.text, "244");
    relay_replay(&f.relay, 9, note_number, NULL);
    assert_string_equal(f.text, "244");
    assert_int_equal(relay_done(&f.relay.end), 1);
    relay_take_batch(&f.relay, &p, 3);
    assert_int_equal(relay_done(&f.relay.end), 3);
    relay_replay(&f.relay, 1, note_number, NULL);
    assert_string_equal(f.text, "2444");
    relay_move_end(&f.relay, &p);
    relay_move_end(&f.relay, &p);
    assert_int_equal(relay_done(&f.relay.end), 4);
    assert_int_equal(f.relay.end.kept_bytes, 0);
}

static void relay_replay__giver__what_came_while_it_was_away(void **state UNUSED)
{
    struct relay_pair p = {.floor = 0};

    relay_give_begin(&f.relay, &p);
    say_message(1, true);
    assert_int_equal(f.relay.end.kept_bytes, 0); /* nothing is on its way */
    relay_give_floor(&f.relay, &p, 1);
    say_message(2, true);
    relay_replay(&f.relay, 1, note_number, NULL);
    assert_string_equal(f.text, "2");
    relay_give_floor(&f.relay, &p, RELAY_NOTHING);
    assert_int_equal(f.relay.end.kept_bytes, 0);
    relay_move_end(&f.relay, &p);
}

static void relay_is_whole__a_message_was_not_kept__no_longer(void **state UNUSED)
{
    say_message(5, true);
    assert_true(relay_is_whole(&f.relay, 3));
    f.relay.lost = 5; /* as without memory */
    assert_false(relay_is_whole(&f.relay, 4));
    assert_true(relay_is_whole(&f.relay, 5));
}

#define RELAY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAY(relay_post__in_turn__numbered_and_fence_opened),
        RELAY(relay_post__share_used_up__again_and_told_once),
        RELAY(relay_post__waits_for_credit__arbiter_knows),
        RELAY(relay_post__too_long_or_nobody_there__said_so),
        RELAY(relay_hear__out_of_order_or_nonsense__refused),
        RELAY(relay_hear__a_while_later__reported),
        RELAY(relay_replay__taker__what_was_missed_until_trimmed),
        RELAY(relay_replay__giver__what_came_while_it_was_away),
        RELAY(relay_is_whole__a_message_was_not_kept__no_longer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
