/*
 * The state over an exec: what was written is read again, whatever bytes are in it; what is not
 * exactly right is refused; what a later version adds is skipped.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "arbiter/upgrade_state.h"
#include "base/util.h"

/* Something in every member, and each descriptor another one. */
static struct upgrade_state sample(void)
{
    static const uint8_t bytes[] = {0, 1, 0x7f, 0x80, 0xc3, 0xff, '"', '\\', '\n'};
    struct upgrade_state s = {
        .pid = 4711,
        .version = strdup("1.2"),
        .path = strdup("/opt/\xff\x80 caf\xc3\xa9/echo-arbiter"),
        .started_ms = 1,
        .asked_ms = INT64_MAX,
        .reloads = 3,
        .restarts = 4,
        .upgrades = 5,
        .is_reload_due = true,
        .revision = 6,
        .last_revision = 8,
        .workers = 2,
        .config_path = strdup(""),
        .values = calloc(2, sizeof(*s.values)),
        .n_values = 2,
        .log_level = strdup("info"),
        .sinks = calloc(1, sizeof(*s.sinks)),
        .n_sinks = 1,
        .listeners = calloc(1, sizeof(*s.listeners)),
        .n_listeners = 1,
        .children = calloc(2, sizeof(*s.children)),
        .n_children = 2,
        .slots = calloc(1, sizeof(*s.slots)),
        .n_slots = 1,
        .crash_count = 18,
        .crashes = calloc(1, sizeof(*s.crashes)),
        .n_crashes = 1,
        .totals = calloc(1, sizeof(*s.totals)),
        .n_totals = 1,
        .scoreboard_fd = 7,
        .scoreboard_layout = UINT64_MAX,
        .pid_file_fd = -1,
        .pid_file = strdup(""),
        .control_fd = 8,
        .control = strdup("/run/x/control"),
        .control_dir = strdup("/run/x"),
        .control_dev = 9,
        .control_ino = 10,
        .clients = calloc(1, sizeof(*s.clients)),
        .n_clients = 1,
        .last_request = 11,
        .notes = json_pack("{s:{s:[i,n,b]}}", "arbiter", "a", 1, true),
    };

    s.values[0] = (struct state_value){strdup("arbiter.workers"), strdup("4"), 12};
    s.values[1] = (struct state_value){strdup("server.separator"), strdup("\\r\\n"), 0};
    s.sinks[0] = (struct state_sink){strdup("/var/log/\xff"), 61, 62, -1, 4712};
    s.listeners[0] = (struct state_listener){strdup("unix:a\nb"), 11, 2048, true, 5, 6};
    for (uint64_t i = 0; i < 2; i++)
        s.children[i] = (struct state_child){.pid = 100 + i,
                                             .record = i,
                                             .slot = i + 1,
                                             .incarnation = 2,
                                             .revision = 6,
                                             .mailbox_fd = i ? 13 : -1,
                                             .phase = strdup("running"),
                                             .role = strdup("live"),
                                             .deadline_ms = UINT64_MAX - 1};
    s.children[0].counters = calloc(1, sizeof(struct state_total));
    s.children[0].n_counters = 1;
    s.children[0].counters[0] = (struct state_total){strdup("accepted"), 3};
    s.slots[0] = (struct state_slot){1, 9, 15, 16};
    s.crashes[0] = (struct state_crash){
        .number = 18, .signo = 11, .address = UINT64_MAX - 5, .fd = (uint64_t)-1, .n_frames = 1};
    s.crashes[0].frames = calloc(1, sizeof(struct state_word));
    s.crashes[0].frames[0].value = UINT64_C(1) << 63;
    s.totals[0] = (struct state_total){strdup("requests"), UINT32_MAX};
    s.clients[0].fd = 14;
    s.clients[0].in = (struct state_bytes){malloc(sizeof(bytes)), sizeof(bytes)};
    memcpy(s.clients[0].in.data, bytes, sizeof(bytes));
    s.clients[0].pending = calloc(1, sizeof(struct state_pending));
    s.clients[0].n_pending = 1;
    s.clients[0].pending[0] = (struct state_pending){json_string("id"), strdup("upgrade"), 77};
    return s;
}

static char *encoded(size_t *ret_len)
{
    struct upgrade_state s = sample();
    char *text = NULL;

    assert_int_equal(upgrade_state_encode(&s, &text, ret_len), 0);
    assert_int_equal(strlen(text), *ret_len);
    upgrade_state_fini(&s);
    return text;
}

static int decode(const char *text, size_t len)
{
    char why[STATE_WHY_LEN] = "";
    struct upgrade_state s;
    int rc = upgrade_state_decode(text, len, &s, why);

    if (rc == 0)
        upgrade_state_fini(&s);
    else
        assert_true(why[0] != '\0');
    return rc;
}

