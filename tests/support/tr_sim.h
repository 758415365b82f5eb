/*
 * Processes for the model of tr_model.h: they fail to fork, boot, hang, die, drain and are reaped
 * at random times of a virtual clock, all from one seed.
 */
#ifndef SUPPORT_TR_SIM_H
#define SUPPORT_TR_SIM_H

#include "support/tr_model.h"

/* How the processes behave; chances in percent, times are the upper bound of a uniform choice. */
struct tr_sim_habits {
    uint32_t fork_failure; /* chance that a fork fails */
    uint32_t boot_death; /* chance to die before ready */
    uint32_t boot_hang; /* chance never to become ready */
    uint32_t boot_ms;
    uint32_t service_ms; /* until it ends unasked; 0 = never */
    uint32_t own_accord; /* chance that it then drains instead of dying */
    uint32_t recycle; /* chance that it asks for an heir before it drains */
    uint32_t drain_hang; /* chance never to end its drain */
    uint32_t drain_ms;
    uint32_t reap_ms; /* from SIGKILL to its end */
};

struct tr_sim {
    struct tr_model model;
    struct tr_sim_habits habits;
    uint64_t random;
    void (*on_action)(struct tr_sim *s, const struct tr_action *a); /* NULL = nobody listens */
};

void tr_sim_init(struct tr_sim *s, uint32_t workers, uint32_t n_procs, uint64_t seed,
                 const struct tr_sim_habits *habits);

/* tr_sim_init_kinds - the same with @n_first and @n_last actors of two other kinds */
void tr_sim_init_kinds(struct tr_sim *s, uint32_t workers, uint32_t n_first, uint32_t n_last,
                       uint32_t n_procs, uint64_t seed, const struct tr_sim_habits *habits);

/* tr_sim_random - 0..@below - 1 */
uint32_t tr_sim_random(struct tr_sim *s, uint32_t below);

/* tr_sim_run - let the processes live until @to_ms */
void tr_sim_run(struct tr_sim *s, uint64_t to_ms);

/* tr_sim_kill - SIGKILL from outside for some process that is not free; false = there is none */
bool tr_sim_kill(struct tr_sim *s);

#endif
