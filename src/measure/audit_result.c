/*
 * An audit's result as JSON. Names come from the table of counts.
 */
#include <jansson.h>
#include <time.h>
#include <stdio.h>

#include "measure/audit.h"

static double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* A monotonic time of this audit as UTC. */
static json_t *wall_text(const struct audit_result *r, uint64_t mono_ns)
{
    uint64_t ns = r->started_wall_ns + (mono_ns - r->started_ns);
    time_t seconds = (time_t)(ns / 1000000000u);
    char text[40], whole[24];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof(text), "%s.%03uZ", whole, (unsigned)(ns / 1000000u % 1000u));
    return json_string(text);
}

static json_t *tally_json(const struct audit_result *r, const struct audit_tally *t)
{
    json_t *o = json_object(), *stall;

#define X(field, help) json_object_set_new(o, #field, json_integer((json_int_t)t->counts.field));
    AUDIT_COUNTS(X)
#undef X
    json_object_set_new(o, "o1", json_boolean(audit_counts_is_o1(&t->counts)));
    json_object_set_new(o, "o2", json_boolean(audit_counts_is_o2(&t->counts)));
    stall = json_pack("{s:f}", "ms", ms_of(t->stall.ns));
    if (t->stall.ns > 0) {
        json_object_set_new(stall, "at_ms", json_real(ms_of(t->stall.at_ns - r->started_ns)));
        json_object_set_new(stall, "at", wall_text(r, t->stall.at_ns));
    }
    json_object_set_new(o, "stall", stall);
    return o;
}

static json_t *echoed_json(const struct hist *h)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "50", ms_of(hist_percentile(h, 50)), "99",
                     ms_of(hist_percentile(h, 99)), "99.9", ms_of(hist_percentile(h, 99.9)), "100",
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

json_t *audit_result_json(const struct audit_result *r, bool has_lanes)
{
    json_t *o = tally_json(r, &r->total), *list = json_array();

    json_object_set_new(o, "duration_ms", json_real(ms_of(r->duration_ns)));
    json_object_set_new(o, "started", wall_text(r, r->started_ns));
    json_object_set_new(o, "echoed_ms", echoed_json(r->echoed));
    for (size_t i = 0; i < r->incidents->n; i++)
        json_array_append_new(list, incident_json(r, &r->incidents->kept[i]));
    json_object_set_new(o, "incidents", list);
    json_object_set_new(o, "incidents_in_all", json_integer((json_int_t)r->incidents->n_all));
    if (!has_lanes)
        return o;
    list = json_array();
    for (size_t i = 0; i < r->n_lanes; i++)
        json_array_append_new(list, tally_json(r, &r->lanes[i]));
    json_object_set_new(o, "lanes", list);
    return o;
}
