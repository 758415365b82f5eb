/*
 * The load of `make bench`: the engine of echo-client bench in a closed loop, with what a benchmark
 * needs around it: the CPU time of the servers, and a server that speaks Redis.
 *
 * gen -a ADDR [-c CONNECTIONS] [-d DEPTH] [-s BYTES] [-t SECONDS] [-w WARMUP] [-p PID,PID]
 *     [-n MESSAGES] [-C] [-R]
 * BYTES of a message include its separator. -C connects anew for each message; -n ends after so
 * many messages; -R speaks Redis: the messages are arguments of ECHO. Prints, of the window:
 * messages, seconds, CPU-ns of -p, ns that these or the generator waited for a CPU, ns that the
 * hypervisor took. The window begins and ends with a tick of the engine, so that all of these
 * belong together.
 */
#include "bench/bench.h"

#include "measure/bench.h"

enum { EXIT_STARVED = 3 };

struct mark {
    uint64_t now_ns, messages, stolen_ns, own_wait_ns;
    struct bench_sched servers;
};

static double seconds = 2, warmup = 0.3;
static int pids[BENCH_PIDS_MAX];
static size_t n_pids;
static uint64_t start_ns; /* 0 = not yet */
static struct mark first, last; /* of the window; now_ns 0 = none yet */

static void set_mark(struct mark *m, const struct bench *b, uint64_t now_ns)
{
    const int self = getpid();

    m->now_ns = now_ns;
    m->messages = bench_counts(b).messages;
    m->servers = bench_sched(pids, n_pids);
    m->own_wait_ns = bench_sched(&self, 1).wait_ns;
    m->stolen_ns = bench_stolen_ns();
}

/* The first one comes when all connects have begun. */
static void on_tick(struct bench *b, void *data)
{
    const uint64_t now_ns = bench_now_ns();

    (void)data;
    start_ns = start_ns ? start_ns : now_ns;
    if (!first.now_ns && now_ns - start_ns >= (uint64_t)(warmup * 1e9)) {
        set_mark(&first, b, now_ns);
    } else if (!last.now_ns && now_ns - start_ns >= (uint64_t)((warmup + seconds) * 1e9)) {
        set_mark(&last, b, now_ns);
        bench_stop(b);
    }
}

/* The messages of @from, each with @before and @after around it. */
static void frame_all(struct bench_bytes *to, const struct bench_bytes *from, unsigned depth,
                      const char *before, const char *after)
{
    size_t more = strlen(before) + strlen(after);
    uint8_t *p = malloc(from->len + depth * more);

    to->bytes = p;
    to->bounds = calloc(depth + 1, sizeof(*to->bounds));
    if (!p || !to->bounds)
        bench_die("malloc");
    for (unsigned i = 0; i < depth; i++) {
        size_t len = from->bounds[i + 1] - from->bounds[i];

        p = mempcpy(p, before, strlen(before));
        p = mempcpy(p, from->bytes + from->bounds[i], len);
        p = mempcpy(p, after, strlen(after));
        to->bounds[i + 1] = (uint32_t)(p - to->bytes);
    }
    to->len = to->bounds[depth];
}

static int make_redis(struct bench_script *s, const struct bench_options *o, uint64_t seed)
{
    const unsigned long size = o->size_min + o->separator_len;
    struct bench_script plain = {0};
    char request[64], reply[32];
    int rc = bench_script_init(&plain, o, seed);

    snprintf(request, sizeof(request), "*2\r\n$4\r\nECHO\r\n$%lu\r\n", size);
    snprintf(reply, sizeof(reply), "$%lu\r\n", size);
    if (rc == 0) {
        frame_all(&s->out, &plain.out, o->depth, request, "\r\n");
        frame_all(&s->in, &plain.out, o->depth, reply, "\r\n");
    }
    bench_script_fini(&plain);
    return rc;
}

static void parse(int argc, char **argv, struct bench_options *o)
{
    const char *address = NULL, *why;
    struct addr addr;
    int c;

    while ((c = getopt(argc, argv, "a:c:d:s:t:w:p:n:CR")) != -1) {
        switch (c) {
        case 'a':
            address = optarg;
            break;
        case 'c':
            o->connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            o->depth = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o->size_min = strtoul(optarg, NULL, 10) - o->separator_len;
            break;
        case 't':
            seconds = strtod(optarg, NULL);
            break;
        case 'w':
            warmup = strtod(optarg, NULL);
            break;
        case 'p':
            n_pids = bench_pids(optarg, pids);
            break;
        case 'n':
            o->count = strtoull(optarg, NULL, 10);
            break;
        case 'C':
            o->churn = 1;
            break;
        case 'R':
            o->make_script = make_redis;
            break;
        default:
            exit(64);
        }
    }
    if (!address || addr_parse(address, &addr, &why) || !o->connections || !o->depth ||
        addresses_find(&addr, NULL, NULL, UINT64_MAX, &o->to)) {
        fprintf(stderr, "gen: -a ADDR is needed, -c and -d at least 1\n");
        exit(64);
    }
    o->size_max = o->size_min;
}

static void print_window(void)
{
    if (!last.now_ns || last.messages == first.messages) {
        fputs("bench: no message in the whole window\n", stderr);
        exit(EXIT_STARVED);
    }
    printf("%llu %.6f %llu %llu %llu\n", (unsigned long long)(last.messages - first.messages),
           (double)(last.now_ns - first.now_ns) / 1e9,
           (unsigned long long)(last.servers.cpu_ns - first.servers.cpu_ns),
           (unsigned long long)(last.servers.wait_ns - first.servers.wait_ns + last.own_wait_ns -
                                first.own_wait_ns),
           (unsigned long long)(last.stolen_ns - first.stolen_ns));
}

int main(int argc, char **argv)
{
    struct bench_options o = {.connections = 64,
                              .depth = 1,
                              .threads = 1,
                              .size_min = 60,
                              .timeout_ms = 10000,
                              .separator = "\r\n\r\n",
                              .separator_len = 4};
    struct bench_result r;
    const struct bench_counts *c = &r.counts;

    parse(argc, argv, &o);
    errno = -bench_measure(&o, o.count ? NULL : on_tick, NULL, &r);
    if (errno)
        bench_die("cannot begin");
    if (c->closed + c->reset + c->timeout + c->wrong + c->refused > 0)
        bench_die(c->wrong ? "wrong bytes came back" : "a connection failed");
    if (o.count)
        printf("%llu\n", (unsigned long long)c->messages);
    else
        print_window();
    bench_result_fini(&r);
    return 0;
}
