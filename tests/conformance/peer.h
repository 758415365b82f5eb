/*
 * A raw peer: a client socket that does exactly what a case says, and the expectations on what
 * comes back. Uses nothing of the servers that it tries, nor of the other clients. Whatever does
 * not happen within WAIT_MS breaks the case (must.h). Every descriptor and block is on a list, so
 * that a broken case leaks nothing.
 */
#ifndef CONFORMANCE_PEER_H
#define CONFORMANCE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that somebody else owns. */
struct bytes {
    const void *data;
    size_t len;
};
#define BYTES(literal) ((struct bytes){(literal), sizeof(literal) - 1})

/* How a conversation ended. */
enum peer_end { PEER_EOF, PEER_RESET, PEER_SILENT /* neither came in time */ };

/*
 * peer_try_connect - one attempt at each address of "HOST:PORT", "[V6]:PORT" or "unix:PATH"
 * @rcvbuf  SO_RCVBUF before the connect, 0 = the kernel's choice
 * Returns a non-blocking descriptor with TCP_NODELAY, or -errno.
 */
int peer_try_connect(const char *addr, int rcvbuf);
int peer_connect(const char *addr);
int peer_connect_rcvbuf(const char *addr, int rcvbuf);

/* peer_try_connect_from - the same by TCP, from an address of this machine: "127.0.0.2:0" */
int peer_try_connect_from(const char *from, const char *addr);

/* peer_send - all of it; peer_send_text - a C string */
void peer_send(int fd, const void *data, size_t len);
void peer_send_text(int fd, const char *text);

/* peer_try_send - what fits now: bytes sent, 0 = would block, or -errno */
long peer_try_send(int fd, const void *data, size_t len);

/*
 * peer_send_until_full - without reading, until nothing more fits for a while: the other side has
 * stopped to read, or has it all. Returns the bytes sent.
 */
size_t peer_send_until_full(int fd, struct bytes out);

/* peer_send_until_end - without reading, until all is sent or the other side has ended it */
void peer_send_until_end(int fd, struct bytes out);

/* peer_peek - bytes that are there now, without taking them */
size_t peer_peek(int fd, void *buf, size_t size);

/* peer_expect - exactly these bytes come next; peer_expect_eof - then nothing but the end */
void peer_expect(int fd, const void *data, size_t len);
void peer_expect_text(int fd, const char *text);
void peer_expect_eof(int fd);

/* peer_drain - read and drop until the end, at most @timeout_ms; @ret_bytes may be NULL */
enum peer_end peer_drain(int fd, unsigned timeout_ms, uint64_t *ret_bytes);

/* peer_has_ended - the end of file or a reset is there already, and nothing before it */
bool peer_has_ended(int fd);

/*
 * peer_exchange - send and receive at the same time, so that neither side can get stuck
 * @max_chunk  bytes of one send: random in 1..max_chunk; 0 = as much as fits
 * @rng        for the chunks; may be NULL when @max_chunk is 0 or 1
 */
void peer_exchange(int fd, struct bytes out, struct bytes want, size_t max_chunk, uint64_t *rng);

/* peer_echo - one message out, the same back; @text without separator */
void peer_echo(int fd, const char *text);

/* peer_is_served - connect, echo one message, close; false if any of it fails */
bool peer_is_served(const char *addr, unsigned timeout_ms);

void peer_half_close(int fd);
void peer_reset(int fd); /* SO_LINGER 0 and close: the other side sees RST */
void peer_close(int fd);

/* peer_pause_until_acked - wait until the other side's kernel has all that was sent */
void peer_pause_until_acked(int fd);

/* peer_alloc - a block that lives until peer_release_all; that also closes every peer */
void *peer_alloc(size_t size);
void peer_release_all(void);

#endif
