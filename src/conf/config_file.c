/*
 * The parsing child's work: the file's bytes, the checks of the text, libconfig, and the texts of
 * the values that it found; whether they are allowed is the parent's to say. The only includer of
 * libconfig.h.
 */
#include "conf/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/escape.h"
#include "base/fds.h"
#include "base/util.h"
#include "conf/config_codec.h"
#include "conf/config_text.h"
#include "conf/config_type.h"

struct reader {
    const struct config_schema *schema;
    const char *path;
    json_t *values; /* borrowed */
    struct config_errors *errors;
    struct config_text text;
    size_t n_found;
    bool is_unclear; /* libconfig saw something else than the scan of the text */
};

/* ---- the file's bytes ---- */

static const char *file_kind(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    return S_ISSOCK(mode) ? "a socket" : "a device";
}

/* Not blocking, for the moment between open and fstat: the path may be a FIFO or a terminal. */
static int open_file(struct reader *r, int *ret_fd)
{
    static const char allowed[] = "allowed: a regular file of at most 1 MiB";
    int fd = open(r->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        config_errors_add(r->errors, r->path, 0, "cannot be read: %s, %s", strerror(errno),
                          allowed);
    } else if (!S_ISREG(st.st_mode)) {
        config_errors_add(r->errors, r->path, 0, "is %s, %s", file_kind(st.st_mode), allowed);
    } else if (st.st_size > CONFIG_FILE_MAX_BYTES) {
        config_errors_add(r->errors, r->path, 0, "has %lld bytes, %s", (long long)st.st_size,
                          allowed);
    } else {
        *ret_fd = fd;
        return 0;
    }
    fds_close(&fd);
    return -EINVAL;
}

/* The text, with a newline at its end (libconfig takes no comment without one) and a NUL. */
static int read_text(struct reader *r, char **ret_text, size_t *ret_len)
{
    char *text = malloc(CONFIG_FILE_MAX_BYTES + 3);
    size_t len = 0;
    ssize_t n = 1;
    int fd = -1, error;

    if (!text)
        return -ENOMEM;
    error = open_file(r, &fd);
    while (error == 0 && n != 0) {
        n = read(fd, text + len, CONFIG_FILE_MAX_BYTES + 1 - len);
        if (n > 0)
            len += (size_t)n;
        if ((n < 0 && errno != EINTR) || len > CONFIG_FILE_MAX_BYTES) {
            config_errors_add(r->errors, r->path, 0, "cannot be read: %s",
                              n < 0 ? strerror(errno) : "it grows");
            error = -EINVAL;
        }
    }
    fds_close(&fd);
    if (error < 0) {
        free(text);
        return error;
    }
    text[len++] = '\n';
    text[len] = '\0';
    *ret_text = text;
    *ret_len = len;
    return 0;
}

/* ---- values ---- */

/* Of a value that is no string, and no number that was noted. */
static const char *kind_name(const struct config_row *row, const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
    case CONFIG_TYPE_FLOAT:
        return "a number";
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(setting) ? "true is a word without quotes"
                                                : "false is a word without quotes";
    case CONFIG_TYPE_GROUP:
        return "holds a group";
    default:
        if (row->type->syntax == SYNTAX_STRINGS)
            return "an element is no string";
        return row->type->syntax == SYNTAX_LISTENERS ? "an element is no string and no group"
                                                     : "holds a list";
    }
}

static char *refuse_type(struct reader *r, int key, const config_setting_t *setting)
{
    const struct config_row *row = &r->schema->rows[key];
    const char *string = config_setting_get_string(setting);
    const char *number = r->text.key[key].number;
    char shown[CONFIG_SHOW_LEN];

    if (string)
        config_errors_add(r->errors, r->path, r->text.key[key].line,
                          "%s: \"%s\" is a string, allowed: %s, without quotes", row->name,
                          config_show(string, strlen(string), shown), row->allowed);
    else if (number && config_setting_is_number(setting))
        config_errors_add(r->errors, r->path, r->text.key[key].line,
                          "%s: %s is a number, allowed: %s", row->name,
                          config_show(number, r->text.key[key].number_len, shown), row->allowed);
    else
        config_errors_add(r->errors, r->path, r->text.key[key].line, "%s: %s, allowed: %s",
                          row->name, kind_name(row, setting), row->allowed);
    return NULL;
}

/* The number as it was written: what libconfig made of it may be wrapped, rounded or infinite. */
static char *read_number(struct reader *r, int key, const config_setting_t *setting)
{
    if (!config_setting_is_number(setting))
        return refuse_type(r, key, setting);
    if (!r->text.key[key].number) {
        r->is_unclear = true;
        return NULL;
    }
    return strndup(r->text.key[key].number, r->text.key[key].number_len);
}

