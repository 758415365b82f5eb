/*
 * Conformance: how conversations end - half-close, QUIT, the limit, resets.
 */
#include "conformance/conformance.h"

#include <string.h>

#include "conformance/must.h"
#include "conformance/peer.h"

#define SEP     "\r\n\r\n"
#define SEP_LEN ((size_t)4)

/* Send @out, optionally half-close, expect @want and then the end of file. */
static void ends_with(const struct conformance_target *t, struct bytes out, struct bytes want,
                      int half_close)
{
    int fd = peer_connect(t->addr);
    peer_exchange(fd, out, want, 0, NULL);
    if (half_close)
        peer_half_close(fd);
    peer_expect_eof(fd);
    peer_close(fd);
}

/* @n frames of @size bytes each, separators included. */
static struct bytes frames(size_t n, size_t size)
{
    char *p = conformance_repeat("abcdefghij", 10, n * size);
    for (size_t i = 1; i <= n; i++)
        memcpy(p + i * size - SEP_LEN, SEP, SEP_LEN);
    return (struct bytes){p, n * size};
}

void conformance_half_close_idle(const struct conformance_target *t)
{
    ends_with(t, BYTES(""), BYTES(""), 1);
    ends_with(t, BYTES("a" SEP), BYTES("a" SEP), 1);
}

void conformance_half_close_tail(const struct conformance_target *t)
{
    struct bytes b = frames(1, 40019);
    int fd = peer_connect(t->addr);
    peer_send(fd, b.data, b.len);
    peer_half_close(fd);
    peer_expect(fd, b.data, b.len);
    peer_expect_eof(fd);
    peer_close(fd);
}

void conformance_half_close_late_reader(const struct conformance_target *t)
{
    struct bytes b = frames(64, 16384);
    int fd = peer_connect_rcvbuf(t->addr, 4096);
    size_t sent = peer_send_until_full(fd, b);
    /* Whole frames only: what was cut off is completed, which needs some reading, first. */
    struct bytes all = {b.data, (sent + 16383) / 16384 * 16384};
    struct bytes rest = {(const char *)b.data + sent, all.len - sent};
    size_t early = rest.len ? sent / 2 : 0;
    peer_exchange(fd, rest, (struct bytes){b.data, early}, 0, NULL);
    peer_half_close(fd);
    peer_expect(fd, (const char *)all.data + early, all.len - early);
    peer_expect_eof(fd);
    peer_close(fd);
}

void conformance_half_close_in_message(const struct conformance_target *t)
{
    static const char *const tails[] = {"b", "b\r", "b\r\n", "b\r\n\r", "\r\n\r"};
    for (size_t i = 0; i < sizeof(tails) / sizeof(*tails); i++) {
        int fd = peer_connect(t->addr);
        peer_send_text(fd, "a" SEP);
        peer_send_text(fd, tails[i]);
        peer_half_close(fd);
        peer_expect_text(fd, "a" SEP);
        peer_expect_eof(fd);
        peer_close(fd);
    }
}

void conformance_quit(const struct conformance_target *t)
{
    ends_with(t, BYTES("QUIT" SEP), BYTES("QUIT" SEP), 0);
    ends_with(t, BYTES("a" SEP "QUIT" SEP), BYTES("a" SEP "QUIT" SEP), 0);
}

void conformance_quit_split(const struct conformance_target *t)
{
    int fd = peer_connect(t->addr), other = peer_connect(t->addr);
    for (size_t i = 0; i < 8; i++) {
        peer_send(fd, &"QUIT" SEP[i], 1);
        peer_echo(other, "pace");
    }
    peer_expect_text(fd, "QUIT" SEP);
    peer_expect_eof(fd);
    peer_close(fd);
    peer_close(other);
}

void conformance_quit_after_pipeline(const struct conformance_target *t)
{
    enum { N = 20000, SIZE = 100 };
    struct bytes b = frames(N + 1, SIZE);
    memcpy((char *)b.data + N * SIZE, "QUIT" SEP, 8);
    b.len = N * SIZE + 8;
    ends_with(t, b, b, 0);
    /* The reader is late: the replies stand in the server's output when QUIT comes. */
    int fd = peer_connect_rcvbuf(t->addr, 4096);
    struct bytes few = {(const char *)b.data + b.len - 100008, 100008};
    peer_send(fd, few.data, few.len);
    peer_pause_until_acked(fd);
    peer_expect(fd, few.data, few.len);
    peer_expect_eof(fd);
    peer_close(fd);
}

