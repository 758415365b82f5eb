/*
 * Pages of connections: which are meant, what is said of them, what is ended.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "echo_arbiter/echo.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "worker/listing.h"

static struct rig rig;
static struct listings listings;

static int setup(void **state UNUSED)
{
    rig_init(&rig, NULL, 1 << 20);
    memset(&listings, 0, sizeof(listings));
    return 0;
}

static int teardown(void **state UNUSED)
{
    listings_stop(&listings, &rig.set);
    assert_null(rig.set.cursors);
    rig_fini(&rig);
    return 0;
}

/* ---- asking ---- */

static json_t *ask(json_t *args, bool is_to_end)
{
    json_t *answer = listings_page(&listings, &rig.set, args, is_to_end, 1000);

    json_decref(args);
    assert_non_null(answer);
    return answer;
}

static json_t *page_of(json_t *args, bool is_to_end)
{
    json_t *answer = ask(args, is_to_end);
    json_t *page = json_incref(json_object_get(answer, "result"));

    if (!page)
        fail_msg("refused: %s", json_dumps(answer, 0));
    json_decref(answer);
    return page;
}

static json_int_t matched(const json_t *page)
{
    return json_integer_value(json_object_get(page, "matched"));
}

static json_int_t count(json_t *args)
{
    json_t *page = page_of(args, false);
    const json_int_t n = matched(page);

    assert_null(json_object_get(page, "next"));
    assert_int_equal(json_array_size(json_object_get(page, "connections")), n);
    json_decref(page);
    return n;
}

static void must_refuse(json_t *args, bool is_to_end, const char *code, const char *part)
{
    json_t *answer = ask(args, is_to_end), *error = json_object_get(answer, "error");
    const char *message = json_string_value(json_object_get(error, "message"));

    assert_non_null(message);
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    if (!strstr(message, part))
        fail_msg("no '%s' in: %s", part, message);
    json_decref(answer);
}

static const json_t *first_row(const json_t *page)
{
    return json_array_get(json_object_get(page, "connections"), 0);
}

static json_int_t number(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);

    return value ? json_integer_value(value) : -1;
}

static const char *text(const json_t *row, const char *key)
{
    const char *value = json_string_value(json_object_get(row, key));

    return value ? value : "";
}

static const char *own_address(int fd, char *buf)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    return addr_format((struct sockaddr *)&sa, len, buf);
}

/* ---- what is said ---- */

static void listing__one_over_tcp__all_that_is_known(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    char peer[ADDR_TEXT_LEN];
    const json_t *row;
    json_t *page;

    rig_send_text(&rig, fd, "one\r\n\r\ntwo\r\n\r\nhal");
    rig_expect_text(&rig, fd, "one\r\n\r\ntwo\r\n\r\n");
    rig_pass(&rig, 2500);
    page = page_of(json_object(), false);
    row = first_row(page);
    assert_string_equal(text(row, "peer"), own_address(fd, peer));
    assert_memory_equal(text(row, "local"), "127.0.0.1:", 10);
    assert_string_equal(text(row, "state"), "reading");
    assert_string_equal(text(row, "protocol"), echo_protocol.name);
    assert_int_equal(number(row, "messages"), 2);
    assert_int_equal(number(row, "bytes_in"), 17);
    assert_int_equal(number(row, "bytes_out"), 14);
    assert_int_equal(number(row, "age_ms"), 2500);
    assert_true(number(row, "idle_ms") >= 0);
    assert_true(number(row, "id") > 0);
    assert_true(json_is_false(json_object_get(row, "kept")));
    json_decref(page);
    close(fd);
}

/* What has come and was not read, and the peer's FIN, belong to who reads them. */
static void conn_recall__of_a_dead_process__what_it_has_read_and_written(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    struct arb_conn *c = container_of(rig.set.all.prev, struct arb_conn, link);

    rig_send_text(&rig, fd, "one\r\n\r\n");
    rig_expect_text(&rig, fd, "one\r\n\r\n");
    assert_int_equal(c->bytes_in, 7);
    assert_int_equal(c->bytes_out, 7);
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            assert_int_equal(send(fd, "ahead", 5, 0), 5);
        if (i == 2)
            shutdown(fd, SHUT_WR);
        c->bytes_in = c->bytes_out = 0;
        conn_recall(c);
        assert_int_equal(c->bytes_in, 7);
        assert_int_equal(c->bytes_out, 7);
    }
    close(fd);
}

