/*
 * When a reload or an upgrade may begin. Runs in the arbiter.
 */
#include "arbiter/change.h"

#include "arbiter/arbiter_impl.h"

void change_request(struct arbiter *a, enum change_kind kind)
{
    if (a->is_leaving)
        return;
    a->change.is_wanted[kind] = true;
    settle_soon(a);
}

const char *change_obstacle(const struct arbiter *a, enum change_kind kind)
{
    const struct change *c = &a->change;

    if (a->is_leaving)
        return "the arbiter stops";
    if (c->active)
        return c->active->obstacle;
    for (enum change_kind k = 0; k < CHANGE_KINDS; k++)
        if (c->kinds[k]->child(a) || (k < kind && c->is_wanted[k]))
            return c->kinds[k]->obstacle;
    if (!revision_can_change(a, a->live->config, transition_workers(a->engine)))
        return "the workers are changing: try again in a moment";
    return NULL;
}

/*
 * No more than two sets of workers drain at a time. Who takes connections must not be told to drain
 * before it has them, or they find nobody.
 */
static const char *why_too_early(const struct arbiter *a)
{
    if (move_is_under_way(a))
        return "connections are on their way to other workers";
    if (transition_count(a->engine, TR_DRAINING) >
        2 * (a->live->workers + transition_all_others(a->engine)))
        return "more than two sets of workers still drain";
    return NULL;
}

/* It begins by itself, so nothing is refused; but the log says why it waits. */
static const char *why_it_waits(struct arbiter *a, enum change_kind kind)
{
    const char *why = why_too_early(a);

    if (why && why != a->change.said_why[kind])
        log_info(a->log, kind == CHANGE_UPGRADE ? "the upgrade waits" : "the reload waits",
                 F_STR("reason", why));
    a->change.said_why[kind] = why;
    return why;
}

void change_settle(struct arbiter *a)
{
    static const enum answer_wait waits[CHANGE_KINDS] = {
        [CHANGE_RELOAD] = ANSWER_NEXT_RELOAD,
        [CHANGE_UPGRADE] = ANSWER_UPGRADE,
    };
    struct change *c = &a->change;

    for (enum change_kind k = 0; k < CHANGE_KINDS; k++) {
        const char *why = c->is_wanted[k] ? change_obstacle(a, k) : NULL;

        if (c->is_wanted[k] && !why)
            why = why_it_waits(a, k);
        a->answers.obstacles[waits[k]] = why; /* for who has to wait too long for it */
        if (!c->is_wanted[k] || why)
            continue;
        c->is_wanted[k] = false;
        change_begin(a, c->kinds[k]);
        c->active->start(a);
        return;
    }
}

void change_begin(struct arbiter *a, const struct change_ops *ops)
{
    a->change.active = ops;
    notify_look(a);
}

void change_end(struct arbiter *a)
{
    a->change.active = NULL;
    notify_look(a);
    settle_soon(a);
}

/* Not at once: what was in its way is still there. */
void change_postpone(struct arbiter *a)
{
    struct change *c = &a->change;

    for (enum change_kind k = 0; k < CHANGE_KINDS; k++)
        c->is_wanted[k] |= c->active == c->kinds[k];
    c->active = NULL;
    notify_look(a);
}

bool change_on_exit(struct arbiter *a, pid_t pid, int status)
{
    for (enum change_kind k = 0; k < CHANGE_KINDS; k++) {
        if (a->change.kinds[k]->child(a) != pid)
            continue;
        a->change.kinds[k]->on_child_exit(a, status);
        return true;
    }
    return false;
}

void change_cancel(struct arbiter *a)
{
    for (enum change_kind k = 0; k < CHANGE_KINDS; k++) {
        a->change.is_wanted[k] = false;
        a->change.kinds[k]->cancel(a);
    }
}
