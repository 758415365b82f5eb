/*
 * The tables of a program, one after the other, with their owners.
 */
#include "actor/own.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actor/scoreboard.h"
#include "base/hash.h"
#include "base/rows.h"
#include "base/util.h"
#include "wire/message.h"

/* Names that mean something else where an owner's name stands, or could. */
static const char *const taken_names[] = {"all",    "arbiter", "keeper",
                                          "status", "worker",  "workers"};

bool own_is_name(const char *name)
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
        if (!own_is_name(row.name))
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

/* What an owner has, wherever it stands. */
struct own_tables {
    const char *name;
    enum own_place place;
    unsigned index;
    struct arb_counters counters;
    struct arb_commands commands;
};

/* Returns whether there is an owner number @i in the order of struct own. */
static bool tables_at(const struct arb_program *program, size_t i, struct own_tables *ret)
{
    size_t n = 0;

    for (; program->protocols && program->protocols[n]; n++) {
        const struct arb_protocol *p = program->protocols[n];

        *ret = (struct own_tables){p->name, OWN_IN_WORKERS, (unsigned)n, p->counters, p->commands};
        if (n == i)
            return true;
    }
    i -= n;
    for (n = 0; program->kinds && program->kinds[n]; n++) {
        const struct arb_kind *k = program->kinds[n];

        *ret = (struct own_tables){k->name, OWN_IN_KIND, (unsigned)n, k->counters, k->commands};
        if (n == i)
            return true;
    }
    *ret = (struct own_tables){
        .name = "arbiter", .place = OWN_IN_ARBITER, .commands = program->commands};
    return n == i;
}

static int add_owner(struct own *own, const struct own_tables *t, char *why, size_t why_size)
{
    struct own_owner *o = &own->owners[own->n_owners];

    if (own->n_owners == OWN_OWNERS_MAX)
        return own_refuse(why, why_size, t->name, NULL, "there are too many protocols or kinds");
    if (!own_is_name(t->name)) {
        snprintf(why, why_size,
                 "a protocol or kind has the name \"%.64s\", allowed: 1 to 31 of a to z and _",
                 t->name ? t->name : "");
        return -EINVAL;
    }
    for (size_t i = 0; t->place != OWN_IN_ARBITER && i < ARRAY_SIZE(taken_names); i++)
        if (strcmp(taken_names[i], t->name) == 0)
            return own_refuse(why, why_size, t->name, NULL,
                              "no protocol or kind may have this name");
    for (size_t i = 0; i < own->n_owners; i++)
        if (strcmp(own->owners[i].name, t->name) == 0)
            return own_refuse(why, why_size, t->name, NULL,
                              "two protocols or kinds may not have one name");
    *o = (struct own_owner){.name = t->name, .place = t->place, .index = t->index};
    own->n_owners++;
    return add_counters(own, o, &t->counters, why, why_size);
}

/* ---- commands ---- */

static struct command_arg read_arg(const struct arb_args *args, size_t i)
{
    static const enum command_type types[] = {
        [ARB_COUNT] = COMMAND_UINT, [ARB_BOOL] = COMMAND_BOOL, [ARB_TEXT] = COMMAND_STRING};
    struct arb_arg a;

    row_read(&a, sizeof(a), args->first, args->row_size, i);
    return (struct command_arg){
        .name = a.name,
        .type = types[a.type],
        .is_required = a.is_required,
        .min = a.min,
        .max = a.type == ARB_COUNT && a.max == 0 ? INT64_MAX : a.max,
        .help = a.help ? a.help : "",
    };
}

/* The arguments of a command and what ends their list begin at @args. */
static void fill_command(struct own_command *c, const struct own_owner *owner,
                         const struct arb_command *command, struct command_arg *args)
{
    for (size_t i = 0; i < command->args.count; i++)
        args[i] = read_arg(&command->args, i);
    c->owner = owner;
    c->command = *command;
    snprintf(c->name, sizeof(c->name), "%s.%s", owner->name, command->name);
    c->row = (struct command_row){
        .name = c->name,
        .callers = COMMAND_BY_OPERATOR,
        .args = args,
        .help = command->help ? command->help : "",
    };
}

/* All rows of all owners. If @is_real they are filled in, else only counted. */
static void walk_commands(struct own *own, bool is_real, size_t *ret_n_commands, size_t *ret_n_args)
{
    struct own_tables t;
    struct arb_command row;

    *ret_n_commands = *ret_n_args = 0;
    for (size_t i = 0; tables_at(own->program, i, &t); i++) {
        for (size_t k = 0; k < t.commands.count; k++) {
            row_read(&row, sizeof(row), t.commands.first, t.commands.row_size, k);
            if (is_real)
                fill_command(&own->commands[*ret_n_commands], &own->owners[i], &row,
                             &own->args[*ret_n_args]);
            ++*ret_n_commands;
            *ret_n_args += row.args.count + 1;
        }
    }
}

static int add_commands(struct own *own)
{
    size_t n_args;

    walk_commands(own, false, &own->n_commands, &n_args);
    own->commands = calloc(own->n_commands + 1, sizeof(*own->commands));
    own->args = calloc(n_args + 1, sizeof(*own->args));
    if (!own->commands || !own->args)
        return -ENOMEM;
    walk_commands(own, true, &own->n_commands, &n_args);
    return 0;
}

