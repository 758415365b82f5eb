/*
 * What a reload changes, and the listings: all compare and print canonical texts.
 */
#include "conf/config_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/util.h"
#include "conf/config_type.h"

int config_diff(const struct config *old, const struct config *new, config_on_change *on_change,
                void *userdata)
{
    const struct config_schema *s = old->schema;
    int n = 0;

    for (int i = 0; i < s->n_keys; i++) {
        const int key = s->listed[i];
        char *old_text = config_get(old, key);
        char *new_text = config_get(new, key);
        bool is_ok = old_text && new_text;

        if (is_ok && strcmp(old_text, new_text) != 0) {
            n++;
            if (on_change)
                on_change(&s->rows[key], old_text, new_text, userdata);
        }
        free(old_text);
        free(new_text);
        if (!is_ok)
            return -ENOMEM;
    }
    return n;
}

/* Does the file have a key of the group whose first key this is? */
static bool has_group(const struct config *c, int first)
{
    for (int key = first; key < c->schema->n_keys; key++)
        if (c->origin[key].kind == ORIGIN_FILE && c->schema->rows[key].group == first)
            return true;
    return false;
}

bool config_has_lost_all(const struct config *old, const struct config *new)
{
    bool had_any = false;

    for (int key = 0; key < old->schema->n_keys; key++) {
        if (old->schema->rows[key].group == key && has_group(old, key)) {
            had_any = true;
            if (has_group(new, key))
                return false;
        }
    }
    return had_any;
}

/* In quotes, such that libconfig reads the same bytes back. */
static void print_string(FILE *out, const char *text, size_t len)
{
    fputc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fprintf(out, "%s%c", c == '"' || c == '\\' ? "\\" : "", c);
    }
    fputc('"', out);
}

/* NET+NET as a list. */
static void print_nets(FILE *out, const char *nets, size_t len)
{
    const char *end = nets + len, *comma = "[";

    for (size_t n; nets < end; nets += n + 1, comma = ", ") {
        n = MIN(strcspn(nets, "+"), (size_t)(end - nets));
        fputs(comma, out);
        print_string(out, nets, n);
    }
    fputc(']', out);
}

/* Of a listener: NAME=VALUE, or the name of a protocol. */
static void print_word(FILE *out, const char *word, size_t len)
{
    static const char from[] = "proxy_from=";
    const char *value = memchr(word, '=', len);
    const bool is_nets = len > strlen(from) && memcmp(word, from, strlen(from)) == 0;

    if (value)
        fprintf(out, "; %.*s = ", (int)(value - word), word);
    else
        fputs("; protocol = ", out);
    value = value ? value + 1 : word;
    (is_nets ? print_nets : print_string)(out, value, len - (size_t)(value - word));
}

static void print_listener(FILE *out, const char *text, const char *end)
{
    size_t len;
    const char *address = config_bind_split(text, &len);

    if (address > text)
        fputs("{ address = ", out);
    print_string(out, address, (size_t)(end - address));
    for (const char *word = text; word < address; word += len + 1) {
        len = strcspn(word, ",@");
        print_word(out, word, len);
    }
    if (address > text)
        fputs("; }", out);
}

/* A list of libconfig may have groups in it, and an array may not. */
static void print_listeners(FILE *out, const char *text)
{
    const bool is_list = strchr(text, '@');

    fputc(is_list ? '(' : '[', out);
    while (*text) {
        const char *end = strchrnul(text, '\n');

        print_listener(out, text, end);
        if (*end == '\0')
            break;
        fputs(", ", out);
        text = end + 1;
    }
    fputc(is_list ? ')' : ']', out);
}

static void print_value(FILE *out, enum config_syntax syntax, const char *text)
{
    switch (syntax) {
    case SYNTAX_NUMBER:
    case SYNTAX_DURATION:
    case SYNTAX_BOOLEAN:
        fputs(text, out);
        break;
    case SYNTAX_STRING:
    case SYNTAX_SIZE:
        print_string(out, text, strlen(text));
        break;
    case SYNTAX_BYTES:
        fprintf(out, "\"%s\"", text);
        break;
    case SYNTAX_LISTENERS:
    case SYNTAX_STRINGS:
        print_listeners(out, text);
        break;
    }
}

/* The origin as a comment: a path may hold anything, a newline too. */
static void print_origin(FILE *out, const struct config *c, int key)
{
    char where[CONFIG_WHERE_LEN];

    fputs(";  # ", out);
    for (const char *p = config_where(c, key, where); *p; p++)
        fputc((unsigned char)*p < 0x20 ? '?' : *p, out);
    fputc('\n', out);
}

int config_dump(const struct config *c, FILE *out)
{
    for (int i = 0; i < c->schema->n_keys; i++) {
        const int key = c->schema->listed[i];
        const struct config_row *row = &c->schema->rows[key];
        char *text = config_get(c, key);

        if (!text)
            return -ENOMEM;
        if (row->group == key)
            fprintf(out, "%s%.*s = {\n", key ? "};\n" : "", (int)row->group_len, row->name);
        fprintf(out, "    %s = ", config_name_short(row));
        print_value(out, row->type->syntax, text);
        print_origin(out, c, key);
        free(text);
    }
    fputs("};\n", out);
    return ferror(out) ? -EIO : 0;
}

/* ---- a manual page ---- */

/* As mdoc has it: no byte of it is a request, an escape or the begin of an argument. */
static void print_mdoc(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '"')
            fputs("\\(dq", out);
        else
            fputc(*text, out);
    }
}

static int print_manual_row(FILE *out, const struct config *c, int key)
{
    const struct config_row *row = &c->schema->rows[key];
    char *text = config_get(c, key), *value = NULL;
    size_t len;
    FILE *f = text ? open_memstream(&value, &len) : NULL;

    if (f) {
        print_value(f, row->type->syntax, text);
        fclose(f);
    }
    free(text);
    if (!value)
        return -ENOMEM;
    fprintf(out, ".It Ic %s No = Ar %s\n", row->name, row->type->word);
    print_mdoc(out, row->help);
    fputs(":\n", out);
    print_mdoc(out, row->allowed);
    fputs(".\nThe default is\n.Li \"", out);
    print_mdoc(out, value);
    fputs("\" .\n", out);
    free(value);
    return 0;
}

int config_manual(const struct config_schema *s, FILE *out)
{
    struct config *c = config_new(s);
    int group = NOT_A_KEY, r = c ? 0 : -ENOMEM;

    for (int i = 0; r == 0 && i < s->n_keys; i++) {
        const struct config_row *row = &s->rows[s->listed[i]];

        if (row->owner == 0)
            continue;
        if (row->group != group)
            fprintf(out, "%s.Ss The group %.*s\n.Bl -tag -width Ds\n",
                    group == NOT_A_KEY ? "" : ".El\n", (int)row->group_len, row->name);
        group = row->group;
        r = print_manual_row(out, c, s->listed[i]);
    }
    if (group != NOT_A_KEY)
        fputs(".El\n", out);
    config_free(c);
    return r == 0 && ferror(out) ? -EIO : r;
}
