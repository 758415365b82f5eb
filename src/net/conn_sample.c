/*
 * How long replies take: from when the last byte of a message has been read until its reply is with
 * the kernel, or in the connection's output if the peer does not read. Runs in a worker.
 *
 * Two looks at the clock for each message would be seen in the cost of a message. So one read in
 * SAMPLE_READS is timed, and the first one after each heartbeat, so that a quiet server has times,
 * too. Its time stands for all messages since the timed read before: how many times are counted,
 * and their sum, are those of all messages, whatever the traffic was like in between.
 *
 * A reply that comes later, by arb_request, is timed until its end. If its connection is gone then,
 * its time counts nowhere.
 */
#include "net/conn_impl.h"

#include "base/clock.h"
#include "base/util.h"

enum { SAMPLE_READS = 256 };

void conn_sample_next(struct conn_set *set)
{
    set->untimed = 1;
}

void conn_sample_begin(struct conn_set *set)
{
    set->untimed = SAMPLE_READS;
    set->sample.request = NULL;
    set->sample.read_ns = set->sample.times ? clock_mono_ns() : 0;
}

static void count_reply(struct conn_set *set, uint64_t read_ns, uint64_t n_messages)
{
    timing_add(set->sample.times, clock_mono_ns() - read_ns, n_messages);
}

/* A request that has ended already was as good as a reply. */
void conn_sample_end(struct conn_set *set)
{
    const uint64_t now = counter_get(&set->counters->requests), read_ns = set->sample.read_ns;
    const uint64_t n_messages = now - set->sample.counted;
    struct arb_request *r = set->sample.request;

    set->sample.read_ns = 0;
    if (!read_ns)
        return;
    if (r && !r->is_ended) {
        r->read_ns = read_ns;
        r->n_messages = MAX(n_messages, UINT64_C(1));
    } else if (n_messages > 0) {
        count_reply(set, read_ns, n_messages);
    } else {
        set->untimed = 1; /* no message was complete: the next read may bring one */
        return;
    }
    set->sample.counted = now;
}

void conn_sample_request(struct arb_request *r)
{
    struct conn_set *set = r->set;

    if (!set->sample.request && r->conn == conn_served(set))
        set->sample.request = r;
}

void conn_sample_reply(const struct arb_request *r)
{
    if (r->n_messages > 0)
        count_reply(r->set, r->read_ns, r->n_messages);
}
