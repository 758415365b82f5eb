/*
 * A tiny program with actors of other kinds, for tests. The file that KINDS_TEST names says how
 * actors begin and go on, a word a line: "fail-start" (start fails), "fail-init" (the program's
 * init fails), "stubborn" (the looper does not end), "sleepy" (it waits long). Its protocol gives
 * back lines; the line "spawn KIND" starts one more actor and gives back its id, or the error;
 * "tell ACTOR" sends a message, which whoever hears it logs.
 */
#include <arbiter/server.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_told(const char *word)
{
    const char *path = getenv("KINDS_TEST");
    FILE *f = path ? fopen(path, "re") : NULL;
    char line[64];
    bool found = false;

    while (f && fgets(line, sizeof(line), f))
        found |= strncmp(line, word, strlen(word)) == 0 && line[strlen(word)] == '\n';
    if (f)
        fclose(f);
    return found;
}

static void log_message(struct arb_actor *self, const struct arb_message *m)
{
    const struct arb_field fields[] = {{"from", m->from, 0}, {"topic", m->topic, 0}};

    arb_log(self, ARB_INFO, "heard", fields, 2);
}

/* ---- clock: the framework's loop ---- */

struct clock {
    struct arb_actor *self;
    unsigned ticks;
};

enum { TICKS };
static const struct arb_counter clock_counters[] = {{"ticks", "of the clock"}};

static void on_tick(void *data)
{
    struct clock *c = data;

    c->ticks++;
    arb_count(c->self, TICKS, 1);
}

static int clock_start(struct arb_actor *self, const void *const *confs, void **ret_data)
{
    struct clock *c;

    (void)confs;
    if (is_told("fail-start"))
        return -ENOTSUP;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->self = self;
    if (!arb_timer_new(self, 10, 10, on_tick, c))
        return -ENOMEM;
    *ret_data = c;
    return 0;
}

static void clock_run(void *data)
{
    const struct clock *c = data;

    arb_log(c->self, ARB_INFO, "the clock runs", NULL, 0);
}

static void clock_stop(void *data)
{
    const struct clock *c = data;

    arb_log(c->self, ARB_INFO, "the clock stops", NULL, 0);
    free(data);
}

/* Who tells the clock something is told something. */
static void clock_on_message(void *data, const struct arb_message *m)
{
    const struct clock *c = data;

    log_message(c->self, m);
    if (strcmp(m->topic, "tell") == 0)
        arb_send(c->self, NULL, "looper", "told", NULL, 0);
}

static void __attribute__((noreturn)) spin_for_ever(void *data)
{
    (void)data;
    for (volatile unsigned turns = 0;; turns++)
        ;
}

static void do_ticks(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct clock *c = data;

    (void)args;
    arb_answer_json(answer, json_integer((json_int_t)c->ticks));
}

static void do_spin(void *data, struct arb_answer *answer, const json_t *args)
{
    const struct clock *c = data;

    (void)args;
    arb_answer_json(answer, json_boolean(arb_timer_new(c->self, 0, 0, spin_for_ever, NULL)));
}

static const struct arb_command clock_commands[] = {
    {"ticks", "How many there were", {NULL, 0, 0}, do_ticks},
    {"spin", "Never return from a timer", {NULL, 0, 0}, do_spin},
};

static const struct arb_kind clock_kind =
    ARB_KIND(.name = "clock", .count = 1, .start = clock_start, .run = clock_run,
             .stop = clock_stop, .on_message = clock_on_message,
             .counters = ARB_COUNTERS(clock_counters), .commands = ARB_COMMANDS(clock_commands));

/* ---- looper: a loop of its own ---- */

struct looper {
    struct arb_actor *self;
};

static void looper_on_message(void *data, const struct arb_message *m)
{
    const struct looper *l = data;

    log_message(l->self, m);
    arb_send(l->self, NULL, "arbiter", "told too", NULL, 0);
}

static int looper_main(struct arb_actor *self, const void *const *confs)
{
    const uint32_t wait_ms = is_told("sleepy") ? 60000 : 100;
    struct looper looper = {self};
    unsigned turns = 0;

    (void)confs;
    arb_actor_set_data(self, &looper);
    while (arb_actor_wait(self, wait_ms) == 0 || is_told("stubborn"))
        turns++;
    arb_log(self, ARB_INFO, "the looper ends", (const struct arb_field[]){{"turns", NULL, turns}},
            1);
    return 0;
}

