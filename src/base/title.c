/*
 * The process title, written over the argument vector. The one place with state of its own: the
 * room that the kernel has given this process for its arguments.
 */
#include "base/title.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *room;
static size_t room_size;

/* Arguments and environment lie one behind the other; a copy of the latter doubles the room. */
static char *end_of_strings(int argc, char **argv)
{
    char *end = argv[0] + strlen(argv[0]) + 1;

    for (int i = 1; i < argc; i++)
        if (argv[i] == end)
            end += strlen(argv[i]) + 1;
    for (char **e = environ; e && *e; e++)
        if (*e == end)
            end += strlen(*e) + 1;
    return end;
}

static int copy_environment(void)
{
    for (char **e = environ; e && *e; e++) {
        char *copy = strdup(*e);

        if (!copy)
            return -1;
        *e = copy;
    }
    return 0;
}

/* syslog's tag and backtraces name the program by what points into argv[0]. */
static int copy_program_name(const char *path)
{
    char *copy = strdup(path), *slash;

    if (!copy)
        return -1;
    slash = strrchr(copy, '/');
    program_invocation_name = copy;
    program_invocation_short_name = slash ? slash + 1 : copy;
    return 0;
}

void title_init(int argc, char **argv)
{
    char *end;

    if (argc < 1 || copy_program_name(argv[0]) < 0)
        return;
    end = end_of_strings(argc, argv);
    for (int i = 1; i < argc; i++) {
        char *copy = strdup(argv[i]);

        if (!copy)
            return;
        argv[i] = copy;
    }
    if (copy_environment() < 0)
        return;
    room = argv[0];
    room_size = (size_t)(end - room);
}

void title_set(const char *actor, const char *state)
{
    if (!room)
        return;
    memset(room, 0, room_size);
    snprintf(room, room_size, TITLE_PREFIX "%s %s", actor, state);
}
