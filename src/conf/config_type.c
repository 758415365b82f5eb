/*
 * Reading and writing the values of each kind. Pure, but for the working directory that relative
 * paths are joined to.
 */
#include "conf/config_type.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/addr.h"
#include "base/cpus.h"
#include "base/escape.h"
#include "base/num.h"
#include "base/util.h"

static const void *field_const(const struct config *c, const struct config_row *row)
{
    return (const char *)(row->owner ? c->own[row->owner - 1] : c) + row->offset;
}

static void *field(struct config *c, const struct config_row *row)
{
    return (void *)(uintptr_t)field_const(c, row);
}

/* A text of the heap; NULL without memory. */
static char *__attribute__((format(printf, 1, 2))) make_text(const char *format, ...)
{
    char *text;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    return n < 0 ? NULL : text;
}

const char *config_show(const char *text, size_t len, char *buf)
{
    static const char cut[] = "...";
    enum { SHOWN = (CONFIG_SHOW_LEN - sizeof(cut)) / 4 };

    escape_bytes((const uint8_t *)text, MIN(len, (size_t)SHOWN), buf);
    if (len > SHOWN)
        strcat(buf, cut);
    return buf;
}

static int refuse(char *problem, size_t size, const char *text, const char *what)
{
    char shown[CONFIG_SHOW_LEN];

    snprintf(problem, size, "\"%s\" %s", config_show(text, strlen(text), shown), what);
    return -EINVAL;
}

static int refuse_number(char *problem, size_t size, const char *text, int error)
{
    char shown[CONFIG_SHOW_LEN];

    snprintf(problem, size, "%s is %s", *text ? config_show(text, strlen(text), shown) : "\"\"",
             error == -ERANGE ? "out of range" : "not understood");
    return -EINVAL;
}

static int count_set(struct config *c, const struct config_row *row, const char *text,
                     char *problem, size_t size)
{
    uint64_t value;
    int r = num_parse_u64(text, row->min, row->max, &value);

    if (r < 0)
        return refuse_number(problem, size, text, r);
    *(unsigned *)field(c, row) = (unsigned)value;
    return 0;
}

static char *count_get(const struct config *c, const struct config_row *row)
{
    return make_text("%u", *(const unsigned *)field_const(c, row));
}

static char *count_describe(const struct config_row *row)
{
    return make_text("a whole number from %" PRIu64 " to %" PRIu64, row->min, row->max);
}

static int duration_set(struct config *c, const struct config_row *row, const char *text,
                        char *problem, size_t size)
{
    int r = num_parse_duration_ms(text, row->min, row->max, field(c, row));

    return r < 0 ? refuse_number(problem, size, text, r) : 0;
}

static char *duration_get(const struct config *c, const struct config_row *row)
{
    char buf[NUM_DURATION_LEN];

    return strdup(num_format_duration_ms(*(const uint64_t *)field_const(c, row), buf));
}

static char *duration_describe(const struct config_row *row)
{
    char min[NUM_DURATION_LEN], max[NUM_DURATION_LEN];

    return make_text("seconds from %s to %s, or a time such as \"200ms\", \"30s\" or \"5m\"",
                     num_format_duration_ms(row->min, min), num_format_duration_ms(row->max, max));
}

static int size_set(struct config *c, const struct config_row *row, const char *text, char *problem,
                    size_t size)
{
    int r = num_parse_size(text, row->min, row->max, field(c, row));

    if (r == -ERANGE)
        return refuse(problem, size, text, "is out of range");
    return r < 0 ? refuse(problem, size, text, "is not a size") : 0;
}

static char *size_get(const struct config *c, const struct config_row *row)
{
    char buf[NUM_SIZE_LEN];

    return strdup(num_format_size(*(const uint64_t *)field_const(c, row), buf));
}