static const struct arb_kind looper_kind =
    ARB_KIND(.name = "looper", .count = 1, .main = looper_main, .on_message = looper_on_message);

#ifndef KINDS_SERVER_SECOND
/* extra: what the second version of the program does not have. */
static int extra_main(struct arb_actor *self, const void *const *confs)
{
    (void)confs;
    while (arb_actor_wait(self, 1000) == 0)
        ;
    return 0;
}

static const struct arb_kind extra_kind = ARB_KIND(.name = "extra", .count = 0, .main = extra_main);
static const struct arb_kind *const kinds[] = {&extra_kind, &clock_kind, &looper_kind, NULL};
#else
static const struct arb_kind *const kinds[] = {&clock_kind, &looper_kind, NULL};
#endif

/* ---- the protocol ---- */

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    (void)conf;
    *ret_server = self;
    return 0;
}

static void on_spawned(void *data, const char *id, int error)
{
    struct arb_request *request = data;
    char text[64];

    if (error)
        snprintf(text, sizeof(text), "error %d\n", -error);
    else
        snprintf(text, sizeof(text), "%s\n", id);
    arb_request_reply(request, text, strlen(text));
    arb_request_end(request, ARB_GO_ON);
}

/* Returns whether the answer follows. */
static bool spawn(struct arb_actor *self, struct arb_conn *conn, const char *kind, FILE *replies)
{
    struct arb_request *request = arb_request_new(conn, NULL, NULL);
    const int rc = arb_spawn(self, kind, on_spawned, request);

    if (rc == 0)
        return true;
    arb_request_end(request, ARB_GO_ON);
    fprintf(replies, "error %d\n", -rc);
    return false;
}

static void on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    static char text[1 << 16];
    FILE *replies = fmemopen(text, sizeof(text), "w");
    const char *at = (const char *)in->data, *end;
    char line[4096];

    while (replies && out->next == ARB_GO_ON &&
           (end = memchr(at, '\n', in->len - out->consumed)) != NULL) {
        snprintf(line, sizeof(line), "%.*s", (int)(end - at), at);
        if (strncmp(line, "tell ", 5) == 0)
            fprintf(replies, "%d\n", arb_send(server, conn, line + 5, "tell", "x", 1));
        else if (strncmp(line, "spawn ", 6) != 0)
            fprintf(replies, "%s\n", line);
        else if (spawn(server, conn, line + 6, replies))
            out->next = ARB_WAIT;
        out->messages++;
        out->consumed += (size_t)(end + 1 - at);
        at = end + 1;
    }
    if (!replies)
        return;
    out->reply_len = (size_t)ftell(replies);
    out->reply = text;
    fclose(replies);
}

static const struct arb_protocol protocol =
    ARB_PROTOCOL(.name = "lines", .start = start, .on_data = on_data);
static const struct arb_protocol *const protocols[] = {&protocol, NULL};

/* ---- the arbiter ---- */

static int init(struct arb_actor *arbiter, const void *const *confs, void **ret_data)
{
    (void)confs;
    if (is_told("fail-init"))
        return -ENOTSUP;
    arb_log(arbiter, ARB_INFO, "init", NULL, 0);
    *ret_data = arbiter;
    return 0;
}

static void arbiter_on_message(void *data, const struct arb_message *m)
{
    log_message(data, m);
}

static void do_spawn_extra(void *data, struct arb_answer *answer, const json_t *args)
{
    const int rc = arb_spawn(data, "extra", NULL, NULL);

    (void)args;
    arb_answer_json(answer, json_integer(rc));
}

static const struct arb_command own_commands[] = {
    {"extra", "Spawn an actor from the arbiter", {NULL, 0, 0}, do_spawn_extra},
};

static const struct arb_program program =
    ARB_PROGRAM(.name = "kinds-server", .version = "1", .doc = "For tests.", .protocols = protocols,
                .kinds = kinds, .init = init, .on_message = arbiter_on_message,
                .commands = ARB_COMMANDS(own_commands));

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
