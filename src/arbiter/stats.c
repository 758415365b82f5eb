/*
 * Counters that can be trusted, from memory that cannot; `info`, `actors` and `config` as JSON.
 */
#include "arbiter/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actor/command.h"
#include "actor/usage.h"
#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/json_schema.h"
#include "base/util.h"
#include "conf/config_codec.h"
#include "wire/message.h"

/* A process has less memory than this, and fewer descriptors. */
#define MEMORY_MAX_BYTES (UINT64_C(1) << 40)
#define FDS_MAX          (UINT64_C(1) << 31)

/* ---- what is believed of a worker's counters ---- */

void tally_init(struct tally *t, uint64_t now_ns)
{
    memset(t, 0, sizeof(*t));
    t->looked_ns = now_ns;
}

static void take_growth(counter_t *last, counter_t *sum, uint64_t value, uint64_t most)
{
    const uint64_t step = value - counter_get(last); /* backwards: wraps, and is far too much */

    counter_set(last, value);
    if (step <= most)
        counter_add(sum, step);
}

void tally_take(struct tally *t, const struct score_record *shared, uint64_t now_ns)
{
    static const uint64_t second = 1000000000, longest_s = 1 << 22;
    const uint64_t seconds = (now_ns - t->looked_ns) / second + 1;
    const uint64_t most = MIN(seconds, longest_s) * TALLY_MAX_A_SECOND;

    t->looked_ns = now_ns;
#define X(field, help)                                                                             \
    take_growth(&t->last.field, &t->sum.field, counter_get(&shared->counters.field), most);
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < ARRAY_SIZE(shared->own.n); i++)
        take_growth(&t->own_last.n[i], &t->own_sum.n[i], counter_get(&shared->own.n[i]), most);
    timing_take(&t->times_last.reply, &t->times_sum.reply, &shared->times.reply, most);
    timing_take(&t->times_last.lag, &t->times_sum.lag, &shared->times.lag, most);
}

