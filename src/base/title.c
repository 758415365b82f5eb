/*
 * The process title, written over the argument vector. The one place with state of its own: the
 * room that the kernel has given this process for its arguments, with the name of the program.
 */
#include "base/title.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static const char *program_name; /* NULL = not known yet */
static char *room;
static size_t room_size;
static char *arguments, *environment; /* owned for ever: copies, to which argv and environ point */

/* The end of those strings of a list that lie one behind the other from @end on. */
static char *end_of_strings(char **list, char *end)
{
    for (; *list; list++)
        if (*list == end)
            end += strlen(*list) + 1;
    return end;
}

/* Into one block, which stays reachable when a string is taken out of the list. */
static int copy_strings(char **list, char **ret_block)
{
    size_t size = 1;
    char *to;

    for (char **p = list; *p; p++)
        size += strlen(*p) + 1;
    to = *ret_block = malloc(size);
    if (!to)
        return -1;
    for (; *list; list++) {
        const size_t len = strlen(*list) + 1;

        *list = memcpy(to, *list, len);
        to += len;
    }
    return 0;
}

/* Backtraces name the executable by what points into argv[0]. */
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

/* Arguments and environment lie one behind the other; a copy of the latter doubles the room. */
void title_init(const char *program, int argc, char **argv)
{
    char *end;

    program_name = program;
    if (argc < 1 || copy_program_name(argv[0]) < 0)
        return;
    end = end_of_strings(environ, end_of_strings(argv, argv[0]));
    if (copy_strings(argv + 1, &arguments) < 0 || copy_strings(environ, &environment) < 0)
        return;
    room = argv[0];
    room_size = (size_t)(end - room);
}

const char *title_program(void)
{
    return program_name ? program_name : program_invocation_short_name;
}

const char *title_module(const Dl_info *at)
{
    const char *slash;
    Dl_info executable;

    if (!at->dli_fname)
        return "?";
    if (dladdr((void *)getauxval(AT_ENTRY), &executable) && executable.dli_fbase == at->dli_fbase)
        return program_invocation_short_name;
    slash = strrchr(at->dli_fname, '/');
    return slash ? slash + 1 : at->dli_fname;
}

void title_set(const char *actor, const char *state)
{
    if (!room)
        return;
    memset(room, 0, room_size);
    snprintf(room, room_size, "%s" TITLE_COLON "%s %s", title_program(), actor, state);
}
