/*
 * A revision: one configuration with its listeners and its log, and who waits at those when it
 * ends. Runs in the arbiter, which reads nothing of the connections.
 */
#include "arbiter/arbiter_impl.h"

#include <arbiter/server.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <syslog.h>
#include <time.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/hash.h"
#include "base/holder.h"
#include "base/limits.h"

static bool is_listed(const struct config *c, const char *text)
{
    for (size_t i = 0; i < c->n_bind; i++)
        if (strcmp(c->bind[i].address, text) == 0)
            return true;
    return false;
}

/* One whose socket file is gone is of no use to anybody: it is made anew. */
static struct listener *find_listener(struct revision *rev, const char *text)
{
    if (rev)
        for (size_t i = 0; i < rev->n_listeners; i++)
            if (strcmp(rev->listeners[i]->text, text) == 0 &&
                listener_is_reachable(rev->listeners[i]))
                return rev->listeners[i];
    return NULL;
}

/* Where somebody is named and no mode, the group may connect, as its name is given for that. */
static struct listener_access access_of(const struct config_access *said)
{
    const bool is_owned = *said->owner || *said->group;

    return (struct listener_access){said->mode < 0 && is_owned ? 0660 : said->mode, said->uid,
                                    said->gid};
}

/* Of an address that @old has no socket for, or one whose file is gone. What a service manager has
 * made is made anew with its mode. */
static struct listener_access access_anew(const struct revision *old,
                                          const struct config_bind *bind)
{
    struct listener_access access = access_of(&bind->access);

    for (size_t i = 0; access.mode < 0 && i < old->n_listeners; i++)
        if (old->listeners[i]->is_passed && strcmp(old->listeners[i]->text, bind->address) == 0)
            access.mode = old->listeners[i]->passed_mode;
    return access;
}

/* It serves already, and has what it had again if @rev does not commit. */
static int change_noting_access(struct revision *rev, struct listener *l,
                                struct listener_access access, char *why, size_t why_size)
{
    struct listener_access before;
    const int rc = listener_set_access(l, access, &before, why, why_size);

    if (rc < 0)
        return rc;
    rev->changed[rev->n_changed].listener = l;
    rev->changed[rev->n_changed++].before = before;
    return 0;
}

static void undo_access(struct revision *rev)
{
    char why[CONFIG_WHY_LEN];

    while (rev->n_changed > 0) {
        rev->n_changed--;
        listener_set_access(rev->changed[rev->n_changed].listener,
                            rev->changed[rev->n_changed].before, NULL, why, sizeof(why));
    }
}

/* Where nothing is said, nothing changes: so it is of one that a service manager has made, too. */
static int give_access(struct revision *rev, struct listener *l, struct listener_access access,
                       char *why, size_t why_size)
{
    if (l->addr.kind != ADDR_UNIX || !listener_says_access(access))
        return 0;
    return change_noting_access(rev, l, access, why, why_size);
}

static const struct config_access *find_access(const struct config *c, const char *address)
{
    for (size_t i = 0; i < c->n_bind; i++)
        if (strcmp(c->bind[i].address, address) == 0)
            return &c->bind[i].access;
    return NULL;
}

/* What is said no more has the default again; what never was said is left as somebody may have made
 * it. */
static void fall_back(struct listener_access *access, struct listener_access was)
{
    const struct listener_access usual = listener_default_access();

    if (access->mode < 0 && was.mode >= 0)
        access->mode = usual.mode;
    if (access->uid == (uid_t)-1 && was.uid != (uid_t)-1)
        access->uid = usual.uid;
    if (access->gid == (gid_t)-1 && was.gid != (gid_t)-1)
        access->gid = usual.gid;
}

/* Of a listener that both have. */
static int change_served(struct revision *rev, const struct revision *old, size_t i,
                         struct listener *l, char *why, size_t why_size)
{
    const struct config_access *said = find_access(old->config, l->text);
    struct listener_access access = access_of(&rev->config->bind[i].access);

    if (l->addr.kind != ADDR_UNIX || !said)
        return 0;
    fall_back(&access, access_of(said));
    return give_access(rev, l, access, why, why_size);
}