static void upgrade_state__all_members__come_back(void **state UNUSED)
{
    struct upgrade_state s = sample(), t;
    char why[STATE_WHY_LEN], *again;
    size_t len, len_again;
    char *text = encoded(&len);

    assert_int_equal(upgrade_state_decode(text, len, &t, why), 0);
    assert_string_equal(t.path, s.path);
    assert_string_equal(t.sinks[0].path, s.sinks[0].path);
    assert_int_equal(t.sinks[0].write_fd, 62);
    assert_int_equal(t.sinks[0].control_fd, -1);
    assert_string_equal(t.listeners[0].text, s.listeners[0].text);
    assert_int_equal(t.asked_ms, INT64_MAX);
    assert_true(t.is_reload_due && !t.is_upgrade_due);
    assert_int_equal(t.values[0].line, 12);
    assert_int_equal(t.children[0].mailbox_fd, -1);
    assert_int_equal(t.children[1].mailbox_fd, 13);
    assert_int_equal(t.children[1].deadline_ms, INT64_MAX); /* as good as never */
    assert_int_equal(t.clients[0].in.len, s.clients[0].in.len);
    assert_memory_equal(t.clients[0].in.data, s.clients[0].in.data, s.clients[0].in.len);
    assert_int_equal(t.clients[0].out.len, 0);
    assert_string_equal(json_string_value(t.clients[0].pending[0].id), "id");
    assert_true(t.crashes[0].address == UINT64_MAX - 5 && t.crashes[0].fd == (uint64_t)-1);
    assert_true(t.crashes[0].frames[0].value == UINT64_C(1) << 63);
    assert_true(json_equal(t.notes, s.notes));
    /* All the others, at once. */
    assert_int_equal(upgrade_state_encode(&t, &again, &len_again), 0);
    assert_string_equal(again, text);
    upgrade_state_fini(&s);
    upgrade_state_fini(&t);
    free(again);
    free(text);
}

static void upgrade_state__descriptors__sorted_and_complete(void **state UNUSED)
{
    static const int expected[] = {7, 8, 11, 13, 14, 15, 16, 61, 62};
    struct upgrade_state s = sample();
    size_t n;
    int *fds;

    assert_int_equal(upgrade_state_fds(&s, &fds, &n), 0);
    assert_int_equal(n, ARRAY_SIZE(expected));
    assert_memory_equal(fds, expected, sizeof(expected));
    free(fds);
    upgrade_state_fini(&s);
}

static void upgrade_state__empty_lists__come_back_empty(void **state UNUSED)
{
    struct upgrade_state s = sample(), t;
    char why[STATE_WHY_LEN], *text;
    size_t len;

    s.n_slots = 0;
    assert_int_equal(upgrade_state_encode(&s, &text, &len), 0);
    assert_int_equal(upgrade_state_decode(text, len, &t, why), 0);
    assert_int_equal(t.n_slots, 0);
    upgrade_state_fini(&s);
    upgrade_state_fini(&t);
    free(text);
}

static void upgrade_state_decode__any_prefix__refused(void **state UNUSED)
{
    size_t len;
    char *text = encoded(&len);

    for (size_t n = 0; n < len; n++) {
        char *copy = malloc(n + 1);

        assert_int_equal(decode(memcpy(copy, text, n), n), -EBADMSG);
        free(copy);
    }
    free(text);
}

static void upgrade_state_decode__another_version__said_so(void **state UNUSED)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"{\"format\":\"echo-arbiter state\",\"version\":1,\"state\":{}}", -EPROTONOSUPPORT},
        {"{\"format\":\"echo-arbiter state\",\"version\":0,\"state\":{}}", -EPROTONOSUPPORT},
        {"{\"format\":\"echo-arbiter state\",\"version\":\"2\",\"state\":{}}", -EBADMSG},
        {"{\"format\":\"echo-arbiter state\",\"version\":2,\"state\":{}}", -EBADMSG},
        {"{\"format\":\"echo-arbiter state\",\"version\":2}", -EBADMSG},
        {"{\"format\":\"nginx\",\"version\":2,\"state\":{}}", -EBADMSG},
        {"{\"version\":2,\"state\":{}}", -EBADMSG},
        {"[]", -EBADMSG},
        {"7", -EBADMSG},
        {"", -EBADMSG},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (decode(cases[i].text, strlen(cases[i].text)) != cases[i].rc)
            fail_msg("%s", cases[i].text);
}

/* Each member of each struct in turn is taken away, or becomes something else. Images from before
 * there were log writers know no sinks. */
