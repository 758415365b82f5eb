/*
 * The mailbox codec. Pure; the arbiter and every actor. What encode accepts decode accepts, and
 * nothing that decode accepts surprises its reader: one shape, known types, bounded nesting.
 */
#include "wire/message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"

#define ID_LIMIT (UINT64_C(1) << 53) /* above it JSON readers lose digits */

void message_set_uint(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)MIN(value, (uint64_t)INT64_MAX)));
}

void message_fini(struct message *m)
{
    json_decref(m->args);
    m->args = NULL;
}

static bool is_name(const char *s, size_t len, bool may_have_dots)
{
    if (len == 0 || len >= MESSAGE_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
              (c == '.' && may_have_dots)))
            return false;
    }
    return true;
}

/*
 * Before the parser sees it, or after the printer: braces are balanced no deeper than allowed and
 * no string holds NUL, which C strings would cut.
 */
bool message_is_bounded(const char *data, size_t len)
{
    bool is_string = false;
    int depth = 0;
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (is_string && c == '\\') {
            if (len - i > 5 && memcmp(&data[i + 1], "u0000", 5) == 0)
                return false;
            i++;
        } else if (c == '"') {
            is_string = !is_string;
        } else if (!is_string && (c == '{' || c == '[')) {
            if (++depth > MESSAGE_DEPTH_MAX)
                return false;
        } else if (!is_string && (c == '}' || c == ']')) {
            depth--;
        }
    }
    return true;
}

static bool is_terminated_name(const char *s, bool may_have_dots)
{
    return is_name(s, strnlen(s, MESSAGE_NAME_MAX), may_have_dots);
}

int message_encode(const struct message *m, char *buf, size_t size, size_t *ret_len)
{
    json_t *root;
    size_t len;

    if (!is_terminated_name(m->command, false) || !is_terminated_name(m->sender, true) ||
        !is_terminated_name(m->target, true) || m->id >= ID_LIMIT ||
        (m->args && !json_is_object(m->args)))
        return -EINVAL;
    root = json_pack("{s:s,s:I,s:s,s:s,s:o}", "command", m->command, "id", (json_int_t)m->id,
                     "sender", m->sender, "target", m->target, "args",
                     m->args ? json_incref(m->args) : json_object());
    if (!root)
        return -ENOMEM;
    size = MIN(size, (size_t)MESSAGE_MAX_BYTES);
    len = json_dumpb(root, buf, size, JSON_COMPACT);
    json_decref(root);
    if (len == 0)
        return -EINVAL;
    if (len > size)
        return -EMSGSIZE;
    if (!message_is_bounded(buf, len))
        return -EINVAL;
    *ret_len = len;
    return 0;
}

static bool take_name(const json_t *root, const char *key, bool may_have_dots, char *ret)
{
    const json_t *value = json_object_get(root, key);
    size_t len = json_string_length(value);
    if (!json_is_string(value) || !is_name(json_string_value(value), len, may_have_dots))
        return false;
    memcpy(ret, json_string_value(value), len + 1);
    return true;
}

static int take_message(const json_t *root, struct message *ret)
{
    struct message m;
    const json_t *id = json_object_get(root, "id");
    json_t *args = json_object_get(root, "args");

    memset(&m, 0, sizeof(m));
    if (json_object_size(root) != 5 || !json_is_integer(id) || json_integer_value(id) < 0 ||
        (uint64_t)json_integer_value(id) >= ID_LIMIT || !json_is_object(args) ||
        !take_name(root, "command", false, m.command) ||
        !take_name(root, "sender", true, m.sender) || !take_name(root, "target", true, m.target))
        return -EBADMSG;
    m.id = (uint64_t)json_integer_value(id);
    m.args = json_incref(args);
    *ret = m;
    return 0;
}

int message_decode(const char *data, size_t len, struct message *ret)
{
    json_error_t error;

    /* The parser would skip blanks around the object. */
    if (len < 2 || len > MESSAGE_MAX_BYTES || data[0] != '{' || data[len - 1] != '}' ||
        !message_is_bounded(data, len))
        return -EBADMSG;
    json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    int r = take_message(root, ret);
    json_decref(root);
    return r;
}
