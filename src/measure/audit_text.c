/*
 * The summary of an audit. Names of counts come from their table.
 */
#include "measure/audit_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "client/human.h"
#include "client/wall_time.h"

enum { LANES_SHOWN = 20, OUTAGES_SHOWN = 40 };

struct audit_verdict audit_judge(const struct audit_tally *t, const struct audit_limits *limits)
{
    const struct audit_counts *c = &t->counts;
    struct audit_verdict v = {
        .is_idle = c->sent == 0,
        .is_lossy = quantity_share_exceeded(&limits->max_loss, timeline_lost(c), c->sent),
        .is_stalled = t->stall.ns > limits->max_stall_ns,
        .is_cut = quantity_share_exceeded(&limits->max_cut, audit_counts_cut(c), c->connected),
        .is_wrong = c->reordered + c->duplicated + c->foreign > 0,
    };

    v.is_delivered = !v.is_idle && !v.is_lossy && !v.is_stalled && !v.is_cut && !v.is_wrong;
    return v;
}

static char *wall_of(const struct audit_result *r, uint64_t mono_ns, char *buf)
{
    return wall_time_text(r->started_wall_ns + (mono_ns - r->started_ns), buf);
}

static void write_stall(FILE *f, const struct audit_result *r, const struct audit_stall *s)
{
    char length[HUMAN_LEN], at[WALL_TIME_LEN];

    if (s->ns == 0)
        return;
    fprintf(f, "; longest stall %s at %s", human_duration((double)s->ns / 1e9, length),
            wall_of(r, s->at_ns, at));
}

