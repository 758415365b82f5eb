/*
 * What a keeper does with its wards: fake ones over socket pairs, and a child that is killed. The
 * peers of the connections are here, and see which of them live on.
 */
#include "keeper/wards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor/mailbox.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/util.h"
#include "net/conn_marks.h"
#include "net/keep_rules.h"
#include "net/keep_table.h"

static const struct keep_origin an_origin = {.listener = 5,
                                             .protocol = UINT64_C(0xabcdef0123456789)};

#define ENTRY(n, s)                                                                                \
    {                                                                                              \
        .number = (n), .serial = (s), .origin = an_origin                                          \
    }

static struct log no_log = {.fd = -1, .level = LOG_LEVEL_ERROR};

/* A worker, as far as its keeper can tell. */
struct fake {
    int fd; /* its end */
    struct keep_table table;
    uint32_t last_serial;
    struct addr_named peer; /* of what it registers */
};

static struct {
    struct ev_loop *loop;
    struct wards wards;
    struct ward_death left, passed; /* the last ones */
    unsigned n_left, n_passed;
    unsigned n_fds; /* open before the test */
} t;

static void on_left(struct wards *w UNUSED, const struct ward_death *d)
{
    t.left = *d;
    t.n_left++;
}

static void on_passed(struct wards *w UNUSED, const struct ward_death *d)
{
    t.passed = *d;
    t.n_passed++;
}

static void on_change(struct wards *w UNUSED)
{
}

static const struct wards_ops ops = {
    .on_left = on_left, .on_passed = on_passed, .on_change = on_change};

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int setup(void **state UNUSED)
{
    memset(&t, 0, sizeof(t));
    limits_raise(RLIMIT_NOFILE, 16384);
    t.n_fds = count_fds();
    t.loop = ev_loop_new(EVBACKEND_EPOLL);
    assert_non_null(t.loop);
    wards_init(&t.wards, t.loop, &no_log, &ops);
    return 0;
}

/* No descriptor is left, whatever has happened. */
static int teardown(void **state UNUSED)
{
    wards_fini(&t.wards);
    ev_loop_destroy(t.loop);
    assert_int_equal(count_fds(), t.n_fds);
    return 0;
}

/* What is in queues is there at once: some turns are enough. */
static void turn(void)
{
    for (int i = 0; i < 20; i++)
        ev_run(t.loop, EVRUN_NOWAIT);
}

/* ---- a fake worker ---- */

static struct fake fake_new(const char *id)
{
    struct fake f = {0};
    int ends[2], table_fd = keep_table_make(0);

    assert_true(table_fd >= 0);
    assert_int_equal(keep_table_map(&f.table, table_fd, true), 0);
    assert_int_equal(mailbox_pair(ends), 0);
    assert_int_equal(wards_add(&t.wards, id, ends[0], table_fd), 0);
    fds_close(&table_fd);
    f.fd = ends[1];
    return f;
}

/* As the kernel closes files; its table stays as it is. */
static void fake_die(struct fake *f)
{
    fds_close(&f->fd);
}

static void fake_free(struct fake *f)
{
    fds_close(&f->fd);
    keep_table_unmap(&f->table);
}

static void send_message(const struct fake *f, const struct keep_message *m, const int *fds,
                         size_t n_fds)
{
    uint8_t data[KEEP_MESSAGE_MAX];

    assert_int_equal(fdpass_send(f->fd, data, keep_put(m, data), fds, n_fds), 0);
}

/* Of the same connection @fd under @n numbers from @first on. */
static void fake_register(struct fake *f, uint32_t first, uint32_t n, int fd, enum conn_mark mark)
{
    struct keep_message m = {.kind = KEEP_REGISTER, .count = n};
    int fds[KEEP_COUNT_MAX];

    for (uint32_t i = 0; i < n; i++) {
        f->table.mark[first + i] = (uint8_t)mark;
        f->table.serial[first + i] = ++f->last_serial;
        m.entries[i] = (struct keep_entry){
            .number = first + i, .serial = f->last_serial, .origin = an_origin, .peer = f->peer};
        fds[i] = fd;
    }
    send_message(f, &m, fds, n);
}

static void fake_sweep(struct fake *f)
{
    send_message(f, &(struct keep_message){.kind = KEEP_SWEEP}, NULL, 0);
}

struct offer {
    struct keep_message m;
    int fds[KEEP_COUNT_MAX];
};

