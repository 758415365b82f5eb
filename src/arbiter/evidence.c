/*
 * A look into /proc. Runs in the arbiter, which must not wait: none of these files is made under a
 * lock that a hung process can hold for long, as cmdline and maps are.
 */
#include "arbiter/evidence.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/util.h"

static const char *state_name(char letter)
{
    switch (letter) {
    case 'R':
        return "R (running)";
    case 'S':
        return "S (sleeping)";
    case 'D':
        return "D (disk sleep)";
    case 'T':
        return "T (stopped)";
    case 't':
        return "t (traced)";
    case 'Z':
        return "Z (zombie)";
    default:
        return "";
    }
}

void evidence_read_stat(struct evidence *e, const char *text, long ticks_a_second)
{
    const char *p = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long user, system;
    char letter;

    if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &letter, &user,
                     &system) != 3)
        return;
    snprintf(e->state, sizeof(e->state), "%s", state_name(letter));
    e->cpu_ms = (uint64_t)(user + system) * 1000 / (uint64_t)ticks_a_second;
}

/* The first line; wchan says "0" for nothing. */
void evidence_read_line(char *ret, size_t size, const char *text)
{
    const size_t len = strcspn(text, "\n");

    if (len == 1 && text[0] == '0')
        return;
    snprintf(ret, size, "%.*s", (int)MIN(len, size - 1), text);
}

/* Lines of "[<0>] do_signal_stop+0x1a3/0x210". */
void evidence_read_stack(struct evidence *e, const char *text)
{
    size_t used = 0;

    while (*text) {
        const size_t line = strcspn(text, "\n");
        const char *name = memchr(text, ']', line);
        const char *from = name && name[1] == ' ' ? name + 2 : text;
        const size_t len = strcspn(from, "+/\n");

        if (used + len + 2 > sizeof(e->stack))
            break;
        used += (size_t)snprintf(e->stack + used, sizeof(e->stack) - used, "%s%.*s",
                                 used ? " " : "", (int)len, from);
        text += line + (text[line] == '\n');
    }
}

/* Returns whether there was anything to read. */
static bool read_file(pid_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, buf, size - 1);
    fds_close(&fd);
    buf[MAX(n, 0)] = '\0';
    return n > 0;
}

void evidence_take(struct evidence *e, pid_t pid)
{
    char text[4096];

    *e = (struct evidence){.cpu_ms = 0};
    if (read_file(pid, "stat", text, sizeof(text)))
        evidence_read_stat(e, text, sysconf(_SC_CLK_TCK));
    if (read_file(pid, "wchan", text, sizeof(text)))
        evidence_read_line(e->wchan, sizeof(e->wchan), text);
    if (read_file(pid, "syscall", text, sizeof(text)))
        evidence_read_line(e->syscall, sizeof(e->syscall), text);
    if (read_file(pid, "stack", text, sizeof(text)))
        evidence_read_stack(e, text);
}
