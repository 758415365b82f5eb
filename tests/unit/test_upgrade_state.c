/*
 * The state over an exec: what was packed is unpacked into the same arbiter, whatever bytes are in
 * it; what is not exactly right is refused with its name, and no descriptor is closed then.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/inherited.h"
#include "support/schema.h"

/* A sample with something in every member; the fuzzer begins with it, too. */
static json_t *sample(void)
{
    json_t *o = json_load_file("tests/fuzz/fuzz_upgrade.in/whole", 0, NULL);

    assert_non_null(o);
    return o;
}

/* @o is only looked at. Returns what decode or unpack says; on 0 @a is there. */
static int build(const json_t *o, struct arbiter *a, char *why)
{
    char *text = json_dumps(o, JSON_COMPACT);
    struct upgrade_state s;
    int rc = upgrade_state_decode(text, strlen(text), INHERITED_PROGRAM, INHERITED_PID, &s, why);

    free(text);
    if (rc < 0)
        return rc;
    rc = inherited_unpack(&s, a, why);
    if (rc < 0) {
        assert_true(inherited_are_open());
        inherited_fini(a);
    }
    upgrade_state_fini(&s);
    return rc;
}

static int try(const json_t *o, char *why)
{
    struct arbiter a;
    int rc;

    why[0] = '\0';
    rc = build(o, &a, why);
    if (rc == 0)
        inherited_fini(&a);
    else
        assert_true(why[0] != '\0');
    return rc;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static size_t scarce; /* there is no memory for anything of this size */

void *__wrap_calloc(size_t n, size_t size)
{
    return scarce && size == scarce ? NULL : __real_calloc(n, size);
}

/* The way back may need its descriptor. */
static void unpack__no_memory_for_a_control_client__closed_once_the_loop_runs(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN];
    struct arbiter a;
    json_t *o = sample();

    scarce = sizeof(struct control_client);
    assert_int_equal(build(o, &a, why), 0);
    scarce = 0;
    assert_int_equal(a.control.n_clients, 0);
    assert_true(inherited_are_open());
    ev_invoke(a.loop, &a.control.sweep, EV_TIMER);
    assert_false(inherited_are_open());
    inherited_fini(&a);
    json_decref(o);
}

static void unpack__whole_state__is_in_the_arbiter(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    struct arbiter a;
    json_t *o = sample();
    struct list *link;
    size_t n_answers = 0;

    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    assert_string_equal(a.upgrade.path, "/usr/sbin/echo\xff-arbiter");
    assert_string_equal(a.upgrade.old_version, "1.2");
    assert_true(a.change.is_wanted[CHANGE_UPGRADE] && !a.change.is_wanted[CHANGE_RELOAD]);
    assert_int_equal(a.live->number, 6);
    assert_int_equal(a.live->workers, 2);
    assert_int_equal(a.live->config->workers, 2);
    assert_int_equal(a.live->config->origin[CONFIG_WORKERS].kind, ORIGIN_COMMAND_LINE);
    assert_int_equal(a.live->config->origin[KEY_SEPARATOR].line, 3);
    assert_int_equal(a.live->listeners[0]->fd, 100);
    assert_int_equal(a.control.listener->fd, 101);
    assert_int_equal(a.live->sink->control_fd, 105);
    assert_int_equal(a.pidfile.fd, 106);
    assert_string_equal(a.pidfile.path, "/run/echo.pid");
    assert_int_equal(a.n_children_used, 3);
    assert_int_equal(a.children[1].mailbox.fd, 107);
    assert_true(a.children[0].mailbox.is_closed && a.children[0].is_inherited);
    assert_true(a.children[2].must_drain && !a.children[1].must_drain);
    assert_int_equal(counter_get(&a.children[1].tally.sum.requests), 1);
    assert_int_equal(counter_get(&a.totals.requests), 12);
    assert_int_equal(transition_count(a.engine, TR_RUNNING), 2);
    assert_int_equal(a.old_pairs[1].ends[1], 109);
    assert_true(a.old_pairs[1].is_open && !a.old_pairs[2].is_open);
    assert_int_equal(a.incarnations[2], 9);
    assert_true(json_equal(a.notes, json_object_get(o, "notes")));
    list_for_each (link, &a.answers.list)
        n_answers++;
    assert_int_equal(n_answers, 2);
    assert_int_equal(a.control.n_clients, 1);
    inherited_fini(&a);
    json_decref(o);
}

