/*
 * A closed-loop generator: each connection writes `depth` messages, waits until every byte has come
 * back, compares them, and goes on. One thread, epoll; the messages of each connection differ.
 *
 * gen -a ADDR [-c CONNECTIONS] [-d DEPTH] [-s BYTES] [-t SECONDS] [-w WARMUP] [-p PID,PID] [-n
 * BATCHES] [-C] [-R]
 * -C connects anew for each message; -n does that many batches a connection between a line on stdin
 * and the next, and keeps the connections open meanwhile (to count system calls); -R speaks Redis:
 * the messages are arguments of ECHO. Prints, of the window: messages, seconds, CPU-ns of -p,
 * ns that these or the generator waited for a CPU, ns that the hypervisor took.
 */
#include "bench/bench.h"

#include <stdbool.h>
#include <sys/epoll.h>

enum { EVENTS = 256, BUFFER = 1 << 20, EXIT_STARVED = 3 };

struct client {
    int fd;
    uint8_t *out, *in; /* depth messages, as sent and as expected; the same, but with -R */
    size_t sent, received;
    uint64_t batches;
    bool is_writing; /* EPOLLOUT is armed */
};

static struct {
    struct sockaddr_in to;
    unsigned connections, depth, size;
    uint64_t batches; /* of each connection; 0 = no end */
    double seconds, warmup;
    bool is_churn, is_redis;
    int pids[BENCH_PIDS_MAX];
    size_t n_pids;
} opt = {.connections = 64, .depth = 1, .size = 64, .seconds = 2, .warmup = 0.3};

static int ep;
static size_t out_bytes, in_bytes; /* of a batch */
static uint64_t n_messages, n_connects, n_finished;
static uint8_t buffer[BUFFER];

static void fill_message(uint8_t *m, uint32_t *x)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";

    for (unsigned i = 0; i < opt.size - 4; i++) {
        *x = *x * 1664525u + 1013904223u;
        m[i] = (uint8_t)letters[(*x >> 16) % 36];
    }
    memcpy(m + opt.size - 4, "\r\n\r\n", 4);
}

/* Depth messages, each between @before and @after. */
static uint8_t *make_batch(unsigned index, const char *before, const char *after, size_t *ret_bytes)
{
    const size_t n_before = strlen(before), n_after = strlen(after);
    uint8_t *batch = malloc((n_before + opt.size + n_after) * opt.depth), *p = batch;
    uint32_t x = index * 2654435761u + 1;

    if (!batch)
        bench_die("malloc");
    for (unsigned d = 0; d < opt.depth; d++) {
        p = mempcpy(p, before, n_before);
        fill_message(p, &x);
        p = mempcpy(p + opt.size, after, n_after);
    }
    *ret_bytes = (size_t)(p - batch);
    return batch;
}

static void client_fill(struct client *c, unsigned index)
{
    char request[64], reply[32];

    if (!opt.is_redis) {
        c->in = c->out = make_batch(index, "", "", &out_bytes);
        in_bytes = out_bytes;
        return;
    }
    snprintf(request, sizeof(request), "*2\r\n$4\r\nECHO\r\n$%u\r\n", opt.size);
    snprintf(reply, sizeof(reply), "$%u\r\n", opt.size);
    c->out = make_batch(index, request, "\r\n", &out_bytes);
    c->in = make_batch(index, reply, "\r\n", &in_bytes);
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
    ssize_t n = send(c->fd, c->out + c->sent, out_bytes - c->sent, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        bench_die("write");
    if (n > 0)
        c->sent += (size_t)n;
    if ((c->sent < out_bytes) != c->is_writing)
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
    if ((size_t)n > in_bytes - c->received || memcmp(buffer, c->in + c->received, (size_t)n))
        bench_die("wrong bytes came back");
    c->received += (size_t)n;
    if (c->received == in_bytes)
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
    const int self = getpid();

    run_for(opt.warmup);
    const struct bench_sched server = bench_sched(opt.pids, opt.n_pids);
    const uint64_t waited = bench_sched(&self, 1).wait_ns, stolen = bench_stolen_ns();
    const uint64_t t = bench_now_ns(), m = n_messages;
    run_for(opt.seconds);
    const uint64_t end = bench_now_ns();
    const struct bench_sched now = bench_sched(opt.pids, opt.n_pids);
    if (n_messages == m) {
        fputs("bench: no message in the whole window\n", stderr);
        exit(EXIT_STARVED);
    }
    printf(
        "%llu %.6f %llu %llu %llu\n", (unsigned long long)(n_messages - m), (double)(end - t) / 1e9,
        (unsigned long long)(now.cpu_ns - server.cpu_ns),
        (unsigned long long)(now.wait_ns - server.wait_ns + bench_sched(&self, 1).wait_ns - waited),
        (unsigned long long)(bench_stolen_ns() - stolen));
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

    while ((o = getopt(argc, argv, "a:c:d:s:t:w:p:n:CR")) != -1) {
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
        case 'R':
            opt.is_redis = true;
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
        if (clients[i].in != clients[i].out)
            free(clients[i].in);
        free(clients[i].out);
    }
    free(clients);
    return 0;
}
