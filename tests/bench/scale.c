/*
 * Very many connections at once: as many processes as the descriptor limit demands open them, from
 * as many loopback addresses as the ports demand, echo a message on each and keep all of them.
 *
 * scale -a ADDR -n CONNECTIONS [-d DESCRIPTORS] [-s SAMPLE] [-f IN-FLIGHT]
 * Reads commands, a word a line, and answers each with a line of numbers:
 *   open    open and echo once       -> opened errors
 *   touch   echo once on each        -> echoed lost wrong
 *   probe   begin to echo on a sample, on each of it every PROBE_MS at most -> sample
 *   rest    end that                 -> waits lost p50 p99 p99.9 max most50 most99 most   (µs)
 * `lost` counts all that have ended since they were open, `wrong` those of them that got bytes that
 * they had not sent. The last three are of the longest wait of each connection of the sample.
 */
#include "bench/bench.h"

#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    EVENTS = 256,
    MESSAGE = 16,
    FDS_RESERVED = 32,
    SOURCE_PORTS = 12000, /* connections of one source address */
    PROBE_MS = 10,
    PROBE_SLICES = 5, /* parts of the sample, asked one after the other within PROBE_MS */
    PROBERS_MAX = 8, /* processes that have a part in the sample */
    WAITS_MAX = 1 << 22, /* that are remembered, all processes together */
    PATIENCE_S = 30, /* without any progress */
};

struct connection {
    int fd; /* -1 = lost, or never opened */
    uint16_t round; /* of the message that was sent last */
    uint8_t got; /* bytes of it that have come back */
    bool is_pending; /* being opened, or waiting for its echo */
    bool is_open;
};

/* What a process tells: it writes, the parent reads after its answer. */
struct report {
    uint64_t n_opened, n_errors, n_echoed, n_lost, n_wrong, n_waits;
};

static struct {
    struct sockaddr_in to;
    uint32_t n, descriptors, sample, in_flight;
} opt = {.descriptors = 20000, .sample = 200, .in_flight = 32};

static struct report *reports; /* shared, one per process */
static uint32_t *waits; /* shared, µs: waits_max a process */
static uint32_t *mosts; /* shared, µs: sample_max a process */
static uint32_t n_procs, n_probers, waits_max, sample_max;
static int *commands; /* the parent's ends */

/* --- one process ------------------------------------------------------------------------------ */

static uint32_t me, first, count, sample; /* connections first..first + count - 1 are mine */
static struct connection *conns;
static uint64_t *sent_ns; /* of the sample */
static struct report *mine;
static int ep, command_fd;
static uint32_t n_pending, next, slice;
static enum { REST, OPEN, TOUCH, PROBE } mode;
static uint64_t progress_ns, next_probe_ns;

static void pend(struct connection *c, bool is_pending)
{
    n_pending += is_pending;
    n_pending -= c->is_pending;
    c->is_pending = is_pending;
}

static void lose(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    pend(c, false);
    mine->n_errors += !c->is_open;
    mine->n_lost += c->is_open;
}

static void expected(const struct connection *c, char *text)
{
    snprintf(text, MESSAGE + 1, "%08x%04x\r\n\r\n", first + (uint32_t)(c - conns), c->round);
}

static void ask(struct connection *c)
{
    char text[MESSAGE + 1];

    c->round++;
    c->got = 0;
    pend(c, true);
    expected(c, text);
    if (send(c->fd, text, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
        lose(c);
}

static int dial(struct connection *c, uint32_t id)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = c};
    int one = 1;

    from.sin_addr.s_addr = htonl(0x7f010001u + id / SOURCE_PORTS);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) ||
        bind(c->fd, (struct sockaddr *)&from, sizeof(from)))
        return -1;
    if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) && errno != EINPROGRESS)
        return -1;
    return epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}

static void open_one(struct connection *c)
{
    const uint32_t id = first + (uint32_t)(c - conns);

    pend(c, true);
    if (dial(c, id) == 0)
        return;
    if (mine->n_errors == 0)
        fprintf(stderr, "scale: connection %u: %s\n", id, strerror(errno));
    lose(c);
}

static void note_wait(uint32_t i)
{
    const uint32_t us = (uint32_t)((bench_now_ns() - sent_ns[i]) / 1000);
    uint32_t *most = &mosts[(size_t)me * sample_max + i];

    if (mine->n_waits < waits_max)
        waits[(size_t)me * waits_max + mine->n_waits++] = us;
    *most = us > *most ? us : *most;
    sent_ns[i] = 0;
}

