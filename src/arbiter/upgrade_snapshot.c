/*
 * The arbiter as a state for its next image. Changes nothing.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter/upgrade_impl.h"
#include "base/util.h"

const char *const upgrade_phase_names[TR_PHASES] = {
    [TR_STARTING] = "starting", [TR_READY] = "ready",   [TR_RUNNING] = "running",
    [TR_DRAINING] = "draining", [TR_KILLED] = "killed",
};

const char *const upgrade_role_names[TR_ROLES + 1] = {
    [TR_LIVE] = "live",
    [TR_HEIR] = "heir",
    [TR_NO_ROLE] = "none",
};

/* A reload is never under way in an exec; the next one is. */
const char *const upgrade_wait_names[UPGRADE_WAITS] = {
    [ANSWER_UPGRADE] = "upgrade",
    [ANSWER_NEXT_RELOAD] = "reload",
    [ANSWER_SCALE] = "scale",
};

struct builder {
    const struct arbiter *a;
    struct upgrade_state *s;
    bool has_failed; /* without memory */
};

static char *copy(struct builder *b, const char *text)
{
    char *copied = strdup(text);

    b->has_failed |= !copied;
    return copied;
}

static struct state_bytes copy_bytes(struct builder *b, const void *data, size_t len)
{
    struct state_bytes bytes = {.data = len ? malloc(len) : NULL};

    if (bytes.data) {
        memcpy(bytes.data, data, len);
        bytes.len = len;
    }
    b->has_failed |= len && !bytes.data;
    return bytes;
}

static void *list(struct builder *b, size_t n, size_t size)
{
    void *items = calloc(n ? n : 1, size);

    b->has_failed |= !items;
    return items;
}

static void add_config(struct builder *b)
{
    const struct config *c = b->a->live->config;
    struct upgrade_state *s = b->s;

    s->config_path = copy(b, c->path);
    s->log_level = copy(b, log_level_name(b->a->live->log.level));
    s->values = list(b, CONFIG_KEYS, sizeof(*s->values));
    for (int key = 0; s->values && key < CONFIG_KEYS; key++) {
        const struct config_origin *origin = &c->origin[key];
        struct state_value *v = &s->values[s->n_values];

        if (origin->kind == ORIGIN_DEFAULT) /* is the new image's own affair */
            continue;
        v->key = copy(b, config_keys[key].name);
        v->text = config_get(c, (enum config_key)key);
        v->line = origin->kind == ORIGIN_FILE ? origin->line : 0;
        b->has_failed |= !v->text;
        s->n_values++;
    }
}

static void add_listeners(struct builder *b)
{
    const struct revision *rev = b->a->live;
    struct upgrade_state *s = b->s;

    s->listeners = list(b, rev->n_listeners, sizeof(*s->listeners));
    for (size_t i = 0; s->listeners && i < rev->n_listeners; i++) {
        const struct listener *l = rev->listeners[i];

        s->listeners[s->n_listeners++] = (struct state_listener){
            .text = copy(b, l->text),
            .fd = l->fd,
            .backlog = (uint64_t)l->backlog,
            .is_owner = l->owner == getpid(),
            .dev = l->dev,
            .ino = l->ino,
        };
    }
}

static void add_sinks(struct builder *b)
{
    const struct arbiter *a = b->a;
    struct upgrade_state *s = b->s;
    struct list *link;

    s->sinks = list(b, SINKS_MAX, sizeof(*s->sinks));
    if (!s->sinks)
        return;
    list_for_each (link, &a->sinks.list) {
        const struct sink *from = container_of(link, struct sink, link);

        s->sinks[s->n_sinks++] = (struct state_sink){
            .path = copy(b, from->path),
            .read_fd = from->ends[0],
            .write_fd = from->ends[1],
            .control_fd = from->control_fd,
            .pid = (uint64_t)from->pid,
        };
    }
}

static struct state_total *list_counters(struct builder *b, const struct counters *c, size_t *ret_n)
{
    struct state_total *items = list(b, sizeof(*c) / sizeof(counter_t), sizeof(*items));
    size_t n = 0;

    if (!items)
        return NULL;
#define X(field, help) items[n++] = (struct state_total){copy(b, #field), counter_get(&c->field)};
    COUNTERS(X)
#undef X
    *ret_n = n;
    return items;
}

static void add_child(struct builder *b, const struct child *c)
{
    struct state_child *to = &b->s->children[b->s->n_children++];
    struct tr_inherited e;

    transition_describe(b->a->engine, c->record, &e);
    *to = (struct state_child){
        .pid = (uint64_t)c->pid,
        .record = c->record,
        .slot = c->slot,
        .incarnation = c->incarnation,
        .revision = c->revision,
        .forked_ms = c->forked_ms,
        .ready_ms = c->ready_ms,
        .is_killed = c->is_killed,
        .n_gives = c->n_gives,
        .mailbox_fd = c->mailbox.is_closed ? -1 : c->mailbox.fd,
        .phase = copy(b, upgrade_phase_names[e.proc.phase]),
        .role = copy(b, upgrade_role_names[e.role]),
        .wants_heir = e.proc.wants_heir,
        .is_quick = e.proc.is_quick,
        .is_overdue = e.proc.is_overdue,
        .exit_timeout_ms = e.proc.exit_timeout_ms,
        .since_ms = e.proc.since_ms,
        .deadline_ms = e.proc.deadline_ms,
    };
    to->counters = list_counters(b, &c->tally.sum, &to->n_counters);
}

static void add_children(struct builder *b)
{
    const struct arbiter *a = b->a;
    struct upgrade_state *s = b->s;

    s->children = list(b, a->n_children_used, sizeof(*s->children));
    for (uint32_t i = 0; s->children && i < a->n_children_used; i++)
        if (a->children[i].pid)
            add_child(b, &a->children[i]);
}

