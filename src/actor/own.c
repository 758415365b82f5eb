/*
 * The tables of a program, one after the other, with their owners.
 */
#include "actor/own.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/rows.h"
#include "base/util.h"

/* Names that mean something else where an owner's name stands, or could. */
static const char *const taken_names[] = {"all", "arbiter", "worker", "workers"};

static bool is_name(const char *name)
{
    return name && *name && strlen(name) <= OWN_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name);
}

static int own_refuse(char *why, size_t why_size, const char *owner, const char *name,
                      const char *fault)
{
    snprintf(why, why_size, "%.64s%s%.64s: %s", owner, name ? "." : "", name ? name : "", fault);
    return -EINVAL;
}

static const char name_fault[] = "a name has 1 to 31 of the characters a-z and _";

static int add_counters(struct own *own, struct own_owner *o, const struct arb_counters *table,
                        char *why, size_t why_size)
{
    o->first_counter = (unsigned)own->n_counters;
    for (size_t i = 0; i < table->count; i++) {
        struct arb_counter row;

        row_read(&row, sizeof(row), table->first, table->row_size, i);
        if (!is_name(row.name))
            return own_refuse(why, why_size, o->name, row.name, name_fault);
        for (size_t k = o->first_counter; k < own->n_counters; k++)
            if (strcmp(own->counters[k].name, row.name) == 0)
                return own_refuse(why, why_size, o->name, row.name, "there are two such counters");
        if (own->n_counters == ARB_COUNTERS_MAX)
            return own_refuse(why, why_size, o->name, row.name,
                              "a program has at most 32 counters of its own");
        own->counters[own->n_counters++] =
            (struct own_counter){.owner = o, .name = row.name, .help = row.help ? row.help : ""};
        o->n_counters++;
    }
    return 0;
}

static int add_owner(struct own *own, const char *name, enum own_place place, unsigned index,
                     const struct arb_counters *counters, char *why, size_t why_size)
{
    struct own_owner *o = &own->owners[own->n_owners];

    if (place != OWN_IN_ARBITER && !is_name(name))
        return own_refuse(why, why_size, name ? name : "", NULL, name_fault);
    for (size_t i = 0; place != OWN_IN_ARBITER && i < ARRAY_SIZE(taken_names); i++)
        if (strcmp(taken_names[i], name) == 0)
            return own_refuse(why, why_size, name, NULL, "no protocol or kind may have this name");
    for (size_t i = 0; i < own->n_owners; i++)
        if (strcmp(own->owners[i].name, name) == 0)
            return own_refuse(why, why_size, name, NULL,
                              "two protocols or kinds may not have one name");
    *o = (struct own_owner){.name = name, .place = place, .index = index};
    own->n_owners++;
    return add_counters(own, o, counters, why, why_size);
}

int own_init(struct own *own, const struct arb_program *program, char *why, size_t why_size)
{
    static const struct arb_counters none;
    int rc = 0;

    *own = (struct own){.program = program};
    if (!program)
        return 0;
    for (unsigned i = 0; rc == 0 && program->protocols && program->protocols[i]; i++) {
        const struct arb_protocol *p = program->protocols[i];

        if (i == ARB_PROTOCOLS_MAX)
            return own_refuse(why, why_size, p->name, NULL, "a program has at most 8 protocols");
        rc = add_owner(own, p->name, OWN_IN_WORKERS, i, &p->counters, why, why_size);
    }
    for (unsigned i = 0; rc == 0 && program->kinds && program->kinds[i]; i++) {
        const struct arb_kind *k = program->kinds[i];

        if (i == ARB_KINDS_MAX)
            return own_refuse(why, why_size, k->name, NULL,
                              "a program has at most 8 kinds of actors");
        rc = add_owner(own, k->name, OWN_IN_KIND, i, &k->counters, why, why_size);
    }
    if (rc == 0)
        rc = add_owner(own, "arbiter", OWN_IN_ARBITER, 0, &none, why, why_size);
    return rc;
}
