/*
 * What can be wrong with the tables of a program, each with a sentence. Names of keys are checked
 * by conf/config_schema, names of protocols, kinds and counters by actor/own.
 */
#include "server/program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "actor/own.h"
#include "actor/sandbox.h"
#include "arbiter/transition.h"
#include "base/rows.h"

/* Bytes up to the end of the last member that a table must have. */
#define UP_TO(type, member) (offsetof(struct type, member) + sizeof(((struct type *)0)->member))

struct taker {
    struct program *program;
    char *why; /* borrowed, PROGRAM_WHY_LEN bytes */
};

static int __attribute__((format(printf, 2, 3)))
refuse_program(struct taker *t, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(t->why, PROGRAM_WHY_LEN, format, values);
    va_end(values);
    return -EINVAL;
}

/* For messages: a name that is none may be anything. */
static const char *name_of(const char *name)
{
    return own_is_name(name) ? name : "without a name";
}

/* ---- sizes ---- */

/* What the caller's headers did not have is 0. */
static int take_table(struct taker *t, const char *what, const void *given, size_t size,
                      size_t needed, void *ret, size_t known)
{
    if (size < needed)
        return refuse_program(t,
                              "%s: its size is %zu, needed: at least %zu: initialise it with "
                              "the macro of its header",
                              what, size, needed);
    if (size > known)
        return refuse_program(t,
                              "%s: its size is %zu, known: at most %zu: the program was compiled "
                              "with the headers of a newer libarbiter",
                              what, size, known);
    memset(ret, 0, known);
    memcpy(ret, given, size);
    return 0;
}

/* Rows are read with the size that they had where they were compiled. */
static int check_rows(struct taker *t, const char *owner, const char *what, const void *first,
                      size_t count, size_t row_size, size_t needed, size_t known)
{
    if (count == 0)
        return 0;
    if (!first)
        return refuse_program(t, "%s: %s: there are %zu of them, and no table", owner, what, count);
    if (row_size < needed || row_size > known)
        return refuse_program(t, "%s: %s: the size of a row is %zu, allowed: %zu to %zu", owner,
                              what, row_size, needed, known);
    return 0;
}

#define CHECK_ROWS(t, owner, what, table, row, last)                                               \
    check_rows(t, owner, what, (table)->first, (table)->count, (table)->row_size,                  \
               UP_TO(row, last), sizeof(struct row))

#define READ_ROW(row, table, i) row_read(row, sizeof(*(row)), (table)->first, (table)->row_size, i)

/* ---- commands ---- */

static int check_argument(struct taker *t, const char *owner, const char *command,
                          const struct arb_args *args, size_t i)
{
    struct arb_arg a, other;

    READ_ROW(&a, args, i);
    if (!own_is_name(a.name))
        return refuse_program(t,
                              "%s: command %s: argument %zu has no name, allowed: 1 to %d of a "
                              "to z and _",
                              owner, command, i + 1, OWN_NAME_MAX);
    if (a.type != ARB_COUNT && a.type != ARB_BOOL && a.type != ARB_TEXT)
        return refuse_program(t,
                              "%s: command %s: argument %s: its type is %d, allowed: ARB_COUNT, "
                              "ARB_BOOL and ARB_TEXT",
                              owner, command, a.name, (int)a.type);
    if (a.min > a.max)
        return refuse_program(t, "%s: command %s: argument %s: its min is above its max", owner,
                              command, a.name);
    for (size_t k = 0; k < i; k++) {
        READ_ROW(&other, args, k);
        if (strcmp(other.name, a.name) == 0)
            return refuse_program(t, "%s: command %s: there are two arguments %s", owner, command,
                                  a.name);
    }
    return 0;
}