static void listing__states__as_they_are(void **state UNUSED)
{
    const int idle = rig_connect_tcp(&rig), gone = rig_connect_tcp(&rig);

    rig_send_text(&rig, gone, "QUIT\r\n\r\n");
    assert_int_equal(count(json_pack("{s:s}", "state", "idle")), 1);
    assert_int_equal(count(json_pack("{s:s}", "state", "lingering")), 1);
    assert_int_equal(count(json_pack("{s:s}", "state", "reading")), 0);
    rig_send_text(&rig, idle, "half");
    assert_int_equal(count(json_pack("{s:s}", "state", "reading")), 1);
    must_refuse(json_pack("{s:s}", "state", "asleep"), false, "bad_argument",
                "state: 'asleep' is not a state, allowed: header, idle, reading, writing");
    close(idle);
    close(gone);
}

/* ---- which are meant ---- */

static void listing__by_peer__of_every_form(void **state UNUSED)
{
    const int tcp = rig_connect_tcp(&rig), other = rig_connect_tcp(&rig), local = rig_connect(&rig);
    char peer[ADDR_TEXT_LEN], process[64];
    struct {
        const char *peer;
        json_int_t n;
    } cases[] = {
        {own_address(tcp, peer), 1},
        {"127.0.0.1", 2},
        {"127.0.0.0/8", 2},
        {"10.0.0.0/8", 0},
        {"::ffff:127.0.0.1", 2},
        {"::1", 0},
        {"::/0", 0},
        {"0.0.0.0/0", 2},
        {"unix", 1},
        {process, 1},
        {"unix:/x", 0},
        {"[::1]:80", 0},
    };

    snprintf(process, sizeof(process), "unix:uid=%u,pid=%d", geteuid(), getpid());
    assert_int_equal(count(json_object()), 3);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (count(json_pack("{s:s}", "peer", cases[i].peer)) != cases[i].n)
            fail_msg("%s", cases[i].peer);
    close(tcp);
    close(other);
    close(local);
}