static char *size_describe(const struct config_row *row)
{
    char min[NUM_SIZE_LEN], max[NUM_SIZE_LEN], other[NUM_SIZE_LEN];
    uint64_t example = UINT64_C(64) << 10;

    while (example < row->min && example < row->max)
        example *= 4;
    example = MIN(example, row->max);
    return make_text("a size from \"%s\" to \"%s\", such as \"%s\" or %" PRIu64,
                     num_format_size(row->min, min), num_format_size(row->max, max),
                     num_format_size(example, other), example);
}

static int boolean_set(struct config *c, const struct config_row *row, const char *text,
                       char *problem, size_t size)
{
    bool is_true = strcmp(text, "true") == 0;

    if (!is_true && strcmp(text, "false") != 0)
        return refuse(problem, size, text, "is neither true nor false");
    *(bool *)field(c, row) = is_true;
    return 0;
}

static char *boolean_get(const struct config *c, const struct config_row *row)
{
    return strdup(*(const bool *)field_const(c, row) ? "true" : "false");
}

static char *boolean_describe(const struct config_row *row UNUSED)
{
    return strdup("true or false");
}

static int choice_set(struct config *c, const struct config_row *row, const char *text,
                      char *problem, size_t size)
{
    const char *const *choices = row->choices;

    for (unsigned i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *(unsigned *)field(c, row) = i;
            return 0;
        }
    }
    return refuse(problem, size, text, "is not known");
}

static char *choice_get(const struct config *c, const struct config_row *row)
{
    return strdup(row->choices[*(const unsigned *)field_const(c, row)]);
}

static char *choice_describe(const struct config_row *row)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    for (const char *const *choice = row->choices; f && *choice; choice++)
        fprintf(f, "%s\"%s\"", choice == row->choices ? "" : choice[1] ? ", " : " or ", *choice);
    if (f)
        fclose(f);
    return text;
}

static int text_set(struct config *c, const struct config_row *row, const char *text, char *problem,
                    size_t size)
{
    const size_t len = strlen(text);

    if (len < row->min || len > row->max)
        return refuse(problem, size, text, len < row->min ? "is too short" : "is too long");
    memset(field(c, row), 0, row->size);
    memcpy(field(c, row), text, len);
    return 0;
}

static char *text_get(const struct config *c, const struct config_row *row)
{
    return strdup(field_const(c, row));
}

/* "a string of at most 16 bytes" */
static char *text_describe(const struct config_row *row)
{
    if (row->min == 0)
        return make_text("a string of at most %" PRIu64 " bytes", row->max);
    return make_text("a string of %" PRIu64 " to %" PRIu64 " bytes", row->min, row->max);
}

static int path_set(struct config *c, const struct config_row *row, const char *text, char *problem,
                    size_t size)
{
    char path[CONFIG_PATH_MAX] = "";
    int r = *text ? config_path_absolute(text, path, sizeof(path)) : 0;

    if (r == -ENAMETOOLONG)
        return refuse(problem, size, text, "is too long as an absolute path");
    if (r < 0)
        return refuse(problem, size, text, "is relative, and the working directory is not known");
    memcpy(field(c, row), path, sizeof(path));
    return 0;
}

/* A path, or the one word of the type that is none. */
static int place_set(struct config *c, const struct config_row *row, const char *text,
                     char *problem, size_t size)
{
    if (strcmp(text, row->choices[0]) != 0)
        return path_set(c, row, text, problem, size);
    strcpy(field(c, row), text);
    return 0;
}

/* A socket's path has less room than a file's. */
static int control_set(struct config *c, const struct config_row *row, const char *text,
                       char *problem, size_t size)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const bool is_path = *text && strcmp(text, row->choices[0]) != 0;

    if (is_path && config_path_absolute(text, path, sizeof(path)) == -ENAMETOOLONG)
        return refuse(problem, size, text, "is too long for a socket as an absolute path");
    return place_set(c, row, text, problem, size);
}

