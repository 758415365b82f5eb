/*
 * Upgrade in place: the arbiter tries the program at its path in a dry run, executes it with the
 * same pid and children, and the new image replaces the workers as a reload does. What fails before
 * that leaves everything as it was; what fails in it ends with the old executable again.
 */
#ifndef ARBITER_UPGRADE_H
#define ARBITER_UPGRADE_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct arbiter;
struct change_ops;

enum {
    UPGRADE_CHECK_MS = 5000,
    UPGRADE_BEGIN_MS = 5000,
    UPGRADE_WATCH_MS = 15000,
    UPGRADE_RETRY_MS = 50
};

enum upgrade_phase {
    UPGRADE_NONE,
    UPGRADE_CHECKING, /* the old image: the dry run is under way */
    UPGRADE_DUE, /* the old image: to be done outside of every callback */
    UPGRADE_FINDING, /* the new image: whom its workers have to run as */
    UPGRADE_CHANGING, /* the new image: its workers start */
    UPGRADE_RETURNING, /* the new image: back to the old one, outside of every callback */
};

struct upgrade {
    enum upgrade_phase phase;
    char *path; /* owned: the executable's, absolute, as the first image was called */
    char *old_version; /* owned: of the image before, while it is an upgrade; or NULL */
    struct stat candidate; /* what the dry run was made with */
    pid_t checker; /* of the dry run, or who finds out whom workers run as; 0 = none; reaped by the
                      sweep */
    int checker_fd; /* owned: what it says; -1 = none */
    void (*on_checker_exit)(struct arbiter *a, int status);
    bool is_overdue; /* the checker's time was up */
    ev_timer timer; /* the dry run's deadline; then the next try to execute it */
    uint64_t asked_ms;
    void (*exec)(struct arbiter *a, bool is_quiet); /* due outside of the loop; NULL = none */
    uint64_t deadline_ms; /* of the tries */
    size_t n_queued; /* messages to workers that waited at the last of them */
    int back_fd; /* owned: the old executable; -1 = there is no way back */
    int board_fd; /* owned: the old scoreboard, if it has another layout; for the way back; or -1 */
    uint64_t board_layout;
    int sources_fd; /* owned: the same of what workers count by source */
    bool has_sources; /* the image before has limits per source */
    bool has_keeps; /* the image before knows of keepers */
    bool has_history; /* and of its last changes */
    bool has_privileges; /* and of users that workers run as */
    bool has_times; /* and of how long things take */
    bool has_counted; /* and writes how many workers it has counted */
    char why[256]; /* for the way back */
    bool has_guard; /* the guard of an exec has been told to end, and is perhaps not reaped yet */
};

/* upgrade_init - @path is copied. Returns 0 or -ENOMEM. */
int upgrade_init(struct arbiter *a, const char *path);
void upgrade_fini(struct arbiter *a);

/* upgrade_watch_child - a child of the upgrade, the leader of its process group, has
 * UPGRADE_CHECK_MS to say on @fd what it has to say; @on_exit is told the status of its end */
void upgrade_watch_child(struct arbiter *a, pid_t pid, int fd,
                         void (*on_exit)(struct arbiter *a, int status));

extern const struct change_ops upgrade_ops;

/*
 * upgrade_step - the loop has been left: if that was for an upgrade, do it
 * Does not return if it succeeds: this image ends. Returns whether to go on with the loop.
 */
bool upgrade_step(struct arbiter *a);

/*
 * upgrade_resume - a new image, all watchers run: replace the workers, or say that it has failed
 * @failed  why the other image went back to this one; NULL = it did not
 */
void upgrade_resume(struct arbiter *a, const char *failed);

#endif
