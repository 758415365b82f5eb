/*
 * How many CPUs a control group leaves to this process: the quota of version 2 (cpu.max) and of
 * version 1 (cpu.cfs_quota_us), its own and those of all ancestors that can be seen from here. Pure
 * but for cpu_quota_read, which reads files of the kernel's and nothing else.
 */
#ifndef BASE_CPU_QUOTA_H
#define BASE_CPU_QUOTA_H

#include <stdbool.h>
#include <stddef.h>

enum { CPU_QUOTA_PATH_MAX = 1024, CPU_QUOTA_PLACES_MAX = 8 };

struct cpu_quota {
    unsigned cpus; /* rounded up; 0 = there is no quota */
    char path[CPU_QUOTA_PATH_MAX]; /* of the control group that has it */
};

/* A hierarchy of control groups that has quotas. */
struct cpu_quota_place {
    bool is_v2;
    char group[CPU_QUOTA_PATH_MAX]; /* directory of the own group */
    size_t top; /* bytes of it that are the mount point: the highest that can be seen */
};

/*
 * cpu_quota_find - where quotas may be
 * @groups  text of /proc/self/cgroup
 * @mounts  text of /proc/self/mountinfo
 * Returns how many places; what is too long or not understood is left out.
 */
size_t cpu_quota_find(const char *groups, const char *mounts,
                      struct cpu_quota_place ret[CPU_QUOTA_PLACES_MAX]);

/* cpu_quota_cpus - CPUs of the texts of a quota and its period, rounded up, at least 1; 0 = none,
 * or no numbers. @period NULL: both are in @quota, as in cpu.max. */
unsigned cpu_quota_cpus(const char *quota, const char *period);

/* cpu_quota_read - the smallest quota. @root: "" or a directory that stands for /, for tests */
void cpu_quota_read(const char *root, struct cpu_quota *ret);

#endif
