/*
 * libarbiter-testing: memory that does not run out, texts that grow, and the rule that was broken.
 */
#include "testing/testing_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *test_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p)
        abort();
    return p;
}

void text_add(struct text *t, const void *data, size_t len)
{
    /* An exact block, so that a sanitizer sees who reads beyond it. */
    char *grown = realloc(t->data, t->len + len + 1);

    if (!grown)
        abort();
    if (len > 0)
        memcpy(grown + t->len, data, len);
    t->data = grown;
    t->len += len;
    t->data[t->len] = '\0';
}

void text_drop(struct text *t, size_t len)
{
    struct text rest = {0};

    if (len == 0)
        return;
    text_add(&rest, t->data + len, t->len - len);
    free(t->data);
    *t = rest;
}

void test_broken(struct arb_actor *a, const char *format, ...)
{
    va_list args;

    if (a->broken[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(a->broken, sizeof(a->broken), format, args);
    va_end(args);
}