/* The control socket's; one that is gone is made anew when @rev serves. */
static int change_control(const struct arbiter *a, struct revision *rev, char *why, size_t why_size)
{
    struct listener *l = a->control.listener;
    const struct listener_access was = control_access(a->live->config);
    struct listener_access access = control_access(rev->config);
    int rc = 0;

    fall_back(&access, was);
    if (l && listener_is_reachable(l))
        rc = change_noting_access(rev, l, access, why, why_size);
    if (rc < 0)
        config_name_key(rev->config, control_access_key(rev->config), why, why_size);
    return rc;
}

/* Once is enough: it is one limit for all of them. */
static void warn_of_backlog(struct revision *rev)
{
    for (size_t i = 0; i < rev->n_listeners; i++) {
        const int max = listener_queue_max(rev->listeners[i]);

        if (max >= (int)rev->config->backlog)
            continue;
        log_warning(&rev->log, "fewer connections can wait than server.backlog says",
                    F_UINT("backlog", rev->config->backlog), F_INT("somaxconn", max),
                    F_STR("hint", "raise net.core.somaxconn, or lower server.backlog"));
        return;
    }
}

enum { STATUS_BACKLOG = 128 }; /* of status.bind, whatever server.backlog is */

/* NULL is fine. */
static void release_listener(struct listener *l)
{
    if (l && --l->refs == 0)
        listener_close(l);
}

/*
 * As listener_open. Workers whose arbiter was killed free the address as soon as they hear of it,
 * and those that hang do not: they are killed.
 */
static int open_at_start(struct revision *rev, const char *text, struct listener_access access,
                         int backlog, struct listener **ret, char *why, size_t why_size)
{
    const struct config *c = rev->config;
    const struct listener_outgoing nothing = {0};
    struct holders holders;
    int rc = listener_open(text, access, backlog, (unsigned)c->write_timeout_ms, LISTENER_START_MS,
                           nothing, ret, why, why_size);

    if (rc != -EADDRINUSE)
        return rc;
    holders_find(&holders, text);
    holders_continue(&holders, &rev->log);
    /* Once at least: who had it may have gone before it was found. */
    for (unsigned i = 0;
         rc == -EADDRINUSE && (i == 0 || holders_are_strays(&holders)) && i < HOLDER_TRIES; i++) {
        if (i == HOLDER_TRIES / 2)
            holders_kill(&holders, &rev->log);
        nanosleep(&(struct timespec){.tv_nsec = HOLDER_STEP_MS * 1000000}, NULL);
        rc = listener_open(text, access, backlog, (unsigned)c->write_timeout_ms, LISTENER_START_MS,
                           nothing, ret, why, why_size);
    }
    if (rc == -EADDRINUSE)
        holders_name(&holders, why, why_size);
    holders_free(&holders);
    return rc;
}

_Static_assert(CONFIG_BIND_MAX <= (int)ACTIVATION_FDS_MAX, "every address may be passed");

/* Which addresses of @c a service manager has passed; the others stay NULL. */
static int take_passed(const struct arbiter *a, const struct config *c, struct listener **ret,
                       char *why, size_t why_size)
{
    struct activation_wish wish = {
        .n = c->n_bind,
        .backlog = (int)c->backlog,
        .user_timeout_ms = (unsigned)c->write_timeout_ms,
    };

    for (size_t i = 0; i < c->n_bind; i++)
        wish.addresses[i] = c->bind[i].address;
    return activation_match(&a->activation, &wish, ret, why, why_size);
}

static bool is_same_status(const struct config *c, const struct revision *old)
{
    return old && old->status && strcmp(old->status->text, c->status_bind) == 0;
}

/* The listeners of @old whose addresses @c does not have. Returns how many. */
static size_t list_outgoing(const struct config *c, const struct revision *old,
                            struct listener *ret[CONFIG_BIND_MAX + 1])
{
    size_t n = 0;

    for (size_t i = 0; old && i < old->n_listeners; i++)
        if (!is_listed(c, old->listeners[i]->text))
            ret[n++] = old->listeners[i];
    if (old && old->status && !is_same_status(c, old))
        ret[n++] = old->status;
    return n;
}

/* The listener of status.bind. */
static int open_status(struct revision *rev, const struct revision *old,
                       struct listener_outgoing outgoing, char *why, size_t why_size)
{
    const struct config *c = rev->config;
    struct listener *l = NULL;
    int rc = 0;

