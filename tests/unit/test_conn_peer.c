/*
 * Whose a connection is.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/addr.h"
#include "base/list.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"

static struct rig rig;

static int setup(void **state UNUSED)
{
    rig_init(&rig, NULL, 1 << 20);
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    return 0;
}

static const struct arb_conn *newest(void)
{
    return container_of(rig.set.all.prev, struct arb_conn, link);
}

static void conn_peer__tcp__its_address_and_port(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    char peer[CONN_PEER_LEN], own[ADDR_TEXT_LEN];
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    addr_format((struct sockaddr *)&sa, len, own);
    assert_string_equal(conn_peer(newest(), peer), own);
    close(fd);
}

static void conn_peer__after_a_reset__still_known(void **state UNUSED)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    const int fd = rig_connect_tcp(&rig);
    char before[CONN_PEER_LEN], after[CONN_PEER_LEN];
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    conn_peer(newest(), before);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    assert_int_equal(getpeername(newest()->io.fd, (struct sockaddr *)&sa, &len), -1);
    assert_string_equal(conn_peer(newest(), after), before);
    rig_run(&rig);
}

static void conn_peer__unix_without_a_path__who_has_connected(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    char peer[CONN_PEER_LEN], expected[64];

    snprintf(expected, sizeof(expected), "unix:uid=%u,pid=%d", geteuid(), getpid());
    assert_string_equal(conn_peer(newest(), peer), expected);
    close(fd);
}

static void conn_set_name__descriptor_that_none_can_have__no_room(void **state UNUSED)
{
    const struct addr_named somebody = {.kind = ADDR_NAMED_UNIX};
    const int fds[] = {-1, (int)rig.set.n_own_marks};

    for (int has_memory = 0; has_memory <= 1; has_memory++) {
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
            assert_int_equal(conn_set_name(&rig.set, fds[i], &somebody), -ENOMEM);
            assert_int_equal(conn_set_name(&rig.set, fds[i], NULL), 0);
        }
        assert_int_equal(conn_set_name(&rig.set, 0, &somebody), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(conn_set_name__descriptor_that_none_can_have__no_room),
        TEST(conn_peer__tcp__its_address_and_port),
        TEST(conn_peer__after_a_reset__still_known),
        TEST(conn_peer__unix_without_a_path__who_has_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
