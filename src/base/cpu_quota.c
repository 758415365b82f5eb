/*
 * The CPU quota of control groups.
 */
#include "base/cpu_quota.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/num.h"
#include "base/util.h"

/* A machine may have thousands of mounts: what is beyond this is not looked at. */
enum { TEXT_MAX = 256 << 10, VALUE_MAX = 64 };

/* ---- the texts ---- */

/* Is @name one of those in the list with commas? */
static bool is_in_list(const char *list, size_t len, const char *name)
{
    const size_t name_len = strlen(name);

    for (const char *end = list + len; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const size_t one = (size_t)((comma ? comma : end) - list);

        if (one == name_len && memcmp(list, name, one) == 0)
            return true;
        list += one + 1;
    }
    return false;
}

/* The path of the own group in a line NUMBER:CONTROLLERS:PATH, or NULL: the line is about others.
 */
static const char *group_path(const char *line, size_t len, bool is_v2, size_t *ret_len)
{
    const char *list = memchr(line, ':', len), *end = line + len;
    const char *path = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;

    if (!path || path + 1 == end || path[1] != '/')
        return NULL;
    if (is_v2 ? len < 3 || memcmp(line, "0::", 3) != 0
              : !is_in_list(list + 1, (size_t)(path - list - 1), "cpu"))
        return NULL;
    *ret_len = (size_t)(end - path - 1);
    return path + 1;
}

static const char *find_group(const char *groups, bool is_v2, size_t *ret_len)
{
    while (*groups) {
        const size_t len = strcspn(groups, "\n");
        const char *path = group_path(groups, len, is_v2, ret_len);

        if (path)
            return path;
        groups += len + (groups[len] == '\n');
    }
    return NULL;
}

/* The kernel writes blanks and the like as \040. Returns the length, or -1: too long, or no path.
 */
static int unescape_octal(const char *text, size_t len, char *buf, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++, n++) {
        const bool is_escape = text[i] == '\\' && len - i > 3 && text[i + 1] >= '0' &&
                               text[i + 1] <= '3' && strspn(text + i + 1, "01234567") >= 3;

        if (n + 1 >= size)
            return -1;
        buf[n] = text[i];
        if (is_escape) {
            buf[n] =
                (char)((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        }
        if (buf[n] == '\0')
            return -1;
    }
    buf[n] = '\0';
    return (int)n;
}

/* A line of mountinfo: ID PARENT DEVICE ROOT POINT OPTIONS... - TYPE SOURCE SUPER */
struct mount {
    const char *field[5];
    size_t len[5];
    const char *type, *super;
    size_t type_len, super_len;
};

static bool parse_mount(const char *line, size_t len, struct mount *ret)
{
    const char *end = line + len, *dash = memmem(line, len, " - ", 3), *p = line;

    if (!dash)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(ret->field); i++) {
        const char *blank = memchr(p, ' ', (size_t)(end - p));

        if (!blank || blank > dash)
            return false;
        ret->field[i] = p;
        ret->len[i] = (size_t)(blank - p);
        p = blank + 1;
    }
    ret->type = dash + 3;
    p = memchr(ret->type, ' ', (size_t)(end - ret->type));
    if (!p)
        return false;
    ret->type_len = (size_t)(p - ret->type);
    p = memchr(p + 1, ' ', (size_t)(end - p - 1));
    ret->super = p ? p + 1 : end;
    ret->super_len = (size_t)(end - ret->super);
    return true;
}

/*
 * The part of the own group's path below the root of a mount; NULL = the mount point stands for all
 * that can be seen. A part of the hierarchy alone may be mounted, as in containers without a
 * namespace of control groups, and the own group may lie outside of it.
 */
static const char *part_below(const char *group, size_t *len, const char *root, size_t root_len)
{
    if (root_len == 1)
        root_len = 0; /* "/": all of it */
    if (*len < root_len || memcmp(group, root, root_len) != 0)
        return NULL;
    group += root_len;
    *len -= root_len;
    return *len > 1 && group[0] == '/' && !memmem(group, *len, "/..", 3) ? group : NULL;
}

/* Returns whether there is room for it. */
static bool place_of(const struct mount *m, const char *group, size_t group_len, bool is_v2,
                     struct cpu_quota_place *ret)
{
    char root[CPU_QUOTA_PATH_MAX];
    const int top = unescape_octal(m->field[4], m->len[4], ret->group, sizeof(ret->group));
    const int root_len = unescape_octal(m->field[3], m->len[3], root, sizeof(root));
    const char *part;

