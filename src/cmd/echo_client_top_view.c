/*
 * The view of echo-client top: frames on a screen, lines or JSON elsewhere.
 */
#include "cmd/echo_client_top.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "client/human.h"
#include "measure/info_text.h"

int top_fail(struct top *t, int outcome)
{
    screen_leave(&t->screen);
    return operator_fail(&t->op, outcome);
}

bool top_is_waiting(const struct top *t, uint64_t now_ns)
{
    return t->is_asked && now_ns - t->asked_ns >= TOP_SECOND_NS;
}

/* Why there is nothing newer, or NULL. */
static const char *describe_trouble(const struct top *t, uint64_t now, char *buf, size_t size)
{
    char age[HUMAN_LEN];

    if (t->lost_ns) {
        human_duration((double)(now - t->lost_ns) / 1e9, age);
        snprintf(buf, size, "waiting for %s: %s (%s)", t->op.path,
                 t->lost_why == ARB_REFUSED ? "no server there" : arb_strerror(t->lost_why), age);
    } else if (top_is_waiting(t, now)) {
        human_duration((double)(now - t->asked_ns) / 1e9, age);
        snprintf(buf, size, "waiting for an answer (%s)", age);
    } else {
        return NULL;
    }
    return buf;
}

int top_draw(struct top *t)
{
    struct info_look look = {.has_colour = t->screen.has_colour};
    char trouble[256], *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    int rc = 0;

    if (!f)
        return top_fail(t, -ENOMEM);
    screen_size(&look.width, &look.height);
    look.trouble = describe_trouble(t, clock_mono_ns(), trouble, sizeof(trouble));
    if (t->now)
        rc = info_frame(f, t->now, &look);
    else if (look.trouble)
        fprintf(f, "%.*s", (int)look.width, look.trouble);
    if (fclose(f) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        rc = screen_draw(text);
    free(text);
    return rc ? top_fail(t, rc) : TOP_GO_ON;
}

static int print_lines(struct top *t)
{
    const time_t now = time(NULL);
    struct tm tm;
    char clock[16];
    int rc;

    if (t->op.tool->is_json) {
        json_object_set_new(t->now, "time", json_real((double)now));
        rc = operator_print(&t->op, t->now, NULL);
    } else {
        localtime_r(&now, &tm);
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        rc = info_lines(stdout, t->now, clock, t->n_shown == 0);
        rc = rc ? top_fail(t, rc) : 0;
    }
    if (rc == 0)
        rc = out_flush();
    return rc ? rc : TOP_GO_ON;
}

/* The first answer has no rates yet: only a screen shows it. */
int top_show(struct top *t)
{
    int rc = TOP_GO_ON;

    if (!t->is_lines)
        rc = top_draw(t);
    if (!t->has_rates)
        return rc;
    if (t->is_lines)
        rc = print_lines(t);
    t->n_shown++;
    return rc == TOP_GO_ON && t->count > 0 && t->n_shown == t->count ? 0 : rc;
}
