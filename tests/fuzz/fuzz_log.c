/*
 * Log escaping: whatever message, actor, key and value are, the line is one line of plain UTF-8
 * without a code point that steers anything, and JSON parses to what went in.
 */
#include "fuzz/fuzz.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

/* The shortest way to say "valid UTF-8", apart from the one under test: jansson's. */
static bool is_utf8(const char *bytes, size_t len)
{
    json_t *s = json_stringn(bytes, len);
    json_decref(s);
    return s != NULL;
}

static void check_plain(const char *line, size_t len)
{
    must(len > 0 && line[len - 1] == '\n' && line[len] == '\0' && is_utf8(line, len));
    for (size_t i = 0; i + 1 < len; i++) {
        const unsigned char *c = (const unsigned char *)&line[i];
        must(c[0] >= 0x20 && c[0] != 0x7f);
        must(!(c[0] == 0xc2 && c[1] < 0xa0)); /* C1 */
        must(!(c[0] == 0xe2 && c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae));
        must(!(c[0] == 0xe2 && c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9));
    }
}

static void check_json(const char *line, size_t len, const char *const parts[4])
{
    json_error_t error;
    json_t *root = json_loadb(line, len - 1, 0, &error);
    must(root != NULL);
    bool is_cut = json_is_true(json_object_get(root, "cut"));
    const char *msg = json_string_value(json_object_get(root, "msg"));
    const char *str = json_string_value(json_object_get(root, "value"));
    bool is_shadowed = strcmp(parts[1], "msg") == 0; /* of two members the last counts */
    if (!is_cut && !is_shadowed && is_utf8(parts[0], strlen(parts[0])))
        must(msg && strcmp(msg, parts[0]) == 0);
    if (!is_cut && is_utf8(parts[3], strlen(parts[3])))
        must(str && strcmp(str, parts[3]) == 0);
    json_decref(root);
}

/* In text a reader splits at blanks outside of quotes: as many words as there are fields. */
static void check_text(const char *line, size_t len, unsigned n_fields)
{
    bool is_quoted = false, is_cut = strstr(line, " cut=true\n") != NULL;
    unsigned blanks = 0;
    for (size_t i = 0; i < len; i++) {
        if (is_quoted && line[i] == '\\')
            i++;
        else if (line[i] == '"')
            is_quoted = !is_quoted;
        else if (line[i] == ' ' && !is_quoted)
            blanks++;
    }
    must(!is_quoted);
    must(is_cut || blanks == n_fields - 1);
}

static void check(const char *const parts[4], uint64_t number, size_t size)
{
    const struct log_field fields[] = {
        F_STR(parts[1], parts[2]),
        F_UINT("number", number),
        F_STR("value", parts[3]),
        F_INT("signed", number),
        {.key = NULL},
    };
    /* A block of the exact size, so that a sanitizer sees a write beyond it. */
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        char *buf = malloc(size);
        must(buf != NULL);
        size_t len = log_render(buf, size, (enum log_format)format, LOG_LEVEL_INFO, parts[1],
                                (int)number, number, parts[0], fields);
        must(len < size);
        check_plain(buf, len);
        if (format == LOG_FORMAT_JSON)
            check_json(buf, len, parts);
        else
            check_text(buf, len, *parts[1] ? 9 : 8); /* one without a key is left out */
        free(buf);
    }
}

/* Two bytes of size, eight of a number, then four texts that end at NUL or '|'. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { HEAD = 10, PARTS = 4 };
    const char *parts[PARTS];
    uint64_t number;

    if (size < HEAD)
        return 0;
    memcpy(&number, data + 2, sizeof(number));
    size_t line_size = 128 + (size_t)(data[0] | data[1] << 8) % (LOG_LINE_MAX - 127);
    char *text = calloc(1, size - HEAD + PARTS);
    must(text != NULL);
    memcpy(text, data + HEAD, size - HEAD);
    char *p = text;
    for (int i = 0; i < PARTS; i++) {
        size_t n = strcspn(p, "|");
        parts[i] = p;
        if (p[n] == '|' || (size_t)(p - text) + n < size - HEAD) {
            p[n] = '\0';
            p += n + 1;
        } else {
            p += n;
        }
    }
    check(parts, number, line_size);
    free(text);
    return 0;
}