    if (top < 0 || root_len < 0)
        return false;
    ret->is_v2 = is_v2;
    ret->top = (size_t)top;
    part = part_below(group, &group_len, root, (size_t)root_len);
    if (!part)
        return true;
    if (ret->top + group_len >= sizeof(ret->group))
        return false;
    memcpy(ret->group + ret->top, part, group_len);
    ret->group[ret->top + group_len] = '\0';
    return true;
}

size_t cpu_quota_find(const char *groups, const char *mounts,
                      struct cpu_quota_place ret[CPU_QUOTA_PLACES_MAX])
{
    size_t n = 0;

    while (*mounts && n < CPU_QUOTA_PLACES_MAX) {
        const size_t len = strcspn(mounts, "\n");
        const char *group = NULL;
        struct mount m;
        size_t group_len = 0;
        bool is_v2 = false;

        if (parse_mount(mounts, len, &m)) {
            is_v2 = m.type_len == 7 && memcmp(m.type, "cgroup2", 7) == 0;
            if (is_v2 || (m.type_len == 6 && memcmp(m.type, "cgroup", 6) == 0 &&
                          is_in_list(m.super, m.super_len, "cpu")))
                group = find_group(groups, is_v2, &group_len);
        }
        n += group && place_of(&m, group, group_len, is_v2, &ret[n]);
        mounts += len + (mounts[len] == '\n');
    }
    return n;
}

static bool parse_us(const char *text, size_t len, uint64_t *ret)
{
    char digits[24];

    if (len == 0 || len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    return num_parse_u64(digits, 1, UINT64_MAX, ret) == 0;
}

unsigned cpu_quota_cpus(const char *quota, const char *period)
{
    const size_t len = strcspn(quota, " \n");
    uint64_t used_us, period_us, cpus;

    if (!period)
        period = quota[len] == ' ' ? quota + len + 1 : "";
    if (!parse_us(quota, len, &used_us) || !parse_us(period, strcspn(period, "\n"), &period_us))
        return 0; /* "max", "-1", or nothing that is known */
    cpus = used_us / period_us + (used_us % period_us != 0);
    return (unsigned)MIN(cpus, (uint64_t)UINT_MAX);
}

/* ---- the files ---- */

/* What is no file of the kernel's after all must not block. Returns whether there is something. */
static bool read_start(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t len = 0;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    buf[len] = '\0';
    fds_close(&fd);
    return len > 0;
}

/* The file @name of the group, of which the first @len bytes of its path are meant. */
static bool read_value(const char *root, const struct cpu_quota_place *p, size_t len,
                       const char *name, char buf[VALUE_MAX])
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof(path), "%s%.*s/%s", root, (int)len, p->group, name);

    return n > 0 && (size_t)n < sizeof(path) && read_start(path, buf, VALUE_MAX);
}

static unsigned quota_of_group(const char *root, const struct cpu_quota_place *p, size_t len)
{
    char quota[VALUE_MAX], period[VALUE_MAX];

    if (p->is_v2)
        return read_value(root, p, len, "cpu.max", quota) ? cpu_quota_cpus(quota, NULL) : 0;
    return read_value(root, p, len, "cpu.cfs_quota_us", quota) &&
                   read_value(root, p, len, "cpu.cfs_period_us", period)
               ? cpu_quota_cpus(quota, period)
               : 0;
}

/* The group, and then those above it up to the mount point. */
static void look_upwards(const char *root, const struct cpu_quota_place *p, struct cpu_quota *ret)
{
    size_t len = strlen(p->group);

    for (;;) {
        const unsigned cpus = quota_of_group(root, p, len);

        if (cpus > 0 && (ret->cpus == 0 || cpus < ret->cpus)) {
            ret->cpus = cpus;
            memcpy(ret->path, p->group, len);
            ret->path[len] = '\0';
        }
        if (len <= p->top)
            break;
        while (len > p->top && p->group[--len] != '/')
            ;
    }
}

void cpu_quota_read(const char *root, struct cpu_quota *ret)
{
    struct cpu_quota_place places[CPU_QUOTA_PLACES_MAX];
    char path[PATH_MAX], groups[4096], *mounts = malloc(TEXT_MAX);
    size_t n = 0;

    *ret = (struct cpu_quota){.cpus = 0};
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (mounts && read_start(path, groups, sizeof(groups))) {
        snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
        if (read_start(path, mounts, TEXT_MAX))
            n = cpu_quota_find(groups, mounts, places);
    }
    for (size_t i = 0; i < n; i++)
        look_upwards(root, &places[i], ret);
    free(mounts);
}
