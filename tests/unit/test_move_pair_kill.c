/*
 * A move between two processes, one of which is killed at each step: before and after each
 * datagram that it sends or receives. The clients are here: each has to get its echo, or to see its
 * connection end, and nobody is lost but those whose owner was killed.
 *
 * The steps are found by wrapping sendmsg and recvmsg, see the Makefile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/conn_rig.h"
#include "conformance/must.h"
#include "net/move.h"
#include "wire/moved.h"

enum { CLIENTS = 520, BATCHES_MAX = 600, PATIENCE_MS = 20000, NOBODY = 65534 };
enum side { GIVER, TAKER };
enum call { SEND, RECEIVE };

struct point {
    enum side side;
    enum call call;
    unsigned nth;
    bool is_after;
};

/* Shared by the three processes. */
static struct {
    _Atomic unsigned count[BATCHES_MAX]; /* connections of each batch that was sent */
    _Atomic unsigned n_sent, n_accepted; /* batches */
    _Atomic unsigned n_too_many_refs;
    _Atomic unsigned n_moved, n_stayed;
    _Atomic int taker_error;
    _Atomic bool is_killed, is_done;
} * shared;

static enum side own_side;
static struct point point;
static unsigned n_calls[2]; /* successful ones */

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

static void die_at(enum call call, unsigned nth, bool is_after)
{
    if (own_side != point.side || call != point.call || nth != point.nth ||
        is_after != point.is_after)
        return;
    shared->is_killed = true;
    kill(getpid(), SIGKILL);
}

static void note_sent(const struct msghdr *msg)
{
    struct moved_batch batch;
    struct moved_answer answer;
    const struct iovec *iov = msg->msg_iov;

    if (moved_get_batch(iov->iov_base, iov->iov_len, &batch) == 0) {
        shared->count[batch.id - 1] = batch.count;
        shared->n_sent = batch.id;
    } else if (moved_get_answer(iov->iov_base, iov->iov_len, &answer) == 0 &&
               answer.outcome == MOVED_OK) {
        shared->n_accepted = answer.id;
    }
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t n;

    die_at(SEND, n_calls[SEND] + 1, false);
    n = __real_sendmsg(fd, msg, flags);
    if (n < 0 && errno == ETOOMANYREFS)
        shared->n_too_many_refs++;
    if (n < 0)
        return n;
    note_sent(msg);
    die_at(SEND, ++n_calls[SEND], true);
    return n;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t n;

    die_at(RECEIVE, n_calls[RECEIVE] + 1, false);
    n = __real_recvmsg(fd, msg, flags);
    if (n > 0)
        die_at(RECEIVE, ++n_calls[RECEIVE], true);
    return n;
}

struct scene {
    int clients[CLIENTS];
    int sockets[CLIENTS];
    int pair[2];
    pid_t giver, taker;
    rlim_t giver_fds, taker_fds; /* 0 = as many as there are */
    bool is_nobody; /* the giver is an ordinary user */
};

static struct scene scene;

static void limit_fds(rlim_t n)
{
    const struct rlimit rl = {n, n};

    if (n > 0 && setrlimit(RLIMIT_NOFILE, &rl) < 0)
        abort();
}

/* --- the two workers -------------------------------------------------------------------------- */

static void on_given(struct move_out *t)
{
    if (!t->is_done)
        return;
    shared->n_moved = (unsigned)t->n_moved;
    shared->n_stayed = (unsigned)t->n_stayed;
    shared->is_done = true;
}

static void on_taken(struct move_in *t)
{
    if (t->is_done)
        shared->taker_error = t->error;
}

/* Serves until it is killed: by the test's point, by the test, or with it. */
static void __attribute__((noreturn)) serve(struct rig *r)
{
    for (;;)
        ev_run(r->loop, 0);
}