/* Children of older configurations among them, which may beat once a second. */
static void unpack__children__watched_with_the_timeout_since_their_heartbeat(void **state UNUSED)
{
    const uint64_t forever_ns = UINT32_MAX * UINT64_C(1000000);
    char why[ARBITER_WHY_LEN] = "";
    struct upgrade_state s;
    struct arbiter a;
    json_t *o = sample();

    assert_int_equal(build(o, &a, why), 0);
    a.upgrade.board_fd = -1; /* as if the records were this image's own */
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    json_object_set(o, "scoreboard_layout", json_object_get(s.body, "scoreboard_layout"));
    upgrade_state_fini(&s);
    inherited_fini(&a);
    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    for (uint32_t i = 0; i < a.n_children_used; i++) {
        const struct watch *w = &a.children[i].watch;

        assert_in_range(w->timeout_ns, 4000 * UINT64_C(1000000), forever_ns - 1);
        assert_int_equal(w->heartbeat_ns, counter_get(&a.children[i].score->heartbeat_ns));
        assert_int_equal(w->since_ns, w->heartbeat_ns);
    }
    inherited_fini(&a);
    json_decref(o);
}

/* But for what another process packs differently, and counters, of which this version has others.
 */
static void pack__what_was_unpacked__the_same_state(void **state UNUSED)
{
    static const char *const others[] = {"pid", "program_version", "scoreboard_layout", "fds",
                                         "totals"};
    char why[ARBITER_WHY_LEN] = "";
    struct upgrade_state s;
    struct arbiter a;
    json_t *o = sample(), *value, *child;
    const char *name;
    size_t i;

    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_int_equal(s.n_fds, json_array_size(json_object_get(o, "fds")));
    assert_int_equal(json_object_size(s.body), json_object_size(o));
    for (i = 0; i < ARRAY_SIZE(others); i++)
        json_object_del(o, others[i]);
    json_array_foreach(json_object_get(o, "children"), i, child)
    {
        json_object_del(child, "tally.sum");
        json_object_del(json_array_get(json_object_get(s.body, "children"), i), "tally.sum");
    }
    json_object_foreach(o, name, value) if (!json_equal(value, json_object_get(s.body, name)))
        fail_msg("%s: %s", name,
                 json_dumps(json_object_get(s.body, name), JSON_COMPACT | JSON_ENCODE_ANY));
    upgrade_state_fini(&s);
    inherited_fini(&a);
    json_decref(o);
}

/* Each member of each object in turn is taken away, becomes something else, or gets a neighbour. */
static void spoil(json_t *root, json_t *at, json_t *with, unsigned *n_cases)
{
    char why[ARBITER_WHY_LEN];
    const char *name;
    json_t *copy, *value;

    if (json_is_array(at))
        at = json_array_get(at, 0);
    if (!json_is_object(at))
        return;
    copy = json_copy(at);
    json_object_foreach(copy, name, value)
    {
        const bool is_free = strcmp(name, "notes") == 0 || strcmp(name, "tally.sum") == 0 ||
                             strcmp(name, "totals") == 0 || strcmp(name, "id") == 0 ||
                             (json_is_boolean(value) && json_is_boolean(with)) ||
                             (strcmp(name, "control") == 0 && json_is_null(with));
        const bool is_optional =
            !with && (strcmp(name, "privileges") == 0 || strcmp(name, "counted") == 0 ||
                      strcmp(name, "history") == 0 || strcmp(name, "times") == 0);

        if (with && is_free)
            continue; /* may be that, or has a test of its own */
        if (is_optional) {
            spoil(root, value, with, n_cases);
            continue;
        }
        if (with)
            json_object_set(at, name, with);
        else
            json_object_del(at, name);
        if (try(root, why) >= 0)
            fail_msg("%s: %s", name, why);
        ++*n_cases;
        json_object_set(at, name, value);
        if (!is_free)
            spoil(root, value, with, n_cases);
    }
    json_decref(copy);
}

static void unpack__any_member_wrong__refused(void **state UNUSED)
{
    json_t *wrongs[] = {NULL, json_null(), json_object(), json_real(1.5), json_true()};

    for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
        json_t *root = sample();
        unsigned n_cases = 0;

        spoil(root, root, wrongs[i], &n_cases);
        assert_true(n_cases > 60);
        json_decref(root);
        json_decref(wrongs[i]);
    }
}

static json_t *at(json_t *root, const char *list)
{
    json_t *o = *list ? json_object_get(root, list) : root;

    return json_is_array(o) ? json_array_get(o, 0) : o;
}

