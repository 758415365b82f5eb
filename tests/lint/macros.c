/*
 * Every macro of the installed headers once: compiled by api.sh as C and as C++, linked nowhere.
 */
#include <arbiter/server.h>

struct conf {
    unsigned count, mood;
    uint64_t time, room;
    bool is_loud;
    char text[8];
    struct arb_bytes mark;
};

static const char *const moods[] = {"glad", "sad", NULL};

static const struct arb_key keys[] = {
    ARB_KEY_COUNT(struct conf, count, "1", 0, 9, "how many"),
    ARB_KEY_CHOICE(struct conf, mood, "glad", moods, "how it is"),
    ARB_KEY_DURATION(struct conf, time, "0.5", 1, 60000, "how long"),
    ARB_KEY_SIZE(struct conf, room, "1KiB", 1, 1 << 20, "how much"),
    ARB_KEY_BOOL(struct conf, is_loud, "false", "is it heard"),
    ARB_KEY_TEXT(struct conf, text, "", "what it says"),
    ARB_KEY_BYTES(struct conf, mark, "\\n", 4, "what it leaves"),
};

static const struct arb_counter counters[] = {{"hits", "what came"}};
static const struct arb_arg args[] = {{"key", ARB_TEXT, true, 0, 9, "which"}};

static void run(void *data, struct arb_answer *answer, const struct json_t *given)
{
    (void)data, (void)given;
    arb_answer_text(answer, "null");
}

static const struct arb_command commands[] = {{"get", "one value", ARB_ARGS(args), run}};

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    (void)server, (void)conn;
    out->consumed = in->len;
}

static int start(struct arb_actor *self, const void *const *confs, void **ret_data)
{
    (void)self, (void)confs, (void)ret_data;
    return 0;
}

static const struct arb_protocol protocol =
    ARB_PROTOCOL(.name = "p", .keys = ARB_KEYS(keys), .conf_size = sizeof(struct conf),
                 .counters = ARB_COUNTERS(counters), .commands = ARB_COMMANDS(commands),
                 .on_data = on_data);
static const struct arb_protocol *const protocols[] = {&protocol, NULL};
static const struct arb_kind kind = ARB_KIND(.name = "k", .count = 1, .start = start);
static const struct arb_kind *const kinds[] = {&kind, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "n", .version = "1", .protocols = protocols, .kinds = kinds);

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