static void __attribute__((noreturn)) give(int fd, const int *sockets)
{
    static struct move_out out;
    static struct rig r;

    rig_init(&r, NULL, 1 << 20);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (conn_set_add(&r.set, sockets[i], 0, ARB_ACCEPTED, false) < 0)
            abort();
    limit_fds(scene.giver_fds);
    if (move_give(&out, &r.set, &fd, 1, SIZE_MAX, on_given) < 0)
        abort();
    serve(&r);
}

static void __attribute__((noreturn)) take(int fd, bool is_waiting)
{
    static struct move_in in;
    static struct rig r;

    rig_init(&r, NULL, 1 << 20);
    move_take(&in, &r.set, fd, 10000, on_taken);
    while (is_waiting && shared->n_too_many_refs == 0)
        poll(NULL, 0, 1);
    serve(&r);
}

/* --- the clients and the test ------------------------------------------------------------------
 */

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

static pid_t start(enum side side)
{
    const pid_t parent = getpid();
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    own_side = side;
    close_all(scene.clients, CLIENTS);
    close(scene.pair[side == GIVER ? TAKER : GIVER]);
    if (side == TAKER) {
        const int fd = dup(scene.pair[TAKER]);

        close_all(scene.sockets, CLIENTS);
        close(scene.pair[TAKER]);
        limit_fds(scene.taker_fds);
        take(fd, scene.is_nobody);
    }
    if (scene.is_nobody && getuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0)
        abort();
    give(scene.pair[GIVER], scene.sockets);
}

/* Every other client is in the middle of a message. */
static void connect_clients(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        scene.clients[i] = pair[0];
        scene.sockets[i] = pair[1];
        if (i % 2)
            assert_int_equal(send(pair[0], "half ", 5, MSG_NOSIGNAL), 5);
    }
}

static void begin(void)
{
    memset(shared, 0, sizeof(*shared));
    n_calls[SEND] = n_calls[RECEIVE] = 0;
    connect_clients();
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, scene.pair), 0);
    scene.giver = start(GIVER);
    scene.taker = start(TAKER);
    close_all(scene.sockets, CLIENTS);
    close_all(scene.pair, 2);
}

/* Not before it is dead: what the kernel closes for it is closed then. */
static void await_death(pid_t *pid)
{
    int status;

    assert_true(WAIT_UNTIL(waitpid(*pid, &status, WNOHANG) == *pid, PATIENCE_MS));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    *pid = 0;
}

static void end_worker(pid_t *pid)
{
    if (*pid == 0)
        return;
    kill(*pid, SIGKILL);
    await_death(pid);
}

/* Sends the rest of a message: true for exactly its echo, false for an end, failure for silence. */
static bool is_echoed(unsigned i)
{
    const char *expected = i % 2 ? "half is whole\r\n\r\n" : "is whole\r\n\r\n";
    const char *text = "is whole\r\n\r\n";
    const int fd = scene.clients[i];
    char got[64] = "";
    size_t n = 0;

    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return false;
    while (n < strlen(expected)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t k;

        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        k = recv(fd, got + n, sizeof(got) - n - 1, 0);
        if (k <= 0)
            return false;
        n += (size_t)k;
    }
    assert_string_equal(got, expected);
    return true;
}

static unsigned count_echoes(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < CLIENTS; i++)
        n += is_echoed(i);
    /* All twice: nobody answers in another's name, and no answer comes later. */
    for (unsigned i = 0; i < CLIENTS; i++) {
        char byte;

        assert_true(recv(scene.clients[i], &byte, 1, MSG_PEEK) <= 0);
    }
    return n;
}

static unsigned connections_of(unsigned n_batches)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_batches; i++)
        n += shared->count[i];
    return n;
}

static void await_killing(void)
{
    const int victim = point.side == GIVER;

    await_death(victim ? &scene.giver : &scene.taker);
    assert_true(shared->is_killed); /* at the point, and not somewhere else */
}

static void await_done(void)
{
    assert_true(WAIT_UNTIL(shared->is_done, PATIENCE_MS));
}

static int setup(void **state UNUSED)
{
    memset(&scene, 0, sizeof(scene));
    point = (struct point){.nth = 0};
    return 0;
}