/* Returns whether there was one. */
static bool fake_hear(struct fake *f, struct offer *ret)
{
    uint8_t data[KEEP_MESSAGE_MAX];
    struct fdpass got;

    if (fdpass_receive(f->fd, &(struct iovec){data, sizeof(data)}, 1, &got) < 0 || got.len == 0)
        return false;
    assert_int_equal(keep_get(data, got.len, &ret->m), 0);
    assert_int_equal(ret->m.kind, KEEP_OFFER);
    assert_int_equal(ret->m.count, got.n_fds);
    for (size_t i = 0; i < got.n_fds; i++) {
        ret->fds[i] = got.fds[i];
        assert_true(ret->m.entries[i].origin.protocol == an_origin.protocol &&
                    ret->m.entries[i].origin.listener == an_origin.listener);
    }
    return true;
}

static void close_offered(struct offer *o)
{
    for (uint32_t i = 0; i < o->m.count; i++)
        fds_close(&o->fds[i]);
}

/* In the order of the rules: the table first. Numbers are those from @first on. */
static void fake_take(struct fake *f, const struct offer *o, uint32_t first)
{
    struct keep_message m = {.kind = KEEP_TAKEN, .batch = o->m.batch, .count = o->m.count};

    for (uint32_t i = 0; i < m.count; i++) {
        f->table.mark[first + i] = CONN_MARK_IDLE;
        f->table.serial[first + i] = ++f->last_serial;
        m.entries[i] = (struct keep_entry){.number = first + i, .serial = f->last_serial};
    }
    send_message(f, &m, NULL, 0);
}

static void fake_refuse(const struct fake *f, const struct offer *o)
{
    struct keep_message m = {.kind = KEEP_TAKEN, .batch = o->m.batch, .count = o->m.count};

    for (uint32_t i = 0; i < m.count; i++)
        m.entries[i].number = KEEP_REFUSED;
    send_message(f, &m, NULL, 0);
}

/* ---- connections ---- */

static void make_conn(int ret[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret), 0);
}

/* Does the peer see its end? */
static bool has_ended(int peer)
{
    char c;

    return recv(peer, &c, 1, MSG_PEEK) == 0;
}

static void close_pair(int pair[2])
{
    fds_close(&pair[0]);
    fds_close(&pair[1]);
}

/* ---- tests ---- */

static void wards__a_ward_dies__idle_pending_others_closed(void **state UNUSED)
{
    struct fake f = fake_new("worker.1");
    static const enum conn_mark marks[] = {CONN_MARK_IDLE,   CONN_MARK_QUIET,    CONN_MARK_BUSY,
                                           CONN_MARK_MOVING, CONN_MARK_STATEFUL, CONN_MARK_FREE,
                                           CONN_MARK_FLIGHT, CONN_MARK_IDLE};
    int conns[ARRAY_SIZE(marks)][2];

    for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
        make_conn(conns[i]);
        fake_register(&f, 10 + i, 1, conns[i][1], marks[i]);
        fds_close(&conns[i][1]);
    }
    f.table.serial[10 + 7] = 0; /* ended, and not swept */
    fake_die(&f); /* before its keeper has read anything */
    turn();
    for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
        assert_int_equal(has_ended(conns[i][0]), i > 1);
        close_pair(conns[i]);
    }
    assert_int_equal(t.wards.pending.count, 2);
    assert_int_equal(t.n_left, 1);
    assert_string_equal(t.left.of, "worker.1");
    assert_int_equal(t.left.kept, 2);
    assert_int_equal(t.left.closed, 3);
    assert_int_equal(t.left.moving, 2);
    assert_int_equal(t.n_passed, 0);
    assert_int_equal(t.wards.n_wards, 0);
    assert_false(wards_is_idle(&t.wards));
    fake_free(&f);
}

static void wards__number_used_again__the_old_duplicate_is_closed(void **state UNUSED)
{
    struct fake f = fake_new("worker.1");
    int a[2], b[2];

    make_conn(a);
    make_conn(b);
    fake_register(&f, 7, 1, a[1], CONN_MARK_IDLE);
    fake_register(&f, 7, 1, b[1], CONN_MARK_IDLE);
    fds_close(&a[1]);
    fds_close(&b[1]);
    turn();
    assert_true(has_ended(a[0]));
    assert_false(has_ended(b[0]));
    assert_int_equal(t.wards.n_held, 1);
    close_pair(a);
    close_pair(b);
    fake_free(&f);
}