static int bytes_set(struct config *c, const struct config_row *row, const char *text,
                     char *problem, size_t size)
{
    struct arb_bytes *bytes = field(c, row), found = {.len = 0};
    const int rc = escape_read(text, found.data, (size_t)row->max, &found.len);

    if (rc == -EINVAL)
        return refuse(problem, size, text, "has a backslash that escapes nothing");
    if (rc < 0 || found.len < row->min)
        return refuse(problem, size, text, rc < 0 ? "is too long" : "is too short");
    *bytes = found;
    return 0;
}

static char *bytes_get(const struct config *c, const struct config_row *row)
{
    const struct arb_bytes *bytes = field_const(c, row);
    char buf[4 * ARB_BYTES_MAX + 1];

    return strdup(escape_bytes(bytes->data, bytes->len, buf));
}

/* Three or four octal digits, of rights alone. Returns 0 or -EINVAL. */
static int parse_mode(const char *text, size_t len, int max, int *ret)
{
    int mode = 0;

    if (len < 3 || len > 4)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '7')
            return -EINVAL;
        mode = 8 * mode + text[i] - '0';
    }
    if (mode & ~max)
        return -EINVAL;
    *ret = mode;
    return 0;
}

/* Of the control socket, which others have no right to, whatever its mode. */
static int mode_set(struct config *c, const struct config_row *row, const char *text, char *problem,
                    size_t size)
{
    int mode = -1;

    if (*text && parse_mode(text, strlen(text), 0770, &mode) < 0)
        return refuse(problem, size, text, "is no such mode");
    *(int *)field(c, row) = mode;
    return 0;
}

static char *mode_get(const struct config *c, const struct config_row *row)
{
    const int mode = *(const int *)field_const(c, row);

    return mode < 0 ? strdup("") : make_text("%04o", (unsigned)mode);
}

bool config_owner_is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f || strchr(",@:/[", text[i]))
            return false;
    return len > 0 && len < CONFIG_OWNER_LEN;
}

/* What consists of digits is a number, and -1, all ones, stands for "no change". */
static bool is_too_great(const char *text, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = MIN(n * 10 + (uint64_t)(text[i] - '0'), UINT64_C(1) << 32);
    }
    return n >= UINT32_MAX;
}

static int owner_set(struct config *c, const struct config_row *row, const char *text,
                     char *problem, size_t size)
{
    const size_t len = strlen(text);

    if (len > 0 && !config_owner_is_name(text, len))
        return refuse(problem, size, text, "is no name");
    if (len > 0 && is_too_great(text, len))
        return refuse(problem, size, text, "is too great a number, 4294967294 is the last");
    memset(field(c, row), 0, CONFIG_OWNER_LEN);
    memcpy(field(c, row), text, len);
    return 0;
}

/* A mode, or a list, which is a mode of its own. */
static int cpus_set(struct config *c, const struct config_row *row, const char *text, char *problem,
                    size_t size)
{
    int r;

    if (choice_set(c, row, text, problem, size) == 0)
        return 0;
    r = cpus_parse(text, &c->cpus);
    if (r == -ERANGE)
        return refuse(problem, size, text, "has a number that is out of range");
    if (r < 0)
        return refuse(problem, size, text, "is no list of CPUs");
    c->cpu_affinity = AFFINITY_LIST;
    return 0;
}

static char *cpus_get(const struct config *c, const struct config_row *row)
{
    char text[CPUS_TEXT_LEN];

    return c->cpu_affinity == AFFINITY_LIST ? strdup(cpus_format(&c->cpus, text))
                                            : choice_get(c, row);
}

/* ---- which of many ---- */

static int sample_set(struct config *c, const struct config_row *row, const char *text,
                      char *problem, size_t size)
{
    unsigned *value = field(c, row);
    uint64_t n;

    if (strcmp(text, "off") == 0)
        *value = LOG_CONNECTIONS_OFF;
    else if (strcmp(text, "errors") == 0)
        *value = LOG_CONNECTIONS_ERRORS;
    else if (strcmp(text, "all") == 0)
        *value = 1;
    else if (strncmp(text, "1/", 2) == 0 && num_parse_u64(text + 2, 1, row->max, &n) == 0)
        *value = (unsigned)n;
    else
        return refuse(problem, size, text, "is not known");
    return 0;
}

