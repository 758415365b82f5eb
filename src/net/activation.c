/*
 * Listeners of a service manager. Names are for people: FileDescriptorName is one for all sockets
 * of a unit, so what is asked for is the address.
 */
#include "net/activation.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/num.h"

static const char count_name[] = "LISTEN_FDS", process_name[] = "LISTEN_PID",
                  names_name[] = "LISTEN_FDNAMES";

/* "descriptor 4 (web)": the @i-th that was passed. */
static void name_passed(const struct activation *a, size_t i, char *buf, size_t size)
{
    const char *name = a->names ? a->names : "";
    size_t len = strcspn(name, ":");

    for (size_t k = 0; k < i; k++) {
        name += len + (name[len] == ':');
        len = strcspn(name, ":");
    }
    snprintf(buf, size, "descriptor %zu (%.*s)", ACTIVATION_FIRST_FD + i, len ? (int)len : 7,
             len ? name : "no name");
}

/* Returns false with @why if they are another process's, as of a shell that has started this one.
 */
static bool is_for_this_process(bool is_daemon, char *why, size_t why_size)
{
    const char *text = getenv(process_name);
    uint64_t pid;

    if (text && num_parse_u64(text, 1, INT32_MAX, &pid) == 0 &&
        ((pid_t)pid == getpid() || (is_daemon && (pid_t)pid == getppid())))
        return true;
    snprintf(why, why_size,
             "LISTEN_PID=%.20s is not this process (%d): let a shell in between exec it",
             text ? text : "", (int)(is_daemon ? getppid() : getpid()));
    return false;
}

static int check_each(const struct activation *a, char *why, size_t why_size)
{
    char name[96], where[ADDR_TEXT_LEN], what[128];

    for (size_t i = 0; i < a->n; i++) {
        const int fd = ACTIVATION_FIRST_FD + (int)i;

        if (listener_check_passed(fd, where, what, sizeof(what)) == 0) {
            fds_set_cloexec(fd, true);
            continue;
        }
        name_passed(a, i, name, sizeof(name));
        snprintf(why, why_size, "LISTEN_FDS: %s%s%s %s", name, *where ? " at " : "", where, what);
        return -EPROTOTYPE;
    }
    return 0;
}

int activation_take(struct activation *ret, bool is_daemon, char *why, size_t why_size)
{
    const char *count = getenv(count_name), *names = getenv(names_name);
    uint64_t n = 0;
    bool is_meant;
    int rc = 0;

    *ret = (struct activation){.n = 0};
    is_meant = count && strcmp(count, "0") != 0 &&
               is_for_this_process(is_daemon, ret->ignored, sizeof(ret->ignored));
    if (is_meant && num_parse_u64(count, 0, ACTIVATION_FDS_MAX, &n) < 0) {
        snprintf(why, why_size, "LISTEN_FDS is \"%.32s\", allowed: 0 to %d", count,
                 ACTIVATION_FDS_MAX);
        rc = -EPROTOTYPE;
    } else if (is_meant && names && !(ret->names = strdup(names))) {
        snprintf(why, why_size, "out of memory");
        rc = -ENOMEM;
    }
    ret->n = (size_t)n;
    unsetenv(count_name);
    unsetenv(process_name);
    unsetenv(names_name);
    return rc == 0 ? check_each(ret, why, why_size) : rc;
}

void activation_fini(struct activation *a)
{
    free(a->names);
    *a = (struct activation){.n = 0};
}

/* Returns as activation_match, for the @i-th that was passed. */
static int match_one(const struct activation *a, size_t i, const struct activation_wish *wish,
                     struct listener **ret, char *why, size_t why_size)
{
    const int fd = ACTIVATION_FIRST_FD + (int)i;
    char name[96], where[ADDR_TEXT_LEN], what[128];

    name_passed(a, i, name, sizeof(name));
    for (size_t k = 0; k < wish->n; k++) {
        const int rc = ret[k] ? 1
                              : listener_take_passed(wish->addresses[k], fd, wish->backlog,
                                                     wish->user_timeout_ms, &ret[k]);

        if (rc < 0)
            snprintf(why, why_size, "LISTEN_FDS: %s for %s: %s", name, wish->addresses[k],
                     strerror(-rc));
        if (rc <= 0)
            return rc;
    }
    listener_check_passed(fd, where, what, sizeof(what));
    snprintf(why, why_size,
             "LISTEN_FDS: %s listens at %s, which is not in server.bind, or was passed twice: add "
             "it there, or take it out of the socket unit",
             name, where);
    return -EPROTOTYPE;
}

int activation_match(const struct activation *a, const struct activation_wish *wish,
                     struct listener **ret, char *why, size_t why_size)
{
    int rc = 0;

    memset(ret, 0, wish->n * sizeof(struct listener *));
    for (size_t i = 0; rc == 0 && i < a->n; i++)
        rc = match_one(a, i, wish, ret, why, why_size);
    for (size_t k = 0; rc < 0 && k < wish->n; k++) {
        listener_close(ret[k]);
        ret[k] = NULL;
    }
    return rc;
}