static void unpack__value_wrong__says_which(void **state UNUSED)
{
    static const struct {
        const char *list, *name, *json, *why;
    } cases[] = {
        {"", "version", "2", "state: version 2, understood: 4"},
        {"", "version", "\"3\"", "state: version 0, understood: 4"},
        {"", "format", "\"nginx\"", "state: this is none"},
        {"", "format", "\" state\"", "state: this is none"},
        {"", "format", "\"echo state\"",
         "the server that runs is echo, this program is echo-arbiter: "
         "only a program of the same name can go on"},
        {"", "pid", "1", "the state is another process's"},
        {"", "fds", "[100,100]", "fds: not a list of different descriptors above 2"},
        {"", "fds", "[2]", "fds: not a list of different descriptors above 2"},
        {"", "fds", "[4294967400]", "fds: not a list of different descriptors above 2"},
        {"", "scoreboard_fd", "101", "not a descriptor of the list that has no other owner"},
        {"", "scoreboard_fd", "-1", "scoreboard_fd: not a descriptor of the list"},
        {"", "scoreboard_fd", "4294967398", "scoreboard_fd: not a descriptor of the list"},
        {"", "pidfile.fd", "-1", "fds: one belongs to nothing"},
        {"", "workers", "1025", "workers: not a number in its range"},
        {"", "workers", "-1", "workers: not a number in its range"},
        {"", "last_revision", "5", "notes or revision: they do not fit together"},
        {"", "notes", "[]", "notes or revision: they do not fit together"},
        {"", "totals", "{\"requests\":-1}", "requests: not a number in its range"},
        {"", "mood", "1", "beside it is a member that this version does not know"},
        {"", "program_version", "\"\\u20ac\"", "program_version: not a text"},
        {"", "sinks", "[]", "sinks: there is none for the log of the configuration"},
        {"", "listeners", "[]", "listeners: they are not those of the configuration"},
        {"", "values", "{}", "values: not a configuration"},
        {"values", "text", "\"-3\"", "command line: arbiter.workers: -3 is not understood"},
        {"values", "key", "\"arbiter.moods\"", "arbiter.moods: this version has no such key"},
        {"listeners", "text", "\"nonsense\"", "nonsense: Invalid argument"},
        {"listeners", "fd", "106", "fd: not a descriptor of the list that has no other owner"},
        {"slots", "number", "2", "slots: one is no slot, is there twice, or has half a pair"},
        {"slots", "number", "0", "slots: one is no slot, is there twice, or has half a pair"},
        {"slots", "recv_fd", "-1", "slots: one is no slot, is there twice, or has half a pair"},
        {"children", "record", "4096", "record: not a number in its range"},
        {"children", "record", "1",
         "children: one has no process, no slot, or no record of its own"},
        {"children", "pid", "0", "children: one has no process, no slot, or no record of its own"},
        {"children", "slot", "0", "children: one has no process, no slot, or no record of its own"},
        {"children", "role", "\"heir\"", "children: they do not fit together"},
        {"children", "role", "\"king\"", "role: a name that this version does not know"},
        {"children", "mood", "1", "beside it is a member that this version does not know"},
        {"children", "is_killed", "1", "is_killed: of another type"},
        {"times", "reply", "{\"sum_us\":1,\"max_ns\":1,\"counts\":[[1,-1]]}",
         "reply: not what counts times"},
        {"times", "reply", "{\"sum_us\":1,\"max_ns\":1,\"counts\":[[1]]}",
         "reply: not what counts times"},
        {"times", "reply", "{\"sum_us\":-1,\"max_ns\":1,\"counts\":[]}",
         "reply: not what counts times"},
        {"times", "children", "{}", "children: not a list within its bound"},
        {"times", "children",
         "[{\"record\":9,\"reply\":{\"sum_us\":0,\"max_ns\":0,\"counts\":[]},"
         "\"lag\":{\"sum_us\":0,\"max_ns\":0,\"counts\":[]}}]",
         "times: some are of no child"},
    };
    char why[ARBITER_WHY_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *root = sample();

        json_object_set_new(at(root, cases[i].list), cases[i].name,
                            json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        if (try(root, why) == 0 || !strstr(why, cases[i].why))
            fail_msg("%s = %s: %s", cases[i].name, cases[i].json, why);
        json_decref(root);
    }
}

/* Only a reload that waits and may lose every group has the member. */
static void unpack__forced_reload_waits__still_forced(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN];
    json_t *o = sample();

    for (int is_forced = 0; is_forced <= 1; is_forced++) {
        struct upgrade_state s;
        struct arbiter a;

        if (is_forced)
            json_object_set_new(o, "reload.is_force_asked", json_true());
        assert_int_equal(build(o, &a, why), 0);
        assert_int_equal(a.reload.is_force_asked, is_forced);
        assert_int_equal(upgrade_state_pack(&a, &s), 0);
        assert_int_equal(json_object_size(s.body), json_object_size(o));
        assert_int_equal(json_is_true(json_object_get(s.body, "reload.is_force_asked")), is_forced);
        upgrade_state_fini(&s);
        a.upgrade.phase = UPGRADE_RETURNING; /* to a program that may not know the member */
        assert_int_equal(upgrade_state_pack(&a, &s), 0);
        assert_null(json_object_get(s.body, "reload.is_force_asked"));
        upgrade_state_fini(&s);
        inherited_fini(&a);
    }
    json_object_set_new(o, "reload.is_force_asked", json_false());
    assert_int_equal(try(o, why), -EBADMSG);
    assert_string_equal(why, "reload.is_force_asked: neither true nor missing");
    json_decref(o);
}

