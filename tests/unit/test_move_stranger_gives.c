/*
 * Taking from a giver that is no worker of ours: another version, nonsense, files that are not what
 * they should be. It is refused, no descriptor stays open, and what comes after it is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/hash.h"
#include "base/util.h"
#include "net/move_wire.h"
#include "support/move_rig.h"

static struct move_rig t;
static struct taker *taker = &t.takers[0];

static int setup(void **state UNUSED)
{
    move_rig_init(&t, 1, NULL);
    return 0;
}

static int teardown(void **state UNUSED)
{
    move_rig_fini(&t);
    return 0;
}

/* What a giver would send, with one thing to be made wrong. */
struct parcel {
    struct moved_batch batch;
    uint8_t head[MOVED_BATCH_BYTES];
    size_t head_len;
    uint8_t file[4096];
    size_t file_len;
    int seals;
    size_t n_sockets;
};

static struct parcel parcel_of(uint32_t n)
{
    struct parcel p = {
        .batch = {.version = MOVED_VERSION, .id = 1, .count = n, .bytes = n * MOVED_RECORD_BYTES},
        .head_len = MOVED_BATCH_BYTES,
        .file_len = n * MOVED_RECORD_BYTES,
        .seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
        .n_sockets = n,
    };

    moved_put_batch(&p.batch, p.head);
    for (uint32_t i = 0; i < n; i++)
        moved_put_record(&(struct moved_record){.phase = MOVED_OPEN,
                                                .protocol = hash_bytes(HASH_INIT, "echo", 4)},
                         p.file + (size_t)i * MOVED_RECORD_BYTES);
    return p;
}

static struct moved_answer receive_answer(int fd)
{
    struct move_datagram d;
    struct moved_answer a;

    assert_int_equal(move_receive(fd, &d), 0);
    assert_int_equal(d.got.n_fds, 0);
    assert_int_equal(moved_get_answer(d.data, d.got.len, &a), 0);
    return a;
}

/* Sends @p; the peers' ends stay in t.peers. */
static void post(const struct parcel *p)
{
    int fds[MOVE_FDS_MAX];
    size_t n = 0;

    fds[n] = memfd_create("parcel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fds[n] >= 0);
    assert_int_equal(write(fds[n], p->file, p->file_len), p->file_len);
    if (p->seals)
        assert_int_equal(fcntl(fds[n], F_ADD_SEALS, p->seals), 0);
    n++;
    t.peers = realloc(t.peers, (t.n_peers + p->n_sockets) * sizeof(*t.peers));
    for (size_t i = 0; i < p->n_sockets; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        t.peers[t.n_peers++] = pair[0];
        fds[n++] = pair[1];
    }
    assert_int_equal(move_send(t.fds[0], p->head, p->head_len, fds, n), 0);
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    taker_turns(taker);
}

static void begin_to_take(void)
{
    struct moved_answer hello;

    taker_takes(taker, 1000);
    hello = receive_answer(t.fds[0]);
    assert_int_equal(hello.id, 0);
    assert_int_equal(hello.outcome, MOVED_OK);
    assert_int_equal(hello.room, 1000);
}

/* It is refused and its sockets are closed; what comes after it is taken. */
static void expect_refused(const struct parcel *p, uint32_t room)
{
    struct parcel good = parcel_of(3);
    struct moved_answer a;
    size_t n_bad;

    begin_to_take();
    post(p);
    a = receive_answer(t.fds[0]);
    assert_int_equal(a.id, 1);
    assert_int_equal(a.outcome, MOVED_REFUSED);
    assert_int_equal(a.room, room);
    assert_int_equal(taker->rig.set.n_open, 0);
    n_bad = t.n_peers;
    for (size_t i = 0; i < n_bad; i++)
        rig_expect_eof(&taker->rig, t.peers[i]);

    good.batch.id = 2;
    moved_put_batch(&good.batch, good.head);
    post(&good);
    a = receive_answer(t.fds[0]);
    assert_int_equal(a.id, 2);
    assert_int_equal(a.outcome, MOVED_OK);
    assert_int_equal(a.room, 997);
    for (size_t i = n_bad; i < t.n_peers; i++)
        assert_true(move_rig_echo(&t, t.peers[i]));
}

static void move_take__as_it_should_be__taken(void **state UNUSED)
{
    struct parcel p = parcel_of(5);

    begin_to_take();
    post(&p);
    assert_int_equal(receive_answer(t.fds[0]).outcome, MOVED_OK);
    move_rig_expect_echoes(&t, 5);
}

static void move_take__another_version__refused_and_no_more_wanted(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    p.head[4]++;
    expect_refused(&p, 0);
}

/* Others of the same giver may have one that is known here. */
static void move_take__second_of_an_unknown_protocol__all_refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    moved_put_record(&(struct moved_record){.phase = MOVED_OPEN, .protocol = 1},
                     p.file + MOVED_RECORD_BYTES);
    expect_refused(&p, 1000);
}