static void add_slots(struct builder *b)
{
    const struct arbiter *a = b->a;
    struct upgrade_state *s = b->s;

    s->slots = list(b, TR_SLOTS_MAX, sizeof(*s->slots));
    for (uint32_t slot = 1; s->slots && slot <= TR_SLOTS_MAX; slot++) {
        const struct rescue_pair *p = &a->rescue[slot];

        if (a->incarnations[slot])
            s->slots[s->n_slots++] =
                (struct state_slot){.slot = slot,
                                    .incarnation = a->incarnations[slot],
                                    .rescue_recv_fd = p->is_open ? p->ends[0] : -1,
                                    .rescue_send_fd = p->is_open ? p->ends[1] : -1};
    }
}

static void add_crash(struct builder *b, const struct crash_entry *e)
{
    const struct crash_record *r = &e->record;
    struct state_crash *c = &b->s->crashes[b->s->n_crashes++];

    *c = (struct state_crash){
        .number = e->number,
        .wall_ns = e->wall_ns,
        .slot = e->slot,
        .incarnation = e->incarnation,
        .pid = (uint64_t)e->pid,
        .signo = r->signo,
        .code = (uint64_t)r->code,
        .sender_pid = r->sender_pid,
        .address = r->address,
        .pc = r->pc,
        .sp = r->sp,
        .fd = (uint64_t)r->fd,
        .requests = r->requests,
        .connections = r->connections,
        .uptime_ms = r->uptime_ms,
        .rescued = r->rescued,
        .payload = copy_bytes(b, r->payload, r->payload_len),
        .frames = list(b, r->n_frames, sizeof(*c->frames)),
    };
    for (; c->frames && c->n_frames < r->n_frames; c->n_frames++)
        c->frames[c->n_frames].value = r->frames[c->n_frames];
}

static void add_crashes(struct builder *b)
{
    const struct crashes *c = b->a->crashes;

    b->s->crash_count = c->n;
    b->s->crashes = list(b, CRASHES_KEPT, sizeof(*b->s->crashes));
    for (uint64_t i = c->n > CRASHES_KEPT ? c->n - CRASHES_KEPT : 0; b->s->crashes && i < c->n; i++)
        add_crash(b, &c->last[i % CRASHES_KEPT]);
}

static void add_pending(struct builder *b, struct state_client *sc, const struct control_client *c)
{
    struct list *link;

    sc->pending = list(b, c->n_pending, sizeof(*sc->pending));
    if (!sc->pending)
        return;
    list_for_each (link, &b->a->answers.list) {
        struct answer *w = container_of(link, struct answer, link);

        if (w->asker == &c->asker && upgrade_wait_names[w->wait] && sc->n_pending < c->n_pending)
            sc->pending[sc->n_pending++] = (struct state_pending){
                json_incref(w->id), copy(b, upgrade_wait_names[w->wait]), w->deadline_ms};
    }
}

static void add_control(struct builder *b)
{
    const struct control *k = &b->a->control;
    struct upgrade_state *s = b->s;
    struct list *link;

    s->control_fd = k->listener ? k->listener->fd : -1;
    s->control = copy(b, k->path);
    s->control_dir = copy(b, k->made_dir);
    s->control_dev = k->listener ? k->listener->dev : 0;
    s->control_ino = k->listener ? k->listener->ino : 0;
    s->clients = list(b, k->n_clients, sizeof(*s->clients));
    if (!s->clients)
        return;
    list_for_each (link, &k->clients) {
        const struct control_client *c = container_of(link, struct control_client, link);
        struct state_client *sc = &s->clients[s->n_clients];

        if (c->is_dead || c->refused_ms || s->n_clients == k->n_clients)
            continue;
        sc->fd = c->io.fd;
        sc->in = copy_bytes(b, c->in, c->in_len);
        sc->out = copy_bytes(b, c->out, c->out_len);
        add_pending(b, sc, c);
        s->n_clients++;
    }
}

int upgrade_snapshot(const struct arbiter *a, struct upgrade_state *ret)
{
    const struct upgrade *u = &a->upgrade;
    struct upgrade_state s = {
        .pid = (uint64_t)getpid(),
        .started_ms = a->started_ms,
        .asked_ms = u->asked_ms,
        .reloads = a->reloads,
        .restarts = a->restarts,
        .upgrades = a->upgrades,
        .is_reload_due = a->change.is_wanted[CHANGE_RELOAD],
        .is_upgrade_due = a->change.is_wanted[CHANGE_UPGRADE],
        .revision = a->live->number,
        .last_revision = a->last_revision,
        .workers = transition_workers(a->engine),
        .scoreboard_fd = u->board_fd >= 0 ? u->board_fd : a->scoreboard.fd,
        .scoreboard_layout = u->board_fd >= 0 ? u->board_layout : scoreboard_layout(),
        .pid_file_fd = a->pidfile.fd,
        .last_request = a->answers.last_request,
        .notes = json_incref(a->notes),
    };
    struct builder b = {a, &s, false};

    s.version = copy(&b, ECHO_VERSION);
    s.path = copy(&b, u->path);
    s.pid_file = copy(&b, a->pidfile.path);
    add_config(&b);
    add_sinks(&b);
    add_listeners(&b);
    add_children(&b);
    add_slots(&b);
    add_crashes(&b);
    s.totals = list_counters(&b, &a->totals, &s.n_totals);
    add_control(&b);
    if (b.has_failed) {
        upgrade_state_fini(&s);
        return -ENOMEM;
    }
    *ret = s;
    return 0;
}
