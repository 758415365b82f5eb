/*
 * The commands, as a table. Errors are worded as Redis words them.
 */
#include "pubsub.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* PART: a subcommand of the row before, whose second word has to be one. */
enum { IN_SUBSCRIBED = 1, NOT_QUEUED = 2, OF_PATTERNS = 4, CLOSES = 8, PART = 16 };

struct command {
    const char *name; /* of a subcommand: "client|id" */
    int arity; /* words, the command's own included; negative = at least */
    int flags;
    enum run (*run)(struct session *s);
    const char *reply; /* after a success */
};

static enum run count_error(struct session *s)
{
    arb_count(s->server->self, COUNT_ERRORS, 1);
    return RUN_FAILED;
}

#define fail(s, ...) (resp_line((s)->reply, "-" __VA_ARGS__), count_error(s))

/* A command that is refused unrun spoils what is behind MULTI. */
#define refuse(s, ...)                                                                             \
    ((s)->has_error |= (s)->is_multi && !(s)->is_executing, fail(s, "ERR " __VA_ARGS__))

/* For %.*s: an argument up to its first NUL, at most 128 bytes of it. */
#define SHOWN(arg) (int)((arg).len < 128 ? (arg).len : 128), (arg).data

/* For commands with subcommands: the second word is none of them, or it has too many arguments. */
static enum run refuse_subcommand(struct session *s, const char *what)
{
    char name[16] = "";

    for (size_t i = 0; i < sizeof(name) - 1 && isalpha((unsigned char)s->row->name[i]); i++)
        name[i] = (char)toupper((unsigned char)s->row->name[i]);
    return refuse(s, "unknown subcommand%s '%.*s'. Try %s HELP.", what, SHOWN(s->args[1]), name);
}

static enum run reply(struct session *s, const char *line)
{
    text_add(s->reply, line, strlen(line));
    return RUN_ON;
}

static enum run reply_bulk(struct session *s, struct bytes b)
{
    resp_bulk(s->reply, b);
    return RUN_ON;
}

static enum run reply_number(struct session *s, uint64_t n)
{
    resp_line(s->reply, ":%" PRIu64, n);
    return RUN_ON;
}

static bool is_word(struct bytes arg, const char *word)
{
    return strncasecmp(arg.data, word, arg.len) == 0 && arg.len == strlen(word);
}

/* May the state grow by so much? Each subscription is counted with 64 bytes, the rest with 256. */
static bool may_grow(struct session *s, size_t more)
{
    if (256 + s->name.len + s->queue.len + s->names_bytes + more <= ARB_STATE_MAX)
        return true;
    refuse(s, "the state of this connection would need more than %d bytes", ARB_STATE_MAX);
    return false;
}

/* ---- connection ---- */

static enum run ping(struct session *s)
{
    if (s->n_args > 2)
        return fail(s, "ERR wrong number of arguments for 'ping' command");
    if (s->n_subscriptions == 0)
        return s->n_args == 1 ? reply(s, "+PONG\r\n") : reply_bulk(s, s->args[1]);
    resp_array(s->reply, 2, WORD("pong"), s->n_args == 1 ? WORD("") : s->args[1]);
    return RUN_ON;
}

static enum run echo(struct session *s)
{
    return reply_bulk(s, s->args[1]);
}

static enum run select_database(struct session *s)
{
    int64_t n;

    if (!resp_number(s->args[1], &n))
        return fail(s, "ERR value is not an integer or out of range");
    if (n != (int32_t)n)
        return fail(s, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
    if (n < 0 || (n >= s->server->conf->databases && !s->is_restoring))
        return fail(s, "ERR DB index is out of range");
    s->database = (unsigned)n;
    return RUN_ON;
}

/* The last word is the name, here and in HELLO. */
static enum run set_name(struct session *s)
{
    const struct bytes name = s->args[s->n_args - 1];

    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < '!' || name.data[i] > '~')
            return fail(s,
                        "ERR Client names cannot contain spaces, newlines or special characters.");
    }
    if (!may_grow(s, name.len))
        return RUN_FAILED;
    text_free(&s->name);
    text_add(&s->name, name.data, name.len);
    return RUN_ON;
}

static enum run client_getname(struct session *s)
{
    return reply_bulk(s, BYTES_OF(s->name));
}

static enum run client_id(struct session *s)
{
    return reply_number(s, arb_conn_id(s->conn));
}

