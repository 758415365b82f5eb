/*
 * Calls over real sockets: every way in which a connection can begin and end. The other side is
 * prepared before the call, so that nothing depends on time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fds.h"
#include "client/call.h"
#include "echo/echo.h"

enum { LONG_MS = 30000 }; /* an alarm, never reached */

/* ---- sockets of the other side ---- */

static int listen_on_loopback(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static struct arb_address loopback(uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct arb_address a = {.len = sizeof(sa)};

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&a.sa, &sa, sizeof(sa));
    return a;
}

/* A port where nobody listens: bound, so that nobody else gets it meanwhile. */
static int bind_only(uint16_t *ret_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

/* A listener whose queue is full: the kernel drops further SYNs, so a connect hangs. */
struct silent {
    int fds[16];
    size_t n;
};

static uint16_t silent_start(struct silent *s)
{
    uint16_t port;
    struct arb_address to;

    s->fds[0] = listen_on_loopback(0, &port);
    to = loopback(port);
    for (s->n = 1; s->n < 16; s->n++) {
        s->fds[s->n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(s->fds[s->n], (struct sockaddr *)&to.sa, to.len) < 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    return port;
}

static void silent_stop(struct silent *s)
{
    while (s->n > 0)
        close(s->fds[--s->n]);
}

/* ---- the resolver's seam ---- */

static struct arb_address answers[3];
static int n_answers;

static int fake_resolver(void *userdata, const char *host, uint16_t port, struct arb_address *ret,
                         int max)
{
    assert_null(userdata);
    assert_string_equal(host, "echo.example");
    assert_int_equal(port, 8060);
    assert_true(max >= 3);
    if (n_answers > 0)
        memcpy(ret, answers, (size_t)n_answers * sizeof(*ret));
    return n_answers;
}

static int dial_name(uint64_t timeout_ms, int *ret_fd)
{
    struct addr a = {.kind = ADDR_HOST, .port = 8060, .host = "echo.example"};

    return dial(&a, fake_resolver, call_deadline(timeout_ms), ret_fd);
}

static uint16_t peer_port(int fd)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);

    assert_int_equal(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
    return ntohs(sa.sin_port);
}

static void dial__name_unknown__unknown_host(void **state)
{
    int fd = 12345;

    (void)state;
    n_answers = 0;
    assert_int_equal(dial_name(LONG_MS, &fd), CALL_UNKNOWN_HOST);
    n_answers = -EAGAIN;
    assert_int_equal(dial_name(LONG_MS, &fd), CALL_NO_RESOLVER);
    n_answers = -ENOMEM;
    assert_int_equal(dial_name(LONG_MS, &fd), CALL_NO_MEMORY);
    assert_int_equal(fd, 12345);
}

static void dial__first_address_refuses__the_next_is_taken(void **state)
{
    uint16_t closed_port, port;
    int closed = bind_only(&closed_port), listener = listen_on_loopback(8, &port), fd;

    (void)state;
    answers[0] = answers[1] = loopback(closed_port);
    answers[2] = loopback(port);
    n_answers = 3;
    assert_int_equal(dial_name(LONG_MS, &fd), 0);
    assert_int_equal(peer_port(fd), port);
    close(fd);
    n_answers = 2;
    assert_int_equal(dial_name(LONG_MS, &fd), CALL_REFUSED);
    close(listener);
    close(closed);
}

static void dial__first_address_is_silent__the_next_is_taken(void **state)
{
    struct silent silent;
    uint16_t port;
    int listener = listen_on_loopback(8, &port), fd;

    (void)state;
    answers[0] = loopback(silent_start(&silent));
    answers[1] = loopback(port);
    n_answers = 2;
    assert_int_equal(dial_name(LONG_MS, &fd), 0);
    assert_int_equal(peer_port(fd), port);
    close(fd);
    silent_stop(&silent);
    close(listener);
}

static void dial_to__stopped__cancelled(void **state)
{
    struct silent silent;
    struct addresses to = {.n = 1};
    int fds[2], fd = 12345, address = 0;

    (void)state;
    to.all[0] = loopback(silent_start(&silent));
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(dial_to(&to, &address, fds[0], call_deadline(30), &fd), CALL_TIMEOUT);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(dial_to(&to, &address, fds[0], DIAL_FOREVER, &fd), CALL_CANCELLED);
    assert_int_equal(fd, 12345);
    close(fds[0]);
    close(fds[1]);
    silent_stop(&silent);
}

/* The one that answered is remembered: there is no second wait for the others. */
static void dial_to__first_address_is_silent__which_answered_is_told(void **state)
{
    struct silent silent;
    struct addresses to = {.n = 2};
    uint16_t port;
    int listener = listen_on_loopback(4, &port), fd = -1, address = 0;

    (void)state;
    to.all[0] = loopback(silent_start(&silent));
    to.all[1] = loopback(port);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dial_to(&to, &address, -1, call_deadline(LONG_MS), &fd), 0);
        assert_int_equal(address, 1);
        assert_int_equal(peer_port(fd), port);
        close(fd);
    }
    close(listener);
    silent_stop(&silent);
}