static char *read_bytes(const char *string)
{
    size_t len = strlen(string);
    char *text = malloc(4 * len + 1);

    return text ? escape_bytes((const uint8_t *)string, len, text) : NULL;
}

enum {
    LISTENER_ADDRESS,
    LISTENER_PROTOCOL,
    LISTENER_MODE,
    LISTENER_OWNER,
    LISTENER_GROUP,
    LISTENER_PROXY,
    LISTENER_PROXY_FROM
};

/* Of the group of a listener. */
static const char *const listener_members[] = {"address", "protocol", "mode",      "owner",
                                               "group",   "proxy",    "proxy_from"};

/* Which member it is. NOT_A_KEY, and an error, if there is none. */
static int find_member(struct reader *r, int key, const config_setting_t *member)
{
    const char *name = config_setting_name(member);

    for (size_t i = 0; i < ARRAY_SIZE(listener_members); i++)
        if (strcmp(name, listener_members[i]) == 0)
            return (int)i;
    config_errors_add(r->errors, r->path, config_setting_source_line(member),
                      "%s: %.64s: unknown key of a listener, allowed: address, protocol, mode, "
                      "owner, group, proxy, proxy_from",
                      r->schema->rows[key].name, name);
    return NOT_A_KEY;
}

static bool is_proxy_name(const char *value)
{
    for (size_t i = 0; config_proxy_names[i]; i++)
        if (strcmp(value, config_proxy_names[i]) == 0)
            return true;
    return false;
}

/* Its value. NULL, and an error, if it could not stand in the canonical text as one word. */
static const char *read_member(struct reader *r, int key, const config_setting_t *member, int which)
{
    const char *name = r->schema->rows[key].name, *value = config_setting_get_string(member);
    const unsigned line = config_setting_source_line(member);
    char list[512], shown[CONFIG_SHOW_LEN];

    if (!value || strchr(value, '\n'))
        config_errors_add(r->errors, r->path, line, "%s: %s: not a string of one line, allowed: %s",
                          name, config_setting_name(member), r->schema->rows[key].allowed);
    else if (which == LISTENER_PROTOCOL &&
             config_schema_protocol(r->schema, value, strlen(value)) < 0)
        config_errors_add(r->errors, r->path, line,
                          "%s: protocol: \"%s\" is not known, allowed: %s", name,
                          config_show(value, strlen(value), shown),
                          config_name_protocols(r->schema, list, sizeof(list)));
    else if (which == LISTENER_PROXY && !is_proxy_name(value))
        config_errors_add(r->errors, r->path, line,
                          "%s: proxy: \"%s\" is not known, allowed: \"off\", \"accept\" or "
                          "\"require\"",
                          name, config_show(value, strlen(value), shown));
    else if (which > LISTENER_PROTOCOL && which < LISTENER_PROXY &&
             !config_owner_is_name(value, strlen(value)))
        config_errors_add(
            r->errors, r->path, line,
            "%s: %s: \"%s\" is not a name, allowed: the name or the number of one, without "
            ", @ : / [ and blanks",
            name, config_setting_name(member), config_show(value, strlen(value), shown));
    else
        return value;
    return NULL;
}

static bool is_aggregate(const config_setting_t *setting)
{
    return config_setting_is_array(setting) || config_setting_is_list(setting);
}

/* "NET" or ["NET", "NET"], as the canonical text has them; an error for each that is none. */
static void read_proxy_nets(struct reader *r, int key, const config_setting_t *member, FILE *f)
{
    const bool is_list = is_aggregate(member);
    const unsigned n = is_list ? (unsigned)config_setting_length(member) : 1;

    for (unsigned i = 0; i < n; i++) {
        const config_setting_t *element = is_list ? config_setting_get_elem(member, i) : member;
        const char *text = config_setting_get_string(element), *why = "it is no string";
        struct addr_net net;
        char shown[CONFIG_SHOW_LEN];

        if (text && addr_net_parse(text, &net, &why) == 0)
            fprintf(f, "%s%s", i ? "+" : "", text);
        else
            config_errors_add(r->errors, r->path, config_setting_source_line(member),
                              "%s: proxy_from: \"%s\": %s, allowed: up to %d of \"ADDRESS\" and "
                              "\"ADDRESS/BITS\" in numbers",
                              r->schema->rows[key].name,
                              config_show(text ? text : "", text ? strlen(text) : 0, shown), why,
                              CONFIG_PROXY_FROM_MAX);
    }
}