void conformance_quit_ignores_rest(const struct conformance_target *t)
{
    ends_with(t, BYTES("a" SEP "QUIT" SEP "b" SEP), BYTES("a" SEP "QUIT" SEP), 0);
    /* Unread input must not turn the close into a reset that destroys the replies. */
    struct bytes head = frames(1000, 1000), rest = frames(50, 2000);
    char *p = peer_alloc(head.len + 8 + rest.len);
    memcpy(p, head.data, head.len);
    memcpy(p + head.len, "QUIT" SEP, 8);
    memcpy(p + head.len + 8, rest.data, rest.len);
    int fd = peer_connect(t->addr);
    peer_exchange(fd, (struct bytes){p, head.len + 8 + rest.len}, (struct bytes){p, head.len + 8},
                  0, NULL);
    peer_expect_eof(fd);
    peer_close(fd);
}

void conformance_quit_lookalikes(const struct conformance_target *t)
{
    static const char all[] = "quit" SEP "Quit" SEP "QUIT " SEP " QUIT" SEP "QUI" SEP "QUITQUIT" SEP
                              "QUIT\r" SEP "\nQUIT" SEP "QUIT\r\n\r" SEP;
    struct bytes b = {all, sizeof(all) - 1};
    int fd = peer_connect(t->addr);
    peer_exchange(fd, b, b, 0, NULL);
    peer_exchange(fd, b, b, 1, NULL);
    peer_exchange(fd, BYTES("QUIT\0" SEP), BYTES("QUIT\0" SEP), 0, NULL);
    peer_echo(fd, "still here");
    peer_close(fd);
}

void conformance_max_exact(const struct conformance_target *t)
{
    int fd = peer_connect(t->addr);
    for (size_t less = 2; less-- > 0;) {
        struct bytes b = frames(1, t->max_message - less + SEP_LEN);
        peer_exchange(fd, b, b, 0, NULL);
    }
    peer_echo(fd, "still here");
    /* All but the separator first: the limit counts payload only. */
    struct bytes b = frames(1, t->max_message + SEP_LEN);
    struct bytes head = {b.data, b.len - 1};
    peer_exchange(fd, head, (struct bytes){b.data, 0}, 0, NULL);
    int other = peer_connect(t->addr);
    for (int i = 0; i < 20; i++)
        peer_echo(other, "time to read");
    peer_exchange(fd, (struct bytes){(const char *)b.data + b.len - 1, 1}, b, 0, NULL);
    peer_close(fd);
    peer_close(other);
}

void conformance_max_exceeded(const struct conformance_target *t)
{
    struct bytes big = frames(1, t->max_message + 1 + SEP_LEN);
    char *p = peer_alloc(6 + big.len);
    memcpy(p, "ab" SEP, 6);
    memcpy(p + 6, big.data, big.len);
    int fd = peer_connect(t->addr);
    peer_send_until_end(fd, (struct bytes){p, 6 + big.len});
    peer_expect_text(fd, "ab" SEP);
    uint64_t more;
    MUST(peer_drain(fd, WAIT_MS, &more) != PEER_SILENT, "the connection stays open");
    MUST(more == 0, "%llu bytes of a message above the limit came back", (unsigned long long)more);
    peer_close(fd);
}

void conformance_max_endless(const struct conformance_target *t)
{
    struct bytes b = {conformance_repeat("\r\n\r.", 4, t->max_message + 65536),
                      t->max_message + 65536};
    int fd = peer_connect(t->addr);
    peer_send_until_end(fd, b);
    uint64_t more;
    MUST(peer_drain(fd, WAIT_MS, &more) != PEER_SILENT, "the connection stays open");
    MUST(more == 0, "%llu bytes came back", (unsigned long long)more);
    peer_close(fd);
}

void conformance_reset_in_message(const struct conformance_target *t)
{
    int other = peer_connect(t->addr);
    for (int i = 0; i < 50; i++) {
        int fd = peer_connect(t->addr);
        peer_send_text(fd, i % 2 ? "a" SEP "half a mess" : "half a message\r\n");
        if (i % 3)
            peer_pause_until_acked(fd);
        peer_reset(fd);
    }
    peer_echo(other, "still here");
    MUST(peer_is_served(t->addr, WAIT_MS), "a new connection is not served");
    peer_close(other);
}

void conformance_reset_unread(const struct conformance_target *t)
{
    int other = peer_connect(t->addr);
    struct bytes b = frames(200, 16384);
    for (int i = 0; i < 10; i++) {
        int fd = peer_connect_rcvbuf(t->addr, 4096);
        MUST(peer_try_send(fd, b.data, b.len) > 0, "nothing could be sent");
        peer_reset(fd);
    }
    peer_echo(other, "still here");
    MUST(peer_is_served(t->addr, WAIT_MS), "a new connection is not served");
    peer_close(other);
}

void conformance_connect_close(const struct conformance_target *t)
{
    int other = peer_connect(t->addr);
    for (int i = 0; i < 200; i++) {
        int fd = peer_connect(t->addr);
        if (i % 2)
            peer_close(fd);
        else
            peer_reset(fd);
    }
    peer_echo(other, "still here");
    MUST(peer_is_served(t->addr, WAIT_MS), "a new connection is not served");
    peer_close(other);
}
