/*
 * Many idle connections of a worker that is killed: all are served again on the same sockets. How
 * long that takes, from the kill to the first and the last, is printed; and how long a client waits
 * that asks on all of them at once, beside the time that it needs when nobody dies.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "support/server.h"

enum { MANY = 15000, FEW = 3000, USER = 65534 };

static const char ping[] = "ping\r\n\r\n";
static int *fds;

static int n_peers(void)
{
    return it_is_soak() ? MANY : FEW;
}

static void connect_many(struct server *s, int n)
{
    fds = malloc((size_t)n * sizeof(*fds));
    MUST(fds, "no memory");
    for (int i = 0; i < n; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < n; i++)
        peer_echo(fds[i], "before");
    server_must_idle(s);
    MUST_COME(server_gauge(s, kept) == (uint64_t)n, "%llu are kept, not %d",
              (unsigned long long)server_gauge(s, kept), n);
}

/* Reads what one has sent. Returns whether it was the whole reply. */
static bool is_answered(int fd)
{
    char reply[sizeof(ping)];
    const ssize_t n = recv(fd, reply, sizeof(reply), 0);

    MUST(n == sizeof(ping) - 1 && memcmp(reply, ping, (size_t)n) == 0, "%zd bytes instead of %s", n,
         ping);
    return true;
}

static double ms_since(uint64_t begin_ns)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e6;
}

static int watch_all(int n)
{
    const int set = epoll_create1(EPOLL_CLOEXEC);

    MUST(set >= 0, "no epoll");
    for (int i = 0; i < n; i++)
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, fds[i],
                       &(struct epoll_event){EPOLLIN, {.fd = fds[i]}}) == 0,
             "epoll_ctl");
    return set;
}

/* Each sends a message, and has the whole reply. */
static void ask_all(int set, int n)
{
    for (int i = 0; i < n; i++)
        MUST(send(fds[i], ping, sizeof(ping) - 1, MSG_NOSIGNAL) == sizeof(ping) - 1,
             "connection %d has ended", i);
    for (int answered = 0; answered < n;) {
        struct epoll_event events[256];
        const int got = epoll_wait(set, events, ARRAY_SIZE(events), (int)WAIT_MS);

        MUST(got > 0, "%d of %d have an answer", answered, n);
        for (int i = 0; i < got; i++)
            answered += is_answered(events[i].data.fd);
    }
}

/* The worker that is to be killed, once it has nothing else to do. */
static pid_t rested_worker(struct server *s, int n)
{
    server_must_idle(s);
    MUST_COME(server_gauge(s, kept) == (uint64_t)n, "not all are kept again");
    return server_worker(s, 0);
}

/* Nobody asks meanwhile: the server has the processors for itself. */
static void await_heir(struct server *s, pid_t victim, uint64_t least)
{
    const uint64_t end_ms = clock_mono_ms() + (uint64_t)WAIT_MS;

    while (server_record(s, victim) || server_counter(s, rescued) < least) {
        MUST(clock_mono_ms() < end_ms, "not all are served again");
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

static void kill_and_look(struct server *s, int n, double *ret_first_ms, double *ret_last_ms)
{
    const pid_t victim = rested_worker(s, n);
    const uint64_t begin_ns = clock_mono_ns();

    kill(victim, SIGKILL);
    await_heir(s, victim, 1);
    *ret_first_ms = ms_since(begin_ns);
    await_heir(s, victim, (uint64_t)n);
    *ret_last_ms = ms_since(begin_ns);
}

/* The client's own time is most of it: it needs as long when nobody dies. */
static double kill_and_ask(struct server *s, int set, int n, bool is_killed)
{
    const pid_t victim = rested_worker(s, n);
    const uint64_t begin_ns = clock_mono_ns();

    if (is_killed)
        kill(victim, SIGKILL);
    ask_all(set, n);
    return ms_since(begin_ns);
}

static void kill_rounds(struct server *s, const char *title)
{
    const int n = n_peers();
    double first_ms, last_ms;
    int set;

    server_expect(s, "worker died|no control socket"); /* of an ordinary user here */
    connect_many(s, n);
    set = watch_all(n);
    for (int round = 0; round < (it_is_soak() ? 2 : 1); round++) {
        kill_and_look(s, n, &first_ms, &last_ms);
        ask_all(set, n);
        printf("#| %s: %d idle connections, served again %.1f ms after the kill (the first), %.1f "
               "ms (the last)\n",
               title, n, first_ms, last_ms);
        printf("#| %s: all ask at once: the last has its reply %.1f ms after the kill, and %.1f ms "
               "after no kill\n",
               title, kill_and_ask(s, set, n, true), kill_and_ask(s, set, n, false));
    }
    MUST(server_counter(s, rescued) == (uint64_t)n, "rescued: %llu",
         (unsigned long long)server_counter(s, rescued));
    close(set);
    for (int i = 0; i < n; i++)
        peer_close(fds[i]);
    free(fds);
}

static void keep__many_idle_worker_killed__all_are_served_again(void **state)
{
    kill_rounds(server_start(*state, .conf = "arbiter: { workers = 1; };"), "as it is");
}

static struct it *the_it;

/* Descriptors on their way count against its limit. */
static void become_ordinary(void)
{
    const rlim_t limit = (rlim_t)n_peers() + 200;

    if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){limit, limit}) < 0 ||
        (getuid() == 0 && (chown(the_it->dir, USER, USER) < 0 || chmod(the_it->dir, 0755) < 0)) ||
        (getuid() == 0 && (setgid(USER) < 0 || setuid(USER) < 0)))
        _exit(99);
}

static void keep__ordinary_user_with_few_descriptors__the_same(void **state)
{
    the_it = *state;
    /* The build directory may be within one that this user cannot enter. */
    const char *binary = it_copy(the_it, it_build_path(the_it, "echo-arbiter"), "echo-arbiter", 0);

    kill_rounds(server_start(the_it, .conf = "arbiter: { workers = 1; };", .binary = binary,
                             .in_child = become_ordinary),
                "ordinary user");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(keep__many_idle_worker_killed__all_are_served_again),
        IT(keep__ordinary_user_with_few_descriptors__the_same),
    };

    return it_run(tests);
}
