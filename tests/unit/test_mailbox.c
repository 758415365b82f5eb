/*
 * The mailbox over real socket pairs, with the loop turned by hand: what is sent arrives in order
 * with its descriptors, the queue is bounded, and a peer's end is told once.
 */
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/mailbox.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/util.h"
#include "wire/relayed.h"

/* A mailbox that writes down what happens to it. */
struct recorder {
    struct mailbox mb;
    unsigned n_messages;
    uint64_t last_id;
    bool is_ordered; /* ids came as 1, 2, 3 … */
    unsigned n_closes;
    int error;
    size_t n_fds; /* of the last message */
    int taken; /* a descriptor that was kept, -1 = none */
    bool is_taking; /* keep the first, if none is kept */
    unsigned stop_after; /* call mailbox_stop in the callback of this message */
};

static struct recorder *recorder_of(struct mailbox *mb)
{
    return container_of(mb, struct recorder, mb);
}

static void on_message(struct mailbox *mb, struct message *m, int *fds, size_t n_fds)
{
    struct recorder *r = recorder_of(mb);
    r->n_messages++;
    r->is_ordered = r->is_ordered && m->id == r->last_id + 1;
    r->last_id = m->id;
    r->n_fds = n_fds;
    assert_string_equal(m->command, "ping");
    assert_true(json_is_object(m->args));
    for (size_t i = 0; i < n_fds; i++)
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    if (r->is_taking && r->taken < 0 && n_fds > 0) {
        r->taken = fds[0];
        fds[0] = -1;
    }
    if (r->n_messages == r->stop_after)
        mailbox_stop(mb);
}

static void on_close(struct mailbox *mb, int error)
{
    struct recorder *r = recorder_of(mb);
    assert_true(mb->is_closed);
    assert_int_equal(mb->fd, -1);
    r->n_closes++;
    r->error = error;
}

struct fixture {
    struct ev_loop *loop;
    struct recorder a;
    int peer; /* the other end, raw */
};

static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static unsigned fds_before;

static void recorder_start(struct recorder *r, struct ev_loop *loop, int fd)
{
    *r = (struct recorder){.taken = -1, .is_ordered = true};
    mailbox_start(&r->mb, loop, fd, on_message, on_close);
}

static int setup(void **state)
{
    static struct fixture f;
    int fds[2];
    fds_before = count_fds();
    f.loop = ev_loop_new(EVFLAG_AUTO);
    if (!f.loop || mailbox_pair(fds) != 0)
        return -1;
    recorder_start(&f.a, f.loop, fds[0]);
    f.peer = fds[1];
    *state = &f;
    return 0;
}

/* Nothing may be left: no descriptor of ours, of the peer's or of a queue's. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    mailbox_stop(&f->a.mb);
    mailbox_stop(&f->a.mb);
    fds_close(&f->a.taken);
    fds_close(&f->peer);
    ev_loop_destroy(f->loop);
    assert_int_equal(count_fds(), fds_before);
    return 0;
}

static void turn(struct fixture *f)
{
    ev_run(f->loop, EVRUN_NOWAIT);
}

static struct message ping(uint64_t id)
{
    return (struct message){.command = "ping", .id = id, .sender = "arbiter", .target = "worker.1"};
}

static int send_ping(struct mailbox *mb, uint64_t id)
{
    struct message m = ping(id);
    return mailbox_send(mb, &m, NULL, 0);
}

/* What a peer sends that does not use this module. */
static void send_raw(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
    assert_int_equal(fdpass_send(fd, data, len, fds, n_fds), 0);
}

static size_t encode_ping(uint64_t id, char *buf)
{
    struct message m = ping(id);
    size_t len;
    assert_int_equal(message_encode(&m, buf, MESSAGE_MAX_BYTES, &len), 0);
    return len;
}

static void send_raw_ping(int fd, uint64_t id, const int *fds, size_t n_fds)
{
    char buf[MESSAGE_MAX_BYTES];
    size_t len = encode_ping(id, buf);
    send_raw(fd, buf, len, fds, n_fds);
}

