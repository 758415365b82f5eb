/*
 * Conformance: where messages end, and that their bytes come back as they are.
 */
#include "conformance/conformance.h"

#include <stdio.h>
#include <string.h>

#include "conformance/must.h"
#include "conformance/peer.h"

#define SEP     "\r\n\r\n"
#define SEP_LEN ((size_t)4)

/* @frames goes out and comes back, in random chunks and at once. */
static void echo_bytes(const struct conformance_target *t, struct bytes frames)
{
    uint64_t rng = t->seed;
    int fd = peer_connect(t->addr);
    peer_exchange(fd, frames, frames, 0, NULL);
    peer_exchange(fd, frames, frames, 1 + frames.len / 3, &rng);
    peer_half_close(fd);
    peer_expect_eof(fd);
    peer_close(fd);
}

static void echo_payload(const struct conformance_target *t, const void *payload, size_t len)
{
    char *frame = peer_alloc(len + SEP_LEN);
    memcpy(frame, payload, len);
    memcpy(frame + len, SEP, SEP_LEN);
    echo_bytes(t, (struct bytes){frame, len + SEP_LEN});
}

char *conformance_repeat(const char *unit, size_t unit_len, size_t n)
{
    char *p = peer_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = unit[i % unit_len];
    p[n] = '\0';
    return p;
}

void conformance_one_message(const struct conformance_target *t)
{
    echo_bytes(t, BYTES("Hello!" SEP));
}

void conformance_empty_message(const struct conformance_target *t)
{
    echo_bytes(t, BYTES(SEP));
}

void conformance_three_separators(const struct conformance_target *t)
{
    echo_bytes(t, BYTES(SEP SEP SEP));
    echo_bytes(t, BYTES("a" SEP SEP SEP "b" SEP));
}

void conformance_in_order(const struct conformance_target *t)
{
    echo_bytes(t, BYTES("one" SEP "two" SEP "" SEP "four" SEP));
}

/*
 * Give the other side the time to read what was sent: a round trip on another connection. Only
 * shapes the stimulus: the outcome must not depend on it.
 */
static void pace(int other)
{
    peer_echo(other, "pace");
}

void conformance_nothing_early(const struct conformance_target *t)
{
    int fd = peer_connect(t->addr), other = peer_connect(t->addr);
    for (size_t k = 0; k < SEP_LEN; k++) {
        peer_send(fd, "early" SEP, 5 + k);
        pace(other);
        uint8_t byte;
        MUST(peer_peek(fd, &byte, 1) == 0, "a reply after %zu bytes of the separator", k);
        peer_send(fd, &SEP[k], SEP_LEN - k);
        peer_expect_text(fd, "early" SEP);
    }
    peer_close(fd);
    peer_close(other);
}

/* Send @text cut at every subset of the @cuts places between its last bytes. */
static void every_split(const struct conformance_target *t, const char *text, unsigned cuts)
{
    size_t len = strlen(text);
    int fd = peer_connect(t->addr), other = peer_connect(t->addr);
    for (unsigned set = 0; set < 1u << cuts; set++) {
        size_t from = 0;
        for (unsigned i = 0; i < cuts; i++) {
            size_t at = len - cuts + i;
            if (!(set & 1u << i))
                continue;
            peer_send(fd, text + from, at - from);
            pace(other);
            from = at;
        }
        peer_send(fd, text + from, len - from);
        peer_expect_text(fd, text);
    }
    peer_close(fd);
    peer_close(other);
}

void conformance_every_split(const struct conformance_target *t)
{
    every_split(t, "split" SEP, 4);
    every_split(t, "cr\r" SEP, 5);
}

void conformance_every_double_split(const struct conformance_target *t)
{
    every_split(t, "x" SEP SEP, 8);
}

void conformance_leftmost(const struct conformance_target *t)
{
    int fd = peer_connect(t->addr);
    peer_send_text(fd, "x\r\n\r\n\r\n");
    peer_expect_text(fd, "x\r\n\r\n");
    peer_send_text(fd, "\r\n");
    peer_expect_text(fd, "\r\n\r\n");
    peer_close(fd);
}

void conformance_all_cr(const struct conformance_target *t)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 63, 64, 65, 1000, 65535, 65536, 200000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        echo_payload(t, conformance_repeat("\r", 1, sizes[i]), sizes[i]);
}

void conformance_near_misses(const struct conformance_target *t)
{
    static const char *const units[] = {"\r\n\r", "\n\r", "\n", "\r\n\rx", "\n\r\n", "\r\r\n"};
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        size_t unit = strlen(units[i]);
        for (size_t n = 1; n <= 65536; n *= 4) {
            /* An 'x' keeps the payload's end from being the separator's beginning. */
            char *p = conformance_repeat(units[i], unit, n * unit);
            p[n * unit - 1] = 'x';
            echo_payload(t, p, n * unit);
        }
    }
}

