/*
 * The arbiter's structs as JSON, and back, by tables of their members. Runs in both images: the old
 * one packs, the new one unpacks. One file, although a long one: each part is written and read from
 * the same rows, which have to change together.
 */
#include "arbiter/upgrade_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/heartbeat.h"
#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/members.h"
#include "base/util.h"
#include "conf/config_codec.h"
#include "conf/config_owner.h"

#define STATE_SUFFIX " state"

enum {
    FORMAT_LEN = 64, /* the name of the program, and " state" */
    FDS_MAX = 1 << 16,
    N_LISTS = 8, /* members of the state that are no plain ones */
};

/* clang-format off */
static const struct member arbiter_fields[] = {
    {MEMBER(arbiter, started_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, reloads), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, restarts), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, upgrades), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, last_revision), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, answers.last_request), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, change.is_wanted[CHANGE_RELOAD]), MEMBER_FLAG, 0, NULL},
    {MEMBER(arbiter, change.is_wanted[CHANGE_UPGRADE]), MEMBER_FLAG, 0, NULL},
    {MEMBER(arbiter, upgrade.asked_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, upgrade.path), MEMBER_OWN_TEXT, 0, NULL},
    {MEMBER(arbiter, pidfile.path), MEMBER_TEXT, 0, NULL},
    {MEMBER(arbiter, pidfile.fd), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(arbiter, control.path), MEMBER_TEXT, 0, NULL},
    {MEMBER(arbiter, control.made_dir), MEMBER_TEXT, 0, NULL},
    {MEMBER(arbiter, sequencer.order.number), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, sequencer.order.done), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, sequencer.n_dropped), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(arbiter, totals), MEMBER_COUNTERS, 0, NULL},
    {MEMBER(arbiter, notes), MEMBER_ANY, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* What the arbiter has elsewhere. */
struct other {
    char format[FORMAT_LEN];
    uint32_t version;
    pid_t pid; /* of the arbiter: exec does not change it */
    char *program_version; /* of the image that wrote this */
    char *config_path;
    uint64_t revision;
    uint32_t workers; /* as scaled */
    uint32_t log_level;
    int scoreboard_fd;
    uint64_t scoreboard_layout;
};

static const struct member other_fields[] = {
    {MEMBER(other, format), MEMBER_TEXT, 0, NULL},
    {MEMBER(other, version), MEMBER_UINT, INT32_MAX, NULL},
    {MEMBER(other, pid), MEMBER_UINT, INT32_MAX, NULL},
    {MEMBER(other, program_version), MEMBER_OWN_TEXT, 0, NULL},
    {MEMBER(other, config_path), MEMBER_OWN_TEXT, 0, NULL},
    {MEMBER(other, revision), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(other, workers), MEMBER_UINT, TR_SLOTS_MAX, NULL},
    {MEMBER(other, log_level), MEMBER_UINT, LOG_LEVEL_ERROR, NULL},
    {MEMBER(other, scoreboard_fd), MEMBER_FD, 0, NULL},
    {MEMBER(other, scoreboard_layout), MEMBER_WORD, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const struct member sink_fields[] = {
    {MEMBER(sink, path), MEMBER_OWN_TEXT, 0, NULL},
    {MEMBER(sink, ends[0]), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(sink, ends[1]), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(sink, control_fd), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(sink, pid), MEMBER_UINT, INT32_MAX, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const struct member listener_fields[] = {
    {MEMBER(listener, text), MEMBER_OWN_TEXT, 0, NULL},
    {MEMBER(listener, fd), MEMBER_FD, 0, NULL},
    {MEMBER(listener, backlog), MEMBER_UINT, INT32_MAX, NULL},
    {MEMBER(listener, owner), MEMBER_UINT, INT32_MAX, NULL},
    {MEMBER(listener, dev), MEMBER_WORD, 0, NULL},
    {MEMBER(listener, ino), MEMBER_WORD, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const struct member child_fields[] = {
    {MEMBER(child, pid), MEMBER_UINT, INT32_MAX, NULL},
    {"record", offsetof(struct child, proc), sizeof(uint32_t), MEMBER_UINT, TR_RECORDS_MAX - 1, NULL},
    {MEMBER(child, slot), MEMBER_UINT, TR_ALL_SLOTS_MAX, NULL},
    {MEMBER(child, incarnation), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, revision), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, forked_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, ready_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, is_killed), MEMBER_FLAG, 0, NULL},
    {MEMBER(child, n_gives), MEMBER_UINT, UINT32_MAX, NULL},
    {MEMBER(child, relay.is_joined), MEMBER_FLAG, 0, NULL},
    {MEMBER(child, relay.has_left), MEMBER_FLAG, 0, NULL},
    {MEMBER(child, relay.sent), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, relay.done), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, relay.sequence), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(child, relay.held_bytes), MEMBER_UINT, RELAY_HELD_MAX_BYTES, NULL},
    {MEMBER(child, mailbox.fd), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(child, tally.sum), MEMBER_COUNTERS, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const char *const phase_names[TR_PHASES] = {
    [TR_STARTING] = "starting", [TR_READY] = "ready", [TR_RUNNING] = "running",
    [TR_DRAINING] = "draining", [TR_KILLED] = "killed",
};
static const char *const role_names[] = {
    [TR_LIVE] = "live", [TR_HEIR] = "heir", [TR_NO_ROLE] = "none",
};
static const struct member proc_fields[] = {
    {MEMBER(tr_inherited, role), MEMBER_NAME, ARRAY_SIZE(role_names), role_names},
    {MEMBER(tr_inherited, proc.phase), MEMBER_NAME, TR_PHASES, phase_names},
    {MEMBER(tr_inherited, proc.wants_heir), MEMBER_FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.is_quick), MEMBER_FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.is_overdue), MEMBER_FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.exit_timeout_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(tr_inherited, proc.since_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(tr_inherited, proc.deadline_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

struct slot {
    uint32_t number;
    uint64_t incarnation;
    int recv_fd, send_fd; /* of the pair that images without keepers have; -1 = none */
};

static const struct member slot_fields[] = {
    {MEMBER(slot, number), MEMBER_UINT, TR_ALL_SLOTS_MAX, NULL},
    {MEMBER(slot, incarnation), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {MEMBER(slot, recv_fd), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(slot, send_fd), MEMBER_MAYBE_FD, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* Of a kind of actors beside the workers. Its place in the list is the number that stands in slots. */
struct kind {
    char name[KINDS_NAME_LEN];
    uint32_t wanted; /* now */
    uint32_t spawned;
};

static const struct member kind_fields[] = {
    {MEMBER(kind, name), MEMBER_TEXT, 0, NULL},
    {MEMBER(kind, wanted), MEMBER_UINT, TR_KIND_SLOTS_MAX, NULL},
    {MEMBER(kind, spawned), MEMBER_UINT, TR_KIND_SLOTS_MAX, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* What a child has to do with keepers. */
static const struct member keep_fields[] = {
    {"record", offsetof(struct child, proc), sizeof(uint32_t), MEMBER_UINT, TR_RECORDS_MAX - 1, NULL},
    {MEMBER(child, table_fd), MEMBER_MAYBE_FD, 0, NULL},
    {MEMBER(child, keeper), MEMBER_UINT, INT32_MAX, NULL},
    {MEMBER(child, n_left), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* How long things take: of what has ended, and of a child. */
static const struct member times_fields[] = {
    {MEMBER(score_times, reply), MEMBER_TIMING, 0, NULL},
    {MEMBER(score_times, lag), MEMBER_TIMING, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* Whose they are. */
static const struct member record_fields[] = {
    {"record", offsetof(struct child, proc), sizeof(uint32_t), MEMBER_UINT, TR_RECORDS_MAX - 1, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* The memory in which workers count by source: all else stands in it. */
static const struct member sources_fields[] = {
    {MEMBER(sources, fd), MEMBER_FD, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const char *const privileges_names[PRIVILEGES_KINDS] = {
    [PRIVILEGES_SAME] = "same", [PRIVILEGES_SWITCH] = "switch", [PRIVILEGES_ROOT] = "root",
    [PRIVILEGES_BARE] = "bare",
};
static const struct member privileges_fields[] = {
    {MEMBER(privileges, kind), MEMBER_NAME, PRIVILEGES_KINDS, privileges_names},
    {MEMBER(privileges, uid), MEMBER_UINT, UINT32_MAX, NULL},
    {MEMBER(privileges, gid), MEMBER_UINT, UINT32_MAX, NULL},
    {MEMBER(privileges, has_group), MEMBER_FLAG, 0, NULL},
    {MEMBER(privileges, user), MEMBER_TEXT, 0, NULL},
    {MEMBER(privileges, group), MEMBER_TEXT, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

static const struct member client_fields[] = {
    {MEMBER(control_client, io.fd), MEMBER_FD, 0, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};

/* A reload is never under way in an exec. Whoever waits for workers or logs is told by the new image
 * that the upgrade came in between: if the exec fails, they go on waiting. */
static const char *const wait_names[ANSWER_WAITS] = {
    [ANSWER_NEXT_RELOAD] = "reload", [ANSWER_UPGRADE] = "upgrade", [ANSWER_SCALE] = "scale",
    [ANSWER_EXIT] = "exit", [ANSWER_WORKERS] = "workers", [ANSWER_LOG] = "log",
    [ANSWER_OWN] = "own", [ANSWER_SPAWN] = "spawn",
};
static const struct member answer_fields[] = {
    {MEMBER(answer, id), MEMBER_ANY, 0, NULL},
    {MEMBER(answer, wait), MEMBER_NAME, ANSWER_WAITS, wait_names},
    {MEMBER(answer, deadline_ms), MEMBER_UINT, MEMBER_UINT_MAX, NULL},
    {NULL, 0, 0, MEMBER_ANY, 0, NULL},
};
/* clang-format on */

/* Of a reload that is wanted. Written only if it is true, and never on the way back: the program
 * there may not know it, and has nobody to refuse to. */
static const char force_name[] = "reload.is_force_asked";

/* Numbers of users and groups that are named in the values. Written only if some are: a program
 * that does not know this has no such values. */
static const char owners_member[] = "owners";

/* Written only if there are other kinds. */
static const char kinds_member[] = "kinds";

/* The texts of those listeners that a service manager has passed; written only if there are some.
 */
static const char passed_member[] = "passed";

/* The listener of status.bind; written only if there is one. */
static const char status_member[] = "status";

/* Written by programs that have keepers, but on the way back only to one that has them. */
static const char keeps_member[] = "keeps";

/* Written if there are limits per source, but on the way back only to a program that had it. */
static const char sources_member[] = "sources";

/* Written by programs that know of it, but on the way back only to one that does. */
static const char privileges_member[] = "privileges";

/* How many workers the configuration gave, whatever they were scaled to. Written as `privileges`.
 */
static const char counted_member[] = "counted";

/* The last changes. Written as `privileges`. */
static const char history_member[] = "history";

/* How long things take. Written as `privileges`. */
static const char times_member[] = "times";

/* ---- what the old image does ---- */

struct packer {
    const struct arbiter *a;
    struct members_packer to;
};

/* One more object in @list. */
static json_t *append_object(struct packer *p, json_t *list, const struct member *f,
                             const void *base)
{
    json_t *o = json_object();

    p->to.has_failed |= json_array_append_new(list, o) < 0;
    members_pack(&p->to, o, f, base);
    return o;
}

static json_t *pack_sinks(struct packer *p)
{
    json_t *list = json_array();
    struct list *link;

    list_for_each (link, &p->a->sinks.list)
        append_object(p, list, sink_fields, container_of(link, struct sink, link));
    return list;
}

static bool has_passed(const struct arbiter *a)
{
    bool has = false;

    for (size_t i = 0; i < a->live->n_listeners; i++)
        has |= a->live->listeners[i]->is_passed;
    return has;
}

static json_t *pack_passed(struct packer *p)
{
    const struct revision *live = p->a->live;
    json_t *list = json_array();

    for (size_t i = 0; i < live->n_listeners; i++)
        if (live->listeners[i]->is_passed)
            p->to.has_failed |=
                json_array_append_new(list, json_string(live->listeners[i]->text)) < 0;
    return list;
}

static json_t *pack_listeners(struct packer *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->a->live->n_listeners; i++)
        append_object(p, list, listener_fields, p->a->live->listeners[i]);
    return list;
}

/* Own counters stand among the framework's, whose names have no dot. */
static void pack_own(struct packer *p, const struct own_counts *counts, const json_t *kept,
                     const json_t *o, const char *name)
{
    p->to.has_failed |= own_pack(&p->a->own, counts, kept, json_object_get(o, name)) < 0;
}

static json_t *pack_children(struct packer *p)
{
    const struct arbiter *a = p->a;
    json_t *list = json_array();

    for (uint32_t i = 0; i < a->n_children_used; i++) {
        const struct child *c = &a->children[i];
        struct tr_inherited proc;
        json_t *o;

        if (!c->pid)
            continue;
        transition_describe(a->engine, i, &proc);
        o = append_object(p, list, child_fields, c);
        members_pack(&p->to, o, proc_fields, &proc);
        pack_own(p, &c->tally.own_sum, c->own_kept, o, "tally.sum");
    }
    return list;
}

static json_t *pack_times(struct packer *p)
{
    json_t *o = json_object(), *list = json_array();

    members_pack(&p->to, o, times_fields, &p->a->times);
    for_each_child (p->a, c)
        members_pack(&p->to, append_object(p, list, record_fields, c), times_fields,
                     &c->tally.times_sum);
    members_set(&p->to, o, "children", list);
    return o;
}

static json_t *pack_slots(struct packer *p)
{
    json_t *list = json_array();

    for (uint32_t i = 1; i <= TR_ALL_SLOTS_MAX; i++) {
        static const struct old_pair none;
        const struct old_pair *pair = i <= TR_SLOTS_MAX ? &p->a->old_pairs[i] : &none;
        const struct slot slot = {
            .number = i,
            .incarnation = p->a->incarnations[i],
            .recv_fd = pair->is_open ? pair->ends[0] : -1,
            .send_fd = pair->is_open ? pair->ends[1] : -1,
        };

        if (slot.incarnation)
            append_object(p, list, slot_fields, &slot);
    }
    return list;
}

static json_t *pack_kinds(struct packer *p)
{
    const struct kinds *kinds = &p->a->kinds;
    json_t *list = json_array();

    for (uint32_t i = 0; i < kinds->n; i++) {
        struct kind kind = {.wanted = transition_others(p->a->engine, i),
                            .spawned = kinds->list[i].n_spawned};

        strcpy(kind.name, kinds->list[i].name);
        append_object(p, list, kind_fields, &kind);
    }
    return list;
}

static json_t *pack_keeps(struct packer *p)
{
    json_t *list = json_array();

    for_each_child (p->a, c)
        if (c->table_fd >= 0 || child_is_keeper(c))
            append_object(p, list, keep_fields, c);
    return list;
}

/* What to write of the memory in which sources are counted. Returns false for nothing: an earlier
 * program does not know it, nor the keys without which it is not needed. */
static bool find_sources(const struct arbiter *a, struct sources *ret)
{
    const struct upgrade *u = &a->upgrade;

    *ret = a->sources;
    if (u->phase == UPGRADE_RETURNING && u->sources_fd >= 0)
        ret->fd = u->sources_fd;
    return ret->fd >= 0 && config_has_source_limits(a->live->config) &&
           (u->phase != UPGRADE_RETURNING || u->has_sources);
}

static json_t *pack_sources(struct packer *p, const struct sources *s)
{
    json_t *o = json_object();

    members_pack(&p->to, o, sources_fields, s);
    return o;
}

static json_t *pack_privileges(struct packer *p)
{
    const struct privileges *found = &p->a->privileges;
    json_t *o = json_object(), *groups = json_array();

    members_pack(&p->to, o, privileges_fields, found);
    for (size_t i = 0; i < found->n_groups; i++)
        json_array_append_new(groups, json_integer(found->groups[i]));
    members_set(&p->to, o, "groups", groups);
    return o;
}

/* NULL = there is none. */
static json_t *pack_listener(struct packer *p, const struct listener *l)
{
    json_t *o = l ? json_object() : json_null();

    if (l)
        members_pack(&p->to, o, listener_fields, l);
    return o;
}

static json_t *pack_pending(struct packer *p, const struct control_client *c)
{
    json_t *list = json_array();
    struct list *link;

    list_for_each (link, &p->a->answers.list) {
        const struct answer *w = container_of(link, struct answer, link);

        if (w->asker == &c->asker && wait_names[w->wait])
            append_object(p, list, answer_fields, w);
    }
    return list;
}

/* Of one in the middle of a request or an answer the new image would know only the rest. */
static json_t *pack_clients(struct packer *p)
{
    json_t *list = json_array();
    struct list *link;

    list_for_each (link, &p->a->control.clients) {
        const struct control_client *c = container_of(link, struct control_client, link);

        if (!c->is_dead && !c->refused_ms && !c->in_len && !c->out_len)
            members_set(&p->to, append_object(p, list, client_fields, c), "pending",
                        pack_pending(p, c));
    }
    return list;
}

/* What the numbers in a record stand for. */
static uint64_t record_layout(const struct arbiter *a)
{
    return own_hash(&a->own, scoreboard_layout());
}

static json_t *pack_body(struct packer *p)
{
    const struct arbiter *a = p->a;
    const bool has_old_board = a->upgrade.board_fd >= 0;
    struct other other = {
        .version = STATE_VERSION,
        .pid = getpid(),
        .program_version = (char *)(uintptr_t)a->options->program->version,
        .config_path = a->live->config->path,
        .revision = a->live->number,
        .workers = transition_workers(a->engine),
        .log_level = a->live->log.level,
        .scoreboard_fd = has_old_board ? a->upgrade.board_fd : a->scoreboard.fd,
        .scoreboard_layout = has_old_board ? a->upgrade.board_layout : record_layout(a),
    };
    struct sources sources;
    json_t *o = json_object();

    snprintf(other.format, sizeof(other.format), "%s" STATE_SUFFIX, a->options->program->name);
    members_pack(&p->to, o, arbiter_fields, a);
    pack_own(p, &a->own_totals, a->own_kept, o, "totals");
    members_pack(&p->to, o, other_fields, &other);
    if (a->reload.is_force_asked && a->upgrade.phase != UPGRADE_RETURNING)
        members_set(&p->to, o, force_name, json_true());
    members_set(&p->to, o, "values", config_encode(a->live->config));
    if (!config_owners_are_numbers(a->live->config))
        members_set(&p->to, o, owners_member, config_owners_encode(a->live->config));
    members_set(&p->to, o, "sinks", pack_sinks(p));
    members_set(&p->to, o, "listeners", pack_listeners(p));
    if (has_passed(a))
        members_set(&p->to, o, passed_member, pack_passed(p));
    if (a->live->status)
        members_set(&p->to, o, status_member, pack_listener(p, a->live->status));
    if (a->kinds.n > 0)
        members_set(&p->to, o, kinds_member, pack_kinds(p));
    members_set(&p->to, o, "children", pack_children(p));
    if (a->kinds.keeper && (a->upgrade.phase != UPGRADE_RETURNING || a->upgrade.has_keeps))
        members_set(&p->to, o, keeps_member, pack_keeps(p));
    if (find_sources(a, &sources))
        members_set(&p->to, o, sources_member, pack_sources(p, &sources));
    if (a->privileges.kind != PRIVILEGES_UNKNOWN &&
        (a->upgrade.phase != UPGRADE_RETURNING || a->upgrade.has_privileges))
        members_set(&p->to, o, privileges_member, pack_privileges(p));
    if (a->upgrade.phase != UPGRADE_RETURNING || a->upgrade.has_counted)
        members_set(&p->to, o, counted_member, json_integer(a->live->counted));
    if (a->upgrade.phase != UPGRADE_RETURNING || a->upgrade.has_history)
        members_set(&p->to, o, history_member, json_incref(a->history));
    if (a->upgrade.phase != UPGRADE_RETURNING || a->upgrade.has_times)
        members_set(&p->to, o, times_member, pack_times(p));
    members_set(&p->to, o, "slots", pack_slots(p));
    members_set(&p->to, o, "control", pack_listener(p, a->control.listener));
    members_set(&p->to, o, "clients", pack_clients(p));
    members_set(&p->to, o, "fds", json_incref(p->to.fds)); /* after all the others */
    return o;
}

int upgrade_state_pack(const struct arbiter *a, struct upgrade_state *ret)
{
    struct packer p = {.a = a, .to = {.fds = json_array()}};
    struct upgrade_state s = {.body = pack_body(&p)};

    s.n_fds = json_array_size(p.to.fds);
    s.fds = calloc(s.n_fds + 1, sizeof(*s.fds));
    for (size_t i = 0; s.fds && i < s.n_fds; i++)
        s.fds[i] = (int)json_integer_value(json_array_get(p.to.fds, i));
    json_decref(p.to.fds);
    if (p.to.has_failed || !s.fds) {
        upgrade_state_fini(&s);
        return -ENOMEM;
    }
    *ret = s;
    return 0;
}

void upgrade_state_fini(struct upgrade_state *s)
{
    json_decref(s->body);
    free(s->fds);
    *s = (struct upgrade_state){0};
}

/* ---- what the new image does ---- */

struct reader {
    struct arbiter *a;
    const struct upgrade_state *s;
    struct members_reader from;
    struct control_client *client; /* of which pending requests are read; NULL = it is gone */
    struct config *config; /* of the live revision */
    struct listener *listeners[CONFIG_BIND_MAX + 1]; /* the same */
    size_t n_listeners;
    struct listener *status; /* the same, of status.bind; NULL = none */
    struct tr_inherited *procs;
    size_t n_procs;
    uint32_t n_kinds; /* of the program before */
    uint32_t kinds_here[TR_KINDS_MAX]; /* their numbers in this one */
    uint8_t others[TR_KINDS_MAX]; /* wanted of each, by number in this one */
};

static int refuse_error(struct reader *r, const char *what, int rc)
{
    if (rc < 0)
        members_refuse(&r->from, what, strerror(-rc));
    return rc;
}

/* The list @name of @o. */
static int unpack_list(struct reader *r, const json_t *o, const char *name, size_t max,
                       int (*unpack)(struct reader *r, const json_t *o))
{
    const json_t *list = json_object_get(o, name);
    int rc = 0;

    if (!json_is_array(list) || json_array_size(list) > max)
        return members_refuse(&r->from, name, "not a list within its bound");
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = unpack(r, json_array_get(list, i));
    return rc;
}

static int unpack_config(struct reader *r, const struct other *o)
{
    struct config_errors errors = {.n = 0};
    int rc;

    r->config = config_new(r->a->options->schema);
    if (!r->config)
        return -ENOMEM;
    assert(o->config_path); /* it is one of the members */
    if (strlen(o->config_path) >= sizeof(r->config->path))
        return members_refuse(&r->from, "config_path", "too long");
    strcpy(r->config->path, o->config_path);
    rc = config_decode(r->config, json_object_get(r->s->body, "values"), o->config_path, &errors);
    if (rc == -EBADMSG)
        members_refuse(&r->from, "values", "not a configuration");
    else if (rc == 0 && errors.n)
        rc = members_refuse(&r->from, "configuration", errors.text[0]);
    if (rc == 0)
        config_owners_apply(r->config, json_object_get(r->s->body, owners_member), &errors);
    if (rc == 0 && errors.n)
        rc = members_refuse(&r->from, owners_member, errors.text[0]);
    if (rc == 0)
        rc = config_check(r->config, r->from.why, ARBITER_WHY_LEN);
    config_errors_fini(&errors);
    return rc;
}

/* The pipe is inherited with the lines in it. */
static int unpack_sink(struct reader *r, const json_t *o)
{
    struct sink s = {.path = NULL};
    int rc = members_unpack(&r->from, o, sink_fields, &s, 0);

    if (rc == 0)
        rc = sinks_inherit(&r->a->sinks, s.path, r->config->is_daemon, s.ends, s.control_fd, s.pid);
    free(s.path);
    return rc;
}

static int unpack_listener(struct reader *r, const json_t *o, struct listener **ret)
{
    struct listener l = {.text = NULL};
    int rc = members_unpack(&r->from, o, listener_fields, &l, 0);

    if (rc == 0)
        rc = refuse_error(
            r, l.text,
            listener_inherit(l.text, l.fd, l.backlog, l.owner == getpid(), l.dev, l.ino, ret));
    free(l.text);
    return rc;
}

/* Of a listener that has been read. */
static int unpack_passed(struct reader *r, const json_t *o)
{
    const char *text = json_string_value(o);

    for (size_t i = 0; text && i < r->n_listeners; i++)
        if (strcmp(r->listeners[i]->text, text) == 0) {
            listener_mark_passed(r->listeners[i]);
            return 0;
        }
    return members_refuse(&r->from, passed_member, "one is no listener");
}

static int unpack_served(struct reader *r, const json_t *o)
{
    const int rc = unpack_listener(r, o, &r->listeners[r->n_listeners]);

    r->n_listeners += rc == 0;
    return rc;
}

/* Whatever serves has one, unless it is syslog: nothing is opened for it here. */
static bool has_log_sink(const struct reader *r)
{
    const char *path = config_log_path(r->config);
    struct list *link;

    list_for_each (link, &r->a->sinks.list) {
        const struct sink *s = container_of(link, struct sink, link);

        if (path && s->ends[1] >= 0 && strcmp(s->path, path) == 0)
            return true;
    }
    return !path;
}

/* By their place they are found in the configuration, which has one at least. */
static bool are_of_config(const struct reader *r)
{
    bool is_same = r->n_listeners == r->config->n_bind;

    for (size_t i = 0; is_same && i < r->n_listeners; i++)
        is_same = strcmp(r->listeners[i]->text, r->config->bind[i].address) == 0;
    return is_same && strcmp(r->status ? r->status->text : "", r->config->status_bind) == 0;
}

static int unpack_live(struct reader *r, const struct other *o)
{
    struct arbiter *a = r->a;
    const json_t *status = json_object_get(r->s->body, status_member);
    int rc = unpack_config(r, o);

    if (rc == 0)
        rc = unpack_list(r, r->s->body, "sinks", SINKS_MAX, unpack_sink);
    if (rc == 0 && !has_log_sink(r))
        rc = members_refuse(&r->from, "sinks", "there is none for the log of the configuration");
    if (rc == 0)
        rc = unpack_list(r, r->s->body, "listeners", CONFIG_BIND_MAX, unpack_served);
    if (rc == 0 && json_object_get(r->s->body, passed_member))
        rc = unpack_list(r, r->s->body, passed_member, CONFIG_BIND_MAX, unpack_passed);
    if (rc == 0 && status)
        rc = unpack_listener(r, status, &r->status);
    if (rc == 0 && !are_of_config(r))
        rc = members_refuse(&r->from, "listeners", "they are not those of the configuration");
    if (rc == 0)
        rc = revision_inherit(a, r->config, o->revision, r->listeners, r->n_listeners, r->status,
                              &a->live, r->from.why, ARBITER_WHY_LEN);
    if (rc < 0)
        return rc;
    r->config = NULL;
    r->n_listeners = 0;
    r->status = NULL;
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    a->live->log.level = (enum log_level)o->log_level;
    revision_keep_workers(a->live, o->workers);
    return 0;
}

/*
 * Records of another layout cannot be read. Then there is a new scoreboard, and the old image's
 * processes, which go on with theirs until they drain, stand in it with what they had counted.
 */
static int inherit_scoreboard(struct reader *r, const struct other *o)
{
    struct arbiter *a = r->a;
    const bool is_legible = o->scoreboard_layout == record_layout(a);

    if (!is_legible) {
        a->upgrade.board_fd = o->scoreboard_fd;
        a->upgrade.board_layout = o->scoreboard_layout;
    }
    return refuse_error(r, "scoreboard",
                        is_legible ? scoreboard_attach(&a->scoreboard, o->scoreboard_fd)
                                   : scoreboard_open(&a->scoreboard, TR_RECORDS_MAX));
}

static void raise_to(counter_t *c, const counter_t *least)
{
    if (counter_get(c) < counter_get(least))
        counter_set(c, counter_get(least));
}

/* How often a process of an older configuration beats is not known; but it does once a second. */
static uint64_t inherited_timeout_ms(const struct arbiter *a, const struct child *c)
{
    const uint64_t timeout_ms = a->live->config->timeout_ms;
    const uint64_t least_ms = HEARTBEATS_A_TIMEOUT * HEARTBEAT_IDLE_MS;

    return c->revision == a->live->number ? timeout_ms : MAX(timeout_ms, least_ms);
}

/* Whether a process with a scoreboard of its own beats cannot be seen: its exit_timeout bounds
 * that. */
static int inherit_record(struct arbiter *a, struct child *c)
{
    const bool is_legible = a->upgrade.board_fd < 0;
    const struct tally listed = c->tally;
    int rc;

    c->score = scoreboard_record(&a->scoreboard, c->proc);
    if (!is_legible) {
        rc = scoreboard_assign(&a->scoreboard, c->proc, c->slot, c->incarnation);
        if (rc < 0)
            return rc;
        counter_set(&scoreboard_identity(&a->scoreboard, c->proc)->pid, (uint64_t)c->pid);
        counter_set(&c->score->state, c->ready_ms ? ACTOR_RUN : ACTOR_STARTING);
    }
    watch_begin(c, is_legible ? inherited_timeout_ms(a, c) : UINT32_MAX);
    if (is_legible)
        watch_resume(&c->watch, counter_get(&c->score->heartbeat_ns));
    c->tally = (struct tally){0};
    tally_take(&c->tally, c->score, clock_mono_ns());
#define X(field, help) raise_to(&c->tally.sum.field, &listed.sum.field);
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < ARRAY_SIZE(listed.own_sum.n); i++)
        raise_to(&c->tally.own_sum.n[i], &listed.own_sum.n[i]);
    return 0;
}

/* Own counters among those that are the member @name of @o; what is there has been checked. */
static int unpack_own(struct reader *r, const json_t *o, const char *name,
                      struct own_counts *counts, json_t *kept)
{
    if (!kept)
        return -ENOMEM;
    r->a->n_own_dropped += own_unpack(&r->a->own, json_object_get(o, name), counts, kept);
    return 0;
}

/* A kind that this program does not know has no place in its next set: its actors are told to end
 * once that serves. */
static int unpack_kind(struct reader *r, const json_t *o)
{
    struct kinds *kinds = &r->a->kinds;
    struct kind kind;
    int rc = members_unpack(&r->from, o, kind_fields, &kind, 0), here;

    if (rc < 0)
        return rc;
    here = *kind.name ? kinds_find(kinds, kind.name) : -EBADMSG;
    if (here == -1)
        here = kinds_add(kinds, kind.name);
    for (uint32_t i = 0; here >= 0 && i < r->n_kinds; i++)
        if (r->kinds_here[i] == (uint32_t)here)
            here = -EBADMSG;
    if (here < 0)
        return members_refuse(&r->from, kinds_member,
                              "there are too many, or one twice, or without a name");
    kinds->list[here].n_spawned = kind.spawned;
    r->others[here] = (uint8_t)kind.wanted;
    r->kinds_here[r->n_kinds++] = (uint32_t)here;
    return 0;
}

static int unpack_kinds(struct reader *r)
{
    return json_object_get(r->s->body, kinds_member)
               ? unpack_list(r, r->s->body, kinds_member, TR_KINDS_MAX, unpack_kind)
               : 0;
}

/* Slots of other kinds are numbered as the kinds are. 0 = there is no such slot. */
static uint32_t slot_here(const struct reader *r, uint32_t slot)
{
    const uint32_t kind = tr_slot_kind(slot);

    if (slot <= TR_SLOTS_MAX)
        return slot;
    return kind < r->n_kinds ? tr_slot(r->kinds_here[kind], tr_slot_number(slot)) : 0;
}

static int unpack_child(struct reader *r, const json_t *o)
{
    struct arbiter *a = r->a;
    struct tr_inherited *proc = &r->procs[r->n_procs++];
    struct child c = {.table_fd = -1}, *at;
    int rc = members_unpack(&r->from, o, child_fields, &c, ARRAY_SIZE(proc_fields) - 1);

    if (rc == 0)
        rc = members_unpack(&r->from, o, proc_fields, proc, ARRAY_SIZE(child_fields) - 1);
    if (rc < 0)
        return rc;
    c.slot = slot_here(r, c.slot);
    at = &a->children[c.proc];
    if (c.pid == 0 || c.slot == 0 || c.proc >= a->scoreboard.n_records || at->pid)
        return members_refuse(&r->from, "children",
                              "one has no process, no slot, or no record of its own");
    proc->index = c.proc;
    proc->proc.slot = c.slot;
    proc->proc.revision = c.revision;
    c.must_abort = !c.is_killed && proc->proc.phase == TR_KILLED;
    /* Whom it gives to may not have been said yet. If it has been, that does no harm. */
    c.must_drain = c.n_gives == 0 && proc->proc.phase == TR_DRAINING;
    c.own_kept = json_object();
    rc = unpack_own(r, o, "tally.sum", &c.tally.own_sum, c.own_kept);
    *at = c;
    if (rc == 0 && sequencer_inherit(a, at) < 0)
        rc = members_refuse(&r->from, "children", "the messages of one do not fit together");
    a->n_children_used = MAX(a->n_children_used, c.proc + 1);
    children_inherit(a, at, c.mailbox.fd);
    return rc < 0 ? rc : refuse_error(r, "scoreboard", inherit_record(a, at));
}

static int unpack_children(struct reader *r)
{
    struct arbiter *a = r->a;
    struct tr_set live = revision_set(a, a->live);
    int rc = unpack_kinds(r);

    if (rc < 0)
        return rc;
    memcpy(live.others, r->others, sizeof(live.others));
    if (live.companions && live.others[live.companions - 1] == 0)
        live.companions = 0; /* the program before had none */

    r->procs = calloc(TR_RECORDS_MAX, sizeof(*r->procs));
    if (!r->procs)
        return -ENOMEM;
    rc = unpack_list(r, r->s->body, "children", TR_RECORDS_MAX, unpack_child);
    if (rc == 0 && transition_inherit(a->engine, &live, TR_RECORDS_MAX, (uint32_t)clock_mono_ns(),
                                      r->procs, r->n_procs) < 0)
        rc = members_refuse(&r->from, "children", "they do not fit together");
    return rc;
}

/* Of a child that has been read. */
static int unpack_keep(struct reader *r, const json_t *o)
{
    struct child keep = {.table_fd = -1}, *c;
    int rc = members_unpack(&r->from, o, keep_fields, &keep, 0);

    if (rc < 0)
        return rc;
    c = &r->a->children[keep.proc];
    if (!c->pid || c->table_fd >= 0 || (keep.table_fd >= 0 && !child_is_worker(c)))
        return members_refuse(&r->from, keeps_member, "one is of no worker, or there twice");
    c->table_fd = keep.table_fd;
    c->keeper = keep.keeper;
    c->n_left = keep.n_left;
    return 0;
}

static int unpack_keeps(struct reader *r)
{
    r->a->upgrade.has_keeps = json_object_get(r->s->body, keeps_member) != NULL;
    return r->a->upgrade.has_keeps
               ? unpack_list(r, r->s->body, keeps_member, TR_RECORDS_MAX, unpack_keep)
               : 0;
}

/* Of a child that has been read, which may have had more since. */
static int unpack_child_times(struct reader *r, const json_t *o)
{
    struct child of = {.table_fd = -1}, *c;
    struct score_times times = {0};
    int rc = members_unpack(&r->from, o, record_fields, &of, ARRAY_SIZE(times_fields) - 1);

    if (rc == 0)
        rc = members_unpack(&r->from, o, times_fields, &times, ARRAY_SIZE(record_fields) - 1);
    if (rc < 0)
        return rc;
    c = &r->a->children[of.proc];
    if (!c->pid)
        return members_refuse(&r->from, times_member, "some are of no child");
    timing_raise(&c->tally.times_sum.reply, &times.reply);
    timing_raise(&c->tally.times_sum.lag, &times.lag);
    return 0;
}

static int unpack_times(struct reader *r)
{
    const json_t *o = json_object_get(r->s->body, times_member);
    int rc;

    r->a->upgrade.has_times = o != NULL;
    if (!o)
        return 0;
    rc = members_unpack(&r->from, o, times_fields, &r->a->times, 1);
    return rc == 0 ? unpack_list(r, o, "children", TR_RECORDS_MAX, unpack_child_times) : rc;
}

/* Memory of another layout is left to those who count in it. New workers count what they take. */
static int unpack_sources(struct reader *r)
{
    const json_t *o = json_object_get(r->s->body, sources_member);
    struct sources found;
    int rc;

    sources_init(&found);
    r->a->upgrade.has_sources = o != NULL;
    rc = o ? members_unpack(&r->from, o, sources_fields, &found, 0) : 0;
    if (rc == 0 && o && sources_attach(&r->a->sources, found.fd, TR_RECORDS_MAX) < 0)
        r->a->upgrade.sources_fd = found.fd;
    return rc;
}

static int unpack_supplementary(struct reader *r, const json_t *o)
{
    struct privileges *p = &r->a->privileges;

    if (!json_is_integer(o) || json_integer_value(o) < 0 || json_integer_value(o) >= UINT32_MAX)
        return members_refuse(&r->from, "groups", "one is no number of a group");
    p->groups[p->n_groups++] = (gid_t)json_integer_value(o);
    return 0;
}

/* An ordinary user's arbiter has nothing to find out. */
static int unpack_privileges(struct reader *r)
{
    const json_t *o = json_object_get(r->s->body, privileges_member);
    struct privileges *p = &r->a->privileges;
    int rc;

    r->a->upgrade.has_privileges = o != NULL;
    if (!o && geteuid() != 0)
        privileges_same(p);
    if (!o)
        return 0;
    rc = members_unpack(&r->from, o, privileges_fields, p, 1);
    return rc == 0 ? unpack_list(r, o, "groups", PRIVILEGES_GROUPS_MAX, unpack_supplementary) : rc;
}

/* If the image before has not said it, it is what is counted now: another number was scaled. */
static int unpack_counted(struct reader *r, const json_t *o)
{
    const json_int_t n = json_integer_value(o);

    r->a->upgrade.has_counted = o != NULL;
    if (!o)
        return 0;
    if (n < 1 || n > TR_SLOTS_MAX)
        return members_refuse(&r->from, counted_member, "no number of workers");
    r->a->live->counted = (unsigned)n;
    return 0;
}

static int unpack_history(struct reader *r, json_t *o)
{
    r->a->upgrade.has_history = o != NULL;
    if (!o)
        return 0;
    if (!json_is_array(o) || json_array_size(o) > HISTORY_KEPT)
        return members_refuse(&r->from, history_member, "no list of changes");
    json_decref(r->a->history);
    r->a->history = json_incref(o);
    return 0;
}

static int unpack_slot(struct reader *r, const json_t *o)
{
    struct slot s;
    int rc = members_unpack(&r->from, o, slot_fields, &s, 0);

    if (rc == 0)
        s.number = slot_here(r, s.number);
    if (rc == 0 &&
        (s.number == 0 || s.incarnation == 0 || r->a->incarnations[s.number] ||
         (s.recv_fd < 0) != (s.send_fd < 0) || (s.recv_fd >= 0 && s.number > TR_SLOTS_MAX)))
        rc =
            members_refuse(&r->from, "slots", "one is no slot, is there twice, or has half a pair");
    if (rc < 0)
        return rc;
    r->a->incarnations[s.number] = s.incarnation;
    if (s.recv_fd >= 0)
        keepers_inherit_pair(r->a, s.number, s.recv_fd, s.send_fd);
    return 0;
}

static int unpack_answer(struct reader *r, const json_t *o)
{
    struct answer given = {.id = NULL}, *w;
    const int rc = members_unpack(&r->from, o, answer_fields, &given, 0);

    if (rc == 0 && r->client && (w = answer_new(&r->a->answers, &r->client->asker, given.id))) {
        w->wait = given.wait;
        w->deadline_ms = given.deadline_ms;
        r->client->n_pending++;
    }
    json_decref(given.id);
    return rc;
}

static int unpack_client(struct reader *r, const json_t *o)
{
    struct control_client c;
    const int rc = members_unpack(&r->from, o, client_fields, &c, 1);

    if (rc < 0)
        return rc;
    r->client = control_inherit_client(r->a, c.io.fd);
    return unpack_list(r, o, "pending", CONTROL_PENDING_MAX, unpack_answer);
}

static int unpack_control(struct reader *r)
{
    const json_t *listener = json_object_get(r->s->body, "control");
    int rc = json_is_null(listener) ? 0 : unpack_listener(r, listener, &r->a->control.listener);

    if (rc < 0)
        return rc;
    control_inherit(r->a);
    return unpack_list(r, r->s->body, "clients", CONTROL_CLIENTS_MAX, unpack_client);
}

/* @is_taken: all of them have an owner; else they are all open. */
static int check_fds(struct reader *r, bool is_taken)
{
    for (size_t i = 0; i < r->s->n_fds; i++)
        if (is_taken ? !r->from.is_taken[i] : fcntl(r->s->fds[i], F_GETFD) < 0)
            return members_refuse(&r->from, "fds",
                                  is_taken ? "one belongs to nothing" : "one is not open");
    return 0;
}

static int unpack_body(struct reader *r, struct other *o)
{
    enum { N_OTHERS = ARRAY_SIZE(other_fields) - 1, N_ARBITERS = ARRAY_SIZE(arbiter_fields) - 1 };
    const json_t *force = json_object_get(r->s->body, force_name);
    const json_t *kinds = json_object_get(r->s->body, kinds_member);
    const json_t *keeps = json_object_get(r->s->body, keeps_member);
    const json_t *sources = json_object_get(r->s->body, sources_member);
    const json_t *owners = json_object_get(r->s->body, owners_member);
    const json_t *passed = json_object_get(r->s->body, passed_member);
    const json_t *status = json_object_get(r->s->body, status_member);
    const json_t *counted = json_object_get(r->s->body, counted_member);
    const bool has_member_times = json_object_get(r->s->body, times_member) != NULL;
    const bool has_privileges = json_object_get(r->s->body, privileges_member) != NULL;
    json_t *history = json_object_get(r->s->body, history_member);
    const size_t n_lists = (size_t)N_LISTS + (force != NULL) + (kinds != NULL) + (keeps != NULL) +
                           (sources != NULL) + (owners != NULL) + (passed != NULL) +
                           has_privileges + (counted != NULL) + (history != NULL) +
                           (status != NULL) + has_member_times;
    struct arbiter *a = r->a;
    int rc = members_unpack(&r->from, r->s->body, arbiter_fields, a, N_OTHERS + n_lists);

    if (rc == 0)
        rc = members_unpack(&r->from, r->s->body, other_fields, o, N_ARBITERS + n_lists);
    if (rc == 0 && force && !json_is_true(force))
        rc = members_refuse(&r->from, force_name, "neither true nor missing");
    a->reload.is_force_asked = force != NULL;
    a->upgrade.old_version = o->program_version;
    if (rc == 0 && (!json_is_object(a->notes) || a->last_revision < o->revision))
        rc = members_refuse(&r->from, "notes or revision", "they do not fit together");
    if (rc == 0)
        rc = unpack_own(r, r->s->body, "totals", &a->own_totals, a->own_kept);
    if (rc == 0)
        rc = unpack_live(r, o);
    if (rc == 0)
        rc = unpack_counted(r, counted);
    if (rc == 0)
        rc = unpack_history(r, history);
    if (rc == 0)
        rc = inherit_scoreboard(r, o);
    if (rc == 0)
        rc = unpack_children(r);
    if (rc == 0)
        rc = unpack_keeps(r);
    if (rc == 0)
        rc = unpack_times(r);
    if (rc == 0)
        rc = unpack_sources(r);
    if (rc == 0)
        rc = unpack_privileges(r);
    if (rc == 0)
        rc = unpack_list(r, r->s->body, "slots", TR_ALL_SLOTS_MAX, unpack_slot);
    return rc == 0 ? unpack_control(r) : rc;
}

int upgrade_state_unpack(const struct upgrade_state *s, struct arbiter *a, char *why)
{
    struct reader r = {
        .a = a,
        .s = s,
        .from = {.fds = s->fds,
                 .n_fds = s->n_fds,
                 .is_taken = calloc(s->n_fds + 1, 1),
                 .why = why,
                 .why_size = ARBITER_WHY_LEN},
    };
    struct other other = {.config_path = NULL};
    int rc = r.from.is_taken ? check_fds(&r, false) : -ENOMEM;

    if (rc == 0)
        rc = unpack_body(&r, &other);
    if (rc == 0)
        rc = check_fds(&r, true);
    if (rc == -ENOMEM)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    /* What was made before it failed goes, but its descriptors stay open, for the way back. */
    if (r.status)
        r.listeners[r.n_listeners++] = r.status;
    for (size_t i = 0; i < r.n_listeners; i++) {
        free(r.listeners[i]->text);
        free(r.listeners[i]);
    }
    config_free(r.config);
    free(r.procs);
    free(r.from.is_taken);
    free(other.config_path);
    return rc;
}

/* ---- before anything is unpacked ---- */

static int take_fds(const json_t *list, struct upgrade_state *s)
{
    s->n_fds = json_array_size(list);
    if (!json_is_array(list) || s->n_fds > FDS_MAX)
        return -EBADMSG;
    s->fds = calloc(s->n_fds + 1, sizeof(*s->fds));
    if (!s->fds)
        return -ENOMEM;
    for (size_t i = 0; i < s->n_fds; i++) {
        const json_int_t fd = json_integer_value(json_array_get(list, i));

        if (fd < 3 || fd > INT32_MAX)
            return -EBADMSG;
        s->fds[i] = (int)fd;
    }
    qsort(s->fds, s->n_fds, sizeof(*s->fds), members_compare_fds);
    for (size_t i = 1; i < s->n_fds; i++)
        if (s->fds[i] == s->fds[i - 1])
            return -EBADMSG;
    return 0;
}

/* Whose state is it? Returns 0, or -EBADMSG with @why. */
static int check_format(const char *format, const char *program, char *why)
{
    const size_t len = format ? strlen(format) : 0, suffix = strlen(STATE_SUFFIX);

    if (len <= suffix || len >= FORMAT_LEN || strcmp(format + len - suffix, STATE_SUFFIX) != 0)
        snprintf(why, ARBITER_WHY_LEN, "state: this is none");
    else if (len - suffix != strlen(program) || memcmp(format, program, len - suffix) != 0)
        snprintf(
            why, ARBITER_WHY_LEN,
            "the server that runs is %.*s, this program is %s: only a program of the same name "
            "can go on",
            (int)(len - suffix), format, program);
    else
        return 0;
    return -EBADMSG;
}

static int check_head(const char *program, pid_t pid, struct upgrade_state *s, char *why)
{
    const char *format = json_string_value(json_object_get(s->body, "format"));
    const json_int_t version = json_integer_value(json_object_get(s->body, "version"));
    int rc = check_format(format, program, why);

    if (rc < 0)
        return rc;
    rc = -EBADMSG;
    if (version != STATE_VERSION) {
        snprintf(why, ARBITER_WHY_LEN, "state: version %" JSON_INTEGER_FORMAT ", understood: %d",
                 version, STATE_VERSION);
        rc = -EPROTONOSUPPORT;
    } else if (json_integer_value(json_object_get(s->body, "pid")) != pid) {
        snprintf(why, ARBITER_WHY_LEN, "the state is another process's");
    } else {
        rc = take_fds(json_object_get(s->body, "fds"), s);
        snprintf(why, ARBITER_WHY_LEN, "fds: not a list of different descriptors above 2");
    }
    return rc;
}

int upgrade_state_decode(const char *data, size_t len, const char *program, pid_t pid,
                         struct upgrade_state *ret, char *why)
{
    json_error_t error;
    struct upgrade_state s = {
        .body = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error)};
    int rc = -EBADMSG;

    if (s.body)
        rc = check_head(program, pid, &s, why);
    else
        snprintf(why, ARBITER_WHY_LEN, "state: %s", error.text);
    if (rc == 0)
        *ret = s;
    else
        upgrade_state_fini(&s);
    if (rc == -ENOMEM)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    return rc;
}
