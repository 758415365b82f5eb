/*
 * The arbiter from a state. What comes from outside is checked; nothing that others would notice
 * happens before all of it is known to be sound.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/commands.h"
#include "arbiter/upgrade_impl.h"
#include "base/clock.h"
#include "base/util.h"

static int complain(char *why, int rc, const char *what, const char *detail)
{
    snprintf(why, STATE_WHY_LEN, "%s: %s", what, detail ? detail : strerror(-rc));
    return rc;
}

static int find(const char *const *names, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (names[i] && strcmp(names[i], text) == 0)
            return (int)i;
    return -1;
}

static int set_value(struct config *c, const struct state_value *v, char *why)
{
    struct config_origin origin = {v->line ? ORIGIN_FILE : ORIGIN_COMMAND_LINE, (unsigned)v->line};
    int key = config_find(v->key);

    if (key < 0)
        return complain(why, -EINVAL, v->key, "this version has no such key");
    return config_set(c, (enum config_key)key, v->text, origin, why, STATE_WHY_LEN);
}

int upgrade_config(const struct upgrade_state *s, struct config **ret, char *why)
{
    struct config *c = config_new();
    int rc = 0;

    if (!c)
        return complain(why, -ENOMEM, "configuration", NULL);
    if (strlen(s->config_path) >= sizeof(c->path))
        rc = complain(why, -EINVAL, "configuration", "its path is too long");
    else
        strcpy(c->path, s->config_path);
    for (size_t i = 0; rc == 0 && i < s->n_values; i++)
        rc = set_value(c, &s->values[i], why);
    if (rc == 0)
        rc = config_check(c, why, STATE_WHY_LEN);
    if (rc < 0) {
        config_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

static void free_listeners(struct listener **listeners, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(listeners[i]->text); /* the descriptor stays, for the way back */
        free(listeners[i]);
    }
}

static int inherit_listeners(const struct upgrade_state *s, struct listener **listeners, char *why)
{
    if (s->n_listeners < 1 || s->n_listeners > CONFIG_BIND_MAX)
        return complain(why, -EINVAL, "listeners", "too few or too many");
    for (size_t i = 0; i < s->n_listeners; i++) {
        const struct state_listener *l = &s->listeners[i];
        int rc = listener_inherit(l->text, l->fd, (int)l->backlog, l->is_owner, (dev_t)l->dev,
                                  (ino_t)l->ino, &listeners[i]);

        if (rc < 0) {
            free_listeners(listeners, i);
            return complain(why, rc, l->text, NULL);
        }
    }
    return 0;
}

/* The pipe is inherited with the lines in it. An image from before there were log writers has none:
 * its workers wrote to the file themselves. */
static int inherit_sinks(struct arbiter *a, const struct upgrade_state *s,
                         const struct config *config, char *why)
{
    const char *path = config_log_path(config);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->n_sinks; i++) {
        const struct state_sink *from = &s->sinks[i];
        const int ends[2] = {from->read_fd, from->write_fd};

        rc = sinks_inherit(&a->sinks, from->path, config->is_daemon, ends, from->control_fd,
                           (pid_t)from->pid);
    }
    if (s->n_sinks == 0 && path)
        rc = sinks_inherit(&a->sinks, path, config->is_daemon, NULL, -1, 0);
    return rc < 0 ? complain(why, rc, "sinks", NULL) : 0;
}

static int inherit_revision(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    struct listener *listeners[CONFIG_BIND_MAX];
    struct config *config = NULL;
    enum log_level level;
    int rc;

    if (log_level_parse(s->log_level, &level) < 0)
        return complain(why, -EINVAL, "log_level", "there is no such level");
    rc = upgrade_config(s, &config, why);
    if (rc < 0)
        return rc;
    rc = inherit_sinks(a, s, config, why);
    if (rc == 0)
        rc = inherit_listeners(s, listeners, why);
    if (rc == 0) {
        rc = revision_inherit(a, config, s->revision, listeners, s->n_listeners, &a->live, why,
                              STATE_WHY_LEN);
        if (rc < 0)
            free_listeners(listeners, s->n_listeners);
    }
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    a->live->log.level = level;
    a->live->workers = (unsigned)s->workers;
    return 0;
}

