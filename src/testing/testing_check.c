/*
 * libarbiter-testing: one input, run through a protocol in many ways whose results have to agree.
 */
#include "testing/testing_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whatever a protocol waits for has to come within so many timers. */
enum { STEPS_MAX = 1000, POINTS_CHECK = 512, POINTS_FUZZ = 4 };

enum way { WHOLE, BYTES, SPLIT, MOVED, MOVED_ANEW, RESCUED, WAYS };

static const char *const way_names[WAYS] = {
    "in one piece",
    "byte by byte",
    "split at byte",
    "moved to another worker at byte",
    "moved to another worker, under new rules, at byte",
    "collected from a crash, as it was blank, at byte",
};

struct run {
    enum way way;
    size_t at;
    struct text output, sent; /* sent: on behalf of the connection */
    uint64_t messages;
    bool is_open;
    enum arb_end why;
    char broken[256];
};

struct input {
    const struct arb_protocol *protocol;
    struct test_conf *conf;
    const char *data;
    size_t len;
};

static void run_fini(struct run *r)
{
    free(r->output.data);
    free(r->sent.data);
}

/* Time passes until the connection owes nothing, or nothing is due any more. */
static void wait_for_replies(struct arb_conn *c)
{
    struct arb_actor *a = c->actor;

    for (unsigned i = 0; i < STEPS_MAX && !c->is_closed && c->owed > 0; i++) {
        const uint64_t due = test_next_due(a);

        if (due == UINT64_MAX)
            return;
        arb_test_advance(a, due > a->now_ms ? due - a->now_ms : 0);
    }
}

/* A reply that is owed while nothing is read comes before the move, as in a worker. */
static struct arb_conn *change_worker(struct arb_conn *c, struct arb_actor *to, enum way way)
{
    struct arb_conn *moved;

    if (c->is_waiting)
        wait_for_replies(c);
    moved = way == RESCUED ? arb_test_rescue(c, to) : arb_test_move(c, to);
    if (moved && way == MOVED_ANEW)
        moved->resume = 0;
    return moved ? moved : c;
}

static void collect_sent(struct text *all, const struct arb_actor *a)
{
    if (!a->sent)
        return;
    for (size_t i = 0;; i++) {
        const struct sent *s = test_sent(a, i);

        if (!s)
            return;
        if (!s->is_on_behalf)
            continue;
        text_add(all, s->to.data, s->to.len + 1);
        text_add(all, s->topic.data, s->topic.len + 1);
        text_add(all, s->data.data, s->data.len);
    }
}

static struct arb_conn *feed(const struct input *in, struct arb_conn *c, struct run *r,
                             struct arb_actor *to)
{
    const size_t first = r->way == WHOLE ? in->len : r->way == BYTES ? 0 : r->at;
    size_t n;

    arb_test_feed(c, in->data, first);
    if (r->way >= MOVED)
        c = change_worker(c, to, r->way);
    for (size_t i = first; i < in->len; i += n) {
        n = r->way == BYTES ? 1 : in->len - first;
        arb_test_feed(c, in->data + i, n);
    }
    return c;
}

/* Returns 0, or -EINVAL if there is no worker. */
static int run_once(const struct input *in, struct run *r, char *why, size_t why_size)
{
    struct arb_actor *a = test_worker(in->protocol, in->conf, 1, why, why_size);
    struct arb_actor *b = a ? test_worker(in->protocol, in->conf, 2, why, why_size) : NULL;
    struct arb_conn *c = b ? arb_test_open(a) : NULL;
    const char *output, *broken;
    size_t len;

    if (!b) {
        arb_test_free(a);
        return -EINVAL;
    }
    if (c) {
        c = feed(in, c, r, b);
        arb_test_end(c);
        wait_for_replies(c);
        output = arb_test_read(c, &len);
        text_add(&r->output, output, len);
        r->messages = c->messages;
        r->is_open = arb_test_is_open(c, &r->why);
    }
    collect_sent(&r->sent, a);
    collect_sent(&r->sent, b);
    broken = arb_test_stop(a);
    if (!broken)
        broken = arb_test_stop(b);
    snprintf(r->broken, sizeof(r->broken), "%s", broken ? broken : "");
    arb_test_free(a);
    arb_test_free(b);
    return 0;
}

/* The first byte that differs, or the shorter length. */
static size_t first_difference(const struct text *a, const struct text *b)
{
    size_t i = 0;

    while (i < a->len && i < b->len && a->data[i] == b->data[i])
        i++;
    return i;
}

/* Bytes around a difference, for people. Returns @buf. */
static const char *show(const struct text *t, size_t at, char buf[64])
{
    size_t n = 0;

    for (size_t i = at > 8 ? at - 8 : 0; i < t->len && i < at + 24; i++)
        buf[n++] = t->data[i] >= ' ' && t->data[i] <= '~' ? t->data[i] : '.';
    buf[n] = '\0';
    return buf;
}

