/*
 * Keepers, seen from outside: supervised like workers, one for each, and what they keep lives on
 * whatever ends a worker.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "arbiter/transition.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { PEERS = 200 };

static int fds[PEERS];

/* This program has no other kinds. */
static pid_t keeper_pid(struct server *s, uint32_t number)
{
    return server_slot_pid(s, tr_slot(0, number));
}

static void must_have_keepers(struct server *s, size_t n)
{
    MUST_COME(server_others(s) == n, "%zu keepers, not %zu", server_others(s), n);
}

static pid_t must_have_another(struct server *s, uint32_t number, pid_t old)
{
    pid_t pid = 0;

    MUST_COME((pid = keeper_pid(s, number)) != 0 && pid != old, "no other keeper.%u", number);
    return pid;
}

static void connect_all(struct server *s)
{
    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "before");
    }
}

/* A peer has its reply a moment before the worker calls the connection idle. */
static void must_be_kept(struct server *s)
{
    server_must_idle(s);
    MUST_COME(server_gauge(s, kept) == PEERS, "%llu are kept, not %d",
              (unsigned long long)server_gauge(s, kept), PEERS);
}

static void must_all_be_served(void)
{
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
}

static void expect_deaths(struct server *s)
{
    server_expect(s, "worker died|actor died|worker crashes|backtrace|msg=\"crash\"");
}

/* The end of each test asserts that no source is counted any more, whoever has been killed. */
static const char at_once[] =
    "arbiter: { workers = 2; keep_after = 0; }; server: { max_per_source = 100000; };";

static void keepers__started__one_for_each_worker(void **state)
{
    struct server *s = server_start(*state, .conf = "arbiter: { workers = 3; };");

    must_have_keepers(s, 3);
    server_must_idle(s);
}

static void keepers__not_wanted__none(void **state)
{
    struct server *s = server_start(*state, .conf = "arbiter: { keepers = false; };");

    must_have_keepers(s, 0);
    server_configure(s, "arbiter: { keepers = true; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    must_have_keepers(s, 2);
    server_configure(s, "arbiter: { keepers = false; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 2);
    must_have_keepers(s, 0);
}

static void keepers__scaled__as_many_as_workers(void **state)
{
    struct server *s = server_start(*state, .conf = "");

    server_signal(s, SIGTTIN);
    must_have_keepers(s, 3);
    server_signal(s, SIGTTOU);
    must_have_keepers(s, 2);
    server_signal(s, SIGTTOU);
    must_have_keepers(s, 1);
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 2);
    must_have_keepers(s, 2);
}

static void keepers__reload_and_upgrade__each_set_has_its_own(void **state)
{
    struct server *s = server_start(*state, .conf = "");
    pid_t first = keeper_pid(s, 1);

    server_signal(s, SIGHUP);
    first = must_have_another(s, 1, first);
    must_have_keepers(s, 2);
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    must_have_another(s, 1, first);
    must_have_keepers(s, 2);
}

static void keepers__killed__replaced_and_nobody_notices(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);
    const pid_t worker = server_slot_pid(s, 1);
    pid_t keeper = keeper_pid(s, 1);

    expect_deaths(s);
    connect_all(s);
    must_be_kept(s);
    for (int round = 0; round < 3; round++) {
        kill(keeper, SIGKILL);
        keeper = must_have_another(s, 1, keeper);
        must_all_be_served();
    }
    must_be_kept(s); /* by the last one, again */
    MUST(server_slot_pid(s, 1) == worker, "the worker was replaced");
    kill(server_slot_pid(s, 1), SIGKILL);
    kill(server_slot_pid(s, 2), SIGKILL);
    must_all_be_served();
}

static void keepers__workers_die_in_any_way__idle_ones_live_on(void **state)
{
    static const int signals[] = {SIGKILL, SIGSEGV, SIGKILL, SIGABRT};
    struct server *s = server_start(*state, .conf = at_once);

    expect_deaths(s);
    connect_all(s);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        must_be_kept(s);
        kill(server_slot_pid(s, 1 + i % 2), signals[i]);
        server_wait_log(s, "connections of a dead worker.* passed_on=[1-9].* closed=0", i + 1);
        must_all_be_served();
    }
}

/* The arbiter stands still, so that nobody can take its place before it ends. */
static void keepers__second_term_to_a_worker__idle_ones_live_on(void **state)
{
    struct server *s = server_start(
        *state,
        .conf = "arbiter: { workers = 1; keep_after = 0; }; server: { max_per_source = 100000; };");
    const pid_t worker = server_slot_pid(s, 1);
    const int busy = peer_connect(s->addr[0]);

    expect_deaths(s);
    connect_all(s);
    peer_echo(busy, "before");
    MUST_COME(server_gauge(s, kept) == PEERS + 1, "not all are kept");
    const uint64_t read = server_counter(s, bytes_in);
    peer_send_text(busy, "half a message");
    MUST_COME(server_counter(s, bytes_in) == read + 14, "the half is not read");
    server_must_idle(s);
    kill(s->pid, SIGSTOP);
    MUST_COME(kill(worker, SIGTERM) < 0 || !proc_is_alive(worker), "it survives SIGTERM");
    kill(s->pid, SIGCONT);
    MUST(peer_drain(busy, WAIT_MS, NULL) != PEER_SILENT, "a busy connection is silent");
    must_all_be_served();
    assert_int_equal(server_counter(s, rescued), PEERS);
}

