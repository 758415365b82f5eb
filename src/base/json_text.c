/*
 * Texts of any bytes as JSON strings, and back.
 */
#include "base/json_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
    char *utf8 = malloc(2 * strlen(text) + 1);
    size_t n = 0;
    json_t *value;

    if (!utf8)
        return NULL;
    for (const unsigned char *in = (const unsigned char *)text; *in; in++) {
        if (*in >= 0x80)
            utf8[n++] = (char)(0xc0 | *in >> 6);
        utf8[n++] = (char)(*in >= 0x80 ? 0x80 | (*in & 0x3f) : *in);
    }
    value = json_stringn(utf8, n);
    free(utf8);
    return value;
}

int json_text_read(const json_t *value, char **ret)
{
    const unsigned char *in = (const unsigned char *)json_string_value(value);
    const size_t len = json_string_length(value);
    char *text = in ? malloc(len + 1) : NULL;
    size_t n = 0;

    if (!text)
        return in ? -ENOMEM : -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        const bool is_long = in[i] == 0xc2 || in[i] == 0xc3;

        if (in[i] == '\0' || (in[i] >= 0x80 && !is_long)) {
            free(text);
            return -EBADMSG;
        }
        text[n++] = (char)(is_long ? in[i] << 6 | (in[i + 1] & 0x3f) : in[i]);
        i += is_long;
    }
    text[n] = '\0';
    *ret = text;
    return 0;
}