    if (!*c->status_bind)
        return 0;
    if (is_same_status(c, old))
        l = old->status;
    else if (old)
        rc = listener_open(c->status_bind, LISTENER_ANY_ACCESS, STATUS_BACKLOG,
                           (unsigned)c->write_timeout_ms, 0, outgoing, &l, why, why_size);
    else
        rc = open_at_start(rev, c->status_bind, LISTENER_ANY_ACCESS, STATUS_BACKLOG, &l, why,
                           why_size);
    if (rc < 0) {
        config_name_key(c, CONFIG_STATUS_BIND, why, why_size);
        return rc;
    }
    l->refs++;
    rev->status = l;
    return 0;
}

static int open_listeners(const struct arbiter *a, struct revision *rev, struct revision *old,
                          char *why, size_t why_size)
{
    const struct config *c = rev->config;
    struct listener *outgoing[CONFIG_BIND_MAX + 1], *passed[CONFIG_BIND_MAX] = {NULL};
    const size_t n_outgoing = list_outgoing(c, old, outgoing);

    if (!old) {
        const int rc = take_passed(a, c, passed, why, why_size);

        if (rc < 0)
            return rc;
        strays_continue(&rev->log);
    }
    for (size_t i = 0; i < c->n_bind; i++) {
        const struct config_bind *bind = &c->bind[i];
        struct listener *l = old ? find_listener(old, bind->address) : passed[i];
        int rc;

        if (l)
            rc = old ? change_served(rev, old, i, l, why, why_size)
                     : give_access(rev, l, access_of(&bind->access), why, why_size);
        else if (old)
            rc = listener_open(bind->address, access_anew(old, bind), (int)c->backlog,
                               (unsigned)c->write_timeout_ms, 0,
                               (struct listener_outgoing){outgoing, n_outgoing}, &l, why, why_size);
        else
            rc = open_at_start(rev, bind->address, access_of(&bind->access), (int)c->backlog, &l,
                               why, why_size);
        if (rc < 0) {
            config_name_key(c, CONFIG_BIND, why, why_size);
            for (size_t k = i; k < c->n_bind; k++)
                listener_close(passed[k]);
            return rc;
        }
        if (l->refs++ == 0) /* a new one: it may be vacated before it ever serves */
            revision_speak_at(l, bind);
        rev->listeners[rev->n_listeners++] = l;
    }
    return open_status(rev, old, (struct listener_outgoing){outgoing, n_outgoing}, why, why_size);
}

static void explain_syslog(const struct config *c, int rc, char *why, size_t size)
{
    snprintf(why, size,
             "%snothing listens at %s (%s): start a syslog daemon, or name a file with --log-file "
             "or log.file",
             *c->log_file ? "" : "a daemon logs to syslog unless it is told otherwise, and ",
             _PATH_LOG, strerror(-rc));
}

static int open_log(struct arbiter *a, struct revision *rev, char *why, size_t why_size)
{
    const struct config *c = rev->config;
    const char *path = config_log_path(c);
    char error[LIMITS_ERROR_LEN];
    int rc;

    if (!path) {
        rc = log_open(&rev->log, "syslog", c->log_level, c->log_format, "arbiter");
        if (rc < 0)
            explain_syslog(c, rc, why, why_size);
    } else {
        rc = sinks_take(&a->sinks, path, c->is_daemon, &rev->sink, why, why_size);
        if (rc == 0)
            rc = log_open_pipe(&rev->log, rev->sink->ends[1], c->log_level, c->log_format,
                               "arbiter");
        if (rc < 0 && rev->sink)
            snprintf(why, why_size, "%s", limits_error(-rc, error));
    }
    if (rc < 0)
        config_name_key(c, CONFIG_LOG_FILE, why, why_size);
    return rc;
}

static int give_up_revision(struct revision *rev, int rc)
{
    rev->config = NULL; /* stays the caller's */
    undo_access(rev);
    revision_free(rev);
    return rc;
}

/* What cannot be had is said once in an image. */
static void say_lacks(struct arbiter *a, struct revision *rev)
{
    if (a->sandbox.is_told)
        return;
    a->sandbox.is_told = true;
    if (a->sandbox.is_denied)
        log_warning(&rev->log, "arbiter.sandbox: not all of it can be had",
                    F_STR("reason", a->sandbox.lacks));
    else if (*a->sandbox.lacks)
        log_info(&rev->log, "arbiter.sandbox: not all of it can be had",
                 F_STR("reason", a->sandbox.lacks));
}

