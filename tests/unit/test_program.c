/*
 * The tables of a program: what is taken, and the sentence for each thing that can be wrong.
 */
#include "server/program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"

static void on_data(void *server UNUSED, struct arb_conn *conn UNUSED,
                    const struct arb_input *in UNUSED, struct arb_output *out UNUSED)
{
}

static size_t save(void *server UNUSED, const struct arb_conn *conn UNUSED, void *buf UNUSED,
                   size_t size UNUSED)
{
    return 0;
}

static int restore(void *server UNUSED, struct arb_conn *conn UNUSED, uint32_t version UNUSED,
                   const void *data UNUSED, size_t len UNUSED)
{
    return 0;
}

static int start(struct arb_actor *self UNUSED, const void *const *confs UNUSED,
                 void **ret_data UNUSED)
{
    return 0;
}

static int own_main(struct arb_actor *self UNUSED, const void *const *confs UNUSED)
{
    return 0;
}

static void run(void *data UNUSED, struct arb_answer *answer UNUSED,
                const struct json_t *args UNUSED)
{
}

/* A program that is right, for a test to break. */
struct sample {
    struct arb_counter counters[2];
    struct arb_arg args[2];
    struct arb_command commands[2];
    struct arb_key keys[1];
    struct arb_protocol protocols[ARB_PROTOCOLS_MAX + 1];
    const struct arb_protocol *protocol_list[ARB_PROTOCOLS_MAX + 2];
    struct arb_kind kinds[ARB_KINDS_MAX + 1];
    const struct arb_kind *kind_list[ARB_KINDS_MAX + 2];
    struct arb_program program;
    unsigned abi;
};

static void sample_init(struct sample *s)
{
    *s = (struct sample){
        .counters = {{"hits", "what came"}, {"misses", "what did not"}},
        .args = {{.name = "key", .type = ARB_TEXT, .max = 9}, {.name = "n", .type = ARB_COUNT}},
        .keys = {{"limit", ARB_COUNT, 0, 4, "1", 0, 9, NULL, "how many"}},
        .abi = ARB_ABI,
    };
    s->commands[0] = (struct arb_command){"get", "a value", ARB_ARGS(s->args), run};
    s->commands[1] = (struct arb_command){"drop", "all values", {NULL, 0, 0}, run};
    s->protocols[0] = (struct arb_protocol){
        .size = sizeof(struct arb_protocol),
        .name = "cache",
        .keys = ARB_KEYS(s->keys),
        .conf_size = 8,
        .counters = ARB_COUNTERS(s->counters),
        .commands = ARB_COMMANDS(s->commands),
        .on_data = on_data,
        .save = save,
        .restore = restore,
    };
    s->protocol_list[0] = &s->protocols[0];
    s->kinds[0] =
        (struct arb_kind){.size = sizeof(struct arb_kind), .name = "clock", .start = start};
    s->kind_list[0] = &s->kinds[0];
    s->program = (struct arb_program){
        .size = sizeof(struct arb_program),
        .name = "cache-1",
        .version = "1.2",
        .protocols = s->protocol_list,
        .kinds = s->kind_list,
    };
}

static void program_take__right__copied_with_all_lists(void **state UNUSED)
{
    char why[PROGRAM_WHY_LEN] = "";
    struct program p;
    struct sample s;

    sample_init(&s);
    assert_int_equal(program_take(ARB_ABI, &s.program, &p, why), 0);
    assert_string_equal(why, "");
    assert_string_equal(p.table.name, "cache-1");
    assert_ptr_equal(p.table.protocols[0], &p.protocols[0]);
    assert_string_equal(p.table.protocols[0]->name, "cache");
    assert_null(p.table.protocols[1]);
    assert_ptr_equal(p.table.protocols[0]->commands.first, s.commands);
    assert_string_equal(p.table.kinds[0]->name, "clock");
    assert_null(p.table.kinds[1]);
}

