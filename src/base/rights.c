/*
 * The peer of a control connection, and what it may do.
 */
#include "base/rights.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { OVERFLOW_ID = 65534 }; /* the kernel's default */

static unsigned long read_overflow_id(const char *path, unsigned long otherwise)
{
    FILE *f = fopen(path, "re");
    unsigned long number;

    if (!f)
        return otherwise;
    if (fscanf(f, "%lu", &number) != 1)
        number = otherwise;
    fclose(f);
    return number;
}

/* Is every id of the system one here? A kernel without user namespaces has no such file. */
static bool is_mapped_whole(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long inside = 0, outside = 0, count = 4294967295;

    if (!f)
        return errno == ENOENT;
    if (fscanf(f, "%lu %lu %lu", &inside, &outside, &count) != 3)
        count = 0;
    fclose(f);
    return inside == 0 && outside == 0 && count >= 4294967295;
}

void rights_find_unknown(struct rights *r)
{
    r->unknown_uid = (uid_t)-1;
    r->unknown_gid = (gid_t)-1;
    if (!is_mapped_whole("/proc/self/uid_map"))
        r->unknown_uid = (uid_t)read_overflow_id("/proc/sys/kernel/overflowuid", OVERFLOW_ID);
    if (!is_mapped_whole("/proc/self/gid_map"))
        r->unknown_gid = (gid_t)read_overflow_id("/proc/sys/kernel/overflowgid", OVERFLOW_ID);
}

static bool is_in_group(const struct rights *r, gid_t group, gid_t own, const gid_t *groups,
                        size_t n)
{
    bool is_in = own == group;

    if (group == (gid_t)-1 || group == r->unknown_gid)
        return false;
    for (size_t i = 0; !is_in && i < n; i++)
        is_in = groups[i] == group;
    return is_in;
}

enum right rights_decide(const struct rights *r, const struct ucred *peer, const gid_t *groups,
                         size_t n_groups)
{
    const bool is_known = peer->uid != (uid_t)-1 && peer->uid != r->unknown_uid;

    if (!is_known)
        return RIGHT_NONE;
    if (peer->uid == 0 || peer->uid == r->own ||
        is_in_group(r, r->steerers, peer->gid, groups, n_groups))
        return RIGHT_STEER;
    return peer->uid == r->asker || is_in_group(r, r->askers, peer->gid, groups, n_groups)
               ? RIGHT_ASK
               : RIGHT_NONE;
}

enum right rights_of_peer(const struct rights *r, int fd, struct ucred *ret_peer)
{
    struct ucred peer = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    gid_t some[64], *groups = some, *more = NULL;
    socklen_t len = sizeof(peer);
    enum right right;
    int rc = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);

    *ret_peer = peer;
    if (rc < 0)
        return RIGHT_NONE;
    len = sizeof(some);
    rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len);
    if (rc < 0 && errno == ERANGE && (more = malloc(len))) { /* @len is what they need */
        groups = more;
        rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len);
    }
    right = rights_decide(r, &peer, groups, rc < 0 ? 0 : len / sizeof(*groups));
    free(more);
    return right;
}
