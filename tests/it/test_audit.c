/*
 * The audit against the real server: what it proves in good weather and in bad. The faults have
 * their own tests; here it is the audit that is tried.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/audit_thread.h"
#include "support/server.h"

static struct audit_options mixed(struct server *s)
{
    struct audit_options o;

    audit_options_init(&o, s->addr[0]);
    o.seed = it_seed();
    o.lanes = 24;
    o.churn_lanes = 8;
    o.slow_lanes = 4;
    o.slow_size = 200000;
    o.slow_pieces = 20;
    o.slow_gap_min_ms = o.slow_gap_max_ms = 5;
    o.think_min_ms = 1;
    o.think_max_ms = 10;
    return o;
}

static void must_hold(const struct audit_counts *c)
{
    MUST(audit_counts_is_o1(c), "O1: wrong bytes");
    MUST(audit_counts_is_o2(c), "O2: messages without an explanation");
    MUST(c->given_up == 0 && c->failed_timeout == 0, "%llu connections fell silent",
         (unsigned long long)c->given_up);
}

static void audit__good_weather__every_message_echoed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct audit_options o = mixed(s);
    struct audit_thread *t = audit_thread_start(&o);
    struct audit_counts c;

    audit_thread_wait_echoed(t, 1000);
    c = audit_thread_stop(t, "good weather").counts;
    must_hold(&c);
    MUST(c.echoed == c.sent && c.finished == c.connected && c.refused == 0,
         "%llu of %llu echoed, %llu of %llu connections finished", (unsigned long long)c.echoed,
         (unsigned long long)c.sent, (unsigned long long)c.finished,
         (unsigned long long)c.connected);
    MUST(c.bytes_sent == c.bytes_received, "bytes");
}

static void audit__closed_loop_other_separator__every_message_echoed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { separator = \"\\n\"; };");
    struct audit_options o = mixed(s);
    struct audit_thread *t;
    struct audit_counts c;

    o.think_min_ms = o.think_max_ms = 0;
    o.depth = 32;
    o.is_half_closing = false;
    o.separator[0] = '\n';
    o.separator_len = 1;
    t = audit_thread_start(&o);
    audit_thread_wait_echoed(t, 5000);
    c = audit_thread_stop(t, "closed loop").counts;
    must_hold(&c);
    MUST(c.echoed == c.sent && c.finished == c.connected, "%llu of %llu echoed",
         (unsigned long long)c.echoed, (unsigned long long)c.sent);
}

/* What a dead worker had is visibly failed, the rest goes on. */
static void audit__worker_killed__failures_are_visible_and_accounted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct audit_options o = mixed(s);
    struct audit_thread *t = audit_thread_start(&o);
    struct audit_counts c;
    pid_t victim;

    server_expect(s, "worker died.*kind=signal");
    audit_thread_wait_echoed(t, 300);
    victim = server_worker(s, 0);
    kill(victim, SIGKILL);
    server_wait_log(s, "worker died.*kind=signal", 1);
    server_wait_workers(s, 2);
    audit_thread_wait_echoed(t, 500);
    c = audit_thread_stop(t, "worker killed").counts;
    must_hold(&c);
    MUST(c.closed + c.reset > 0, "nobody was on the killed worker");
    MUST(c.refused == 0, "%llu connections refused", (unsigned long long)c.refused);
}

/* A drain ends connections by end of file, never by reset, and never inside a reply. */
static void audit__reload__only_ends_of_file_between_replies(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct audit_options o = mixed(s);
    struct audit_thread *t = audit_thread_start(&o);
    struct audit_counts c;

    audit_thread_wait_echoed(t, 300);
    server_signal(s, SIGHUP);
    audit_thread_wait_echoed(t, 1000);
    c = audit_thread_stop(t, "reload").counts;
    must_hold(&c);
    MUST(c.reset == 0 && c.cut == 0 && c.refused == 0,
         "%llu reset, %llu inside a reply, %llu refused", (unsigned long long)c.reset,
         (unsigned long long)c.cut, (unsigned long long)c.refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(audit__good_weather__every_message_echoed),
        IT(audit__closed_loop_other_separator__every_message_echoed),
        IT(audit__worker_killed__failures_are_visible_and_accounted),
        IT(audit__reload__only_ends_of_file_between_replies),
    };

    return it_run(tests);
}