/* Each connection comes in one way and goes out one way. */
void tally_end(struct tally *t)
{
    const uint64_t n_in = counter_get(&t->sum.accepted) + counter_get(&t->sum.moved_in) +
                          counter_get(&t->sum.rescued);
    uint64_t n_out = counter_get(&t->sum.moved_out);

#define X(field, help)                                                                             \
    if (strncmp(#field, "closed_", 7) == 0)                                                        \
        n_out += counter_get(&t->sum.field);
    COUNTERS(X)
#undef X
    counter_add(&t->sum.left, n_in > n_out ? n_in - n_out : 0);
}

void counters_sum(struct counters *sum, const struct counters *c)
{
#define X(field, help) counter_add(&sum->field, counter_get(&c->field));
    COUNTERS(X)
#undef X
}

static void own_counts_sum(struct own_counts *sum, const struct own_counts *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(sum->n); i++)
        counter_add(&sum->n[i], counter_get(&c->n[i]));
}

void times_merge(struct score_times *sum, const struct score_times *t)
{
    timing_merge(&sum->reply, &t->reply);
    timing_merge(&sum->lag, &t->lag);
}

void stats_count(struct arbiter *a)
{
    const uint64_t now_ns = clock_mono_ns();

    for_each_child (a, c)
        tally_take(&c->tally, c->score, now_ns);
}

void stats_on_exit(struct arbiter *a, struct child *c)
{
    tally_take(&c->tally, c->score, clock_mono_ns());
    tally_end(&c->tally);
    counters_sum(&a->totals, &c->tally.sum);
    own_counts_sum(&a->own_totals, &c->tally.own_sum);
    times_merge(&a->times, &c->tally.times_sum);
    own_keep(a->own_kept, c->own_kept);
    json_decref(c->own_kept);
    c->own_kept = NULL;
}

void stats_log_kept(const struct arbiter *a)
{
    const char *name;
    json_t *value;

    json_object_foreach(a->own_kept, name, value)
    {
        log_info(a->log, "a counter of the earlier program is kept, but not shown",
                 F_STR("counter", name), F_UINT("value", json_integer_value(value)));
    }
    if (a->n_own_dropped > 0)
        log_warning(a->log, "counters of earlier programs are dropped: there are too many names",
                    F_UINT("counters", a->n_own_dropped));
}

void stats_log_own(const struct arbiter *a)
{
    struct log_field fields[ARB_COUNTERS_MAX + 1] = {{.key = NULL}};
    char keys[ARB_COUNTERS_MAX][OWN_KEY_LEN];

    for (size_t i = 0; i < a->own.n_counters; i++)
        fields[i] = F_UINT(own_key(&a->own.counters[i], keys[i]), counter_get(&a->own_totals.n[i]));
    if (a->own.n_counters > 0 && a->log->level <= LOG_LEVEL_INFO)
        log_emit(a->log, LOG_LEVEL_INFO, "counted", fields);
}

/* ---- as JSON ---- */

static void set_counters(json_t *object, const struct counters *c)
{
#define X(field, help) message_set_uint(object, #field, counter_get(&c->field));
    COUNTERS(X)
#undef X
}

/* A heartbeat that is impossible is as old as the last possible one. */
static uint64_t heartbeat_age_ns(const struct child *c, uint64_t heartbeat_ns, uint64_t now_ns)
{
    static const uint64_t second = 1000000000;

    /* It may have beaten since @now_ns was taken. */
    if (heartbeat_ns < c->watch.since_ns || heartbeat_ns > now_ns + second)
        heartbeat_ns = c->watch.since_ns;
    return heartbeat_ns < now_ns ? now_ns - heartbeat_ns : 0;
}

/* What `notify` has left about @id, with its age. */
static void set_note(json_t *object, const struct arbiter *a, const char *id, uint64_t now_ns)
{
    json_t *note = json_copy(json_object_get(a->notes, id));
    const uint64_t at_ms = (uint64_t)json_integer_value(json_object_get(note, "at_ms"));
    const uint64_t now_ms = now_ns / 1000000;

    if (!note)
        return;
    message_set_uint(note, "age_ms", now_ms - MIN(at_ms, now_ms));
    json_object_del(note, "at_ms"); /* on the monotonic clock, which says nothing to others */
    json_object_set_new(object, "notified", note);
}

/* It cannot be more than there are, whatever the worker says. */
static uint64_t owing_of(const struct score_record *r)
{
    return MIN(counter_get(&r->owing), (uint64_t)scoreboard_connections(r));
}

/* Of a worker: those that a keeper has as well; of a keeper: those that it holds. */
static uint64_t kept_of(const struct child *c)
{
    const uint64_t n = counter_get(&c->score->kept);

    return n <= SCOREBOARD_CONNECTIONS_MAX ? n : 0;
}

static uint64_t kept_bytes_of(const struct child *c)
{
    const uint64_t n = counter_get(&c->score->kept_bytes);

    return child_is_keeper(c) && n <= MEMORY_MAX_BYTES ? n : 0;
}

static uint64_t sources_of(const struct score_record *r)
{
    return MIN(counter_get(&r->sources), scoreboard_connections(r));
}

/* @n, or null: a process says 0 for what it does not know, and more than @most cannot be true. */
static json_t *known(uint64_t n, uint64_t most)
{
    return n > 0 && n <= most ? json_integer((json_int_t)n) : json_null();
}

static void describe_usage(json_t *o, const struct usage_now *u)
{
    message_set_uint(o, "cpu_ms", u->cpu_ms);
    json_object_set_new(o, "memory_bytes", known(u->memory_bytes, MEMORY_MAX_BYTES));
    json_object_set_new(o, "fds", known(u->fds, FDS_MAX));
    json_object_set_new(o, "fds_max", known(u->fds_max, FDS_MAX));
}

/* Times in microseconds. @has_buckets: how many took at most as long as each bound, too */
static json_t *describe_times(const struct timing *t, bool has_buckets)
{
    static const struct {
        const char *name;
        double percent;
    } shown[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}};
    const uint64_t n = timing_count(t);
    json_t *o = json_object(), *buckets;

    message_set_uint(o, "count", n);
    message_set_uint(o, "sum", counter_get(&t->sum_us));
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
        json_object_set_new(o, shown[i].name,
                            n ? json_real(timing_percentile_us(t, shown[i].percent)) : json_null());
    json_object_set_new(o, "max",
                        n ? json_real((double)counter_get(&t->max_ns) / 1e3) : json_null());
    if (!has_buckets)
        return o;
    buckets = json_array();
    for (unsigned i = 0; i < TIMING_OCTAVES; i++)
        json_array_append_new(buckets, json_pack("{s:I,s:I}", "le", (json_int_t)1 << i, "count",
                                                 (json_int_t)timing_octave(t, i)));
    json_object_set_new(o, "buckets", buckets);
    return o;
}