static void on_echoed(struct connection *c)
{
    const uint32_t i = (uint32_t)(c - conns);

    pend(c, false);
    mine->n_opened += !c->is_open;
    mine->n_echoed++;
    c->is_open = true;
    if (i < sample && sent_ns[i])
        note_wait(i);
}

static void on_readable(struct connection *c)
{
    char text[MESSAGE + 1], buffer[2 * MESSAGE];
    const ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        lose(c);
        return;
    }
    progress_ns = bench_now_ns();
    expected(c, text);
    if (!c->is_pending || n > MESSAGE - c->got || memcmp(buffer, text + c->got, (size_t)n) != 0) {
        mine->n_wrong++;
        lose(c);
        return;
    }
    c->got = (uint8_t)(c->got + n);
    if (c->got == MESSAGE)
        on_echoed(c);
}

static void on_event(const struct epoll_event *e)
{
    struct connection *c = e->data.ptr;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

    if (c->fd < 0)
        return;
    if (e->events & EPOLLERR || !(e->events & EPOLLOUT)) {
        on_readable(c);
        return;
    }
    if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev))
        bench_die("epoll_ctl");
    ask(c);
}

static void probe(void)
{
    const uint64_t now_ns = bench_now_ns();

    if (now_ns < next_probe_ns)
        return;
    next_probe_ns = now_ns + PROBE_MS * UINT64_C(1000000) / PROBE_SLICES;
    slice = (slice + 1) % PROBE_SLICES;
    for (uint32_t i = slice; i < sample; i += PROBE_SLICES) {
        if (conns[i].fd < 0 || conns[i].is_pending)
            continue;
        sent_ns[i] = now_ns;
        ask(&conns[i]);
    }
}

static void go_on(void)
{
    while (next < count && n_pending < opt.in_flight) {
        struct connection *c = &conns[next++];

        if (mode == OPEN)
            open_one(c);
        else if (c->fd >= 0)
            ask(c);
    }
    if (mode == PROBE)
        probe();
    if (bench_now_ns() - progress_ns < PATIENCE_S * UINT64_C(1000000000))
        return;
    for (uint32_t i = 0; i < count && n_pending > 0; i++)
        if (conns[i].is_pending)
            lose(&conns[i]);
    mine->n_errors += mode == OPEN ? count - next : 0;
    next = count;
}

static void begin(char command)
{
    mode = command == 'o' ? OPEN : command == 't' ? TOUCH : command == 'p' ? PROBE : REST;
    next = mode == OPEN || mode == TOUCH ? 0 : count;
    progress_ns = bench_now_ns();
    mine->n_echoed = 0;
    if (mode != PROBE)
        return;
    mine->n_waits = 0;
    memset(mosts + (size_t)me * sample_max, 0, sample_max * sizeof(*mosts));
}

static int patience_ms(bool is_working)
{
    const uint64_t now_ns = bench_now_ns();

    if (mode == PROBE && sample > 0)
        return next_probe_ns > now_ns ? (int)((next_probe_ns - now_ns) / 1000000) + 1 : 0;
    return is_working ? 1000 : -1;
}

/* Until the parent is gone. What only begins something is answered at once. */
static void work(void)
{
    struct epoll_event events[EVENTS];
    bool is_working = false;
    char command = 0;

    for (;;) {
        const int n = epoll_wait(ep, events, EVENTS, patience_ms(is_working));

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                on_event(&events[i]);
                continue;
            }
            if (read(command_fd, &command, 1) != 1)
                return;
            begin(command);
            is_working = true;
        }
        if (!is_working && mode != PROBE)
            continue;
        go_on();
        if (is_working && (mode == PROBE || (next == count && n_pending == 0))) {
            is_working = false;
            if (write(command_fd, &command, 1) != 1)
                return;
        }
    }
}

static void become_process(uint32_t i, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};

    me = i;
    command_fd = fd;
    mine = &reports[i];
    first = (uint32_t)((uint64_t)opt.n * i / n_procs);
    count = (uint32_t)((uint64_t)opt.n * (i + 1) / n_procs) - first;
    sample = i >= n_probers ? 0 : sample_max < count ? sample_max : count;
    conns = calloc(count, sizeof(*conns));
    sent_ns = calloc(sample_max, sizeof(*sent_ns));
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !sent_ns || ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
        bench_die("a process cannot begin");
    for (uint32_t k = 0; k < count; k++)
        conns[k].fd = -1;
    work();
    _exit(0);
}

/* --- the parent ------------------------------------------------------------------------------- */

static void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        bench_die("mmap");
    return memory;
}

