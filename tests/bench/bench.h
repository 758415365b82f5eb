/*
 * What the generators share: strict helpers that end the program, clocks, and what /proc says about
 * the servers under test.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { BENCH_PIDS_MAX = 64 };

static inline _Noreturn void bench_die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

static inline uint64_t bench_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* "HOST:PORT", HOST a v4 address */
static inline struct sockaddr_in bench_address(const char *text)
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');

    errno = 0;
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        bench_die(text);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &sin.sin_addr) != 1)
        bench_die(text);
    sin.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return sin;
}

/* "12,13,14" */
static inline size_t bench_pids(const char *text, int *ret_pids)
{
    size_t n = 0;

    while (text && *text && n < BENCH_PIDS_MAX) {
        char *end;
        ret_pids[n++] = (int)strtol(text, &end, 10);
        text = *end == ',' ? end + 1 : NULL;
    }
    return n;
}

/* A non-blocking connect. @source rotates the loopback source address, so that ports in TIME_WAIT
 * do not run out; 0 = leave it. */
static inline int bench_connect(const struct sockaddr_in *to, unsigned source)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        bench_die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (source) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f000100u + source % 200);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&from, sizeof(from)))
            bench_die("bind");
    }
    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS)
        bench_die("connect");
    return fd;
}

/* What the scheduler says of processes: the first two numbers of /proc/PID/schedstat. */
struct bench_sched {
    uint64_t cpu_ns; /* used so far */
    uint64_t wait_ns; /* spent waiting for a CPU that others used */
};

static inline struct bench_sched bench_sched(const int *pids, size_t n)
{
    struct bench_sched sum = {0};

    for (size_t i = 0; i < n; i++) {
        char path[64];
        unsigned long long cpu, wait;
        snprintf(path, sizeof(path), "/proc/%d/schedstat", pids[i]);
        FILE *f = fopen(path, "r");
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
        if (!f || fscanf(f, "%llu %llu", &cpu, &wait) != 2)
            bench_die(path);
        fclose(f);
        sum.cpu_ns += cpu;
        sum.wait_ns += wait;
    }
    return sum;
}

/* What the hypervisor has given to others, of all CPUs. */
static inline uint64_t bench_stolen_ns(void)
{
    unsigned long long steal = 0;
    FILE *f = fopen("/proc/stat", "r");

    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own number */
    if (!f || fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
        bench_die("/proc/stat");
    fclose(f);
    return steal * (1000000000u / (unsigned long long)sysconf(_SC_CLK_TCK));
}

/* Resident bytes that are the processes' own: anonymous and shared memory, no file pages. */
static inline uint64_t bench_resident(const int *pids, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        char path[64], line[256];
        snprintf(path, sizeof(path), "/proc/%d/status", pids[i]);
        FILE *f = fopen(path, "r");
        if (!f)
            bench_die(path);
        while (fgets(line, sizeof(line), f))
            if (!strncmp(line, "RssAnon:", 8) || !strncmp(line, "RssShmem:", 9))
                sum += strtoull(strchr(line, ':') + 1, NULL, 10) * 1024;
        fclose(f);
    }
    return sum;
}

/* Open sockets of a process. */
static inline long bench_sockets(int pid)
{
    char path[64], link[64];
    struct dirent *e;
    long n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    if (!d)
        bench_die(path);
    while ((e = readdir(d))) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link));
        n += len > 7 && !memcmp(link, "socket:", 7);
    }
    closedir(d);
    return n;
}

#endif
