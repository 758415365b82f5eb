/*
 * Has a worker stopped to turn its loop? A pure function of heartbeats and time.
 *
 * A worker is measured by its silence: the time since its heartbeat changed. What it says the time
 * of the heartbeat was is believed if it is possible, but a value that stands still is silence
 * whatever it says. Time in which the watchdog itself did not run, because it or the whole machine
 * was stopped or starved, is held against nobody; nor is a suspend. A silence that is too long is
 * looked at once more a moment later, then the worker is aborted, and after a grace killed.
 */
#ifndef ARBITER_WATCHDOG_H
#define ARBITER_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WATCHDOG_LOOKS_A_TIMEOUT = 4,
    WATCHDOG_LOOK_MAX_MS = 10000, /* between looks */
    WATCHDOG_CONFIRM_MS = 250, /* between suspicion and abort */
    WATCHDOG_LATE_MS = 2000, /* that much late is a stall of the watchdog's own, if not less */
    WATCHDOG_SUSPEND_MS = 200, /* CLOCK_BOOTTIME's lead over CLOCK_MONOTONIC between two looks */
    WATCHDOG_KILL_MS = 1500, /* after the abort */
    WATCHDOG_GRACES_MAX = 3, /* in a row, so that a starved machine does not shield a hung worker */
};

enum watchdog_order {
    WATCHDOG_FINE,
    WATCHDOG_SUSPECT,
    WATCHDOG_ABORT, /* once */
    WATCHDOG_ABORTED, /* it still has time to go */
    WATCHDOG_KILL, /* once */
};

/* The watchdog. All zero = it has not looked yet. */
struct watchdog {
    uint64_t now_ns; /* of this look, CLOCK_MONOTONIC */
    uint64_t boot_ns; /* CLOCK_BOOTTIME */
    uint64_t planned_ns; /* when this look should have been */
    uint64_t late_ns; /* how much later it was */
    bool was_suspended;
    uint64_t next_ns; /* when the next look should be */
};

/* One a worker. */
struct watch {
    uint64_t timeout_ns;
    uint64_t heartbeat_ns; /* as it stood at the last look */
    uint64_t since_ns; /* beginning of the silence */
    uint64_t suspected_ns; /* 0 = not */
    uint64_t aborted_ns; /* 0 = not */
    unsigned n_graces; /* since it was last heard */
    bool is_killed;
};

/* watch_init - a worker that is about to say something; watched from @now_ns on */
void watch_init(struct watch *w, uint64_t timeout_ms, uint64_t now_ns);

/*
 * watch_resume - after watch_init: somebody else has watched it before, and its silence goes on
 * @heartbeat_ns  as it stands; believed if it is possible
 */
void watch_resume(struct watch *w, uint64_t heartbeat_ns);

/* watch_silence_ns - at this look */
uint64_t watch_silence_ns(const struct watchdog *d, const struct watch *w);

/*
 * watchdog_look - begin a look at all workers; then watchdog_check each, then watchdog_plan
 * @idle_ms  look again within this time even if there is nobody to watch
 */
void watchdog_look(struct watchdog *d, uint64_t mono_ns, uint64_t boot_ns, uint64_t idle_ms);
enum watchdog_order watchdog_check(struct watchdog *d, struct watch *w, uint64_t heartbeat_ns);

/*
 * watchdog_abort - abort one that turns its loop, but may not any longer
 * Returns WATCHDOG_ABORT, the first time, or as watchdog_check from then on.
 */
enum watchdog_order watchdog_abort(struct watchdog *d, struct watch *w);

/* watchdog_plan - the look is over. Returns the time until the next one. */
uint64_t watchdog_plan(struct watchdog *d);

#endif