static void start_processes(void)
{
    const uint32_t most = opt.descriptors - FDS_RESERVED;

    n_procs = (opt.n + most - 1) / most;
    n_probers = n_procs < PROBERS_MAX ? n_procs : PROBERS_MAX;
    waits_max = WAITS_MAX / n_procs;
    sample_max = (opt.sample + n_probers - 1) / n_probers;
    reports = shared(n_procs * sizeof(*reports));
    waits = shared(sizeof(*waits) * n_procs * waits_max);
    mosts = shared(sizeof(*mosts) * n_procs * sample_max);
    commands = calloc(n_procs, sizeof(*commands));
    for (uint32_t i = 0; commands && i < n_procs; i++) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
            bench_die("socketpair");
        switch (fork()) {
        case -1:
            bench_die("fork");
        case 0:
            for (uint32_t k = 0; k < i; k++)
                close(commands[k]);
            close(ends[0]);
            become_process(i, ends[1]);
        default:
            break;
        }
        close(ends[1]);
        commands[i] = ends[0];
    }
}

static struct report tell_all(char command)
{
    struct report sum = {0};

    for (uint32_t i = 0; i < n_procs; i++)
        if (write(commands[i], &command, 1) != 1)
            bench_die("a process is gone");
    for (uint32_t i = 0; i < n_procs; i++) {
        if (read(commands[i], &command, 1) != 1)
            bench_die("a process is gone");
        sum.n_opened += reports[i].n_opened;
        sum.n_errors += reports[i].n_errors;
        sum.n_echoed += reports[i].n_echoed;
        sum.n_lost += reports[i].n_lost;
        sum.n_wrong += reports[i].n_wrong;
    }
    return sum;
}

static int by_size(const void *x, const void *y)
{
    const uint32_t *a = x, *b = y;

    return (*a > *b) - (*a < *b);
}

/* Puts the parts of all processes together and sorts them. Returns how many. */
static size_t gather(uint32_t *values, uint32_t a_process, bool is_waits)
{
    size_t n = 0;

    for (uint32_t i = 0; i < n_procs; i++) {
        const size_t part = is_waits ? reports[i].n_waits : i < n_probers ? a_process : 0;

        memmove(values + n, values + (size_t)i * a_process, part * sizeof(*values));
        n += part;
    }
    qsort(values, n, sizeof(*values), by_size);
    return n;
}

static void print_waits(uint64_t n_lost)
{
    const size_t n = gather(waits, waits_max, true), m = gather(mosts, sample_max, false);
#define AT(values, total, share) ((total) ? (values)[(size_t)((double)((total)-1) * (share))] : 0)
    printf("%zu %ju %u %u %u %u %u %u %u\n", n, (uintmax_t)n_lost, AT(waits, n, .5),
           AT(waits, n, .99), AT(waits, n, .999), AT(waits, n, 1.), AT(mosts, m, .5),
           AT(mosts, m, .99), AT(mosts, m, 1.));
#undef AT
}

static void obey(const char *line)
{
    const struct report r = tell_all(line[0]);

    if (line[0] == 'o')
        printf("%ju %ju\n", (uintmax_t)r.n_opened, (uintmax_t)r.n_errors);
    else if (line[0] == 't')
        printf("%ju %ju %ju\n", (uintmax_t)r.n_echoed, (uintmax_t)r.n_lost, (uintmax_t)r.n_wrong);
    else if (line[0] == 'p')
        printf("%u\n", sample_max * n_probers);
    else
        print_waits(r.n_lost);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[64];
    int o;

    while ((o = getopt(argc, argv, "a:n:d:s:f:")) != -1) {
        if (o == 'a')
            opt.to = bench_address(optarg);
        else if (o == 'n')
            opt.n = (uint32_t)strtoul(optarg, NULL, 10);
        else if (o == 'd')
            opt.descriptors = (uint32_t)strtoul(optarg, NULL, 10);
        else if (o == 's')
            opt.sample = (uint32_t)strtoul(optarg, NULL, 10);
        else if (o == 'f')
            opt.in_flight = (uint32_t)strtoul(optarg, NULL, 10);
        else
            return 64;
    }
    if (!opt.to.sin_port || !opt.n || opt.descriptors <= FDS_RESERVED || !opt.sample ||
        !opt.in_flight) {
        fprintf(stderr, "scale: -a and -n are needed\n");
        return 64;
    }
    start_processes();
    while (fgets(line, sizeof(line), stdin))
        obey(line);
    for (uint32_t i = 0; i < n_procs; i++)
        close(commands[i]);
    while (wait(NULL) > 0)
        ;
    return 0;
}
