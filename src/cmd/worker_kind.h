/*
 * What echo-arbiter forks into its slots. Its own object file, so that a build for tests can link
 * another kind in its place: the shipped one has no hooks.
 */
#ifndef CMD_WORKER_KIND_H
#define CMD_WORKER_KIND_H

#include "actor/boot.h"

extern const struct actor_kind echo_worker_kind;

#endif
