/*
 * The arbiter's structs as JSON, and back. Runs in both images: the old one packs, the new one
 * unpacks. Each object of the state is a table of members that one or two structs have. The file is
 * long because both ways stand beside each other: what only one of them knew would be lost.
 */
#include "arbiter/upgrade_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/json_text.h"
#include "base/util.h"
#include "conf/config_codec.h"

#define FORMAT "echo-arbiter state"

enum {
    FDS_MAX = 1 << 16,
    N_LISTS = 8, /* members of the state that are no plain ones */
};

/* ---- members ---- */

enum kind {
    UINT, /* an unsigned number of 4 or 8 bytes, 0..max */
    WORD, /* 8 bytes, any bits */
    FLAG, /* bool */
    NAME, /* an enum, by its name */
    TEXT, /* char [size] */
    STRING, /* char *, owned */
    FD,
    MAYBE_FD, /* or -1 */
    ANY, /* json_t *, owned */
    COUNTS, /* struct counters; counters come and go with versions */
};

struct field {
    const char *name; /* NULL ends the table */
    size_t offset, size;
    enum kind kind;
    uint64_t max; /* UINT; NAME: how many names there are */
    const char *const *names; /* NAME; NULL in it = a value that does not travel */
};

#define MEMBER(type, member)                                                                       \
#member, offsetof(struct type, member), sizeof(((struct type *)NULL)->member)

#define ANY_U64 ((uint64_t)INT64_MAX) /* of JSON's integers: as good as never, if it is a time */

