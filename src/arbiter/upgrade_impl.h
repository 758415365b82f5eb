/*
 * What the files of the upgrade share. Included by src/arbiter/upgrade*.c and startup.c alone.
 */
#ifndef ARBITER_UPGRADE_IMPL_H
#define ARBITER_UPGRADE_IMPL_H

#include "arbiter/transition.h"
#include "arbiter/upgrade_state.h"

struct arbiter;
struct config;
struct log;
struct upgrade;

/* Names of the engine's enums in the state; NULL = none that travels. */
extern const char *const upgrade_phase_names[TR_PHASES];
extern const char *const upgrade_role_names[TR_ROLES + 1];

/* upgrade_wait_names - what an answer waits for (enum answer_wait); NULL = it does not travel */
enum { UPGRADE_WAITS = 8 };
extern const char *const upgrade_wait_names[UPGRADE_WAITS];

/* ---- upgrade_check.c ---- */

/* upgrade_check_start - fork the checker. Returns 0 or -errno. */
int upgrade_check_start(struct arbiter *a);

/* upgrade_check_kill - the checker, if there is one, and all that it may have started */
void upgrade_check_kill(const struct upgrade *u);

/*
 * upgrade_check_end - it has been reaped
 * @text  on 0: the version of the program, else the reason
 * Returns 0 or -EINVAL.
 */
int upgrade_check_end(struct upgrade *u, int status, char *text, size_t size);

/* ---- upgrade_snapshot.c ---- */

/* upgrade_snapshot - @a as a state, owned by the caller. Returns 0 or -ENOMEM. */
int upgrade_snapshot(const struct arbiter *a, struct upgrade_state *ret);

/* ---- upgrade_file.c ---- */

/* upgrade_file_write - @s in a sealed memfd. Returns 0 or -errno. */
int upgrade_file_write(const struct upgrade_state *s, int *ret_fd);

/* upgrade_file_read - @why as of upgrade_state_decode. Returns 0 or -errno. */
int upgrade_file_read(int fd, struct upgrade_state *ret, char *why);

/* A program to be executed, and what it is told. */
struct upgrade_exec {
    const char *path; /* NULL = @program_fd */
    int program_fd;
    int state_fd;
    int back_fd; /* for the way back; -1 = there is none */
    const char *failed; /* why we go back; NULL = we do not */
    char *const *argv; /* of the first start */
};

/*
 * upgrade_exec - execute it with the descriptors of @s; all signals are blocked
 * An alarm is set: it comes to an image that has called upgrade_guard, and not yet upgrade_unguard,
 * after UPGRADE_BEGIN_MS.
 * Returns -errno; then it is as if nothing had happened.
 */
int upgrade_exec(const struct upgrade_exec *exec, const struct upgrade_state *s);

/*
 * upgrade_watch - before a program is executed: start a process that kills this one unless somebody
 * closes the returned descriptor within UPGRADE_WATCH_MS
 * Our programs do so when they begin, as they close whatever is not in the state. Another one,
 * which hangs with all signals blocked, could be ended by nothing but SIGKILL. Returns -1 if there
 * cannot be one.
 */
int upgrade_watch(struct log *log);

/* upgrade_guard - the new image: if the alarm comes, go back by @back, or end if there is no way
 * upgrade_guard_fds - before it makes any of those in @s close-on-exec. Returns 0 or -ENOMEM.
 * upgrade_unguard - it has begun */
void upgrade_guard(const struct upgrade_exec *back);
int upgrade_guard_fds(const struct upgrade_state *s);
void upgrade_unguard(void);

/* upgrade_pass_fds - close-on-exec or not, of all in @s. Returns 0 or -ENOMEM. */
int upgrade_pass_fds(const struct upgrade_state *s, bool is_passed);

/* ---- upgrade_inherit.c ---- */

/* upgrade_config - the configuration of @s. Returns 0, -EINVAL or -ENOMEM, with @why. */
int upgrade_config(const struct upgrade_state *s, struct config **ret, char *why);

#endif
