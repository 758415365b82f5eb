/*
 * Who may ask the server and who may steer it: decided at each request, by the user and the groups
 * that the kernel has noted of the peer when it connected. So a reload that takes a right away
 * holds for open connections, too. Pure, but for what asks the kernel.
 */
#ifndef BASE_RIGHTS_H
#define BASE_RIGHTS_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

enum right { RIGHT_NONE, RIGHT_ASK, RIGHT_STEER };

/* Who has them. -1 = nobody. Root and the arbiter's own user steer. */
struct rights {
    uid_t own; /* the arbiter's */
    uid_t asker; /* the owner of the socket */
    gid_t askers; /* its group */
    gid_t steerers;
    /* The ids by which the kernel shows everybody whom this user namespace does not know: they are
     * nobody's. -1 = it knows all. */
    uid_t unknown_uid;
    gid_t unknown_gid;
};

/* rights_find_unknown - fill in the last two, from /proc */
void rights_find_unknown(struct rights *r);

/* rights_decide - of a peer with these further groups */
enum right rights_decide(const struct rights *r, const struct ucred *peer, const gid_t *groups,
                         size_t n_groups);

/* rights_of_peer - of who has connected the socket @fd. RIGHT_NONE also if that cannot be known.
 * @ret_peer: always set, to -1 where it is not known */
enum right rights_of_peer(const struct rights *r, int fd, struct ucred *ret_peer);

#endif
