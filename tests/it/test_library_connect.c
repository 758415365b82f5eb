/*
 * From a name to a connection: several addresses, dead and refusing ones, names that do not
 * resolve, unix sockets with a full queue; and a connection that met itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <arbiter/client.h>
#include "base/util.h"
#include "client/connector.h"
#include "support/faulty.h"
#include "conformance/must.h"

enum { DEAD_MAX = 16 };

/* What the fake resolver says. */
struct names {
    int result; /* < 0 instead of addresses */
    unsigned n_asked;
    char host[64];
    unsigned short port;
    int n;
    struct arb_address all[4];
};

static int resolve(void *userdata, const char *host, unsigned short port, struct arb_address *ret,
                   int max)
{
    struct names *names = userdata;

    names->n_asked++;
    snprintf(names->host, sizeof(names->host), "%s", host);
    names->port = port;
    if (names->result < 0)
        return names->result;
    assert_true(names->n <= max);
    memcpy(ret, names->all, (size_t)names->n * sizeof(*ret));
    return names->n;
}

static void add_address(struct names *names, const char *text)
{
    struct arb_address *a = &names->all[names->n++];
    struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
    char ip[64];
    unsigned port;

    assert_int_equal(sscanf(text, "%63[0-9.]:%u", ip, &port), 2);
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET, ip, &in->sin_addr), 1);
    a->len = sizeof(*in);
}

/* A listener whose queue is full: the kernel drops further SYNs, as a dead machine would. */
struct dead {
    int fds[DEAD_MAX + 1];
    size_t n;
    char addr[64];
};

static int new_listener(char *addr, size_t size, int backlog)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    snprintf(addr, size, "127.0.0.1:%u", ntohs(sa.sin_port));
    return fd;
}

static void dead_open(struct dead *d)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);

    d->fds[0] = new_listener(d->addr, sizeof(d->addr), 0);
    getsockname(d->fds[0], (struct sockaddr *)&sa, &len);
    for (d->n = 1; d->n <= DEAD_MAX; d->n++) {
        d->fds[d->n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(d->fds[d->n], (struct sockaddr *)&sa, len);
    }
}

static void dead_close(struct dead *d)
{
    for (size_t i = 0; i < d->n; i++)
        close(d->fds[i]);
}

static struct arb_client *client_of(struct names *names, int timeout_ms, unsigned pool_size)
{
    struct arb_client_options o;
    struct arb_client *client = NULL;

    arb_client_options_init(&o);
    o.timeout_ms = timeout_ms;
    o.pool_size = pool_size;
    o.resolver = resolve;
    o.resolver_data = names;
    assert_int_equal(arb_client_new("echo.example:4711", &o, &client), ARB_OK);
    return client;
}

static int echo(struct arb_client *client)
{
    struct arb_reply reply;
    int rc = arb_echo(client, "Hello!", 6, &reply);

    if (rc == ARB_OK)
        arb_reply_free(&reply);
    return rc;
}

/* ---- names ---- */

static void client_new__a_name__asked_once(void **state UNUSED)
{
    struct faulty *server = faulty_start(NULL);
    struct names names = {0};
    struct arb_client *client;

    add_address(&names, faulty_addr(server));
    client = client_of(&names, 10000, 2);
    assert_string_equal(names.host, "echo.example");
    assert_int_equal(names.port, 4711);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(echo(client), ARB_OK);
        faulty_close_all(server);
    }
    assert_int_equal(names.n_asked, 1);
    assert_int_equal(faulty_accepted(server), 3);
    arb_client_free(client);
    faulty_stop(server);
}

static void client_new__a_name_without_addresses__typed(void **state UNUSED)
{
    static const struct {
        int result, status;
    } rows[] = {
        {0, ARB_UNRESOLVED}, {-EAGAIN, ARB_NO_RESOLVER}, {-ENOMEM, ARB_NOMEM}, {-EIO, -EIO}};
    struct arb_client_options o;
    struct arb_client *client = NULL;

    arb_client_options_init(&o);
    o.resolver = resolve;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct names names = {.result = rows[i].result};

        o.resolver_data = &names;
        assert_int_equal(arb_client_new("no.example:1", &o, &client), rows[i].status);
        assert_int_equal(names.n_asked, 1);
        assert_non_null(arb_strerror(rows[i].status));
    }
    assert_null(client);
    o.resolver = NULL; /* RFC 6761: never resolves */
    assert_true(arb_client_new("name.invalid:1", &o, &client) != ARB_OK);
    assert_null(client);
}

