/*
 * The codec of a move: what one worker says to another while connections move between them.
 * Pure; explicit little-endian bytes, versioned, and read as if a stranger had written them.
 *
 *   batch    a datagram, with the sockets and a sealed memory file (or a pipe, if there is none to
 *            be had) that holds `count` records, then for each record in turn its tail, its
 *            output and its saved state
 *   answer   a datagram back: the batch is taken over, or none of it is. The answer to batch 0,
 *            which nobody sent, opens the conversation.
 *
 * Answers are as they were in version 2, but for a bit in the opening one that says which batches
 * are understood: so a giver of either version hears a taker of either, and sends what that can
 * read. A giver of version 2 reads the bit as a lot of room: what it sends too much is refused, and
 * the answer to it has the true room.
 *
 * A batch may hold connections of several protocols. Protocols and their rules travel as hashes:
 * the other worker may be of another version of the program, with another table of protocols.
 */
#ifndef WIRE_MOVED_H
#define WIRE_MOVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum {
    MOVED_VERSION = 3,
    MOVED_VERSION_OLD = 2, /* read, and written for who reads no other */
    MOVED_BATCH_BYTES = 40,
    MOVED_ANSWER_BYTES = 20,
    MOVED_RECORD_BYTES = 136,
    MOVED_RECORD_OLD_BYTES = 80, /* of version 2: the first of the others */
    MOVED_ROOM_MAX = INT32_MAX,
    MOVED_COUNT_MAX = 252, /* SCM_MAX_FD less the memory file */
    MOVED_STATE_MAX = 1 << 20, /* bytes of a connection's saved state: ARB_STATE_MAX */
};

struct moved_batch {
    uint16_t version; /* of its records */
    uint32_t id; /* from 1 */
    uint32_t count; /* 1..MOVED_COUNT_MAX */
    uint64_t bytes; /* of the memory file */
    uint64_t position; /* the giver's: the number of the last message of actors that it has had */
};

enum moved_outcome { MOVED_OK = 1, MOVED_REFUSED = 2 };

struct moved_answer {
    uint32_t id; /* of the batch; 0 opens */
    enum moved_outcome outcome;
    uint32_t room; /* how many connections more could be taken now; at most MOVED_ROOM_MAX */
    uint16_t version; /* of the batches that are understood; MOVED_VERSION_OLD with no room, and in
                         answers that do not open */
};

enum moved_phase { MOVED_OPEN, MOVED_DELIVERING, MOVED_LINGERING, MOVED_PHASES };

/* One connection. The three pointers are borrowed: from the connection, or from the file. */
struct moved_record {
    enum moved_phase phase;
    uint8_t end; /* why it ends; net's numbers */
    bool is_eof; /* the peer has half-closed, and the protocol has heard it; not while LINGERING */
    bool is_paused; /* too much is unsent to read on */
    bool is_blank; /* the protocol calls its state blank; only while OPEN */
    /* It begins with a PROXY header, of which no more has come than the tail: its protocol does not
     * know of it. Only while OPEN, with nothing else that an open one has. */
    bool awaits_header;
    bool may_go_without; /* only with awaits_header: what comes may be no header */
    uint32_t since_age_ms; /* of the unfinished message, idleness or half-close */
    uint32_t progress_age_ms; /* since the peer last took some of the output */
    uint32_t timeout_ms; /* until the protocol's own timeout; 0 = it has none; only while OPEN */
    uint64_t id; /* of the connection, for as long as it lives */
    uint64_t protocol; /* hash_bytes of its name */
    uint64_t fingerprint; /* of its rules: `resume` means something only under the same ones */
    uint64_t seen; /* the last message of actors that it has had; 0 = as the batch's position */
    uint64_t resume; /* where the protocol goes on looking; at most tail_len */
    const uint8_t *tail; /* unfinished input; only while OPEN */
    uint64_t tail_len;
    const uint8_t *output; /* unsent; never while LINGERING, always while DELIVERING */
    uint64_t output_len;
    const uint8_t *state; /* what the protocol's save() wrote; only while OPEN */
    uint32_t state_len; /* at most MOVED_STATE_MAX */
    uint32_t state_version; /* of that save(); only while OPEN */
    /* Not in version 2: then they are 0. */
    uint64_t messages, bytes_in, bytes_out; /* that it has had so far */
    uint64_t age_ms; /* since it was accepted */
    struct addr_named peer; /* whom a proxy has named; nobody while a header is awaited */
};

/* moved_record_bytes - how long a record of @version is */
static inline size_t moved_record_bytes(unsigned version)
{
    return version == MOVED_VERSION_OLD ? MOVED_RECORD_OLD_BYTES : MOVED_RECORD_BYTES;
}

/* moved_put_* - write what is well-formed into exactly so many bytes; of a record in version 2 only
 * the first of them count */
void moved_put_batch(const struct moved_batch *batch, uint8_t buf[MOVED_BATCH_BYTES]);
void moved_put_answer(const struct moved_answer *answer, uint8_t buf[MOVED_ANSWER_BYTES]);
void moved_put_record(const struct moved_record *record, uint8_t buf[MOVED_RECORD_BYTES]);

/*
 * moved_get_batch, moved_get_answer - read a datagram
 * @ret  untouched on failure
 * Returns 0, -EPROTONOSUPPORT (another version) or -EBADMSG.
 */
int moved_get_batch(const uint8_t *data, size_t len, struct moved_batch *ret);
int moved_get_answer(const uint8_t *data, size_t len, struct moved_answer *ret);

/* Goes through the records of a memory file. */
struct moved_cursor {
    const uint8_t *data; /* borrowed */
    uint64_t bytes;
    uint16_t version;
    uint32_t count;
    uint32_t next; /* record */
    uint64_t bulk; /* where its tail begins */
};

/*
 * moved_open - the file is as @batch says, every record is well-formed, and together they fill
 * it to the last byte
 * Returns 0 or -EBADMSG.
 */
int moved_open(struct moved_cursor *c, const struct moved_batch *batch, const uint8_t *data,
               size_t len);

/* moved_next - the next record. Returns false after the last. */
bool moved_next(struct moved_cursor *c, struct moved_record *ret);

#endif
