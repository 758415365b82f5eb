/*
 * A program of two protocols, for tests of what the library does with any program. Both give back
 * all bytes as they come and say what is asked of them. The second keeps state that it cannot save,
 * and its start fails on demand.
 */
#include <arbiter/server.h>
#include <errno.h>
#include <stdlib.h>

struct tiny {
    struct arb_actor *self;
};

struct conf {
    bool fails;
};

static const struct arb_key keys[] = {ARB_KEY_BOOL(struct conf, fails, "false", "does it start")};

static void say(const struct tiny *t, const char *what)
{
    const struct arb_field field = {"what", what, 0};

    arb_log(t->self, ARB_INFO, "tiny", &field, 1);
}

static int start_first(struct arb_actor *self, const void *conf, void **ret_server)
{
    struct tiny *t = (struct tiny *)calloc(1, sizeof(*t));

    (void)conf;
    if (!t)
        return -ENOMEM;
    t->self = self;
    *ret_server = t;
    say(t, "start");
    return 0;
}

static int start_second(struct arb_actor *self, const void *conf, void **ret_server)
{
    return ((const struct conf *)conf)->fails ? -EACCES : start_first(self, conf, ret_server);
}

static void run(void *server)
{
    say((struct tiny *)server, "run");
}

static void stop(void *server)
{
    say((struct tiny *)server, "stop");
    free(server);
}

static void on_close(void *server, struct arb_conn *conn, enum arb_end why)
{
    (void)conn, (void)why;
    say((struct tiny *)server, "close");
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    (void)server, (void)conn;
    out->consumed = out->reply_len = in->len;
    out->messages = in->len > 0;
    out->reply = in->data;
}

static const struct arb_protocol first =
    ARB_PROTOCOL(.name = "first", .start = start_first, .run = run, .stop = stop,
                 .on_data = on_data, .on_close = on_close);
static const struct arb_protocol second =
    ARB_PROTOCOL(.name = "second", .keys = ARB_KEYS(keys), .conf_size = sizeof(struct conf),
                 .start = start_second, .run = run, .stop = stop, .conn_size = 1,
                 .on_data = on_data, .on_close = on_close);
static const struct arb_protocol *const protocols[] = {&first, &second, NULL};

static const struct arb_program program =
    ARB_PROGRAM(.name = "tiny", .version = "1.5", .doc = "As small as it can be.",
                .protocols = protocols);

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
