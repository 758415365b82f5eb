/*
 * The kind of value that server.bind has: a list of addresses, none of which asks a resolver (a
 * reload must not wait for one) and no two of which want the same port.
 */
#include "conf/config_type.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "base/util.h"
#include "conf/config_path.h"

struct bind_list {
    size_t n;
    char *text[CONFIG_BIND_MAX]; /* owned */
    struct addr addr[CONFIG_BIND_MAX];
};

static void bind_list_fini(struct bind_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->text[i]);
    l->n = 0;
}

static int refuse_element(char *problem, size_t size, const char *text, const char *what)
{
    char shown[CONFIG_SHOW_LEN];

    snprintf(problem, size, "\"%s\": %s", config_show(text, strlen(text), shown), what);
    return -EINVAL;
}

static bool is_wildcard(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET)
        return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

/* Would the second of two listeners find its address taken by the first? */
static bool is_conflict(const struct addr *a, const struct addr *b)
{
    struct sockaddr_storage x, y;
    socklen_t x_len, y_len;

    if (a->kind == ADDR_UNIX || b->kind == ADDR_UNIX)
        return a->kind == b->kind && strcmp(a->path, b->path) == 0;
    if (a->port != b->port || a->port == 0)
        return false;
    if (a->kind == ADDR_ANY || b->kind == ADDR_ANY)
        return true;
    if (addr_to_sockaddr(a, &x, &x_len) < 0 || addr_to_sockaddr(b, &y, &y_len) < 0 ||
        x.ss_family != y.ss_family)
        return false;
    return is_wildcard(&x) || is_wildcard(&y) || memcmp(&x, &y, x_len) == 0;
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

/* Takes @text over, also on failure. */
static int bind_list_add(struct bind_list *l, char *text, char *problem, size_t size)
{
    const char *why = "not understood";
    struct sockaddr_storage ss;
    socklen_t len;
    struct addr a;
    int r;

    r = addr_parse(text, &a, &why);
    if (r == 0)
        r = make_path_absolute(&text, &a, &why);
    if (r == 0 && a.kind == ADDR_HOST && addr_to_sockaddr(&a, &ss, &len) < 0) {
        why = "a name, and a reload does not wait for a resolver";
        r = -EINVAL;
    }
    for (size_t i = 0; r == 0 && i < l->n; i++) {
        if (strcmp(l->text[i], text) == 0 || is_conflict(&l->addr[i], &a)) {
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
            refuse_element(problem, size, text, why);
        free(text);
        return r;
    }
    l->addr[l->n] = a;
    l->text[l->n++] = text;
    return 0;
}

static int bind_list_parse(struct bind_list *l, const char *text, char *problem, size_t size)
{
    if (*text == '\0')
        return refuse_element(problem, size, text, "empty, and a server needs an address");
    while (text) {
        const char *end = strchrnul(text, '\n');
        char *element = strndup(text, (size_t)(end - text));
        int r = element ? bind_list_add(l, element, problem, size) : -ENOMEM;

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
    int r = l ? bind_list_parse(l, text, problem, size) : -ENOMEM;

    if (r < 0) {
        if (l)
            bind_list_fini(l);
        free(l);
        return r;
    }
    for (size_t i = 0; i < c->n_bind; i++)
        free(c->bind[i]);
    memcpy(c->bind, l->text, sizeof(c->bind));
    c->n_bind = l->n;
    free(l);
    return 0;
}

static char *bind_get(const struct config *c, const struct config_row *row UNUSED)
{
    size_t size = 1;
    char *text, *p;

    for (size_t i = 0; i < c->n_bind; i++)
        size += strlen(c->bind[i]) + 1;
    text = p = malloc(size);
    if (!text)
        return NULL;
    *p = '\0';
    for (size_t i = 0; i < c->n_bind; i++) {
        if (i > 0)
            *p++ = '\n';
        p = stpcpy(p, c->bind[i]);
    }
    return text;
}

const struct config_type config_type_bind = {SYNTAX_STRINGS, NULL, bind_set, bind_get};
