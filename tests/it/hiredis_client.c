/*
 * A client on hiredis, as anybody would write one: hiredis_client PORT. Its first error
 * ends it with a sentence. Compiled by test_pubsub_clients.
 */
#include <hiredis/adapters/libev.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGES = 200 };

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* ---- synchronous ---- */

static redisReply *get(redisContext *c, int type)
{
    redisReply *r = NULL;

    MUST(redisGetReply(c, (void **)&r) == REDIS_OK && r);
    if (r->type == REDIS_REPLY_ERROR)
        fprintf(stderr, "error: %s\n", r->str);
    MUST(r->type == type);
    return r;
}

static void try_sync(int port)
{
    static char big[100000];
    redisContext *c = redisConnect("127.0.0.1", port);
    redisReply *r;

    MUST(c && !c->err);
    memset(big, 'x', sizeof(big));
    r = redisCommand(c, "ECHO %b", "a\0b\r\n", (size_t)5);
    MUST(r && r->type == REDIS_REPLY_STRING && r->len == 5 && memcmp(r->str, "a\0b\r\n", 5) == 0);
    freeReplyObject(r);
    r = redisCommand(c, "ECHO %b", big, sizeof(big));
    MUST(r && r->type == REDIS_REPLY_STRING && (size_t)r->len == sizeof(big));
    freeReplyObject(r);
    for (int i = 0; i < 1000; i++)
        redisAppendCommand(c, "PING");
    for (int i = 0; i < 1000; i++) {
        r = get(c, REDIS_REPLY_STATUS);
        MUST(strcmp(r->str, "PONG") == 0);
        freeReplyObject(r);
    }
    redisAppendCommand(c, "MULTI");
    redisAppendCommand(c, "CLIENT SETNAME somebody");
    redisAppendCommand(c, "CLIENT GETNAME");
    redisAppendCommand(c, "DEBUG SLEEP 0.01");
    redisAppendCommand(c, "SELECT 3");
    redisAppendCommand(c, "EXEC");
    for (int i = 0; i < 5; i++)
        freeReplyObject(get(c, REDIS_REPLY_STATUS));
    r = get(c, REDIS_REPLY_ARRAY);
    MUST(r->elements == 4 && strcmp(r->element[1]->str, "somebody") == 0);
    freeReplyObject(r);
    r = redisCommand(c, "PUBLISH nobody hears");
    MUST(r && r->type == REDIS_REPLY_INTEGER && r->integer == 0);
    freeReplyObject(r);
    redisFree(c);
}

/* ---- asynchronous ---- */

static redisAsyncContext *publisher, *subscriber;
static int n_heard, n_confirmed;

static void on_published(redisAsyncContext *c, void *reply, void *data)
{
    const redisReply *r = reply;

    (void)c, (void)data;
    MUST(r && r->type == REDIS_REPLY_INTEGER);
    if (++n_confirmed == MESSAGES)
        redisAsyncDisconnect(publisher);
}

static void on_message(redisAsyncContext *c, void *reply, void *data)
{
    const redisReply *r = reply;

    (void)data;
    if (!r)
        return;
    MUST(r->type == REDIS_REPLY_ARRAY && r->elements == 3);
    if (strcmp(r->element[0]->str, "subscribe") == 0) {
        for (int i = 0; i < MESSAGES; i++)
            redisAsyncCommand(publisher, on_published, NULL, "PUBLISH news %d", i);
    } else if (strcmp(r->element[0]->str, "message") == 0) {
        MUST(strcmp(r->element[1]->str, "news") == 0 && atoi(r->element[2]->str) == n_heard);
        if (++n_heard == MESSAGES)
            redisAsyncCommand(c, on_message, NULL, "UNSUBSCRIBE news");
    } else {
        MUST(strcmp(r->element[0]->str, "unsubscribe") == 0);
        redisAsyncDisconnect(c);
    }
}

static void on_disconnect(const redisAsyncContext *c, int status)
{
    MUST(status == REDIS_OK && c);
}

static redisAsyncContext *start(int port)
{
    redisAsyncContext *c = redisAsyncConnect("127.0.0.1", port);

    MUST(c && !c->err);
    redisLibevAttach(EV_DEFAULT_ c);
    redisAsyncSetDisconnectCallback(c, on_disconnect);
    return c;
}

int main(int argc, char **argv)
{
    MUST(argc == 2);
    alarm(30); /* whoever waits in vain ends */
    try_sync(atoi(argv[1]));
    publisher = start(atoi(argv[1]));
    subscriber = start(atoi(argv[1]));
    redisAsyncCommand(subscriber, on_message, NULL, "SUBSCRIBE news");
    ev_run(EV_DEFAULT_ 0);
    MUST(n_heard == MESSAGES && n_confirmed == MESSAGES);
    puts("well");
    return 0;
}
