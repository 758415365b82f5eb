/*
 * What a service manager hears of the arbiter, in the protocol of sd_notify(3): that it is ready,
 * reloads, stops, how long that may take, and that its loop turns. A pure part says in which words;
 * the rest sends them, and waits for nobody. Runs in the arbiter.
 */
#ifndef ARBITER_NOTIFY_H
#define ARBITER_NOTIFY_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct arbiter;

enum notify_phase {
    NOTIFY_NOTHING, /* has been said yet */
    NOTIFY_STARTING,
    NOTIFY_SERVING,
    NOTIFY_CHANGING, /* a reload or an upgrade is under way */
    NOTIFY_STOPPING, /* for good */
};

enum { NOTIFY_STATUS_LEN = 256, NOTIFY_TEXT_LEN = 512 };

struct notify_news {
    enum notify_phase phase;
    pid_t main_pid; /* of a daemon; 0 = the process that the manager has started */
    uint64_t until_ms; /* a start or stop has ended by then; 0 = neither, or not known */
    char status[NOTIFY_STATUS_LEN]; /* for people, one line */
};

/*
 * notify_text - what there is to say, once @said has been heard, of @now
 * Returns the length of @buf; 0 = nothing.
 */
size_t notify_text(const struct notify_news *said, const struct notify_news *now, uint64_t now_us,
                   char buf[NOTIFY_TEXT_LEN]);

struct notify {
    struct sockaddr_un to;
    socklen_t to_len; /* 0 = nobody wants to hear */
    int fd; /* owned, if somebody does */
    uint64_t watchdog_us; /* the manager wants to hear of the loop that often; 0 = it does not */
    ev_timer watchdog;
    struct notify_news said; /* and taken by the manager's socket */
    bool is_unheard; /* the last one was not taken: said once */
};

/*
 * notify_open - take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: no other
 * process is to speak in this one's name
 * @phase      what the image before this one has said; NOTIFY_NOTHING = there was none
 * @is_daemon  the parent is the process that the manager has started
 */
void notify_open(struct arbiter *a, enum notify_phase phase, bool is_daemon);
void notify_close(struct arbiter *a);

/* notify_attach - from now on the manager hears that the loop turns */
void notify_attach(struct arbiter *a);

/* notify_look - the arbiter may have changed: say so, if it has. What could not be said is said the
 * next time. */
void notify_look(struct arbiter *a);

/* notify_refused - the arbiter cannot start: @why */
void notify_refused(struct arbiter *a, const char *why);

/* notify_export - for an exec in place: the environment as notify_open has found it, but for the
 * process; notify_hide - it has failed. Returns 0 or -ENOMEM. */
int notify_export(const struct arbiter *a);
void notify_hide(void);

#endif