static enum run hello(struct session *s)
{
    int64_t version = 2;

    if (s->n_args > 1 && !resp_number(s->args[1], &version))
        return fail(s, "ERR Protocol version is not an integer or out of range");
    if (version != 2)
        return fail(s, "NOPROTO unsupported protocol version");
    if (s->n_args > 2 && (s->n_args != 4 || !is_word(s->args[2], "SETNAME")))
        return fail(s, "ERR Syntax error in HELLO option '%.*s'", SHOWN(s->args[2]));
    if (s->n_args > 2 && set_name(s) != RUN_ON)
        return RUN_FAILED;
    reply(s, "*14\r\n$6\r\nserver\r\n$6\r\npubsub\r\n$7\r\nversion\r\n$1\r\n1\r\n"
             "$5\r\nproto\r\n:2\r\n$2\r\nid\r\n");
    client_id(s);
    return reply(s, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                    "$7\r\nmodules\r\n*0\r\n");
}

static enum run reset(struct session *s)
{
    session_reset(s);
    return RUN_ON;
}

/* ---- publish and subscribe ---- */

static enum kind kind_of(const struct session *s)
{
    return s->row->flags & OF_PATTERNS ? PATTERN : CHANNEL;
}

/* "subscribe", the name, and how many there are now */
static void confirm(struct session *s, struct bytes name, unsigned n)
{
    resp_line(s->reply, "*3");
    resp_bulk(s->reply, (struct bytes){s->row->name, strlen(s->row->name)});
    resp_bulk(s->reply, name);
    reply_number(s, n);
}

static enum run subscribe(struct session *s)
{
    const unsigned max = s->server->conf->max_channels;

    for (size_t i = 1; i < s->n_args; i++) {
        const struct bytes name = s->args[i];
        const bool is_new = !session_find(s, kind_of(s), name);

        if (is_new && s->n_subscriptions >= max && !s->is_restoring)
            fail(s, "ERR a connection has at most %u channels and patterns", max);
        else if (name.len > NAME_BYTES)
            fail(s, "ERR the name of a channel has at most %d bytes", NAME_BYTES);
        else if (!is_new || may_grow(s, name.len + 64)) {
            if (is_new)
                session_subscribe(s, kind_of(s), name);
            confirm(s, name, s->n_subscriptions);
        }
    }
    return RUN_ON;
}

static void unsubscribe_one(struct session *s, struct bytes name, struct subscription *sub)
{
    confirm(s, name, s->n_subscriptions - (sub != NULL)); /* the name may go with it */
    if (sub)
        session_unsubscribe(sub);
}

static enum run unsubscribe(struct session *s)
{
    struct subscription *sub = TAILQ_FIRST(&s->subscriptions), *next;
    const size_t before = s->reply->len;

    for (size_t i = 1; i < s->n_args; i++)
        unsubscribe_one(s, s->args[i], session_find(s, kind_of(s), s->args[i]));
    for (; s->n_args == 1 && sub; sub = next) {
        next = TAILQ_NEXT(sub, in_session);
        if (sub->channel->kind == kind_of(s))
            unsubscribe_one(s, sub->channel->name, sub);
    }
    if (s->reply->len == before)
        unsubscribe_one(s, (struct bytes){0}, NULL);
    return RUN_ON;
}

static unsigned count(const struct server *srv, struct bytes name)
{
    const struct channel *c = channel_find(srv, CHANNEL, name);

    return c ? c->total : 0;
}

static enum run publish(struct session *s)
{
    struct server *srv = s->server;
    const int r = publish_send(srv->self, s->conn, s->args[1], s->args[2]);
    unsigned n = count(srv, s->args[1]);
    const struct channel *c;

    if (r == -EAGAIN) {
        arb_count(srv->self, COUNT_PARKED, 1);
        TAILQ_INSERT_TAIL(&srv->parked, s, in_parked);
        s->is_parked = true;
        return RUN_WAIT;
    }
    if (r == -EMSGSIZE)
        return fail(s, "ERR a message and its channel have at most about %d bytes",
                    ARB_MESSAGE_MAX - 64);
    if (r < 0)
        return fail(s, "ERR the server ends");
    arb_count(srv->self, COUNT_PUBLISHED, 1);
    LIST_FOREACH (c, &srv->channels[PATTERN], in_kind)
        n += glob_match(c->name, s->args[1]) ? c->total : 0;
    return reply_number(s, n);
}

