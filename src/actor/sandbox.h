/*
 * The sandbox of processes that parse clients' bytes: seccomp with a list of what they call, and
 * Landlock without any file. A child of the arbiter builds and tries it once, a process enters it
 * when it has all that it has to open.
 */
#ifndef ACTOR_SANDBOX_H
#define ACTOR_SANDBOX_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_who { SANDBOX_WORKER, SANDBOX_KEEPER, SANDBOX_STATUS, SANDBOX_WHO };

enum {
    SANDBOX_NAMES_MAX = 512,
    SANDBOX_WHY_LEN = 256,
    SANDBOX_SYS_SECCOMP = 1, /* SYS_SECCOMP of the kernel, which glibc does not have */
    SANDBOX_NONE = -1, /* no call was stopped */
    SANDBOX_FOREIGN = -2, /* one by the numbers of another machine, as of 32 bits */
};

struct sock_filter;

struct sandbox {
    bool is_known; /* the rest is filled in */
    struct sandbox_filter {
        struct sock_filter *code; /* owned */
        unsigned short len; /* instructions */
    } filters[SANDBOX_WHO];
    uint32_t arch; /* as the kernel names this machine */
    char *names[SANDBOX_NAMES_MAX]; /* owned: of system calls, by number; NULL = none has it */
    bool has_further; /* calls of the program's own */
    bool has_seccomp;
    int landlock_abi; /* of the kernel; 0 = Landlock is not used */
    bool is_denied; /* what the kernel has is refused to this process: worth a warning */
    bool is_told; /* that it lacks something */
    char lacks[SANDBOX_WHY_LEN]; /* what cannot be had, and why; "" = nothing */
};

/*
 * sandbox_init - build the filters and try what can be had, both in a child; @s is of zeros
 * @further  names of calls that the program's own code makes in workers, ended by NULL; NULL =
 * none. With any there is no Landlock, which knows no such list; with "*" no sandbox of workers.
 * Blocks for the time of two forks, some two seconds at most. Returns 0 or -errno.
 */
int sandbox_init(struct sandbox *s, const char *const *further);
void sandbox_fini(struct sandbox *s);

/* sandbox_knows_call - is that the name of a system call, or "*"? */
bool sandbox_knows_call(const char *name);

/*
 * sandbox_enter - for the rest of its life this process makes the calls of @who and no other
 * @s  of this process alone: it is changed
 * Returns 0, or -errno and *ret_step names what has failed.
 */
int sandbox_enter(struct sandbox *s, enum sandbox_who who, const char **ret_step);

/* sandbox_has_seccomp, sandbox_landlock - what workers have of it: the latter is the ABI, 0 = none
 */
bool sandbox_has_seccomp(const struct sandbox *s);
int sandbox_landlock(const struct sandbox *s);

/* sandbox_stopped - the number of the system call whose end that signal is, or SANDBOX_NONE or
 * SANDBOX_FOREIGN. Async-signal-safe, @s may be NULL. */
int64_t sandbox_stopped(const struct sandbox *s, const siginfo_t *info);

/* sandbox_call_name - of a system call; "?" if there is none with that number. Async-signal-safe,
 * @s may be NULL. */
const char *sandbox_call_name(const struct sandbox *s, int64_t number);

/* A rule of the list, for the test that compares it with what is really called. */
struct sandbox_rule {
    const char *call;
    bool may[SANDBOX_WHO];
    bool is_conditional; /* there may be others for the call */
    const char *rare; /* why it is there, if a usual run does not make it; else NULL */
};

/* sandbox_rule - the @i-th; false = there are no more */
bool sandbox_rule(size_t i, struct sandbox_rule *ret);

#endif
