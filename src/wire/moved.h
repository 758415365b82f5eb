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
 * A batch may hold connections of several protocols. Protocols and their rules travel as hashes:
 * the other worker may be of another version of the program, with another table of protocols.
 */
#ifndef WIRE_MOVED_H
#define WIRE_MOVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MOVED_VERSION = 2,
    MOVED_BATCH_BYTES = 40,
    MOVED_ANSWER_BYTES = 20,
    MOVED_RECORD_BYTES = 80,
    MOVED_COUNT_MAX = 252, /* SCM_MAX_FD less the memory file */
    MOVED_STATE_MAX = 1 << 20, /* bytes of a connection's saved state: ARB_STATE_MAX */
};

struct moved_batch {
    uint32_t id; /* from 1 */
    uint32_t count; /* 1..MOVED_COUNT_MAX */
    uint64_t bytes; /* of the memory file */
    uint64_t position; /* the giver's: the number of the last message of actors that it has had */
};

enum moved_outcome { MOVED_OK = 1, MOVED_REFUSED = 2 };

struct moved_answer {
    uint32_t id; /* of the batch; 0 opens */
    enum moved_outcome outcome;
    uint32_t room; /* how many connections more could be taken now */
};

enum moved_phase { MOVED_OPEN, MOVED_DELIVERING, MOVED_LINGERING, MOVED_PHASES };

/* One connection. The three pointers are borrowed: from the connection, or from the file. */
struct moved_record {
    enum moved_phase phase;
    uint8_t end; /* why it ends; net's numbers */
    bool is_eof; /* the peer has half-closed, and the protocol has heard it; not while LINGERING */
    bool is_paused; /* too much is unsent to read on */
    bool is_blank; /* the protocol calls its state blank; only while OPEN */
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
};

/* moved_put_* - write what is well-formed into exactly so many bytes */
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