static int prepare_sandbox(struct arbiter *a, struct revision *rev, char *why, size_t why_size)
{
    const struct config *c = rev->config;
    int rc = 0;

    if (c->sandbox == SANDBOX_OFF)
        return 0;
    if (!a->sandbox.is_known)
        rc = sandbox_init(&a->sandbox, a->options->program ? a->options->program->calls : NULL);
    if (rc < 0)
        snprintf(why, why_size, "it cannot be built: %s", strerror(-rc));
    if (rc == 0 && c->sandbox == SANDBOX_REQUIRE && a->privileges.kind == PRIVILEGES_BARE) {
        rc = -EPERM;
        snprintf(why, why_size,
                 "\"require\" is not possible: workers run as user 0, since they cannot become "
                 "another user, allowed: \"auto\" or \"off\"");
    }
    if (rc == 0 && c->sandbox == SANDBOX_REQUIRE && *a->sandbox.lacks) {
        rc = -ENOTSUP;
        snprintf(why, why_size, "\"require\" is not possible: %s, allowed: \"auto\" or \"off\"",
                 a->sandbox.lacks);
    }
    if (rc < 0)
        config_name_key(c, CONFIG_SANDBOX, why, why_size);
    else
        say_lacks(a, rev);
    return rc;
}

/* Without listeners. */
static int begin_revision(struct arbiter *a, struct config *config, uint64_t number,
                          struct revision **ret, char *why, size_t why_size)
{
    struct revision *rev = calloc(1, sizeof(*rev));
    int rc;

    if (!rev) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    rev->number = number;
    rev->config = config;
    rev->log.fd = -1;
    rev->counted = config_explain_workers(config, rev->workers_why, sizeof(rev->workers_why));
    rev->workers = rev->counted;
    rc = open_log(a, rev, why, why_size);
    if (rc == 0)
        rc = prepare_sandbox(a, rev, why, why_size);
    if (rc < 0)
        return give_up_revision(rev, rc);
    *ret = rev;
    return 0;
}

/* The memory in which workers count by source: made for the first revision that needs it, it stays.
 */
static int make_sources(struct arbiter *a, const struct config *c, char *why, size_t why_size)
{
    const uint64_t connections =
        c->max_connections > 0 ? c->max_connections : limits_raise(RLIMIT_NOFILE, 0);
    const uint32_t n = sources_size(MIN(connections, (uint64_t)SOURCES_MAX));
    int rc;

    if (a->sources.header || !config_has_source_limits(c))
        return 0;
    rc = sources_open(&a->sources, TR_RECORDS_MAX, n);
    if (rc < 0)
        snprintf(why, why_size, "%s or %s: %zu MiB of shared memory for what is counted: %s%s",
                 config_keys[CONFIG_MAX_PER_SOURCE].name, config_keys[CONFIG_ACCEPT_RATE].name,
                 sources_bytes(TR_RECORDS_MAX, n) >> 20, strerror(-rc),
                 rc == -EFBIG ? ": raise RLIMIT_FSIZE, or set server.max_connections lower" : "");
    return rc;
}

int revision_new(struct arbiter *a, struct config *config, uint64_t number, struct revision *old,
                 struct revision **ret, char *why, size_t why_size)
{
    struct revision *rev;
    int rc = begin_revision(a, config, number, &rev, why, why_size);

    if (rc < 0)
        return rc;
    rc = make_sources(a, config, why, why_size);
    if (rc == 0)
        rc = open_listeners(a, rev, old, why, why_size);
    if (rc == 0 && old)
        rc = change_control(a, rev, why, why_size);
    if (rc < 0)
        return give_up_revision(rev, rc);
    if (!old) {
        revision_speak(rev);
        warn_of_backlog(rev);
    }
    *ret = rev;
    return 0;
}

int revision_inherit(struct arbiter *a, struct config *config, uint64_t number,
                     struct listener **listeners, size_t n, struct listener *status,
                     struct revision **ret, char *why, size_t why_size)
{
    struct revision *rev;
    int rc;