/* Only a server that has such listeners has the member: another program goes on without it. */
static void unpack__listener_of_a_service_manager__still_is(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN];
    json_t *o = sample();

    for (int is_passed = 0; is_passed <= 1; is_passed++) {
        struct upgrade_state s;
        struct arbiter a;

        if (is_passed)
            json_object_set_new(
                o, "passed",
                json_pack("[O]", json_object_get(json_array_get(json_object_get(o, "listeners"), 0),
                                                 "text")));
        assert_int_equal(build(o, &a, why), 0);
        assert_int_equal(a.live->listeners[0]->is_passed, is_passed);
        assert_int_equal(upgrade_state_pack(&a, &s), 0);
        assert_true(json_equal(json_object_get(s.body, "passed"), json_object_get(o, "passed")) ||
                    !is_passed);
        assert_int_equal(json_object_size(s.body), json_object_size(o));
        upgrade_state_fini(&s);
        inherited_fini(&a);
    }
    json_object_set_new(o, "passed", json_pack("[s]", "unix:/nowhere"));
    assert_int_equal(try(o, why), -EBADMSG);
    assert_string_equal(why, "passed: one is no listener");
    json_decref(o);
}

/* The socket that the sample has for control, as that of status.bind. */
static json_t *sample_with_status(void)
{
    json_t *o = sample(), *status = json_deep_copy(json_object_get(o, "control"));

    json_object_set_new(status, "text", json_string("127.0.0.1:9100"));
    json_object_set_new(o, "status", status);
    json_object_set_new(o, "control", json_null());
    json_array_append_new(
        json_object_get(o, "values"),
        json_pack("{s:s,s:i,s:s}", "key", "status.bind", "line", 4, "text", "127.0.0.1:9100"));
    return o;
}

static void unpack__listener_of_status__that_of_the_configuration(void **state UNUSED)
{
    static const char expected[] = "listeners: they are not those of the configuration";
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample_with_status(), *values = json_object_get(o, "values");
    struct upgrade_state s;
    struct arbiter a;

    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    assert_int_equal(a.live->status->fd, 101);
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_true(json_equal(json_object_get(s.body, "status"), json_object_get(o, "status")));
    upgrade_state_fini(&s);
    inherited_fini(&a);
    json_object_set_new(json_object_get(o, "status"), "text", json_string("127.0.0.1:9101"));
    assert_int_equal(try(o, why), -EBADMSG);
    assert_string_equal(why, expected);
    json_array_remove(values, json_array_size(values) - 1);
    assert_int_equal(try(o, why), -EBADMSG);
    assert_string_equal(why, expected);
    json_object_set_new(o, "status", json_string("127.0.0.1:9101"));
    assert_int_equal(try(o, why), -EBADMSG);
    json_decref(o);
}

/* Only a program that knows the member gets it back. */
static void unpack__times__go_on_and_are_not_for_an_earlier_program(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();

    for (int has_times = 1; has_times >= 0; has_times--) {
        struct upgrade_state s;
        struct arbiter a;

        if (!has_times)
            json_object_del(o, "times");
        assert_int_equal(build(o, &a, why), 0);
        assert_int_equal(timing_count(&a.times.reply), has_times ? 3 : 0);
        assert_int_equal(counter_get(&a.times.reply.max_ns), has_times ? 20000123 : 0);
        assert_int_equal(timing_count(&a.children[2].tally.times_sum.reply), has_times ? 2 : 0);
        a.upgrade.phase = UPGRADE_RETURNING;
        assert_int_equal(upgrade_state_pack(&a, &s), 0);
        assert_int_equal(json_object_get(s.body, "times") != NULL, has_times);
        upgrade_state_fini(&s);
        inherited_fini(&a);
    }
    json_decref(o);
}

/* Bounds that this version does not have: the count that has them. */
static void unpack__times_of_other_bounds__counted_where_they_belong(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample(), *reply = json_object_get(json_object_get(o, "times"), "reply");
    struct arbiter a;

    json_object_set_new(reply, "counts", json_pack("[[i,i],[I,i]]", 1500, 4, INT64_MAX, 2));
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(timing_octave(&a.times.reply, 10), 0);
    assert_int_equal(timing_octave(&a.times.reply, 11), 4);
    assert_int_equal(timing_count(&a.times.reply), 6);
    inherited_fini(&a);
    json_decref(o);
}

static void unpack__unknown_counter__skipped(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN];
    json_t *root = sample();

    json_object_set_new(json_object_get(root, "totals"), "of_the_future", json_integer(1));
    assert_int_equal(try(root, why), 0);
    json_decref(root);
}

/* ---- counters of the program's own ---- */

static const struct arb_counter own_rows[] = {{"published", "messages"},
                                              {"subscribed", "channels"}};
static const struct arb_protocol pubsub =
    ARB_PROTOCOL(.name = "pubsub", .counters = ARB_COUNTERS(own_rows));