static char *sample_get(const struct config *c, const struct config_row *row)
{
    const unsigned value = *(const unsigned *)field_const(c, row);
    char text[32];

    snprintf(text, sizeof(text), "1/%u", value);
    return strdup(value == LOG_CONNECTIONS_OFF      ? "off"
                  : value == LOG_CONNECTIONS_ERRORS ? "errors"
                  : value == 1                      ? "all"
                                                    : text);
}

/*
 * ---- a list of addresses ----
 * None of them asks a resolver (a reload must not wait for one), and no two want the same port.
 */

struct bind_list {
    const struct config_schema *schema;
    size_t n;
    struct config_bind bind[CONFIG_BIND_MAX]; /* owned */
    struct addr addr[CONFIG_BIND_MAX];
};

static void bind_list_fini(struct bind_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->bind[i].address);
    l->n = 0;
}

/* No address has one of these before its first colon or slash, and no word has an '@'. */
const char *config_bind_split(const char *text, size_t *ret_len)
{
    const size_t len = strcspn(text, "@=,:/[");
    const char *at = text[len] && strchr("@=,", text[len]) ? strchr(text + len, '@') : NULL;

    *ret_len = at ? (size_t)(at - text) : 0;
    return at ? at + 1 : text;
}

/* What may be written instead follows, as the key allows it, and not as any address may be. */
static int refuse_element(char *problem, size_t size, const char *text, const char *what)
{
    const char *forms = strstr(what, "; write HOST:PORT");
    char shown[CONFIG_SHOW_LEN];

    snprintf(problem, size, "\"%s\": %.*s", config_show(text, strlen(text), shown),
             (int)(forms ? forms - what : (ptrdiff_t)strlen(what)), what);
    return -EINVAL;
}

/* A socket's path must mean the same file to whoever unlinks it later. */
static int make_path_absolute(char **text, struct addr *a, const char **ret_why)
{
    char path[CONFIG_PATH_MAX];
    char *absolute;
    int r;

    if (a->kind != ADDR_UNIX || a->path[0] == '/')
        return 0;
    r = config_path_absolute(a->path, path, sizeof(path));
    if (r < 0) {
        *ret_why = r == -ENAMETOOLONG ? "too long as an absolute path"
                                      : "relative, and the working directory is not known";
        return -EINVAL;
    }
    if (asprintf(&absolute, "unix:%s", path) < 0)
        return -ENOMEM;
    r = addr_parse(absolute, a, ret_why);
    if (r < 0) {
        free(absolute);
        return r;
    }
    free(*text);
    *text = absolute;
    return 0;
}

/* Which protocol is it? Returns 0 or -EINVAL. */
static int find_protocol(const struct config_schema *s, const char *name, size_t len, unsigned *ret,
                         char *problem, size_t size)
{
    const int i = config_schema_protocol(s, name, len);
    char list[512], what[640];

    if (i >= 0) {
        *ret = (unsigned)i;
        return 0;
    }
    snprintf(what, sizeof(what), "there is no such protocol, but %s",
             config_name_protocols(s, list, sizeof(list)));
    return refuse_element(problem, size, name, what);
}

static bool is_access_said(const struct config_access *access)
{
    return access->mode >= 0 || *access->owner || *access->group;
}

const char *const config_proxy_names[] = {"off", "accept", "require", NULL};

/* What a listener of the kind @kind cannot have said of proxies; NULL = it is well. */
static const char *find_proxy_fault(const struct config_bind *bind, enum addr_kind kind)
{
    if (bind->proxy == CONFIG_PROXY_OFF && bind->n_proxy_from > 0)
        return "proxy_from has a meaning only with proxy = \"accept\" or \"require\"";
    if (kind == ADDR_UNIX && bind->n_proxy_from > 0)
        return "peers of a unix socket have no address: its mode, owner and group say who may "
               "connect, so leave proxy_from out";
    if (kind != ADDR_UNIX && bind->proxy != CONFIG_PROXY_OFF && bind->n_proxy_from == 0)
        return "proxy needs proxy_from, the addresses of the proxies; \"0.0.0.0/0\" and \"::/0\" "
               "are everybody's";
    return NULL;
}