static int check_command(struct taker *t, const char *owner, const struct arb_commands *commands,
                         size_t i)
{
    struct arb_command c, other;
    int rc;

    READ_ROW(&c, commands, i);
    if (!own_is_name(c.name))
        return refuse_program(t, "%s: command %zu has no name, allowed: 1 to %d of a to z and _",
                              owner, i + 1, OWN_NAME_MAX);
    if (!c.run)
        return refuse_program(t, "%s: command %s has no run", owner, c.name);
    for (size_t k = 0; k < i; k++) {
        READ_ROW(&other, commands, k);
        if (strcmp(other.name, c.name) == 0)
            return refuse_program(t, "%s: there are two commands %s", owner, c.name);
    }
    rc = CHECK_ROWS(t, owner, c.name, &c.args, arb_arg, help);
    for (size_t k = 0; rc == 0 && k < c.args.count; k++)
        rc = check_argument(t, owner, c.name, &c.args, k);
    return rc;
}

static int check_tables(struct taker *t, const char *owner, const struct arb_counters *counters,
                        const struct arb_commands *commands)
{
    int rc = CHECK_ROWS(t, owner, "counters", counters, arb_counter, help);

    if (rc == 0)
        rc = CHECK_ROWS(t, owner, "commands", commands, arb_command, run);
    for (size_t i = 0; rc == 0 && i < commands->count; i++)
        rc = check_command(t, owner, commands, i);
    return rc;
}

/* ---- protocols, kinds ---- */

static int check_protocol(struct taker *t, const struct arb_protocol *p)
{
    char owner[64];
    int rc;

    snprintf(owner, sizeof(owner), "protocol %s", name_of(p->name));
    if (!p->on_data)
        return refuse_program(t, "%s has no on_data: it could not answer anything", owner);
    if (!p->save != !p->restore)
        return refuse_program(t,
                              "%s has %s without %s: a connection moves with both, or is "
                              "drained with none",
                              owner, p->save ? "save" : "restore", p->save ? "restore" : "save");
    if (p->conn_size > ARB_STATE_MAX)
        return refuse_program(t, "%s: conn_size is %zu, allowed: at most %d", owner, p->conn_size,
                              ARB_STATE_MAX);
    if (p->keys.count > 0 && p->conf_size == 0)
        return refuse_program(t,
                              "%s has keys, and conf_size is 0: it is the size of the struct "
                              "that they fill",
                              owner);
    rc = CHECK_ROWS(t, owner, "keys", &p->keys, arb_key, help);
    return rc == 0 ? check_tables(t, owner, &p->counters, &p->commands) : rc;
}

/* NAME.64 has to fit where ids stand. */
enum { KIND_NAME_MAX = 24, KIND_COUNT_MAX = TR_KIND_SLOTS_MAX };

static int check_kind(struct taker *t, const struct arb_kind *k)
{
    char owner[64];

    snprintf(owner, sizeof(owner), "kind %s", name_of(k->name));
    if (!k->start == !k->main)
        return refuse_program(t, "%s has %s start %s main, allowed: one of them", owner,
                              k->main ? "both" : "neither", k->main ? "and" : "nor");
    if (k->name && strlen(k->name) > KIND_NAME_MAX)
        return refuse_program(t, "%s: the name of a kind has at most %d characters", owner,
                              KIND_NAME_MAX);
    if (k->count > KIND_COUNT_MAX)
        return refuse_program(t, "%s: its count is %u, allowed: at most %d", owner, k->count,
                              KIND_COUNT_MAX);
    if (k->main && k->commands.count > 0)
        return refuse_program(t,
                              "%s has commands and a main: only the framework's loop takes "
                              "commands",
                              owner);
    return check_tables(t, owner, &k->counters, &k->commands);
}