static const struct arb_protocol *const own_protocols[] = {&pubsub, NULL};
static const struct arb_program own_program =
    ARB_PROGRAM(.name = INHERITED_PROGRAM, .version = "9", .protocols = own_protocols);

enum { ARBITERS = 99 };

/* Of the child of that index, or the arbiter's. */
static json_t *counters_of(const json_t *o, size_t child)
{
    return child == ARBITERS
               ? json_object_get(o, "totals")
               : json_object_get(json_array_get(json_object_get(o, "children"), child),
                                 "tally.sum");
}

static json_int_t counter_in(const json_t *o, size_t child, const char *name)
{
    return json_integer_value(json_object_get(counters_of(o, child), name));
}

/* An upgrade to a program with other tables, and back. */
static void own_counters__by_name__known_ones_go_on_and_others_are_kept(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    struct upgrade_state s;
    struct arbiter a;
    json_t *o = sample();

    json_object_update_new(counters_of(o, ARBITERS),
                           json_pack("{s:i,s:i}", "pubsub.subscribed", 7, "chat.rooms", 3));
    json_object_update_new(counters_of(o, 1),
                           json_pack("{s:i,s:i}", "pubsub.subscribed", 2, "chat.rooms", 1));
    inherited_program = &own_program;
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(counter_get(&a.own_totals.n[0]), 0);
    assert_int_equal(counter_get(&a.own_totals.n[1]), 7);
    assert_int_equal(counter_get(&a.children[1].tally.own_sum.n[1]), 2);

    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_int_equal(counter_in(s.body, ARBITERS, "pubsub.subscribed"), 7);
    assert_int_equal(counter_in(s.body, ARBITERS, "chat.rooms"), 3);
    assert_int_equal(counter_in(s.body, 1, "pubsub.subscribed"), 2);
    assert_int_equal(counter_in(s.body, 1, "chat.rooms"), 1);
    upgrade_state_fini(&s);

    /* What a process has counted is not lost with it. */
    stats_on_exit(&a, &a.children[1]);
    a.children[1].pid = 0;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_int_equal(counter_in(s.body, ARBITERS, "pubsub.subscribed"), 9);
    assert_int_equal(counter_in(s.body, ARBITERS, "chat.rooms"), 4);
    upgrade_state_fini(&s);
    inherited_fini(&a);
    inherited_program = NULL;
    json_decref(o);
}

static void own_counters__too_many_unknown__bounded_and_counted(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN], name[32];
    struct arbiter a;
    json_t *o = sample();

    for (int i = 0; i < OWN_KEPT_MAX + 5; i++) {
        snprintf(name, sizeof(name), "old.c%d", i);
        json_object_set_new(counters_of(o, ARBITERS), name, json_integer(i));
    }
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(json_object_size(a.own_kept), OWN_KEPT_MAX);
    assert_int_equal(a.n_own_dropped, 5);
    inherited_fini(&a);
    json_decref(o);
}

/* The same places in a record, of other counters. */
static void own_counters__other_order__another_layout(void **state UNUSED)
{
    static const struct arb_counter rows[] = {{"subscribed", ""}, {"published", ""}};
    static const struct arb_protocol protocol =
        ARB_PROTOCOL(.name = "pubsub", .counters = ARB_COUNTERS(rows));
    static const struct arb_protocol *const protocols[] = {&protocol, NULL};
    static const struct arb_program other =
        ARB_PROGRAM(.name = INHERITED_PROGRAM, .version = "9", .protocols = protocols);
    const struct arb_program *const programs[] = {NULL, &own_program, &other};
    json_int_t layouts[ARRAY_SIZE(programs)];

    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        char why[ARBITER_WHY_LEN];
        struct upgrade_state s;
        struct arbiter a;
        json_t *o = sample();

        inherited_program = programs[i];
        assert_int_equal(build(o, &a, why), 0);
        a.upgrade.board_fd = -1; /* as if the records were this image's own */
        assert_int_equal(upgrade_state_pack(&a, &s), 0);
        layouts[i] = json_integer_value(json_object_get(s.body, "scoreboard_layout"));
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(layouts[i], layouts[k]);
        upgrade_state_fini(&s);
        inherited_fini(&a);
        json_decref(o);
    }
    inherited_program = NULL;
}

/* ---- actors of other kinds ---- */

static const struct arb_kind clock_kind = {.size = sizeof(clock_kind), .name = "clock", .count = 1};
static const struct arb_kind *const other_kinds[] = {&clock_kind, NULL};
static const struct arb_program program_with_kinds =
    ARB_PROGRAM(.name = INHERITED_PROGRAM, .version = "9", .protocols = own_protocols,
                .kinds = other_kinds);