static int differ(const char *what, const struct text *want, const struct text *got, char *why,
                  size_t size)
{
    const size_t at = first_difference(want, got);
    char a[64], b[64];

    if (want->len == got->len && at == want->len)
        return 0;
    snprintf(why, size, "%s from byte %zu on: \"%s\" instead of \"%s\"", what, at, show(got, at, b),
             show(want, at, a));
    return -EINVAL;
}

static int compare(const struct run *want, const struct run *got, char *why, size_t size)
{
    if (differ("other replies", &want->output, &got->output, why, size) < 0 ||
        differ("other messages are sent", &want->sent, &got->sent, why, size) < 0)
        return -EINVAL;
    if (want->messages != got->messages) {
        snprintf(why, size, "%llu requests are counted instead of %llu",
                 (unsigned long long)got->messages, (unsigned long long)want->messages);
        return -EINVAL;
    }
    if (want->is_open != got->is_open || want->why != got->why) {
        snprintf(why, size, "the connection ends otherwise: %d instead of %d",
                 got->is_open ? -1 : (int)got->why, want->is_open ? -1 : (int)want->why);
        return -EINVAL;
    }
    return 0;
}

/* One more way; its results have to be those of @want. */
static int try_way(const struct input *in, const struct run *want, enum way way, size_t at,
                   char *why, size_t size)
{
    struct run got = {.way = way, .at = at};
    char problem[256], place[24] = "";
    int r = run_once(in, &got, problem, sizeof(problem));

    if (r == 0 && got.broken[0] != '\0') {
        snprintf(problem, sizeof(problem), "%s", got.broken);
        r = -EINVAL;
    }
    if (r == 0 && want)
        r = compare(want, &got, problem, sizeof(problem));
    if (way >= SPLIT)
        snprintf(place, sizeof(place), " %zu", at);
    if (r < 0)
        snprintf(why, size, "%s%s: %s", way_names[way], place, problem);
    run_fini(&got);
    return r;
}

static int check(const struct input *in, size_t points, size_t seed, char *why, size_t size)
{
    const size_t step = in->len / points + 1;
    struct run whole = {.way = WHOLE};
    int r = run_once(in, &whole, why, size);

    if (r == 0 && whole.broken[0] != '\0') {
        snprintf(why, size, "%s: %s", way_names[WHOLE], whole.broken);
        r = -EINVAL;
    }
    if (r == 0)
        r = try_way(in, &whole, BYTES, 0, why, size);
    for (enum way way = SPLIT; way < WAYS; way++) {
        for (size_t at = seed % step; r == 0 && at <= in->len; at += step)
            r = try_way(in, &whole, way, at, why, size);
    }
    run_fini(&whole);
    return r;
}

/* Bytes that no `save` has written: they may be refused, but break nothing. */
static int check_strange_state(const struct input *in, char *why, size_t size)
{
    struct arb_actor *a = test_worker(in->protocol, in->conf, 1, why, size);
    struct arb_actor *b = a ? test_worker(in->protocol, in->conf, 2, why, size) : NULL;
    struct arb_conn *c =
        b && in->protocol->restore ? test_restore(a, 1, false, in->data, in->len) : NULL;
    const char *broken = NULL;

    if (c) {
        c = change_worker(c, b, MOVED);
        arb_test_feed(c, in->data, in->len);
        arb_test_end(c);
        wait_for_replies(c);
    }
    if (b) {
        broken = arb_test_stop(a);
        if (!broken)
            broken = arb_test_stop(b);
        if (broken)
            snprintf(why, size, "a strange state: %s", broken);
    }
    arb_test_free(a);
    arb_test_free(b);
    return b && !broken ? 0 : -EINVAL;
}

int arb_test_check(const struct arb_protocol *protocol, const char *const *settings,
                   const void *data, size_t len, char *why, size_t why_size)
{
    const struct input in = {protocol, test_conf_new(protocol, settings, why, why_size), data, len};
    const int r = in.conf ? check(&in, POINTS_CHECK, 0, why, why_size) : -EINVAL;

    test_conf_unref(in.conf);
    return r;
}

int arb_test_fuzz(const struct arb_protocol *protocol, const uint8_t *data, size_t size)
{
    char why[512];
    const struct input in = {protocol, test_conf_new(protocol, NULL, why, sizeof(why)),
                             (const char *)data, size};
    size_t seed = size;
    int r = in.conf ? 0 : -EINVAL;

    for (size_t i = 0; i < size; i++)
        seed = seed * 31 + data[i];
    if (r == 0)
        r = check(&in, POINTS_FUZZ, seed, why, sizeof(why));
    if (r == 0)
        r = check_strange_state(&in, why, sizeof(why));
    test_conf_unref(in.conf);
    if (r == 0)
        return 0;
    fprintf(stderr, "%s: %s\n", protocol->name, why);
    abort();
}
