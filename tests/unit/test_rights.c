#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/rights.h"
#include "base/util.h"

enum { OWN = 100, ASKER = 101, ASKERS = 201, STEERERS = 202, UNKNOWN = 65534 };

static const uid_t none = (uid_t)-1;

static void rights_decide__each_peer__what_it_has(void **state UNUSED)
{
    const struct rights all = {OWN, ASKER, ASKERS, STEERERS, none, none},
                        nobody_else = {OWN, none, none, none, none, none},
                        /* a namespace in which the arbiter itself, and its groups, are unknown */
        lost = {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN};
    const struct {
        const struct rights *rights;
        uid_t uid;
        gid_t gid, group; /* none = no further one */
        enum right right;
    } rows[] = {
        {&nobody_else, 0, 0, none, RIGHT_STEER},
        {&nobody_else, OWN, 1, none, RIGHT_STEER},
        {&nobody_else, 1, 0, none, RIGHT_NONE},
        {&nobody_else, 1, 1, 0, RIGHT_NONE},
        {&nobody_else, none, 0, none, RIGHT_NONE},
        {&nobody_else, 1, none, none, RIGHT_NONE},
        {&nobody_else, 1, 1, none, RIGHT_NONE},
        {&all, 1, 1, none, RIGHT_NONE},
        {&all, ASKER, 1, none, RIGHT_ASK},
        {&all, ASKER, 1, STEERERS, RIGHT_STEER},
        {&all, 1, ASKERS, none, RIGHT_ASK},
        {&all, 1, 1, ASKERS, RIGHT_ASK},
        {&all, 1, STEERERS, none, RIGHT_STEER},
        {&all, 1, ASKERS, STEERERS, RIGHT_STEER},
        {&all, 1, STEERERS, ASKERS, RIGHT_STEER},
        {&all, UNKNOWN, UNKNOWN, none, RIGHT_NONE},
        {&lost, UNKNOWN, UNKNOWN, none, RIGHT_NONE},
        {&lost, 1, UNKNOWN, UNKNOWN, RIGHT_NONE},
        {&lost, 0, 0, none, RIGHT_STEER},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct ucred peer = {1, rows[i].uid, rows[i].gid};
        const gid_t groups[] = {7, rows[i].group};
        const enum right right =
            rights_decide(rows[i].rights, &peer, groups, rows[i].group == none ? 1 : 2);

        if (right != rows[i].right)
            fail_msg("row %zu: %d, not %d", i, right, rows[i].right);
    }
}

static void rights_of_peer__of_ourselves__steers_and_is_named(void **state UNUSED)
{
    struct rights r = {geteuid(), none, none, none, 0, 0};
    struct ucred peer;
    int pair[2];

    rights_find_unknown(&r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(rights_of_peer(&r, pair[0], &peer),
                     geteuid() == r.unknown_uid ? RIGHT_NONE : RIGHT_STEER);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, geteuid());
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(rights_of_peer(&r, pair[0], &peer), RIGHT_NONE);
    assert_int_equal(peer.uid, none);
}

/* In a child, as root: a peer of more groups than there is room for at first. */
static int be_of_many_groups(void)
{
    struct rights r = {1, none, none, STEERERS, none, none};
    struct ucred peer;
    gid_t groups[200];
    int pair[2];

    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        groups[i] = 1000 + (gid_t)i;
    groups[ARRAY_SIZE(groups) - 1] = STEERERS;
    if (setgroups(ARRAY_SIZE(groups), groups) < 0 || setresuid(ASKER, ASKER, ASKER) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 2;
    return rights_of_peer(&r, pair[0], &peer) == RIGHT_STEER ? 0 : 3;
}

static void rights_of_peer__of_many_groups__all_are_looked_at(void **state UNUSED)
{
    int status;
    pid_t pid;

    if (geteuid() != 0) {
        print_message("skipped: only root can have other groups\n");
        skip();
    }
    pid = fork();
    if (pid == 0)
        _exit(be_of_many_groups());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_decide__each_peer__what_it_has),
        cmocka_unit_test(rights_of_peer__of_ourselves__steers_and_is_named),
        cmocka_unit_test(rights_of_peer__of_many_groups__all_are_looked_at),
    };

    return cmocka_run_group_tests_name("rights", tests, NULL, NULL);
}
