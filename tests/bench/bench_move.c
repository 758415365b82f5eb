/*
 * How long does it take to move idle connections from one process to another, and what does it
 * cost? bench_move [CONNECTIONS [ROUNDS [UID]]]: TCP over loopback, the clients in a third
 * process; with UID, as that user. The median round counts.
 */
#include "bench/bench.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "client/echo.h"
#include "echo_arbiter/echo.h"
#include "net/move.h"

enum { ROUNDS_MAX = 99, USER_MAX = 1 << 30 };

struct round {
    double ms, giver_us, taker_us; /* the latter two: CPU per connection */
};

static struct {
    _Atomic bool is_ready; /* the giver has them all */
    _Atomic bool is_given, is_taken;
    _Atomic uint64_t took_ns, giver_ns, taker_ns, n_moved;
} * shared;

static struct worker {
    struct ev_loop *loop;
    struct conn_set set;
    struct counters counters;
    struct move_out out;
    struct move_in in;
    uint64_t cpu_ns; /* when it began */
} w;

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void on_given(struct move_out *t)
{
    if (!t->is_done)
        return;
    shared->took_ns = t->took_ns;
    shared->n_moved = t->n_moved;
    shared->giver_ns = cpu_ns() - w.cpu_ns;
    shared->is_given = true;
}

static void on_taken(struct move_in *t)
{
    if (!t->is_done)
        return;
    shared->taker_ns = cpu_ns() - w.cpu_ns;
    shared->is_taken = true;
}

static void worker_init(void)
{
    const struct conn_limits limits = {.max_buffered = 1 << 20};
    struct echo_conf conf = {.separator.len = ECHO_SEPARATOR_LEN, .max_message = 65536};
    struct conn_protocol echo = {.table = &echo_protocol};

    w.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    memcpy(conf.separator.data, ECHO_SEPARATOR, ECHO_SEPARATOR_LEN);
    if (!w.loop || echo.table->start(NULL, &conf, &echo.server) < 0 ||
        conn_set_init(&w.set, w.loop, &echo, 1, &limits, &w.counters, NULL) < 0)
        bench_die("worker");
}

static _Noreturn void give(int listener, int fd, unsigned n)
{
    worker_init();
    while (w.set.n_open < n) {
        const int c = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (c < 0 || conn_set_add(&w.set, c, 0, ARB_ACCEPTED, false) < 0)
            bench_die("accept");
    }
    ev_run(w.loop, EVRUN_NOWAIT);
    shared->is_ready = true;
    w.cpu_ns = cpu_ns();
    if (move_give(&w.out, &w.set, &fd, 1, SIZE_MAX, on_given) < 0)
        bench_die("give");
    for (;;)
        ev_run(w.loop, 0);
}

static _Noreturn void take(int fd, unsigned n)
{
    worker_init();
    while (!shared->is_ready)
        usleep(1000);
    w.cpu_ns = cpu_ns();
    move_take(&w.in, &w.set, fd, n, on_taken);
    for (;;)
        ev_run(w.loop, 0);
}

static pid_t start(void)
{
    const pid_t pid = fork();

    if (pid < 0)
        bench_die("fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int listen_on(struct sockaddr_in *sin)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*sin);

    *sin = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)sin, len) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)sin, &len) < 0)
        bench_die("listen");
    return fd;
}

static void expect_echo(int fd)
{
    char got[8] = "";

    if (send(fd, "x\r\n\r\n", 5, MSG_NOSIGNAL) != 5 || recv(fd, got, 5, MSG_WAITALL) != 5 ||
        memcmp(got, "x\r\n\r\n", 5) != 0)
        bench_die("a connection did not live on");
}

static struct round run(int *clients, unsigned n)
{
    struct sockaddr_in sin;
    const int listener = listen_on(&sin);
    pid_t giver, taker;
    int pair[2];

    shared->is_ready = shared->is_given = shared->is_taken = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair");
    giver = start();
    if (giver == 0) {
        close(pair[1]);
        give(listener, pair[0], n);
    }
    taker = start();
    if (taker == 0) {
        close(pair[0]);
        close(listener);
        take(pair[1], n);
    }
    close(pair[0]);
    close(pair[1]);
    close(listener);
    for (unsigned i = 0; i < n; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (clients[i] < 0 || connect(clients[i], (struct sockaddr *)&sin, sizeof(sin)) < 0)
            bench_die("connect");
    }
    while (!shared->is_given || !shared->is_taken)
        usleep(1000);
    stop(giver);
    for (unsigned i = 0; i < n; i += 97)
        expect_echo(clients[i]);
    if (shared->n_moved != n)
        bench_die("not all were moved");
    stop(taker);
    for (unsigned i = 0; i < n; i++)
        close(clients[i]);
    return (struct round){(double)shared->took_ns / 1e6, (double)shared->giver_ns / 1e3 / n,
                          (double)shared->taker_ns / 1e3 / n};
}

static int by_time(const void *a, const void *b)
{
    const struct round *x = a, *y = b;

    return (x->ms > y->ms) - (x->ms < y->ms);
}

static unsigned number(const char *text, unsigned max)
{
    const unsigned long n = strtoul(text, NULL, 10);

    if (n == 0 || n > max)
        bench_die(text);
    return (unsigned)n;
}

/* The clients' ends are all in one process. */
static unsigned at_most_descriptors(unsigned n)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
        bench_die("getrlimit");
    rl.rlim_cur = rl.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_max < 128)
        bench_die("RLIMIT_NOFILE");
    return n + 64 <= rl.rlim_max ? n : (unsigned)rl.rlim_max - 64;
}

int main(int argc, char **argv)
{
    const unsigned n = at_most_descriptors(argc > 1 ? number(argv[1], 1000000) : 10000);
    const unsigned rounds = argc > 2 ? number(argv[2], ROUNDS_MAX) : 5;
    struct round all[ROUNDS_MAX];
    int *clients = calloc(n, sizeof(*clients));
    const struct round *median = &all[rounds / 2];

    if (argc > 3 && setresuid(number(argv[3], USER_MAX), (uid_t)-1, (uid_t)-1) < 0)
        bench_die("user");
    if (argc > 3 && setresuid(getuid(), getuid(), getuid()) < 0)
        bench_die("user");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!clients || shared == MAP_FAILED)
        bench_die("memory");
    for (unsigned i = 0; i < rounds; i++)
        all[i] = run(clients, n);
    qsort(all, rounds, sizeof(*all), by_time);
    printf("move  %u idle connections as %s: %.1f ms; CPU per connection: giver %.2f us, taker "
           "%.2f us\n",
           n, geteuid() == 0 ? "root" : "an ordinary user", median->ms, median->giver_us,
           median->taker_us);
    free(clients);
    return 0;
}
