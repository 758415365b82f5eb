/*
 * What a server must take without a loss: changes, one after the other or one amid another.
 */
#include "support/chaos.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

/* ---- changes ---- */

#define PICK(c, ...)                                                                               \
    ({                                                                                             \
        static const char *const picks_[] = {__VA_ARGS__};                                         \
        picks_[rng_below(&(c)->rng, ARRAY_SIZE(picks_))];                                          \
    })

const char *chaos_random_configuration(struct chaos *c, bool may_recycle)
{
    static char text[1024];

    snprintf(text, sizeof(text),
             "arbiter: { workers = %u; max_requests = %s; timeout = %s; exit_timeout = 300; "
             "boot_timeout = 60; cpu_affinity = \"%s\"; };\n"
             "server: { backlog = %s; keep_alive = %s; message_timeout = %s; write_timeout = %s; "
             "max_connections = %s; max_message = \"%s\"; max_buffered = \"%d\"; "
             "max_per_source = %s; accept_rate = 1000000; };\n"
             "log: { level = \"%s\"; file = \"%s\"; crash_payload = %s; };\n",
             1 + (unsigned)rng_below(&c->rng, CHAOS_WORKERS_MAX),
             may_recycle ? PICK(c, "0", "0", "2000", "20000") : "0", PICK(c, "120", "300"),
             PICK(c, "off", "off", "auto"), PICK(c, "1024", "2048", "4096"),
             PICK(c, "0", "0", "600", "1000.5"), PICK(c, "300", "600"), PICK(c, "300", "600"),
             PICK(c, "0", "2000", "5000"), PICK(c, "2MiB", "4MiB", "16MiB"),
             (int)CHAOS_MAX_BUFFERED, PICK(c, "0", "100000"), PICK(c, "info", "debug"),
             it_path(c->it, "log0"), PICK(c, "true", "false"));
    return text;
}

static void make_reload(struct chaos *c)
{
    server_configure(c->server, chaos_random_configuration(c, true));
    json_decref(chaos_must_succeed(c, "reload", ""));
}

/* It is heard at some time, perhaps amid the next change. */
static void make_hangup(struct chaos *c)
{
    server_configure(c->server, chaos_random_configuration(c, true));
    server_signal(c->server, SIGHUP);
}

static void make_refused_reload(struct chaos *c)
{
    server_configure(c->server, PICK(c, "server: { keep_alive = -1; };", "arbiter: { workers = ",
                                     "server: { max_message = \"1TiB\"; };"));
    json_t *answer = chaos_ask(c, "reload", "");
    MUST(json_object_get(answer, "error"), "a bad configuration is taken over");
    json_decref(answer);
    server_configure(c->server, chaos_random_configuration(c, true));
}

static void make_upgrade(struct chaos *c)
{
    json_decref(chaos_must_succeed(c, "upgrade", ""));
}

static void make_upgrade_by_signal(struct chaos *c)
{
    chaos_await_staff(c); /* nothing is under way that would refuse it */
    const uint64_t before = chaos_number_now(c, "arbiter", "upgrades");
    server_signal(c->server, SIGUSR2);
    AWAIT(c, chaos_number_now(c, "arbiter", "upgrades") > before, "SIGUSR2 does not upgrade");
}

static void make_scale(struct chaos *c)
{
    char args[32];

    snprintf(args, sizeof(args), "\"workers\":%u",
             1 + (unsigned)rng_below(&c->rng, CHAOS_WORKERS_MAX));
    json_t *answer = chaos_ask(c, "scale", args);
    /* A reload that was asked for before may end later, and have the last word. */
    MUST(json_object_get(answer, "result") || chaos_is_error(answer, "superseded"), "%s",
         json_dumps(answer, 0));
    json_decref(answer);
}

static void make_scale_by_signal(struct chaos *c)
{
    server_signal(c->server, rng_below(&c->rng, 2) ? SIGTTIN : SIGTTOU);
}

/* One that serves takes this signal; one that is being started has no handler yet. */
static bool has_handler(pid_t pid, int signo)
{
    return proc_is_alive(pid) && (proc_status(pid, "SigCgt", 16) >> (signo - 1) & 1);
}

pid_t chaos_random_worker(struct chaos *c, int signo)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(c->server, pids);
    const pid_t pid = n > 0 ? pids[rng_below(&c->rng, n)] : 0;

    return pid && has_handler(pid, signo) ? pid : 0;
}

/* A second one would end it at once, and one that does not serve yet just goes. */
static void term(struct chaos *c, pid_t pid)
{
    const struct score_record *r = server_record(c->server, pid);

    for (size_t i = 0; i < ARRAY_SIZE(c->termed); i++)
        if (c->termed[i] == pid)
            return;
    if (!r || counter_get(&r->state) != ACTOR_RUN)
        return;
    c->termed[c->n_termed++ % ARRAY_SIZE(c->termed)] = pid;
    kill(pid, SIGTERM);
}

