/*
 * Opens connections, echoes one message on each, and keeps them: how evenly are they spread over
 * the processes -p, and what does an idle one cost?
 *
 * hold -a ADDR -p PID,PID -n CONNECTIONS [-f IN-FLIGHT] [-w PAUSE-MS] [-C | -m]
 * Prints: most least milliseconds (sockets per process, from /proc). -C closes each after its echo,
 * -m prints the resident bytes per connection instead (from the 100th connection on).
 */
#include "bench/bench.h"

#include <stdbool.h>
#include <sys/epoll.h>

enum { EVENTS = 256, IDLE_BASE = 100, CLEAN_TRIES = 500 };

static const char message[] = "hold\r\n\r\n";
enum { MESSAGE = sizeof(message) - 1 };

static struct {
    struct sockaddr_in to;
    unsigned n, in_flight, pause_ms;
    bool is_churn, is_memory;
    int pids[BENCH_PIDS_MAX];
    size_t n_pids;
} opt;

static int ep;
static int *fds; /* by index of the connection */
static size_t *echoed; /* bytes of its message that have come back */
static unsigned n_opened, n_done;

static void open_one(void)
{
    unsigned i = n_opened++;
    struct epoll_event ev = {.events = EPOLLOUT, .data.u32 = i};

    /* 20 000 connections and more fit below one source address; churn needs several. */
    fds[i] = bench_connect(&opt.to, opt.is_churn ? n_opened : 0);
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev))
        bench_die("epoll_ctl");
}

static void on_writable(unsigned i)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};

    if (send(fds[i], message, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
        bench_die("write");
    if (epoll_ctl(ep, EPOLL_CTL_MOD, fds[i], &ev))
        bench_die("epoll_ctl");
}

static void on_readable(unsigned i)
{
    char buffer[MESSAGE];
    ssize_t n = recv(fds[i], buffer, MESSAGE - echoed[i], 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        bench_die(n ? "read" : "the server closed a connection");
    errno = 0;
    if (memcmp(buffer, message + echoed[i], (size_t)n))
        bench_die("wrong bytes came back");
    echoed[i] += (size_t)n;
    if (echoed[i] < MESSAGE)
        return;
    n_done++;
    if (opt.is_churn) {
        close(fds[i]);
        fds[i] = -1;
    } else if (epoll_ctl(ep, EPOLL_CTL_DEL, fds[i], NULL)) {
        bench_die("epoll_ctl");
    }
}

/* Open up to connection @n, never more than in_flight unanswered at a time. */
static void open_until(unsigned n)
{
    struct epoll_event events[EVENTS];

    while (n_done < n) {
        while (n_opened < n && n_opened - n_done < opt.in_flight) {
            if (opt.pause_ms)
                usleep(opt.pause_ms * 1000);
            open_one();
        }
        int k = epoll_wait(ep, events, EVENTS, 10000);
        errno = 0;
        if (k == 0)
            bench_die("no answer for 10 s");
        for (int j = 0; j < k; j++) {
            if (events[j].events & EPOLLOUT)
                on_writable(events[j].data.u32);
            else
                on_readable(events[j].data.u32);
        }
    }
}

static void measure_memory(void)
{
    open_until(IDLE_BASE);
    uint64_t before = bench_resident(opt.pids, opt.n_pids);
    open_until(opt.n);
    uint64_t after = bench_resident(opt.pids, opt.n_pids);
    printf("%.0f\n", (double)(after - before) / (opt.n - IDLE_BASE));
}

static void measure_spread(void)
{
    long base[BENCH_PIDS_MAX] = {0}, most = 0, least = -1;

    for (size_t i = 0; i < opt.n_pids; i++)
        base[i] = bench_sockets(opt.pids[i]);
    uint64_t t = bench_now_ns();
    open_until(opt.n);
    t = bench_now_ns() - t;
    for (size_t i = 0; i < opt.n_pids && !opt.is_churn; i++) {
        long n = bench_sockets(opt.pids[i]) - base[i];
        most = n > most ? n : most;
        least = least < 0 || n < least ? n : least;
    }
    printf("%ld %ld %.1f\n", most, least, (double)t / 1e6);

    /* Leave when the servers have seen the ends, so that the next case starts from nothing. */
    for (unsigned i = 0; i < opt.n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (size_t i = 0; i < opt.n_pids; i++)
        for (int k = 0; k < CLEAN_TRIES && bench_sockets(opt.pids[i]) > base[i]; k++)
            usleep(10000);
}

int main(int argc, char **argv)
{
    bool has_address = false;
    int o;

    opt.in_flight = 100;
    while ((o = getopt(argc, argv, "a:p:n:f:w:Cm")) != -1) {
        switch (o) {
        case 'a':
            opt.to = bench_address(optarg), has_address = true;
            break;
        case 'p':
            opt.n_pids = bench_pids(optarg, opt.pids);
            break;
        case 'n':
            opt.n = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            opt.in_flight = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            opt.pause_ms = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'C':
            opt.is_churn = true;
            break;
        case 'm':
            opt.is_memory = true;
            break;
        default:
            return 64;
        }
    }
    if (!has_address || !opt.n_pids || opt.n <= (opt.is_memory ? IDLE_BASE : 0) || !opt.in_flight) {
        fprintf(stderr, "hold: -a, -p and -n are needed\n");
        return 64;
    }
    ep = epoll_create1(EPOLL_CLOEXEC);
    fds = calloc(opt.n, sizeof(*fds));
    echoed = calloc(opt.n, sizeof(*echoed));
    if (ep < 0 || !fds || !echoed)
        bench_die("cannot begin");
    if (opt.is_memory)
        measure_memory();
    else
        measure_spread();
    free(fds);
    free(echoed);
    return 0;
}