/* Only what happened. The first two and the bytes are always told. */
static void write_counts(FILE *f, const struct audit_counts *c)
{
    char n[QUANTITY_LEN];

#define X(field, help)                                                                             \
    if (c->field > 0)                                                                              \
        fprintf(f, "  %-15s %15s  %s\n", #field, quantity_grouped(c->field, n), help);
    AUDIT_COUNTS(X)
#undef X
}

/* What went wrong, as "3 failed_reset, 2 reset" behind @comma. Returns whether anything did. */
static bool write_wrong(FILE *f, const char *comma, const struct audit_counts *c)
{
    static const char fine[] =
        " sent echoed connected abandoned finished skipped bytes_sent bytes_received ";
    const char *before = comma;
    bool is_any = false;

#define X(field, help)                                                                             \
    if (c->field > 0 && !strstr(fine, " " #field " ")) {                                           \
        fprintf(f, "%s%" PRIu64 " " #field, before, c->field);                                     \
        before = ", ";                                                                             \
        is_any = true;                                                                             \
    }
    AUDIT_COUNTS(X)
#undef X
    return is_any;
}

static void write_outages(FILE *f, const struct audit_result *r, const struct timeline *t)
{
    char from[WALL_TIME_LEN], length[HUMAN_LEN];

    if (t->n == 0)
        return;
    fprintf(f, "outages: %" PRIu64 "\n", t->n_all);
    for (size_t i = 0; i < t->n && i < OUTAGES_SHOWN; i++) {
        const struct timeline_outage *o = &t->kept[i];

        fprintf(f, "  %s  %6s  ", wall_of(r, o->from_ns, from),
                human_duration((double)(o->to_ns - o->from_ns) / 1e9, length));
        if (!write_wrong(f, "", &o->delta))
            fputs("nothing came", f);
        if (o->waiting > 0)
            fprintf(f, "; %u connection%s waited", o->waiting, o->waiting == 1 ? "" : "s");
        fputc('\n', f);
    }
    if (t->n_all > OUTAGES_SHOWN)
        fprintf(f, "  ... and %" PRIu64 " more\n", t->n_all - OUTAGES_SHOWN);
}

static void write_loss(FILE *f, const struct audit_result *r, const struct audit_tally *t)
{
    char lost[QUANTITY_LEN], sent[QUANTITY_LEN];

    fprintf(f, "%s of %s lost", quantity_grouped(timeline_lost(&t->counts), lost),
            quantity_grouped(t->counts.sent, sent));
    write_stall(f, r, &t->stall);
}

static void write_echoed(FILE *f, const struct hist *h)
{
    if (h->n > 0)
        fprintf(f, "echoed after: 50 %% %.2fms, 99 %% %.2fms, 99.9 %% %.2fms, longest %.2fms\n",
                (double)hist_percentile(h, 50) / 1e6, (double)hist_percentile(h, 99) / 1e6,
                (double)hist_percentile(h, 99.9) / 1e6, (double)h->max / 1e6);
}

/* @limits without the shares: what is allowed of all says nothing of one. */
static bool is_lane_fine(const struct audit_tally *t, const struct audit_limits *limits)
{
    struct audit_limits strict = {.max_stall_ns = limits->max_stall_ns};
    struct audit_verdict v = audit_judge(t, &strict);

    return !v.is_lossy && !v.is_stalled && !v.is_cut && !v.is_wrong;
}

static void write_lanes(FILE *f, const struct audit_result *r, const struct audit_limits *limits,
                        bool has_all)
{
    size_t n_fine = 0, n_shown = 0;

    for (size_t i = 0; i < r->n_lanes; i++) {
        const struct audit_tally *t = &r->lanes[i];
        bool is_fine = is_lane_fine(t, limits);

        n_fine += is_fine;
        if (!has_all && (is_fine || n_shown == LANES_SHOWN))
            continue;
        n_shown++;
        fprintf(f, "  connection %zu: %s: ", i + 1, is_fine ? "ok" : "BROKEN");
        write_loss(f, r, t);
        if (t->counts.connected > 1)
            fprintf(f, "; connected %" PRIu64 " times", t->counts.connected);
        if (!is_fine)
            write_wrong(f, "; ", &t->counts);
        fputc('\n', f);
    }
    fprintf(f, "  %zu of %zu connections without a flaw\n", n_fine, r->n_lanes);
}

static void write_verdict(FILE *f, const struct audit_verdict *v)
{
    static const char *const because[] = {"no message was sent", "too many messages were lost",
                                          "a stall was too long", "too many connections were cut",
                                          "replies came twice, out of order or from nowhere"};
    const bool is[] = {v->is_idle, v->is_lossy, v->is_stalled, v->is_cut, v->is_wrong};
    const char *comma = ": ";

    fprintf(f, "verdict: %s", v->is_delivered ? "delivered" : "BROKEN");
    for (size_t i = 0; i < ARRAY_SIZE(is); i++)
        if (is[i]) {
            fprintf(f, "%s%s", comma, because[i]);
            comma = ", ";
        }
    fputc('\n', f);
}

int audit_text_write(FILE *f, const struct audit_result *r, const struct timeline *t,
                     const struct audit_limits *limits, bool has_lanes)
{
    struct audit_verdict v = audit_judge(&r->total, limits);

    write_loss(f, r, &r->total);
    fputc('\n', f);
    write_echoed(f, r->echoed);
    write_counts(f, &r->total.counts);
    write_lanes(f, r, limits, has_lanes);
    write_outages(f, r, t);
    write_verdict(f, &v);
    return 0;
}

static json_t *outage_json(const struct audit_result *r, const struct timeline_outage *o)
{
    char at[WALL_TIME_LEN];
    json_t *j =
        json_pack("{s:f, s:s, s:f, s:i}", "at_ms", (double)(o->from_ns - r->started_ns) / 1e6, "at",
                  wall_of(r, o->from_ns, at), "ms", (double)(o->to_ns - o->from_ns) / 1e6,
                  "waiting", (int)o->waiting);

#define X(field, help)                                                                             \
    if (o->delta.field > 0)                                                                        \
        json_object_set_new(j, #field, json_integer((json_int_t)o->delta.field));
    AUDIT_COUNTS(X)
#undef X
    return j;
}

json_t *audit_text_json(const struct audit_result *r, const struct timeline *t,
                        const struct audit_limits *limits)
{
    json_t *o = audit_result_json(r, true), *list = json_array(), *lane;
    struct audit_verdict v = audit_judge(&r->total, limits);
    size_t i;

    json_object_set_new(o, "verdict", json_string(v.is_delivered ? "delivered" : "broken"));
    json_object_set_new(o, "messages_lost",
                        json_integer((json_int_t)timeline_lost(&r->total.counts)));
    json_object_set_new(o, "connections_cut",
                        json_integer((json_int_t)audit_counts_cut(&r->total.counts)));
    for (i = 0; i < t->n; i++)
        json_array_append_new(list, outage_json(r, &t->kept[i]));
    json_object_set_new(o, "outages", list);
    json_object_set_new(o, "outages_in_all", json_integer((json_int_t)t->n_all));
    json_array_foreach(json_object_get(o, "lanes"), i, lane)
    {
        json_object_set_new(
            lane, "verdict",
            json_string(is_lane_fine(&r->lanes[i], limits) ? "delivered" : "broken"));
        json_object_set_new(lane, "messages_lost",
                            json_integer((json_int_t)timeline_lost(&r->lanes[i].counts)));
    }
    return o;
}