static void describe_traffic(json_t *w, const struct child *c)
{
    const struct counters *sum = &c->tally.sum;

    message_set_uint(w, "connections", scoreboard_connections(c->score));
    message_set_uint(w, "owing", owing_of(c->score));
    message_set_uint(w, "kept", kept_of(c));
    message_set_uint(w, "sources", sources_of(c->score));
    message_set_uint(w, "accepted", counter_get(&sum->accepted));
    message_set_uint(w, "requests", counter_get(&sum->requests));
    message_set_uint(w, "bytes_in", counter_get(&sum->bytes_in));
    message_set_uint(w, "bytes_out", counter_get(&sum->bytes_out));
    message_set_uint(w, "moved_in", counter_get(&sum->moved_in));
    message_set_uint(w, "moved_out", counter_get(&sum->moved_out));
    json_object_set_new(w, "reply_us", describe_times(&c->tally.times_sum.reply, false));
}

/* A worker, or an actor of another kind, which has no connections. */
static json_t *describe_child(struct arbiter *a, const struct child *c, uint64_t now_ns)
{
    const struct score_record *r = c->score;
    const uint64_t age_ns = heartbeat_age_ns(c, counter_get(&r->heartbeat_ns), now_ns);
    json_t *w = json_object();

    json_object_set_new(w, "id", json_string(c->id));
    if (!child_is_worker(c))
        json_object_set_new(w, "kind", json_string(kinds_name(&a->kinds, c->slot)));
    message_set_uint(w, "slot", tr_slot_number(c->slot));
    message_set_uint(w, "incarnation", c->incarnation);
    message_set_uint(w, "pid", (uint64_t)c->pid);
    json_object_set_new(w, "state",
                        json_string(actor_state_name((enum actor_state)counter_get(&r->state))));
    message_set_uint(w, "uptime_ms", now_ns / 1000000 - c->forked_ms);
    if (child_is_worker(c)) {
        describe_traffic(w, c);
    } else if (child_is_keeper(c)) {
        message_set_uint(w, "kept", kept_of(c));
        message_set_uint(w, "kept_bytes", kept_bytes_of(c));
    }
    json_object_set_new(w, "heartbeat_age_ms", json_real((double)age_ns / 1e6));
    json_object_set_new(w, "lag_ms", json_real((double)counter_get(&r->lag_ns) / 1e6));
    json_object_set_new(w, "loop_lag_us", describe_times(&c->tally.times_sum.lag, false));
    describe_usage(w, &(struct usage_now){.cpu_ms = counter_get(&c->tally.sum.cpu_ms),
                                          .memory_bytes = counter_get(&r->memory_bytes),
                                          .fds = counter_get(&r->fds),
                                          .fds_max = counter_get(&r->fds_max)});
    if (child_is_worker(c)) {
        json_t *counters = json_object();

        set_counters(counters, &c->tally.sum);
        json_object_set_new(w, "counters", counters);
    }
    json_object_set_new(w, "own",
                        own_shown(&a->own, &c->tally.own_sum, kinds_name(&a->kinds, c->slot)));
    set_note(w, a, c->id, now_ns);
    return w;
}