const struct own_command *own_find_command(const struct own *own, const char *name)
{
    for (size_t i = 0; i < own->n_commands; i++)
        if (strcmp(own->commands[i].name, name) == 0)
            return &own->commands[i];
    return NULL;
}

void own_list_commands(const struct own *own, json_t *list)
{
    for (size_t i = 0; i < own->n_commands; i++) {
        const struct own_command *c = &own->commands[i];
        json_t *row =
            command_describe(&c->row, COMMAND_BY_OPERATOR, c->owner->place == OWN_IN_ARBITER,
                             c->owner->place == OWN_IN_WORKERS);

        if (c->owner->place == OWN_IN_KIND)
            json_object_set_new(row, "kind", json_string(c->owner->name));
        json_array_append_new(list, row);
    }
}

int own_init(struct own *own, const struct arb_program *program, char *why, size_t why_size)
{
    struct own_tables t;
    int rc = 0;

    *own = (struct own){.program = program};
    if (!program)
        return 0;
    for (size_t i = 0; rc == 0 && tables_at(program, i, &t); i++)
        rc = add_owner(own, &t, why, why_size);
    return rc == 0 ? add_commands(own) : rc;
}

void own_fini(struct own *own)
{
    free(own->commands);
    free(own->args);
    *own = (struct own){.program = NULL};
}

void own_hold(const struct own *own, const char *owner, struct actor_process *process,
              struct arb_actor *ret)
{
    actor_init(ret, process, owner);
    for (size_t i = 0; i < own->n_owners; i++) {
        const struct own_owner *o = &own->owners[i];

        if (strcmp(o->name, owner) != 0)
            continue;
        ret->is_protocol = o->place == OWN_IN_WORKERS;
        ret->protocol = ret->is_protocol ? o->index : 0;
        ret->first_counter = o->first_counter;
        ret->n_counters = o->n_counters;
    }
}

/* ---- counters as JSON ---- */

const char *own_key(const struct own_counter *c, char buf[OWN_KEY_LEN])
{
    snprintf(buf, OWN_KEY_LEN, "%s.%s", c->owner->name, c->name);
    return buf;
}

uint64_t own_hash(const struct own *own, uint64_t h)
{
    char key[OWN_KEY_LEN];

    for (size_t i = 0; i < own->n_counters; i++) {
        own_key(&own->counters[i], key);
        h = hash_bytes(h, key, strlen(key) + 1);
    }
    return h;
}

static bool own_runs_in(const struct own_owner *o, const char *kind)
{
    return !kind || strcmp(o->place == OWN_IN_WORKERS ? "worker" : o->name, kind) == 0;
}

json_t *own_shown(const struct own *own, const struct own_counts *counts, const char *kind)
{
    json_t *owners = NULL;

    for (size_t i = 0; i < own->n_counters; i++) {
        const struct own_counter *c = &own->counters[i];
        json_t *owner = json_object_get(owners, c->owner->name);

        if (!own_runs_in(c->owner, kind))
            continue;
        if (!owners)
            owners = json_object();
        if (!owner) {
            json_object_set_new(owners, c->owner->name, json_object());
            owner = json_object_get(owners, c->owner->name);
        }
        message_set_uint(owner, c->name, counter_get(&counts->n[i]));
    }
    return owners;
}

json_t *own_help(const struct own *own)
{
    json_t *list = json_array();

    for (size_t i = 0; i < own->n_counters; i++) {
        const struct own_counter *c = &own->counters[i];

        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "owner", c->owner->name, "name",
                                              c->name, "help", c->help));
    }
    return list;
}

/* A sum has no meaning above the range of JSON's integers. */
static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

int own_pack(const struct own *own, const struct own_counts *counts, const json_t *kept,
             json_t *object)
{
    char key[OWN_KEY_LEN];
    int rc = 0;

    for (size_t i = 0; i < own->n_counters; i++)
        rc |= json_object_set_new(object, own_key(&own->counters[i], key),
                                  number(counter_get(&counts->n[i])));
    if (kept)
        rc |= json_object_update(object, (json_t *)kept);
    return rc < 0 ? -ENOMEM : 0;
}

/* The place of OWNER.NAME, or n_counters. */
static size_t find_counter(const struct own *own, const char *name)
{
    char key[OWN_KEY_LEN];
    size_t i = 0;

    while (i < own->n_counters && strcmp(own_key(&own->counters[i], key), name) != 0)
        i++;
    return i;
}

size_t own_unpack(const struct own *own, const json_t *object, struct own_counts *counts,
                  json_t *kept)
{
    size_t n_dropped = 0;
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value)
    {
        const size_t at = strchr(name, '.') ? find_counter(own, name) : own->n_counters;

        if (at < own->n_counters)
            counter_set(&counts->n[at], (uint64_t)json_integer_value(value));
        else if (!strchr(name, '.'))
            continue;
        else if (json_object_size(kept) >= OWN_KEPT_MAX || strlen(name) >= OWN_KEY_LEN)
            n_dropped++;
        else
            json_object_set(kept, name, value);
    }
    return n_dropped;
}

void own_keep(json_t *kept, const json_t *more)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)more, name, value)
    {
        const json_t *before = json_object_get(kept, name);

        if (before || json_object_size(kept) < OWN_KEPT_MAX)
            json_object_set_new(
                kept, name,
                number((uint64_t)json_integer_value(before) + (uint64_t)json_integer_value(value)));
    }
}
