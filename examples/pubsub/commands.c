/*
 * The commands, as a table. Errors are worded as Redis words them.
 */
#include "pubsub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "glob.h"

enum { IN_SUBSCRIBED = 1, NOT_QUEUED = 2, OF_PATTERNS = 4 };

struct call {
    struct session *s;
    const struct resp_arg *args; /* [0] is the command */
    size_t n;
    struct text *reply;
    const struct command *row;
};

struct command {
    const char *name; /* of a subcommand: "client|id" */
    int arity; /* words, the command's own included; negative = at least */
    int flags;
    enum run (*run)(const struct call *c); /* NULL = only its subcommands can be run */
};

static enum run count_error(const struct call *c)
{
    arb_count(c->s->server->self, COUNT_ERRORS, 1);
    return RUN_ON;
}

#define fail(c, ...) (resp_line((c)->reply, "-" __VA_ARGS__), count_error(c))

/* A command that is refused unrun spoils what is behind MULTI. */
#define refuse(c, ...) ((c)->s->mode.has_error = (c)->s->mode.is_multi, fail(c, "ERR " __VA_ARGS__))

static enum run reply(const struct call *c, const char *line)
{
    text_add(c->reply, line, strlen(line));
    return RUN_ON;
}

static enum run reply_ok(const struct call *c)
{
    return reply(c, "+OK\r\n");
}

static enum run reply_empty(const struct call *c)
{
    return reply(c, "*0\r\n");
}

static enum run reply_arg(const struct call *c, size_t i)
{
    resp_bulk(c->reply, c->args[i].data, c->args[i].len);
    return RUN_ON;
}