    if (n > CONFIG_BIND_MAX) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    rc = begin_revision(a, config, number, &rev, why, why_size);
    if (rc < 0)
        return rc;
    for (; rev->n_listeners < n; rev->n_listeners++) {
        rev->listeners[rev->n_listeners] = listeners[rev->n_listeners];
        rev->listeners[rev->n_listeners]->refs++;
    }
    rev->status = status;
    if (status)
        status->refs++;
    revision_speak(rev);
    *ret = rev;
    return 0;
}

void revision_keep_workers(struct revision *rev, unsigned workers)
{
    if (workers != rev->workers)
        snprintf(rev->workers_why, sizeof(rev->workers_why), "as before the upgrade");
    rev->workers = workers;
}

struct tr_set revision_set(const struct arbiter *a, const struct revision *rev)
{
    struct tr_set set = {
        .revision = rev->number,
        .workers = rev->workers,
        .boot_timeout_ms = rev->config->boot_timeout_ms,
        .exit_timeout_ms = rev->config->exit_timeout_ms,
    };

    kinds_want(&a->kinds, &set, revision_kinds(rev->config));
    return set;
}

bool revision_can_change(const struct arbiter *a, const struct config *c, uint32_t workers)
{
    struct tr_set set = {.workers = workers};

    kinds_want(&a->kinds, &set, revision_kinds(c));
    return transition_can_reload(a->engine, transition_size(&set));
}

/*
 * ---- addresses that close ----
 *
 * Because the server stops or a reload has removed them. Who has connected and waits to be accepted
 * is not reset: every worker that serves takes what it can, so one that hangs holds nobody up.
 */

/* Few in a datagram, so that all workers get some. */
enum { BATCH = 16 };

_Static_assert((int)CONFIG_BIND_MAX <= (int)LISTENER_SHUT_MAX, "all addresses at once");

struct waiting {
    struct arbiter *arbiter;
    int ends[2]; /* owned: the reading one, the writing one; -1 = there are none */
    int fds[BATCH];
    uint32_t n; /* in `fds`, all of one protocol and one wish */
    unsigned protocol; /* its index in the program's table */
    enum proxy_wish wish;
    unsigned n_in_pair, n_passed, n_lost;
    int error; /* why the last of those that are lost is so; 0 = no worker serves */
};

/* Returns how many workers have been told. */
static unsigned offer_waiting(struct arbiter *a, int fd)
{
    unsigned n = 0;

    for_each_worker (a, c)
        n += transition_is_staying(a->engine, c->proc) &&
             children_send_fds(c, "collect", 0, NULL, &fd, 1) == 0;
    return n;
}

/* A worker that is told takes what is in the pair at that time, and does not wait for more. */
static void pass_pair(struct waiting *w)
{
    if (w->n_in_pair > 0)
        *(offer_waiting(w->arbiter, w->ends[0]) > 0 ? &w->n_passed : &w->n_lost) += w->n_in_pair;
    w->n_in_pair = 0;
    fds_close(&w->ends[0]);
    fds_close(&w->ends[1]);
}

static int send_waiting(struct waiting *w)
{
    const struct arb_program *program = w->arbiter->options->program;
    const struct conn_batch head = {
        .n_fds = w->n,
        .is_new = true,
        .protocol = hash_name(program->protocols[w->protocol]->name),
        .wish = w->wish,
    };
    const int rc = w->ends[1] < 0 ? mailbox_pair(w->ends) : 0;

    return rc < 0 ? rc : fdpass_send(w->ends[1], &head, sizeof(head), w->fds, w->n);
}

/* A pair holds some thousands: then there is another. */
static void flush_waiting(struct waiting *w)
{
    int error = send_waiting(w);

    if (error == -EAGAIN && w->n_in_pair > 0) {
        pass_pair(w);
        error = send_waiting(w);
    }
    if (error)
        w->error = error;
    *(error ? &w->n_lost : &w->n_in_pair) += w->n;
    for (uint32_t i = 0; i < w->n; i++)
        fds_close(&w->fds[i]);
    w->n = 0;
}

static void take_waiting(const struct listener *l, int fd, void *userdata)
{
    const enum proxy_wish wish = listener_wish(l, fd, NULL);
    struct waiting *w = userdata;

    if (w->n > 0 && (w->protocol != l->protocol || w->wish != wish))
        flush_waiting(w);
    w->protocol = l->protocol;
    w->wish = wish;
    w->fds[w->n++] = fd;
    if (w->n == BATCH)
        flush_waiting(w);
}

