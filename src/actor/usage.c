/*
 * What this process uses. Runs in every process that the arbiter forks, and in the arbiter.
 */
#include "actor/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "actor/scoreboard.h"
#include "base/fds.h"
#include "base/util.h"

/* Since Linux 6.2 the size of /proc/self/fd is the number of open descriptors. 0 = not known. */
static uint64_t count_fds(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* Counts the entries: slow, so only once, and only where the size does not say it. */
static uint64_t list_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 3 ? n - 3 : 0; /* ".", "..", and the directory's own */
}

void usage_open(struct usage *u)
{
    struct rlimit rl;

    u->memory_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    u->fds_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    u->fds_max = getrlimit(RLIMIT_NOFILE, &rl) == 0 ? rl.rlim_cur : 0;
    u->fds_before = count_fds(u->fds_fd) > 0 ? 0 : list_fds();
}

void usage_close(struct usage *u)
{
    fds_close(&u->memory_fd);
    fds_close(&u->fds_fd);
}

uint64_t usage_memory_bytes(const struct usage *u)
{
    char text[128];
    unsigned long size, resident;
    const ssize_t n = pread(u->memory_fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%lu %lu", &size, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void usage_look(const struct usage *u, uint64_t n_since, struct usage_now *ret)
{
    struct timespec cpu = {0};
    const uint64_t n_fds = count_fds(u->fds_fd);

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    *ret = (struct usage_now){
        .cpu_ms = (uint64_t)cpu.tv_sec * 1000 + (uint64_t)cpu.tv_nsec / 1000000,
        .memory_bytes = usage_memory_bytes(u),
        .fds = n_fds > 0           ? n_fds
               : u->fds_before > 0 ? u->fds_before + n_since
                                   : 0,
        .fds_max = u->fds_max,
    };
}

void usage_publish(const struct usage *u, uint64_t n_since, struct score_record *r)
{
    struct usage_now now;

    usage_look(u, n_since, &now);
    counter_set(&r->counters.cpu_ms, now.cpu_ms);
    counter_set(&r->memory_bytes, now.memory_bytes);
    counter_set(&r->fds, now.fds);
    counter_set(&r->fds_max, now.fds_max);
}
