/*
 * What one image of the arbiter leaves to the next over exec: the arbiter's structs as JSON, and a
 * list of every descriptor in it. Strict: a member that is missing, unknown, of another type or out
 * of its range is refused with its name. Counters come and go with versions. Some members may be
 * missing: they are written where there is something to say, and on the way back only to a program
 * that has had them. A program that does not know one refuses it in the dry run.
 */
#ifndef ARBITER_UPGRADE_STATE_H
#define ARBITER_UPGRADE_STATE_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

struct arbiter;

/*
 * STATE_VERSION counts the changes of the state, of the messages between arbiter and workers and of
 * the format in which connections move: workers of one image live under the arbiter of the other.
 * The dry run refuses a program that reads, or would write for the way back, another version.
 */
enum { STATE_VERSION = 4, STATE_MAX_BYTES = 64 << 20 };

struct upgrade_state {
    json_t *body; /* owned */
    int *fds; /* owned: all descriptors in it, each once */
    size_t n_fds;
};

/* upgrade_state_pack - @a as it is now. Returns 0 or -ENOMEM. */
int upgrade_state_pack(const struct arbiter *a, struct upgrade_state *ret);

/*
 * upgrade_state_decode - from JSON: format, version and the list of descriptors are checked
 * @program  the name of this one: the state of another program is refused
 * @pid  of the arbiter, which exec does not change
 * @ret  on 0: owned by the caller, upgrade_state_fini()
 * @why  else: a sentence of at most ARBITER_WHY_LEN bytes
 * Returns 0, -EPROTONOSUPPORT (of another version), -EBADMSG or -ENOMEM.
 */
int upgrade_state_decode(const char *data, size_t len, const char *program, pid_t pid,
                         struct upgrade_state *ret, char *why);
void upgrade_state_fini(struct upgrade_state *s);

/*
 * upgrade_state_unpack - build @a, which has been through arbiter_init, from @s
 * @why  on failure: a sentence of at most ARBITER_WHY_LEN bytes
 * Returns 0 or -errno; every descriptor is still open then, and nobody has noticed anything.
 */
int upgrade_state_unpack(const struct upgrade_state *s, struct arbiter *a, char *why);

#endif
