/*
 * Shared by the two halves of the transition engine, and by nobody else.
 */
#ifndef ARBITER_TRANSITION_PROC_H
#define ARBITER_TRANSITION_PROC_H

#include "arbiter/transition.h"

#define TR_NEVER UINT64_MAX

/* deadline_after - neither wraps nor gives "never" */
uint64_t deadline_after(uint64_t now_ms, uint64_t ms);

/* proc_role - the set of which @record fills a slot */
enum tr_role proc_role(const struct transition *t, uint32_t record);

/* proc_alloc - the lowest free record; only if one is free */
uint32_t proc_alloc(struct transition *t);

/* proc_enter - change the phase; @deadline_ms 0 = none */
void proc_enter(struct transition *t, uint32_t record, enum tr_phase phase, uint64_t now_ms,
                uint64_t deadline_ms);

/* proc_release - its slot is empty, or its heir's: what becomes of the process is nobody's loss */
void proc_release(struct transition *t, uint32_t record);

/* proc_drain - release it to drain within the exit timeout that it was started with */
void proc_drain(struct transition *t, uint32_t record, uint64_t now_ms);

/* proc_time_to_drain - the exit timeout of one that drains begins now */
void proc_time_to_drain(struct transition *t, uint32_t record, uint64_t now_ms);

/* proc_free - there is no such process (any more) */
void proc_free(struct transition *t, uint32_t record);

/*
 * slot_on_death, slot_on_false_start - tell the policy of the slot of @record
 * @is_blameless  not held against it that it was not ready: as a death in service
 * @is_missed     connections wait for its successor
 */
void slot_on_death(struct transition *t, uint32_t record, uint64_t now_ms, bool is_blameless,
                   bool is_missed);
void slot_on_false_start(struct transition *t, uint32_t record, uint64_t now_ms);

/* next_fail - a rollback is due because of @record; the first failure counts */
void next_fail(struct transition *t, enum tr_failure failure, uint32_t record);

/* stop_within - all must end; none later than before */
void stop_within(struct transition *t, enum tr_mode mode, uint64_t deadline_ms);

#endif
