/*
 * The contract between the arbiter and the process that it forks: all that an actor is born with.
 * Everything is inherited by fork; nothing is passed on a command line.
 */
#ifndef ACTOR_BOOT_H
#define ACTOR_BOOT_H

#include <stdint.h>
#include <sys/types.h>

struct arb_kind;
struct arb_program;
struct command_set;
struct config;
struct listener;
struct log;
struct own;
struct sandbox;
struct scoreboard;
struct sources;

struct actor_boot {
    char id[32]; /* "worker.2" */
    const struct arb_kind *kind; /* borrowed: of another actor; NULL = of the framework's own */
    uint32_t slot; /* the number in the id, 1..N */
    uint32_t proc; /* index into the scoreboard; this process is its one writer */
    uint64_t incarnation; /* counts the processes that have filled this slot */
    pid_t arbiter_pid; /* to see an orphan: getppid() differs */
    int mailbox_fd; /* SOCK_SEQPACKET, this actor's end; owned by the actor */
    const struct arb_program *program; /* borrowed: what the author has written */
    const struct own *own; /* borrowed: its counters and commands */
    const struct config *config; /* borrowed for the life of the process */
    /* Borrowed. Of a worker: each is where config->bind has its protocol; of a status actor: its
     * one.
     */
    struct listener *const *listeners;
    size_t n_listeners;
    struct scoreboard *scoreboard; /* shared, borrowed */
    struct sources *sources; /* shared, borrowed; NULL = no limits per source */
    int keep_table_fd; /* marks and serials of this worker, sealed (net/keep_table.h); owned; -1 =
                          it has no keeper */
    struct sandbox *sandbox; /* to be entered before it is ready; of this process alone since the
                                fork; NULL = none */
    unsigned max_connections; /* effective: what configuration and RLIMIT_NOFILE allow */
    struct log *log; /* inherited; the actor sets log->actor */
};

/* A kind of actor: the arbiter forks it and calls main, whose return value is the exit code. */
struct actor_kind {
    const char *name; /* "worker" */
    int (*main)(const struct actor_boot *boot);
    const struct command_set *commands; /* what it understands */
};

#endif