static void spoil(json_t *root, json_t *at, const json_t *with, unsigned *n_cases)
{
    const char *name;
    json_t *value, *copy;
    void *iter;

    if (json_is_array(at))
        at = json_array_get(at, 0);
    if (!json_is_object(at))
        return;
    copy = json_copy(at);
    for (iter = json_object_iter(copy); iter; iter = json_object_iter_next(copy, iter)) {
        char *text;

        name = json_object_iter_key(iter);
        value = json_object_iter_value(iter);
        if (strcmp(name, "notes") == 0 || strcmp(name, "id") == 0 ||
            (json_is_boolean(value) && json_is_boolean(with)))
            continue; /* may be that */
        if (with)
            json_object_set(at, name, (json_t *)(uintptr_t)with);
        else
            json_object_del(at, name);
        text = json_dumps(root, JSON_COMPACT);
        if (decode(text, strlen(text)) != (!with && strcmp(name, "sinks") == 0 ? 0 : -EBADMSG))
            fail_msg("%s", name);
        ++*n_cases;
        free(text);
        json_object_set(at, name, value);
        spoil(root, value, with, n_cases);
    }
    json_decref(copy);
}

static void upgrade_state_decode__any_member_wrong__refused(void **state UNUSED)
{
    json_t *wrongs[] = {NULL, json_null(), json_object(), json_real(1.5), json_true()};
    size_t len;
    char *text = encoded(&len);

    for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
        json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL);
        unsigned n_cases = 0;

        spoil(root, json_object_get(root, "state"), wrongs[i], &n_cases);
        assert_true(n_cases > 60);
        json_decref(root);
        json_decref(wrongs[i]);
    }
    free(text);
}

/* @text with the first @from replaced; owned by the caller. */
static char *with(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out;

    assert_non_null(at);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    return out;
}

static void upgrade_state_decode__value_out_of_bounds__refused(void **state UNUSED)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"scoreboard_fd\":7", "\"scoreboard_fd\":2"}, /* standard error */
        {"\"scoreboard_fd\":7", "\"scoreboard_fd\":-1"}, /* must be there */
        {"\"scoreboard_fd\":7", "\"scoreboard_fd\":8"}, /* the control socket's */
        {"\"scoreboard_fd\":7", "\"scoreboard_fd\":14"}, /* a client's */
        {"\"scoreboard_fd\":7", "\"scoreboard_fd\":4294967303"},
        {"\"pid_file_fd\":-1", "\"pid_file_fd\":-2"},
        {"\"pid_file_fd\":-1", "\"pid_file_fd\":0"},
        {"\"workers\":2", "\"workers\":1025"},
        {"\"workers\":2", "\"workers\":-1"},
        {"\"record\":0", "\"record\":4096"},
        {"\"pid\":4711", "\"pid\":2147483648"},
        {"\"version\":\"1.2\"", "\"version\":\"1\\u00002\""},
        {"\"version\":\"1.2\"", "\"version\":\"\\u0100\""}, /* no byte */
        {"\"version\":\"1.2\"", "\"version\":\"\\u20ac\""},
        {"\"version\":\"1.2\"", "\"version\":\"1\",\"version\":\"2\""},
        {"\"is_reload_due\":true", "\"is_reload_due\":1"},
    };
    size_t len;
    char *text = encoded(&len);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *bad = with(text, cases[i].from, cases[i].to);

        if (decode(bad, strlen(bad)) != -EBADMSG)
            fail_msg("%s", cases[i].to);
        free(bad);
    }
    free(text);
}

static void upgrade_state_decode__unknown_members__skipped(void **state UNUSED)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"pid\":4711", "\"mood\":{\"is\":[1,2]},\"pid\":4711"},
        {"\"record\":0", "\"record\":0,\"rescue_fd\":99"},
        {"\"format\":", "\"comment\":\"x\",\"format\":"},
    };
    size_t len;
    char *text = encoded(&len);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *more = with(text, cases[i].from, cases[i].to);

        if (decode(more, strlen(more)) != 0)
            fail_msg("%s", cases[i].to);
        free(more);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upgrade_state__all_members__come_back),
        cmocka_unit_test(upgrade_state__descriptors__sorted_and_complete),
        cmocka_unit_test(upgrade_state__empty_lists__come_back_empty),
        cmocka_unit_test(upgrade_state_decode__any_prefix__refused),
        cmocka_unit_test(upgrade_state_decode__another_version__said_so),
        cmocka_unit_test(upgrade_state_decode__any_member_wrong__refused),
        cmocka_unit_test(upgrade_state_decode__value_out_of_bounds__refused),
        cmocka_unit_test(upgrade_state_decode__unknown_members__skipped),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
