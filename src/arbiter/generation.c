/*
 * A generation: one configuration with its listeners and its log. Runs in the arbiter.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arbiter/holder.h"
#include <syslog.h>

static bool is_listed(const struct config *c, const char *text)
{
    for (size_t i = 0; i < c->n_bind; i++)
        if (strcmp(c->bind[i], text) == 0)
            return true;
    return false;
}

/* One whose socket file is gone is of no use to anybody: it is made anew. */
static struct listener *find_listener(struct generation *g, const char *text)
{
    if (g)
        for (size_t i = 0; i < g->n_listeners; i++)
            if (strcmp(g->listeners[i]->text, text) == 0 && listener_is_reachable(g->listeners[i]))
                return g->listeners[i];
    return NULL;
}

static void release_listener(struct listener *l)
{
    if (--l->refs == 0)
        listener_close(l);
}

void generation_name_key(const struct config *c, enum config_key key, char *why, size_t why_size)
{
    char where[CONFIG_WHERE_LEN], reason[CONFIG_WHY_LEN];

    snprintf(reason, sizeof(reason), "%s", why);
    if (c->origin[key].kind == ORIGIN_FILE)
        snprintf(why, why_size, "%s: %s: %s", config_where(c, key, where), config_keys[key].name,
                 reason);
    else
        snprintf(why, why_size, "%s%s: %s", config_keys[key].name,
                 key == CONFIG_BIND ? " (-b)" : "", reason);
}

/*
 * As listener_open. Workers whose arbiter was killed free the address as soon as they hear of it,
 * and those that hang do not: they are killed.
 */
static int open_at_start(struct generation *g, const char *text, struct listener **ret, char *why,
                         size_t why_size)
{
    const struct config *c = g->config;
    const struct listener_outgoing nothing = {0};
    struct holders holders;
    int rc = listener_open(text, (int)c->backlog, (unsigned)c->write_timeout_ms, nothing, ret, why,
                           why_size);

    if (rc != -EADDRINUSE)
        return rc;
    holders_find(&holders, text);
    /* Once at least: who had it may have gone before it was found. */
    for (unsigned i = 0;
         rc == -EADDRINUSE && (i == 0 || holders_are_strays(&holders)) && i < HOLDER_TRIES; i++) {
        if (i == HOLDER_TRIES / 2)
            holders_kill(&holders, &g->log);
        nanosleep(&(struct timespec){.tv_nsec = HOLDER_STEP_MS * 1000000}, NULL);
        rc = listener_open(text, (int)c->backlog, (unsigned)c->write_timeout_ms, nothing, ret, why,
                           why_size);
    }
    if (rc == -EADDRINUSE)
        holders_name(&holders, why, why_size);
    holders_free(&holders);
    return rc;
}

static int open_listeners(struct generation *g, struct generation *old, char *why, size_t why_size)
{
    const struct config *c = g->config;
    struct listener *outgoing[CONFIG_BIND_MAX];
    size_t n_outgoing = 0;

    if (!old)
        strays_continue(&g->log);
    for (size_t i = 0; old && i < old->n_listeners; i++)
        if (!is_listed(c, old->listeners[i]->text))
            outgoing[n_outgoing++] = old->listeners[i];
    for (size_t i = 0; i < c->n_bind; i++) {
        struct listener *l = find_listener(old, c->bind[i]);

        if (!l) {
            int rc = old ? listener_open(c->bind[i], (int)c->backlog, (unsigned)c->write_timeout_ms,
                                         (struct listener_outgoing){outgoing, n_outgoing}, &l, why,
                                         why_size)
                         : open_at_start(g, c->bind[i], &l, why, why_size);
            if (rc < 0) {
                generation_name_key(c, CONFIG_BIND, why, why_size);
                return rc;
            }
            l->refs = 0;
        }
        l->refs++;
        g->listeners[g->n_listeners++] = l;
    }
    return 0;
}

static void explain_syslog(const struct config *c, int rc, char *why, size_t size)
{
    snprintf(why, size,
             "%snothing listens at %s (%s): start a syslog daemon, or name a file with --log-file "
             "or log.file",
             *c->log_file ? "" : "a daemon logs to syslog unless it is told otherwise, and ",
             _PATH_LOG, strerror(-rc));
}

static int open_log(struct arbiter *a, struct generation *g, char *why, size_t why_size)
{
    const struct config *c = g->config;
    int rc;

    if (!sinks_path(c)) {
        rc = log_open(&g->log, "syslog", c->log_level, c->log_format, "arbiter");
        if (rc < 0)
            explain_syslog(c, rc, why, why_size);
    } else {
        rc = sinks_take(a, c, &g->sink, why, why_size);
        if (rc == 0)
            rc = log_open_pipe(&g->log, g->sink->ends[1], c->log_level, c->log_format, "arbiter");
        if (rc < 0 && g->sink)
            snprintf(why, why_size, "%s", strerror(-rc));
    }
    if (rc < 0)
        generation_name_key(c, CONFIG_LOG_FILE, why, why_size);
    return rc;
}

int generation_new(struct arbiter *a, struct config *config, uint64_t epoch, struct generation *old,
                   struct generation **ret, char *why, size_t why_size)
{
    struct generation *g = calloc(1, sizeof(*g));
    int rc;

    if (!g) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    g->epoch = epoch;
    g->config = config;
    g->log.fd = -1;
    g->workers = config_effective_workers(config);
    rc = open_log(a, g, why, why_size);
    if (rc == 0)
        rc = open_listeners(g, old, why, why_size);
    if (rc < 0) {
        g->config = NULL; /* stays the caller's */
        generation_free(g);
        return rc;
    }
    *ret = g;
    return 0;
}

int generation_adopt(struct arbiter *a, struct config *config, uint64_t epoch,
                     struct listener **listeners, size_t n, struct generation **ret, char *why,
                     size_t why_size)
{
    struct generation *g = n <= CONFIG_BIND_MAX ? calloc(1, sizeof(*g)) : NULL;
    int rc;

    if (!g) {
        snprintf(why, why_size, "out of memory");
        return -ENOMEM;
    }
    g->epoch = epoch;
    g->config = config;
    g->log.fd = -1;
    g->workers = config_effective_workers(config);
    rc = open_log(a, g, why, why_size);
    if (rc < 0) {
        g->config = NULL;
        generation_free(g);
        return rc;
    }
    for (; g->n_listeners < n; g->n_listeners++) {
        g->listeners[g->n_listeners] = listeners[g->n_listeners];
        g->listeners[g->n_listeners]->refs++;
    }
    *ret = g;
    return 0;
}

void generation_commit(struct arbiter *a)
{
    struct generation *old = a->live;

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
    control_repair(a);
    vacate_removed(a, old);
    generation_free(old);
}

void generation_free(struct generation *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_listeners; i++)
        release_listener(g->listeners[i]);
    log_close(&g->log);
    sinks_release(g->sink);
    config_free(g->config);
    free(g);
}

void generation_addresses(const struct generation *g, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < g->n_listeners && len < size; i++)
        len +=
            (size_t)snprintf(buf + len, size - len, "%s%s", i ? " " : "", g->listeners[i]->bound);
}