/* { address = "…"; protocol = "…"; mode = "…"; … }, as its canonical text. */
static void read_listener_group(struct reader *r, int key, const config_setting_t *group, FILE *f)
{
    const config_setting_t *from = config_setting_get_member(group, "proxy_from");
    const char *value[ARRAY_SIZE(listener_members)] = {NULL}, *comma = "";

    for (unsigned i = 0; i < (unsigned)config_setting_length(group); i++) {
        const config_setting_t *member = config_setting_get_elem(group, i);
        const int which = find_member(r, key, member);

        if (which >= 0 && which != LISTENER_PROXY_FROM)
            value[which] = read_member(r, key, member, which);
    }
    if (!config_setting_get_member(group, "address"))
        config_errors_add(r->errors, r->path, config_setting_source_line(group),
                          "%s: a listener without address, allowed: %s", r->schema->rows[key].name,
                          r->schema->rows[key].allowed);
    for (int i = LISTENER_PROTOCOL; i <= LISTENER_PROXY; i++) {
        if (!value[i])
            continue;
        fprintf(f, "%s%s%s%s", comma, i == LISTENER_PROTOCOL ? "" : listener_members[i],
                i == LISTENER_PROTOCOL ? "" : "=", value[i]);
        comma = ",";
    }
    if (from && !(is_aggregate(from) && config_setting_length(from) == 0)) {
        fprintf(f, "%sproxy_from=", comma);
        read_proxy_nets(r, key, from, f);
        comma = ",";
    }
    fprintf(f, "%s%s", *comma ? "@" : "", value[LISTENER_ADDRESS] ? value[LISTENER_ADDRESS] : "");
}

/* An element with a newline would count as two in the canonical text. */
static char *read_listeners(struct reader *r, int key, const config_setting_t *setting)
{
    const bool is_list = is_aggregate(setting);
    const size_t n_errors = r->errors->n + r->errors->n_dropped;
    unsigned n = is_list ? (unsigned)config_setting_length(setting) : 1;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    for (unsigned i = 0; f && i < n; i++) {
        const config_setting_t *element = is_list ? config_setting_get_elem(setting, i) : setting;
        const char *string = config_setting_get_string(element);

        if (i > 0)
            fputc('\n', f);
        if (is_list && config_setting_is_group(element) &&
            r->schema->rows[key].type->syntax == SYNTAX_LISTENERS)
            read_listener_group(r, key, element, f);
        else if (string && !strchr(string, '\n'))
            fputs(string, f);
        else
            refuse_type(r, key, setting);
    }
    if (f)
        fclose(f);
    if (r->errors->n + r->errors->n_dropped == n_errors)
        return text;
    free(text);
    return NULL;
}

/* The canonical text, owned by the caller; NULL when refused (an error is noted) or out of memory.
 */
static char *read_value(struct reader *r, int key, const config_setting_t *setting)
{
    const char *string = config_setting_get_string(setting);

    switch (r->schema->rows[key].type->syntax) {
    case SYNTAX_NUMBER:
        return read_number(r, key, setting);
    case SYNTAX_DURATION:
    case SYNTAX_SIZE:
        return string ? strdup(string) : read_number(r, key, setting);
    case SYNTAX_BOOLEAN:
        if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
            return refuse_type(r, key, setting);
        return strdup(config_setting_get_bool(setting) ? "true" : "false");
    case SYNTAX_STRING:
        return string ? strdup(string) : refuse_type(r, key, setting);
    case SYNTAX_BYTES:
        return string ? read_bytes(string) : refuse_type(r, key, setting);
    case SYNTAX_LISTENERS:
    case SYNTAX_STRINGS:
        return read_listeners(r, key, setting);
    }
    return NULL;
}

/* Where the elements of the list stand that was the last value. */
static void note_lines(struct reader *r, const config_setting_t *setting)
{
    json_t *value = json_array_get(r->values, json_array_size(r->values) - 1), *lines;

    if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
        return;
    lines = json_array();
    for (unsigned i = 0; i < (unsigned)config_setting_length(setting); i++)
        json_array_append_new(lines, json_integer((json_int_t)config_setting_source_line(
                                         config_setting_get_elem(setting, i))));
    json_object_set_new(value, "lines", lines);
}

static int read_setting(struct reader *r, const char *group, const config_setting_t *setting)
{
    char name[2 * CONFIG_NAME_MAX], shown[CONFIG_SHOW_LEN], *text;
    size_t n_errors = r->errors->n + r->errors->n_dropped;
    int key, error = 0;

    snprintf(name, sizeof(name), "%s.%s", group, config_setting_name(setting));
    key = config_find(r->schema, name);
    if (key < 0 || r->text.key[key].line == 0) {
        r->is_unclear = true;
        return 0;
    }
    r->n_found++;
    text = read_value(r, key, setting);
    if (!text)
        return r->is_unclear || r->errors->n + r->errors->n_dropped > n_errors ? 0 : -ENOMEM;
    if (strlen(text) > CONFIG_VALUE_MAX)
        config_errors_add(r->errors, r->path, r->text.key[key].line,
                          "%s: \"%s\" is too long, allowed: %s", r->schema->rows[key].name,
                          config_show(text, strlen(text), shown), r->schema->rows[key].allowed);
    else
        error =
            config_encode_value(r->values, r->schema->rows[key].name, r->text.key[key].line, text);
    if (error == 0)
        note_lines(r, setting);
    free(text);
    return error;
}