static json_t *describe_binds(const struct revision *rev)
{
    json_t *list = json_array();

    for (size_t i = 0; i < rev->n_listeners; i++) {
        const unsigned protocol = rev->config->bind[i].protocol;
        char text[ADDR_TEXT_LEN + CONFIG_NAME_MAX + 2];

        snprintf(text, sizeof(text), "%s%s%s",
                 protocol ? rev->config->schema->protocols[protocol]->name : "",
                 protocol ? "@" : "", rev->listeners[i]->bound);
        json_array_append_new(list, command_text(text));
    }
    return list;
}

bool stats_is_ready(const struct arbiter *a, char *why, size_t size)
{
    const uint32_t wanted = transition_workers(a->engine) + transition_all_others(a->engine);
    const uint64_t now_ms = clock_mono_ms();
    uint32_t n_missing, first = 0;
    char id[KINDS_ID_LEN] = "";

    if (a->leave_ms) {
        snprintf(why, size, "it stops: arbiter.stop_delay lets it serve for another %.1f s",
                 (double)(MAX(a->leave_ms, now_ms) - now_ms) / 1e3);
    } else if (a->is_leaving) {
        snprintf(why, size, "it stops");
    } else if (a->state != ACTOR_RUN) {
        n_missing = transition_missing(a->engine, &first);
        kinds_id(&a->kinds, first, id);
        snprintf(why, size, "it starts: %u of %u actors run%s%s", wanted - n_missing, wanted,
                 n_missing > 0 ? ", not yet " : "", n_missing > 0 ? id : "");
    } else if (!transition_serves(a->engine)) {
        snprintf(why, size, "no worker runs");
    } else {
        return true;
    }
    return false;
}

json_t *stats_ready(const struct arbiter *a)
{
    char why[STATS_NOT_READY_LEN];

    return stats_is_ready(a, why, sizeof(why)) ? json_pack("{s:b}", "ready", 1)
                                               : json_pack("{s:b,s:s}", "ready", 0, "reason", why);
}

/* What the workers of the live revision have of it, and what they lack. */
static json_t *describe_sandbox(const struct arbiter *a)
{
    const struct sandbox *s = &a->sandbox;
    const bool is_on = a->live->config->sandbox != SANDBOX_OFF;
    const bool has_seccomp = is_on && sandbox_has_seccomp(s);
    const int abi = is_on ? sandbox_landlock(s) : 0;
    const char *lacks = !is_on           ? "arbiter.sandbox is \"off\""
                        : *s->lacks      ? s->lacks
                        : s->has_further ? "no Landlock: the program names system calls of its own"
                                         : "";
    char text[SANDBOX_WHY_LEN + 64], landlock[32];
    json_t *o = json_object();

    snprintf(landlock, sizeof(landlock), "Landlock (ABI %d)", abi);
    snprintf(text, sizeof(text), "%s%s%s%s%s", has_seccomp ? "seccomp" : "",
             has_seccomp && abi > 0 ? ", " : "", abi > 0 ? landlock : "",
             !*lacks                  ? ""
             : has_seccomp || abi > 0 ? "; "
                                      : "none: ",
             lacks);
    json_object_set_new(o, "seccomp", json_boolean(has_seccomp));
    json_object_set_new(o, "landlock", json_integer(abi));
    json_object_set_new(o, "is", command_text(text));
    return o;
}