/* A process like the second one, in a slot of its own. */
static void add_actor(json_t *o, int record, uint32_t slot)
{
    json_t *children = json_object_get(o, "children");
    json_t *c = json_deep_copy(json_array_get(children, 1));

    json_object_set_new(c, "pid", json_integer(2000 + record));
    json_object_set_new(c, "record", json_integer(record));
    json_object_set_new(c, "slot", json_integer((json_int_t)slot));
    json_object_set_new(c, "mailbox.fd", json_integer(-1));
    json_array_append_new(children, c);
}

/* Of a program that has the kinds `gone` and `clock`, in this order. */
static json_t *sample_with_kinds(void)
{
    json_t *o = sample();

    json_object_set_new(o, "kinds",
                        json_pack("[{s:s,s:i,s:i},{s:s,s:i,s:i}]", "name", "gone", "wanted", 1,
                                  "spawned", 1, "name", "clock", "wanted", 2, "spawned", 1));
    add_actor(o, 3, tr_slot(0, 1));
    add_actor(o, 4, tr_slot(1, 2));
    json_array_append_new(json_object_get(o, "slots"),
                          json_pack("{s:i,s:i,s:i,s:i}", "number", (int)tr_slot(1, 2),
                                    "incarnation", 7, "recv_fd", -1, "send_fd", -1));
    return o;
}

static void kinds__by_name__known_ones_go_on_and_others_are_not_wanted(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample_with_kinds();
    struct upgrade_state s;
    struct tr_set next;
    struct arbiter a;

    inherited_program = &program_with_kinds;
    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    assert_string_equal(a.children[3].id, "gone.1");
    assert_string_equal(a.children[4].id, "clock.2");
    assert_int_equal(a.children[4].slot, tr_slot(0, 2));
    assert_int_equal(a.incarnations[tr_slot(0, 2)], 7);
    assert_int_equal(transition_others(a.engine, 0), 2);
    assert_int_equal(transition_others(a.engine, 1), 1);
    assert_true(transition_is_slot_running(a.engine, tr_slot(0, 2)));
    next = revision_set(&a, a.live);
    assert_int_equal(next.others[0], 2);
    assert_int_equal(next.others[1], 0);
    /* The way back: by name again. */
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    inherited_fini(&a);
    inherited_program = NULL;
    json_object_set_new(s.body, "pid", json_integer(INHERITED_PID));
    if (build(s.body, &a, why) != 0)
        fail_msg("%s", why);
    assert_string_equal(a.children[3].id, "gone.1");
    assert_string_equal(a.children[4].id, "clock.2");
    assert_int_equal(a.kinds.list[kinds_find(&a.kinds, "clock")].n_spawned, 1);
    assert_int_equal(revision_set(&a, a.live).others[1], 0);
    inherited_fini(&a);
    upgrade_state_fini(&s);
    json_decref(o);
}

static void kinds__wrong__refused(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN];
    static const char *const kinds[] = {
        "[]", /* whose are the actors? */
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0}]",
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0},{\"name\":\"gone\",\"wanted\":2,"
        "\"spawned\":0}]",
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0},{\"name\":\"\",\"wanted\":2,\"spawned\":0}"
        "]",
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0},{\"name\":\"clock\",\"wanted\":65,"
        "\"spawned\":0}]",
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0},{\"name\":\"clock\",\"wanted\":1,"
        "\"spawned\":0}]",
        "[{\"name\":\"gone\",\"wanted\":1,\"spawned\":0},{\"name\":\"clock\",\"wanted\":2}]",
        "{}",
    };

    inherited_program = &program_with_kinds;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_t *o = sample_with_kinds();

        json_object_set_new(o, "kinds", json_loads(kinds[i], 0, NULL));
        if (try(o, why) == 0)
            fail_msg("%s", kinds[i]);
        json_decref(o);
    }
    inherited_program = NULL;
}

/* ---- keepers ---- */

enum { SPARE_FD = INHERITED_FIRST + INHERITED_N - 1 };

/* The memory of sources is that of an image with another layout of it: SPARE_FD is a socket. */
static void sources__not_legible__for_the_way_back(void **state UNUSED)
{
    static const char *const wrong[] = {"5", "{}", "{\"fd\":-1}", "{\"fd\":115,\"more\":1}"};
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();
    struct upgrade_state s;
    struct arbiter a;

    json_object_set_new(o, "sources", json_pack("{s:i}", "fd", SPARE_FD));
    json_array_append_new(json_object_get(o, "fds"), json_integer(SPARE_FD));
    json_array_append_new(
        json_object_get(o, "values"),
        json_pack("{s:s,s:i,s:s}", "key", "server.max_per_source", "line", 9, "text", "3"));
    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    assert_null(a.sources.header);
    assert_int_equal(a.upgrade.sources_fd, SPARE_FD);
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "sources")); /* to an image after this one */
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(s.body, "sources"), "fd")),
                     SPARE_FD);
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_object_set_new(o, "sources", json_loads(wrong[i], JSON_DECODE_ANY, NULL));
        if (try(o, why) != -EBADMSG)
            fail_msg("%s", wrong[i]);
    }
    json_decref(o);
}

