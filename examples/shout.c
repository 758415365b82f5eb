/* cc shout.c $(pkg-config --cflags --libs arbiter) -o shout && ./shout -b 127.0.0.1:7000 */
#include <arbiter/frame.h>
#include <arbiter/server.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

struct conf { uint64_t max_line; };
static const struct arb_key keys[] = {
    ARB_KEY_SIZE(struct conf, max_line, "64KiB", 1, 1 << 20, "longest line, without its end"),
};

enum { LINES };
static const struct arb_counter counters[] = {{"lines", "lines that came back in capitals"}};

struct shout { struct arb_actor *self; struct arb_frame lines; char *reply; };

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    static const struct arb_bytes newline = {1, "\n"};
    struct shout *s = *ret_server = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->self = self;
    return arb_frame_init(&s->lines, &newline, ((const struct conf *)conf)->max_line, "quit");
}

static void stop(void *server)
{
    free(((struct shout *)server)->reply);
    free(server);
}

static void shout(void *server, struct arb_conn *c, const struct arb_input *in, struct arb_output *out)
{
    struct shout *s = server;

    arb_frame_scan(&s->lines, in, out); /* all whole lines at once; "quit" is the last */
    free(s->reply);
    if (!(out->reply = s->reply = malloc(out->consumed + 1)))
        arb_conn_close(c, ARB_CLOSE);
    for (size_t i = 0; s->reply && i < out->consumed; i++)
        s->reply[out->reply_len++] = (char)toupper(in->data[i]);
    arb_count(s->self, LINES, out->messages);
}

int main(int argc, char **argv)
{
    static const struct arb_protocol protocol = ARB_PROTOCOL(.name = "shout", .keys = ARB_KEYS(keys),
        .conf_size = sizeof(struct conf), .counters = ARB_COUNTERS(counters), .start = start,
        .stop = stop, .on_data = shout);
    static const struct arb_protocol *const protocols[] = {&protocol, NULL};
    static const struct arb_program program = ARB_PROGRAM(.name = "shout", .version = "1", .protocols = protocols);
    return arb_main(&program, argc, argv);
}
