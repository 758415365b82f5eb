/*
 * Looking names up within a deadline, with a getaddrinfo of the test's own: static linking takes
 * this one. A lock says when it answers, so that nothing depends on time.
 */
#include <arbiter/client.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "client/addresses.h"
#include "client/deadlines.h"
#include "support/proc.h"

#ifdef __SANITIZE_THREAD__
enum { ALONE = 2 }; /* it has a thread of its own */
#else
enum { ALONE = 1 };
#endif
enum { LONG_MS = 30000, SHORT_MS = 20 }; /* an alarm, never reached; a deadline that is */

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static const struct addr name = {.kind = ADDR_HOST, .port = 8060, .host = "echo.example"};
static int resolver_rc, resolver_errno;
static struct sockaddr_in sa = {.sin_family = AF_INET};
static struct addrinfo one = {.ai_addrlen = sizeof(sa), .ai_addr = (struct sockaddr *)&sa};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    assert_string_equal(host, "echo.example");
    assert_string_equal(service, "8060");
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    pthread_mutex_lock(&resolver_lock); /* held by a test: no name server answers */
    *ret = &one;
    pthread_mutex_unlock(&resolver_lock);
    errno = resolver_errno;
    return resolver_rc;
}

void freeaddrinfo(struct addrinfo *all)
{
    assert_non_null(all);
}

static uint64_t n_threads(void)
{
    return proc_status(getpid(), "Threads", 10);
}

/* A late thread drops its answer and ends. */
static void wait_until_alone(void)
{
    uint64_t until_ns = clock_mono_ns() + (uint64_t)LONG_MS * 1000000;

    while (n_threads() != ALONE) {
        assert_true(clock_mono_ns() < until_ns);
        sched_yield();
    }
}

static void resolve__each_answer__addresses_or_why_not(void **state)
{
    static const struct {
        int rc, error, n;
    } rows[] = {{0, 0, 1},
                {EAI_NONAME, 0, 0},
                {EAI_AGAIN, 0, -EAGAIN},
                {EAI_MEMORY, 0, -ENOMEM},
                {EAI_SYSTEM, EMFILE, -EMFILE}};
    struct arb_address found[ADDRESSES_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        resolver_rc = rows[i].rc;
        resolver_errno = rows[i].error;
        for (int has_deadline = 0; has_deadline <= 1; has_deadline++) {
            uint64_t deadline = deadline_after_ms(has_deadline ? LONG_MS : 0);
            struct sockaddr_in in;

            assert_int_equal(addresses_resolve(&name, deadline, found), rows[i].n);
            if (has_deadline)
                wait_until_alone();
            if (rows[i].n != 1)
                continue;
            memcpy(&in, &found[0].sa, sizeof(in));
            assert_int_equal(found[0].len, sizeof(in));
            assert_int_equal(in.sin_port, htons(8060));
            assert_int_equal(in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        }
    }
    resolver_rc = resolver_errno = 0;
}

static void resolve__no_answer__timeout_and_the_late_answer_is_dropped(void **state)
{
    struct arb_address found[ADDRESSES_MAX];
    struct addresses to = {.n = 12345};

    (void)state;
    pthread_mutex_lock(&resolver_lock);
    assert_int_equal(addresses_resolve(&name, 1, found), -ETIMEDOUT); /* long past */
    assert_int_equal(addresses_find(&name, NULL, NULL, deadline_after_ms(SHORT_MS), &to),
                     ARB_TIMEOUT);
    assert_int_equal(to.n, 12345);
    pthread_mutex_unlock(&resolver_lock);
    wait_until_alone();
    assert_int_equal(addresses_resolve(&name, deadline_after_ms(LONG_MS), found), 1);
}

/* The library's own look-up ends with the time that its calls have. */
static void client_new__no_answer__timeout(void **state)
{
    struct arb_client_options o;
    struct arb_client *client = NULL;

    (void)state;
    arb_client_options_init(&o);
    o.timeout_ms = SHORT_MS;
    pthread_mutex_lock(&resolver_lock);
    assert_int_equal(arb_client_new("echo.example:8060", &o, &client), ARB_TIMEOUT);
    assert_null(client);
    pthread_mutex_unlock(&resolver_lock);
    wait_until_alone();
    o.timeout_ms = LONG_MS;
    assert_int_equal(arb_client_new("echo.example:8060", &o, &client), ARB_OK);
    arb_client_free(client);
}

static void client_resolve__no_answer__timeout_and_the_old_addresses_stay(void **state)
{
    struct arb_client_options o;
    struct arb_client *client = NULL;

    (void)state;
    arb_client_options_init(&o);
    o.timeout_ms = 1000; /* is reached once; the other look-ups take no time */
    assert_int_equal(arb_client_new("echo.example:8060", &o, &client), ARB_OK);
    pthread_mutex_lock(&resolver_lock);
    assert_int_equal(arb_client_resolve(client), ARB_TIMEOUT);
    pthread_mutex_unlock(&resolver_lock);
    wait_until_alone();
    assert_int_equal(arb_client_resolve(client), ARB_OK);
    arb_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolve__each_answer__addresses_or_why_not),
        cmocka_unit_test(resolve__no_answer__timeout_and_the_late_answer_is_dropped),
        cmocka_unit_test(client_new__no_answer__timeout),
        cmocka_unit_test(client_resolve__no_answer__timeout_and_the_old_addresses_stay),
    };

    sa.sin_port = htons(8060);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
