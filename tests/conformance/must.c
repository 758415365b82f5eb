/*
 * The way out of a broken case.
 */
#include "conformance/must.h"

#include <stdio.h>
#include <stdlib.h>

unsigned must_wait_ms = 60000;

static must_handler *current;

void must_set_handler(must_handler *handler)
{
    current = handler;
}

__attribute__((noreturn)) void must_fail(const char *file, int line, const char *format, ...)
{
    char why[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, sizeof(why), format, ap);
    va_end(ap);
    if (current)
        current(file, line, why);
    fprintf(stderr, "%s:%d: %s\n", file, line, why);
    abort();
}
