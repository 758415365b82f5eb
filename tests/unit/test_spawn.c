/*
 * Who waits for a new actor hears once, later, and the right error.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "actor/actor.h"
#include "actor/spawn.h"
#include "base/clock.h"
#include "base/util.h"

static const struct arb_kind clock_kind = {.size = sizeof(clock_kind), .name = "clock"};
static const struct arb_kind *const kinds[] = {&clock_kind, NULL};
static const struct arb_program program = {.size = sizeof(program), .kinds = kinds};

static struct spawns spawns;
static struct actor_process process = {.spawns = &spawns};
static struct arb_actor self = {.process = &process};

static struct {
    int rc; /* what asking says */
    const char *body; /* and the answer that comes at once; NULL = none */
    uint64_t id;
    unsigned n_asked, n_done;
    char actor[32];
    int error;
} seen;

static int ask(struct spawns *all, uint64_t id, const char *kind)
{
    json_t *body = seen.body ? json_loads(seen.body, 0, NULL) : NULL;

    assert_string_equal(kind, "clock");
    seen.id = id;
    seen.n_asked++;
    if (body)
        spawns_on_reply(all, id, body);
    json_decref(body);
    return seen.rc;
}

static void on_done(void *data, const char *id, int error)
{
    assert_ptr_equal(data, &seen);
    seen.n_done++;
    seen.error = error;
    strncpy(seen.actor, id ? id : "", sizeof(seen.actor) - 1);
}

static int begin(void **state UNUSED)
{
    memset(&seen, 0, sizeof(seen));
    spawns_init(&spawns, ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV), &program, ask);
    return spawns.loop ? 0 : -1;
}

static int end(void **state UNUSED)
{
    struct ev_loop *loop = spawns.loop;

    spawns_fini(&spawns);
    ev_loop_destroy(loop);
    return 0;
}

static void reply(const char *text)
{
    json_t *body = json_loads(text, 0, NULL);

    assert_non_null(body);
    spawns_on_reply(&spawns, seen.id, body);
    json_decref(body);
}

static void arb_spawn__answered__told_once(void **state UNUSED)
{
    assert_int_equal(arb_spawn(&self, "clock", on_done, &seen), 0);
    assert_int_equal(seen.n_done, 0);
    reply("{\"result\":\"clock.2\"}");
    assert_string_equal(seen.actor, "clock.2");
    assert_int_equal(seen.error, 0);
    reply("{\"result\":\"clock.2\"}");
    assert_int_equal(seen.n_done, 1);
}

static void arb_spawn__answered_while_it_asks__told_when_it_has_returned(void **state UNUSED)
{
    seen.body = "{\"error\":{\"code\":\"limit\",\"message\":\"\"}}";
    assert_int_equal(arb_spawn(&self, "clock", on_done, &seen), 0);
    assert_int_equal(seen.n_done, 0);
    ev_run(spawns.loop, EVRUN_ONCE);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.error, -ENOSPC);
    assert_int_equal(spawns.n, 0);
}

static void arb_spawn__cannot_ask__nobody_waits(void **state UNUSED)
{
    seen.rc = -EPIPE;
    assert_int_equal(arb_spawn(&self, "clock", on_done, &seen), -EPIPE);
    assert_int_equal(spawns.n, 0);
    assert_int_equal(arb_spawn(&self, "clocks", on_done, &seen), -ENOENT);
    assert_int_equal(seen.n_asked, 1);
    assert_int_equal(seen.n_done, 0);
}

static void arb_spawn__too_many_wait__refused(void **state UNUSED)
{
    for (unsigned i = 0; i < SPAWNS_MAX; i++)
        assert_int_equal(arb_spawn(&self, "clock", NULL, NULL), 0);
    assert_int_equal(arb_spawn(&self, "clock", NULL, NULL), -EAGAIN);
    reply("{\"result\":\"clock.2\"}");
    assert_int_equal(arb_spawn(&self, "clock", NULL, NULL), 0);
}

static void spawns_sweep__no_answer_for_long__timed_out(void **state UNUSED)
{
    const uint64_t now_ms = clock_mono_ms();

    assert_int_equal(arb_spawn(&self, "clock", on_done, &seen), 0);
    spawns_sweep(&spawns, now_ms + SPAWN_TIMEOUT_MS / 2);
    assert_int_equal(seen.n_done, 0);
    spawns_sweep(&spawns, now_ms + 2 * SPAWN_TIMEOUT_MS);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.error, -ETIMEDOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arb_spawn__answered__told_once, begin, end),
        cmocka_unit_test_setup_teardown(
            arb_spawn__answered_while_it_asks__told_when_it_has_returned, begin, end),
        cmocka_unit_test_setup_teardown(arb_spawn__cannot_ask__nobody_waits, begin, end),
        cmocka_unit_test_setup_teardown(arb_spawn__too_many_wait__refused, begin, end),
        cmocka_unit_test_setup_teardown(spawns_sweep__no_answer_for_long__timed_out, begin, end),
    };

    return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
