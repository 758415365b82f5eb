/*
 * What a crashing worker sends into the pair of its slot: idle connections, in batches of one
 * protocol each, and none that has a state which only this process knows.
 */
#include "worker/rescue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/hash.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"

enum { PEERS = 600 };

static struct rig rig;
static int ends[2], peers[PEERS];

static void swallow(void *server UNUSED, struct arb_conn *conn UNUSED, const struct arb_input *in,
                    struct arb_output *out)
{
    out->consumed = in->len;
}

static const struct arb_protocol plain = ARB_PROTOCOL(.name = "plain", .on_data = swallow);
static const struct arb_protocol stateful =
    ARB_PROTOCOL(.name = "stateful", .conn_size = 8, .on_data = swallow);

static int setup(void **state UNUSED)
{
    const struct conn_protocol both[] = {{.table = &plain}, {.table = &stateful}};

    rig_init(&rig, NULL, 0);
    conn_set_serve(&rig.set, both, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
                     0);
    for (unsigned i = 0; i < PEERS; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        assert_int_equal(conn_set_add(&rig.set, pair[1], i % 3 == 0, ARB_ACCEPTED, false), 0);
        peers[i] = pair[0];
    }
    return 0;
}

static int teardown(void **state UNUSED)
{
    for (unsigned i = 0; i < PEERS; i++)
        close(peers[i]);
    close(ends[0]);
    close(ends[1]);
    rig_fini(&rig);
    return 0;
}

/* Returns how many have come that speak @protocol; all of a datagram do. */
static size_t count_sent(const char *protocol, size_t *ret_others)
{
    struct conn_batch head;
    struct fdpass got;
    size_t n = 0;

    *ret_others = 0;
    while (fdpass_receive(ends[0], &(struct iovec){&head, sizeof(head)}, 1, &got) == 0 &&
           got.n_fds > 0) {
        assert_int_equal(head.n_fds, got.n_fds);
        assert_false(head.is_new);
        *(head.protocol == hash_name(protocol) ? &n : ret_others) += got.n_fds;
        for (size_t i = 0; i < got.n_fds; i++)
            close(got.fds[i]);
    }
    return n;
}

static void rescue_send__idle_ones_of_two_protocols__each_under_its_name(void **state UNUSED)
{
    struct list *link;
    size_t others, n_blank = 0;

    list_for_each (link, &rig.set.all) {
        struct arb_conn *c = container_of(link, struct arb_conn, link);

        if (c->protocol == 1 && n_blank < 70) {
            arb_conn_set_blank(c, true);
            n_blank++;
        }
    }
    conn_set_mark(&rig.set, container_of(rig.set.all.next, struct arb_conn, link)->io.fd,
                  CONN_MARK_BUSY);
    assert_int_equal(rescue_send(ends[1], &rig.set), 400 + 70 - 1);
    assert_int_equal(count_sent("stateful", &others), 69);
    assert_int_equal(others, 400);
    /* What is sent is not sent twice. */
    assert_int_equal(rescue_send(ends[1], &rig.set), 0);
}

static void rescue_send__about_to_be_added__under_the_name_it_came_with(void **state UNUSED)
{
    int pair[2];
    size_t others;

    for (size_t i = 0; i < rig.set.n_marks; i++)
        conn_set_mark(&rig.set, (int)i, CONN_MARK_FREE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    conn_set_expect(&rig.set, pair[0], 1);
    assert_int_equal(rescue_send(ends[1], &rig.set), 1);
    assert_int_equal(count_sent("stateful", &others), 1);
    assert_int_equal(others, 0);
    close(pair[0]);
    close(pair[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rescue_send__idle_ones_of_two_protocols__each_under_its_name),
        TEST(rescue_send__about_to_be_added__under_the_name_it_came_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