static void client_resolve__other_addresses__new_connections_go_there(void **state UNUSED)
{
    struct faulty *old = faulty_start(NULL), *new = faulty_start(NULL);
    struct names names = {0};
    struct arb_client *client;

    add_address(&names, faulty_addr(old));
    client = client_of(&names, 10000, 1);
    assert_int_equal(echo(client), ARB_OK);
    names.result = -EAGAIN;
    assert_int_equal(arb_client_resolve(client), ARB_NO_RESOLVER);
    faulty_close_all(old);
    assert_int_equal(echo(client), ARB_OK); /* the old ones are kept */
    names.result = names.n = 0;
    add_address(&names, faulty_addr(new));
    assert_int_equal(arb_client_resolve(client), ARB_OK);
    assert_int_equal(echo(client), ARB_OK); /* open connections too */
    assert_int_equal(faulty_messages(new), 0);
    faulty_close_all(old);
    assert_int_equal(echo(client), ARB_OK);
    assert_int_equal(faulty_messages(new), 1);
    arb_client_free(client);
    faulty_stop(old);
    faulty_stop(new);
}

/* ---- addresses ---- */

static void connect__first_address_refuses__the_next_at_once(void **state UNUSED)
{
    struct faulty *server = faulty_start(NULL);
    struct names names = {0};
    struct arb_client *client;
    char addr[64];
    int fd = new_listener(addr, sizeof(addr), -1); /* bound, not listening */

    add_address(&names, addr);
    add_address(&names, faulty_addr(server));
    client = client_of(&names, 10000, 1);
    assert_int_equal(echo(client), ARB_OK);
    arb_client_free(client);
    faulty_stop(server);
    close(fd);
}

static void connect__all_addresses_refuse__every_call_told(void **state UNUSED)
{
    struct names names = {0};
    struct arb_client *client;
    char addr[64];
    int fd = new_listener(addr, sizeof(addr), -1);

    for (int i = 0; i < 3; i++)
        add_address(&names, addr);
    client = client_of(&names, 0, 1);
    assert_int_equal(echo(client), ARB_REFUSED);
    /* Waiters behind the one that connects are told too, each by an attempt of its own. */
    for (int i = 0; i < 5; i++)
        assert_int_equal(arb_call_start(client, "x", 1, NULL, NULL, NULL, NULL), ARB_OK);
    assert_int_equal(arb_client_wait(client, -1), ARB_OK);
    assert_int_equal(rig_counters(client).connecting, 0);
    assert_int_equal(rig_counters(client).sessions, 0);
    arb_client_free(client);
    close(fd);
}

/* A fault's cost is a claim: the best of a few tries, as the machine may be busy. */
static void connect__first_address_dead__less_than_300_ms_more(void **state UNUSED)
{
    struct faulty *server = faulty_start(NULL);
    struct dead dead;
    uint64_t best_ms = UINT64_MAX;

    dead_open(&dead);
    for (int i = 0; i < 20 && best_ms >= 300; i++) {
        struct names names = {0};
        struct arb_client *client;
        uint64_t start_ms = clock_mono_ms();

        add_address(&names, dead.addr);
        add_address(&names, faulty_addr(server));
        client = client_of(&names, 10000, 2);
        assert_int_equal(echo(client), ARB_OK);
        best_ms = MIN(best_ms, clock_mono_ms() - start_ms);
        /* The one that answered is the first from now on: no second connection pays again. */
        faulty_close_all(server);
        start_ms = clock_mono_ms();
        assert_int_equal(echo(client), ARB_OK);
        printf("# first address dead: %llu ms, afterwards %llu ms\n", (unsigned long long)best_ms,
               (unsigned long long)(clock_mono_ms() - start_ms));
        arb_client_free(client);
    }
    assert_true(best_ms >= CONNECTOR_STAGGER_MS - 1);
    assert_true(best_ms < 300);
    dead_close(&dead);
    faulty_stop(server);
}

