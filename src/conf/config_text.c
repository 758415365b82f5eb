/*
 * A reader of libconfig's grammar that knows just enough of it: names, brackets, strings, comments
 * and numbers. Where it and libconfig might differ, config_file.c compares what both have found.
 */
#include "conf/config_text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/util.h"
#include "conf/config_type.h"

struct frame {
    char bracket;
    unsigned line;
};

struct scan {
    const struct config_schema *schema;
    char *text; /* borrowed; statements with errors are blanked */
    size_t len;
    size_t pos;
    unsigned line;
    const char *path;
    struct config_text *out;
    struct config_errors *errors;
    bool is_unreadable;

    struct frame stack[CONFIG_TEXT_DEPTH];
    unsigned depth;
    int group; /* inside a known group: its first key; else NOT_A_KEY */
    int key; /* whose value is being read; else NOT_A_KEY */
    bool is_value_next;
    size_t key_start;
    bool has_group[CONFIG_KEYS_MAX]; /* by its first key */

    bool is_blanking; /* the statement from blank_from on, which stands at blank_depth */
    size_t blank_from;
    unsigned blank_depth;
};

/* ---- errors ---- */

static void blank(struct scan *s, size_t end)
{
    for (size_t i = s->blank_from; i < end; i++)
        if (s->text[i] != '\n')
            s->text[i] = ' ';
    s->is_blanking = false;
}

/* What begins at @from, within @depth brackets, is blanked when its end is found. */
static void begin_blank(struct scan *s, size_t from, unsigned depth)
{
    s->is_blanking = true;
    s->blank_from = from;
    s->blank_depth = depth;
}

#define REPORT(s, line, ...) config_errors_add((s)->errors, (s)->path, (line), __VA_ARGS__)

#define GIVE_UP(s, line, ...)                                                                      \
    do {                                                                                           \
        REPORT(s, line, __VA_ARGS__);                                                              \
        (s)->is_unreadable = true;                                                                 \
    } while (0)

/* ---- characters ---- */

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("_*+-.", c));
}