/* As it was compiled with headers that had no more: what lies behind a table is not its own. */
static void program_take__shorter_tables__the_rest_is_0(void **state UNUSED)
{
    char why[PROGRAM_WHY_LEN] = "";
    struct program p;
    struct sample s;

    sample_init(&s);
    s.program.size = offsetof(struct arb_program, kinds);
    s.protocols[0].size = offsetof(struct arb_protocol, on_timeout);
    s.protocols[0].save = NULL;
    assert_int_equal(program_take(ARB_ABI, &s.program, &p, why), 0);
    assert_null(p.table.kinds[0]);
    assert_null(p.protocols[0].restore);
    assert_ptr_equal(p.protocols[0].on_data, on_data);
}

static void break_abi(struct sample *s)
{
    s->abi = ARB_ABI + 1;
}

static void break_program_size_small(struct sample *s)
{
    s->program.size = 0;
}

static void break_program_size_large(struct sample *s)
{
    s->program.size++;
}

static void break_program_name(struct sample *s)
{
    s->program.name = "Cache";
}

static void break_program_name_digit(struct sample *s)
{
    s->program.name = "1-cache";
}

static void break_program_name_null(struct sample *s)
{
    s->program.name = NULL;
}

static void break_version(struct sample *s)
{
    s->program.version = "1\n2";
}

static void break_config(struct sample *s)
{
    s->program.config = "cache.conf";
}

static void break_no_protocols(struct sample *s)
{
    s->protocol_list[0] = NULL;
}

static void break_many_protocols(struct sample *s)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};

    for (size_t i = 0; i <= ARB_PROTOCOLS_MAX; i++) {
        s->protocols[i] = (struct arb_protocol){
            .size = sizeof(struct arb_protocol), .name = names[i], .on_data = on_data};
        s->protocol_list[i] = &s->protocols[i];
    }
}

static void break_protocol_size(struct sample *s)
{
    s->protocols[0].size = 16;
}

static void break_protocol_size_large(struct sample *s)
{
    s->protocols[0].size = sizeof(struct arb_protocol) + 8;
}

static void break_protocol_name(struct sample *s)
{
    s->protocols[0].name = "a-b";
}

static void break_on_data(struct sample *s)
{
    s->protocols[0].on_data = NULL;
}

static void break_restore(struct sample *s)
{
    s->protocols[0].restore = NULL;
}

static void break_save(struct sample *s)
{
    s->protocols[0].save = NULL;
}

static void break_conn_size(struct sample *s)
{
    s->protocols[0].conn_size = ARB_STATE_MAX + 1;
}

static void break_conf_size(struct sample *s)
{
    s->protocols[0].conf_size = 0;
}

static void break_keys(struct sample *s)
{
    s->protocols[0].keys.first = NULL;
}

static void break_counter_rows(struct sample *s)
{
    s->protocols[0].counters.row_size = 4;
}

static void break_counter_name(struct sample *s)
{
    s->counters[1].name = "hits";
}

static void break_command_name(struct sample *s)
{
    s->commands[1].name = "";
}

static void break_command_twice(struct sample *s)
{
    s->commands[1].name = "get";
}

static void break_command_run(struct sample *s)
{
    s->commands[1].run = NULL;
}

static void break_argument_name(struct sample *s)
{
    s->args[1].name = "N";
}

static void break_argument_twice(struct sample *s)
{
    s->args[1].name = "key";
}

static void break_argument_type(struct sample *s)
{
    s->args[1].type = ARB_SIZE;
}

static void break_argument_range(struct sample *s)
{
    s->args[1].min = 1;
}

static void break_kind_size(struct sample *s)
{
    s->kinds[0].size = 3;
}

static void break_kind_neither(struct sample *s)
{
    s->kinds[0].start = NULL;
}

static void break_kind_both(struct sample *s)
{
    s->kinds[0].main = own_main;
}

static void break_kind_commands(struct sample *s)
{
    s->kinds[0].start = NULL;
    s->kinds[0].main = own_main;
    s->kinds[0].commands = (struct arb_commands)ARB_COMMANDS(s->commands);
}

static void break_kind_length(struct sample *s)
{
    s->kinds[0].name = "a_name_of_twenty_five_let";
}

static void break_kind_count(struct sample *s)
{
    s->kinds[0].count = 65;
}

