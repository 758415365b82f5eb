/*
 * The CPU quota of control groups: from texts, and from trees of files that stand for a machine's.
 */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cpu_quota.h"
#include "base/util.h"

/* ---- the values ---- */

static void cpu_quota_cpus__any_text__rounded_up_or_none(void **state UNUSED)
{
    static const struct {
        const char *quota, *period;
        unsigned cpus;
    } table[] = {
        {"max 100000\n", NULL, 0},
        {"200000 100000\n", NULL, 2},
        {"200001 100000\n", NULL, 3},
        {"150000 100000", NULL, 2},
        {"1000 100000\n", NULL, 1},
        {"1 18446744073709551615\n", NULL, 1},
        {"18446744073709551615 1\n", NULL, UINT_MAX},
        {"200000 0\n", NULL, 0},
        {"0 100000\n", NULL, 0},
        {"200000\n", NULL, 0},
        {"200000 \n", NULL, 0},
        {"", NULL, 0},
        {" ", NULL, 0},
        {"-1 100000\n", NULL, 0},
        {"999999999999999999999999999999 100000\n", NULL, 0},
        {"0x20 1\n", NULL, 0},
        {"-1\n", "100000\n", 0},
        {"50000\n", "100000\n", 1},
        {"400000\n", "100000\n", 4},
        {"400000\n", "", 0},
        {"400000\n", "0\n", 0},
        {"max\n", "100000\n", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (cpu_quota_cpus(table[i].quota, table[i].period) != table[i].cpus)
            fail_msg("'%s', '%s': %u", table[i].quota, table[i].period ? table[i].period : "-",
                     cpu_quota_cpus(table[i].quota, table[i].period));
}

/* ---- the places ---- */

#define V2(root, point) "9 8 0:9 " root " " point " rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1(root, point, controllers)                                                               \
    "9 8 0:9 " root " " point " rw,nosuid shared:3 - cgroup cgroup rw," controllers "\n"
#define OTHER "1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / /proc rw - proc proc rw\n"

static void cpu_quota_find__any_machine__the_own_groups(void **state UNUSED)
{
    static const struct {
        const char *groups, *mounts, *places; /* "1:TOP[BELOW]" each */
    } table[] = {
        {"0::/\n", OTHER V2("/", "/sys/fs/cgroup"), "2:/sys/fs/cgroup[]"},
        {"0::/a.slice/b\n", V2("/", "/sys/fs/cgroup"), "2:/sys/fs/cgroup[/a.slice/b]"},
        {"4:memory:/m\n3:cpu,cpuacct:/pod/c\n0::/u\n",
         V1("/", "/sys/fs/cgroup/memory", "memory")
             V1("/", "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
         "1:/sys/fs/cgroup/cpu,cpuacct[/pod/c]"},
        /* both, as on machines in between */
        {"3:cpu:/x\n0::/y\n", V1("/", "/c", "cpu") V2("/", "/u"), "1:/c[/x]2:/u[/y]"},
        /* a container without a namespace: a part of the hierarchy is mounted */
        {"3:cpu:/docker/abc\n", V1("/docker/abc", "/c", "cpu"), "1:/c[]"},
        {"3:cpu:/docker/abc/in\n", V1("/docker/abc", "/c", "cpu"), "1:/c[/in]"},
        /* what lies outside of the namespace or of the mount cannot be seen */
        {"0::/../other\n", V2("/", "/u"), "2:/u[]"},
        {"0::/docker/abcd\n", V2("/docker/abc", "/u"), "2:/u[]"},
        {"0::/else\n", V2("/docker/abc", "/u"), "2:/u[]"},
        {"0::/a\n", V2("/", "/with\\040blank\\134"), "2:/with blank\\[/a]"},
        {"0::/a\n", V2("/", "/odd\\9\\08"), "2:/odd\\9\\08[/a]"},
        {"0::/a\n", V2("/", "/nul\\000x"), ""},
        /* controllers whose name only begins so, or that nobody is in */
        {"3:cpuacct:/x\n2:cpuset:/y\n", V1("/", "/c", "cpuset") V1("/", "/d", "cpuacct"), ""},
        {"", V2("/", "/u"), ""},
        {"0::/\n", "", ""},
        {"0::\n", V2("/", "/u"), ""},
        {"0:\n::\n:\n\n0", V2("/", "/u") V1("/", "/c", "cpu"), ""},
        {"0::/\n",
         "9 8 0:9 / /u rw\n9 8 0:9 / - cgroup2\n - cgroup2 x rw\n9 8 0:9 / /u - cgroup2\n", ""},
        {"0::/\n",
         V2("/", "/1") V2("/", "/2") V2("/", "/3") V2("/", "/4") V2("/", "/5") V2("/", "/6")
             V2("/", "/7") V2("/", "/8") V2("/", "/9"),
         "2:/1[]2:/2[]2:/3[]2:/4[]2:/5[]2:/6[]2:/7[]2:/8[]"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct cpu_quota_place places[CPU_QUOTA_PLACES_MAX];
        const size_t n = cpu_quota_find(table[i].groups, table[i].mounts, places);
        char text[1024] = "";

        for (size_t k = 0; k < n; k++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d:%.*s[%s]",
                     places[k].is_v2 ? 2 : 1, (int)places[k].top, places[k].group,
                     places[k].group + places[k].top);
        assert_string_equal(text, table[i].places);
    }
}

/* All of it may be longer than there is room for. */
static void cpu_quota_find__long_paths__left_out(void **state UNUSED)
{
    struct cpu_quota_place places[CPU_QUOTA_PLACES_MAX];
    char groups[2 * CPU_QUOTA_PATH_MAX], mounts[2 * CPU_QUOTA_PATH_MAX];

    for (int len = CPU_QUOTA_PATH_MAX - 8; len < CPU_QUOTA_PATH_MAX + 8; len++) {
        snprintf(groups, sizeof(groups), "0::/%0*d\n", len - 1, 0);
        snprintf(mounts, sizeof(mounts), "%s", V2("/", "/u"));
        assert_int_equal(cpu_quota_find(groups, mounts, places), len + 2 < CPU_QUOTA_PATH_MAX);
        snprintf(mounts, sizeof(mounts), V2("/", "/%0*d"), len - 1, 0);
        assert_int_equal(cpu_quota_find("0::/\n", mounts, places), len < CPU_QUOTA_PATH_MAX);
    }
}

/* ---- a tree of files ---- */

static char root[] = "/tmp/test_cpu_quota.XXXXXX";

/* With its directories. */
static void tree_put(const char *path, const char *text)
{
    char full[PATH_MAX];
    FILE *f;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int tree_make(void **state UNUSED)
{
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int kind UNUSED,
                      struct FTW *at UNUSED)
{
    return remove(path);
}

static int tree_remove(void **state UNUSED)
{
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void must_read(unsigned cpus, const char *path)
{
    struct cpu_quota quota;

    cpu_quota_read(root, &quota);
    assert_int_equal(quota.cpus, cpus);
    assert_string_equal(quota.path, path);
}

static void cpu_quota_read__nothing_there__none(void **state UNUSED)
{
    must_read(0, "");
    tree_put("/proc/self/cgroup", "0::/a\n");
    must_read(0, "");
    tree_put("/proc/self/mountinfo", OTHER V2("/", "/sys/fs/cgroup"));
    must_read(0, "");
}

static void cpu_quota_read__v2__the_least_of_all_ancestors(void **state UNUSED)
{
    tree_put("/proc/self/cgroup", "0::/a/b/c\n");
    tree_put("/proc/self/mountinfo", OTHER V2("/", "/sys/fs/cgroup"));
    tree_put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    must_read(0, "");
    tree_put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    must_read(3, "/sys/fs/cgroup/a");
    tree_put("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
    must_read(3, "/sys/fs/cgroup/a");
    tree_put("/sys/fs/cgroup/a/b/c/cpu.max", "10000 100000\n");
    must_read(1, "/sys/fs/cgroup/a/b/c");
    tree_put("/sys/fs/cgroup/a/b/c/cpu.max", "nonsense\n");
    must_read(3, "/sys/fs/cgroup/a");
}

static void cpu_quota_read__in_a_namespace__the_mount_point(void **state UNUSED)
{
    tree_put("/proc/self/cgroup", "0::/\n");
    tree_put("/proc/self/mountinfo", V2("/", "/sys/fs/cgroup"));
    tree_put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    must_read(2, "/sys/fs/cgroup");
}

static void cpu_quota_read__v1_and_v2__the_least(void **state UNUSED)
{
    tree_put("/proc/self/cgroup", "3:cpu,cpuacct:/pod/x\n0::/u\n");
    tree_put("/proc/self/mountinfo", V1("/pod", "/c", "cpu,cpuacct") V2("/", "/u"));
    tree_put("/c/x/cpu.cfs_quota_us", "-1\n");
    tree_put("/c/x/cpu.cfs_period_us", "100000\n");
    must_read(0, "");
    tree_put("/c/cpu.cfs_quota_us", "600000\n");
    must_read(0, ""); /* without a period it says nothing */
    tree_put("/c/cpu.cfs_period_us", "100000\n");
    must_read(6, "/c");
    tree_put("/u/u/cpu.max", "500000 100000\n");
    must_read(5, "/u/u");
}

/* A tree that is no kernel's: nothing blocks, nothing overflows. */
static void cpu_quota_read__strange_files__none(void **state UNUSED)
{
    char path[PATH_MAX];
    char *huge = malloc(1 << 20);

    tree_put("/proc/self/cgroup", "0::/fifo/dir\n");
    tree_put("/proc/self/mountinfo", V2("/", "/u"));
    tree_put("/u/fifo/dir/cpu.max/file", "");
    snprintf(path, sizeof(path), "%s/u/fifo/cpu.max", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    tree_put("/u/cpu.max", "");
    must_read(0, "");
    assert_non_null(huge);
    memset(huge, '7', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    tree_put("/u/cpu.max", huge);
    must_read(0, "");
    tree_put("/proc/self/mountinfo", huge);
    tree_put("/proc/self/cgroup", huge);
    must_read(0, "");
    free(huge);
}

/* Deeper than anybody nests. */
static void cpu_quota_read__many_levels__the_highest_too(void **state UNUSED)
{
    char groups[CPU_QUOTA_PATH_MAX] = "0::";

    for (int i = 0; i < 200; i++)
        strcat(groups, "/d");
    strcat(groups, "\n");
    tree_put("/proc/self/cgroup", groups);
    tree_put("/proc/self/mountinfo", V2("/", "/u"));
    tree_put("/u/cpu.max", "100000 100000\n");
    must_read(1, "/u");
}

#define TREE(test) cmocka_unit_test_setup_teardown(test, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_quota_cpus__any_text__rounded_up_or_none),
        cmocka_unit_test(cpu_quota_find__any_machine__the_own_groups),
        cmocka_unit_test(cpu_quota_find__long_paths__left_out),
        TREE(cpu_quota_read__nothing_there__none),
        TREE(cpu_quota_read__v2__the_least_of_all_ancestors),
        TREE(cpu_quota_read__in_a_namespace__the_mount_point),
        TREE(cpu_quota_read__v1_and_v2__the_least),
        TREE(cpu_quota_read__strange_files__none),
        TREE(cpu_quota_read__many_levels__the_highest_too),
    };

    return cmocka_run_group_tests_name("cpu_quota", tests, NULL, NULL);
}