/* Takes the address over, also on failure. */
static int bind_list_add(struct bind_list *l, struct config_bind bind, char *problem, size_t size)
{
    const char *why = "not understood";
    struct sockaddr_storage ss;
    socklen_t len;
    struct addr a;
    int r;

    r = addr_parse(bind.address, &a, &why);
    if (r == 0)
        r = make_path_absolute(&bind.address, &a, &why);
    if (r == 0 && a.kind == ADDR_HOST && addr_to_sockaddr(&a, &ss, &len) < 0) {
        why = "a name, and a reload does not wait for a resolver";
        r = -EINVAL;
    }
    if (r == 0 && a.kind != ADDR_UNIX && is_access_said(&bind.access)) {
        why = "only a unix socket has a mode, an owner and a group";
        r = -EINVAL;
    }
    if (r == 0 && find_proxy_fault(&bind, a.kind)) {
        why = find_proxy_fault(&bind, a.kind);
        r = -EINVAL;
    }
    for (size_t i = 0; r == 0 && i < l->n; i++) {
        if (strcmp(l->bind[i].address, bind.address) == 0 || addr_conflicts(&l->addr[i], &a)) {
            why = "an element before it has that already";
            r = -EINVAL;
        }
    }
    if (r == 0 && l->n == CONFIG_BIND_MAX) {
        why = "one too many";
        r = -EINVAL;
    }
    if (r < 0) {
        if (r == -EINVAL)
            refuse_element(problem, size, bind.address, why);
        free(bind.address);
        return r;
    }
    l->addr[l->n] = a;
    l->bind[l->n++] = bind;
    return 0;
}

/* Of one listener that speaks TCP, whatever protocol is spoken there. "" = none. */
static int address_set(struct config *c, const struct config_row *row, const char *text,
                       char *problem, size_t size)
{
    const char *why = "not understood";
    struct sockaddr_storage ss;
    socklen_t len;
    struct addr a;

    if (*text && addr_parse(text, &a, &why) < 0)
        return refuse_element(problem, size, text, why);
    if (*text && (a.kind == ADDR_UNIX || strlen(text) >= ADDR_TEXT_LEN))
        return refuse(problem, size, text,
                      a.kind == ADDR_UNIX ? "is a unix socket" : "is too long");
    if (*text && a.kind == ADDR_HOST && addr_to_sockaddr(&a, &ss, &len) < 0)
        return refuse(problem, size, text, "is a name, and a reload does not wait for a resolver");
    memset(field(c, row), 0, ADDR_TEXT_LEN);
    memcpy(field(c, row), text, strlen(text));
    return 0;
}

static int read_owner(char ret[CONFIG_OWNER_LEN], const char *name, size_t len)
{
    if (!config_owner_is_name(name, len))
        return -EINVAL;
    memcpy(ret, name, len); /* the rest is zeros */
    return 0;
}

