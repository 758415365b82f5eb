/*
 * Was it the OOM killer? A process that it ends looks like one that somebody has killed: only the
 * counter of the control group tells. Asked by the arbiter.
 */
#ifndef BASE_OOM_H
#define BASE_OOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OOM_PATH_MAX = 512, OOM_WORKER_RAISE = 100 };

struct oom {
    char path[OOM_PATH_MAX]; /* of the file with the counter; "" = there is none */
    uint64_t n_seen; /* kills that are accounted for */
};

/* oom_init - find the counter of the own control group */
void oom_init(struct oom *o);

/* oom_forget - what has been killed until now was none of ours: its end would have been seen */
void oom_forget(struct oom *o);

/* oom_has_killed - a process of ours was ended by SIGKILL: is there a kill for it? To be asked once
 * for each. */
bool oom_has_killed(struct oom *o);

/* oom_raise - this process is to be ended before others: it has an heir. Always allowed. */
void oom_raise(void);

/*
 * oom_find_path - where the counter is
 * @text    of /proc/self/cgroup
 * @is_top  at the mount point: a container without a namespace of control groups sees its own
 *          group there, and not where @text says
 * @ret     OOM_PATH_MAX bytes; "" = not known
 */
void oom_find_path(const char *text, bool is_top, char *ret);

/* oom_count - kills, by the text of that file; 0 if it does not say */
uint64_t oom_count(const char *text);

#endif
