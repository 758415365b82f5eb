/*
 * The wire protocol as a numbered table of cases that runs against any address: a message ends at
 * the leftmost "\r\n\r\n" and comes back; QUIT comes back and ends the conversation. Knows nothing
 * of the server but its address and its limit. A broken case leaves through must_fail.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <stddef.h>
#include <stdint.h>

struct conformance_target {
    const char *addr;
    size_t max_message; /* the server's limit; 0 = unknown: the cases at the limit are left out */
    uint64_t seed; /* of random sizes and chunks */
};

struct conformance_case {
    unsigned number; /* stable: never given to another case */
    const char *title;
    void (*run)(const struct conformance_target *t);
    int needs_max_message;
};

extern const struct conformance_case conformance_cases[];
extern const size_t conformance_n_cases;

/* The cases, by what they look at. */
#define CONFORMANCE_CASES(X)                                                                       \
    X(1, one_message, "a message comes back with its separator", 0)                                \
    X(2, empty_message, "an empty message comes back", 0)                                          \
    X(3, three_separators, "three separators in a row are three empty messages", 0)                \
    X(4, in_order, "pipelined messages come back in order", 0)                                     \
    X(5, nothing_early, "nothing comes back before the separator is complete", 0)                  \
    X(6, every_split, "a separator split in every possible way over writes", 0)                    \
    X(7, every_double_split, "two separators split in every possible way over writes", 0)          \
    X(8, leftmost, "the leftmost separator ends the message: CRLFCRLFCRLF", 0)                     \
    X(9, all_cr, "payload of CR only", 0)                                                          \
    X(10, near_misses, "payloads that nearly hold a separator", 0)                                 \
    X(11, every_byte, "every byte value, NUL and 0xff runs", 0)                                    \
    X(12, binary, "random binary payloads up to 1 MiB", 0)                                         \
    X(13, every_small_size, "every payload size from 0 to 300", 0)                                 \
    X(14, powers_of_two, "payload sizes around powers of two", 0)                                  \
    X(15, random_chunks, "5000 pipelined messages in writes of random sizes, which TCP may join",  \
      0)                                                                                           \
    X(16, pipelined_fair, "10000 pipelined messages at once, and others are served", 0)            \
    X(17, one_byte_writes, "3 MiB in 1-byte writes, which TCP may join", 0)                        \
    X(18, late_reader, "a peer that reads late gets every byte", 0)                                \
    X(19, many_connections, "100 connections at once, each gets its own", 0)                       \
    X(20, half_close_idle, "half-close of an idle connection: end of file", 0)                     \
    X(21, half_close_tail, "half-close after 40019 bytes: all echoed, then end of file", 0)        \
    X(22, half_close_late_reader, "half-close with much unread output: all of it comes", 0)        \
    X(23, half_close_in_message, "half-close inside a message: no echo of it, end of file", 0)     \
    X(24, quit, "QUIT comes back, then end of file", 0)                                            \
    X(25, quit_split, "QUIT in 1-byte writes", 0)                                                  \
    X(26, quit_after_pipeline, "QUIT drops no reply before it", 0)                                 \
    X(27, quit_ignores_rest, "what follows QUIT is ignored and costs no reply", 0)                 \
    X(28, quit_lookalikes, "quit, QUIT with a blank, QUITQUIT are messages", 0)                    \
    X(29, max_exact, "a message of exactly max_message comes back", 1)                             \
    X(30, max_exceeded, "a message of max_message + 1 ends the connection after the replies", 1)   \
    X(31, max_endless, "a message without an end is cut off at max_message", 1)                    \
    X(32, reset_in_message, "a reset inside a message hurts nobody else", 0)                       \
    X(33, reset_unread, "a reset with unread replies hurts nobody else", 0)                        \
    X(34, connect_close, "connecting and closing without a byte hurts nobody", 0)

#define X(number, name, title, needs) void conformance_##name(const struct conformance_target *t);
CONFORMANCE_CASES(X)
#undef X

/* conformance_text - a buffer of @n bytes of @unit repeated, from peer_alloc */
char *conformance_repeat(const char *unit, size_t unit_len, size_t n);

#endif