static void mailbox_pair__new__nonblocking_and_cloexec(void **state UNUSED)
{
    int fds[2], type;
    socklen_t len = sizeof(type);
    assert_int_equal(mailbox_pair(fds), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_TYPE, &type, &len), 0);
        assert_int_equal(type, SOCK_SEQPACKET);
        fds_close(&fds[i]);
    }
}

static void mailbox_send__room__arrives(void **state)
{
    struct fixture *f = *state;
    struct recorder b;
    recorder_start(&b, f->loop, f->peer);
    f->peer = -1;
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(send_ping(&f->a.mb, id), 0);
    assert_int_equal(f->a.mb.n_queued, 0);
    turn(f);
    assert_int_equal(b.n_messages, 3);
    assert_true(b.is_ordered);
    assert_int_equal(send_ping(&b.mb, 1), 0);
    turn(f);
    assert_int_equal(f->a.n_messages, 1);
    mailbox_stop(&b.mb);
}

static void mailbox_send__malformed__refused_and_alive(void **state)
{
    struct fixture *f = *state;
    struct message m = ping(1);
    int fds[MAILBOX_FDS_MAX + 1] = {0};
    m.command[0] = 'P';
    assert_int_equal(mailbox_send(&f->a.mb, &m, NULL, 0), -EINVAL);
    m.command[0] = 'p';
    assert_int_equal(mailbox_send(&f->a.mb, &m, fds, ARRAY_SIZE(fds)), -EINVAL);
    fds[0] = -1;
    assert_int_equal(mailbox_send(&f->a.mb, &m, fds, 1), -EBADF);
    assert_int_equal(mailbox_send(&f->a.mb, &m, NULL, 0), 0);
    turn(f);
    assert_int_equal(f->a.n_closes, 0);
}

