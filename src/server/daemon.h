/*
 * Detaching from the terminal, with a launcher that waits for the truth: it exits with the code
 * that the server reports once it serves, or fails to.
 */
#ifndef SERVER_DAEMON_H
#define SERVER_DAEMON_H

struct daemon_launch {
    int fd; /* owned: the launcher reads its exit code from the other end; -1 = nobody waits */
};

/*
 * daemon_detach - fork; the parent waits, the child goes on in a session of its own
 * Returns 0 in the child, the launcher's exit code + 1 in the parent, or -errno.
 */
int daemon_detach(struct daemon_launch *ret);

/*
 * daemon_report - tell the launcher its exit code, once; on success also let go of the terminal
 * Does nothing if nobody waits.
 */
void daemon_report(struct daemon_launch *launch, int code);

#endif