static void dial__all_silent__timeout(void **state)
{
    struct silent silent;
    uint64_t before = clock_mono_ms();
    int fd = 12345;

    (void)state;
    answers[0] = answers[1] = loopback(silent_start(&silent));
    n_answers = 2;
    assert_int_equal(dial_name(400, &fd), CALL_TIMEOUT);
    assert_true(clock_mono_ms() - before >= 400); /* not before its time */
    assert_int_equal(dial_name(1, &fd), CALL_TIMEOUT);
    assert_int_equal(fd, 12345);
    silent_stop(&silent);
}

static void dial__no_unix_socket__refused(void **state)
{
    struct addr a = {.kind = ADDR_UNIX, .path = "/nowhere/echo.sock"};
    int fd;

    (void)state;
    assert_int_equal(dial(&a, NULL, DIAL_FOREVER, &fd), CALL_REFUSED);
}

static void dial__unix_queue_full__waits_until_the_deadline(void **state)
{
    struct addr a = {.kind = ADDR_UNIX};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/test_call.XXXXXX";
    int listener, first, second = -1;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(a.path, sizeof(a.path), "%s/sock", dir);
    strcpy(sa.sun_path, a.path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(dial(&a, NULL, DIAL_FOREVER, &first), 0);
    assert_int_equal(dial(&a, NULL, call_deadline(30), &second), CALL_TIMEOUT);
    close(accept(listener, NULL, NULL));
    assert_int_equal(dial(&a, NULL, DIAL_FOREVER, &second), 0);
    close(first);
    close(second);
    close(listener);
    unlink(a.path);
    rmdir(dir);
}

/* ---- one connection ---- */

struct pair {
    struct call call;
    int peer;
};

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    struct frame_rule rule;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(echo_rule_init(&rule, ECHO_SEPARATOR, ECHO_SEPARATOR_LEN, 1 << 24), 0);
    call_init(&p->call, &rule);
    assert_int_equal(call_adopt(&p->call, fds[0]), 0);
    p->peer = fds[1];
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;

    call_fini(&p->call);
    fds_close(&p->peer);
    free(p);
    return 0;
}

static void peer_says(struct pair *p, const char *text)
{
    assert_int_equal(fds_write_all(p->peer, text, strlen(text)), 0);
}

static int exchange_a(struct pair *p)
{
    const uint8_t *reply;
    size_t len;

    return call_exchange(&p->call, "a", 1, call_deadline(LONG_MS), &reply, &len);
}

