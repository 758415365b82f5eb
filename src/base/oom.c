/*
 * The OOM killer's counter: of version 2 of control groups (memory.events), else of version 1
 * (memory.oom_control).
 */
#include "base/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/util.h"

static const char group_file[] = "/proc/self/cgroup", adjust_file[] = "/proc/self/oom_score_adj";

/* Lines of NUMBER:CONTROLLERS:PATH. Of version 2: "0::PATH". */
void oom_find_path(const char *text, bool is_top, char *ret)
{
    ret[0] = '\0';
    while (*text) {
        const int len = (int)strcspn(text, "\n");
        const char *list = memchr(text, ':', (size_t)len);
        const char *path = list ? memchr(list + 1, ':', (size_t)(text + len - list - 1)) : NULL;

        if (path && strncmp(list, ":memory:", 8) == 0) {
            snprintf(ret, OOM_PATH_MAX, "/sys/fs/cgroup/memory%.*s/memory.oom_control",
                     is_top ? 0 : (int)(text + len - path - 1), path + 1);
            return;
        }
        if (path && strncmp(text, "0::", 3) == 0)
            snprintf(ret, OOM_PATH_MAX, "/sys/fs/cgroup%.*s/memory.events",
                     is_top ? 0 : (int)(text + len - path - 1), path + 1);
        text += len + (text[len] == '\n');
    }
}

uint64_t oom_count(const char *text)
{
    static const char name[] = "oom_kill ";

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, strlen(name)) == 0)
            return strtoull(line + strlen(name), NULL, 10);
    }
    return 0;
}

/* Files of the kernel's own, which do not block. */
static void read_text(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[MAX(n, 0)] = '\0';
    fds_close(&fd);
}

static uint64_t count_now(const struct oom *o)
{
    char text[1024] = "";

    if (o->path[0])
        read_text(o->path, text, sizeof(text));
    return oom_count(text);
}

void oom_init(struct oom *o)
{
    char text[4096];

    read_text(group_file, text, sizeof(text));
    oom_find_path(text, false, o->path);
    if (access(o->path, R_OK) < 0)
        oom_find_path(text, true, o->path);
    oom_forget(o);
}

void oom_forget(struct oom *o)
{
    o->n_seen = count_now(o);
}

bool oom_has_killed(struct oom *o)
{
    if (count_now(o) <= o->n_seen)
        return false;
    o->n_seen++;
    return true;
}

void oom_raise(void)
{
    char text[16];
    int fd = open(adjust_file, O_RDWR | O_CLOEXEC);

    read_text(adjust_file, text, sizeof(text));
    if (fd >= 0)
        dprintf(fd, "%d", (int)MIN(strtol(text, NULL, 10) + OOM_WORKER_RAISE, 1000L));
    fds_close(&fd);
}