void conformance_every_byte(const struct conformance_target *t)
{
    uint8_t all[256];
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    echo_payload(t, all, sizeof(all));
    for (unsigned i = 0; i < 256; i++)
        echo_payload(t, &all[i], 1);
    echo_payload(t, conformance_repeat("\0", 1, 5000), 5000);
    echo_payload(t, conformance_repeat("\xff", 1, 5000), 5000);
    echo_payload(t, conformance_repeat("\0\xff\r", 3, 5000), 5000);
}

/* Random bytes without CR, so that they hold no separator. */
static void *random_payload(uint64_t *rng, size_t n)
{
    uint8_t *p = peer_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)random_next(rng);
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] == '\r' ? 'r' : p[i];
    return p;
}

void conformance_binary(const struct conformance_target *t)
{
    uint64_t rng = t->seed;
    for (size_t n = 16; n <= 1 << 20; n *= 8) {
        size_t len = n + rng_below(&rng, n);
        len = len > 1 << 20 ? 1 << 20 : len;
        if (!t->max_message || len <= t->max_message)
            echo_payload(t, random_payload(&rng, len), len);
    }
}

void conformance_every_small_size(const struct conformance_target *t)
{
    size_t total = 0;
    char *frames = peer_alloc(301 * (300 + SEP_LEN));
    for (size_t n = 0; n <= 300; n++) {
        memset(frames + total, 'a' + (int)(n % 26), n);
        memcpy(frames + total + n, SEP, SEP_LEN);
        total += n + SEP_LEN;
    }
    echo_bytes(t, (struct bytes){frames, total});
}

void conformance_powers_of_two(const struct conformance_target *t)
{
    for (size_t n = 512; n <= 512 * 1024; n *= 2) {
        for (size_t len = n - 5; len <= n + 1; len++) {
            if (!t->max_message || len <= t->max_message)
                echo_payload(t, conformance_repeat("0123456789", 10, len), len);
        }
        peer_release_all();
    }
}

/* @n messages that say their number, of random length below @max. */
static struct bytes numbered(uint64_t *rng, unsigned n, size_t max)
{
    char *p = peer_alloc(n * (max + 24));
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += (size_t)sprintf(p + len, "%u:", i);
        size_t filler = rng_below(rng, max);
        memset(p + len, '.', filler);
        memcpy(p + len + filler, SEP, SEP_LEN);
        len += filler + SEP_LEN;
    }
    return (struct bytes){p, len};
}

void conformance_random_chunks(const struct conformance_target *t)
{
    uint64_t rng = t->seed;
    int fd = peer_connect(t->addr);
    struct bytes b = numbered(&rng, 5000, 200);
    peer_exchange(fd, b, b, 700, &rng);
    peer_exchange(fd, b, b, 20000, &rng);
    peer_close(fd);
}

void conformance_pipelined_fair(const struct conformance_target *t)
{
    uint64_t rng = t->seed;
    int fd = peer_connect(t->addr), other = peer_connect(t->addr);
    struct bytes b = numbered(&rng, 10000, 20);
    peer_echo(other, "before");
    long n = peer_try_send(fd, b.data, b.len);
    MUST(n > 0, "nothing could be sent");
    peer_echo(other, "while the pipeline is full");
    MUST(peer_is_served(t->addr, WAIT_MS), "a new connection is not served");
    struct bytes rest = {(const char *)b.data + n, b.len - (size_t)n};
    peer_exchange(fd, rest, b, 0, NULL);
    peer_close(fd);
    peer_close(other);
}

void conformance_one_byte_writes(const struct conformance_target *t)
{
    size_t len = t->max_message && t->max_message < 3 << 20 ? t->max_message : 3 << 20;
    char *p = conformance_repeat("0123456789\r\n\r", 13, len + SEP_LEN);
    memcpy(p + len - 1, "x" SEP, 1 + SEP_LEN);
    int fd = peer_connect(t->addr);
    peer_exchange(fd, (struct bytes){p, len + SEP_LEN}, (struct bytes){p, len + SEP_LEN}, 1, NULL);
    peer_close(fd);
}

void conformance_late_reader(const struct conformance_target *t)
{
    uint64_t rng = t->seed;
    struct bytes b = numbered(&rng, 6000, 4000);
    int fd = peer_connect_rcvbuf(t->addr, 4096);
    size_t sent = peer_send_until_full(fd, b);
    MUST(peer_is_served(t->addr, WAIT_MS), "a new connection is not served");
    struct bytes rest = {(const char *)b.data + sent, b.len - sent};
    peer_exchange(fd, rest, b, 0, NULL);
    peer_close(fd);
}

void conformance_many_connections(const struct conformance_target *t)
{
    enum { N = 100 };
    int fd[N];
    char text[64];
    for (int i = 0; i < N; i++)
        fd[i] = peer_connect(t->addr);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(text, sizeof(text), "connection %d, round %d" SEP, i, round);
            peer_send_text(fd[i], text);
        }
        for (int i = N - 1; i >= 0; i--) {
            snprintf(text, sizeof(text), "connection %d, round %d" SEP, i, round);
            peer_expect_text(fd[i], text);
        }
    }
    for (int i = 0; i < N; i++)
        peer_close(fd[i]);
}
