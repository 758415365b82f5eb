/*
 * The summary of an audit: as JSON, and from that as text. Names come from the table of counts.
 */
#include "measure/audit_text.h"

#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

enum { LANES_SHOWN = 20, OUTAGES_SHOWN = 40 };

/* ---- the verdict ---- */

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

/* The shares of @limits are for all lanes together, so one lane is judged without them. */
static bool is_lane_fine(const struct audit_tally *t, const struct audit_limits *limits)
{
    struct audit_limits strict = {.max_stall_ns = limits->max_stall_ns};
    struct audit_verdict v = audit_judge(t, &strict);

    return !v.is_lossy && !v.is_stalled && !v.is_cut && !v.is_wrong;
}

static json_t *reasons(const struct audit_verdict *v)
{
    static const char *const because[] = {"no message was sent", "too many messages were lost",
                                          "a stall was too long", "too many connections were cut",
                                          "replies came twice, out of order or from nowhere"};
    const bool is[] = {v->is_idle, v->is_lossy, v->is_stalled, v->is_cut, v->is_wrong};
    json_t *list = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(is); i++)
        if (is[i])
            json_array_append_new(list, json_string(because[i]));
    return list;
}

/* ---- JSON ---- */

static double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* A monotonic time of this audit as UTC. */
static json_t *wall_text(const struct audit_result *r, uint64_t mono_ns)
{
    char text[WALL_TIME_LEN];

    return json_string(wall_time_utc(r->started_wall_ns + (mono_ns - r->started_ns), text));
}

static json_t *tally_json(const struct audit_result *r, const struct audit_tally *t)
{
    json_t *o = json_object(), *stall;

#define X(field, help) json_object_set_new(o, #field, json_integer((json_int_t)t->counts.field));
    AUDIT_COUNTS(X)
#undef X
    json_object_set_new(o, "o1", json_boolean(audit_counts_is_o1(&t->counts)));
    json_object_set_new(o, "o2", json_boolean(audit_counts_is_o2(&t->counts)));
    stall = json_pack("{s:f}", "duration_ms", ms_of(t->stall.ns));
    if (t->stall.ns > 0) {
        json_object_set_new(stall, "at_ms", json_real(ms_of(t->stall.at_ns - r->started_ns)));
        json_object_set_new(stall, "at", wall_text(r, t->stall.at_ns));
    }
    json_object_set_new(o, "stall", stall);
    return o;
}

static json_t *echoed_json(const struct hist *h)
{
    if (h->n == 0)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f}", "p50", ms_of(hist_percentile(h, 50)), "p99",
                     ms_of(hist_percentile(h, 99)), "p99.9", ms_of(hist_percentile(h, 99.9)), "max",
                     ms_of(h->max));
}

static json_t *incident_json(const struct audit_result *r, const struct audit_incident *i)
{
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:i, s:f, s:o}", "what", i->what, "lane", (json_int_t)i->lane,
                  "connection", (json_int_t)i->connection, "port", (int)i->port, "at_ms",
                  ms_of(i->at_ns - r->started_ns), "at", wall_text(r, i->at_ns));

    if (i->sequence != UINT32_MAX)
        json_object_set_new(o, "sequence", json_integer((json_int_t)i->sequence));
    return o;
}