static void mailbox_send__descriptors__same_files(void **state)
{
    struct fixture *f = *state;
    struct recorder b;
    int fds[MAILBOX_FDS_MAX];
    struct stat sent, got;
    recorder_start(&b, f->loop, f->peer);
    f->peer = -1;
    b.is_taking = true;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = open("/dev/null", O_RDONLY);
    struct message m = ping(1);
    assert_int_equal(mailbox_send(&f->a.mb, &m, fds, ARRAY_SIZE(fds)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        assert_int_equal(fcntl(fds[i], F_GETFD), 0); /* borrowed: still ours */
    turn(f);
    assert_int_equal(b.n_fds, MAILBOX_FDS_MAX);
    assert_int_equal(fstat(fds[0], &sent), 0);
    assert_int_equal(fstat(b.taken, &got), 0);
    assert_int_equal(sent.st_ino, got.st_ino);
    fds_close(&b.taken);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds_close(&fds[i]);
    mailbox_stop(&b.mb);
}

/* Fill the kernel's queue and then ours. Returns how many were accepted. */
static uint64_t fill(struct fixture *f, const int *fds, size_t n_fds)
{
    uint64_t n = 0;
    for (;;) {
        struct message m = ping(n + 1);
        int r = mailbox_send(&f->a.mb, &m, fds, n_fds);
        if (r == -ENOBUFS)
            return n;
        assert_int_equal(r, 0);
        n++;
        assert_true(n < 100000);
    }
}

static void mailbox_send__peer_does_not_read__bounded_then_all_in_order(void **state)
{
    struct fixture *f = *state;
    struct recorder b;
    struct stat st;
    int null = open("/dev/null", O_RDONLY);
    uint64_t n = fill(f, &null, 1);
    assert_int_equal(f->a.mb.n_queued, MAILBOX_QUEUE_MAX);
    assert_true(n > MAILBOX_QUEUE_MAX);
    fds_close(&null); /* the queue has duplicates */
    turn(f);
    assert_int_equal(f->a.mb.n_queued, MAILBOX_QUEUE_MAX); /* no room: nothing moves */

    recorder_start(&b, f->loop, f->peer);
    f->peer = -1;
    b.is_taking = true;
    for (uint64_t i = 0; i < n && b.n_messages < n; i++) {
        turn(f);
        assert_int_equal(fstat(b.taken, &st), 0);
        assert_true(S_ISCHR(st.st_mode));
        fds_close(&b.taken);
    }
    assert_int_equal(b.n_messages, n);
    assert_true(b.is_ordered);
    assert_int_equal(f->a.mb.n_queued, 0);
    assert_int_equal(f->a.mb.io.events & EV_WRITE, 0); /* nothing left to wake for */
    mailbox_stop(&b.mb);
}

static void mailbox_send__queue_waits__later_ones_stay_behind(void **state)
{
    struct fixture *f = *state;
    char buf[MESSAGE_MAX_BYTES];
    uint64_t n = fill(f, NULL, 0);
    /* Room in the kernel again, but the queue goes first. */
    while (recv(f->peer, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(send_ping(&f->a.mb, n + 1), -ENOBUFS);
    turn(f);
    assert_true(f->a.mb.n_queued < MAILBOX_QUEUE_MAX);
    assert_int_equal(send_ping(&f->a.mb, n + 1), 0);
}

/* In a child of no privilege: the kernel lets a user have about RLIMIT_NOFILE descriptors in
 * flight. */
static int send_beyond_in_flight_limit(void)
{
    struct rlimit limit = {.rlim_cur = 32, .rlim_max = 32};
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct recorder a, b;
    int ends[2], fds[MAILBOX_FDS_MAX] = {0};
    unsigned sent = 0;

    if (!loop || mailbox_pair(ends) != 0 || setrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        (geteuid() == 0 && setuid(65534) != 0))
        return 1;
    recorder_start(&a, loop, ends[0]);
    for (; sent < 64 && !ev_is_active(&a.mb.retry); sent++) {
        struct message m = ping(sent + 1);
        if (mailbox_send(&a.mb, &m, fds, ARRAY_SIZE(fds)) != 0)
            return 2;
    }
    /* It waits for the timer, not for a socket that is writable all the time. */
    if (a.mb.n_queued != 1 || (a.mb.io.events & EV_WRITE) || !ev_is_active(&a.mb.retry))
        return 3;
    recorder_start(&b, loop, ends[1]);
    while (b.n_messages < sent)
        ev_run(loop, EVRUN_ONCE);
    return b.is_ordered && a.mb.n_queued == 0 && a.n_closes == 0 ? 0 : 4;
}

static void mailbox_send__too_many_in_flight__later(void **state UNUSED)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(send_beyond_in_flight_limit());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void mailbox_stop__with_a_queue__descriptors_freed(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDONLY);
    fill(f, &null, 1);
    fds_close(&null);
    mailbox_stop(&f->a.mb);
    assert_int_equal(f->a.mb.n_queued, 0);
    assert_true(list_is_empty(&f->a.mb.queue));
    assert_int_equal(send_ping(&f->a.mb, 1), -EPIPE);
    turn(f);
    assert_int_equal(f->a.n_closes, 0); /* who stops it knows */
}

static void mailbox_stop__never_started__nothing(void **state UNUSED)
{
    struct mailbox mb;
    memset(&mb, 0, sizeof(mb));
    mailbox_stop(&mb);
    mailbox_stop(NULL);
    assert_true(fcntl(0, F_GETFD) >= 0); /* fd 0 of a zeroed struct is not ours */
    assert_int_equal(send_ping(&mb, 1), -EPIPE);
}

static void mailbox_start__twice__the_same_or_the_new(void **state)
{
    struct fixture *f = *state;
    int fds[2], old = f->a.mb.fd;
    mailbox_start(&f->a.mb, f->loop, old, on_message, on_close);
    assert_int_equal(f->a.mb.fd, old);
    send_raw_ping(f->peer, 1, NULL, 0);
    turn(f);
    assert_int_equal(f->a.n_messages, 1);

    assert_int_equal(mailbox_pair(fds), 0);
    mailbox_start(&f->a.mb, f->loop, fds[0], on_message, on_close);
    assert_int_equal(fcntl(old, F_GETFD), -1);
    send_raw_ping(fds[1], 2, NULL, 0);
    turn(f);
    assert_int_equal(f->a.n_messages, 2);
    fds_close(&fds[1]);
}

static void mailbox__more_than_a_batch__the_rest_next_turn(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= MAILBOX_BATCH + 3; id++)
        send_raw_ping(f->peer, id, NULL, 0);
    turn(f);
    assert_int_equal(f->a.n_messages, MAILBOX_BATCH);
    turn(f);
    assert_int_equal(f->a.n_messages, MAILBOX_BATCH + 3);
    assert_true(f->a.is_ordered);
}

static void mailbox__peer_ends__messages_then_end_of_file_once(void **state)
{
    struct fixture *f = *state;
    send_raw_ping(f->peer, 1, NULL, 0);
    send_raw_ping(f->peer, 2, NULL, 0);
    fds_close(&f->peer);
    turn(f);
    turn(f);
    assert_int_equal(f->a.n_messages, 2);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, 0);
    assert_int_equal(send_ping(&f->a.mb, 1), -EPIPE);
}

/* A peer that dies with unread input: the kernel says ECONNRESET before its last words. */
static void mailbox__peer_dies_without_reading__its_messages_still_come(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send_ping(&f->a.mb, 1), 0);
    send_raw_ping(f->peer, 1, NULL, 0);
    fds_close(&f->peer);
    turn(f);
    turn(f);
    assert_int_equal(f->a.n_messages, 1);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, 0);
}

