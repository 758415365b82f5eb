/*
 * Escapes, written and read. Pure; any process.
 */
#include "base/escape.h"

#include <errno.h>
#include <string.h>

char *escape_bytes(const uint8_t *bytes, size_t len, char *buf)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\r\n\t\\\"", to[] = "rnt\\\"";
    char *p = buf;

    for (size_t i = 0; i < len; i++) {
        const char *named = bytes[i] ? strchr(from, bytes[i]) : NULL;

        if (named) {
            *p++ = '\\';
            *p++ = to[named - from];
        } else if (bytes[i] < 0x20 || bytes[i] >= 0x7f) {
            *p++ = '\\';
            *p++ = 'x';
            *p++ = hex[bytes[i] >> 4];
            *p++ = hex[bytes[i] & 15];
        } else {
            *p++ = (char)bytes[i];
        }
    }
    *p = '\0';
    return buf;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte, escaped or not, at @*text, which moves on. Returns the byte or -EINVAL. */
static int read_byte(const char **text)
{
    static const char from[] = "rntf\\\"", to[] = "\r\n\t\f\\\"";
    const char *p = *text, *named;

    if (*p != '\\') {
        *text = p + 1;
        return (unsigned char)*p;
    }
    if (p[1] == 'x' && hex_digit(p[2]) >= 0 && hex_digit(p[3]) >= 0) {
        *text = p + 4;
        return hex_digit(p[2]) << 4 | hex_digit(p[3]);
    }
    named = p[1] ? strchr(from, p[1]) : NULL;
    if (!named)
        return -EINVAL;
    *text = p + 2;
    return to[named - from];
}

/* With @ret NULL only check and measure. */
static int read_bytes(const char *text, uint8_t *ret, size_t size, size_t *ret_len)
{
    size_t len = 0;

    for (; *text; len++) {
        const int byte = read_byte(&text);

        if (byte < 0)
            return byte;
        if (len == size)
            return -E2BIG;
        if (ret)
            ret[len] = (uint8_t)byte;
    }
    *ret_len = len;
    return 0;
}

int escape_read(const char *text, uint8_t *ret, size_t size, size_t *ret_len)
{
    size_t len;
    const int rc = read_bytes(text, NULL, size, &len);

    return rc ? rc : read_bytes(text, ret, size, ret_len);
}
