/*
 * A closed-loop generator: each connection writes `depth` messages, waits until every byte has come
 * back, compares them, and goes on. One thread, epoll; the messages of each connection differ.
 *
 * gen -a ADDR [-c CONNECTIONS] [-d DEPTH] [-s BYTES] [-t SECONDS] [-w WARMUP] [-p PID,PID] [-n
 * BATCHES] [-C] -C connects anew for each message; -n does that many batches a connection between a
 * line on stdin and the next, and keeps the connections open meanwhile (to count system calls).
 * Prints: messages seconds server-CPU-ns (of -p, between the edges of the window).
 */
#include "bench/bench.h"

#include <stdbool.h>
#include <sys/epoll.h>

enum { EVENTS = 256, BUFFER = 1 << 20 };

struct client {
    int fd;
    uint8_t *batch; /* depth messages, as sent and as expected */
    size_t sent, received;
    uint64_t batches;
    bool is_writing; /* EPOLLOUT is armed */
};

static struct {
    struct sockaddr_in to;
    unsigned connections, depth, size;
    uint64_t batches; /* of each connection; 0 = no end */
    double seconds, warmup;
    bool is_churn;
    int pids[BENCH_PIDS_MAX];
    size_t n_pids;
} opt = {.connections = 64, .depth = 1, .size = 64, .seconds = 2, .warmup = 0.3};

static int ep;
static size_t batch_bytes;
static uint64_t n_messages, n_connects, n_finished;
static uint8_t buffer[BUFFER];

static void client_fill(struct client *c, unsigned index)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint32_t x = index * 2654435761u + 1;

    c->batch = malloc(batch_bytes);
    if (!c->batch)
        bench_die("malloc");
    for (unsigned d = 0; d < opt.depth; d++) {
        uint8_t *m = c->batch + (size_t)d * opt.size;
        for (unsigned i = 0; i < opt.size - 4; i++) {
            x = x * 1664525u + 1013904223u;
            m[i] = (uint8_t)letters[(x >> 16) % 36];
        }
        memcpy(m + opt.size - 4, "\r\n\r\n", 4);
    }
}

static void client_watch(struct client *c, int op, bool is_writing)
{
    struct epoll_event ev = {.events = EPOLLIN | (is_writing ? EPOLLOUT : 0u), .data.ptr = c};

    c->is_writing = is_writing;
    if (epoll_ctl(ep, op, c->fd, &ev))
        bench_die("epoll_ctl");
}

static void client_connect(struct client *c)
{
    c->fd = bench_connect(&opt.to, opt.is_churn ? (unsigned)++n_connects : 0);
    c->sent = c->received = 0;
    client_watch(c, EPOLL_CTL_ADD, true);
}

static void client_write(struct client *c)
{
    ssize_t n = send(c->fd, c->batch + c->sent, batch_bytes - c->sent, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        bench_die("write");
    if (n > 0)
        c->sent += (size_t)n;
    if ((c->sent < batch_bytes) != c->is_writing)
        client_watch(c, EPOLL_CTL_MOD, !c->is_writing);
}

static void client_next(struct client *c)
{
    n_messages += opt.depth;
    c->sent = c->received = 0;
    if (opt.batches && ++c->batches == opt.batches) {
        n_finished++;
        return;
    }
    if (opt.is_churn) {
        close(c->fd);
        client_connect(c);
    } else {
        client_write(c);
    }
}

static void client_read(struct client *c)
{
    ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        bench_die(n ? "read" : "the server closed a connection");
    errno = 0;
    if ((size_t)n > c->sent - c->received || memcmp(buffer, c->batch + c->received, (size_t)n))
        bench_die("wrong bytes came back");
    c->received += (size_t)n;
    if (c->received == batch_bytes)
        client_next(c);
}

static void turn(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(ep, events, EVENTS, timeout_ms);

    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            client_write(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            client_read(c);
    }
}

static void run_for(double seconds)
{
    uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9);

    while (bench_now_ns() < end)
        turn(10);
}

static void run_window(void)
{
    run_for(opt.warmup);
    uint64_t cpu = bench_cpu_ns(opt.pids, opt.n_pids), t = bench_now_ns(), m = n_messages;
    run_for(opt.seconds);
    cpu = bench_cpu_ns(opt.pids, opt.n_pids) - cpu;
    errno = 0;
    if (n_messages == m)
        bench_die("no message in the whole window");
    printf("%llu %.6f %llu\n", (unsigned long long)(n_messages - m),
           (double)(bench_now_ns() - t) / 1e9, (unsigned long long)cpu);
}

/* One batch each, then wait to be told; then the batches that are counted, then wait again. */
static void run_counted(struct client *clients)
{
    uint64_t batches = opt.batches;

    opt.batches = 1;
    while (n_finished < opt.connections)
        turn(100);
    printf("open\n");
    fflush(stdout);
    getchar();
    opt.batches = batches;
    n_finished = n_messages = 0;
    for (unsigned i = 0; i < opt.connections; i++) {
        clients[i].batches = 0;
        client_write(&clients[i]);
    }
    while (n_finished < opt.connections)
        turn(100);
    printf("%llu\n", (unsigned long long)n_messages);
    fflush(stdout);
    getchar();
}

static void parse(int argc, char **argv)
{
    bool has_address = false;
    int o;

    while ((o = getopt(argc, argv, "a:c:d:s:t:w:p:n:C")) != -1) {
        switch (o) {
        case 'a':
            opt.to = bench_address(optarg), has_address = true;
            break;
        case 'c':
            opt.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            opt.depth = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            opt.size = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            opt.seconds = strtod(optarg, NULL);
            break;
        case 'w':
            opt.warmup = strtod(optarg, NULL);
            break;
        case 'p':
            opt.n_pids = bench_pids(optarg, opt.pids);
            break;
        case 'n':
            opt.batches = strtoull(optarg, NULL, 10);
            break;
        case 'C':
            opt.is_churn = true;
            break;
        default:
            exit(64);
        }
    }
    if (!has_address || opt.size < 5 || !opt.depth || !opt.connections) {
        fprintf(stderr, "gen: -a ADDR is needed, -s at least 5, -c and -d at least 1\n");
        exit(64);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    batch_bytes = (size_t)opt.size * opt.depth;
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct client *clients = calloc(opt.connections, sizeof(*clients));
    if (!clients || ep < 0)
        bench_die("cannot begin");
    for (unsigned i = 0; i < opt.connections; i++) {
        client_fill(&clients[i], i);
        client_connect(&clients[i]);
    }
    if (opt.batches && !opt.is_churn)
        run_counted(clients);
    else
        run_window();
    for (unsigned i = 0; i < opt.connections; i++) {
        close(clients[i].fd);
        free(clients[i].batch);
    }
    free(clients);
    return 0;
}