static void break_kind_name(struct sample *s)
{
    s->kinds[0].name = "cache";
}

static void break_kind_taken(struct sample *s)
{
    s->kinds[0].name = "worker";
}

static void break_program_command(struct sample *s)
{
    s->program.commands = (struct arb_commands){s->commands, 2, 1};
}

static void program_take__anything_wrong__a_sentence(void **state UNUSED)
{
    static const struct {
        void (*spoil)(struct sample *s);
        const char *why;
    } table[] = {
        {break_abi, "the program was compiled for ABI 2 of libarbiter, and this library has 1: "},
        {break_program_size_small, "the program's table: its size is 0, needed: at least 40: "},
        {break_program_size_large, "the program's table: its size is 113, known: at most 112: "},
        {break_program_name, "the program's name is \"Cache\", allowed: 1 to 31 of a to z"},
        {break_program_name_digit, "the program's name is \"1-cache\", allowed: "},
        {break_program_name_null, "the program's name is \"\", allowed: "},
        {break_version, "the program's version is \"1\n2\", allowed: one line of 1 to 63 bytes"},
        {break_config, "the program's config is \"cache.conf\", allowed: an absolute path"},
        {break_no_protocols, "there is no protocol: nothing could be served"},
        {break_many_protocols, "there are more than 8 protocols"},
        {break_protocol_size, "protocol number 1: its size is 16, needed: at least "},
        {break_protocol_size_large, "protocol number 1: its size is "},
        {break_protocol_name,
         "a protocol or kind has the name \"a-b\", allowed: 1 to 31 of a to z and _"},
        {break_on_data, "protocol cache has no on_data: it could not answer anything"},
        {break_restore, "protocol cache has save without restore: a connection moves with both"},
        {break_save, "protocol cache has restore without save: "},
        {break_conn_size, "protocol cache: conn_size is 1048577, allowed: at most 1048576"},
        {break_conf_size, "protocol cache has keys, and conf_size is 0: "},
        {break_keys, "protocol cache: keys: there are 1 of them, and no table"},
        {break_counter_rows, "protocol cache: counters: the size of a row is 4, allowed: 16 to 16"},
        {break_counter_name, "cache.hits: there are two such counters"},
        {break_command_name, "protocol cache: command 2 has no name, allowed: 1 to 31 of a to z"},
        {break_command_twice, "protocol cache: there are two commands get"},
        {break_command_run, "protocol cache: command drop has no run"},
        {break_argument_name, "protocol cache: command get: argument 2 has no name, allowed: "},
        {break_argument_twice, "protocol cache: command get: there are two arguments key"},
        {break_argument_type, "protocol cache: command get: argument n: its type is 3, allowed: "},
        {break_argument_range, "protocol cache: command get: argument n: its min is above its max"},
        {break_kind_size, "kind number 1: its size is 3, needed: at least "},
        {break_kind_neither, "kind clock has neither start nor main, allowed: one of them"},
        {break_kind_both, "kind clock has both start and main, allowed: one of them"},
        {break_kind_commands, "kind clock has commands and a main: "},
        {break_kind_length,
         "kind a_name_of_twenty_five_let: the name of a kind has at most 24 characters"},
        {break_kind_count, "kind clock: its count is 65, allowed: at most 64"},
        {break_kind_name, "cache: two protocols or kinds may not have one name"},
        {break_kind_taken, "worker: no protocol or kind may have this name"},
        {break_program_command, "the program: commands: the size of a row is 1, allowed: "},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char why[PROGRAM_WHY_LEN] = "";
        struct program p;
        struct sample s;

        sample_init(&s);
        table[i].spoil(&s);
        if (program_take(s.abi, &s.program, &p, why) != -EINVAL ||
            strncmp(why, table[i].why, strlen(table[i].why)) != 0)
            fail_msg("expected: %s\nit says: %s", table[i].why, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_take__right__copied_with_all_lists),
        cmocka_unit_test(program_take__shorter_tables__the_rest_is_0),
        cmocka_unit_test(program_take__anything_wrong__a_sentence),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
