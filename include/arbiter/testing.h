/*
 * libarbiter-testing: tests of a protocol, without a socket, a process or a clock.
 *
 * It has the functions of <arbiter/protocol.h>, <arbiter/actor.h> and <arbiter/frame.h> over
 * memory: a test program is linked with libarbiter-testing instead of libarbiter (pkg-config
 * arbiter-testing). A worker is pretended, time is what the test says, peers are buffers. What a
 * protocol does wrong is noted as a sentence, the first one per worker; arb_test_stop returns it.
 *
 * A server whose main calls arb_main can be linked so, too: it then checks the files that it is
 * given, each as the input of a connection, with the first protocol of its program.
 *
 * Everything belongs to one thread. Every text that is returned is borrowed until the next call for
 * the same worker.
 */
#ifndef ARB_TESTING_H
#define ARB_TESTING_H

#include <arbiter/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- a pretended worker ---- */

/*
 * arb_test_worker - start a worker: the settings are checked, then `check`, `start` and `run` are
 * called
 * @protocol  borrowed for the life of the worker
 * @settings  NULL-ended, "key=value" as in the file, without quotes, or "group.key=value", as of
 *            server.max_buffered; NULL = the defaults
 * @why       a sentence on failure; @why_size bytes
 * Returns the worker, or NULL. It is named worker.1, the next one of the program worker.2.
 */
struct arb_actor *arb_test_worker(const struct arb_protocol *protocol, const char *const *settings,
                                  char *why, size_t why_size);

/*
 * arb_test_kind - start an actor of another kind, which has to have `start`. It is named KIND.1,
 * and arb_test_advance, _deliver, _sent and the rest work on it, too. Returns the actor, or NULL.
 */
struct arb_actor *arb_test_kind(const struct arb_kind *kind, const void *const *confs, char *why,
                                size_t why_size);

/*
 * arb_test_stop - end all connections as a drain would, then call `stop`
 * Returns the first rule that was broken since the start, as a sentence, or NULL. That a request
 * has never been ended is told here.
 */
const char *arb_test_stop(struct arb_actor *self);

/* arb_test_free - free the worker, its connections and requests; NULL is fine */
void arb_test_free(struct arb_actor *self);

/* arb_test_advance - let time pass: timers and timeouts are called when they are due, in order */
void arb_test_advance(struct arb_actor *self, uint64_t ms);

/* arb_test_log - what arb_log has written: "warning: TEXT key=value\n" per line */
const char *arb_test_log(const struct arb_actor *self);

/* arb_test_counter - the value of an own counter; 0 if there is none of that name */
uint64_t arb_test_counter(const struct arb_actor *self, const char *name);

/*
 * arb_test_call - run an own command
 * @args  a JSON object, or NULL; not checked against the command's table
 * Returns the answer as JSON text, "CODE: MESSAGE" for an error, or NULL: it has not answered yet.
 */
const char *arb_test_call(struct arb_actor *self, const char *command, const char *args);

/* arb_test_ready - a watched descriptor is ready for these events */
void arb_test_ready(struct arb_actor *self, int fd, int events);

/* ---- connections ---- */

/* arb_test_open - a client connects. Returns NULL if on_open refused. Freed with its worker. */
struct arb_conn *arb_test_open(struct arb_actor *self);

/* arb_test_feed - the client sends; what a closed or waiting connection gets is kept or dropped as
 * in a worker */
void arb_test_feed(struct arb_conn *conn, const void *data, size_t len);

/* arb_test_end - the client has half-closed: nothing will follow */
void arb_test_end(struct arb_conn *conn);

/* arb_test_cut - the connection ends now, for that reason */
void arb_test_cut(struct arb_conn *conn, enum arb_end why);

/*
 * arb_test_read - what the client has got since the last call, with a NUL behind it
 * Nothing while the client is stalled.
 */
const char *arb_test_read(struct arb_conn *conn, size_t *ret_len);

/* arb_test_stall - from now on the client takes nothing; false: it has taken everything at once */
void arb_test_stall(struct arb_conn *conn, bool is_stalled);

/* arb_test_is_open - false: it has ended, for the reason @ret_why (may be NULL) */
bool arb_test_is_open(const struct arb_conn *conn, enum arb_end *ret_why);

/*
 * arb_test_move - move a connection to another worker, as a reload would
 * Returns the connection there. NULL: it owes a reply, or cannot be saved or restored, and goes on
 * here.
 */
struct arb_conn *arb_test_move(struct arb_conn *conn, struct arb_actor *to);

/*
 * arb_test_rescue - its worker crashes, and another collects the connection without its state
 * Returns NULL if it is in the middle of something or not blank: a crash would end it.
 */
struct arb_conn *arb_test_rescue(struct arb_conn *conn, struct arb_actor *to);

/* ---- messages between actors ---- */

/* arb_test_deliver - call on_message; @conn NULL: for all connections, else it is repeated for that
 * one. Numbers have to grow. */
void arb_test_deliver(struct arb_actor *self, struct arb_conn *conn,
                      const struct arb_message *message);

/* A message that was sent by arb_send. */
struct arb_test_message {
    const char *to, *topic;
    const void *data;
    size_t len;
};

/* arb_test_sent - the @i-th message since the start. Returns false if there are fewer. */
bool arb_test_sent(const struct arb_actor *self, size_t i, struct arb_test_message *ret);

/* arb_test_credit - after @n more messages arb_send returns -EAGAIN; on_can_send is called if it
 * has done so before. Not limited at first. */
void arb_test_credit(struct arb_actor *self, size_t n);

/* ---- what has to hold for every input ---- */

/*
 * arb_test_check - run @data through the protocol in many ways and compare
 * That is: split at any byte; moved at any byte, with the state saved and restored and with the
 * search resumed or begun anew; collected from a crash wherever the connection is blank. Replies,
 * messages sent, the number of requests and the end of the connection have to be the same, and no
 * rule may be broken. Long inputs are tried at some bytes only.
 * @why  a sentence on failure. Returns 0 or -EINVAL.
 */
int arb_test_check(const struct arb_protocol *protocol, const char *const *settings,
                   const void *data, size_t len, char *why, size_t why_size);

/*
 * arb_test_fuzz - the same for libFuzzer, with the defaults; and the bytes as a saved state
 * Prints what is wrong, and aborts. Returns 0.
 */
int arb_test_fuzz(const struct arb_protocol *protocol, const uint8_t *data, size_t size);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
