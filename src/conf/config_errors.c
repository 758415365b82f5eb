/*
 * What is wrong with a file, in the order of its lines.
 */
#include "conf/config_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void insert(struct config_errors *e, unsigned line, char *text)
{
    size_t i = e->n++;

    for (; i > 0 && e->line[i - 1] > line; i--) {
        e->text[i] = e->text[i - 1];
        e->line[i] = e->line[i - 1];
    }
    e->text[i] = text;
    e->line[i] = line;
}

void config_errors_add(struct config_errors *e, const char *path, unsigned line, const char *format,
                       ...)
{
    char buf[CONFIG_ERROR_LEN], *text;
    va_list ap;
    int n;

    va_start(ap, format);
    vsnprintf(buf, sizeof(buf), format, ap);
    va_end(ap);
    /* The last place is kept for the number of those that have none. */
    if (e->n >= CONFIG_ERRORS_MAX - 1) {
        e->n_dropped++;
        return;
    }
    n = line ? asprintf(&text, "%s:%u: %s", path, line, buf) : asprintf(&text, "%s: %s", path, buf);
    if (n < 0)
        e->n_dropped++;
    else
        insert(e, line, text);
}

void config_errors_add_text(struct config_errors *e, unsigned line, const char *text)
{
    char *copy = e->n < CONFIG_ERRORS_MAX - 1 ? strdup(text) : NULL;

    if (copy)
        insert(e, line, copy);
    else
        e->n_dropped++;
}

void config_errors_close(struct config_errors *e, const char *path)
{
    char *text;

    if (e->n_dropped && e->n < CONFIG_ERRORS_MAX &&
        asprintf(&text, "%s: %u more of this kind", path, e->n_dropped) >= 0) {
        e->text[e->n] = text;
        e->line[e->n++] = 0;
    }
}

void config_errors_fini(struct config_errors *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->text[i]);
    memset(e, 0, sizeof(*e));
}
