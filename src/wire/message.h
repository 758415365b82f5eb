/*
 * The mailbox codec: one JSON object per datagram,
 * {"command":"…","id":N,"sender":"…","target":"…","args":{…}}. Pure bytes in, struct out.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_MAX_BYTES = 65536, MESSAGE_NAME_MAX = 32, MESSAGE_DEPTH_MAX = 16 };

struct message {
    char command[MESSAGE_NAME_MAX]; /* [a-z0-9_]+ */
    uint64_t id; /* 0 = no reply expected; below 2^53 */
    char sender[MESSAGE_NAME_MAX]; /* "arbiter", "worker.2"; [a-z0-9._]+ */
    char target[MESSAGE_NAME_MAX];
    json_t *args; /* owned: an object; NULL is sent as the empty one, and decode gives an object */
};

/*
 * message_is_bounded - no deeper than MESSAGE_DEPTH_MAX and without NUL in its strings, as a
 * message or part of one may be? On text that is no JSON the answer is of no matter.
 */
bool message_is_bounded(const char *data, size_t len);

/* message_set_uint - a number as a member of @object, which is an argument or an answer */
void message_set_uint(json_t *object, const char *key, uint64_t value);

/* message_fini - drop args; the struct may be reused */
void message_fini(struct message *m);

/*
 * message_encode - @buf of MESSAGE_MAX_BYTES is always enough or the message is refused
 * Compact UTF-8. Returns 0, -EINVAL (a name is malformed, args is no object or nested too deep),
 * -EMSGSIZE or -ENOMEM.
 */
int message_encode(const struct message *m, char *buf, size_t size, size_t *ret_len);

/*
 * message_decode - strict: unknown members, wrong types, missing members, duplicate keys, trailing
 * bytes and nesting above MESSAGE_DEPTH_MAX are refused
 * @ret   on 0 owns its args; untouched on failure
 * Returns 0, -EBADMSG or -ENOMEM.
 */
int message_decode(const char *data, size_t len, struct message *ret);

#endif
