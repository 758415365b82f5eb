/*
 * Which ends of connections have a line, what it says, and how many there are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "worker/conn_log.h"

static struct rig rig;
static struct log lg;
static struct conn_log conn_log;
static char path[] = "/tmp/test_conn_log.XXXXXX", text[65536];
static uint64_t now_ms;

static void on_ended(struct conn_set *set UNUSED, const struct arb_conn *c,
                     const struct conn_ending *e)
{
    conn_log_end(&conn_log, c, e, now_ms);
}

static void begin(unsigned which)
{
    conn_log_begin(&conn_log, &lg, which);
    rig.set.on_ended = on_ended;
    rig.set.ended_least = conn_log_least(which);
    now_ms = 1000000;
}

static int setup(void **state UNUSED)
{
    const int fd = mkstemp(path);

    close(fd);
    assert_int_equal(log_open(&lg, path, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "worker.1"), 0);
    rig_init(&rig, NULL, 1000);
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    log_close(&lg);
    unlink(path);
    strcpy(path + strlen(path) - 6, "XXXXXX");
    return 0;
}

/* What has been logged so far. */
static const char *logged(void)
{
    FILE *f = fopen(path, "r");
    const size_t n = fread(text, 1, sizeof(text) - 1, f);

    fclose(f);
    text[n] = '\0';
    return text;
}

static unsigned count(const char *part)
{
    unsigned n = 0;

    for (const char *p = logged(); (p = strstr(p, part)); p++)
        n++;
    return n;
}

/* One that the peer ends between messages, one inside a message, one that is cut. */
static void end_one_of_each(void)
{
    const int usual = rig_connect_tcp(&rig), inside = rig_connect_tcp(&rig);
    const int big = rig_connect_tcp(&rig);
    uint8_t *data = rig_payload(2000);

    rig_send_text(&rig, usual, "a\r\n\r\n");
    rig_expect_text(&rig, usual, "a\r\n\r\n");
    close(usual);
    rig_send_text(&rig, inside, "half");
    close(inside);
    rig_offer(&rig, big, data, 2000);
    close(big);
    rig_run(&rig);
    free(data);
    assert_int_equal(rig.set.n_open, 0);
}

static void conn_log__each_setting__its_lines(void **state UNUSED)
{
    static const struct {
        unsigned which, usual, fault;
    } cases[] = {{LOG_CONNECTIONS_OFF, 0, 0}, {LOG_CONNECTIONS_ERRORS, 0, 1}, {1, 1, 1}};
    unsigned n_usual = 0, n_fault = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        begin(cases[i].which);
        end_one_of_each();
        n_usual += cases[i].usual;
        n_fault += cases[i].fault;
        assert_int_equal(count("reason=peer"), n_usual);
        assert_int_equal(count("reason=partial"), n_fault);
        assert_int_equal(count("reason=too_big"), i + 1);
    }
}

static void conn_log__a_line__all_that_is_known(void **state UNUSED)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    const int fd = rig_connect_tcp(&rig);
    struct arb_conn *c = container_of(rig.set.all.prev, struct arb_conn, link);
    char peer[CONN_PEER_LEN], expected[512];

    begin(1);
    rig_send_text(&rig, fd, "a\r\n\r\nb\r\n\r\nhalf");
    rig_expect_text(&rig, fd, "a\r\n\r\nb\r\n\r\n");
    rig_pass(&rig, 1500);
    snprintf(expected, sizeof(expected),
             "msg=\"connection ended\" reason=reset peer=%s id=%llu protocol=%s messages=2 "
             "bytes_in=14 bytes_out=10 age_ms=1500\n",
             conn_peer(c, peer), (unsigned long long)conn_id(c), conn_protocol_of(c)->table->name);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    rig_run(&rig);
    if (!strstr(logged(), expected))
        fail_msg("%s, expected: %s", text, expected);
}

static void end_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(rig_connect(&rig));
    rig_run(&rig);
}

static void conn_log__one_of_many__each_nth(void **state UNUSED)
{
    begin(10);
    end_many(95);
    assert_int_equal(count("reason=peer"), 10);
}

/* More lines than a second may have are counted, and none is left out of the sum. */
static void conn_log__too_many__what_is_left_out_is_said(void **state UNUSED)
{
    uint64_t sum = 0;

    begin(1);
    end_many(CONN_LOG_MANY + 50);
    assert_int_equal(count("reason=peer"),
                     CONN_LOG_MANY + 1); /* the first beyond it begins to count */
    log_flush_causes(&lg, UINT64_MAX);
    for (const char *p = logged(); (p = strstr(p, "repeated=")); p++)
        sum += strtoull(p + strlen("repeated="), NULL, 10);
    assert_int_equal(sum, 49);
    now_ms += 1000;
    end_many(1);
    assert_int_equal(count("reason=peer"), CONN_LOG_MANY + 3);
}

static void conn_log__cut_ones_that_nobody_asked_for__few(void **state UNUSED)
{
    begin(LOG_CONNECTIONS_OFF);
    for (unsigned i = 0; i < 3 * CONN_LOG_FEW; i++) {
        const int fd = rig_connect(&rig);

        conn_kill(container_of(rig.set.all.prev, struct arb_conn, link));
        close(fd);
    }
    assert_int_equal(count("reason=killed"), CONN_LOG_FEW + 1);
}

static void conn_log__level_above_info__nothing(void **state UNUSED)
{
    begin(1);
    lg.level = LOG_LEVEL_WARNING;
    end_one_of_each();
    assert_string_equal(logged(), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(conn_log__each_setting__its_lines),
        TEST(conn_log__a_line__all_that_is_known),
        TEST(conn_log__one_of_many__each_nth),
        TEST(conn_log__too_many__what_is_left_out_is_said),
        TEST(conn_log__cut_ones_that_nobody_asked_for__few),
        TEST(conn_log__level_above_info__nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