/* ---- libconfig ---- */

static int read_settings(struct reader *r, const config_t *parsed)
{
    const config_setting_t *root = config_root_setting(parsed);
    size_t n_seen = 0;

    for (unsigned i = 0; i < (unsigned)config_setting_length(root); i++) {
        const config_setting_t *group = config_setting_get_elem(root, i);

        if (!config_setting_is_group(group)) {
            r->is_unclear = true;
            continue;
        }
        for (unsigned j = 0; j < (unsigned)config_setting_length(group); j++) {
            int error =
                read_setting(r, config_setting_name(group), config_setting_get_elem(group, j));
            if (error < 0)
                return error;
        }
    }
    for (int key = 0; key < r->schema->n_keys; key++)
        n_seen += r->text.key[key].line != 0;
    if (r->errors->n == 0 && !r->is_unclear && n_seen == 0)
        config_errors_add(r->errors, r->path, 0,
                          "holds no key: it is empty or was cut off, allowed: GROUP = { KEY = "
                          "VALUE; ... };");
    r->is_unclear |= n_seen != r->n_found;
    return 0;
}

static const char *find_line(const char *text, unsigned line)
{
    for (unsigned i = 1; i < line && strchr(text, '\n'); i++)
        text = strchr(text, '\n') + 1;
    return text;
}

/* libconfig reports the line of an error, and no column. A newline is a blank to it: with each word
 * on a line of its own the line tells the word. */
static void put_words_on_lines(char *line)
{
    bool is_string = false;

    for (char *p = line; *p && *p != '\n'; p++) {
        if (!is_string && (*p == '#' || strncmp(p, "//", 2) == 0 || strncmp(p, "/*", 2) == 0))
            return;
        if (is_string && *p == '\\' && p[1] && p[1] != '\n')
            p++;
        else if (*p == '"')
            is_string = !is_string;
        else if (!is_string && (*p == ' ' || *p == '\t'))
            *p = '\n';
    }
}

/* Bytes of the line @at before the word where libconfig gets stuck in @text; 0 if it is not clear.
 */
static size_t find_column(const char *text, unsigned at)
{
    char *copy = strdup(text), *line;
    size_t column = 0;
    config_t parsed;

    if (!copy)
        return 0;
    line = copy + (find_line(text, at) - text);
    put_words_on_lines(line);
    config_init(&parsed);
    if (config_read_string(&parsed, copy) != CONFIG_TRUE && config_error_line(&parsed) > (int)at)
        column = (size_t)(find_line(line, (unsigned)config_error_line(&parsed) - at + 1) - line);
    config_destroy(&parsed);
    free(copy);
    return column <= strcspn(find_line(text, at), "\n") ? column : 0;
}

/* @original is what stands in the file, @text what the scan has left of it. */
static void report_syntax(struct reader *r, const config_t *parsed, const char *original,
                          const char *text)
{
    const unsigned line = (unsigned)config_error_line(parsed);
    const char *what = config_error_text(parsed), *begin = find_line(original, line), *at;
    char shown[CONFIG_SHOW_LEN];

    at = begin + find_column(text, line);
    at += strspn(at, " \t");
    config_errors_add(r->errors, r->path, line,
                      "%s in column %zu, at \"%s\" or just before, allowed: GROUP = { KEY = VALUE; "
                      "... };",
                      what ? what : "syntax error", (size_t)(at - begin) + 1,
                      config_show(at, strcspn(at, "\r\n"), shown));
}

static int read_with_libconfig(struct reader *r, const char *original, const char *text)
{
    config_t parsed;
    int error = 0;

    config_init(&parsed);
    if (config_read_string(&parsed, text) == CONFIG_TRUE)
        error = read_settings(r, &parsed);
    else
        report_syntax(r, &parsed, original, text);
    config_destroy(&parsed);
    return error;
}

int config_file_read(const struct config_schema *schema, const char *path, json_t *values,
                     struct config_errors *errors)
{
    struct reader r = {.schema = schema, .path = path, .values = values, .errors = errors};
    char *text = NULL, *original = NULL;
    size_t len;
    int error = read_text(&r, &text, &len);

    if (error == 0) {
        original = strndup(text, len);
        error = original ? config_text_scan(schema, text, len, path, &r.text, errors) : -ENOMEM;
    }
    if (error == 0)
        error = read_with_libconfig(&r, original, text);
    free(original);
    free(text);
    if (error == -ENOMEM)
        return error;
    if (errors->n) /* with an error nothing is used, and what has one may be blanked out */
        return -EINVAL;
    return r.is_unclear ? CONFIG_FILE_UNCLEAR : 0;
}