static enum run pubsub_channels(struct session *s)
{
    struct text names = {0};
    const struct channel *c;
    size_t n = 0;

    if (s->n_args > 3)
        return refuse_subcommand(s, " or wrong number of arguments for");
    LIST_FOREACH (c, &s->server->channels[CHANNEL], in_kind) {
        if (s->n_args < 3 || glob_match(s->args[2], c->name)) {
            resp_bulk(&names, c->name);
            n++;
        }
    }
    resp_line(s->reply, "*%zu", n);
    text_add(s->reply, names.data, names.len);
    text_free(&names);
    return RUN_ON;
}

static enum run pubsub_numsub(struct session *s)
{
    resp_line(s->reply, "*%zu", 2 * (s->n_args - 2));
    for (size_t i = 2; i < s->n_args; i++) {
        resp_bulk(s->reply, s->args[i]);
        reply_number(s, count(s->server, s->args[i]));
    }
    return RUN_ON;
}

/* ---- MULTI ---- */

static enum run multi(struct session *s)
{
    if (s->is_multi)
        return fail(s, "ERR MULTI calls can not be nested");
    s->is_multi = true;
    return RUN_ON;
}

static enum run discard(struct session *s)
{
    if (!s->is_multi)
        return fail(s, "ERR DISCARD without MULTI");
    session_discard(s);
    return RUN_ON;
}

static enum run queue(struct session *s)
{
    if (!may_grow(s, s->raw.len))
        return RUN_FAILED;
    text_add(&s->queue, s->raw.data, s->raw.len);
    s->n_queued++;
    return reply(s, "+QUEUED\r\n");
}

/* A refused EXEC ends what is behind MULTI. */
static enum run abort_exec(struct session *s, const char *why)
{
    session_discard(s);
    return fail(s, "EXECABORT Transaction discarded because of%s", why);
}

/* A command that has to wait makes EXEC wait, which then goes on where it was. */
static enum run exec(struct session *s)
{
    struct resp_parser *p = &s->server->inner;
    struct text *whole = s->reply;
    enum run run = RUN_ON;
    size_t len;

    if (!s->is_multi)
        return fail(s, "ERR EXEC without MULTI");
    if (s->has_error)
        return abort_exec(s, " previous errors.");
    s->is_executing = true;
    if (s->executed_reply.len == 0)
        resp_line(&s->executed_reply, "*%u", s->n_queued);
    while (s->executed < s->queue.len) {
        const struct bytes left = {s->queue.data + s->executed, s->queue.len - s->executed};

        resp_parse(p, left, &(struct resp_place){0}, &len);
        run = command_run(s, p, left, &s->executed_reply);
        if (run == RUN_WAIT)
            return run;
        s->executed += len;
    }
    text_add(whole, s->executed_reply.data, s->executed_reply.len);
    session_discard(s);
    return run;
}

/* ---- the server ---- */

static enum run debug(struct session *s)
{
    char digits[32];
    double seconds;

    if (s->n_args != 3 || !is_word(s->args[1], "sleep"))
        return refuse_subcommand(s, " or wrong number of arguments for");
    snprintf(digits, sizeof(digits), "%.*s", SHOWN(s->args[2]));
    seconds = strtod(digits, NULL);
    if (seconds > 0 && !s->has_slept) {
        s->timer = arb_timer_new(s->server->self, (uint32_t)(seconds < 1e6 ? seconds * 1000 : 1e9),
                                 0, session_wake, s);
        return s->timer ? RUN_WAIT : RUN_CLOSE;
    }
    s->has_slept = false;
    return RUN_ON;
}

