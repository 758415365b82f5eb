/*
 * The table of paths, and what the short ones say.
 */
#include "status/status_route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "status/status_metrics.h"
#include "status/status_page.h"

/* ---- answers ---- */

void status_answer_constant(struct status_answer *ret, unsigned code, const char *type,
                            const char *text)
{
    *ret = (struct status_answer){code, type, text, strlen(text), NULL};
}

int status_answer_take(struct status_answer *ret, unsigned code, const char *type, char *text,
                       size_t len)
{
    if (!text)
        return -ENOMEM;
    *ret = (struct status_answer){code, type, text, len, text};
    return 0;
}

int status_answer_error(struct status_answer *ret, unsigned code, const char *why)
{
    char *text = NULL;
    const int len = asprintf(&text, "%s\n", why);

    return len < 0 ? -ENOMEM : status_answer_take(ret, code, STATUS_TEXT, text, (size_t)len);
}

/* ---- health ---- */

static int make_live(const struct status_view *v UNUSED, struct status_answer *ret)
{
    status_answer_constant(ret, 200, STATUS_TEXT, "live: the arbiter answers\n");
    return 0;
}

/* The arbiter has decided by the rule of the command `ready`. */
static int make_ready(const struct status_view *v, struct status_answer *ret)
{
    const json_t *arbiter = json_object_get(v->info, "arbiter");
    const char *reason = json_string_value(json_object_get(arbiter, "not_ready"));
    char *text = NULL;
    int len;

    if (json_is_true(json_object_get(arbiter, "ready"))) {
        status_answer_constant(ret, 200, STATUS_TEXT, "ready\n");
        return 0;
    }
    len = asprintf(&text, "not ready: %s\n", reason ? reason : "the arbiter does not say why");
    return len < 0 ? -ENOMEM : status_answer_take(ret, 503, STATUS_TEXT, text, (size_t)len);
}

/* ---- the JSON of `info` ---- */

static int make_info(const struct status_view *v, struct status_answer *ret)
{
    char *text = malloc(v->len + 1);

    if (!text)
        return -ENOMEM;
    memcpy(text, v->text, v->len);
    text[v->len] = '\n';
    return status_answer_take(ret, 200, STATUS_JSON, text, v->len + 1);
}

/* ---- for Prometheus, and for people ---- */

static int make_metrics(const struct status_view *v, struct status_answer *ret)
{
    const enum metrics_format format = metrics_choose(v->accept);
    char *text;
    size_t len;
    const int rc = metrics_render(v->info, format, &text, &len);

    return rc < 0 ? rc : status_answer_take(ret, 200, metrics_type(format), text, len);
}

static int make_page(const struct status_view *v UNUSED, struct status_answer *ret)
{
    status_answer_constant(ret, 200, "text/html; charset=utf-8", status_page_html);
    return 0;
}

/* ---- the table ---- */

/* clang-format off */
static const struct status_route routes[] = {
    {"/health/live", "200 while the arbiter answers, else 503", true, NULL, make_live},
    {"/health/ready", "200 if clients shall be sent here, else 503 and why", true, NULL, make_ready},
    {"/api/info", "what the command info answers, as JSON", true, NULL, make_info},
    {"/metrics", "the same for Prometheus, in its text format or as OpenMetrics", true, NULL, make_metrics},
    {"/", "a page for people", false, STATUS_PAGE_POLICY, make_page},
};
/* clang-format on */

const struct status_route *status_route(size_t i)
{
    return i < ARRAY_SIZE(routes) ? &routes[i] : NULL;
}

/* A proxy may ask for a whole address (RFC 9112, 3.2.2): which host it names is no matter. */
static const char *path_of(const char *target)
{
    static const char scheme[] = "http://";
    const char *path;

    if (strncasecmp(target, scheme, strlen(scheme)) != 0)
        return target;
    path = strchr(target + strlen(scheme), '/');
    return path ? path : "/";
}

const struct status_route *status_route_find(const char *target)
{
    const char *path = path_of(target);

    for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

int status_answer_unknown(struct status_answer *ret)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return -ENOMEM;
    fputs("There is nothing at this path. There is:\n", f);
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
        fprintf(f, "%-14s  %s\n", routes[i].path, routes[i].help);
    if (fclose(f) != 0) {
        free(text);
        return -ENOMEM;
    }
    return status_answer_take(ret, 404, STATUS_TEXT, text, len);
}
