/*
 * Tables of channels and patterns: see channels.h.
 */
#include "channels.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_name(const struct resp_arg *name)
{
    uint64_t h = 14695981039346656037ULL; /* FNV-1a */

    for (size_t i = 0; i < name->len; i++)
        h = (h ^ (unsigned char)name->data[i]) * 1099511628211ULL;
    return (uint32_t)(h ^ h >> 32);
}

/* Where the pointer to it is, or would be. */
static struct channel **find_place(const struct table *t, uint32_t hash,
                                   const struct resp_arg *name)
{
    struct channel **c = &t->buckets[hash & (t->n_buckets - 1)];

    while (*c && ((*c)->hash != hash || (*c)->len != name->len ||
                  memcmp((*c)->name, name->data, name->len) != 0))
        c = &(*c)->next;
    return c;
}

struct channel *tables_find(const struct tables *t, enum kind kind, const struct resp_arg *name)
{
    return t->of[kind].n > 0 ? *find_place(&t->of[kind], hash_name(name), name) : NULL;
}

static bool grow(struct table *t)
{
    const struct table old = *t;
    const size_t n = old.n_buckets ? 2 * old.n_buckets : 64;
    struct channel **buckets = calloc(n, sizeof(*buckets));

    if (!buckets)
        return false;
    *t = (struct table){buckets, n, old.n};
    for (size_t i = 0; i < old.n_buckets; i++) {
        for (struct channel *c = old.buckets[i], *next; c; c = next) {
            next = c->next;
            c->next = buckets[c->hash & (n - 1)];
            buckets[c->hash & (n - 1)] = c;
        }
    }
    free(old.buckets);
    return true;
}

struct channel *tables_add(struct tables *t, enum kind kind, const struct resp_arg *name)
{
    struct table *table = &t->of[kind];
    const uint32_t hash = hash_name(name);
    struct channel **place, *c;

    if (table->n >= table->n_buckets && !grow(table))
        return NULL;
    place = find_place(table, hash, name);
    c = *place;
    if (c)
        return c;
    c = calloc(1, sizeof(*c) + name->len);
    if (!c)
        return NULL;
    c->kind = kind;
    c->hash = hash;
    c->len = name->len;
    memcpy(c->name, name->data, name->len);
    *place = c;
    table->n++;
    return c;
}

void tables_remove(struct tables *t, struct channel *c)
{
    *find_place(&t->of[c->kind], c->hash, &(struct resp_arg){c->name, c->len}) = c->next;
    t->of[c->kind].n--;
    free(c);
}

void tables_free(struct tables *t)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (struct channel *c; (c = tables_next(t, kind, NULL));)
            tables_remove(t, c);
        free(t->of[kind].buckets);
    }
    *t = (struct tables){0};
}

struct channel *tables_next(const struct tables *t, enum kind kind, const struct channel *c)
{
    const struct table *table = &t->of[kind];
    size_t i = c ? (c->hash & (table->n_buckets - 1)) + 1 : 0;

    if (c && c->next)
        return c->next;
    while (i < table->n_buckets && !table->buckets[i])
        i++;
    return i < table->n_buckets ? table->buckets[i] : NULL;
}