/* A program without limits per source has not written the member, and would not know it. */
static void sources__back_to_an_image_without_them__not_written(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();
    struct upgrade_state s;
    struct arbiter a;

    json_array_append_new(
        json_object_get(o, "values"),
        json_pack("{s:s,s:i,s:s}", "key", "server.accept_rate", "line", 9, "text", "3"));
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(sources_open(&a.sources, TR_RECORDS_MAX, SOURCES_MIN), 0);
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_non_null(json_object_get(s.body, "sources"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "sources"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    json_decref(o);
}

/* Worker 1, of record 1, has a keeper, which still holds two connections of a dead worker. */
static json_t *sample_with_keepers(void)
{
    json_t *o = sample();

    json_object_set_new(o, "kinds",
                        json_pack("[{s:s,s:i,s:i}]", "name", "keeper", "wanted", 2, "spawned", 0));
    add_actor(o, 3, tr_slot(0, 1));
    json_array_append_new(json_object_get(o, "fds"), json_integer(SPARE_FD));
    json_object_set_new(o, "keeps",
                        json_loads("[{\"record\":1,\"table_fd\":115,\"keeper\":2003,"
                                   "\"n_left\":0},"
                                   "{\"record\":3,\"table_fd\":-1,\"keeper\":0,"
                                   "\"n_left\":2}]",
                                   0, NULL));
    return o;
}

static void keeps__of_workers_and_keepers__go_on(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample_with_keepers();
    struct upgrade_state s;
    struct arbiter a;

    inherited_has_keepers = true;
    if (build(o, &a, why) != 0)
        fail_msg("%s", why);
    assert_true(a.upgrade.has_keeps);
    assert_int_equal(a.children[1].table_fd, SPARE_FD);
    assert_int_equal(a.children[1].keeper, 2003);
    assert_int_equal(a.children[0].table_fd, -1);
    assert_true(child_is_keeper(&a.children[3]));
    assert_int_equal(a.children[3].n_left, 2);
    assert_int_equal(transition_others(a.engine, a.kinds.keeper - 1), 2);
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_int_equal(json_array_size(json_object_get(s.body, "keeps")), 2);
    upgrade_state_fini(&s);
    inherited_fini(&a);
    json_decref(o);
    inherited_has_keepers = false;
}

/* It has not written the member, and would not know it. */
static void keeps__back_to_an_image_without_keepers__not_written(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();
    struct upgrade_state s;
    struct arbiter a;

    inherited_has_keepers = true;
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(transition_others(a.engine, a.kinds.keeper - 1), 0);
    assert_int_equal(revision_set(&a, a.live).others[a.kinds.keeper - 1], 2); /* of the next set */
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_non_null(json_object_get(s.body, "keeps"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "keeps"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    json_decref(o);
    inherited_has_keepers = false;
}

static void keeps__wrong__refused(void **state UNUSED)
{
    static const char *const keeps[] = {
        "{}",
        "[{}]",
        "[{\"record\":9,\"table_fd\":-1,\"keeper\":0,\"n_left\":0}]",
        "[{\"record\":3,\"table_fd\":115,\"keeper\":0,\"n_left\":0}]",
        "[{\"record\":1,\"table_fd\":107,\"keeper\":0,\"n_left\":0}]",
        ("[{\"record\":1,\"table_fd\":115,\"keeper\":0,\"n_left\":0},"
         "{\"record\":1,\"table_fd\":-1,\"keeper\":0,\"n_left\":0}]"),
    };
    char why[ARBITER_WHY_LEN];

    inherited_has_keepers = true;
    for (size_t i = 0; i < ARRAY_SIZE(keeps); i++) {
        json_t *o = sample_with_keepers();

        json_object_set_new(o, "keeps", json_loads(keeps[i], 0, NULL));
        if (try(o, why) == 0)
            fail_msg("%s", keeps[i]);
        json_decref(o);
    }
    inherited_has_keepers = false;
}

/* An image that does not know of users has none: whom workers run as is found out, if it matters.
 */
static void privileges__from_and_to_an_image_without__found_out_and_not_written(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();
    struct upgrade_state s;
    struct arbiter a;

    json_object_del(o, "privileges");
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(a.privileges.kind, geteuid() == 0 ? PRIVILEGES_UNKNOWN : PRIVILEGES_SAME);
    a.privileges.kind = PRIVILEGES_BARE;
    a.upgrade.phase = UPGRADE_CHECKING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_non_null(json_object_get(s.body, "privileges"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "privileges"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    json_decref(o);
}

/* What differs from the count was scaled; an image that does not write it must not find it. */
static void counted__from_and_to_an_image_without__counted_now_and_not_written(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample();
    struct upgrade_state s;
    struct arbiter a;

    json_object_set_new(o, "counted", json_integer(7));
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(a.live->counted, 7);
    assert_int_not_equal(a.live->workers, 7);
    inherited_fini(&a);
    json_object_del(o, "counted");
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(a.live->counted, config_effective_workers(a.live->config));
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "counted"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    json_decref(o);
}

static void history__from_and_to_an_image_without__begins_anew_and_not_written(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample(), *history = json_array();
    struct upgrade_state s;
    struct arbiter a;

    history_note(history, "reload", true, 1, "revision 2");
    json_object_set(o, "history", history);
    assert_int_equal(build(o, &a, why), 0);
    assert_true(json_equal(a.history, history));
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_true(json_equal(json_object_get(s.body, "history"), history));
    upgrade_state_fini(&s);
    inherited_fini(&a);
    while (json_array_size(history) <= HISTORY_KEPT)
        json_array_append_new(history, json_object());
    assert_true(try(o, why) < 0);
    assert_non_null(strstr(why, "history"));
    json_object_del(o, "history");
    assert_int_equal(build(o, &a, why), 0);
    assert_int_equal(json_array_size(a.history), 0);
    a.upgrade.phase = UPGRADE_RETURNING;
    assert_int_equal(upgrade_state_pack(&a, &s), 0);
    assert_null(json_object_get(s.body, "history"));
    upgrade_state_fini(&s);
    a.upgrade.phase = UPGRADE_NONE;
    inherited_fini(&a);
    json_decref(history);
    json_decref(o);
}

static void privileges__too_many_groups__refused(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN] = "";
    json_t *o = sample(), *groups = json_object_get(json_object_get(o, "privileges"), "groups");

    while (json_array_size(groups) < PRIVILEGES_GROUPS_MAX)
        json_array_append_new(groups, json_integer(7));
    assert_int_equal(try(o, why), 0);
    json_array_append_new(groups, json_integer(7));
    assert_int_equal(try(o, why), -EBADMSG);
    json_array_clear(groups);
    json_array_append_new(groups, json_integer(UINT32_MAX));
    assert_int_equal(try(o, why), -EBADMSG);
    json_decref(o);
}

static void decode__any_prefix__refused(void **state UNUSED)
{
    char why[ARBITER_WHY_LEN], *text;
    json_t *root = sample();
    struct upgrade_state s;

    text = json_dumps(root, JSON_COMPACT);
    for (size_t len = strlen(text); len-- > 0;) {
        char *exact = malloc(len + 1); /* for the sanitizer: nothing behind it */

        assert_int_equal(upgrade_state_decode(memcpy(exact, text, len), len, INHERITED_PROGRAM,
                                              INHERITED_PID, &s, why),
                         -EBADMSG);
        free(exact);
    }
    free(text);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources__not_legible__for_the_way_back),
        cmocka_unit_test(sources__back_to_an_image_without_them__not_written),
        cmocka_unit_test(keeps__of_workers_and_keepers__go_on),
        cmocka_unit_test(keeps__back_to_an_image_without_keepers__not_written),
        cmocka_unit_test(keeps__wrong__refused),
        cmocka_unit_test(privileges__from_and_to_an_image_without__found_out_and_not_written),
        cmocka_unit_test(history__from_and_to_an_image_without__begins_anew_and_not_written),
        cmocka_unit_test(counted__from_and_to_an_image_without__counted_now_and_not_written),
        cmocka_unit_test(privileges__too_many_groups__refused),
        cmocka_unit_test(unpack__whole_state__is_in_the_arbiter),
        cmocka_unit_test(unpack__children__watched_with_the_timeout_since_their_heartbeat),
        cmocka_unit_test(pack__what_was_unpacked__the_same_state),
        cmocka_unit_test(unpack__any_member_wrong__refused),
        cmocka_unit_test(unpack__value_wrong__says_which),
        cmocka_unit_test(unpack__forced_reload_waits__still_forced),
        cmocka_unit_test(unpack__listener_of_a_service_manager__still_is),
        cmocka_unit_test(unpack__listener_of_status__that_of_the_configuration),
        cmocka_unit_test(unpack__times__go_on_and_are_not_for_an_earlier_program),
        cmocka_unit_test(unpack__times_of_other_bounds__counted_where_they_belong),
        cmocka_unit_test(unpack__unknown_counter__skipped),
        cmocka_unit_test(unpack__no_memory_for_a_control_client__closed_once_the_loop_runs),
        cmocka_unit_test(own_counters__by_name__known_ones_go_on_and_others_are_kept),
        cmocka_unit_test(own_counters__too_many_unknown__bounded_and_counted),
        cmocka_unit_test(own_counters__other_order__another_layout),
        cmocka_unit_test(kinds__by_name__known_ones_go_on_and_others_are_not_wanted),
        cmocka_unit_test(kinds__wrong__refused),
        cmocka_unit_test(decode__any_prefix__refused),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