static json_t *describe_arbiter(struct arbiter *a, uint64_t now_ns)
{
    const struct revision *rev = a->next ? a->next : a->live; /* as transition_wanted */
    json_t *o = json_object();
    char why[STATS_NOT_READY_LEN];
    const bool is_ready = stats_is_ready(a, why, sizeof(why));
    struct usage usage;
    struct usage_now used;

    message_set_uint(o, "pid", (uint64_t)getpid());
    json_object_set_new(o, "program", json_string(a->options->program->name));
    json_object_set_new(o, "version", json_string(a->options->program->version));
    json_object_set_new(o, "state", json_string(actor_state_name(a->state)));
    message_set_uint(o, "uptime_ms", now_ns / 1000000 - a->started_ms);
    message_set_uint(o, "revision", a->live->number);
    message_set_uint(o, "reloads", a->reloads);
    message_set_uint(o, "restarts", a->restarts);
    message_set_uint(o, "upgrades", a->upgrades);
    message_set_uint(o, "workers_wanted", transition_wanted(a->engine));
    json_object_set_new(o, "workers_why",
                        command_text(transition_wanted(a->engine) == rev->workers
                                         ? rev->workers_why
                                         : "scaled by a command or a signal"));
    json_object_set_new(o, "ready", json_boolean(is_ready));
    if (!is_ready)
        json_object_set_new(o, "not_ready", json_string(why));
    json_object_set_new(o, "degraded", json_boolean(transition_is_degraded(a->engine)));
    json_object_set_new(o, "sandbox", describe_sandbox(a));
    json_object_set_new(o, "binds", describe_binds(a->live));
    if (a->live->status)
        json_object_set_new(o, "status_bind", command_text(a->live->status->bound));
    json_object_set_new(o, "config", command_text(a->live->config->path));
    json_object_set_new(o, "user", command_text(a->privileges.user));
    message_set_uint(o, "uid", a->privileges.uid);
    json_object_set_new(o, "group", command_text(a->privileges.group));
    message_set_uint(o, "gid", a->privileges.gid);
    usage_open(&usage);
    usage_look(&usage, 0, &used);
    usage_close(&usage);
    used.fds -= MIN(used.fds, UINT64_C(2)); /* those with which it was looked at */
    describe_usage(o, &used);
    set_note(o, a, "arbiter", now_ns);
    return o;
}

static int by_slot(const void *x, const void *y)
{
    const struct child *const *a = x, *const *b = y;

    if ((*a)->slot != (*b)->slot)
        return (*a)->slot < (*b)->slot ? -1 : 1;
    return (*a)->incarnation < (*b)->incarnation ? -1 : (*a)->incarnation > (*b)->incarnation;
}

/* The living, by slot and age. Owned by the caller; NULL without memory. */
static const struct child **living(const struct arbiter *a, size_t *ret_n)
{
    const struct child **list = calloc(a->n_children_used + 1, sizeof(const struct child *));

    *ret_n = 0;
    if (!list)
        return NULL;
    for_each_child (a, c)
        list[(*ret_n)++] = c;
    qsort(list, *ret_n, sizeof(const struct child *), by_slot);
    return list;
}