static int teardown(void **state UNUSED)
{
    end_worker(&scene.giver);
    end_worker(&scene.taker);
    close_all(scene.clients, CLIENTS);
    return 0;
}

static unsigned kill_at(enum side side, enum call call, unsigned nth, bool is_after)
{
    unsigned echoes;

    setup(NULL);
    point = (struct point){side, call, nth, is_after};
    begin();
    await_killing();
    echoes = count_echoes();
    teardown(NULL);
    return echoes;
}

static void move__giver_killed_at_each_step__what_was_sent_lives_on(void **state UNUSED)
{
    for (int is_after = 0; is_after < 2; is_after++) {
        for (unsigned nth = 1; nth <= 3; nth++) {
            const unsigned n = kill_at(GIVER, SEND, nth, is_after);

            assert_int_equal(n, connections_of(shared->n_sent));
            assert_int_equal(shared->n_sent, is_after ? nth : nth - 1);
        }
        /* The greeting and three answers; it sends all when it has the greeting. */
        for (unsigned nth = 1; nth <= 4; nth++) {
            const unsigned n = kill_at(GIVER, RECEIVE, nth, is_after);

            assert_int_equal(n, connections_of(shared->n_sent));
            assert_int_equal(n, nth + (unsigned)is_after > 2 ? CLIENTS : 0);
        }
    }
}

static void move__taker_killed_at_each_step__what_it_did_not_accept_stays(void **state UNUSED)
{
    for (int is_after = 0; is_after < 2; is_after++) {
        for (unsigned nth = 1; nth <= 4; nth++) {
            const unsigned n = kill_at(TAKER, SEND, nth, is_after);
            const unsigned accepted = is_after ? nth - 1 : nth > 1 ? nth - 2 : 0;

            assert_int_equal(shared->n_accepted, accepted);
            assert_int_equal(n, CLIENTS - connections_of(accepted));
        }
        for (unsigned nth = 1; nth <= 3; nth++) {
            const unsigned n = kill_at(TAKER, RECEIVE, nth, is_after);

            assert_int_equal(shared->n_accepted, nth - 1);
            assert_int_equal(n, CLIENTS - connections_of(nth - 1));
        }
    }
}

static void move__nobody_killed__all_move(void **state UNUSED)
{
    begin();
    assert_int_equal(count_echoes(), CLIENTS);
    await_done();
    assert_int_equal(shared->n_moved, CLIENTS);
    end_worker(&scene.giver);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct pollfd p = {.fd = scene.clients[i], .events = POLLIN};

        assert_int_equal(poll(&p, 1, 0), 0);
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

/* Of 253 descriptors the taker can have some 100: the batch comes cut. */
static void move__taker_short_of_descriptors__cut_batches_stay(void **state UNUSED)
{
    scene.taker_fds = 110;
    begin();
    assert_int_equal(count_echoes(), CLIENTS);
    await_done();
    assert_int_equal(shared->taker_error, -EMFILE);
    assert_in_range(shared->n_moved, 50, 110);
    assert_int_equal(shared->n_moved + shared->n_stayed, CLIENTS);
}

/* The kernel lets all processes of a user have only so many descriptors in flight together. */
static void move__ordinary_user_with_200_in_flight__waits_and_all_move(void **state UNUSED)
{
    scene.is_nobody = true;
    scene.giver_fds = 200;
    begin();
    await_done();
    assert_true(shared->n_too_many_refs > 0);
    assert_int_equal(shared->n_moved, CLIENTS);
    assert_int_equal(count_echoes(), CLIENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(move__nobody_killed__all_move, setup, teardown),
        cmocka_unit_test(move__giver_killed_at_each_step__what_was_sent_lives_on),
        cmocka_unit_test(move__taker_killed_at_each_step__what_it_did_not_accept_stays),
        cmocka_unit_test_setup_teardown(move__taker_short_of_descriptors__cut_batches_stay, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(move__ordinary_user_with_200_in_flight__waits_and_all_move,
                                        setup, teardown),
    };

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