static void mailbox__peer_dies_while_we_queue__end_of_file_once(void **state)
{
    struct fixture *f = *state;
    int null = open("/dev/null", O_RDONLY);
    fill(f, &null, 1);
    fds_close(&null);
    send_raw_ping(f->peer, 1, NULL, 0);
    fds_close(&f->peer);
    for (int i = 0; i < 3; i++)
        turn(f);
    assert_int_equal(f->a.n_messages, 1);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, 0);
}

static void mailbox_send__peer_gone__epipe_and_the_end_is_told_by_the_loop(void **state)
{
    struct fixture *f = *state;
    fds_close(&f->peer);
    assert_int_equal(send_ping(&f->a.mb, 1), -EPIPE);
    assert_int_equal(f->a.n_closes, 0);
    turn(f);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, 0);
}

static void check_nonsense(struct fixture *f)
{
    for (int i = 0; i < 2; i++)
        turn(f);
    assert_int_equal(f->a.n_messages, 0);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, -EBADMSG);
}

/* Out of descriptors is this process's own trouble: the message comes, the descriptors do not. */
static void mailbox__no_room_for_descriptors__message_alone(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, low;
    int fds[4] = {0, 1, 2, 0};
    int lowest = dup(0);
    send_raw_ping(f->peer, 1, fds, 4);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)lowest + 2; /* room for two of four */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    turn(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(f->a.n_messages, 1);
    assert_int_equal(f->a.n_fds, 0);
    assert_int_equal(f->a.n_closes, 0);
    fds[0] = dup(0); /* the two that came have been closed again */
    assert_int_equal(fds[0], lowest);
    close(fds[0]);
}

static void mailbox__undecodable_with_descriptors__closed_and_freed(void **state)
{
    struct fixture *f = *state;
    int fds[3] = {0, 1, 2};
    send_raw(f->peer, "{}", 2, fds, 3);
    check_nonsense(f);
}

static void mailbox__datagram_too_long__closed(void **state)
{
    struct fixture *f = *state;
    static char big[MESSAGE_MAX_BYTES + 1];
    size_t len = encode_ping(1, big);
    memset(big + len, ' ', sizeof(big) - len);
    send_raw(f->peer, big, sizeof(big), NULL, 0);
    check_nonsense(f);
}

static void mailbox__too_many_descriptors__closed_and_freed(void **state)
{
    struct fixture *f = *state;
    int fds[MAILBOX_FDS_MAX + 3] = {0};
    send_raw_ping(f->peer, 1, fds, ARRAY_SIZE(fds));
    check_nonsense(f);
}

static void mailbox__descriptors_with_end_of_file__freed(void **state)
{
    struct fixture *f = *state;
    int fds[1] = {0};
    send_raw(f->peer, "", 0, fds, 1);
    turn(f);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, 0);
}

static void mailbox_stop__inside_on_message__nothing_after(void **state)
{
    struct fixture *f = *state;
    int fds[2] = {0, 1};
    f->a.stop_after = 2;
    for (uint64_t id = 1; id <= 4; id++)
        send_raw_ping(f->peer, id, fds, 2);
    turn(f);
    turn(f);
    assert_int_equal(f->a.n_messages, 2);
    assert_int_equal(f->a.n_closes, 0);
}

