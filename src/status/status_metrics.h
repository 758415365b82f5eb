/*
 * What `info` answers as text for Prometheus: in its text format 0.0.4, or as OpenMetrics 1.0.
 * Pure: JSON in, text out. What is counted has its rows in base/counters.h, all else in tables
 * here; echo-arbiter-metrics(7) lists what comes of them. A member that `info` does not have, as
 * that of another version, is left out: no number is made up.
 */
#ifndef STATUS_STATUS_METRICS_H
#define STATUS_STATUS_METRICS_H

#include <jansson.h>
#include <stddef.h>

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

/* metrics_choose - what the header Accept asks for; NULL = there was none. Text unless OpenMetrics
 * is wanted at least as much. */
enum metrics_format metrics_choose(const char *accept);

/* metrics_type - the header Content-Type */
const char *metrics_type(enum metrics_format format);

/*
 * metrics_render - all of it
 * @info  borrowed: a result of `info`
 * @ret   malloc'ed, owned by the caller, with a NUL behind its @ret_len bytes
 * Returns 0 or -ENOMEM.
 */
int metrics_render(const json_t *info, enum metrics_format format, char **ret, size_t *ret_len);

#endif