static void call_exchange__reply_comes__borrowed_without_separator(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    char got[16];
    size_t len;

    peer_says(p, "hello\r\n\r\n");
    assert_int_equal(call_exchange(&p->call, "hello", 5, call_deadline(LONG_MS), &reply, &len), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(reply, "hello", 5);
    assert_int_equal(read(p->peer, got, sizeof(got)), 9);
    assert_memory_equal(got, "hello\r\n\r\n", 9);
    assert_true(call_is_usable(&p->call));
}

static void call_exchange__no_reply__timeout_and_spent(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    size_t len;

    assert_int_equal(call_exchange(&p->call, "a", 1, call_deadline(20), &reply, &len),
                     CALL_TIMEOUT);
    /* The late reply must not become that of a later message. */
    assert_false(call_is_usable(&p->call));
    assert_int_equal(exchange_a(p), CALL_TIMEOUT);
}

static void call_exchange__closed_before_reply__closed(void **state)
{
    struct pair *p = *state;

    shutdown(p->peer, SHUT_WR);
    assert_int_equal(exchange_a(p), CALL_CLOSED);
    assert_int_equal(exchange_a(p), CALL_CLOSED);
}

static void call_exchange__closed_inside_reply__closed(void **state)
{
    struct pair *p = *state;

    peer_says(p, "a\r\n\r");
    shutdown(p->peer, SHUT_WR);
    assert_int_equal(exchange_a(p), CALL_CLOSED);
}

static void call_exchange__reply_and_end__reply_first(void **state)
{
    struct pair *p = *state;

    peer_says(p, "a\r\n\r\n");
    shutdown(p->peer, SHUT_WR);
    assert_int_equal(exchange_a(p), 0);
    assert_false(call_is_usable(&p->call));
    assert_int_equal(exchange_a(p), CALL_CLOSED);
}

/* The peer takes nothing more, but what it has said before still counts. */
static void call_exchange__broken_while_writing__replies_are_read_on(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    char got[8];
    size_t len;

    assert_int_equal(call_post(&p->call, "a", 1), 0);
    assert_int_equal(call_advance(&p->call, &reply, &len), CALL_PENDING);
    assert_int_equal(read(p->peer, got, sizeof(got)), 5);
    peer_says(p, "a\r\n\r\n");
    fds_close(&p->peer);
    assert_int_equal(call_post(&p->call, "b", 1), 0);
    assert_int_equal(call_wait(&p->call, call_deadline(LONG_MS), &reply, &len), 0);
    assert_true(p->call.is_deaf);
    assert_int_equal(call_wait(&p->call, call_deadline(LONG_MS), &reply, &len), CALL_CLOSED);
}

/* No separator and no end of the stream is waited for. */
static void call_exchange__garbage_that_goes_on__mismatch(void **state)
{
    struct pair *p = *state;

    peer_says(p, "QQQQQQQQ");
    assert_int_equal(exchange_a(p), CALL_MISMATCH);
    assert_int_equal(exchange_a(p), CALL_MISMATCH);
}

/* A unix peer that closes with unread bytes is what a reset is. */
static void call_exchange__reset__reset(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    size_t len;

    assert_int_equal(call_post(&p->call, "a", 1), 0);
    assert_int_equal(call_wait(&p->call, 0, &reply, &len), CALL_TIMEOUT); /* sent, not waited */
    fds_close(&p->peer);
    p->call.outcome = 0;
    assert_int_equal(call_wait(&p->call, call_deadline(LONG_MS), &reply, &len), CALL_RESET);
}

static void call_exchange__refused_message__connection_stays_usable(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    size_t len;

    assert_int_equal(call_exchange(&p->call, "a\r\n", 3, 0, &reply, &len), CALL_HAS_SEPARATOR);
    assert_true(call_is_usable(&p->call));
    peer_says(p, "a\r\n\r\n");
    assert_int_equal(exchange_a(p), 0);
}

static void call_is_usable__bytes_nobody_asked_for__false(void **state)
{
    struct pair *p = *state;

    assert_true(call_is_usable(&p->call));
    peer_says(p, "x");
    assert_false(call_is_usable(&p->call));
}

static void call_wait__nothing_outstanding__pending(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    size_t len;

    assert_int_equal(call_wait(&p->call, DIAL_FOREVER, &reply, &len), CALL_PENDING);
    assert_true(call_is_usable(&p->call));
}

static void call_wait__not_connected__closed(void **state)
{
    struct pair *p = *state;

    call_close(&p->call);
    assert_int_equal(exchange_a(p), CALL_CLOSED);
    assert_false(call_is_usable(&p->call));
}

static void *echo_thread(void *arg)
{
    int fd = *(int *)arg;
    char buf[4096];
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) > 0)
        if (fds_write_all(fd, buf, (size_t)n))
            break;
    return NULL;
}

