/*
 * Signal masks and dispositions around fork. Nothing here handles a signal: that is the loop's
 * work.
 */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#include <signal.h>

/* signals_block_all - everything that can be blocked; @ret_old takes the mask of before */
void signals_block_all(sigset_t *ret_old);

/* signals_restore - back to the mask that signals_block_all gave */
void signals_restore(const sigset_t *old);

/* signals_unblock_all - an empty mask: what was pending arrives now */
void signals_unblock_all(void);

/* signals_default_all - every disposition at its default: a child's first step, with all blocked */
void signals_default_all(void);

/*
 * signals_ignore_strays - ignore what nobody uses and what would kill a process by default
 * Left alone: faults (SEGV, ABRT …), job control (TSTP, CONT), CHLD and TERM, whatever has a
 * handler, and whatever a loop attaches itself to afterwards. To ignore a signal drops one that is
 * pending: who wants those of before attaches first.
 */
void signals_ignore_strays(void);

/*
 * signals_end_first_process - INT, TERM, QUIT and HUP end this process also if it is the first one
 * of a container, from which the kernel keeps signals that it has no handler for
 */
void signals_end_first_process(void);

#endif