static void wards__sweep__closes_what_is_not_registered_any_more(void **state UNUSED)
{
    struct fake f = fake_new("worker.1");
    int conn[2];

    make_conn(conn);
    fake_register(&f, 20, 3, conn[1], CONN_MARK_BUSY);
    f.table.serial[20] = 0;
    f.table.serial[22] = 77; /* another's */
    turn();
    assert_int_equal(t.wards.n_held, 3);
    fake_sweep(&f);
    turn();
    assert_int_equal(t.wards.n_held, 1);
    close_pair(conn);
    fake_free(&f);
}

static void wards__heir_takes__they_are_kept_for_it(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), heir, second;
    struct offer o;
    int conn[2];

    make_conn(conn);
    fake_register(&first, 5, 1, conn[1], CONN_MARK_IDLE);
    fds_close(&conn[1]);
    fake_die(&first);
    turn();
    heir = fake_new("worker.1"); /* it comes when its predecessor is long gone */
    turn();
    assert_true(fake_hear(&heir, &o));
    assert_int_equal(o.m.count, 1);
    fake_take(&heir, &o, 30);
    turn();
    assert_int_equal(t.n_passed, 1);
    assert_int_equal(t.passed.kept, 1);
    assert_int_equal(t.passed.passed, 1);
    assert_int_equal(t.passed.closed, 0);
    assert_int_equal(t.wards.n_held, 1);
    assert_int_equal(write(o.fds[0], "x", 1), 1);
    close_offered(&o);

    fake_die(&heir); /* and is judged by its own table */
    second = fake_new("worker.1");
    turn();
    assert_true(fake_hear(&second, &o));
    assert_false(has_ended(conn[0]));
    close_offered(&o);
    close_pair(conn);
    fake_free(&first);
    fake_free(&heir);
    fake_free(&second);
}

/* Through two deaths, beside one whose peer nobody has named. */
static void wards__peer_that_a_proxy_has_named__offered_with_it(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), heirs[2];
    int plain[2], named[2];
    struct offer o;

    make_conn(plain);
    make_conn(named);
    fake_register(&first, 5, 1, plain[1], CONN_MARK_IDLE);
    first.peer = (struct addr_named){.kind = ADDR_NAMED_IP, .port = 4711, .ip = {{[15] = 7}}};
    fake_register(&first, 6, 1, named[1], CONN_MARK_IDLE);
    fds_close(&plain[1]);
    fds_close(&named[1]);
    fake_die(&first);
    for (int i = 0; i < 2; i++) {
        turn();
        heirs[i] = fake_new("worker.1");
        turn();
        assert_true(fake_hear(&heirs[i], &o));
        assert_int_equal(o.m.count, 2);
        assert_int_equal(o.m.entries[0].peer.kind, ADDR_NAMED_NONE);
        assert_int_equal(o.m.entries[1].peer.kind, ADDR_NAMED_IP);
        assert_int_equal(o.m.entries[1].peer.port, 4711);
        assert_int_equal(o.m.entries[1].peer.ip.bytes[15], 7);
        fake_take(&heirs[i], &o, 30);
        turn();
        close_offered(&o);
        fake_die(&heirs[i]);
    }
    close_pair(plain);
    close_pair(named);
    fake_free(&first);
    fake_free(&heirs[0]);
    fake_free(&heirs[1]);
}

/* The kernel says ECONNRESET, because it leaves something unread, and then has what it has said. */
static void wards__heir_dies_amid_answers__the_rest_is_offered_again(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), heir, second;
    struct offer o[3], again;
    int conn[2];

    make_conn(conn);
    for (uint32_t i = 0; i < 3; i++)
        fake_register(&first, 300 * i, KEEP_COUNT_MAX, conn[1], CONN_MARK_IDLE);
    fake_die(&first);
    turn();
    heir = fake_new("worker.1");
    turn();
    assert_true(fake_hear(&heir, &o[0]));
    assert_true(fake_hear(&heir, &o[1]));
    fake_take(&heir, &o[0], 300);
    fake_take(&heir, &o[1], 600);
    heir.table.mark[300] = CONN_MARK_BUSY;
    second = fake_new("worker.1");
    fake_die(&heir); /* with the third unread */
    turn();
    assert_int_equal(t.n_left, 2);
    assert_int_equal(t.left.kept, 2 * KEEP_COUNT_MAX - 1);
    assert_int_equal(t.left.closed, 1);
    for (int i = 0; i < 3; i++) {
        assert_true(fake_hear(&second, &again));
        fake_take(&second, &again, 300 * (uint32_t)i);
        close_offered(&again);
    }
    assert_false(fake_hear(&second, &again));
    turn();
    assert_int_equal(t.wards.n_held, 3 * KEEP_COUNT_MAX - 1);
    assert_int_equal(t.wards.pending.count, 0);
    assert_int_equal(t.n_passed, 2);
    close_offered(&o[0]);
    close_offered(&o[1]);
    close_pair(conn);
    fake_free(&first);
    fake_free(&heir);
    fake_free(&second);
}