static bool is_number_start(char c)
{
    return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

static void advance(struct scan *s)
{
    s->line += s->text[s->pos++] == '\n';
}

static void skip_line(struct scan *s)
{
    while (s->pos < s->len && s->text[s->pos] != '\n')
        s->pos++;
}

static void skip_comment(struct scan *s)
{
    const char *end = strstr(s->text + s->pos + 2, "*/");
    unsigned line = s->line;

    if (!end) {
        GIVE_UP(s, line, "a comment begins here and does not end, allowed: /* ... */");
        s->pos = s->len;
        return;
    }
    while (s->text + s->pos < end + 2)
        advance(s);
}

/* Blanks and comments; libconfig counts no other bytes as such. */
static void skip_blank(struct scan *s)
{
    while (s->pos < s->len) {
        const char *p = s->text + s->pos;

        if (*p == '#' || (*p == '/' && p[1] == '/'))
            skip_line(s);
        else if (*p == '/' && p[1] == '*')
            skip_comment(s);
        else if (strchr(" \t\r\n\f", *p))
            advance(s);
        else
            return;
    }
}

/* ---- statements ---- */

/* " (did you mean X?)", or nothing. Returns @buf. */
static const char *ask_back(const struct scan *s, int group, const char *name, size_t len,
                            char *buf, size_t size)
{
    size_t meant_len;
    const char *meant = config_name_meant(s->schema, group, name, len, &meant_len);

    buf[0] = '\0';
    if (meant_len > 0)
        snprintf(buf, size, " (did you mean %.*s?)", (int)meant_len, meant);
    return buf;
}

/* The key whose full name, with a dot, stands where a group should; or NOT_A_KEY. */
static int find_dotted(const struct scan *s, const char *name, size_t len)
{
    const char *dot = memchr(name, '.', len);
    const int group =
        dot ? config_name_find_group(s->schema, name, (size_t)(dot - name)) : NOT_A_KEY;

    if (group == NOT_A_KEY)
        return NOT_A_KEY;
    return config_name_find(s->schema, group, dot + 1, len - (size_t)(dot + 1 - name));
}

static void scan_group_name(struct scan *s, size_t start, size_t len, unsigned line)
{
    const char *name = s->text + start;
    char names[256], shown[CONFIG_SHOW_LEN], meant[CONFIG_NAME_MAX + 32];
    int group = config_name_find_group(s->schema, name, len),
        key = config_name_find(s->schema, NOT_A_KEY, name, len), dotted = find_dotted(s, name, len);
    bool is_group = s->text[s->pos] == '{';

    s->group = NOT_A_KEY;
    config_show(name, len, shown);
    if (dotted != NOT_A_KEY)
        key = dotted;
    if (group != NOT_A_KEY && !is_group)
        REPORT(s, line, "%s: not a group, allowed: %s = { KEY = VALUE; ... }", shown, shown);
    else if (group == NOT_A_KEY && key != NOT_A_KEY)
        REPORT(s, line, "%s: outside of its group, allowed: %.*s = { %s = VALUE; ... }", shown,
               (int)s->schema->rows[key].group_len, s->schema->rows[key].name,
               config_name_short(&s->schema->rows[key]));
    else if (group == NOT_A_KEY)
        REPORT(s, line, "%s: unknown group%s, allowed: %s", shown,
               ask_back(s, NOT_A_KEY, name, len, meant, sizeof(meant)),
               config_name_list(s->schema, NOT_A_KEY, names, sizeof(names)));
    else if (s->has_group[group])
        REPORT(s, line, "%s: given twice, allowed: one group of that name", shown);
    else {
        s->has_group[group] = true;
        s->group = group;
        return;
    }
    begin_blank(s, start, s->depth);
}

static void scan_key_name(struct scan *s, size_t start, size_t len, unsigned line)
{
    const struct config_row *rows = s->schema->rows;
    const char *name = s->text + start, *group = rows[s->group].name;
    int prefix = (int)rows[s->group].group_len,
        key = config_name_find(s->schema, s->group, name, len);
    char names[512], shown[CONFIG_SHOW_LEN], meant[CONFIG_NAME_MAX + 32];

    config_show(name, len, shown);
    if (key == NOT_A_KEY)
        REPORT(s, line, "%.*s.%s: unknown key%s, allowed: %s", prefix, group, shown,
               config_name_find_group(s->schema, name, len) == NOT_A_KEY
                   ? ask_back(s, s->group, name, len, meant, sizeof(meant))
                   : "; is a } missing before it?",
               config_name_list(s->schema, s->group, names, sizeof(names)));
    else if (s->out->key[key].line)
        REPORT(s, line, "%s: given twice, first in line %u, allowed: once",
               s->schema->rows[key].name, s->out->key[key].line);
    else {
        s->out->key[key].line = line;
        s->key = key;
        s->key_start = start;
        s->is_value_next = true;
        return;
    }
    begin_blank(s, start, s->depth);
}

static void end_value(struct scan *s)
{
    s->key = NOT_A_KEY;
    s->is_value_next = false;
}

static void scan_name(struct scan *s, size_t start, size_t len, unsigned line)
{
    if (s->is_blanking && s->blank_depth == s->depth)
        blank(s, start);
    end_value(s);
    s->pos++;
    skip_blank(s);
    if (s->is_blanking)
        return;
    if (s->depth == 0)
        scan_group_name(s, start, len, line);
    else if (s->depth == 1 && s->group != NOT_A_KEY)
        scan_key_name(s, start, len, line);
}

static bool is_boolean(const char *word, size_t len)
{
    return (len == 4 && strncasecmp(word, "true", len) == 0) ||
           (len == 5 && strncasecmp(word, "false", len) == 0);
}

/* 30s, 64KiB: libconfig would take the letters for the name of the next key. */
static bool needs_quotes(const struct scan *s, const char *word, size_t len)
{
    const enum config_syntax syntax = s->schema->rows[s->key].type->syntax;
    char text[32];
    uint64_t n;

    if (len >= sizeof(text) || !isalpha((unsigned char)word[len - 1]))
        return false;
    memcpy(text, word, len);
    text[len] = '\0';
    return (syntax == SYNTAX_DURATION && num_parse_duration_ms(text, 0, UINT64_MAX, &n) == 0) ||
           (syntax == SYNTAX_SIZE && num_parse_size(text, 0, UINT64_MAX, &n) == 0);
}

static void scan_bare_value(struct scan *s, size_t start, size_t len)
{
    const char *word = s->text + start;
    char shown[CONFIG_SHOW_LEN];

    if (needs_quotes(s, word, len)) {
        config_show(word, len, shown);
        REPORT(s, s->out->key[s->key].line, "%s: %s has no quotes, write \"%s\", allowed: %s",
               s->schema->rows[s->key].name, shown, shown, s->schema->rows[s->key].allowed);
        begin_blank(s, s->key_start, s->depth);
    } else if (is_number_start(*word)) {
        s->out->key[s->key].number = word;
        s->out->key[s->key].number_len = len;
    } else if (!is_boolean(word, len)) {
        REPORT(s, s->out->key[s->key].line, "%s: %s is a bare word, allowed: %s",
               s->schema->rows[s->key].name, config_show(word, len, shown),
               s->schema->rows[s->key].allowed);
        begin_blank(s, s->key_start, s->depth);
    }
}

static void scan_word(struct scan *s)
{
    size_t start = s->pos, len;
    unsigned line = s->line;

    while (s->pos < s->len && is_word(s->text[s->pos]))
        s->pos++;
    len = s->pos - start;
    skip_blank(s);
    /* "5daemon" where a value belongs is a bad number, although libconfig reads 5 and a name. */
    if ((s->text[s->pos] == '=' || s->text[s->pos] == ':') &&
        !(s->is_value_next && is_number_start(s->text[start]))) {
        scan_name(s, start, len, line);
        return;
    }
    if (s->is_value_next)
        scan_bare_value(s, start, len);
    s->is_value_next = false;
}

static void scan_string(struct scan *s)
{
    static const char nul[] = "\\x00";
    unsigned line = s->line;
    bool has_nul = false;

    s->is_value_next = false;
    for (advance(s); s->pos < s->len && s->text[s->pos] != '"'; advance(s)) {
        if (s->text[s->pos] != '\\')
            continue;
        has_nul |= strncasecmp(s->text + s->pos, nul, 4) == 0;
        if (s->text[s->pos + 1] == '"' || s->text[s->pos + 1] == '\\')
            s->pos++;
    }
    if (s->pos >= s->len)
        GIVE_UP(s, line, "a string begins here and does not end, allowed: \"...\"");
    else
        s->pos++;
    if (has_nul)
        GIVE_UP(s, line,
                "%s: a string with \\x00, which libconfig cannot hold, allowed: any other "
                "byte",
                s->key == NOT_A_KEY ? "string" : s->schema->rows[s->key].name);
}

/* A group as an element of a list is one. */
static bool is_listener(const struct scan *s)
{
    return s->schema->rows[s->key].type->syntax == SYNTAX_LISTENERS && s->depth == 2 &&
           s->stack[1].bracket == '(';
}

static void open_bracket(struct scan *s)
{
    char bracket = s->text[s->pos];

    if (s->depth == CONFIG_TEXT_DEPTH) {
        GIVE_UP(s, s->line, "nested too deeply, allowed: %d levels", CONFIG_TEXT_DEPTH);
        return;
    }
    if (bracket == '{' && s->key != NOT_A_KEY && !s->is_blanking && !is_listener(s)) {
        REPORT(s, s->line, "%s: holds a group, allowed: %s", s->schema->rows[s->key].name,
               s->schema->rows[s->key].allowed);
        begin_blank(s, s->key_start, 1);
    }
    s->is_value_next = false;
    s->stack[s->depth++] = (struct frame){bracket, s->line};
    s->pos++;
}

static void close_bracket(struct scan *s)
{
    char bracket = s->text[s->pos], opening = bracket == ')' ? '(' : (char)(bracket - 2);
    struct frame *top = s->depth ? &s->stack[s->depth - 1] : NULL;

    if (!top) {
        GIVE_UP(s, s->line, "%c closes nothing, allowed: one for each %c", bracket, opening);
        return;
    }
    if (top->bracket != opening) {
        GIVE_UP(s, s->line, "%c does not close the %c of line %u, allowed: pairs", bracket,
                top->bracket, top->line);
        return;
    }
    if (s->is_blanking && s->blank_depth == s->depth)
        blank(s, s->pos);
    s->depth--;
    if (s->depth <= 1)
        end_value(s);
    if (s->depth == 0)
        s->group = NOT_A_KEY;
    s->pos++;
}

static void scan_token(struct scan *s)
{
    char c = s->text[s->pos];

    if (is_word(c))
        scan_word(s);
    else if (c == '"')
        scan_string(s);
    else if (c == '{' || c == '[' || c == '(')
        open_bracket(s);
    else if (c == '}' || c == ']' || c == ')')
        close_bracket(s);
    else if (c == '@')
        GIVE_UP(s, s->line, "@include: another file is never read, allowed: all keys in this one");
    else
        s->pos++; /* separators; and what libconfig will call a syntax error */
}

static bool has_nul(struct scan *s)
{
    const char *nul = memchr(s->text, '\0', s->len);
    unsigned line = 1;

    for (const char *p = s->text; nul && p < nul; p++)
        line += *p == '\n';
    if (nul)
        GIVE_UP(s, line, "a NUL byte, allowed: text");
    return nul;
}

int config_text_scan(const struct config_schema *schema, char *text, size_t len, const char *path,
                     struct config_text *ret, struct config_errors *errors)
{
    struct scan s = {.schema = schema,
                     .text = text,
                     .len = len,
                     .line = 1,
                     .path = path,
                     .out = ret,
                     .errors = errors,
                     .group = NOT_A_KEY,
                     .key = NOT_A_KEY};

    memset(ret, 0, sizeof(*ret));
    if (has_nul(&s))
        return CONFIG_TEXT_UNREADABLE;
    for (skip_blank(&s); s.pos < s.len && !s.is_unreadable; skip_blank(&s))
        scan_token(&s);
    if (s.is_unreadable)
        return CONFIG_TEXT_UNREADABLE;
    if (s.depth) {
        const struct frame *top = &s.stack[s.depth - 1];

        REPORT(&s, top->line, "%c is never closed, allowed: pairs", top->bracket);
        return CONFIG_TEXT_UNREADABLE;
    }
    if (s.is_blanking)
        blank(&s, s.len);
    return 0;
}
