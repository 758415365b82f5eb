/*
 * The worker's hand-overs under way: the arbiter introduces two workers, net/transfer moves the
 * connections, this keeps count, and tells the arbiter when a give is over.
 */
#ifndef WORKER_TRANSFERS_H
#define WORKER_TRANSFERS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include "actor/boot.h"
#include "actor/mailbox.h"
#include "base/list.h"
#include "net/conn.h"

enum { TRANSFERS_MAX = 1024 };

struct transfers {
    const struct actor_boot *boot; /* borrowed, as the next two */
    struct conn_set *conns;
    struct mailbox *mailbox; /* to the arbiter */
    void (*on_moved)(struct transfers *all); /* connections have come or gone, or will go no more */
    struct list gives; /* owned: under way */
    struct list takes;
    struct list done; /* owned: of either kind, freed outside of their callbacks */
    size_t n_transfers; /* at most TRANSFERS_MAX */
    ev_prepare reaper; /* runs only while `done` holds something */
    bool is_closed;
};

/* transfers_init - zeroed before; the four members above are the caller's to set */
void transfers_init(struct transfers *all);

/* transfers_fini - what has been sent and not answered is the taker's: the process is about to end
 */
void transfers_fini(struct transfers *all);

/* transfers_take - take what comes on @*fd, which is taken over, unless this worker drains */
void transfers_take(struct transfers *all, const char *from, int *fd);

/*
 * transfers_give - move @count connections, SIZE_MAX for all, over @fds, which are taken over
 * The arbiter is told when that is done, or why it cannot be: `moved`.
 */
void transfers_give(struct transfers *all, int *fds, size_t n_fds, size_t count);

/* transfers_tell - say again what could not be said */
void transfers_tell(struct transfers *all);

/* transfers_is_giving - something is, or will be, sent that nobody has answered yet. A taker that
 * has fallen silent is not waited for. */
bool transfers_is_giving(const struct transfers *all);

/* transfers_close - take no more */
void transfers_close(struct transfers *all);

#endif