static int take_protocols(struct taker *t)
{
    struct program *p = t->program;
    char what[32];
    int rc = 0;

    for (size_t i = 0; rc == 0 && p->table.protocols && p->table.protocols[i]; i++) {
        if (i == ARB_PROTOCOLS_MAX)
            return refuse_program(t, "there are more than %d protocols", ARB_PROTOCOLS_MAX);
        snprintf(what, sizeof(what), "protocol number %zu", i + 1);
        rc = take_table(t, what, p->table.protocols[i], p->table.protocols[i]->size,
                        UP_TO(arb_protocol, on_data), &p->protocols[i], sizeof(p->protocols[i]));
        p->protocol_list[i] = &p->protocols[i];
        if (rc == 0)
            rc = check_protocol(t, &p->protocols[i]);
    }
    if (rc == 0 && !p->protocol_list[0])
        return refuse_program(t, "there is no protocol: nothing could be served");
    p->table.protocols = p->protocol_list;
    return rc;
}

static int take_kinds(struct taker *t)
{
    struct program *p = t->program;
    char what[32];
    int rc = 0;

    for (size_t i = 0; rc == 0 && p->table.kinds && p->table.kinds[i]; i++) {
        if (i == ARB_KINDS_MAX)
            return refuse_program(t, "there are more than %d kinds of actors", ARB_KINDS_MAX);
        snprintf(what, sizeof(what), "kind number %zu", i + 1);
        rc = take_table(t, what, p->table.kinds[i], p->table.kinds[i]->size, UP_TO(arb_kind, main),
                        &p->kinds[i], sizeof(p->kinds[i]));
        p->kind_list[i] = &p->kinds[i];
        if (rc == 0)
            rc = check_kind(t, &p->kinds[i]);
    }
    p->table.kinds = p->kind_list;
    return rc;
}

/* ---- the program ---- */

static int check_texts(struct taker *t)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const struct arb_program *p = &t->program->table;
    const size_t len = p->name ? strlen(p->name) : 0;

    if (len == 0 || len > PROGRAM_NAME_MAX || strspn(p->name, allowed) != len || p->name[0] < 'a')
        return refuse_program(t,
                              "the program's name is \"%.64s\", allowed: 1 to %d of a to z, 0 to "
                              "9 and -, a letter first",
                              p->name ? p->name : "", PROGRAM_NAME_MAX);
    if (!p->version || !*p->version || strlen(p->version) > PROGRAM_VERSION_MAX ||
        strpbrk(p->version, "\r\n"))
        return refuse_program(t,
                              "the program's version is \"%.64s\", allowed: one line of 1 to %d "
                              "bytes",
                              p->version ? p->version : "", PROGRAM_VERSION_MAX);
    if (p->config && (p->config[0] != '/' || strpbrk(p->config, "\r\n")))
        return refuse_program(t, "the program's config is \"%.64s\", allowed: an absolute path",
                              p->config);
    return 0;
}

static int check_calls(struct taker *t)
{
    const char *const *call = t->program->table.calls;

    for (; call && *call; call++)
        if (!sandbox_knows_call(*call))
            return refuse_program(t,
                                  "calls: \"%.64s\" is no system call, allowed: names of man 2 "
                                  "syscalls, or \"*\"",
                                  *call);
    return 0;
}

int program_take(unsigned abi, const struct arb_program *given, struct program *ret, char *why)
{
    struct taker t = {.program = ret, .why = why};
    struct own own;
    int rc;

    memset(ret, 0, sizeof(*ret));
    if (abi != ARB_ABI)
        return refuse_program(&t,
                              "the program was compiled for ABI %u of libarbiter, and this "
                              "library has %u: compile it with the headers of this one",
                              abi, ARB_ABI);
    rc = take_table(&t, "the program's table", given, given->size, UP_TO(arb_program, protocols),
                    &ret->table, sizeof(ret->table));
    if (rc == 0)
        rc = check_texts(&t);
    if (rc == 0)
        rc = take_protocols(&t);
    if (rc == 0)
        rc = take_kinds(&t);
    if (rc == 0)
        rc = check_tables(&t, "the program", &(struct arb_counters){.count = 0},
                          &ret->table.commands);
    if (rc == 0)
        rc = check_calls(&t);
    if (rc == 0) {
        rc = own_init(&own, &ret->table, why, PROGRAM_WHY_LEN);
        own_fini(&own);
    }
    return rc;
}