static int read_proxy(enum config_proxy *ret, const char *name, size_t len)
{
    for (unsigned i = 0; config_proxy_names[i]; i++) {
        if (strlen(config_proxy_names[i]) == len && memcmp(config_proxy_names[i], name, len) == 0) {
            *ret = (enum config_proxy)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* NET+NET */
static int read_proxy_from(struct config_bind *bind, const char *nets, size_t len)
{
    char text[ADDR_NET_LEN];
    const char *why, *end = nets + len;

    while (nets <= end) {
        const size_t n = strcspn(nets, "+,@");

        if (n >= sizeof(text) || bind->n_proxy_from == CONFIG_PROXY_FROM_MAX)
            return -EINVAL;
        memcpy(text, nets, n);
        text[n] = '\0';
        if (addr_net_parse(text, &bind->proxy_from[bind->n_proxy_from++], &why) < 0)
            return -EINVAL;
        nets += n + 1;
    }
    return 0;
}

/* Does @word begin with @name, "mode=" for example? Then *ret_value is what comes behind it. */
static bool is_word(const char *word, size_t len, const char *name, const char **ret_value)
{
    *ret_value = word + strlen(name);
    return len >= strlen(name) && memcmp(word, name, strlen(name)) == 0;
}

/* NAME=VALUE, each name once. Returns why it cannot be, or NULL. */
static const char *read_word(struct config_bind *bind, const char *word, size_t len)
{
    struct config_access *access = &bind->access;
    const char *value, *end = word + len;

    if (is_word(word, len, "proxy=", &value))
        return bind->proxy == CONFIG_PROXY_OFF &&
                       read_proxy(&bind->proxy, value, (size_t)(end - value)) == 0
                   ? NULL
                   : "proxy is off, accept or require, and said once";
    if (is_word(word, len, "proxy_from=", &value))
        return bind->n_proxy_from == 0 && read_proxy_from(bind, value, (size_t)(end - value)) == 0
                   ? NULL
                   : "proxy_from is up to 32 of ADDRESS and ADDRESS/BITS in numbers, with + "
                     "between them, and said once";
    if (is_word(word, len, "mode=", &value))
        return access->mode < 0 &&
                       parse_mode(value, (size_t)(end - value), 0777, &access->mode) == 0
                   ? NULL
                   : "mode is octal digits up to 0777, and said once";
    if (is_word(word, len, "owner=", &value))
        return !*access->owner && read_owner(access->owner, value, (size_t)(end - value)) == 0
                   ? NULL
                   : "owner is the name or the number of a user, and said once";
    if (is_word(word, len, "group=", &value))
        return !*access->group && read_owner(access->group, value, (size_t)(end - value)) == 0
                   ? NULL
                   : "group is the name or the number of a group, and said once";
    return "no mode=MODE, owner=USER or group=GROUP of a unix socket, and neither proxy=WORD nor "
           "proxy_from=NETWORKS";
}

/* @text is an element, and borrowed. */
static int bind_list_read(struct bind_list *l, const char *text, char *problem, size_t size)
{
    struct config_bind bind = {.access = {.mode = -1, .uid = (uid_t)-1, .gid = (gid_t)-1}};
    size_t head_len;
    const char *address = config_bind_split(text, &head_len), *word = text;
    int r = 0;

    while (r == 0 && word < address) {
        const size_t len = strcspn(word, ",@");

        const char *why = NULL;

        if (strcspn(word, ".:/") < len && !memchr(word, '=', len))
            why = "no name of a protocol; + and no comma stands between networks of proxy_from";
        else if (!memchr(word, '=', len))
            r = find_protocol(l->schema, word, len, &bind.protocol, problem, size);
        else
            why = read_word(&bind, word, len);
        if (why)
            r = refuse_element(problem, size, word, why);
        word += len + 1;
    }
    if (r < 0)
        return r;
    bind.address = strdup(address);
    return bind.address ? bind_list_add(l, bind, problem, size) : -ENOMEM;
}

static int bind_list_parse(struct bind_list *l, const char *text, char *problem, size_t size)
{
    if (*text == '\0')
        return refuse_element(problem, size, text, "empty, and a server needs an address");
    while (text) {
        const char *end = strchrnul(text, '\n');
        char *element = strndup(text, (size_t)(end - text));
        int r = element ? bind_list_read(l, element, problem, size) : -ENOMEM;

        free(element);
        if (r < 0)
            return r;
        text = *end ? end + 1 : NULL;
    }
    return 0;
}

static int bind_set(struct config *c, const struct config_row *row UNUSED, const char *text,
                    char *problem, size_t size)
{
    struct bind_list *l = calloc(1, sizeof(*l));
    int r = -ENOMEM;

    if (l) {
        l->schema = c->schema;
        r = bind_list_parse(l, text, problem, size);
    }
    if (r < 0) {
        if (l)
            bind_list_fini(l);
        free(l);
        return r;
    }
    for (size_t i = 0; i < c->n_bind; i++)
        free(c->bind[i].address);
    memcpy(c->bind, l->bind, sizeof(c->bind));
    c->n_bind = l->n;
    free(l);
    return 0;
}

static void print_bind(FILE *f, const struct config_bind *bind, const char *protocol)
{
    const struct config_access *access = &bind->access;
    const char *comma = *protocol ? "," : "";
    char net[ADDR_NET_LEN];

    fputs(protocol, f);
    if (access->mode >= 0) {
        fprintf(f, "%smode=%04o", comma, (unsigned)access->mode);
        comma = ",";
    }
    if (*access->owner) {
        fprintf(f, "%sowner=%s", comma, access->owner);
        comma = ",";
    }
    if (*access->group) {
        fprintf(f, "%sgroup=%s", comma, access->group);
        comma = ",";
    }
    if (bind->proxy != CONFIG_PROXY_OFF) {
        fprintf(f, "%sproxy=%s", comma, config_proxy_names[bind->proxy]);
        comma = ",";
    }
    for (size_t i = 0; i < bind->n_proxy_from; i++)
        fprintf(f, "%s%s", i ? "+" : ",proxy_from=", addr_net_format(&bind->proxy_from[i], net));
    fprintf(f, "%s%s", *comma ? "@" : "", bind->address);
}

static char *bind_get(const struct config *c, const struct config_row *row UNUSED)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    for (size_t i = 0; f && i < c->n_bind; i++) {
        const struct config_bind *bind = &c->bind[i];

        fputs(i ? "\n" : "", f);
        print_bind(f, bind, bind->protocol ? c->schema->protocols[bind->protocol]->name : "");
    }
    if (f)
        fclose(f);
    return text;
}

/* ---- a list of networks ---- */

static int read_net(const char *text, struct addr_net *ret, char *problem, size_t size)
{
    const char *why;

    if (addr_net_parse(text, ret, &why) < 0)
        return refuse_element(problem, size, text, why);
    return 0;
}

static int nets_set(struct config *c, const struct config_row *row UNUSED, const char *text,
                    char *problem, size_t size)
{
    struct addr_net nets[CONFIG_TRUSTED_MAX] = {{.bits = 0}};
    char element[CONFIG_SHOW_LEN];
    size_t n = 0;

    for (bool is_more = *text; is_more;) {
        const size_t len = strcspn(text, "\n,"); /* no address has a comma */

        snprintf(element, sizeof(element), "%.*s", (int)MIN(len, sizeof(element)), text);
        if (n == CONFIG_TRUSTED_MAX)
            return refuse_element(problem, size, element, "one too many");
        if (read_net(element, &nets[n++], problem, size) < 0)
            return -EINVAL;
        is_more = text[len] != '\0';
        text += len + 1;
    }
    memcpy(c->trusted, nets, n * sizeof(*nets));
    c->n_trusted = n;
    return 0;
}

static char *nets_get(const struct config *c, const struct config_row *row UNUSED)
{
    char text[CONFIG_TRUSTED_MAX * (ADDR_NET_LEN + 1)] = "", *end = text;

    for (size_t i = 0; i < c->n_trusted; i++) {
        if (i > 0)
            *end++ = '\n';
        end += strlen(addr_net_format(&c->trusted[i], end));
    }
    return strdup(text);
}

/* clang-format off */
const struct config_type
    config_type_count    = {SYNTAX_NUMBER, "count", count_set, count_get, count_describe},
    config_type_duration = {SYNTAX_DURATION, "time", duration_set, duration_get, duration_describe},
    config_type_size     = {SYNTAX_SIZE, "size", size_set, size_get, size_describe},
    config_type_boolean  = {SYNTAX_BOOLEAN, "boolean", boolean_set, boolean_get, boolean_describe},
    config_type_choice   = {SYNTAX_STRING, "word", choice_set, choice_get, choice_describe},
    config_type_text     = {SYNTAX_STRING, "string", text_set, text_get, text_describe},
    config_type_bytes    = {SYNTAX_BYTES, "bytes", bytes_set, bytes_get, text_describe},
    config_type_path     = {SYNTAX_STRING, "path", path_set, text_get, NULL},
    config_type_place    = {SYNTAX_STRING, "path", place_set, text_get, NULL},
    config_type_control  = {SYNTAX_STRING, "path", control_set, text_get, NULL},
    config_type_mode     = {SYNTAX_STRING, "mode", mode_set, mode_get, NULL},
    config_type_owner    = {SYNTAX_STRING, "name", owner_set, text_get, NULL},
    config_type_cpus     = {SYNTAX_STRING, "list", cpus_set, cpus_get, NULL},
    config_type_sample   = {SYNTAX_STRING, "word", sample_set, sample_get, NULL},
    config_type_address  = {SYNTAX_STRING, "address", address_set, text_get, NULL},
    config_type_bind     = {SYNTAX_LISTENERS, "list", bind_set, bind_get, NULL},
    config_type_nets     = {SYNTAX_STRINGS, "list", nets_set, nets_get, NULL};

static const struct config_own_type own_types[] = {
    [ARB_COUNT]    = {&config_type_count, sizeof(unsigned), UINT_MAX},
    [ARB_DURATION] = {&config_type_duration, sizeof(uint64_t), UINT64_MAX},
    [ARB_SIZE]     = {&config_type_size, sizeof(uint64_t), UINT64_MAX},
    [ARB_BOOL]     = {&config_type_boolean, sizeof(bool), 1},
    [ARB_TEXT]     = {&config_type_text, 0, CONFIG_TEXT_MAX},
    [ARB_BYTES]    = {&config_type_bytes, sizeof(struct arb_bytes), ARB_BYTES_MAX},
    [ARB_CHOICE]   = {&config_type_choice, sizeof(unsigned), 0},
};
/* clang-format on */

const char *arb_size_text(uint64_t bytes, char buf[ARB_SIZE_TEXT_LEN])
{
    return num_format_size(bytes, buf);
}

const struct config_own_type *config_own_type(enum arb_type type)
{
    return type > 0 && type < ARRAY_SIZE(own_types) ? &own_types[type] : NULL;
}

/* ---- paths ---- */

const char *config_path_default(const char *path)
{
    /* What cannot be seen may be there: whoever opens it says what is wrong. */
    return path && (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) ? path : NULL;
}

int config_path_absolute(const char *path, char *ret, size_t size)
{
    char dir[PATH_MAX + 1] = ""; /* with room for a slash behind the longest */
    size_t dir_len, path_len;

    if (path[0] != '/') {
        if (!getcwd(dir, PATH_MAX))
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        while (path[0] == '.' && path[1] == '/')
            path += 2 + strspn(path + 2, "/");
        if (strcmp(dir, "/") != 0)
            strcat(dir, "/");
    }
    dir_len = strlen(dir);
    path_len = strlen(path);
    if (dir_len + path_len >= size)
        return -ENAMETOOLONG;
    memcpy(ret, dir, dir_len);
    memcpy(ret + dir_len, path, path_len + 1);
    return 0;
}

/* The next name of the path at @p; returns its length, 0 at the end. */
static size_t next_name(const char **p)
{
    size_t len;

    do {
        *p += strspn(*p, "/");
        len = strcspn(*p, "/");
    } while (len == 1 && **p == '.' && ++*p);
    return len;
}

bool config_path_is_same(const char *a, const char *b)
{
    for (;;) {
        const size_t len = next_name(&a);

        if (next_name(&b) != len || memcmp(a, b, len) != 0)
            return false;
        if (len == 0)
            return true;
        a += len;
        b += len;
    }
}