/* It waited for nothing but this worker: its protocol looks at what is left, and it ends. */
static void move_take__open_behind_the_end_of_input__taken_and_ended(void **state UNUSED)
{
    struct moved_answer a;
    struct parcel p = parcel_of(1);

    moved_put_record(&(struct moved_record){.phase = MOVED_OPEN,
                                            .is_eof = true,
                                            .protocol = hash_bytes(HASH_INIT, "echo", 4)},
                     p.file);
    begin_to_take();
    post(&p);
    a = receive_answer(t.fds[0]);
    assert_int_equal(a.outcome, MOVED_OK);
    rig_expect_eof(&taker->rig, t.peers[0]);
    rig_expect_closed(&taker->rig, &taker->rig.counters.closed_peer, 1);
}

static void move_take__nonsense__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    memset(p.head, 'x', sizeof(p.head));
    expect_refused(&p, 1000);
}

static void move_take__short_head__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    p.head_len = 7;
    expect_refused(&p, 1000);
}

static void move_take__fewer_sockets_than_records__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(4);

    p.n_sockets = 3;
    expect_refused(&p, 1000);
}

static void move_take__more_sockets_than_records__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(4);

    p.n_sockets = 5;
    expect_refused(&p, 1000);
}

/* It could shrink under the reader's eyes, which would be its death. */
static void move_take__file_not_sealed__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    p.seals = F_SEAL_GROW | F_SEAL_WRITE;
    expect_refused(&p, 1000);
    assert_int_equal(taker->in.error, -EBADMSG);
}

static void move_take__file_of_another_size__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    p.file_len--;
    expect_refused(&p, 1000);
}

static void move_take__empty_file__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(2);

    p.file_len = 0;
    expect_refused(&p, 1000);
}

/* The first of them is good: it is undone. */
static void move_take__one_record_impossible__all_refused(void **state UNUSED)
{
    struct parcel p = parcel_of(3);

    moved_put_record(&(struct moved_record){.phase = MOVED_LINGERING, .end = 200},
                     p.file + 2 * MOVED_RECORD_BYTES);
    expect_refused(&p, 1000);
    assert_int_equal(taker->rig.set.pool.used_bytes, 0);
}

static void move_take__no_file_but_a_socket__refused(void **state UNUSED)
{
    struct parcel p = parcel_of(1);
    int pair[2];

    begin_to_take();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(move_send(t.fds[0], p.head, p.head_len, (const int[]){pair[1], pair[1]}, 2),
                     0);
    close(pair[1]);
    taker_turns(taker);
    assert_int_equal(receive_answer(t.fds[0]).outcome, MOVED_REFUSED);
    rig_expect_eof(&taker->rig, pair[0]);
    close(pair[0]);
}

static void move_take__ids_out_of_order__ended(void **state UNUSED)
{
    struct parcel p = parcel_of(2);
    struct move_datagram d;

    p.batch.id = 2;
    moved_put_batch(&p.batch, p.head);
    begin_to_take();
    post(&p);
    assert_true(taker->in.is_done);
    assert_int_equal(move_receive(t.fds[0], &d), MOVE_END);
    assert_int_equal(taker->rig.set.n_open, 0);
    for (size_t i = 0; i < t.n_peers; i++)
        rig_expect_eof(&taker->rig, t.peers[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(move_take__as_it_should_be__taken),
        TEST(move_take__another_version__refused_and_no_more_wanted),
        TEST(move_take__second_of_an_unknown_protocol__all_refused),
        TEST(move_take__open_behind_the_end_of_input__taken_and_ended),
        TEST(move_take__nonsense__refused),
        TEST(move_take__short_head__refused),
        TEST(move_take__fewer_sockets_than_records__refused),
        TEST(move_take__more_sockets_than_records__refused),
        TEST(move_take__file_not_sealed__refused),
        TEST(move_take__file_of_another_size__refused),
        TEST(move_take__empty_file__refused),
        TEST(move_take__one_record_impossible__all_refused),
        TEST(move_take__no_file_but_a_socket__refused),
        TEST(move_take__ids_out_of_order__ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
