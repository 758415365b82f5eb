/*
 * The process title that ps(1) shows: "echo-arbiter: worker.2 run".
 */
#ifndef BASE_TITLE_H
#define BASE_TITLE_H

#define TITLE_PREFIX "echo-arbiter: "

/*
 * title_init - take over the memory of @argv and the environment, whose strings are copied away
 * first Call once, at the start of main, before anything keeps a pointer into them. Without memory:
 * no titles.
 */
void title_init(int argc, char **argv);

/* title_set - TITLE_PREFIX "@actor @state", cut to the room there is; does nothing before
 * title_init */
void title_set(const char *actor, const char *state);

#endif
