/*
 * Lines for the ends of connections. Runs in a worker.
 */
#include "worker/conn_log.h"

#include <string.h>

#include "base/log.h"
#include "conf/config.h"

void conn_log_begin(struct conn_log *l, struct log *log, unsigned which)
{
    *l = (struct conn_log){.log = log, .which = which};
}

enum conn_blame conn_log_least(unsigned which)
{
    if (which == LOG_CONNECTIONS_OFF)
        return CONN_CUT;
    return which == LOG_CONNECTIONS_ERRORS ? CONN_FAULT : CONN_USUAL;
}

static bool is_sampled(const struct conn_log *l)
{
    return l->which != LOG_CONNECTIONS_OFF && l->which != LOG_CONNECTIONS_ERRORS;
}

/* With 1/N the first end is wanted, and then each N-th one. */
static bool is_wanted(struct conn_log *l, const struct conn_ending *e)
{
    if (e->blame < conn_log_least(l->which) || l->log->level > LOG_LEVEL_INFO)
        return false;
    return e->blame == CONN_CUT || !is_sampled(l) || l->n_usual++ % l->which == 0;
}

/* Has the reason had all the lines of this second? Further ones are counted by the log. */
static bool is_too_much(struct conn_log *l, const struct conn_ending *e, uint64_t now_ms)
{
    const unsigned most = is_sampled(l) ? CONN_LOG_MANY : CONN_LOG_FEW;

    if (now_ms / 1000 != l->second) {
        memset(l->n_lines, 0, sizeof(l->n_lines));
        l->second = now_ms / 1000;
    }
    return ++l->n_lines[e->number] > most;
}

void conn_log_end(struct conn_log *l, const struct arb_conn *c, const struct conn_ending *e,
                  uint64_t now_ms)
{
    static const char message[] = "connection ended";
    char peer[CONN_PEER_LEN];
    struct conn_facts f;

    if (!is_wanted(l, e))
        return;
    conn_facts(c, &f);
    const struct log_field fields[] = {
        F_STR("reason", e->reason),
        F_STR("peer", conn_peer(c, peer)),
        F_UINT("id", f.id),
        F_STR("protocol", f.protocol),
        F_UINT("messages", f.messages),
        F_UINT("bytes_in", f.bytes_in),
        F_UINT("bytes_out", f.bytes_out),
        F_UINT("age_ms", f.age_ms),
        {.key = NULL},
    };
    if (is_too_much(l, e, now_ms))
        log_emit_limited_at(l->log, now_ms, LOG_LEVEL_INFO, message, fields);
    else
        log_emit(l->log, LOG_LEVEL_INFO, message, fields);
}