static int read_proc(const struct state_child *c, struct tr_inherited *ret)
{
    int phase = find(upgrade_phase_names, ARRAY_SIZE(upgrade_phase_names), c->phase);
    int role = find(upgrade_role_names, ARRAY_SIZE(upgrade_role_names), c->role);

    if (phase < 0 || role < 0)
        return -EINVAL;
    *ret = (struct tr_inherited){
        .record = (uint32_t)c->record,
        .role = (enum tr_role)role,
        .proc = {.phase = (enum tr_phase)phase,
                 .wants_heir = c->wants_heir,
                 .is_quick = c->is_quick,
                 .is_overdue = c->is_overdue,
                 .slot = (uint32_t)c->slot,
                 .revision = c->revision,
                 .exit_timeout_ms = c->exit_timeout_ms,
                 .since_ms = c->since_ms,
                 .deadline_ms = c->deadline_ms},
    };
    return 0;
}

static int inherit_engine(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    const struct tr_set live = {
        .revision = s->revision,
        .workers = (uint32_t)s->workers,
        .boot_timeout_ms = a->live->config->boot_timeout_ms,
        .exit_timeout_ms = a->live->config->exit_timeout_ms,
    };
    struct tr_inherited *procs = calloc(s->n_children + 1, sizeof(*procs));
    int rc = procs ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < s->n_children; i++)
        rc = read_proc(&s->children[i], &procs[i]);
    if (rc == 0)
        rc = transition_inherit(a->engine, &live, TR_RECORDS_MAX, (uint32_t)clock_mono_ns(), procs,
                                s->n_children);
    free(procs);
    return rc < 0 ? complain(why, rc, "children", "they do not fit together") : 0;
}

/* To at least what is listed. A counter that this version does not have is nobody's loss. */
static void raise_counters(struct counters *c, const struct state_total *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
#define X(field, help)                                                                             \
    if (strcmp(list[i].name, #field) == 0 && list[i].value > counter_get(&c->field))               \
        counter_set(&c->field, list[i].value);
        COUNTERS(X)
#undef X
    }
}

static bool is_legible(const struct upgrade_state *s)
{
    return s->scoreboard_layout == scoreboard_layout();
}

/*
 * Records of another layout cannot be read. Then there is a new scoreboard, and the old image's
 * processes, which go on with theirs until they drain, stand in it with what they had counted.
 */
static int inherit_scoreboard(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    int rc;

    if (is_legible(s)) {
        rc = scoreboard_attach(&a->scoreboard, s->scoreboard_fd);
    } else {
        rc = scoreboard_open(&a->scoreboard, TR_RECORDS_MAX);
        a->upgrade.board_fd = s->scoreboard_fd;
        a->upgrade.board_layout = s->scoreboard_layout;
    }
    return rc < 0 ? complain(why, rc, "scoreboard", NULL) : 0;
}

/* What is not known of it: how often one of an older configuration beats, or one that cannot be
 * seen beats at all. exit_timeout bounds both. */
static uint64_t timeout_of(const struct arbiter *a, const struct child *c,
                           const struct upgrade_state *s)
{
    return is_legible(s) && c->revision == a->live->number ? a->live->config->timeout_ms
                                                           : UINT32_MAX;
}

static int inherit_record(struct arbiter *a, struct child *c, const struct state_child *from,
                          const struct upgrade_state *s)
{
    int rc = 0;

    c->score = scoreboard_record(&a->scoreboard, c->record);
    if (!is_legible(s)) {
        rc = scoreboard_assign(&a->scoreboard, c->record, c->slot, c->incarnation);
        if (rc < 0)
            return rc;
        counter_set(&scoreboard_identity(&a->scoreboard, c->record)->pid, (uint64_t)c->pid);
        counter_set(&c->score->state, c->ready_ms ? ACTOR_RUN : ACTOR_STARTING);
    }
    watch_begin(c, timeout_of(a, c, s));
    tally_take(&c->tally, &c->score->counters, clock_mono_ns());
    raise_counters(&c->tally.sum, from->counters, from->n_counters);
    return 0;
}

static bool was_in(const struct state_child *from, enum tr_phase phase)
{
    return strcmp(from->phase, upgrade_phase_names[phase]) == 0;
}

static int inherit_children(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    for (size_t i = 0; i < s->n_children; i++) {
        const struct state_child *from = &s->children[i];
        struct child *c = &a->children[from->record];
        int rc;

        if (from->pid == 0 || from->record >= a->scoreboard.n_records)
            return complain(why, -EINVAL, "children", "one has no process or no record");
        *c = (struct child){
            .pid = (pid_t)from->pid,
            .record = (uint32_t)from->record,
            .slot = (uint32_t)from->slot,
            .incarnation = from->incarnation,
            .revision = from->revision,
            .forked_ms = from->forked_ms,
            .ready_ms = from->ready_ms,
            .is_killed = from->is_killed,
            .must_abort = !from->is_killed && was_in(from, TR_KILLED),
            .n_gives = (unsigned)from->n_gives,
            /* Perhaps it was still to be told to whom; twice does no harm. */
            .must_drain = from->n_gives == 0 && was_in(from, TR_DRAINING),
        };
        rc = inherit_record(a, c, from, s);
        if (rc < 0)
            return complain(why, rc, "scoreboard", NULL);
        a->n_children_used = MAX(a->n_children_used, c->record + 1);
    }
    return 0;
}

static void inherit_slots(struct arbiter *a, const struct upgrade_state *s)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        const struct state_slot *from = &s->slots[i];
        const bool is_open = from->rescue_recv_fd >= 0 && from->rescue_send_fd >= 0;

        a->incarnations[from->slot] = from->incarnation;
        a->rescue[from->slot] =
            (struct rescue_pair){is_open, is_open, {from->rescue_recv_fd, from->rescue_send_fd}};
    }
}

