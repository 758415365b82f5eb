/*
 * Socket activation: listeners that a service manager has made and passed (sd_listen_fds(3)), found
 * by their addresses. Runs in the arbiter, before it serves.
 */
#ifndef NET_ACTIVATION_H
#define NET_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>

#include "net/listener.h"

/* Descriptors from this number on are passed, and so many at most. */
enum { ACTIVATION_FIRST_FD = 3, ACTIVATION_FDS_MAX = LISTENER_SHUT_MAX };

struct activation {
    size_t n; /* descriptors that were passed */
    char *names; /* owned: what the manager calls them, between colons; or NULL. For people. */
    char ignored[128]; /* why what LISTEN_FDS says is not taken; "" = it is, or there is none */
};

/*
 * activation_take - take LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES out of the environment
 * Every descriptor is close-on-exec then, and a listener.
 * @is_daemon  the parent is the process that the manager has started
 * @ret        activation_fini when done
 * @why        on -EPROTOTYPE: a sentence that names the descriptor
 * Returns 0, -EPROTOTYPE or -ENOMEM.
 */
int activation_take(struct activation *ret, bool is_daemon, char *why, size_t why_size);
void activation_fini(struct activation *a);

/* What a configuration listens at. Borrowed. */
struct activation_wish {
    const char *addresses[ACTIVATION_FDS_MAX];
    size_t n;
    int backlog;
    unsigned user_timeout_ms; /* as of listener_open */
};

/*
 * activation_match - which address of @wish has been passed?
 * @ret  as many as addresses: NULL = it has not; owned by the caller on 0
 * @why  else: a sentence
 * Returns 0, -EPROTOTYPE (one is configured nowhere) or -errno.
 */
int activation_match(const struct activation *a, const struct activation_wish *wish,
                     struct listener **ret, char *why, size_t why_size);

#endif
