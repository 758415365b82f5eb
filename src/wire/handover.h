/*
 * The codec of the hand-over: what one worker says to another while connections move between them.
 * Pure; explicit little-endian bytes, versioned, and read as if a stranger had written them.
 *
 *   batch    a datagram, with the sockets and a sealed memory file (or a pipe, if there is none to
 *            be had) that holds `count` records, then for each record in turn its tail, its output
 * and its saved state answer   a datagram back: the batch is taken over, or none of it is. The
 * answer to batch 0, which nobody sent, opens the conversation.
 */
#ifndef WIRE_HANDOVER_H
#define WIRE_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HANDOVER_VERSION = 1,
    HANDOVER_BATCH_BYTES = 48,
    HANDOVER_ANSWER_BYTES = 20,
    HANDOVER_RECORD_BYTES = 40,
    HANDOVER_COUNT_MAX = 252, /* SCM_MAX_FD less the memory file */
    HANDOVER_STATE_MAX = 4096, /* a connection's saved state */
};

struct handover_batch {
    uint32_t id; /* from 1 */
    uint32_t count; /* 1..HANDOVER_COUNT_MAX */
    uint64_t bytes; /* of the memory file */
    uint64_t protocol; /* hash_bytes of its name */
    uint64_t fingerprint; /* of its rules: `resume` means something only under the same ones */
};

enum handover_outcome { HANDOVER_OK = 1, HANDOVER_REFUSED = 2 };

struct handover_answer {
    uint32_t id; /* of the batch; 0 opens */
    enum handover_outcome outcome;
    uint32_t room; /* how many connections more could be taken now */
};

enum handover_phase { HANDOVER_OPEN, HANDOVER_DELIVERING, HANDOVER_LINGERING, HANDOVER_PHASES };

/* One connection. The three pointers are borrowed: from the connection, or from the file. */
struct handover_record {
    enum handover_phase phase;
    uint8_t end; /* why it ends; net's numbers */
    bool is_eof; /* the peer has half-closed; only while DELIVERING */
    bool is_paused; /* too much is unsent to read on */
    uint32_t since_age_ms; /* of the unfinished message, idleness or half-close */
    uint32_t progress_age_ms; /* since the peer last took some of the output */
    uint64_t resume; /* where the protocol goes on looking; at most tail_len */
    const uint8_t *tail; /* unfinished input; only while OPEN */
    uint64_t tail_len;
    const uint8_t *output; /* unsent; never while LINGERING, always while DELIVERING */
    uint64_t output_len;
    const uint8_t *state; /* what the protocol's save() wrote */
    uint32_t state_len; /* at most HANDOVER_STATE_MAX */
};

/* handover_put_* - write what is well-formed into exactly so many bytes */
void handover_put_batch(const struct handover_batch *batch, uint8_t buf[HANDOVER_BATCH_BYTES]);
void handover_put_answer(const struct handover_answer *answer, uint8_t buf[HANDOVER_ANSWER_BYTES]);
void handover_put_record(const struct handover_record *record, uint8_t buf[HANDOVER_RECORD_BYTES]);

/*
 * handover_get_batch, handover_get_answer - read a datagram
 * @ret  untouched on failure
 * Returns 0, -EPROTONOSUPPORT (another version) or -EBADMSG.
 */
int handover_get_batch(const uint8_t *data, size_t len, struct handover_batch *ret);
int handover_get_answer(const uint8_t *data, size_t len, struct handover_answer *ret);

/* Goes through the records of a memory file. */
struct handover_cursor {
    const uint8_t *data; /* borrowed */
    uint64_t bytes;
    uint32_t count;
    uint32_t next; /* record */
    uint64_t bulk; /* where its tail begins */
};

/*
 * handover_open - the file is as @batch says, every record is well-formed, and together they fill
 * it to the last byte
 * Returns 0 or -EBADMSG.
 */
int handover_open(struct handover_cursor *c, const struct handover_batch *batch,
                  const uint8_t *data, size_t len);

/* handover_next - the next record. Returns false after the last. */
bool handover_next(struct handover_cursor *c, struct handover_record *ret);

#endif