static void make_term_of_one(struct chaos *c)
{
    const pid_t pid = chaos_random_worker(c, SIGTERM);

    if (pid)
        term(c, pid);
}

static void make_term_of_all(struct chaos *c)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(c->server, pids);

    for (size_t i = 0; i < n; i++)
        term(c, pids[i]);
}

/* ---- the log ---- */

/* Workers that have answered a ping to all of them. */
static uint64_t count_pongs(const json_t *answer)
{
    json_t *result = json_object_get(answer, "result");
    uint64_t n = 0;

    for (void *at = json_object_iter(result); at; at = json_object_iter_next(result, at)) {
        const char *text = json_string_value(json_object_iter_value(at));

        n += text && !strcmp(text, "pong");
    }
    return n;
}

/* Lines of the arbiter and of every worker before, amid and after a rotation. */
static void make_rotation(struct chaos *c)
{
    enum { BEFORE = 10, AFTER = 10 };
    static const char level[] =
        "{\"id\":1,\"command\":\"log_level\",\"args\":{\"level\":\"debug\"}}\n";
    static const char ping[] = "{\"id\":2,\"command\":\"ping\",\"target\":\"workers\"}\n";
    static const char reopen[] = "{\"id\":3,\"command\":\"reopen_logs\"}\n";
    char requests[(BEFORE + AFTER) * (sizeof(level) + sizeof(ping)) + sizeof(reopen)] = "";
    const bool is_asked = rng_below(&c->rng, 2);
    char name[32];

    chaos_await_staff(c); /* a reload would set the level anew */
    for (int i = 0; i < BEFORE + AFTER; i++) {
        strcat(requests, level);
        strcat(requests, ping);
        if (i == BEFORE && is_asked)
            strcat(requests, reopen);
    }
    snprintf(name, sizeof(name), "rotated.%u", c->n_rotated++);
    MUST(rename(c->server->log, it_path(c->it, name)) == 0, "rename");
    if (!is_asked)
        server_signal(c->server, SIGUSR1);
    json_t *answers = chaos_ask_all(c, requests), *answer;
    size_t i;
    json_array_foreach(answers, i, answer)
    {
        MUST(json_object_get(answer, "result"), "%s", json_dumps(answer, 0));
        c->pongs += count_pongs(answer);
    }
    json_decref(answers);
    c->levels += BEFORE + AFTER;
    AWAIT(c, access(c->server->log, F_OK) == 0, "the log is not made anew");
}

/* All that was rotated away is put back, so that it is looked through with the rest. */
static void put_log_together(struct chaos *c)
{
    FILE *log = fopen(c->server->log, "ae");

    MUST(log, "%s", c->server->log);
    for (unsigned i = 0; i < c->n_rotated; i++) {
        char name[32], buf[65536];
        size_t n;

        snprintf(name, sizeof(name), "rotated.%u", i);
        FILE *old = fopen(it_path(c->it, name), "re");
        MUST(old, "%s", name);
        while ((n = fread(buf, 1, sizeof(buf), old)) > 0)
            MUST(fwrite(buf, 1, n, log) == n, "cannot write");
        fclose(old);
    }
    fclose(log);
}

static void must_have_lines(struct chaos *c, const char *pattern, uint64_t least, uint64_t most)
{
    const size_t n = server_log_count(c->server, pattern);

    MUST(n >= least && n <= most, "%zu lines like %s, %" PRIu64 " to %" PRIu64 " expected", n,
         pattern, least, most);
}

void chaos_check_log(struct chaos *c)
{
    json_t *info = chaos_must_succeed(c, "info", "");
    const uint64_t reloads = chaos_number(info, "arbiter", "reloads");
    const uint64_t upgrades = chaos_number(info, "arbiter", "upgrades");

    put_log_together(c);
    must_have_lines(c, "msg=\"reloaded\"", reloads, reloads);
    must_have_lines(c, "msg=\"upgraded\"", upgrades, upgrades);
    must_have_lines(c, "msg=\"log level\"", c->levels, c->levels);
    must_have_lines(c, "actor=worker.* msg=\"message\" from=arbiter command=ping", c->pongs,
                    UINT64_MAX);
    MUST(chaos_number(info, "totals", "log_dropped") == 0, "lines were dropped");
    json_decref(info);
}

/* ---- the table ---- */

const struct chaos_row chaos_changes[CHAOS_CHANGES] = {
    {30, make_reload, "reload"},
    {10, make_hangup, "HUP"},
    {5, make_refused_reload, "refused reload"},
    {10, make_upgrade, "upgrade"},
    {4, make_upgrade_by_signal, "USR2"},
    {15, make_scale, "scale"},
    {15, make_scale_by_signal, "TTIN, TTOU"},
    {20, make_term_of_one, "TERM"},
    {5, make_term_of_all, "TERM of all"},
    {15, make_rotation, "rotation"},
};
