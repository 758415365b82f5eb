/*
 * The worker's moves under way: the arbiter introduces two workers, net/move moves the
 * connections, this keeps count, and tells the arbiter when a give is over.
 */
#ifndef WORKER_MOVES_H
#define WORKER_MOVES_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include "actor/boot.h"
#include "actor/mailbox.h"
#include "base/list.h"
#include "net/conn.h"

enum { MOVE_MAX = 1024 };

struct moves {
    const struct actor_boot *boot; /* borrowed, as the next two */
    struct conn_set *conns;
    struct mailbox *mailbox; /* to the arbiter */
    void (*on_moved)(struct moves *all); /* connections have come or gone, or will go no more */
    struct list gives; /* owned: under way */
    struct list takes;
    struct list done; /* owned: of either kind, freed outside of their callbacks */
    size_t n_move; /* at most MOVE_MAX */
    ev_prepare reaper; /* runs only while `done` holds something */
    bool is_closed;
};

/* moves_init - zeroed before; the four members above are the caller's to set */
void moves_init(struct moves *all);

/* moves_fini - what has been sent and not answered is the taker's: the process is about to end
 */
void moves_fini(struct moves *all);

/* moves_take - take what comes on @*fd, which is taken over, unless this worker drains */
void moves_take(struct moves *all, const char *from, int *fd);

/*
 * moves_give - move @count connections, SIZE_MAX for all, over @fds, which are taken over
 * The arbiter is told when that is done, or why it cannot be: `moved`.
 */
void moves_give(struct moves *all, int *fds, size_t n_fds, size_t count);

/* moves_go_on - messages of this process have got their numbers: who waited for that may move */
void moves_go_on(struct moves *all);

/* moves_tell - say again what could not be said */
void moves_tell(struct moves *all);

/* moves_is_giving - something is, or will be, sent that nobody has answered yet. A taker that
 * has fallen silent is not waited for. */
bool moves_is_giving(const struct moves *all);

/* moves_close - take no more */
void moves_close(struct moves *all);

#endif