static void wards__many_pending__four_offers_without_an_answer(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), heir = fake_new("worker.1");
    struct offer o[MOVE_UNANSWERED_MAX], more;
    int conn[2];

    make_conn(conn);
    for (uint32_t i = 0; i < 4; i++) {
        fake_register(&first, KEEP_COUNT_MAX * i, KEEP_COUNT_MAX, conn[1], CONN_MARK_IDLE);
        turn();
    }
    fake_register(&first, 1010, 14, conn[1], CONN_MARK_IDLE);
    fake_die(&first);
    turn();
    for (int i = 0; i < MOVE_UNANSWERED_MAX; i++) {
        assert_true(fake_hear(&heir, &o[i]));
        assert_int_equal(o[i].m.batch, i + 1);
        assert_int_equal(o[i].m.count, KEEP_COUNT_MAX);
    }
    assert_false(fake_hear(&heir, &more));
    fake_take(&heir, &o[0], 0);
    turn();
    assert_true(fake_hear(&heir, &more));
    assert_int_equal(more.m.count, 14);
    close_offered(&more);
    for (int i = 0; i < MOVE_UNANSWERED_MAX; i++)
        close_offered(&o[i]);
    close_pair(conn);
    fake_free(&first);
    fake_free(&heir);
}

static void wards__refused__offered_to_the_other_and_closed_in_the_end(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), drains = fake_new("worker.1"),
                heir = fake_new("worker.1");
    struct offer o;
    int conn[2];

    make_conn(conn);
    fake_register(&first, 5, 1, conn[1], CONN_MARK_IDLE);
    fds_close(&conn[1]);
    fake_die(&first);
    turn();
    for (int i = 0; i < WARDS_REFUSALS_MAX; i++) {
        struct fake *f = i % 2 ? &drains : &heir; /* the newest first */

        assert_false(has_ended(conn[0]));
        assert_false(fake_hear(i % 2 ? &heir : &drains, &o));
        assert_true(fake_hear(f, &o));
        fake_refuse(f, &o);
        close_offered(&o);
        turn();
        if (i % 2)
            wards_pulse(&t.wards);
    }
    assert_true(has_ended(conn[0]));
    assert_int_equal(t.n_passed, 1);
    assert_int_equal(t.passed.passed, 0);
    assert_int_equal(t.passed.closed, 1);
    assert_int_equal(t.wards.n_held, 0);
    close_pair(conn);
    fake_free(&first);
    fake_free(&drains);
    fake_free(&heir);
}

static void wards__taken_and_kept_elsewhere__let_go(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), helper = fake_new("worker.2");
    struct keep_message m = {.kind = KEEP_TAKEN, .batch = 1, .count = 1};
    struct offer o;
    int conn[2];

    make_conn(conn);
    fake_register(&first, 5, 1, conn[1], CONN_MARK_IDLE);
    fds_close(&conn[1]);
    fake_die(&first);
    turn();
    assert_true(fake_hear(&helper, &o));
    m.entries[0].number = 9;
    send_message(&helper, &m, NULL, 0);
    turn();
    assert_int_equal(t.wards.n_held, 0);
    assert_int_equal(t.passed.passed, 1);
    assert_false(has_ended(conn[0]));
    close_offered(&o);
    assert_true(has_ended(conn[0]));
    close_pair(conn);
    fake_free(&first);
    fake_free(&helper);
}

static void send_bytes(const struct fake *f, const char *bytes, size_t len)
{
    assert_int_equal(fdpass_send(f->fd, bytes, len, NULL, 0), 0);
}