static void connect__deadline__every_waiter_told(void **state UNUSED)
{
    struct names names = {0};
    struct arb_client *client;
    struct dead dead;

    dead_open(&dead);
    add_address(&names, dead.addr);
    client = client_of(&names, 25, 2);
    for (int i = 0; i < 6; i++)
        assert_int_equal(arb_call_start(client, "x", 1, NULL, NULL, NULL, NULL), ARB_OK);
    assert_int_equal(echo(client), ARB_TIMEOUT);
    assert_int_equal(arb_client_wait(client, -1), ARB_OK);
    /* Nothing goes on for nobody. */
    assert_int_equal(rig_counters(client).connecting, 0);
    assert_int_equal(rig_counters(client).waiting, 0);
    arb_client_free(client);
    dead_close(&dead);
}

static void connect__freed_in_the_middle__nothing_left(void **state UNUSED)
{
    struct names names = {0};
    struct arb_client *client;
    struct dead dead;

    dead_open(&dead);
    add_address(&names, dead.addr);
    add_address(&names, dead.addr);
    client = client_of(&names, 0, 4);
    for (int i = 0; i < 6; i++)
        assert_int_equal(arb_call_start(client, "x", 1, NULL, NULL, NULL, NULL), ARB_OK);
    assert_int_equal(arb_client_wait(client, CONNECTOR_STAGGER_MS + 20), ARB_TIMEOUT);
    assert_int_equal(rig_counters(client).connecting, 4);
    arb_client_free(client);
    dead_close(&dead);
}

/* ---- families, unix sockets, oneself ---- */

static void addresses_find__two_families__they_take_turns(void **state UNUSED)
{
    static const int given[] = {AF_INET6, AF_INET6, AF_INET6, AF_INET, AF_INET};
    static const int wanted[] = {AF_INET6, AF_INET, AF_INET6, AF_INET, AF_INET6};
    struct names names = {.n = 4};
    struct addresses all;
    struct addr a = {.kind = ADDR_HOST, .port = 1, .host = "x"};

    for (int i = 0; i < names.n; i++) {
        names.all[i].sa.ss_family = (sa_family_t)given[i + 1];
        names.all[i].len = (socklen_t)i;
    }
    assert_int_equal(addresses_find(&a, resolve, &names, DEADLINE_NEVER, &all), 0);
    assert_int_equal(all.n, 4);
    for (int i = 0; i < all.n; i++)
        assert_int_equal(all.all[i].sa.ss_family, wanted[i]);
    assert_int_equal(all.all[0].len, 0); /* each family in its own order */
    assert_int_equal(all.all[1].len, 2);
    assert_int_equal(all.all[2].len, 1);
    assert_int_equal(all.all[3].len, 3);
}

static void echo__any_address__this_machine(void **state UNUSED)
{
    struct faulty *server = faulty_start(NULL);
    struct arb_client *client = NULL;

    assert_int_equal(arb_client_new(strchr(faulty_addr(server), ':'), NULL, &client), ARB_OK);
    assert_int_equal(echo(client), ARB_OK);
    arb_client_free(client);
    faulty_stop(server);
}

static void unix_path(char *path, size_t size, const char *name)
{
    const char *dir = getenv("TMPDIR");

    snprintf(path, size, "%s/lib-%d-%s", dir && strlen(dir) < 60 ? dir : "/tmp", (int)getpid(),
             name);
}

static void echo__unix_socket__served_and_refused(void **state UNUSED)
{
    struct arb_client *client = NULL;
    struct faulty *server;
    char path[100], addr[128];

    unix_path(path, sizeof(path), "served");
    server = faulty_start(path);
    snprintf(addr, sizeof(addr), "unix:%s", path);
    assert_int_equal(arb_client_new(addr, NULL, &client), ARB_OK);
    assert_int_equal(echo(client), ARB_OK);
    faulty_stop(server);
    assert_int_equal(echo(client), ARB_REFUSED);
    arb_client_free(client);
}

static unsigned n_answers;

static void on_done(struct arb_call *call, int status, void *userdata)
{
    (void)call;
    assert_int_equal(status, *(int *)userdata);
    n_answers++;
}

