/*
 * A lock between processes of one user, by a file that nobody else can open: flock needs no more
 * than a descriptor for reading, so that a lock on a directory, or on a file of mode 0644, could be
 * held against us by any local user.
 */
#ifndef BASE_LOCKFILE_H
#define BASE_LOCKFILE_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * lockfile_take - make the file if need be, and lock it
 * @path         of a file for this alone; mode 0600, empty
 * @patience_ms  how long to wait for another process that has it
 * Returns 0, -EBUSY (another process has it), -EEXIST (there is something that is no lock file of
 * this user) or -errno.
 */
int lockfile_take(const char *path, unsigned patience_ms, int *ret_fd);

/* lockfile_release - remove the file, and unlock it; @*fd becomes -1, and may be so already */
void lockfile_release(const char *path, int *fd);

/*
 * lockfile_name_holder - who has a lock of flock(2) on the file, as far as /proc tells
 * Returns its process id with "process N (NAME)" in @buf, or 0 with @buf untouched.
 */
pid_t lockfile_name_holder(const struct stat *st, char *buf, size_t size);

#endif
