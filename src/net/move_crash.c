/*
 * What becomes of moves under way in a crash.
 */
#include "net/move_crash.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/conn_marks.h"
#include "net/move_wire.h"

enum { FLIGHTS_MAX = 128, LANES_MAX = FLIGHTS_MAX / MOVE_UNANSWERED_MAX, HEARD_AT_ONCE = 16 };

_Static_assert(CONN_MARK_FLIGHT + FLIGHTS_MAX <= UINT8_MAX + 1, "a mark is one byte");

/* A handler is given no argument of ours. What goes over more lanes at a time than fit in here is
 * not asked for when this process crashes. */
static struct move_lane *volatile watched[LANES_MAX];

void move_crash_watch(struct move_lane *lane)
{
    for (size_t i = 0; i < LANES_MAX; i++) {
        if (watched[i])
            continue;
        lane->first_mark = (uint8_t)(CONN_MARK_FLIGHT + i * MOVE_UNANSWERED_MAX);
        watched[i] = lane;
        return;
    }
}

void move_crash_unwatch(struct move_lane *lane)
{
    for (size_t i = 0; i < LANES_MAX; i++)
        if (watched[i] == lane)
            watched[i] = NULL;
}

uint8_t move_flight_mark(const struct move_lane *lane, uint32_t id)
{
    return lane->first_mark < CONN_MARK_FLIGHT
               ? CONN_MARK_MOVING
               : (uint8_t)(lane->first_mark + id % MOVE_UNANSWERED_MAX);
}

int move_hear(struct move_lane *lane, struct moved_answer *ret, enum giving_outcome *ret_outcome)
{
    struct move_datagram d;
    const int rc = move_receive(lane->fd, &d);

    *ret = (struct moved_answer){0};
    *ret_outcome = GIVING_NOTHING;
    if (rc == MOVE_END)
        *ret_outcome = giving_ended(&lane->rules);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < d.got.n_fds; i++)
        close(d.got.fds[i]);
    if (moved_get_answer(d.data, d.got.len, ret) < 0)
        giving_close(&lane->rules);
    else
        *ret_outcome = giving_answered(&lane->rules, ret->id, ret->outcome == MOVED_OK);
    return 0;
}

void move_crash_close_takes(const uint8_t *marks, size_t n_marks)
{
    for (size_t i = 0; i < n_marks; i++)
        if (marks[i] == CONN_MARK_TAKE)
            close((int)i);
}

/* Returns whether more may come. */
static bool hear_all(struct move_lane *lane, bool *is_back)
{
    for (int i = 0; i < HEARD_AT_ONCE && giving_unanswered(&lane->rules) > 0; i++) {
        const uint8_t mark = move_flight_mark(lane, lane->rules.answered + 1);
        struct moved_answer answer;
        enum giving_outcome outcome;
        const int rc = move_hear(lane, &answer, &outcome);

        if (rc < 0)
            return rc == -EAGAIN;
        if (outcome == GIVING_RESUME)
            is_back[mark] = true;
    }
    return giving_unanswered(&lane->rules) > 0;
}

bool move_crash_reclaim(uint8_t *marks, size_t n_marks)
{
    const uint64_t end_ms = clock_mono_ms() + MOVE_RECLAIM_MS;
    bool is_back[UINT8_MAX + 1] = {false}, is_any_back = false;

    for (;;) {
        struct pollfd polled[LANES_MAX];
        nfds_t n = 0;

        for (size_t i = 0; i < LANES_MAX; i++) {
            struct move_lane *lane = watched[i];

            if (lane && hear_all(lane, is_back))
                polled[n++] = (struct pollfd){.fd = lane->fd, .events = POLLIN};
        }
        const uint64_t now_ms = clock_mono_ms();
        if (n == 0 || now_ms >= end_ms)
            break;
        poll(polled, n, (int)(end_ms - now_ms));
    }
    for (size_t i = 0; i < n_marks; i++)
        if (marks[i] >= CONN_MARK_FLIGHT && is_back[marks[i]]) {
            marks[i] = CONN_MARK_IDLE;
            is_any_back = true;
        }
    return is_any_back;
}
