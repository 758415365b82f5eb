/*
 * What one image of the arbiter leaves to the next over exec: plain values, encoded as JSON. Pure.
 *
 * Members that a reader does not know are skipped, so that a newer image may add some and an older
 * one can still be gone back to. A member must not be taken away or change its meaning without a
 * new STATE_VERSION, and an image that writes a new one must go on writing the old one for the way
 * back.
 */
#ifndef ARBITER_UPGRADE_STATE_H
#define ARBITER_UPGRADE_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATE_VERSION = 2, STATE_MAX_BYTES = 64 << 20, STATE_WHY_LEN = 256 /* = ARBITER_WHY_LEN */ };

/* A value of the configuration that is not a default. */
struct state_value {
    char *key;
    char *text; /* canonical */
    uint64_t line; /* of the file; 0 = from the command line */
};

struct state_listener {
    char *text; /* as configured */
    int fd;
    uint64_t backlog;
    bool is_owner; /* of the socket file */
    uint64_t dev, ino;
};

/* A counter, by its name. */
struct state_total {
    char *name;
    uint64_t value;
};

/* Where a log goes, and who writes it there. */
struct state_sink {
    char *path; /* "" = standard error */
    int read_fd, write_fd; /* of the pipe; -1 = nobody logs to it any more */
    int control_fd; /* -1 = the writer is gone */
    uint64_t pid; /* 0 = none */
};

struct state_child {
    uint64_t pid, record, slot, incarnation, revision;
    uint64_t forked_ms, ready_ms;
    bool is_killed;
    uint64_t n_gives;
    int mailbox_fd; /* -1 = closed */
    char *phase, *role; /* of the engine, by name */
    bool wants_heir, is_quick, is_overdue;
    uint64_t exit_timeout_ms, since_ms, deadline_ms;
    struct state_total *counters; /* what it had counted */
    size_t n_counters;
};

struct state_bytes {
    uint8_t *data;
    size_t len;
};

struct state_slot {
    uint64_t slot, incarnation;
    int rescue_recv_fd, rescue_send_fd; /* -1 = it has no pair */
};

struct state_word {
    uint64_t value;
};

/* A crash_entry; what is signed there is the same bits here. */
struct state_crash {
    uint64_t number, wall_ns, slot, incarnation, pid;
    uint64_t signo, code, sender_pid, address, pc, sp, fd;
    uint64_t requests, connections, uptime_ms, rescued;
    struct state_bytes payload;
    struct state_word *frames;
    size_t n_frames;
};

/* A request whose answer comes later. */
struct state_pending {
    json_t *id;
    char *wait; /* "upgrade", "reload", "scale" */
    uint64_t deadline_ms;
};

struct state_client {
    int fd;
    struct state_bytes in, out; /* an unfinished request, unsent answers */
    struct state_pending *pending;
    size_t n_pending;
};

/* Everything is owned: strings from strdup, lists from malloc. Times are CLOCK_MONOTONIC. */
struct upgrade_state {
    uint64_t pid; /* of the arbiter: exec does not change it */
    char *version; /* of the image that wrote this */
    char *path; /* the executable's */
    uint64_t started_ms, asked_ms; /* the arbiter's start, this upgrade's */
    uint64_t reloads, restarts, upgrades;
    bool is_reload_due, is_upgrade_due; /* asked for while it could not be done */
    uint64_t revision, last_revision, workers; /* of the live configuration */
    char *config_path;
    struct state_value *values;
    size_t n_values;
    char *log_level;
    struct state_sink *sinks;
    size_t n_sinks;
    struct state_listener *listeners;
    size_t n_listeners;
    struct state_child *children;
    size_t n_children;
    struct state_slot *slots;
    size_t n_slots;
    uint64_t crash_count; /* of all times */
    struct state_crash *crashes; /* the last ones, oldest first */
    size_t n_crashes;
    struct state_total *totals;
    size_t n_totals;
    int scoreboard_fd;
    uint64_t scoreboard_layout;
    int pid_file_fd; /* -1 = none */
    char *pid_file;
    int control_fd; /* -1 = none */
    char *control, *control_dir;
    uint64_t control_dev, control_ino;
    struct state_client *clients;
    size_t n_clients;
    uint64_t last_request;
    json_t *notes;
};

/*
 * upgrade_state_encode - as one line of JSON, for a reader of STATE_VERSION
 * @ret  owned by the caller, free()
 * Returns 0 or -ENOMEM.
 */
int upgrade_state_encode(const struct upgrade_state *s, char **ret, size_t *ret_len);

/*
 * upgrade_state_decode - the other way; trusts nothing
 * @ret  on 0: owned by the caller, upgrade_state_fini(); every descriptor in it is above 2 and
 * named once
 * @why  else: a sentence of at most STATE_WHY_LEN bytes
 * Returns 0, -EPROTONOSUPPORT (of another version), -EBADMSG or -ENOMEM.
 */
int upgrade_state_decode(const char *data, size_t len, struct upgrade_state *ret, char *why);

void upgrade_state_fini(struct upgrade_state *s);

/* upgrade_state_fds - all descriptors, sorted; malloc'ed. Returns 0 or -ENOMEM. */
int upgrade_state_fds(const struct upgrade_state *s, int **ret, size_t *ret_n);

#endif
