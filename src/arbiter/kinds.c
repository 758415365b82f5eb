/*
 * Names and slots of actors. Runs in the arbiter.
 */
#include "arbiter/kinds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/util.h"

static const char worker_name[] = "worker";

static struct kind_entry *add_entry(struct kinds *k, const char *name, const struct arb_kind *row)
{
    struct kind_entry *e = &k->list[k->n++];

    *e = (struct kind_entry){.row = row};
    snprintf(e->name, sizeof(e->name), "%s", name);
    return e;
}

void kinds_init(struct kinds *k, const struct arb_program *program, unsigned framework)
{
    *k = (struct kinds){.n = 0};
    for (size_t i = 0; i < ARB_KINDS_MAX && program && program->kinds && program->kinds[i]; i++)
        add_entry(k, program->kinds[i]->name, program->kinds[i]);
    if (framework & KINDS_KEEPERS) {
        add_entry(k, KINDS_KEEPER, NULL);
        k->keeper = k->n;
    }
    if (framework & KINDS_ONE_STATUS) {
        add_entry(k, KINDS_STATUS, NULL);
        k->status = k->n;
    }
}

int kinds_add(struct kinds *k, const char *name)
{
    if (k->n == TR_KINDS_MAX)
        return -ENOSPC;
    add_entry(k, name, NULL);
    return (int)k->n - 1;
}

int kinds_find(const struct kinds *k, const char *name)
{
    for (uint32_t i = 0; i < k->n; i++)
        if (strcmp(k->list[i].name, name) == 0)
            return (int)i;
    return -1;
}

static uint32_t wanted_of(const struct kind_entry *e)
{
    return e->row ? MIN(e->row->count + e->n_spawned, (uint32_t)TR_KIND_SLOTS_MAX) : 0;
}

void kinds_want(const struct kinds *k, struct tr_set *set, unsigned framework)
{
    memset(set->others, 0, sizeof(set->others));
    for (uint32_t i = 0; i < k->n; i++)
        set->others[i] = (uint8_t)wanted_of(&k->list[i]);
    if (k->status && framework & KINDS_ONE_STATUS)
        set->others[k->status - 1] = 1;
    set->brief = k->status;
    set->companions = framework & KINDS_KEEPERS ? k->keeper : 0;
    if (set->companions)
        set->others[set->companions - 1] = (uint8_t)MIN(set->workers, (uint32_t)TR_KIND_SLOTS_MAX);
}

const struct arb_kind *kinds_row(const struct kinds *k, uint32_t slot)
{
    return slot > TR_SLOTS_MAX ? k->list[tr_slot_kind(slot)].row : NULL;
}

const char *kinds_name(const struct kinds *k, uint32_t slot)
{
    return slot > TR_SLOTS_MAX ? k->list[tr_slot_kind(slot)].name : worker_name;
}

void kinds_id(const struct kinds *k, uint32_t slot, char ret[KINDS_ID_LEN])
{
    snprintf(ret, KINDS_ID_LEN, "%.24s.%u", kinds_name(k, slot), tr_slot_number(slot));
}

pid_t kinds_pid(const char *id)
{
    const char *at = strchr(id, '@');
    uint64_t pid;

    if (!at)
        return 0;
    return num_parse_u64(at + 1, 1, INT32_MAX, &pid) == 0 ? (pid_t)pid : -1;
}

uint32_t kinds_slot(const struct kinds *k, const char *id)
{
    const char *dot = strchr(id, '.');
    char name[KINDS_NAME_LEN], digits[KINDS_ID_LEN];
    uint64_t number;
    int kind;

    if (!dot || dot - id >= KINDS_NAME_LEN)
        return 0;
    snprintf(name, sizeof(name), "%.*s", (int)(dot - id), id);
    snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(dot + 1, "@"), dot + 1);
    if (strcmp(name, worker_name) == 0)
        return num_parse_u64(digits, 1, TR_SLOTS_MAX, &number) == 0 ? (uint32_t)number : 0;
    kind = kinds_find(k, name);
    if (kind < 0 || num_parse_u64(digits, 1, TR_KIND_SLOTS_MAX, &number) < 0)
        return 0;
    return tr_slot((uint32_t)kind, (uint32_t)number);
}