/* There is nothing to get, but redis-benchmark warns if it does not get these two. */
static enum run config_get(struct session *s)
{
    if (is_word(s->args[2], "save"))
        return reply(s, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    if (is_word(s->args[2], "appendonly"))
        return reply(s, "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    return reply(s, "*0\r\n");
}

/* clang-format off */
static const struct command commands[] = {
    {"ping",            -1, IN_SUBSCRIBED, ping, NULL},
    {"publish",          3, 0, publish, NULL},
    {"subscribe",       -2, IN_SUBSCRIBED, subscribe, NULL},
    {"unsubscribe",     -1, IN_SUBSCRIBED, unsubscribe, NULL},
    {"psubscribe",      -2, IN_SUBSCRIBED | OF_PATTERNS, subscribe, NULL},
    {"punsubscribe",    -1, IN_SUBSCRIBED | OF_PATTERNS, unsubscribe, NULL},
    {"pubsub",          -2, 0, NULL, NULL},
    {"pubsub|channels", -2, PART, pubsub_channels, NULL},
    {"pubsub|numsub",   -2, PART, pubsub_numsub, NULL},
    {"multi",            1, NOT_QUEUED, multi, "+OK\r\n"},
    {"exec",             1, NOT_QUEUED, exec, NULL},
    {"discard",          1, NOT_QUEUED, discard, "+OK\r\n"},
    {"echo",             2, 0, echo, NULL},
    {"select",           2, 0, select_database, "+OK\r\n"},
    {"client",          -2, 0, NULL, NULL},
    {"client|setname",   3, PART, set_name, "+OK\r\n"},
    {"client|getname",   2, PART, client_getname, NULL},
    {"client|id",        2, PART, client_id, NULL},
    {"hello",           -1, 0, hello, NULL},
    {"reset",            1, IN_SUBSCRIBED | NOT_QUEUED, reset, "+RESET\r\n"},
    {"quit",            -1, IN_SUBSCRIBED | NOT_QUEUED | CLOSES, NULL, "+OK\r\n"},
    {"command",         -1, 0, NULL, "*0\r\n"},
    {"command|docs",    -2, PART, NULL, "*0\r\n"},
    {"config",          -2, 0, NULL, NULL},
    {"config|get",      -3, PART, config_get, NULL},
    {"debug",           -2, 0, debug, "+OK\r\n"},
    {NULL, 0, 0, NULL, NULL},
};
/* clang-format on */

/* ---- from words to a row ---- */

static enum run refuse_unknown(struct session *s)
{
    struct text words = {0};
    enum run run;

    for (size_t i = 1; i < s->n_args && words.len < 128; i++) {
        const size_t max = 128 - words.len, len = strnlen(s->args[i].data, s->args[i].len);

        text_add(&words, "'", 1);
        text_add(&words, s->args[i].data, len < max ? len : max);
        text_add(&words, "' ", 2);
    }
    run = refuse(s, "unknown command '%.*s', with args beginning with: %.*s", SHOWN(s->args[0]),
                 (int)words.len, words.data ? words.data : "");
    text_free(&words);
    return run;
}

/* The row of a word; of a subcommand, if @parent is its command, behind which it stands. */
static const struct command *find_row(struct bytes word, const struct command *parent)
{
    const struct command *row = parent ? parent + 1 : commands;
    const size_t skip = parent ? strlen(parent->name) + 1 : 0;

    for (; row->name && (row->flags & PART || !parent); row++) {
        if (!!(row->flags & PART) == !!parent && is_word(word, row->name + skip))
            return row;
    }
    return NULL;
}

enum run command_run(struct session *s, const struct resp_parser *p, struct bytes raw,
                     struct text *reply)
{
    const struct command *row = find_row(p->args[0], NULL);
    const struct command *sub = row && p->n_args > 1 ? find_row(p->args[1], row) : NULL;
    enum run run;

    s->args = p->args;
    s->n_args = p->n_args;
    s->raw = raw;
    s->reply = reply;
    s->row = sub ? sub : row;
    if (!row)
        return refuse_unknown(s);
    if (!sub && (row[1].flags & PART) && p->n_args > 1)
        return refuse_subcommand(s, "");
    row = s->row;
    if (row->arity > 0 ? s->n_args != (size_t)row->arity : s->n_args < (size_t)-row->arity)
        return row->run == exec
                   ? abort_exec(s, ": wrong number of arguments for 'exec' command")
                   : refuse(s, "wrong number of arguments for '%s' command", row->name);
    if (s->n_subscriptions > 0 && !s->is_multi && !(row->flags & IN_SUBSCRIBED))
        return refuse(s,
                      "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                      "RESET are allowed in this context",
                      row->name);
    if (s->is_multi && !s->is_executing && !(row->flags & NOT_QUEUED))
        return queue(s);
    run = row->run ? row->run(s) : RUN_ON;
    if (run == RUN_ON && row->reply)
        text_add(reply, row->reply, strlen(row->reply));
    return row->flags & CLOSES ? RUN_CLOSE : run;
}