static void listing__peer_that_is_none__says_what_is(void **state UNUSED)
{
    static const char *const bad[] = {"1.2.3",      "localhost:80", ":80",   "127.0.0.1:0",
                                      "1.2.3.4/33", "10.0.0.1/8",   "[::1]", "?"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        must_refuse(json_pack("{s:s}", "peer", bad[i]), i % 2, "bad_argument",
                    "is not a peer, allowed: ADDRESS:PORT, [V6]:PORT, ADDRESS, ADDRESS/BITS, unix");
}

static void listing__bounds__both_ends_belong(void **state UNUSED)
{
    const int old = rig_connect_tcp(&rig), local = rig_connect(&rig);
    int young;

    rig_pass(&rig, 5000);
    young = rig_connect_tcp(&rig);
    rig_send_text(&rig, young, "a\r\n\r\n");
    rig_expect_text(&rig, young, "a\r\n\r\n");
    assert_int_equal(count(json_pack("{s:{s:I}}", "min", "age_ms", (json_int_t)5000)), 2);
    assert_int_equal(count(json_pack("{s:{s:I}}", "min", "age_ms", (json_int_t)5001)), 0);
    assert_int_equal(count(json_pack("{s:{s:I}}", "max", "age_ms", (json_int_t)4999)), 1);
    assert_int_equal(count(json_pack("{s:{s:I},s:{s:I}}", "min", "messages", (json_int_t)1, "max",
                                     "bytes_in", (json_int_t)5)),
                     1);
    /* What is not known is neither less nor more. */
    assert_int_equal(count(json_pack("{s:{s:I}}", "max", "idle_ms", (json_int_t)INT64_MAX)), 2);
    must_refuse(json_pack("{s:{s:I}}", "min", "weight", (json_int_t)1), false, "bad_argument",
                "min: there is no 'weight', allowed: age_ms, idle_ms");
    must_refuse(json_pack("{s:{s:s}}", "max", "age_ms", "x"), false, "bad_argument",
                "max: age_ms must be a whole number from 0 on");
    close(old);
    close(local);
    close(young);
}

static void listing__by_number_protocol_and_kept__those(void **state UNUSED)
{
    const int a = rig_connect_tcp(&rig), b = rig_connect_tcp(&rig);
    const json_int_t id =
        (json_int_t)conn_id(container_of(rig.set.all.prev, struct arb_conn, link));

    assert_int_equal(count(json_pack("{s:I}", "id", id)), 1);
    assert_int_equal(count(json_pack("{s:I}", "id", id + 1000000)), 0);
    assert_int_equal(count(json_pack("{s:s}", "protocol", echo_protocol.name)), 2);
    assert_int_equal(count(json_pack("{s:s}", "protocol", "pubsub")), 0);
    assert_int_equal(count(json_pack("{s:b}", "kept", 0)), 2);
    assert_int_equal(count(json_pack("{s:b}", "kept", 1)), 0);
    close(a);
    close(b);
}

/* ---- pages ---- */

enum { MANY = 3 * LISTING_ROWS + 7 };

static void connect_many(int *fds)
{
    for (int i = 0; i < MANY; i++)
        fds[i] = rig_connect(&rig);
}

static void close_many(const int *fds)
{
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
}

/* Connections come, go and change places between two pages. */
static void listing__more_than_a_page__each_that_stays_once(void **state UNUSED)
{
    json_int_t n = 0, n_pages = 0;
    json_t *page = NULL, *next = NULL;
    int fds[MANY], late;

    connect_many(fds);
    late = rig_connect(&rig);
    do {
        page = page_of(next ? json_pack("{s:O}", "from", next) : json_object(), false);
        json_decref(next);
        next = json_incref(json_object_get(page, "next"));
        assert_true(json_array_size(json_object_get(page, "connections")) <= LISTING_ROWS);
        n += matched(page);
        json_decref(page);
        if (n_pages++ == 0) {
            /* One that was listed, and the one that is next. */
            close(fds[0]);
            close(fds[LISTING_ROWS]);
            fds[0] = rig_connect(&rig);
            fds[LISTING_ROWS] = rig_connect(&rig);
            rig_run(&rig);
        }
    } while (next);
    assert_in_range(n, MANY, MANY + 2);
    assert_true(n_pages >= MANY / LISTING_ROWS);
    close_many(fds);
    close(late);
}

/* A unix socket whose name takes as many bytes as it can in JSON. */
static int name_oddly(int number)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memset(un.sun_path + 1, 1, sizeof(un.sun_path) - 1);
    snprintf(un.sun_path + 1, 16, "%d.%d", (int)getpid(), number);
    assert_return_code(bind(fd, (struct sockaddr *)&un, sizeof(un)), errno);
    return fd;
}

static void listing__long_names__a_page_fits_in_a_message(void **state UNUSED)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    json_t *page, *next = NULL;
    json_int_t n = 0;
    int fds[LISTING_ROWS], listener = name_oddly(LISTING_ROWS);

    assert_return_code(listen(listener, 1), errno);
    assert_return_code(getsockname(listener, (struct sockaddr *)&sa, &len), errno);
    for (int i = 0; i < LISTING_ROWS; i++) {
        fds[i] = name_oddly(i);
        assert_return_code(connect(fds[i], (struct sockaddr *)&sa, len), errno);
        assert_return_code(conn_set_add(&rig.set, accept4(listener, NULL, NULL, SOCK_NONBLOCK), 0,
                                        ARB_ACCEPTED, true),
                           errno);
    }
    do {
        page = page_of(next ? json_pack("{s:o}", "from", next) : json_object(), false);
        next = json_incref(json_object_get(page, "next"));
        assert_true(json_dumpb(page, NULL, 0, JSON_COMPACT) < MESSAGE_MAX_BYTES * 3 / 4);
        n += matched(page);
        json_decref(page);
    } while (next);
    assert_int_equal(n, LISTING_ROWS);
    close(listener);
    for (int i = 0; i < LISTING_ROWS; i++)
        close(fds[i]);
}

