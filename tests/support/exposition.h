/*
 * What Prometheus would read: its text format and OpenMetrics, as far as a server writes them, read
 * strictly. Each family is declared once, before its samples, which come one after the other; no
 * series comes twice.
 */
#ifndef SUPPORT_EXPOSITION_H
#define SUPPORT_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

enum { EXPOSITION_LINES_MAX = 8192, EXPOSITION_FAMILIES_MAX = 512 };

struct exposition_family {
    char type[16]; /* "counter" */
    char name[128]; /* as declared */
    char help[256];
};

struct exposition_sample {
    const char *series; /* borrowed: name and labels, as written */
    const struct exposition_family *family;
    double value;
};

struct exposition {
    char *text; /* owned */
    struct exposition_family families[EXPOSITION_FAMILIES_MAX];
    size_t n_families;
    struct exposition_sample samples[EXPOSITION_LINES_MAX]; /* in the order of their series */
    size_t n_samples;
    char problem[512]; /* the first; "" = none */
};

/* exposition_new - read @text; is it right? `problem` says. exposition_free - NULL is fine */
struct exposition *exposition_new(const char *text, bool is_open);
void exposition_free(struct exposition *e);

/* exposition_find - the sample of a series as it is written, or NULL */
const struct exposition_sample *exposition_find(const struct exposition *e, const char *series);

/* exposition_fallen - the series of a counter of @before that is less in @now, or is not there any
 * more; NULL = none */
const char *exposition_fallen(const struct exposition *before, const struct exposition *now);

#endif
