/*
 * One log line as bytes: the pure half of log. Everything that a peer can have written is escaped
 * here, so that a line stays one line, a terminal is not steered, text reads in the order in which
 * it is stored, and JSON parses. A handler of a fatal signal renders its lines here, too: nothing
 * here allocates, locks, or calls what may (snprintf, strftime).
 */
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include "base/num.h"
#include "base/util.h"

static const char *const levels[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_ERROR] = "error",
};

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < ARRAY_SIZE(levels) ? levels[level] : "error";
}

int log_level_parse(const char *text, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(text, levels[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* What is needed behind any cut: the mark, the end of the line, NUL. */
enum { RENDER_MIN_BYTES = 128, TAIL_BYTES = 24 };

struct line {
    char *buf;
    size_t len;
    size_t limit; /* of what is not the tail; len never exceeds it */
    enum log_format format;
    bool is_cut;
};

/* All of @n bytes or nothing; nothing follows what did not fit. */
static bool put(struct line *l, const char *bytes, size_t n)
{
    if (l->is_cut || n > l->limit - l->len) {
        l->is_cut = true;
        return false;
    }
    memcpy(l->buf + l->len, bytes, n);
    l->len += n;
    return true;
}

/*
 * One code point of valid UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
 * Returns its length, 0 if the bytes are none.
 */
static size_t decode_utf8(const unsigned char *s, size_t len, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n == 0 || n > len || s[0] > 0xf4)
        return 0;
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = (c << 6) | (s[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return n;
}

/* Code points that steer terminals, break lines, turn the reading direction or cannot be seen. */
static bool is_hidden(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x200b, 0x200f},
        {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    }
    return false;
}

/* "\u001b" */
static char *put_unit(char *p, uint32_t unit)
{
    return num_put(mempcpy(p, "\\u", 2), unit, 16, 4);
}

static void put_escape(struct line *l, uint32_t c)
{
    char esc[NUM_PUT_LEN], *p = esc;

    if (c == '\n' || c == '\r' || c == '\t')
        p = mempcpy(p, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t", 2);
    else if (c > 0xffff) /* a surrogate pair, as JSON has it */
        p = put_unit(put_unit(p, 0xd7c0 + (c >> 10)), 0xdc00 | (c & 0x3ff));
    else
        p = put_unit(p, c);
    put(l, esc, (size_t)(p - esc));
}

/* A byte that is no UTF-8: text shows it, JSON strings cannot. */
static void put_bad_byte(struct line *l, unsigned char byte)
{
    char esc[NUM_PUT_LEN], *p = esc;

    if (l->format == LOG_FORMAT_JSON)
        p = put_unit(p, 0xfffd);
    else
        p = num_put(mempcpy(p, "\\x", 2), byte, 16, 2);
    put(l, esc, (size_t)(p - esc));
}

static void put_escaped(struct line *l, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    /* More than the line can hold need not be looked at. */
    size_t len = strnlen(text, l->limit + 1);

    while (len > 0 && !l->is_cut) {
        uint32_t c = 0;
        size_t n = decode_utf8(s, len, &c);
        if (n == 0) {
            put_bad_byte(l, s[0]);
            n = 1;
        } else if (c == '"' || c == '\\') {
            put(l, c == '"' ? "\\\"" : "\\\\", 2);
        } else if (is_hidden(c)) {
            put_escape(l, c);
        } else {
            put(l, (const char *)s, n);
        }
        s += n;
        len -= n;
    }
}

/* put_key has seen to the room for both quotes; the second is kept free, so that a cut has it too.
 */
static void put_string(struct line *l, const char *text)
{
    l->limit--;
    put(l, "\"", 1);
    put_escaped(l, text ? text : "");
    l->limit++;
    l->buf[l->len++] = '"';
}

/* logfmt readers take a value without quotes up to the next blank. */
static bool is_bare(const char *text)
{
    if (!text || !*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f || *p == '"' || *p == '=' || *p == '\\')
            return false;
    }
    return true;
}

static void put_value(struct line *l, const char *text)
{
    if (l->format == LOG_FORMAT_TEXT && is_bare(text))
        put_escaped(l, text);
    else
        put_string(l, text);
}

/* Keys come from our own code; what would break the format becomes '_' all the same. */
static void put_key(struct line *l, const char *key)
{
    char head[64];
    size_t n = 0;
    bool is_json = l->format == LOG_FORMAT_JSON;

    if (l->len > 0)
        head[n++] = is_json ? ',' : ' ';
    else if (is_json)
        head[n++] = '{';
    if (is_json)
        head[n++] = '"';
    for (; *key && n < sizeof(head) - 3; key++) {
        bool is_plain = (*key >= 'a' && *key <= 'z') || (*key >= 'A' && *key <= 'Z') ||
                        (*key >= '0' && *key <= '9') || *key == '_' || *key == '.' || *key == '-';
        head[n++] = is_plain ? *key : '_';
    }
    if (is_json)
        head[n++] = '"';
    head[n++] = is_json ? ':' : '=';
    /* A key never stands without its value: there is room for "" or it is left out. */
    if (l->limit - l->len < n + 2)
        l->is_cut = true;
    put(l, head, n);
}

static void put_str(struct line *l, const char *key, const char *value)
{
    put_key(l, key);
    if (!l->is_cut)
        put_value(l, value);
}

static void put_number(struct line *l, const char *key, const char *digits)
{
    size_t before = l->len;
    put_key(l, key);
    if (!put(l, digits, strlen(digits)))
        l->len = before;
}

static unsigned days_of_year(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 366 : 365;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month] + (month == 1 && days_of_year(year) == 366 ? 1u : 0u);
}

static void put_time(struct line *l, uint64_t wall_ns)
{
    const uint64_t seconds = wall_ns / 1000000000u; /* 64 bits of nanoseconds end in 2554 */
    unsigned days = (unsigned)(seconds / 86400), of_day = (unsigned)(seconds % 86400);
    unsigned year = 1970, month = 0;

    for (; days >= days_of_year(year); year++)
        days -= days_of_year(year);
    for (; days >= days_of_month(year, month); month++)
        days -= days_of_month(year, month);

    const struct {
        uint64_t value;
        unsigned char width;
        char end;
    } parts[] = {
        {year, 4, '-'},
        {month + 1, 2, '-'},
        {days + 1, 2, 'T'},
        {of_day / 3600, 2, ':'},
        {of_day / 60 % 60, 2, ':'},
        {of_day % 60, 2, '.'},
        {wall_ns / 1000000u % 1000u, 3, 'Z'},
    };
    char text[2 * NUM_PUT_LEN], *p = text;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        p = num_put(p, parts[i].value, 10, parts[i].width);
        *p++ = parts[i].end;
    }
    *p = '\0';
    put_str(l, "ts", text);
}

static void put_field(struct line *l, const struct log_field *f)
{
    char digits[NUM_PUT_LEN];

    switch (f->kind) {
    case LOG_FIELD_STR:
        put_str(l, f->key, f->str);
        break;
    case LOG_FIELD_INT:
        digits[0] = '-';
        num_put(digits + (f->i < 0), f->i < 0 ? -(uint64_t)f->i : (uint64_t)f->i, 10, 1);
        put_number(l, f->key, digits);
        break;
    case LOG_FIELD_UINT:
        num_put(digits, f->u, 10, 1);
        /* Readers of JSON take integers to be signed; a text keeps all digits. */
        if (l->format == LOG_FORMAT_JSON && f->u > INT64_MAX)
            put_str(l, f->key, digits);
        else
            put_number(l, f->key, digits);
        break;
    }
}

static size_t end_line(struct line *l)
{
    bool is_json = l->format == LOG_FORMAT_JSON;
    char *p = l->buf + l->len;
    if (l->is_cut)
        p = stpcpy(p, is_json ? ",\"cut\":true" : " cut=true");
    p = stpcpy(p, is_json ? "}\n" : "\n");
    return (size_t)(p - l->buf);
}

size_t log_render(char *buf, size_t size, enum log_format format, enum log_level level,
                  const char *actor, int pid, uint64_t wall_ns, const char *message,
                  const struct log_field *fields)
{
    if (size < RENDER_MIN_BYTES)
        return 0;
    struct line l = {.buf = buf, .limit = size - TAIL_BYTES, .format = format};
    put_time(&l, wall_ns);
    put_str(&l, "level", log_level_name(level));
    put_str(&l, "actor", actor);
    put_field(&l, &F_INT("pid", pid));
    put_key(&l, "msg");
    if (!l.is_cut)
        put_string(&l, message);
    for (const struct log_field *f = fields; f && f->key && !l.is_cut; f++)
        if (*f->key)
            put_field(&l, f);
    return end_line(&l);
}