static void say_nonsense(struct fake *f, int conn)
{
    send_bytes(f, "nonsense", 8);
    (void)conn;
}

static void say_another_version(struct fake *f, int conn)
{
    send_bytes(f, "keep\x2\0\1\0", 8);
    (void)conn;
}

static void answer_without_an_offer(struct fake *f, int conn)
{
    const struct offer none = {.m = {.batch = 1, .count = 1}};

    fake_refuse(f, &none);
    (void)conn;
}

static void register_without_descriptors(struct fake *f, int conn)
{
    const struct keep_message m = {KEEP_REGISTER, 0, 2, {ENTRY(1, 1), ENTRY(2, 2)}};

    send_message(f, &m, &conn, 1);
}

static void register_beyond_its_table(struct fake *f, int conn)
{
    const struct keep_message m = {KEEP_REGISTER, 0, 1, {ENTRY(f->table.n, 1)}};

    send_message(f, &m, &conn, 1);
}

static void offer_to_its_keeper(struct fake *f, int conn)
{
    const struct keep_message m = {KEEP_OFFER, 1, 1, {{.origin = an_origin}}};

    send_message(f, &m, &conn, 1);
}

static void sweep_with_a_descriptor(struct fake *f, int conn)
{
    send_message(f, &(struct keep_message){.kind = KEEP_SWEEP}, &conn, 1);
}