static void inherit_crash(struct crashes *all, const struct state_crash *c)
{
    struct crash_entry *e = &all->last[(c->number - 1) % CRASHES_KEPT];

    *e = (struct crash_entry){
        .number = c->number,
        .wall_ns = c->wall_ns,
        .slot = (uint32_t)c->slot,
        .incarnation = c->incarnation,
        .pid = (pid_t)c->pid,
        .record = {.signo = c->signo,
                   .code = (int64_t)c->code,
                   .sender_pid = c->sender_pid,
                   .address = c->address,
                   .pc = c->pc,
                   .sp = c->sp,
                   .fd = (int64_t)c->fd,
                   .requests = c->requests,
                   .connections = c->connections,
                   .uptime_ms = c->uptime_ms,
                   .rescued = c->rescued,
                   .payload_len = c->payload.len,
                   .n_frames = c->n_frames},
    };
    if (c->payload.len)
        memcpy(e->record.payload, c->payload.data, c->payload.len);
    for (size_t i = 0; i < c->n_frames; i++)
        e->record.frames[i] = c->frames[i].value;
}

/* The last ones, without a gap. */
static int inherit_crashes(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    for (size_t i = 0; i < s->n_crashes; i++) {
        if (s->n_crashes > s->crash_count ||
            s->crashes[i].number != s->crash_count - s->n_crashes + i + 1)
            return complain(why, -EINVAL, "crashes", "they do not follow each other");
        inherit_crash(a->crashes, &s->crashes[i]);
    }
    a->crashes->n = s->crash_count;
    return 0;
}

static int inherit_facts(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    char *path = strdup(s->path), *version = strdup(s->version);

    if (!path || !version) {
        free(path);
        free(version);
        return complain(why, -ENOMEM, "state", NULL);
    }
    free(a->upgrade.path);
    a->upgrade.path = path;
    free(a->upgrade.old_version);
    a->upgrade.old_version = version;
    a->started_ms = s->started_ms;
    a->reloads = s->reloads;
    a->restarts = s->restarts;
    a->upgrades = s->upgrades;
    a->last_revision = s->last_revision;
    a->answers.last_request = s->last_request;
    a->change.is_wanted[CHANGE_RELOAD] = s->is_reload_due;
    a->change.is_wanted[CHANGE_UPGRADE] = s->is_upgrade_due;
    a->upgrade.asked_ms = s->asked_ms;
    json_object_update(a->notes, s->notes);
    a->pidfile.fd = s->pid_file_fd;
    snprintf(a->pidfile.path, sizeof(a->pidfile.path), "%s", s->pid_file);
    return 0;
}

