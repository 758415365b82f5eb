/*
 * What a handler of a fatal signal says to the keeper: which idle connections it does not have yet.
 */
#include "net/keep.h"

#include <errno.h>
#include <poll.h>

#include "base/fdpass.h"
#include "net/conn_marks.h"

/* A full queue empties only if the keeper takes from it now; descriptors in flight count against
 * the user. */
static int send_patiently(struct keep *k, const int *fds, uint32_t n)
{
    const size_t len = keep_put(&k->message, k->bytes);
    struct pollfd p = {.fd = k->fd, .events = POLLOUT};
    int error = fdpass_send(k->fd, k->bytes, len, fds, n);

    for (int waited_ms = 0; waited_ms < KEEP_PATIENCE_MS; waited_ms += 10) {
        if (error != -EAGAIN && !fdpass_is_transient(error))
            break;
        /* Too many in flight: the socket is writable all the while, and poll returns at once. */
        poll(&p, error == -EAGAIN ? 1 : 0, 10);
        error = fdpass_send(k->fd, k->bytes, len, fds, n);
    }
    return error;
}

/* Returns 0 or -errno; a keeper that has @fd under the same number closes what it had. */
static int register_some(struct keep *k, struct keep_entry *entries, uint32_t n)
{
    int fds[KEEP_COUNT_MAX], error;

    k->message.count = n;
    for (uint32_t i = 0; i < n; i++) {
        entries[i].serial = keeping_serial(&k->rules);
        k->message.entries[i] = entries[i];
        k->table.serial[entries[i].number] = entries[i].serial;
        fds[i] = (int)entries[i].number;
    }
    error = send_patiently(k, fds, n);
    for (uint32_t i = 0; error && i < n; i++)
        k->table.serial[entries[i].number] = 0;
    return error;
}

/* Memory may be damaged, and the marks with it: a number that is none must not cost the others. */
static bool register_all(struct keep *k, struct keep_entry *entries, uint32_t n)
{
    int error = n > 0 ? register_some(k, entries, n) : 0;

    if (error != -EBADF)
        return error == 0;
    for (uint32_t i = 0; i < n; i++) {
        error = register_some(k, &entries[i], 1);
        if (error && error != -EBADF)
            return false;
    }
    return true;
}

static uint32_t count_kept(const struct keep *k)
{
    uint32_t n = 0;

    for (size_t i = 0; i < k->set->marks_end; i++)
        n += k->table.serial[i] != 0 && conn_mark_is_idle(k->table.mark[i]);
    return n;
}

uint32_t keep_crash(struct keep *k)
{
    const struct conn_set *set = k->set;
    struct keep_entry entries[KEEP_COUNT_MAX];
    bool may_send = true;
    uint32_t n = 0;

    if (!set || !k->table.mark || !k->rules.is_linked)
        return 0;
    k->message.kind = KEEP_REGISTER;
    k->message.batch = 0;
    for (size_t i = 0; i < set->marks_end && may_send; i++) {
        if (!conn_mark_is_idle(k->table.mark[i]) || k->table.serial[i] != 0 ||
            set->spoken[i] >= set->n_protocols || !conn_is_stream((int)i))
            continue;
        entries[n++] = (struct keep_entry){
            .number = (uint32_t)i,
            .origin.protocol = set->protocols[set->spoken[i]].name_hash,
            .peer = *conn_set_named(set, (int)i),
        };
        if (n < KEEP_COUNT_MAX)
            continue;
        may_send = register_all(k, entries, n);
        n = 0;
    }
    if (may_send)
        register_all(k, entries, n);
    return count_kept(k);
}