/* clang-format off */
static const struct field arbiter_fields[] = {
    {MEMBER(arbiter, started_ms), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, reloads), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, restarts), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, upgrades), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, last_revision), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, answers.last_request), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, change.is_wanted[CHANGE_RELOAD]), FLAG, 0, NULL},
    {MEMBER(arbiter, change.is_wanted[CHANGE_UPGRADE]), FLAG, 0, NULL},
    {MEMBER(arbiter, upgrade.asked_ms), UINT, ANY_U64, NULL},
    {MEMBER(arbiter, upgrade.path), STRING, 0, NULL},
    {MEMBER(arbiter, pidfile.path), TEXT, 0, NULL},
    {MEMBER(arbiter, pidfile.fd), MAYBE_FD, 0, NULL},
    {MEMBER(arbiter, control.path), TEXT, 0, NULL},
    {MEMBER(arbiter, control.made_dir), TEXT, 0, NULL},
    {MEMBER(arbiter, totals), COUNTS, 0, NULL},
    {MEMBER(arbiter, notes), ANY, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

/* What the arbiter has elsewhere. */
struct other {
    char format[sizeof(FORMAT)];
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

static const struct field other_fields[] = {
    {MEMBER(other, format), TEXT, 0, NULL},
    {MEMBER(other, version), UINT, INT32_MAX, NULL},
    {MEMBER(other, pid), UINT, INT32_MAX, NULL},
    {MEMBER(other, program_version), STRING, 0, NULL},
    {MEMBER(other, config_path), STRING, 0, NULL},
    {MEMBER(other, revision), UINT, ANY_U64, NULL},
    {MEMBER(other, workers), UINT, TR_SLOTS_MAX, NULL},
    {MEMBER(other, log_level), UINT, LOG_LEVEL_ERROR, NULL},
    {MEMBER(other, scoreboard_fd), FD, 0, NULL},
    {MEMBER(other, scoreboard_layout), WORD, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

static const struct field sink_fields[] = {
    {MEMBER(sink, path), STRING, 0, NULL},
    {MEMBER(sink, ends[0]), MAYBE_FD, 0, NULL},
    {MEMBER(sink, ends[1]), MAYBE_FD, 0, NULL},
    {MEMBER(sink, control_fd), MAYBE_FD, 0, NULL},
    {MEMBER(sink, pid), UINT, INT32_MAX, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

static const struct field listener_fields[] = {
    {MEMBER(listener, text), STRING, 0, NULL},
    {MEMBER(listener, fd), FD, 0, NULL},
    {MEMBER(listener, backlog), UINT, INT32_MAX, NULL},
    {MEMBER(listener, owner), UINT, INT32_MAX, NULL},
    {MEMBER(listener, dev), WORD, 0, NULL},
    {MEMBER(listener, ino), WORD, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

static const struct field child_fields[] = {
    {MEMBER(child, pid), UINT, INT32_MAX, NULL},
    {"record", offsetof(struct child, proc), sizeof(uint32_t), UINT, TR_RECORDS_MAX - 1, NULL},
    {MEMBER(child, slot), UINT, TR_SLOTS_MAX, NULL},
    {MEMBER(child, incarnation), UINT, ANY_U64, NULL},
    {MEMBER(child, revision), UINT, ANY_U64, NULL},
    {MEMBER(child, forked_ms), UINT, ANY_U64, NULL},
    {MEMBER(child, ready_ms), UINT, ANY_U64, NULL},
    {MEMBER(child, is_killed), FLAG, 0, NULL},
    {MEMBER(child, n_gives), UINT, UINT32_MAX, NULL},
    {MEMBER(child, mailbox.fd), MAYBE_FD, 0, NULL},
    {MEMBER(child, tally.sum), COUNTS, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

static const char *const phase_names[TR_PHASES] = {
    [TR_STARTING] = "starting", [TR_READY] = "ready", [TR_RUNNING] = "running",
    [TR_DRAINING] = "draining", [TR_KILLED] = "killed",
};
static const char *const role_names[] = {
    [TR_LIVE] = "live", [TR_HEIR] = "heir", [TR_NO_ROLE] = "none",
};
static const struct field proc_fields[] = {
    {MEMBER(tr_inherited, role), NAME, ARRAY_SIZE(role_names), role_names},
    {MEMBER(tr_inherited, proc.phase), NAME, TR_PHASES, phase_names},
    {MEMBER(tr_inherited, proc.wants_heir), FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.is_quick), FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.is_overdue), FLAG, 0, NULL},
    {MEMBER(tr_inherited, proc.exit_timeout_ms), UINT, ANY_U64, NULL},
    {MEMBER(tr_inherited, proc.since_ms), UINT, ANY_U64, NULL},
    {MEMBER(tr_inherited, proc.deadline_ms), UINT, ANY_U64, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

struct slot {
    uint32_t number;
    uint64_t incarnation;
    int recv_fd, send_fd; /* of the rescue pair */
};

static const struct field slot_fields[] = {
    {MEMBER(slot, number), UINT, TR_SLOTS_MAX, NULL},
    {MEMBER(slot, incarnation), UINT, ANY_U64, NULL},
    {MEMBER(slot, recv_fd), MAYBE_FD, 0, NULL},
    {MEMBER(slot, send_fd), MAYBE_FD, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

static const struct field client_fields[] = {
    {MEMBER(control_client, io.fd), FD, 0, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};

/* A reload is never under way in an exec. Whoever waits for workers or logs is told by the new image
 * that the upgrade came in between: if the exec fails, they go on waiting. */
static const char *const wait_names[ANSWER_WAITS] = {
    [ANSWER_NEXT_RELOAD] = "reload", [ANSWER_UPGRADE] = "upgrade", [ANSWER_SCALE] = "scale",
    [ANSWER_EXIT] = "exit", [ANSWER_WORKERS] = "workers", [ANSWER_LOG] = "log",
};
static const struct field answer_fields[] = {
    {MEMBER(answer, id), ANY, 0, NULL},
    {MEMBER(answer, wait), NAME, ANSWER_WAITS, wait_names},
    {MEMBER(answer, deadline_ms), UINT, ANY_U64, NULL},
    {NULL, 0, 0, ANY, 0, NULL},
};
/* clang-format on */

/* ---- what the old image does ---- */

struct packer {
    const struct arbiter *a;
    json_t *fds; /* all that were packed */
    bool has_failed; /* without memory */
};

static json_t *pack_counters(const struct counters *c)
{
    json_t *o = json_object();
    int rc = 0;

#define X(field, help)                                                                             \
    rc |= json_object_set_new(o, #field, json_integer((json_int_t)counter_get(&c->field)));
    COUNTERS(X)
#undef X
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *pack_field(struct packer *p, const struct field *f, const void *at)
{
    uint64_t wide;
    uint32_t narrow;
    int fd;

    memcpy(&wide, at, MIN(f->size, sizeof(wide)));
    memcpy(&narrow, at, MIN(f->size, sizeof(narrow)));
    switch (f->kind) {
    case UINT:
        return json_integer(
            (json_int_t)MIN(f->size == sizeof(wide) ? wide : (uint64_t)narrow, ANY_U64));
    case WORD:
        return json_integer((json_int_t)wide);
    case FLAG:
        return json_boolean(*(const bool *)at);
    case NAME:
        return json_string(f->names[narrow]);
    case TEXT:
        return json_text(at);
    case STRING:
        return json_text(*(char *const *)at);
    case FD:
    case MAYBE_FD:
        fd = *(const int *)at;
        if (fd >= 0)
            p->has_failed |= json_array_append_new(p->fds, json_integer(fd)) < 0;
        return json_integer(fd);
    case ANY:
        return json_incref(*(json_t *const *)at);
    case COUNTS:
        return pack_counters(at);
    }
    return NULL;
}

static void set_member(struct packer *p, json_t *o, const char *name, json_t *value)
{
    p->has_failed |= json_object_set_new(o, name, value) < 0;
}

static void pack_members(struct packer *p, json_t *o, const struct field *f, const void *base)
{
    for (; f->name; f++)
        set_member(p, o, f->name, pack_field(p, f, (const char *)base + f->offset));
}

/* One more object in @list. */
static json_t *append_object(struct packer *p, json_t *list, const struct field *f,
                             const void *base)
{
    json_t *o = json_object();

    p->has_failed |= json_array_append_new(list, o) < 0;
    pack_members(p, o, f, base);
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

static json_t *pack_listeners(struct packer *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->a->live->n_listeners; i++)
        append_object(p, list, listener_fields, p->a->live->listeners[i]);
    return list;
}

static json_t *pack_children(struct packer *p)
{
    const struct arbiter *a = p->a;
    json_t *list = json_array();

    for (uint32_t i = 0; i < a->n_children_used; i++) {
        struct tr_inherited proc;

        if (!a->children[i].pid)
            continue;
        transition_describe(a->engine, i, &proc);
        pack_members(p, append_object(p, list, child_fields, &a->children[i]), proc_fields, &proc);
    }
    return list;
}

static json_t *pack_slots(struct packer *p)
{
    json_t *list = json_array();

    for (uint32_t i = 1; i <= TR_SLOTS_MAX; i++) {
        const struct rescue_pair *pair = &p->a->rescue[i];
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

static json_t *pack_control(struct packer *p)
{
    json_t *o = p->a->control.listener ? json_object() : json_null();

    if (p->a->control.listener)
        pack_members(p, o, listener_fields, p->a->control.listener);
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
            set_member(p, append_object(p, list, client_fields, c), "pending", pack_pending(p, c));
    }
    return list;
}

static json_t *pack_body(struct packer *p)
{
    const struct arbiter *a = p->a;
    const bool has_old_board = a->upgrade.board_fd >= 0;
    const struct other other = {
        .format = FORMAT,
        .version = STATE_VERSION,
        .pid = getpid(),
        .program_version = (char *)(uintptr_t)ECHO_VERSION,
        .config_path = a->live->config->path,
        .revision = a->live->number,
        .workers = transition_workers(a->engine),
        .log_level = a->live->log.level,
        .scoreboard_fd = has_old_board ? a->upgrade.board_fd : a->scoreboard.fd,
        .scoreboard_layout = has_old_board ? a->upgrade.board_layout : scoreboard_layout(),
    };
    json_t *o = json_object();

    pack_members(p, o, arbiter_fields, a);
    pack_members(p, o, other_fields, &other);
    set_member(p, o, "values", config_encode(a->live->config));
    set_member(p, o, "sinks", pack_sinks(p));
    set_member(p, o, "listeners", pack_listeners(p));
    set_member(p, o, "children", pack_children(p));
    set_member(p, o, "slots", pack_slots(p));
    set_member(p, o, "control", pack_control(p));
    set_member(p, o, "clients", pack_clients(p));
    set_member(p, o, "fds", json_incref(p->fds)); /* after all the others */
    return o;
}

int upgrade_state_pack(const struct arbiter *a, struct upgrade_state *ret)
{
    struct packer p = {.a = a, .fds = json_array()};
    struct upgrade_state s = {.body = pack_body(&p)};

    s.n_fds = json_array_size(p.fds);
    s.fds = calloc(s.n_fds + 1, sizeof(*s.fds));
    for (size_t i = 0; s.fds && i < s.n_fds; i++)
        s.fds[i] = (int)json_integer_value(json_array_get(p.fds, i));
    json_decref(p.fds);
    if (p.has_failed || !s.fds) {
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
    bool *is_taken; /* which of its descriptors have an owner */
    char *why;
    struct control_client *client; /* of which pending requests are read; NULL = it is gone */
    struct config *config; /* of the live revision */
    struct listener *listeners[CONFIG_BIND_MAX]; /* the same */
    size_t n_listeners;
    struct tr_inherited *procs;
    size_t n_procs;
};

static int refuse_state(struct reader *r, const char *what, const char *detail)
{
    snprintf(r->why, ARBITER_WHY_LEN, "%s: %s", what, detail);
    return -EBADMSG;
}

static int refuse_error(struct reader *r, const char *what, int rc)
{
    if (rc < 0)
        refuse_state(r, what, strerror(-rc));
    return rc;
}

static int compare_ints(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

/* Two owners of one descriptor would close it twice. */
static int unpack_fd(struct reader *r, const struct field *f, json_int_t value, int *at)
{
    const int fd = (int)value;
    const int *found = bsearch(&fd, r->s->fds, r->s->n_fds, sizeof(fd), compare_ints);

    if (value == -1 && f->kind == MAYBE_FD) {
        *at = -1;
        return 0;
    }
    if (!found || value != fd || r->is_taken[found - r->s->fds])
        return refuse_state(r, f->name, "not a descriptor of the list that has no other owner");
    r->is_taken[found - r->s->fds] = true;
    *at = fd;
    return 0;
}

static int unpack_name(struct reader *r, const struct field *f, const char *name, void *at)
{
    for (uint32_t i = 0; i < f->max; i++) {
        if (f->names[i] && strcmp(f->names[i], name) == 0) {
            memcpy(at, &i, sizeof(i));
            return 0;
        }
    }
    return refuse_state(r, f->name, "a name that this version does not know");
}

static int unpack_text(struct reader *r, const struct field *f, const json_t *value, void *at)
{
    char *text;
    int rc = json_text_read(value, &text);

    if (rc < 0)
        return rc == -EBADMSG ? refuse_state(r, f->name, "not a text") : rc;
    if (f->kind == STRING) {
        free(*(char **)at);
        *(char **)at = text;
        return 0;
    }
    if (strlen(text) >= f->size)
        rc = refuse_state(r, f->name, "too long");
    else
        strcpy(at, text);
    free(text);
    return rc;
}

static int unpack_counters(struct reader *r, json_t *o, struct counters *c)
{
    const char *name;
    json_t *value;

    json_object_foreach(o, name, value)
    {
        const uint64_t n = (uint64_t)json_integer_value(value);

        if (!json_is_integer(value) || n > INT64_MAX)
            return refuse_state(r, name, "not a number in its range");
#define X(field, help)                                                                             \
    if (strcmp(name, #field) == 0)                                                                 \
        counter_set(&c->field, n);
        COUNTERS(X)
#undef X
    }
    return 0;
}

static int unpack_uint(struct reader *r, const struct field *f, json_int_t n, void *at)
{
    const uint64_t wide = (uint64_t)n;
    const uint32_t narrow = (uint32_t)n;

    if (f->kind == UINT && wide > f->max)
        return refuse_state(r, f->name, "not a number in its range");
    memcpy(at, f->size == sizeof(wide) ? (const void *)&wide : &narrow, f->size);
    return 0;
}

static const json_type types[] = {
    [UINT] = JSON_INTEGER,     [WORD] = JSON_INTEGER,  [NAME] = JSON_STRING,
    [TEXT] = JSON_STRING,      [STRING] = JSON_STRING, [FD] = JSON_INTEGER,
    [MAYBE_FD] = JSON_INTEGER, [COUNTS] = JSON_OBJECT,
};

static int unpack_field(struct reader *r, const struct field *f, json_t *value, void *at)
{
    if (f->kind == FLAG ? !json_is_boolean(value)
                        : f->kind != ANY && json_typeof(value) != types[f->kind])
        return refuse_state(r, f->name, "of another type");
    switch (f->kind) {
    case UINT:
    case WORD:
        return unpack_uint(r, f, json_integer_value(value), at);
    case FLAG:
        *(bool *)at = json_is_true(value);
        return 0;
    case NAME:
        return unpack_name(r, f, json_string_value(value), at);
    case TEXT:
    case STRING:
        return unpack_text(r, f, value, at);
    case FD:
    case MAYBE_FD:
        return unpack_fd(r, f, json_integer_value(value), at);
    case ANY:
        json_decref(*(json_t **)at);
        *(json_t **)at = json_incref(value);
        return 0;
    case COUNTS:
        return unpack_counters(r, value, at);
    }
    return -EBADMSG;
}

/* All members of @f, and @n_more that others read. */
static int unpack_members(struct reader *r, const json_t *o, const struct field *f, void *base,
                          size_t n_more)
{
    const char *first = f->name;
    size_t n = n_more;
    int rc = 0;

    for (; rc == 0 && f->name; f++, n++) {
        json_t *value = json_object_get(o, f->name);

        rc = value ? unpack_field(r, f, value, (char *)base + f->offset)
                   : refuse_state(r, f->name, "missing");
    }
    if (rc == 0 && json_object_size(o) != n)
        rc = refuse_state(r, first, "beside it is a member that this version does not know");
    return rc;
}

/* The list @name of @o. */
static int unpack_list(struct reader *r, const json_t *o, const char *name, size_t max,
                       int (*unpack)(struct reader *r, const json_t *o))
{
    const json_t *list = json_object_get(o, name);
    int rc = 0;

    if (!json_is_array(list) || json_array_size(list) > max)
        return refuse_state(r, name, "not a list within its bound");
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = unpack(r, json_array_get(list, i));
    return rc;
}

static int unpack_config(struct reader *r, const struct other *o)
{
    struct config_errors errors = {.n = 0};
    int rc;

    r->config = config_new();
    if (!r->config)
        return -ENOMEM;
    assert(o->config_path); /* it is one of the members */
    if (strlen(o->config_path) >= sizeof(r->config->path))
        return refuse_state(r, "config_path", "too long");
    strcpy(r->config->path, o->config_path);
    rc = config_decode(r->config, json_object_get(r->s->body, "values"), o->config_path, &errors);
    if (rc == -EBADMSG)
        refuse_state(r, "values", "not a configuration");
    else if (rc == 0 && errors.n)
        rc = refuse_state(r, "configuration", errors.text[0]);
    else if (rc == 0)
        rc = config_check(r->config, r->why, ARBITER_WHY_LEN);
    config_errors_fini(&errors);
    return rc;
}

/* The pipe is inherited with the lines in it. */
static int unpack_sink(struct reader *r, const json_t *o)
{
    struct sink s = {.path = NULL};
    int rc = unpack_members(r, o, sink_fields, &s, 0);

    if (rc == 0)
        rc = sinks_inherit(&r->a->sinks, s.path, r->config->is_daemon, s.ends, s.control_fd, s.pid);
    free(s.path);
    return rc;
}

static int unpack_listener(struct reader *r, const json_t *o, struct listener **ret)
{
    struct listener l = {.text = NULL};
    int rc = unpack_members(r, o, listener_fields, &l, 0);

    if (rc == 0)
        rc = refuse_error(
            r, l.text,
            listener_inherit(l.text, l.fd, l.backlog, l.owner == getpid(), l.dev, l.ino, ret));
    free(l.text);
    return rc;
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

static int unpack_live(struct reader *r, const struct other *o)
{
    struct arbiter *a = r->a;
    int rc = unpack_config(r, o);

    if (rc == 0)
        rc = unpack_list(r, r->s->body, "sinks", SINKS_MAX, unpack_sink);
    if (rc == 0 && !has_log_sink(r))
        rc = refuse_state(r, "sinks", "there is none for the log of the configuration");
    if (rc == 0)
        rc = unpack_list(r, r->s->body, "listeners", CONFIG_BIND_MAX, unpack_served);
    if (rc == 0 && r->n_listeners == 0)
        rc = refuse_state(r, "listeners", "there is none");
    if (rc == 0)
        rc = revision_inherit(a, r->config, o->revision, r->listeners, r->n_listeners, &a->live,
                              r->why, ARBITER_WHY_LEN);
    if (rc < 0)
        return rc;
    r->config = NULL;
    r->n_listeners = 0;
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    a->live->log.level = (enum log_level)o->log_level;
    a->live->workers = o->workers;
    return 0;
}

/*
 * Records of another layout cannot be read. Then there is a new scoreboard, and the old image's
 * processes, which go on with theirs until they drain, stand in it with what they had counted.
 */
static int inherit_scoreboard(struct reader *r, const struct other *o)
{
    struct arbiter *a = r->a;
    const bool is_legible = o->scoreboard_layout == scoreboard_layout();

    if (!is_legible) {
        a->upgrade.board_fd = o->scoreboard_fd;
        a->upgrade.board_layout = o->scoreboard_layout;
    }
    return refuse_error(r, "scoreboard",
                        is_legible ? scoreboard_attach(&a->scoreboard, o->scoreboard_fd)
                                   : scoreboard_open(&a->scoreboard, TR_RECORDS_MAX));
}

/* How often a process of an older configuration beats is not known, and whether one with a
 * scoreboard of its own does cannot be seen. Their exit_timeout bounds both. */
static int inherit_record(struct arbiter *a, struct child *c)
{
    const bool is_legible = a->upgrade.board_fd < 0;
    const struct counters listed = c->tally.sum;
    int rc;

    c->score = scoreboard_record(&a->scoreboard, c->proc);
    if (!is_legible) {
        rc = scoreboard_assign(&a->scoreboard, c->proc, c->slot, c->incarnation);
        if (rc < 0)
            return rc;
        counter_set(&scoreboard_identity(&a->scoreboard, c->proc)->pid, (uint64_t)c->pid);
        counter_set(&c->score->state, c->ready_ms ? ACTOR_RUN : ACTOR_STARTING);
    }
    watch_begin(c, is_legible && c->revision == a->live->number ? a->live->config->timeout_ms
                                                                : UINT32_MAX);
    c->tally = (struct tally){0};
    tally_take(&c->tally, &c->score->counters, clock_mono_ns());
#define X(field, help)                                                                             \
    if (counter_get(&listed.field) > counter_get(&c->tally.sum.field))                             \
        counter_set(&c->tally.sum.field, counter_get(&listed.field));
    COUNTERS(X)
#undef X
    return 0;
}

static int unpack_child(struct reader *r, const json_t *o)
{
    struct arbiter *a = r->a;
    struct tr_inherited *proc = &r->procs[r->n_procs++];
    struct child c = {.pid = 0}, *at;
    int rc = unpack_members(r, o, child_fields, &c, ARRAY_SIZE(proc_fields) - 1);

    if (rc == 0)
        rc = unpack_members(r, o, proc_fields, proc, ARRAY_SIZE(child_fields) - 1);
    if (rc < 0)
        return rc;
    at = &a->children[c.proc];
    if (c.pid == 0 || c.slot == 0 || c.proc >= a->scoreboard.n_records || at->pid)
        return refuse_state(r, "children", "one has no process, no slot, or no record of its own");
    proc->index = c.proc;
    proc->proc.slot = c.slot;
    proc->proc.revision = c.revision;
    c.must_abort = !c.is_killed && proc->proc.phase == TR_KILLED;
    /* Whom it gives to may not have been said yet. If it has been, that does no harm. */
    c.must_drain = c.n_gives == 0 && proc->proc.phase == TR_DRAINING;
    *at = c;
    a->n_children_used = MAX(a->n_children_used, c.proc + 1);
    children_inherit(a, at, c.mailbox.fd);
    return refuse_error(r, "scoreboard", inherit_record(a, at));
}

static int unpack_children(struct reader *r)
{
    struct arbiter *a = r->a;
    const struct tr_set live = {
        .revision = a->live->number,
        .workers = a->live->workers,
        .boot_timeout_ms = a->live->config->boot_timeout_ms,
        .exit_timeout_ms = a->live->config->exit_timeout_ms,
    };
    int rc;

    r->procs = calloc(TR_RECORDS_MAX, sizeof(*r->procs));
    if (!r->procs)
        return -ENOMEM;
    rc = unpack_list(r, r->s->body, "children", TR_RECORDS_MAX, unpack_child);
    if (rc == 0 && transition_inherit(a->engine, &live, TR_RECORDS_MAX, (uint32_t)clock_mono_ns(),
                                      r->procs, r->n_procs) < 0)
        rc = refuse_state(r, "children", "they do not fit together");
    return rc;
}

static int unpack_slot(struct reader *r, const json_t *o)
{
    struct slot s;
    int rc = unpack_members(r, o, slot_fields, &s, 0);

    if (rc == 0 && (s.number == 0 || s.incarnation == 0 || r->a->incarnations[s.number] ||
                    (s.recv_fd < 0) != (s.send_fd < 0)))
        rc = refuse_state(r, "slots", "one is no slot, is there twice, or has half a pair");
    if (rc < 0)
        return rc;
    r->a->incarnations[s.number] = s.incarnation;
    r->a->rescue[s.number] = (struct rescue_pair){
        .is_open = s.recv_fd >= 0,
        .is_left = s.recv_fd >= 0,
        .ends = {s.recv_fd, s.send_fd},
    };
    return 0;
}

static int unpack_answer(struct reader *r, const json_t *o)
{
    struct answer given = {.id = NULL}, *w;
    const int rc = unpack_members(r, o, answer_fields, &given, 0);

    if (rc == 0 && r->client && (w = answer_new(&r->a->answers, &r->client->asker, given.id))) {
        w->wait = given.wait;
        w->deadline_ms = given.deadline_ms;
        r->client->n_pending++;
    }
    json_decref(given.id);
    return rc;
}

/* Whom there is no memory for sees its connection end. */
static int unpack_client(struct reader *r, const json_t *o)
{
    struct control_client c;
    const int rc = unpack_members(r, o, client_fields, &c, 1);

    if (rc < 0)
        return rc;
    r->client = control_client_new(r->a, c.io.fd);
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
        if (is_taken ? !r->is_taken[i] : fcntl(r->s->fds[i], F_GETFD) < 0)
            return refuse_state(r, "fds", is_taken ? "one belongs to nothing" : "one is not open");
    return 0;
}

static int unpack_body(struct reader *r, struct other *o)
{
    enum { N_OTHERS = ARRAY_SIZE(other_fields) - 1, N_ARBITERS = ARRAY_SIZE(arbiter_fields) - 1 };
    struct arbiter *a = r->a;
    int rc = unpack_members(r, r->s->body, arbiter_fields, a, N_OTHERS + N_LISTS);

    if (rc == 0)
        rc = unpack_members(r, r->s->body, other_fields, o, N_ARBITERS + N_LISTS);
    a->upgrade.old_version = o->program_version;
    if (rc == 0 && (!json_is_object(a->notes) || a->last_revision < o->revision))
        rc = refuse_state(r, "notes or revision", "they do not fit together");
    if (rc == 0)
        rc = unpack_live(r, o);
    if (rc == 0)
        rc = inherit_scoreboard(r, o);
    if (rc == 0)
        rc = unpack_children(r);
    if (rc == 0)
        rc = unpack_list(r, r->s->body, "slots", TR_SLOTS_MAX, unpack_slot);
    return rc == 0 ? unpack_control(r) : rc;
}

int upgrade_state_unpack(const struct upgrade_state *s, struct arbiter *a, char *why)
{
    struct reader r = {.a = a, .s = s, .is_taken = calloc(s->n_fds + 1, 1), .why = why};
    struct other other = {.config_path = NULL};
    int rc = r.is_taken ? check_fds(&r, false) : -ENOMEM;

    if (rc == 0)
        rc = unpack_body(&r, &other);
    if (rc == 0)
        rc = check_fds(&r, true);
    if (rc == -ENOMEM)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    /* What was made before it failed goes, but its descriptors stay open, for the way back. */
    for (size_t i = 0; i < r.n_listeners; i++) {
        free(r.listeners[i]->text);
        free(r.listeners[i]);
    }
    config_free(r.config);
    free(r.procs);
    free(r.is_taken);
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
    qsort(s->fds, s->n_fds, sizeof(*s->fds), compare_ints);
    for (size_t i = 1; i < s->n_fds; i++)
        if (s->fds[i] == s->fds[i - 1])
            return -EBADMSG;
    return 0;
}

static int check_head(pid_t pid, struct upgrade_state *s, char *why)
{
    const char *format = json_string_value(json_object_get(s->body, "format"));
    const json_int_t version = json_integer_value(json_object_get(s->body, "version"));
    int rc = -EBADMSG;

    if (!format || strcmp(format, FORMAT) != 0) {
        snprintf(why, ARBITER_WHY_LEN, "state: this is none");
    } else if (version != STATE_VERSION) {
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

int upgrade_state_decode(const char *data, size_t len, pid_t pid, struct upgrade_state *ret,
                         char *why)
{
    json_error_t error;
    struct upgrade_state s = {
        .body = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error)};
    int rc = -EBADMSG;

    if (s.body)
        rc = check_head(pid, &s, why);
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