json_t *stats_info(struct arbiter *a)
{
    const uint64_t now_ns = clock_mono_ns();
    json_t *workers = json_array(), *actors = json_array(), *totals = json_object();
    struct counters sum = {0};
    struct own_counts own = {0};
    struct score_times times = {0};
    json_t *info;
    uint64_t connections = 0, owing = 0, kept = 0, kept_bytes = 0, sources = 0;
    size_t n;
    const struct child **list = living(a, &n);

    counters_sum(&sum, &a->totals);
    own_counts_sum(&own, &a->own_totals);
    times_merge(&times, &a->times);
    for (size_t i = 0; i < n; i++) {
        const struct score_record *r = list[i]->score;

        tally_take(&a->children[list[i]->proc].tally, r, now_ns);
        json_array_append_new(child_is_worker(list[i]) ? workers : actors,
                              describe_child(a, list[i], now_ns));
        counters_sum(&sum, &list[i]->tally.sum);
        own_counts_sum(&own, &list[i]->tally.own_sum);
        times_merge(&times, &list[i]->tally.times_sum);
        connections += scoreboard_connections(r);
        owing += owing_of(r);
        kept += child_is_worker(list[i]) ? kept_of(list[i]) : 0;
        kept_bytes += kept_bytes_of(list[i]);
        sources += child_is_worker(list[i]) ? sources_of(r) : 0;
    }
    free(list);
    message_set_uint(totals, "connections", connections);
    message_set_uint(totals, "owing", owing);
    message_set_uint(totals, "kept", kept);
    message_set_uint(totals, "kept_bytes", kept_bytes);
    message_set_uint(totals, "sources", sources);
    set_counters(totals, &sum);
    json_object_set_new(totals, "reply_us", describe_times(&times.reply, true));
    json_object_set_new(totals, "loop_lag_us", describe_times(&times.lag, true));
    info = json_pack("{s:i,s:o,s:o,s:o}", "schema", JSON_SCHEMA, "arbiter",
                     describe_arbiter(a, now_ns), "workers", workers, "totals", totals);
    if (info && a->kinds.n > 0)
        json_object_set(info, "actors", actors);
    if (info && a->crashes->n > 0)
        json_object_set_new(info, "crashes", crashes_brief(a->crashes));
    if (info && json_array_size(a->history) > 0)
        json_object_set_new(info, "changes", json_deep_copy(a->history));
    json_decref(actors);
    if (info && a->own.n_counters > 0) {
        json_object_set_new(totals, "own", own_shown(&a->own, &own, NULL));
        json_object_set_new(info, "own_counters", own_help(&a->own));
    }
    if (info && sequencer_is_used(a))
        json_object_set_new(info, "messages", sequencer_info(a));
    return info;
}

json_t *stats_actors(struct arbiter *a)
{
    json_t *all = json_array();
    size_t n;
    const struct child **list = living(a, &n);

    json_array_append_new(all, json_pack("{s:s,s:i,s:s}", "id", "arbiter", "pid", (int)getpid(),
                                         "state", actor_state_name(a->state)));
    for (size_t i = 0; i < n; i++) {
        const struct child *c = list[i];
        const uint64_t state = counter_get(&c->score->state);

        json_array_append_new(all, json_pack("{s:s,s:i,s:s}", "id", c->id, "pid", (int)c->pid,
                                             "state", actor_state_name((enum actor_state)state)));
    }
    free(list);
    return all;
}

static json_t *describe_key(struct arbiter *a, int key)
{
    static const char *const origins[] = {[ORIGIN_DEFAULT] = "default",
                                          [ORIGIN_FILE] = "file",
                                          [ORIGIN_COMMAND_LINE] = "command line"};
    const struct config *c = a->live->config;
    const struct config_origin *origin = &c->origin[key];
    const unsigned wanted = transition_wanted(a->engine);
    char *text = config_get(c, key);
    json_t *o =
        json_pack("{s:s,s:o,s:o,s:s}", "key", c->schema->rows[key].name, "value",
                  config_json(c, key), "text", command_text(text), "origin", origins[origin->kind]);

    free(text);
    if (origin->kind == ORIGIN_FILE)
        message_set_uint(o, "line", origin->line);
    /* The number of workers that an operator has asked for holds until the next reload. */
    if (key == CONFIG_WORKERS && wanted != a->live->counted) {
        json_object_set(o, "configured", json_object_get(o, "value"));
        json_object_set_new(o, "value", json_integer(wanted));
        json_object_set_new(o, "text", json_sprintf("%u", wanted));
        json_object_set_new(o, "origin", json_string("scaled"));
    }
    return o;
}

json_t *stats_config(struct arbiter *a, const char *key)
{
    const struct config_schema *s = a->live->config->schema;
    json_t *list;

    if (key)
        return describe_key(a, config_find(s, key));
    list = json_array();
    for (int i = 0; i < s->n_keys; i++)
        json_array_append_new(list, describe_key(a, s->listed[i]));
    return list;
}
