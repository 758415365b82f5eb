/*
 * Connections in a crash. Runs in the handler of a worker's fatal signal.
 */
#include "worker/crash.h"

#include <string.h>
#include <sys/socket.h>

#include "actor/fatal.h"
#include "net/move_crash.h"

/* A handler is given no argument of ours. */
static struct keep *crash_keep;
static const struct conn_set *crash_conns;

/* Takes are closed before anything is waited for: two workers may give to each other. */
static void rescue_all(struct crash_record *r)
{
    r->rescued = keep_crash(crash_keep);
    move_crash_close_takes(crash_conns->marks, crash_conns->marks_end);
    if (move_crash_reclaim(crash_conns->marks, crash_conns->marks_end))
        r->rescued = keep_crash(crash_keep);
}

static bool find_served(int *ret_fd, const uint8_t **ret_data, size_t *ret_len)
{
    *ret_fd = crash_conns->serving.fd;
    *ret_data = crash_conns->serving.data;
    *ret_len = crash_conns->serving.len;
    return crash_conns->serving.data != NULL;
}

static size_t find_peer(uint8_t ret[CRASH_PEER_MAX])
{
    struct sockaddr_storage peer;
    const struct arb_conn *c = crash_conns->serving.conn;
    const size_t len = c ? conn_peer_address(c, &peer) : 0;

    _Static_assert(sizeof(peer) <= CRASH_PEER_MAX, "an address of any family");
    memcpy(ret, &peer, len);
    return len;
}

int crash_install(const struct actor_boot *boot, const struct conn_set *conns, struct keep *keep)
{
    static const struct fatal_hooks hooks = {
        .rescue = rescue_all, .serving = find_served, .peer = find_peer};

    crash_keep = keep;
    crash_conns = conns;
    return fatal_install(boot, &hooks);
}
