/*
 * The mailbox codec: whatever decode accepts has the documented shape, and encode and decode agree
 * on it.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire/message.h"

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static int depth(const json_t *value)
{
    int deepest = 0;
    size_t i;
    const char *key;
    json_t *item;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            int d = depth(item);
            deepest = d > deepest ? d : deepest;
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item)
        {
            int d = depth(item);
            deepest = d > deepest ? d : deepest;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

static void check_name(const char *name, const char *allowed)
{
    size_t len = strnlen(name, MESSAGE_NAME_MAX);
    must(len > 0 && len < MESSAGE_NAME_MAX && strspn(name, allowed) == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char buf[MESSAGE_MAX_BYTES];
    struct message m, again;
    size_t len;

    if (message_decode((const char *)data, size, &m) != 0)
        return 0;
    check_name(m.command, "abcdefghijklmnopqrstuvwxyz0123456789_");
    check_name(m.sender, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    check_name(m.target, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    must(m.id < UINT64_C(1) << 53);
    must(json_is_object(m.args) && depth(m.args) < MESSAGE_DEPTH_MAX);

    /* Escapes and numbers can be longer than they came; nothing else may be wrong with it. */
    int r = message_encode(&m, buf, sizeof(buf), &len);
    must(r == 0 || (r == -EMSGSIZE && size > sizeof(buf) / 6));
    if (r == 0) {
        for (size_t i = 0; i < len; i++)
            must((unsigned char)buf[i] >= 0x20);
        must(message_decode(buf, len, &again) == 0);
        must(strcmp(m.command, again.command) == 0 && strcmp(m.sender, again.sender) == 0 &&
             strcmp(m.target, again.target) == 0 && m.id == again.id &&
             json_equal(m.args, again.args));
        message_fini(&again);
    }
    message_fini(&m);
    return 0;
}
