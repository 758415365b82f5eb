/*
 * What a thread of a bench owns: made before it runs, freed after it has ended.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "base/fds.h"
#include "base/util.h"
#include "measure/bench_load.h"

enum { SCRIPTS_BYTES = 32 << 20, SCRIPTS_MAX = 1021 };

static int make_scripts(struct bench_load *l)
{
    const struct bench_options *o = l->options;
    uint64_t cycle = o->depth * (o->size_max + o->separator_len);
    uint64_t n = MIN(MAX(SCRIPTS_BYTES / cycle, (uint64_t)1), (uint64_t)SCRIPTS_MAX);
    int rc = 0;

    l->n_scripts = (unsigned)MIN(n, (uint64_t)l->n_links);
    l->scripts = calloc(l->n_scripts, sizeof(*l->scripts));
    if (!l->scripts)
        return -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_scripts; i++)
        rc = bench_script_init(&l->scripts[i], o, (uint64_t)l->index << 32 | i);
    return rc;
}

static int watch_timer(struct bench_load *l)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    l->ep = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->ep < 0 || l->timer < 0 || epoll_ctl(l->ep, EPOLL_CTL_ADD, l->timer, &e) < 0)
        return -errno;
    return 0;
}

int bench_load_init(struct bench_load *l)
{
    int rc = watch_timer(l);

    if (rc == 0)
        rc = hist_init(&l->latency);
    if (rc == 0)
        rc = hist_init(&l->connects);
    l->buffer = malloc(BENCH_BUFFER_BYTES);
    l->links = calloc(l->n_links, sizeof(*l->links));
    l->began = calloc((size_t)l->n_links * l->options->depth, sizeof(*l->began));
    if (rc == 0)
        rc = l->buffer && l->links && l->began ? make_scripts(l) : -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_links; i++)
        l->links[i] = (struct bench_link){
            .fd = -1,
            .script = &l->scripts[i % l->n_scripts],
            .began_ns = l->began + (size_t)i * l->options->depth,
            .due_k = i,
        };
    return rc;
}

void bench_load_fini(struct bench_load *l)
{
    for (unsigned i = 0; l->links && i < l->n_links; i++)
        fds_close(&l->links[i].fd);
    for (unsigned i = 0; l->scripts && i < l->n_scripts; i++) {
        free(l->scripts[i].bytes);
        free(l->scripts[i].bounds);
    }
    free(l->scripts);
    free(l->links);
    free(l->began);
    free(l->buffer);
    hist_fini(&l->latency);
    hist_fini(&l->connects);
    fds_close(&l->timer);
    fds_close(&l->ep);
}
