/*
 * From one image of the arbiter to another, the way there and the way back: what both images do.
 * Runs in the arbiter, outside of every callback.
 */
#ifndef ARBITER_UPGRADE_EXEC_H
#define ARBITER_UPGRADE_EXEC_H

#include <jansson.h>
#include <stdbool.h>

#include "arbiter/upgrade_state.h"

struct arbiter;
struct log;

/* A program to be executed, and what it is told. */
struct upgrade_exec {
    const char *path; /* NULL = @program_fd */
    int program_fd;
    int state_fd;
    int back_fd; /* for the way back; -1 = there is none */
    const char *failed; /* why we go back; NULL = we do not */
    char *const *argv; /* of the first start */
};

/* upgrade_exec_write - @s in a sealed memfd. Returns 0 or -errno. */
int upgrade_exec_write(const struct upgrade_state *s, int *ret_fd);

/* upgrade_exec_read - as upgrade_state_decode, from a sealed memfd. Returns 0 or -errno. */
int upgrade_exec_read(int fd, const char *program, pid_t pid, struct upgrade_state *ret, char *why);

/* upgrade_exec_pass - close-on-exec or not, of all descriptors in @s */
void upgrade_exec_pass(const struct upgrade_state *s, bool is_passed);

/*
 * upgrade_exec_now - execute it with the descriptors of @s; all signals are blocked
 * An alarm is set: it comes to an image that has called upgrade_exec_guard, and not yet
 * upgrade_exec_unguard, after UPGRADE_BEGIN_MS.
 * @s  NULL = descriptors are passed on as they are
 * Returns -errno; then it is as if nothing had happened.
 */
int upgrade_exec_now(const struct upgrade_exec *exec, const struct upgrade_state *s);

/* upgrade_exec_arbiter - the same with the state of @a; its state_fd is made here. Returns -EBUSY
 * if something is due in the engine. */
int upgrade_exec_arbiter(struct arbiter *a, const struct upgrade_exec *exec);

/*
 * upgrade_exec_watch - before a program is executed: start a process that kills this one unless
 * somebody closes the returned descriptor within UPGRADE_WATCH_MS
 * Our programs do so when they begin, as they close whatever is not in the state. Another one,
 * which hangs with all signals blocked, could be ended by nothing but SIGKILL. Returns -1 if there
 * cannot be one.
 */
int upgrade_exec_watch(struct log *log);

/* upgrade_exec_guard - the new image: if the alarm comes, go back by @back, or end if there is none
 * upgrade_exec_guard_fds - before it makes any of those in @s, borrowed, close-on-exec
 * upgrade_exec_unguard - it has begun */
void upgrade_exec_guard(const struct upgrade_exec *back);
void upgrade_exec_guard_fds(const struct upgrade_state *s);
void upgrade_exec_unguard(void);

/* upgrade_exec_later - leave the loop and call @exec as soon as nothing is on its way to a worker,
 * or in UPGRADE_CHECK_MS at the latest: then something may even be due in the engine. If @exec
 * returns, it has called upgrade_finish, or upgrade_exec_later once more. */
void upgrade_exec_later(struct arbiter *a, void (*exec)(struct arbiter *a, bool is_quiet));

/* upgrade_finish - it is over, as @body (taken over) says; upgrade_refuse - because of @why */
void upgrade_finish(struct arbiter *a, json_t *body);
void upgrade_refuse(struct arbiter *a, const char *why);

#endif