static void listing__rows_are_bounded__others_are_counted(void **state UNUSED)
{
    json_t *page;
    int fds[MANY];

    connect_many(fds);
    page = page_of(json_pack("{s:i}", "rows", 2), false);
    assert_int_equal(json_array_size(json_object_get(page, "connections")), 2);
    assert_int_equal(matched(page), MANY);
    assert_null(json_object_get(page, "next"));
    json_decref(page);
    close_many(fds);
}

static void listing__nobody_goes_on_with_it__is_over(void **state UNUSED)
{
    json_t *page, *next;
    int fds[MANY];

    connect_many(fds);
    page = page_of(json_object(), false);
    next = json_incref(json_object_get(page, "next"));
    assert_non_null(next);
    json_decref(page);
    listings_sweep(&listings, &rig.set, 1000 + LISTING_REST_MS);
    assert_non_null(rig.set.cursors);
    listings_sweep(&listings, &rig.set, 1001 + LISTING_REST_MS);
    assert_null(rig.set.cursors);
    must_refuse(json_pack("{s:O}", "from", next), false, "superseded", "begin anew");
    /* Who asks while too many do takes the place of another. */
    for (int i = 0; i < LISTINGS_MAX; i++)
        json_decref(page_of(json_object(), false));
    page = page_of(json_object(), false);
    json_decref(next);
    next = json_incref(json_object_get(page, "next"));
    json_decref(page);
    json_decref(page_of(json_pack("{s:O}", "from", next), false));
    json_decref(next);
    close_many(fds);
}

/* ---- kill ---- */

static void kill__by_number__that_one_and_no_other(void **state UNUSED)
{
    const int a = rig_connect_tcp(&rig), b = rig_connect_tcp(&rig);
    const json_int_t id =
        (json_int_t)conn_id(container_of(rig.set.all.prev, struct arb_conn, link));
    json_t *page;

    rig_send_text(&rig, a, "half");
    page = page_of(json_pack("{s:I}", "id", id), true);
    assert_int_equal(matched(page), 1);
    assert_int_equal(number(first_row(page), "id"), id);
    json_decref(page);
    rig_run(&rig);
    rig_expect_eof(&rig, b);
    rig_expect_closed(&rig, &rig.counters.closed_killed, 1);
    rig_send_text(&rig, a, "\r\n\r\n");
    rig_expect_text(&rig, a, "half\r\n\r\n");
    page = page_of(json_pack("{s:I}", "id", id), true);
    assert_int_equal(matched(page), 0);
    json_decref(page);
    close(a);
    close(b);
}

static void kill__a_network__page_by_page(void **state UNUSED)
{
    json_int_t n = 0;
    json_t *page, *next = NULL;
    int fds[MANY];

    connect_many(fds);
    do {
        page = page_of(next ? json_pack("{s:s,s:O}", "peer", "unix", "from", next)
                            : json_pack("{s:s}", "peer", "unix"),
                       true);
        json_decref(next);
        next = json_incref(json_object_get(page, "next"));
        assert_true(matched(page) <= LISTING_ROWS);
        n += matched(page);
        json_decref(page);
    } while (next);
    assert_int_equal(n, MANY);
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 0);
    assert_int_equal(counter_get(&rig.counters.closed_killed), MANY);
    close_many(fds);
}

static void kill__nobody_is_named__refused(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    must_refuse(json_object(), true, "bad_argument", "kill needs id or peer");
    assert_int_equal(rig.set.n_open, 1);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(listing__one_over_tcp__all_that_is_known),
        TEST(conn_recall__of_a_dead_process__what_it_has_read_and_written),
        TEST(listing__states__as_they_are),
        TEST(listing__by_peer__of_every_form),
        TEST(listing__peer_that_is_none__says_what_is),
        TEST(listing__bounds__both_ends_belong),
        TEST(listing__by_number_protocol_and_kept__those),
        TEST(listing__more_than_a_page__each_that_stays_once),
        TEST(listing__long_names__a_page_fits_in_a_message),
        TEST(listing__rows_are_bounded__others_are_counted),
        TEST(listing__nobody_goes_on_with_it__is_over),
        TEST(kill__by_number__that_one_and_no_other),
        TEST(kill__a_network__page_by_page),
        TEST(kill__nobody_is_named__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
