/*
 * Processes of other users, which only root can send: one that knocks at a unix socket all the
 * time, and one that asks at a control socket.
 */
#ifndef SUPPORT_STRANGER_H
#define SUPPORT_STRANGER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "support/server.h"

enum { NOBODY = 65534 };

struct identity {
    uid_t uid;
    gid_t gid;
    gid_t group; /* one more; 0 = none */
};

/* stranger_need_root - skip the test, saying why, where nobody can become somebody else */
void stranger_need_root(void);

/* stranger_become - in a child: _exit(2) if it cannot be */
void stranger_become(const struct identity *who);

/* What one that knocks has met, shared with it. */
struct stranger {
    pid_t pid;
    atomic_bool is_over;
    atomic_uint absent, refused, connected, told, answered, odd, error;
};

/* stranger_send - until it is called back: connect to the socket, and ask for a ping */
struct stranger *stranger_send(struct it *it, const char *path, const struct identity *who);

/* stranger_call_back - and skip the test if that user cannot get as far as the socket */
void stranger_call_back(struct it *it, struct stranger *r);

/*
 * stranger_ask - send @text, half-close, and read to the end
 * Returns what came, or "connect: REASON"; a block as those of peer.h.
 */
char *stranger_ask(struct it *it, const char *path, const struct identity *who, const char *text);

/* stranger_public_path - PUBLIC/control, a place that every user can reach and write to */
char *stranger_public_path(struct it *it);

#endif