static void pass_waiting(struct waiting *w)
{
    if (w->n > 0)
        flush_waiting(w);
    pass_pair(w);
    if (w->n_passed > 0)
        log_info(w->arbiter->log, "connections that waited at a closed address go to the workers",
                 F_UINT("count", w->n_passed));
    if (w->n_lost > 0)
        log_warning(w->arbiter->log, "connections that waited at a closed address are ended",
                    F_UINT("count", w->n_lost),
                    F_STR("reason", w->error ? strerror(-w->error) : "no worker serves"));
}

/* @l, a passed socket, is given up: its address is removed, or its file was gone and is made anew.
 */
static void warn_of_manager(const struct arbiter *a, const struct listener *l)
{
    for (size_t i = 0; i < a->live->n_listeners; i++)
        if (strcmp(a->live->listeners[i]->text, l->text) == 0) {
            log_warning(a->log,
                        "the file of a socket that the service manager has passed was gone: it is "
                        "made anew, and the manager does not know of it until its socket unit is "
                        "restarted",
                        F_STR("address", l->bound));
            return;
        }
    log_warning(a->log,
                "the service manager still listens at a removed address: who connects waits there "
                "until its socket unit is changed, too",
                F_STR("address", l->bound));
}

static void revision_vacate(struct arbiter *a, struct revision *rev)
{
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};
    struct listener *removed[CONFIG_BIND_MAX];
    size_t n = 0;

    for (size_t i = 0; i < rev->n_listeners; i++)
        if (rev->listeners[i]->refs == 1) {
            removed[n++] = rev->listeners[i];
            if (rev->listeners[i]->is_passed)
                warn_of_manager(a, rev->listeners[i]);
        }
    listener_shut(removed, n, take_waiting, &w);
    pass_waiting(&w);
    if (rev->status && rev->status->refs == 1)
        listener_shut(&rev->status, 1, NULL, NULL); /* workers cannot serve those who wait there */
}

void revision_vacate_all(struct arbiter *a, bool is_quick)
{
    struct revision *const revisions[] = {a->live, a->next};
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};

    for (size_t k = 0; k < 2; k++) {
        if (revisions[k])
            listener_shut(revisions[k]->listeners, revisions[k]->n_listeners,
                          is_quick ? NULL : take_waiting, &w);
        if (revisions[k] && revisions[k]->status)
            listener_shut(&revisions[k]->status, 1, NULL, NULL);
    }
    pass_waiting(&w);
}

/* ---- what becomes of the next one ---- */

void revision_roll_back(struct arbiter *a)
{
    revision_vacate(a, a->next);
    undo_access(a->next);
    revision_free(a->next);
    a->next = NULL;
}

void revision_say_status(struct revision *rev)
{
    if (rev->status)
        log_info(&rev->log, "status over HTTP", F_STR("address", rev->status->bound));
}

void revision_commit(struct arbiter *a)
{
    struct revision *old = a->live;

    a->live = a->next;
    a->next = NULL;
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    a->log->lost = old->log.lost;
    for (size_t i = 0; i < a->live->n_listeners; i++) {
        struct listener *l = a->live->listeners[i];

        if (l->backlog != (int)a->live->config->backlog)
            listener_set_backlog(l, (int)a->live->config->backlog);
        if (old->config->write_timeout_ms != a->live->config->write_timeout_ms)
            listener_space_probes(l, (unsigned)a->live->config->write_timeout_ms, 0);
    }
    warn_of_backlog(a->live);
    if (a->live->status != old->status)
        revision_say_status(a->live);
    revision_speak(a->live);
    control_repair(a);
    revision_vacate(a, old);
    revision_free(old);
}

void revision_free(struct revision *rev)
{
    if (!rev)
        return;
    for (size_t i = 0; i < rev->n_listeners; i++)
        release_listener(rev->listeners[i]);
    release_listener(rev->status);
    log_close(&rev->log);
    sinks_release(rev->sink);
    config_free(rev->config);
    free(rev);
}

void revision_addresses(const struct revision *rev, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < rev->n_listeners && len < size; i++)
        len +=
            (size_t)snprintf(buf + len, size - len, "%s%s", i ? " " : "", rev->listeners[i]->bound);
}
