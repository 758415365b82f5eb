/*
 * What a bench sends: letters and digits, of sizes between two, each doubling as likely as the
 * next.
 */
#include "measure/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/util.h"
#include "measure/audit_message.h"

static uint32_t random_size(const struct bench_options *o, uint64_t *rng)
{
    uint64_t low = MAX(o->size_min, (uint64_t)1);
    unsigned doublings = 0;

    if (o->size_min == o->size_max)
        return (uint32_t)o->size_min;
    while (low << doublings < o->size_max / 2)
        doublings++;
    low <<= random_next(rng) % (doublings + 1);
    low = MAX(low, o->size_min);
    return (uint32_t)(low + random_next(rng) % (MIN(low * 2, o->size_max) - low + 1));
}

/* Letters that are no part of the separator, so that no message ends early. */
static size_t letters_for(const struct bench_options *o, char *ret)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = 0;

    for (const char *p = letters; *p; p++)
        if (!memchr(o->separator, *p, o->separator_len))
            ret[n++] = *p;
    return n;
}

int bench_script_init(struct bench_script *s, const struct bench_options *o, uint64_t seed)
{
    char letters[64];
    size_t n_letters = letters_for(o, letters), total = 0;
    uint64_t rng = seed;
    uint8_t *bytes;
    uint32_t *bounds = calloc((size_t)o->depth + 1, sizeof(*bounds));

    s->out.bounds = bounds;
    for (unsigned i = 0; bounds && i < o->depth; i++) {
        total += random_size(o, &rng) + o->separator_len;
        if (total > UINT32_MAX / 2)
            return -ENOMEM;
        bounds[i + 1] = (uint32_t)total;
    }
    s->out.len = (uint32_t)total;
    s->out.bytes = bytes = malloc(MAX(total, (size_t)1));
    if (!bounds || !bytes)
        return -ENOMEM;
    for (size_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)letters[random_next(&rng) % n_letters];
    for (unsigned i = 0; i < o->depth; i++)
        memcpy(bytes + bounds[i + 1] - o->separator_len, o->separator, o->separator_len);
    return 0;
}

void bench_script_fini(struct bench_script *s)
{
    free(s->out.bytes);
    free(s->out.bounds);
    free(s->in.bytes);
    free(s->in.bounds);
}
