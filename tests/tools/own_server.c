/*
 * A tiny program with counters and commands of its own, for tests. Its protocol gives back all
 * bytes as they come, unless they begin with "spin": that never returns.
 */
#include <arbiter/server.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct own_server {
    struct arb_actor *self;
    struct arb_answer *answer; /* owed, by `later` */
};

#ifdef OWN_SERVER_SECOND
enum { OTHER, COUNTED };
#else
enum { COUNTED, OTHER, GONE };
#endif

static void __attribute__((noreturn)) spin(void)
{
    for (volatile unsigned turns = 0;; turns++)
        ;
}

/* ---- commands ---- */

static void do_count(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct own_server *s = data;
    const json_int_t n = json_integer_value(json_object_get(args, "n"));

    arb_count(s->self, json_is_true(json_object_get(args, "other")) ? OTHER : COUNTED, (uint64_t)n);
    arb_answer_json(answer, json_integer(n));
}

static void do_who(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct own_server *s = data;

    (void)args;
    arb_answer_json(answer, json_pack("{s:s,s:i}", "id", arb_actor_id(s->self), "slot",
                                      (int)arb_actor_slot(s->self)));
}

static void answer_now(void *data)
{
    struct own_server *s = data;
    struct arb_answer *answer = s->answer;

    s->answer = NULL;
    arb_answer_text(answer, "\"later\"");
}

static void do_later(void *data, struct arb_answer *answer, const json_t *args)
{
    struct own_server *s = data;

    (void)args;
    if (s->answer) {
        arb_answer_error(answer, "one_at_a_time", "another answer is owed");
        return;
    }
    s->answer = answer;
    if (!arb_timer_new(s->self, 50, 0, answer_now, s))
        answer_now(s);
}

static void do_never(void *data, struct arb_answer *answer, const json_t *args)
{
    (void)data;
    (void)answer;
    (void)args;
}

static void do_long(void *data, struct arb_answer *answer, const json_t *args)
{
    static char text[100000];

    (void)data;
    (void)args;
    memset(text, 'x', sizeof(text) - 1);
    arb_answer_json(answer, json_string(text));
}

static void do_log(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct own_server *s = data;
    const char *text = json_string_value(json_object_get(args, "text"));
    const bool is_warning = json_is_true(json_object_get(args, "warning"));
    const struct arb_field fields[] = {{"text", text, 0}, {"len", NULL, strlen(text)}};

    arb_log(s->self, is_warning ? ARB_WARNING : ARB_INFO, "as told", fields, 2);
    arb_answer_json(answer, NULL);
}

static void spin_later(void *data)
{
    (void)data;
    spin();
}

static void do_spin(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct own_server *s = data;

    (void)args;
    arb_answer_json(answer, json_boolean(arb_timer_new(s->self, 0, 0, spin_later, NULL)));
}

static void do_hello(void *data, struct arb_answer *answer, const json_t *args)
{
    (void)data;
    arb_answer_json(answer, json_incref(json_object_get(args, "name")));
}

/* ---- tables ---- */

static const struct arb_arg count_args[] = {
    {"n", ARB_COUNT, true, 1, 1000, "how many"},
    {"other", ARB_BOOL, false, 0, 1, "count the other counter"},
};
static const struct arb_arg log_args[] = {
    {"text", ARB_TEXT, true, 0, 100, "value of a field"},
    {"warning", ARB_BOOL, false, 0, 1, "as a warning"},
};
static const struct arb_arg hello_args[] = {{"name", ARB_TEXT, true, 1, 20, "who"}};

static const struct arb_command protocol_commands[] = {
    {"count", "Count something", ARB_ARGS(count_args), do_count},
    {"who", "Who runs it", {NULL, 0, 0}, do_who},
    {"later", "Answer from a timer", {NULL, 0, 0}, do_later},
    {"never", "Do not answer", {NULL, 0, 0}, do_never},
    {"long", "Answer with more than a message may have", {NULL, 0, 0}, do_long},
    {"log", "Write a line", ARB_ARGS(log_args), do_log},
    {"spin", "Never return from a timer", {NULL, 0, 0}, do_spin},
};
static const struct arb_command arbiter_commands_of_its_own[] = {
    {"hello", "Answer in the arbiter", ARB_ARGS(hello_args), do_hello},
    {"never", "Do not answer", {NULL, 0, 0}, do_never},
};

/* The second version has another counter in front: the same places mean something else. */
static const struct arb_counter counters[] = {
#ifdef OWN_SERVER_SECOND
    {"other", "other things"},
    {"counted", "what has been counted"},
#else
    {"counted", "what has been counted"},
    {"other", "other things"},
    {"gone", "what the second version does not count"},
#endif
};

/* ---- the protocol ---- */

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    struct own_server *s = calloc(1, sizeof(*s));

    (void)conf;
    if (!s)
        return -1;
    s->self = self;
#ifndef OWN_SERVER_SECOND
    arb_count(self, GONE, 1);
#endif
    *ret_server = s;
    return 0;
}

static void stop(void *server)
{
    free(server);
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    (void)server;
    (void)conn;
    if (in->len >= 4 && memcmp(in->data, "spin", 4) == 0)
        spin();
    out->consumed = in->len;
    out->messages = 1;
    out->reply = in->data;
    out->reply_len = in->len;
}

static const struct arb_protocol protocol =
    ARB_PROTOCOL(.name = "own", .counters = ARB_COUNTERS(counters),
                 .commands = ARB_COMMANDS(protocol_commands), .start = start, .stop = stop,
                 .on_data = on_data);
static const struct arb_protocol *const protocols[] = {&protocol, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "own-server", .version = "1", .doc = "For tests.", .protocols = protocols,
                .commands = ARB_COMMANDS(arbiter_commands_of_its_own));

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