static json_t *outage_json(const struct audit_result *r, const struct timeline_outage *o)
{
    json_t *j = json_pack("{s:f, s:o, s:f, s:i}", "at_ms", ms_of(o->from_ns - r->started_ns), "at",
                          wall_text(r, o->from_ns), "duration_ms", ms_of(o->to_ns - o->from_ns),
                          "waiting", (int)o->waiting);

#define X(field, help)                                                                             \
    if (o->delta.field > 0)                                                                        \
        json_object_set_new(j, #field, json_integer((json_int_t)o->delta.field));
    AUDIT_COUNTS(X)
#undef X
    return j;
}

static json_t *judged_json(const struct audit_result *r, const struct audit_tally *t,
                           bool is_delivered)
{
    json_t *o = tally_json(r, t);

    json_object_set_new(o, "verdict", json_string(is_delivered ? "delivered" : "broken"));
    json_object_set_new(o, "messages_lost", json_integer((json_int_t)timeline_lost(&t->counts)));
    return o;
}

json_t *audit_json(const struct audit_result *r, const struct timeline *t,
                   const struct audit_limits *limits)
{
    struct audit_verdict v = audit_judge(&r->total, limits);
    json_t *o = judged_json(r, &r->total, v.is_delivered);
    json_t *incidents = json_array(), *lanes = json_array(), *outages = json_array();

    for (size_t i = 0; i < r->incidents->n; i++)
        json_array_append_new(incidents, incident_json(r, &r->incidents->kept[i]));
    for (size_t i = 0; i < r->n_lanes; i++)
        json_array_append_new(lanes,
                              judged_json(r, &r->lanes[i], is_lane_fine(&r->lanes[i], limits)));
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(outages, outage_json(r, &t->kept[i]));
    json_object_set_new(o, "because", reasons(&v));
    json_object_set_new(o, "connections_cut",
                        json_integer((json_int_t)audit_counts_cut(&r->total.counts)));
    json_object_set_new(o, "duration_ms", json_real(ms_of(r->duration_ns)));
    json_object_set_new(o, "started", wall_text(r, r->started_ns));
    json_object_set_new(o, "echoed_ms", echoed_json(r->echoed));
    json_object_set_new(o, "incidents", incidents);
    json_object_set_new(o, "incidents_in_all", json_integer((json_int_t)r->incidents->n_all));
    json_object_set_new(o, "lanes", lanes);
    json_object_set_new(o, "outages", outages);
    json_object_set_new(o, "outages_in_all", json_integer((json_int_t)t->n_all));
    return o;
}

/* ---- text ---- */

static const struct column total_columns[] = {
    {"LONGEST STALL", "stall/duration_ms", SHOW_MS, 0},
    {"AT", "stall/at", SHOW_TEXT, 0},
    {"ECHOED AFTER: 50 %", "echoed_ms/p50", SHOW_EXACT_MS, 0},
    {"99 %", "echoed_ms/p99", SHOW_EXACT_MS, 0},
    {"99.9 %", "echoed_ms/p99.9", SHOW_EXACT_MS, 0},
    {"LONGEST", "echoed_ms/max", SHOW_EXACT_MS, 0},
};

static const struct column lane_columns[] = {
    {"CONNECTION", "number", SHOW_NUMBER, 0},           {"VERDICT", "verdict", SHOW_TEXT, 0},
    {"LOST", "messages_lost", SHOW_NUMBER, 0},          {"SENT", "sent", SHOW_NUMBER, 0},
    {"LONGEST STALL", "stall/duration_ms", SHOW_MS, 0}, {"AT", "stall/at", SHOW_TEXT, 0},
    {"CONNECTED", "connected", SHOW_NUMBER, 0},         {"WHAT", "what", SHOW_LIST, 0},
};

static const struct column outage_columns[] = {
    {"OUTAGE", "at", SHOW_TEXT, 0},
    {"TOOK", "duration_ms", SHOW_MS, 0},
    {"WAITED", "waiting", SHOW_NUMBER, 0},
    {"WHAT", "what", SHOW_LIST, 0},
};

static const struct column_count counts[] = {
#define X(field, help) {#field, help},
    AUDIT_COUNTS(X)
#undef X
};

/* What went wrong in a tally: "3 failed_reset", "2 reset". */
static json_t *what_of(const json_t *tally)
{
    static const char fine[] =
        " sent echoed connected abandoned finished skipped bytes_sent bytes_received ";
    json_t *list = json_array();
    char word[64];

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        json_int_t n = json_integer_value(json_object_get(tally, counts[i].name));

        snprintf(word, sizeof(word), " %s ", counts[i].name);
        if (n > 0 && !strstr(fine, word))
            json_array_append_new(list,
                                  json_sprintf("%" JSON_INTEGER_FORMAT " %s", n, counts[i].name));
    }
    return list;
}

/* The first @max of @all, each with its number and what went wrong; the fine ones only if asked. */
static int write_some(FILE *f, const struct column *columns, size_t n, const json_t *all,
                      size_t max, bool has_fine)
{
    json_t *rows = json_array(), *row;
    size_t i;
    int rc;

    json_array_foreach(all, i, row)
    {
        const char *verdict = json_string_value(json_object_get(row, "verdict"));
        bool is_fine = verdict && strcmp(verdict, "delivered") == 0;

        if ((is_fine && !has_fine) || json_array_size(rows) == max)
            continue;
        json_object_set_new(row, "number", json_integer((json_int_t)i + 1));
        json_object_set_new(row, "what", what_of(row));
        json_array_append(rows, row);
    }
    rc = json_array_size(rows) > 0 ? columns_write(f, columns, n, rows) : 0;
    json_decref(rows);
    return rc;
}

static void write_verdict(FILE *f, const json_t *o)
{
    const json_t *reason, *because = json_object_get(o, "because");
    size_t i;

    fprintf(f, "verdict: %s", json_array_size(because) ? "BROKEN" : "delivered");
    json_array_foreach(because, i, reason)
    {
        fprintf(f, "%s%s", i ? ", " : ": ", json_string_value(reason));
    }
    fputc('\n', f);
}

static size_t count_fine(const json_t *lanes)
{
    const json_t *lane;
    size_t i, n = 0;

    json_array_foreach(lanes, i, lane)
    {
        n += strcmp(json_string_value(json_object_get(lane, "verdict")), "delivered") == 0;
    }
    return n;
}

int audit_text_write(FILE *f, const json_t *o, bool has_lanes)
{
    const json_t *lanes = json_object_get(o, "lanes"), *outages = json_object_get(o, "outages");
    json_int_t n_outages = json_integer_value(json_object_get(o, "outages_in_all"));
    char lost[HUMAN_LEN], sent[HUMAN_LEN];
    int rc;

    fprintf(f, "%s of %s lost\n",
            human_grouped((uint64_t)json_integer_value(json_object_get(o, "messages_lost")), lost),
            human_grouped((uint64_t)json_integer_value(json_object_get(o, "sent")), sent));
    rc = columns_write(f, total_columns, ARRAY_SIZE(total_columns), o);
    if (rc == 0)
        rc = columns_write_counts(f, counts, ARRAY_SIZE(counts), o);
    if (rc == 0)
        rc = write_some(f, lane_columns, ARRAY_SIZE(lane_columns), lanes,
                        has_lanes ? SIZE_MAX : LANES_SHOWN, has_lanes);
    fprintf(f, "%zu of %zu connections without a flaw\n", count_fine(lanes),
            json_array_size(lanes));
    if (n_outages > 0)
        fprintf(f, "outages: %" JSON_INTEGER_FORMAT "\n", n_outages);
    if (rc == 0)
        rc =
            write_some(f, outage_columns, ARRAY_SIZE(outage_columns), outages, OUTAGES_SHOWN, true);
    write_verdict(f, o);
    return rc;
}