static void wards__nonsense__nothing_is_kept_and_it_sees_the_end(void **state UNUSED)
{
    static void (*const ways[])(struct fake * f, int conn) = {
        say_nonsense,
        say_another_version,
        answer_without_an_offer,
        register_without_descriptors,
        register_beyond_its_table,
        offer_to_its_keeper,
        sweep_with_a_descriptor,
    };

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct fake f = fake_new("worker.1");
        char c;
        int conn[2];

        make_conn(conn);
        fake_register(&f, 3, 1, conn[1], CONN_MARK_IDLE);
        ways[i](&f, conn[1]);
        turn();
        assert_int_equal(t.wards.n_held, 0);
        assert_true(wards_is_idle(&t.wards));
        assert_int_equal(t.n_left, 0);
        errno = 0;
        assert_true(recv(f.fd, &c, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
        close_pair(conn);
        fake_free(&f);
    }
}

/* It may have taken them: nobody else gets them. */
static void wards__distrusted_with_an_offer__the_offer_is_its(void **state UNUSED)
{
    struct fake first = fake_new("worker.1"), heir = fake_new("worker.1");
    struct offer o;
    int conn[2];

    make_conn(conn);
    fake_register(&first, 5, 1, conn[1], CONN_MARK_IDLE);
    fds_close(&conn[1]);
    fake_die(&first);
    turn();
    say_nonsense(&heir, -1);
    turn();
    assert_int_equal(t.wards.n_held, 0);
    assert_int_equal(t.wards.pending.count, 0);
    assert_int_equal(t.passed.passed, 1);
    assert_true(fake_hear(&heir, &o)); /* what was sent can be read still */
    assert_false(has_ended(conn[0]));
    close_offered(&o);
    close_pair(conn);
    fake_free(&first);
    fake_free(&heir);
}

static void wards__not_a_table__refused(void **state UNUSED)
{
    int memfd = fds_memfd("test"), ends[2];

    assert_int_equal(ftruncate(memfd, 5 * 2048), 0); /* not sealed */
    assert_int_equal(mailbox_pair(ends), 0);
    assert_int_equal(wards_add(&t.wards, "worker.1", ends[0], memfd), -EBADMSG);
    fds_close(&ends[1]);
    fds_close(&memfd);
}

static void wards__no_descriptors_left__what_came_is_kept(void **state UNUSED)
{
    struct fake f = fake_new("worker.1");
    struct rlimit before, small;
    int conn[2];

    make_conn(conn);
    fake_register(&f, 3, 8, conn[1], CONN_MARK_IDLE);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small = before;
    small.rlim_cur = 1;
    while (fds_count_free(small.rlim_cur, 3) < 3)
        small.rlim_cur++;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    turn();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(t.wards.n_held, 3);
    assert_int_equal(t.wards.n_wards, 1);
    close_pair(conn);
    fake_free(&f);
}

static void wards__too_many__refused(void **state UNUSED)
{
    struct fake *fakes = calloc(WARDS_MAX, sizeof(*fakes));
    int table_fd = keep_table_make(0), ends[2];

    assert_non_null(fakes);
    for (int i = 0; i < WARDS_MAX; i++)
        fakes[i] = fake_new("worker.1");
    assert_int_equal(mailbox_pair(ends), 0);
    assert_int_equal(wards_add(&t.wards, "worker.1", ends[0], table_fd), -ENOSPC);
    fds_close(&ends[1]);
    fds_close(&table_fd);
    for (int i = 0; i < WARDS_MAX; i++)
        fake_free(&fakes[i]);
    free(fakes);
    turn();
    assert_true(wards_is_idle(&t.wards));
}

/* ---- a real worker, killed ---- */

enum { CONNS = 600, YOUNG = 50 };

/* Whatever it is at: it registers, takes a message and answers it, for ever. */
static void __attribute__((noreturn))
serve_until_killed(struct fake *f, int conns[CONNS][2], int ready)
{
    struct keep_message m = {.kind = KEEP_REGISTER};
    int fds[KEEP_COUNT_MAX];

    for (unsigned i = 0; i < CONNS; i++)
        close(conns[i][0]);
    for (uint32_t i = 0; i < CONNS - YOUNG; i++) {
        f->table.mark[i] = (uint8_t)(i % 3 == 1 ? CONN_MARK_BUSY : CONN_MARK_IDLE);
        f->table.serial[i] = i + 1;
        m.entries[m.count] = (struct keep_entry)ENTRY(i, i + 1);
        fds[m.count++] = conns[i][1];
        if (m.count == KEEP_COUNT_MAX || i == CONNS - YOUNG - 1) {
            send_message(f, &m, fds, m.count);
            m.count = 0;
        }
    }
    if (write(ready, "r", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static void wards__a_process_is_killed__each_peer_sees_what_it_should(void **state UNUSED)
{
    struct fake f = fake_new("worker.1"), heir = fake_new("worker.1");
    int conns[CONNS][2], ready[2], status;
    unsigned n_taken = 0;
    struct offer o;
    pid_t pid;
    char c;

    for (unsigned i = 0; i < CONNS; i++)
        make_conn(conns[i]);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        serve_until_killed(&f, conns, ready[1]);
    fds_close(&f.fd); /* only the worker holds its end */
    for (unsigned i = 0; i < CONNS; i++)
        fds_close(&conns[i][1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    turn();
    assert_int_equal(t.wards.n_held, CONNS - YOUNG);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    turn();
    while (fake_hear(&heir, &o)) {
        for (uint32_t i = 0; i < o.m.count; i++)
            assert_int_equal(write(o.fds[i], "x", 1), 1);
        fake_take(&heir, &o, n_taken);
        n_taken += o.m.count;
        turn();
        close_offered(&o);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        const bool is_alive = i < CONNS - YOUNG && i % 3 != 1;

        assert_int_equal(recv(conns[i][0], &c, 1, 0), is_alive ? 1 : 0);
        close_pair(conns[i]);
    }
    assert_int_equal(t.left.kept, n_taken);
    assert_int_equal(t.left.kept + t.left.closed, CONNS - YOUNG);
    assert_int_equal(t.passed.passed, n_taken);
    assert_int_equal(t.wards.n_held, n_taken);
    print_message("%u taken, %zu bytes for them\n", n_taken, t.wards.n_bytes);
    close_pair(ready);
    fake_free(&f);
    fake_free(&heir);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(wards__a_ward_dies__idle_pending_others_closed),
        TEST(wards__number_used_again__the_old_duplicate_is_closed),
        TEST(wards__sweep__closes_what_is_not_registered_any_more),
        TEST(wards__heir_takes__they_are_kept_for_it),
        TEST(wards__peer_that_a_proxy_has_named__offered_with_it),
        TEST(wards__heir_dies_amid_answers__the_rest_is_offered_again),
        TEST(wards__many_pending__four_offers_without_an_answer),
        TEST(wards__refused__offered_to_the_other_and_closed_in_the_end),
        TEST(wards__taken_and_kept_elsewhere__let_go),
        TEST(wards__nonsense__nothing_is_kept_and_it_sees_the_end),
        TEST(wards__distrusted_with_an_offer__the_offer_is_its),
        TEST(wards__not_a_table__refused),
        TEST(wards__no_descriptors_left__what_came_is_kept),
        TEST(wards__too_many__refused),
        TEST(wards__a_process_is_killed__each_peer_sees_what_it_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