static bool is_word(const struct resp_arg *arg, const char *word)
{
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

/* For %.*s: an argument up to its first NUL, at most 128 bytes of it. */
#define SHOWN(arg) (int)((arg).len < 128 ? (arg).len : 128), (arg).data

static enum run fail_state(const struct call *c)
{
    return fail(c, "ERR the state of this connection would need more than %d bytes", ARB_STATE_MAX);
}

/* ---- connection ---- */

static enum run ping(const struct call *c)
{
    if (c->n > 2)
        return fail(c, "ERR wrong number of arguments for 'ping' command");
    if (c->s->n_subscriptions == 0)
        return c->n > 1 ? reply_arg(c, 1) : reply(c, "+PONG\r\n");
    reply(c, "*2\r\n$4\r\npong\r\n");
    return c->n > 1 ? reply_arg(c, 1) : reply(c, "$0\r\n\r\n");
}

static enum run echo(const struct call *c)
{
    return reply_arg(c, 1);
}

static enum run select_database(const struct call *c)
{
    int64_t n;

    if (!resp_number(c->args[1].data, c->args[1].len, &n))
        return fail(c, "ERR value is not an integer or out of range");
    if (n != (int32_t)n)
        return fail(c, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
    if (n < 0 || n >= c->s->server->conf->databases)
        return fail(c, "ERR DB index is out of range");
    c->s->mode.database = (unsigned)n;
    return reply_ok(c);
}

/* Returns false after an error. */
static bool set_name(const struct call *c, const struct resp_arg *name)
{
    for (size_t i = 0; i < name->len; i++) {
        if (name->data[i] < '!' || name->data[i] > '~') {
            fail(c, "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    }
    if (!session_fits(c->s, name->len)) {
        fail_state(c);
        return false;
    }
    text_free(&c->s->name);
    text_add(&c->s->name, name->data, name->len);
    return true;
}

static enum run client_setname(const struct call *c)
{
    return set_name(c, &c->args[2]) ? reply_ok(c) : RUN_ON;
}

static enum run client_getname(const struct call *c)
{
    if (c->s->name.len == 0)
        return reply(c, "$-1\r\n");
    resp_bulk(c->reply, c->s->name.data, c->s->name.len);
    return RUN_ON;
}

static enum run client_id(const struct call *c)
{
    resp_line(c->reply, ":%llu", (unsigned long long)arb_conn_id(c->s->conn));
    return RUN_ON;
}

static enum run hello(const struct call *c)
{
    int64_t version = 2;

    if (c->n > 1 && !resp_number(c->args[1].data, c->args[1].len, &version))
        return fail(c, "ERR Protocol version is not an integer or out of range");
    if (version != 2)
        return fail(c, "NOPROTO unsupported protocol version");
    for (size_t i = 2; i < c->n; i++) {
        if (!is_word(&c->args[i], "SETNAME") || i + 1 == c->n)
            return fail(c, "ERR Syntax error in HELLO option '%.*s'", SHOWN(c->args[i]));
        if (!set_name(c, &c->args[++i]))
            return RUN_ON;
    }
    reply(c,
          "*14\r\n$6\r\nserver\r\n$6\r\npubsub\r\n$7\r\nversion\r\n$1\r\n1\r\n$5\r\nproto\r\n:2\r\n"
          "$2\r\nid\r\n");
    client_id(c);
    return reply(c, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                    "$7\r\nmodules\r\n*0\r\n");
}

static enum run reset(const struct call *c)
{
    session_reset(c->s);
    return reply(c, "+RESET\r\n");
}

/* ---- publish and subscribe ---- */

static enum kind kind_of(const struct call *c)
{
    return c->row->flags & OF_PATTERNS ? PATTERN : CHANNEL;
}

/* "subscribe", the name, and how many there are now */
static void confirm(const struct call *c, const struct resp_arg *name)
{
    resp_line(c->reply, "*3");
    resp_word(c->reply, c->row->name);
    if (name)
        resp_bulk(c->reply, name->data, name->len);
    else
        reply(c, "$-1\r\n");
    resp_line(c->reply, ":%u", c->s->n_subscriptions);
}

static struct subscription *find(const struct call *c, const struct resp_arg *name)
{
    struct channel *channel = tables_find(&c->s->server->own, kind_of(c), name);

    return channel ? session_find(c->s, channel) : NULL;
}

static void subscribe_one(const struct call *c, const struct resp_arg *name)
{
    const unsigned max = c->s->server->conf->max_channels;

    if (find(c, name))
        confirm(c, name);
    else if (c->s->n_subscriptions >= max)
        fail(c, "ERR a connection has at most %u channels and patterns", max);
    else if (name->len > NAME_BYTES)
        fail(c, "ERR the name of a channel has at most %d bytes", NAME_BYTES);
    else if (!session_fits(c->s, name->len + 64))
        fail_state(c);
    else if (!session_subscribe(c->s, kind_of(c), name))
        fail(c, "OOM out of memory");
    else
        confirm(c, name);
}

static enum run subscribe(const struct call *c)
{
    for (size_t i = 1; i < c->n; i++)
        subscribe_one(c, &c->args[i]);
    return RUN_ON;
}

static void unsubscribe_one(const struct call *c, const struct resp_arg *name)
{
    struct subscription *sub = find(c, name);

    c->s->n_subscriptions -= sub != NULL; /* as it will be: the name may go with the subscription */
    confirm(c, name);
    c->s->n_subscriptions += sub != NULL;
    if (sub)
        session_unsubscribe(sub);
}

static enum run unsubscribe(const struct call *c)
{
    struct subscription *sub = TAILQ_FIRST(&c->s->subscriptions), *next;
    const size_t before = c->reply->len;

    for (size_t i = 1; i < c->n; i++)
        unsubscribe_one(c, &c->args[i]);
    for (; c->n == 1 && sub; sub = next) {
        next = TAILQ_NEXT(sub, in_session);
        if (sub->channel->kind == kind_of(c))
            unsubscribe_one(c, &(struct resp_arg){sub->channel->name, sub->channel->len});
    }
    if (c->reply->len == before)
        confirm(c, NULL);
    return RUN_ON;
}

/* Those of the worker itself, or of another. NULL = there are no more. */
static const struct tables *tables_at(const struct server *srv, size_t i)
{
    if (i == 0)
        return &srv->own;
    return i <= srv->n_members ? &srv->members[i - 1].tables : NULL;
}

/* Subscribers in all workers to one channel; patterns count for PUBLISH. */
static unsigned count(const struct server *srv, const struct resp_arg *name, bool with_patterns)
{
    const struct tables *t;
    const struct channel *c;
    unsigned n = 0;

    for (size_t i = 0; (t = tables_at(srv, i)); i++) {
        c = tables_find(t, CHANNEL, name);
        n += c ? c->n_subscribers : 0;
        for (c = NULL; with_patterns && (c = tables_next(t, PATTERN, c));)
            n += glob_match(c->name, c->len, name->data, name->len) ? c->n_subscribers : 0;
    }
    return n;
}

static enum run publish(const struct call *c)
{
    struct server *srv = c->s->server;
    const int r = publish_send(srv->self, c->s->conn, &c->args[1], &c->args[2]);

    if (r == -EAGAIN)
        return RUN_PARK;
    if (r == -EMSGSIZE)
        return fail(c, "ERR a message and its channel have at most about %d bytes",
                    ARB_MESSAGE_MAX - 64);
    if (r < 0)
        return fail(c, "ERR the server ends");
    arb_count(srv->self, COUNT_PUBLISHED, 1);
    resp_line(c->reply, ":%u", count(srv, &c->args[1], true));
    return RUN_ON;
}

static enum run pubsub_channels(const struct call *c)
{
    struct tables all = {0};
    const struct tables *t;
    const struct channel *x = NULL;

    if (c->n > 3)
        return fail(c,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. "
                    "Try PUBSUB HELP.",
                    SHOWN(c->args[1]));
    for (size_t i = 0; (t = tables_at(c->s->server, i)); i++) {
        for (x = NULL; (x = tables_next(t, CHANNEL, x));) {
            if (c->n < 3 || glob_match(c->args[2].data, c->args[2].len, x->name, x->len))
                tables_add(&all, CHANNEL, &(struct resp_arg){x->name, x->len});
        }
    }
    resp_line(c->reply, "*%zu", all.of[CHANNEL].n);
    for (x = NULL; (x = tables_next(&all, CHANNEL, x));)
        resp_bulk(c->reply, x->name, x->len);
    tables_free(&all);
    return RUN_ON;
}

static enum run pubsub_numsub(const struct call *c)
{
    resp_line(c->reply, "*%zu", 2 * (c->n - 2));
    for (size_t i = 2; i < c->n; i++) {
        reply_arg(c, i);
        resp_line(c->reply, ":%u", count(c->s->server, &c->args[i], false));
    }
    return RUN_ON;
}

/* ---- MULTI ---- */

static enum run multi(const struct call *c)
{
    if (c->s->mode.is_multi)
        return fail(c, "ERR MULTI calls can not be nested");
    c->s->mode.is_multi = true;
    return reply_ok(c);
}

static enum run discard(const struct call *c)
{
    if (!c->s->mode.is_multi)
        return fail(c, "ERR DISCARD without MULTI");
    session_discard(c->s);
    return reply_ok(c);
}

static enum run queue(const struct call *c)
{
    struct session *s = c->s;
    const size_t before = s->queue.len;
    struct text t = {0};

    resp_line(&t, "*%zu", c->n);
    for (size_t i = 0; i < c->n; i++)
        resp_bulk(&t, c->args[i].data, c->args[i].len);
    if (t.has_failed || !session_fits(s, t.len)) {
        text_free(&t);
        s->mode.has_error = true;
        return fail_state(c);
    }
    text_add(&s->queue, t.data, t.len);
    text_free(&t);
    s->saved_bytes += s->queue.len - before;
    s->mode.n_queued++;
    return reply(c, "+QUEUED\r\n");
}

static enum run exec(const struct call *c)
{
    if (!c->s->mode.is_multi)
        return fail(c, "ERR EXEC without MULTI");
    if (c->s->mode.has_error) {
        session_discard(c->s);
        return fail(c, "EXECABORT Transaction discarded because of previous errors.");
    }
    c->s->mode.is_multi = false;
    c->s->is_executing = true;
    resp_line(c->reply, "*%u", c->s->mode.n_queued);
    return command_exec(c->s, c->reply);
}

enum run command_exec(struct session *s, struct text *reply)
{
    struct resp_parser *p = &s->server->inner;
    enum run run = RUN_ON;
    size_t len;

    while (s->executed < s->queue.len &&
           resp_parse(p, s->queue.data + s->executed, s->queue.len - s->executed, NULL, &len) ==
               RESP_COMMAND) {
        run = command_run(s, p->args, p->n_args, reply);
        if (run == RUN_PARK)
            return run;
        s->executed += len;
    }
    session_discard(s);
    return run;
}

/* ---- the server ---- */

static enum run debug(const struct call *c)
{
    char digits[32];
    double seconds;

    if (c->n != 3 || !is_word(&c->args[1], "sleep"))
        return fail(c,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. "
                    "Try DEBUG HELP.",
                    SHOWN(c->args[1]));
    snprintf(digits, sizeof(digits), "%.*s", SHOWN(c->args[2]));
    seconds = strtod(digits, NULL);
    if (seconds > 0)
        c->s->sleep_ms += (uint32_t)(seconds < 1e6 ? seconds * 1000 : 1e9);
    return reply_ok(c);
}

/* There is nothing to get, but redis-benchmark warns if it does not get these two. */
static enum run config_get(const struct call *c)
{
    if (is_word(&c->args[2], "save"))
        return reply(c, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    if (is_word(&c->args[2], "appendonly"))
        return reply(c, "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    return reply_empty(c);
}

/* clang-format off */
static const struct command commands[] = {
    {"ping",            -1, IN_SUBSCRIBED, ping},
    {"publish",          3, 0, publish},
    {"subscribe",       -2, IN_SUBSCRIBED, subscribe},
    {"unsubscribe",     -1, IN_SUBSCRIBED, unsubscribe},
    {"psubscribe",      -2, IN_SUBSCRIBED | OF_PATTERNS, subscribe},
    {"punsubscribe",    -1, IN_SUBSCRIBED | OF_PATTERNS, unsubscribe},
    {"pubsub",          -2, 0, NULL},
    {"pubsub|channels", -2, 0, pubsub_channels},
    {"pubsub|numsub",   -2, 0, pubsub_numsub},
    {"multi",            1, NOT_QUEUED, multi},
    {"exec",             1, NOT_QUEUED, exec},
    {"discard",          1, NOT_QUEUED, discard},
    {"echo",             2, 0, echo},
    {"select",           2, 0, select_database},
    {"client",          -2, 0, NULL},
    {"client|setname",   3, 0, client_setname},
    {"client|getname",   2, 0, client_getname},
    {"client|id",        2, 0, client_id},
    {"hello",           -1, 0, hello},
    {"reset",            1, IN_SUBSCRIBED | NOT_QUEUED, reset},
    {"command",         -1, 0, reply_empty},
    {"command|docs",    -2, 0, reply_empty},
    {"config",          -2, 0, NULL},
    {"config|get",      -3, 0, config_get},
    {"debug",           -2, 0, debug},
};
/* clang-format on */

static const struct command *const commands_end = commands + sizeof(commands) / sizeof(commands[0]);

/* ---- from words to a row ---- */

static enum run refuse_unknown(const struct call *c)
{
    char words[160] = "";
    size_t len = 0;

    for (size_t i = 1; i < c->n && len < 128; i++) {
        const size_t max = c->args[i].len < 128 - len ? c->args[i].len : 128 - len;

        len += (size_t)snprintf(words + len, sizeof(words) - len, "'%.*s' ", (int)max,
                                c->args[i].data);
    }
    return refuse(c, "unknown command '%.*s', with args beginning with: %s", SHOWN(c->args[0]),
                  words);
}

static enum run refuse_subcommand(const struct call *c)
{
    char name[16] = "";

    for (size_t i = 0; i < sizeof(name) - 1 && c->row->name[i]; i++)
        name[i] = (char)(c->row->name[i] - 'a' + 'A');
    return refuse(c, "unknown subcommand '%.*s'. Try %s HELP.", SHOWN(c->args[1]), name);
}

/* A refused EXEC ends what is behind MULTI. */
static enum run refuse_arity(const struct call *c)
{
    if (c->row->run != exec)
        return refuse(c, "wrong number of arguments for '%s' command", c->row->name);
    session_discard(c->s);
    return fail(c, "EXECABORT Transaction discarded because of: wrong number of arguments for "
                   "'exec' command");
}

/* The row of a word; of a subcommand, if @parent is its command. */
static const struct command *find_row(const struct resp_arg *word, const struct command *parent)
{
    const size_t skip = parent ? strlen(parent->name) + 1 : 0;

    for (const struct command *row = commands; row < commands_end; row++) {
        const bool is_of_parent = !parent || (strncmp(row->name, parent->name, skip - 1) == 0 &&
                                              row->name[skip - 1] == '|');

        if (is_of_parent && is_word(word, row->name + skip))
            return row;
    }
    return NULL;
}

enum run command_run(struct session *s, const struct resp_arg *args, size_t n, struct text *reply)
{
    struct call c = {s, args, n, reply, find_row(&args[0], NULL)};
    const struct command *sub = c.row && n > 1 ? find_row(&args[1], c.row) : NULL;

    if (is_word(&args[0], "quit")) {
        reply_ok(&c);
        return RUN_CLOSE;
    }
    if (!c.row)
        return refuse_unknown(&c);
    if (!sub && n > 1 && (!c.row->run || c.row->run == reply_empty))
        return refuse_subcommand(&c);
    c.row = sub ? sub : c.row;
    if (c.row->arity > 0 ? n != (size_t)c.row->arity : n < (size_t)-c.row->arity)
        return refuse_arity(&c);
    if (s->n_subscriptions > 0 && !s->is_executing && !(c.row->flags & IN_SUBSCRIBED))
        return refuse(&c,
                      "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                      "RESET are allowed in this context",
                      c.row->name);
    return s->mode.is_multi && !(c.row->flags & NOT_QUEUED) ? queue(&c) : c.row->run(&c);
}
