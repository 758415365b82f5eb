/*
 * A pid file that is locked for the process's life. The lock is the truth, the number is for
 * people.
 */
#ifndef BASE_PIDFILE_H
#define BASE_PIDFILE_H

#include <stddef.h>
#include <sys/types.h>

struct pidfile {
    int fd; /* owned; -1 = none */
    char path[512];
};

/*
 * pidfile_open - create, lock, write
 * Of mode 0600, so that no other user can hold the lock. Never through a symbolic link, never over
 * anything but a pid file: a regular file of this user that is empty or holds one number. What
 * cannot be written is not left behind.
 * @path  "" = none: succeeds and holds nothing
 * @why   on failure: a sentence that names path, reason and, if known, the holder; @why_size bytes
 * Returns 0, -EBUSY (another process holds it), -EEXIST (no pid file of ours) or -errno.
 */
int pidfile_open(struct pidfile *p, const char *path, char *why, size_t why_size);

/* pidfile_remove - unlink, if the path is still ours, and unlock */
void pidfile_remove(struct pidfile *p);

#endif