static void call_start__refused_at_once__the_handler_waits_for_its_turn(void **state UNUSED)
{
    int wanted = ARB_REFUSED;
    struct arb_client *client = NULL;

    n_answers = 0;
    assert_int_equal(arb_client_new("unix:/nonexistent/socket", NULL, &client), ARB_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(arb_call_start(client, "x", 1, NULL, on_done, &wanted, NULL), ARB_OK);
    assert_int_equal(n_answers, 0);
    assert_int_equal(arb_client_wait(client, -1), ARB_OK);
    assert_int_equal(n_answers, 3);
    arb_client_free(client);
}

static void connect__unix_queue_full__tried_again_until_there_is_room(void **state UNUSED)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[64], n = 0;
    struct arb_client_options o;
    struct arb_client *client = NULL;
    struct arb_call *call = NULL;
    char addr[128];

    unix_path(sa.sun_path, sizeof(sa.sun_path), "full");
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(listener, 0), 0);
    do {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(fds[n], (struct sockaddr *)&sa, sizeof(sa)) == 0 && ++n < 63);
    assert_int_equal(errno, EAGAIN);

    snprintf(addr, sizeof(addr), "unix:%s", sa.sun_path);
    arb_client_options_init(&o);
    o.timeout_ms = 40;
    assert_int_equal(arb_client_new(addr, &o, &client), ARB_OK);
    assert_int_equal(arb_connect(client, NULL, &call), ARB_TIMEOUT);
    assert_int_equal(arb_connect_start(client, NULL, NULL, NULL, NULL), ARB_INVALID);
    for (int i = 0; i < n; i++)
        close(accept(listener, NULL, NULL));
    assert_int_equal(arb_connect(client, NULL, &call), ARB_OK);
    arb_call_free(call);
    arb_client_free(client);
    for (int i = 0; i <= n; i++)
        close(fds[i]);
    close(listener);
    unlink(sa.sun_path);
}

static void connect_finish__simultaneous_open__refused(void **state UNUSED)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct arb_address to = {.len = sizeof(sa)};
    socklen_t len = sizeof(sa);
    int self = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];

    assert_int_equal(bind(self, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(self, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(self, (struct sockaddr *)&sa, len), 0);
    memcpy(&to.sa, &sa, len);
    assert_int_equal(connect_finish(self, &to, false), ARB_REFUSED);
    close(self);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(connect_finish(pair[0], &to, true), ARB_OK);
    close(pair[0]);
    close(pair[1]);
}

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    return f && fputs(text, f) >= 0 && fclose(f) == 0;
}

/*
 * In a network of its own, whose one ephemeral port is that of the server which is not there: the
 * kernel gives it to the client. Exit codes: 0 refused as it must, 1 echoed by nobody, 77 no
 * network of our own to be had.
 */
static void connect_in_own_network(void)
{
    struct arb_client_options o;
    struct arb_client *client = NULL;
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        _exit(77);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ||
        !write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000"))
        _exit(77);
    arb_client_options_init(&o);
    o.timeout_ms = 10000;
    if (arb_client_new("127.0.0.1:40000", &o, &client) != ARB_OK)
        _exit(2);
    _exit(echo(client) == ARB_REFUSED ? 0 : 1);
}

static void connect__nobody_listens_on_an_ephemeral_port__no_echo_of_oneself(void **state UNUSED)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        connect_in_own_network();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) == 77) {
        printf("# skipped: no network namespace to be had here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_new__a_name__asked_once),
        cmocka_unit_test(client_new__a_name_without_addresses__typed),
        cmocka_unit_test(client_resolve__other_addresses__new_connections_go_there),
        cmocka_unit_test(connect__first_address_refuses__the_next_at_once),
        cmocka_unit_test(connect__all_addresses_refuse__every_call_told),
        cmocka_unit_test(connect__first_address_dead__less_than_300_ms_more),
        cmocka_unit_test(connect__deadline__every_waiter_told),
        cmocka_unit_test(connect__freed_in_the_middle__nothing_left),
        cmocka_unit_test(addresses_find__two_families__they_take_turns),
        cmocka_unit_test(echo__any_address__this_machine),
        cmocka_unit_test(echo__unix_socket__served_and_refused),
        cmocka_unit_test(call_start__refused_at_once__the_handler_waits_for_its_turn),
        cmocka_unit_test(connect__unix_queue_full__tried_again_until_there_is_room),
        cmocka_unit_test(connect_finish__simultaneous_open__refused),
        cmocka_unit_test(connect__nobody_listens_on_an_ephemeral_port__no_echo_of_oneself),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