static uint64_t number_of(const json_t *o, const char *key)
{
    MUST(json_is_integer(json_object_get(o, key)), "info: no %s", key);
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* What is kept, the memory for it, and how many have outlived a worker. */
static void keepers__info__tells_what_is_kept(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);
    uint64_t kept = 0, bytes = 0, left;
    const json_t *totals, *actor;
    struct tool_run r;
    char control[128];
    json_t *info;
    size_t i;

    expect_deaths(s);
    connect_all(s);
    must_be_kept(s);
    left = counter_get(&server_record(s, server_slot_pid(s, 1))->connections);
    kill(server_slot_pid(s, 1), SIGKILL);
    server_wait_log(s, "connections of a dead worker.* passed_on=[1-9]", 1);
    must_be_kept(s);
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(*state, NO_INPUT, "info", "--json", "-C", control);
    info = json_loads(r.out, 0, NULL);
    totals = json_object_get(info, "totals");
    json_array_foreach(json_object_get(info, "actors"), i, actor)
    {
        kept += number_of(actor, "kept");
        bytes += number_of(actor, "kept_bytes");
    }
    assert_int_equal(kept, PEERS);
    assert_int_equal(number_of(totals, "kept"), PEERS);
    assert_int_equal(number_of(totals, "kept_bytes"), bytes);
    assert_in_range(bytes, PEERS * sizeof(int), 1 << 20);
    assert_int_equal(number_of(totals, "left"), left);
    assert_int_equal(number_of(totals, "rescued"), left);
    json_decref(info);
}

static void keepers__busy_one__ends_visibly(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);
    const int busy = peer_connect(s->addr[0]);

    expect_deaths(s);
    connect_all(s);
    peer_echo(busy, "before");
    MUST_COME(server_gauge(s, kept) == PEERS + 1, "not all are kept");
    const uint64_t read = server_counter(s, bytes_in);
    peer_send_text(busy, "half a message");
    MUST_COME(server_counter(s, bytes_in) == read + 14, "the half is not read");
    server_must_idle(s);
    kill(server_slot_pid(s, 1), SIGKILL);
    kill(server_slot_pid(s, 2), SIGKILL);
    MUST(peer_drain(busy, WAIT_MS, NULL) != PEER_SILENT, "a busy connection is silent");
    must_all_be_served();
}

/* Its keeper drains, and nobody fills the slot: another worker is lent to it. */
static void keepers__slot_is_removed_while_its_worker_dies__another_takes(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);
    const pid_t last = server_slot_pid(s, 2);

    expect_deaths(s);
    connect_all(s);
    must_be_kept(s);
    kill(last, SIGSTOP); /* it cannot give */
    server_signal(s, SIGTTOU);
    server_wait_log(s, "msg=\"scaling\" workers=1", 1);
    kill(last, SIGKILL);
    must_all_be_served();
    must_have_keepers(s, 1);
    must_be_kept(s); /* by the keeper of its own slot again */
    kill(server_slot_pid(s, 1), SIGKILL);
    must_all_be_served();
    server_signal(s, SIGTTIN); /* as many descriptors as before */
    server_wait_workers(s, 2);
}

static void keepers__worker_killed_amid_a_reload__idle_ones_live_on(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);

    expect_deaths(s);
    connect_all(s);
    must_be_kept(s);
    for (size_t i = 0; i < 6; i++) {
        const pid_t victim = server_slot_pid(s, 1 + i % 2);

        server_signal(s, SIGHUP);
        kill(victim, SIGKILL);
        server_wait_log(s, "msg=\"reloaded\"|msg=\"reload refused", i + 1);
        must_be_kept(s);
    }
    must_all_be_served();
}

static void keepers__quick_stop__none_is_left(void **state)
{
    struct server *s = server_start(*state, .conf = at_once);

    connect_all(s);
    must_be_kept(s);
    for (int i = 0; i < PEERS; i++)
        fds[i] = -1;
    server_stop_and_check(s, SIGQUIT, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(keepers__started__one_for_each_worker),
        IT(keepers__not_wanted__none),
        IT(keepers__scaled__as_many_as_workers),
        IT(keepers__reload_and_upgrade__each_set_has_its_own),
        IT(keepers__killed__replaced_and_nobody_notices),
        IT(keepers__workers_die_in_any_way__idle_ones_live_on),
        IT(keepers__second_term_to_a_worker__idle_ones_live_on),
        IT(keepers__info__tells_what_is_kept),
        IT(keepers__busy_one__ends_visibly),
        IT(keepers__slot_is_removed_while_its_worker_dies__another_takes),
        IT(keepers__worker_killed_amid_a_reload__idle_ones_live_on),
        IT(keepers__quick_stop__none_is_left),
    };

    return it_run(tests);
}
