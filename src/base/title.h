/*
 * The program's name, and the process title that ps(1) shows: "NAME: worker.2 run".
 */
#ifndef BASE_TITLE_H
#define BASE_TITLE_H

#include <dlfcn.h>

/* What stands between the name and the actor. */
#define TITLE_COLON ": "

/*
 * title_init - take over the memory of @argv and the environment, whose strings are copied away
 * first. Call once, at the start of main, before anything keeps a pointer into them. Without
 * memory: no titles.
 * @program  its name, borrowed for ever
 */
void title_init(const char *program, int argc, char **argv);

/* title_program - the name of the program; before title_init that of the executable. Can be called
 * by a signal handler. */
const char *title_program(void);

/*
 * title_module - the last part of the name of the file that @at is of
 * The linker's name of the executable is where the process title stands by now; this code may be in
 * the executable or in a library. Can be called by a signal handler, as dladdr can.
 */
const char *title_module(const Dl_info *at);

/* title_set - "NAME: @actor @state", cut to the room there is; does nothing before title_init */
void title_set(const char *actor, const char *state);

#endif
