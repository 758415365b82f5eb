/*
 * Whom a process serves as: found by the names that a configuration has, tried, and taken on. To
 * look a name up may take long and open files (nsswitch.conf(5)); numbers are what is kept.
 */
#ifndef BASE_PRIVILEGES_H
#define BASE_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PRIVILEGES_GROUPS_MAX = 256, PRIVILEGES_NAME_LEN = 64, PRIVILEGES_WHY_LEN = 512 };

enum privileges_kind {
    PRIVILEGES_UNKNOWN, /* not found yet: nobody may be forked */
    PRIVILEGES_SAME, /* an ordinary user has started the server, and stays */
    PRIVILEGES_SWITCH, /* root has, and another user serves */
    PRIVILEGES_ROOT, /* the configuration says that root serves */
    PRIVILEGES_BARE, /* root serves without capabilities, since it cannot become anybody else */
    PRIVILEGES_KINDS
};

struct privileges {
    enum privileges_kind kind;
    uid_t uid;
    gid_t gid;
    bool has_group; /* PRIVILEGES_ROOT: `gid` and `groups` are to be taken on */
    gid_t groups[PRIVILEGES_GROUPS_MAX]; /* supplementary ones */
    size_t n_groups;
    char user[PRIVILEGES_NAME_LEN], group[PRIVILEGES_NAME_LEN]; /* names; numbers without one */
};

struct privileges_wish {
    const char *user, *group; /* borrowed: names or numbers; "" = not said */
    const char *usual; /* borrowed: who serves for root, if that user exists */
};

/* privileges_same - those of this process, without any look-up */
void privileges_same(struct privileges *ret);

/*
 * privileges_find - whom a server has to serve as that this process starts. May block for ever.
 * @ret_is_group  on failure: whether it is the wish for a group that cannot be had
 * @why  on failure: a sentence; PRIVILEGES_WHY_LEN bytes
 * Returns 0, -ESRCH (there is no such user or group), -EPERM (only root could) or -errno.
 */
int privileges_find(const struct privileges_wish *wish, struct privileges *ret, bool *ret_is_group,
                    char *why);

/*
 * privileges_drop - from now on this process has them, and no way back
 * What the parent's death sends has to be asked for anew: a change of the user clears it. Another
 * user is refused as well if this process has no CAP_KILL: then its parent could not end it.
 * @ret_step  on failure: the call that was refused, or would be
 * @ret_is_switch  on failure: it is one of those by which a process becomes another user; NULL = of
 * no interest
 * Returns 0 or -errno; the process is then no longer what it was, and has to end.
 */
int privileges_drop(const struct privileges *p, const char **ret_step, bool *ret_is_switch);

/* privileges_has - has this process that capability? Also where the kernel does not tell. */
bool privileges_has(int capability);

#endif
