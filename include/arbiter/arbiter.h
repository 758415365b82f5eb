/*
 * libarbiter: a client library for echo-arbiter(8); all of it. libarbiter(3) tells the story.
 */
#ifndef ARBITER_ARBITER_H
#define ARBITER_ARBITER_H

#include <arbiter/client.h>
#include <arbiter/echo.h>
#include <arbiter/event.h>
#include <arbiter/status.h>

#endif