/* Far more than the sockets hold, both ways at once: whoever only writes or only reads hangs. */
static void call_exchange__larger_than_all_socket_buffers__no_deadlock(void **state)
{
    struct pair *p = *state;
    const size_t len = (size_t)12 << 20;
    uint8_t *message = malloc(len);
    const uint8_t *reply;
    pthread_t thread;
    size_t reply_len;

    for (size_t i = 0; i < len; i++)
        message[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < len; i++)
        message[i] = message[i] == '\n' ? 0 : message[i];
    assert_int_equal(pthread_create(&thread, NULL, echo_thread, &p->peer), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(
            call_exchange(&p->call, message, len, call_deadline(LONG_MS), &reply, &reply_len), 0);
        assert_int_equal(reply_len, len);
        assert_true(memcmp(reply, message, len) == 0);
    }
    call_close(&p->call);
    pthread_join(thread, NULL);
    free(message);
}

static void call_wait__full_window__replies_in_order(void **state)
{
    struct pair *p = *state;
    const uint8_t *reply;
    pthread_t thread;
    size_t len;

    assert_int_equal(pthread_create(&thread, NULL, echo_thread, &p->peer), 0);
    for (unsigned i = 0; i < EXCHANGE_WINDOW; i++)
        assert_int_equal(call_post(&p->call, &i, sizeof(i)), 0);
    for (unsigned i = 0; i < EXCHANGE_WINDOW; i++) {
        assert_int_equal(call_wait(&p->call, call_deadline(LONG_MS), &reply, &len), 0);
        assert_int_equal(len, sizeof(i));
        assert_memory_equal(reply, &i, sizeof(i));
    }
    call_close(&p->call);
    pthread_join(thread, NULL);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dial__name_unknown__unknown_host),
        cmocka_unit_test(dial__first_address_refuses__the_next_is_taken),
        cmocka_unit_test(dial__first_address_is_silent__the_next_is_taken),
        cmocka_unit_test(dial_to__stopped__cancelled),
        cmocka_unit_test(dial_to__first_address_is_silent__which_answered_is_told),
        cmocka_unit_test(dial__all_silent__timeout),
        cmocka_unit_test(dial__no_unix_socket__refused),
        cmocka_unit_test(dial__unix_queue_full__waits_until_the_deadline),
        WITH_PAIR(call_exchange__reply_comes__borrowed_without_separator),
        WITH_PAIR(call_exchange__no_reply__timeout_and_spent),
        WITH_PAIR(call_exchange__closed_before_reply__closed),
        WITH_PAIR(call_exchange__closed_inside_reply__closed),
        WITH_PAIR(call_exchange__reply_and_end__reply_first),
        WITH_PAIR(call_exchange__broken_while_writing__replies_are_read_on),
        WITH_PAIR(call_exchange__garbage_that_goes_on__mismatch),
        WITH_PAIR(call_exchange__reset__reset),
        WITH_PAIR(call_exchange__refused_message__connection_stays_usable),
        WITH_PAIR(call_is_usable__bytes_nobody_asked_for__false),
        WITH_PAIR(call_wait__nothing_outstanding__pending),
        WITH_PAIR(call_wait__not_connected__closed),
        WITH_PAIR(call_exchange__larger_than_all_socket_buffers__no_deadlock),
        WITH_PAIR(call_wait__full_window__replies_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