static void mailbox_send__exact_maximum__travels(void **state)
{
    struct fixture *f = *state;
    static char fill_bytes[MESSAGE_MAX_BYTES], buf[MESSAGE_MAX_BYTES];
    struct recorder b;
    struct message m = ping(1);
    size_t len;
    recorder_start(&b, f->loop, f->peer);
    f->peer = -1;
    memset(fill_bytes, 'x', sizeof(fill_bytes));
    m.args = json_pack("{s:s}", "a", "");
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &len), 0);
    json_object_set_new(m.args, "a", json_stringn(fill_bytes, sizeof(buf) - len));
    assert_int_equal(mailbox_send(&f->a.mb, &m, NULL, 0), 0);
    turn(f);
    assert_int_equal(b.n_messages, 1);
    json_object_set_new(m.args, "a", json_stringn(fill_bytes, sizeof(buf) - len + 1));
    assert_int_equal(mailbox_send(&f->a.mb, &m, NULL, 0), -EMSGSIZE);
    message_fini(&m);
    mailbox_stop(&b.mb);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void mailbox_flush__peer_reads_later__all_is_sent(void **state)
{
    struct fixture *f = *state;
    uint64_t sent = 0;
    int status;
    pid_t pid;

    while (f->a.mb.n_queued < 100)
        assert_int_equal(send_ping(&f->a.mb, ++sent), 0);
    mailbox_flush(&f->a.mb, 0);
    assert_true(f->a.mb.n_queued > 0);
    pid = fork();
    if (pid == 0) {
        char data[MESSAGE_MAX_BYTES];
        uint64_t n = 0;

        fcntl(f->peer, F_SETFL, 0);
        while (n < sent && read(f->peer, data, sizeof(data)) > 0)
            n++;
        _exit(n == sent ? 0 : 1);
    }
    mailbox_flush(&f->a.mb, 10000);
    assert_int_equal(f->a.mb.n_queued, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- data ---- */

static struct {
    unsigned n;
    size_t len;
    unsigned n_messages_before; /* control messages that came before the last one */
    int result;
} data_seen;

static int on_data(struct mailbox *mb, const uint8_t *data, size_t len)
{
    assert_int_equal(data[0], RELAYED_MAGIC);
    data_seen.n++;
    data_seen.len = len;
    data_seen.n_messages_before = recorder_of(mb)->n_messages;
    return data_seen.result;
}

static struct mailbox_data *new_data(size_t len)
{
    struct mailbox_data *d = mailbox_data_new(len);

    assert_non_null(d);
    memset(d->bytes, RELAYED_MAGIC, len);
    return d;
}

static void mailbox__data_and_messages__one_order(void **state)
{
    struct fixture *f = *state;
    struct mailbox_data *d = new_data(RELAYED_MAX_BYTES);
    struct recorder b;
    unsigned n = 0;

    memset(&data_seen, 0, sizeof(data_seen));
    recorder_start(&b, f->loop, f->peer);
    b.mb.on_data = on_data;
    /* More than the kernel takes: most of it is queued. */
    for (unsigned i = 1; i <= 40; i++) {
        assert_int_equal(mailbox_send_data(&f->a.mb, d), 0);
        assert_int_equal(send_ping(&f->a.mb, i), 0);
    }
    assert_true(f->a.mb.n_data > 20 && d->refs == 1 + f->a.mb.n_data);
    while (b.n_messages < 40 && ++n < 1000) {
        turn(f);
        assert_true(data_seen.n == 0 || data_seen.n == data_seen.n_messages_before + 1);
    }
    assert_int_equal(data_seen.n, 40);
    assert_true(b.is_ordered);
    assert_int_equal(data_seen.len, RELAYED_MAX_BYTES);
    assert_true(mailbox_is_empty(&f->a.mb));
    assert_int_equal(d->refs, 1);
    mailbox_data_drop(d);
    f->peer = -1;
    mailbox_stop(&b.mb);
}

static void mailbox_send__queue_full_of_data__message_has_its_place(void **state)
{
    struct fixture *f = *state;
    struct mailbox_data *d = new_data(64);
    unsigned n = 0;

    while (f->a.mb.n_data < 4 * MAILBOX_QUEUE_MAX && ++n < 100000)
        assert_int_equal(mailbox_send_data(&f->a.mb, d), 0);
    for (unsigned i = 1; i <= MAILBOX_QUEUE_MAX; i++)
        assert_int_equal(send_ping(&f->a.mb, i), 0);
    assert_int_equal(send_ping(&f->a.mb, MAILBOX_QUEUE_MAX + 1), -ENOBUFS);
    assert_int_equal(mailbox_send_data(&f->a.mb, d), 0);
    mailbox_stop(&f->a.mb);
    assert_int_equal(d->refs, 1);
    assert_int_equal(mailbox_send_data(&f->a.mb, d), -EPIPE);
    mailbox_data_drop(d);
}

static void mailbox__data_that_nobody_wants__closed(void **state)
{
    struct fixture *f = *state;
    const uint8_t data[] = {RELAYED_MAGIC, 1};

    send_raw(f->peer, data, sizeof(data), NULL, 0);
    turn(f);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, -EBADMSG);
}

static void mailbox__data_is_nonsense__closed(void **state)
{
    struct fixture *f = *state;
    const uint8_t data[] = {RELAYED_MAGIC, 1};

    data_seen.result = -EBADMSG;
    f->a.mb.on_data = on_data;
    send_raw(f->peer, data, sizeof(data), NULL, 0);
    turn(f);
    assert_int_equal(f->a.n_closes, 1);
    assert_int_equal(f->a.error, -EBADMSG);
}

static void mailbox_pause__messages_come__read_afterwards(void **state)
{
    struct fixture *f = *state;
    struct message m = ping(1);
    struct recorder b;

    recorder_start(&b, f->loop, f->peer);
    f->peer = -1;
    mailbox_pause(&b.mb, true);
    assert_int_equal(mailbox_send(&f->a.mb, &m, NULL, 0), 0);
    turn(f);
    assert_int_equal(b.n_messages, 0);
    assert_int_equal(send_ping(&b.mb, 1), 0); /* the other way is open */
    turn(f);
    assert_int_equal(f->a.n_messages, 1);
    mailbox_pause(&b.mb, false);
    turn(f);
    assert_int_equal(b.n_messages, 1);
    mailbox_stop(&b.mb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mailbox_pair__new__nonblocking_and_cloexec),
        cmocka_unit_test(mailbox_stop__never_started__nothing),
        TEST(mailbox_send__room__arrives),
        TEST(mailbox_send__malformed__refused_and_alive),
        TEST(mailbox_send__descriptors__same_files),
        TEST(mailbox_send__peer_does_not_read__bounded_then_all_in_order),
        TEST(mailbox_send__queue_waits__later_ones_stay_behind),
        TEST(mailbox_send__peer_gone__epipe_and_the_end_is_told_by_the_loop),
        cmocka_unit_test(mailbox_send__too_many_in_flight__later),
        TEST(mailbox_send__exact_maximum__travels),
        TEST(mailbox_stop__with_a_queue__descriptors_freed),
        TEST(mailbox_stop__inside_on_message__nothing_after),
        TEST(mailbox_start__twice__the_same_or_the_new),
        TEST(mailbox__more_than_a_batch__the_rest_next_turn),
        TEST(mailbox__peer_ends__messages_then_end_of_file_once),
        TEST(mailbox__peer_dies_without_reading__its_messages_still_come),
        TEST(mailbox__peer_dies_while_we_queue__end_of_file_once),
        TEST(mailbox__no_room_for_descriptors__message_alone),
        TEST(mailbox__undecodable_with_descriptors__closed_and_freed),
        TEST(mailbox__datagram_too_long__closed),
        TEST(mailbox__too_many_descriptors__closed_and_freed),
        TEST(mailbox__descriptors_with_end_of_file__freed),
        TEST(mailbox_flush__peer_reads_later__all_is_sent),
        TEST(mailbox__data_and_messages__one_order),
        TEST(mailbox_send__queue_full_of_data__message_has_its_place),
        TEST(mailbox__data_that_nobody_wants__closed),
        TEST(mailbox__data_is_nonsense__closed),
        TEST(mailbox_pause__messages_come__read_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