/* All of it must be there, and be what it is said to be, before anything is touched. */
static int check_fds(const struct upgrade_state *s, char *why)
{
    size_t n;
    int *fds = NULL;
    int rc = upgrade_state_fds(s, &fds, &n);

    for (size_t i = 0; rc == 0 && i < n; i++)
        if (fcntl(fds[i], F_GETFD) < 0)
            rc = complain(why, -EBADF, "descriptors", "one is not open");
    free(fds);
    return rc;
}

static int check_texts(const struct upgrade_state *s, char *why)
{
    if (strlen(s->pid_file) >= sizeof(((struct pidfile *)NULL)->path) ||
        strlen(s->control) >= RUNTIME_PATH_MAX || strlen(s->control_dir) >= RUNTIME_PATH_MAX)
        return complain(why, -EINVAL, "paths", "one is too long");
    if (!json_is_object(s->notes) || s->last_revision < s->revision)
        return complain(why, -EINVAL, "state", "it does not fit together");
    for (size_t i = 0; i < s->n_clients; i++)
        if (s->clients[i].in.len > CONTROL_LINE_MAX || s->clients[i].out.len > CONTROL_OUTPUT_MAX)
            return complain(why, -EINVAL, "clients", "a request or an answer is too long");
    return 0;
}

static int inherit_control(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    char text[RUNTIME_PATH_MAX + 8];
    int rc;

    if (s->control_fd < 0)
        return 0;
    snprintf(text, sizeof(text), "unix:%s", s->control);
    rc = listener_inherit(text, s->control_fd, CONTROL_BACKLOG, true, (dev_t)s->control_dev,
                          (ino_t)s->control_ino, &a->control.listener);
    return rc < 0 ? complain(why, rc, text, NULL) : 0;
}

int upgrade_inherit(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    int rc = check_fds(s, why);

    if (rc == 0)
        rc = check_texts(s, why);
    if (rc == 0)
        rc = inherit_revision(a, s, why);
    if (rc == 0)
        rc = inherit_scoreboard(a, s, why);
    if (rc == 0)
        rc = inherit_engine(a, s, why);
    if (rc == 0)
        rc = inherit_children(a, s, why);
    if (rc == 0)
        rc = inherit_control(a, s, why);
    if (rc == 0)
        rc = inherit_crashes(a, s, why);
    if (rc == 0)
        rc = inherit_facts(a, s, why);
    if (rc < 0)
        return rc;
    raise_counters(&a->totals, s->totals, s->n_totals);
    inherit_slots(a, s);
    return 0;
}

/* ---- from here on there is an arbiter ---- */

static void attach_client(struct arbiter *a, const struct state_client *sc)
{
    struct control_client *c =
        control_inherit_client(a, sc->fd, sc->in.data, sc->in.len, sc->out.data, sc->out.len);

    for (size_t i = 0; c && i < MIN(sc->n_pending, (size_t)CONTROL_PENDING_MAX); i++) {
        const struct state_pending *p = &sc->pending[i];
        int wait = find(upgrade_wait_names, ARRAY_SIZE(upgrade_wait_names), p->wait);
        struct answer *w = wait < 0 ? NULL : answer_new(&a->answers, &c->asker, p->id);

        if (!w)
            continue;
        c->n_pending++;
        w->wait = (enum answer_wait)wait;
        w->deadline_ms = p->deadline_ms;
    }
}

void upgrade_attach(struct arbiter *a, const struct upgrade_state *s)
{
    upgrade_pass_fds(s, false);
    sinks_attach(&a->sinks);
    for (size_t i = 0; i < s->n_children; i++)
        children_inherit(a, &a->children[s->children[i].record], s->children[i].mailbox_fd);
    control_inherit(a, s->control, s->control_dir, commands_dispatch);
    for (size_t i = 0; i < s->n_clients; i++)
        attach_client(a, &s->clients[i]);
}
