/*
 * libarbiter-testing: settings of a test, checked as the server checks its file.
 */
#include "testing/testing_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/config.h"

/* "key=value" of the protocol's own group, or "group.key=value". */
static int set(struct config *c, const char *group, const char *setting, char *why, size_t size)
{
    const char *value = strchr(setting, '=');
    const size_t len = value ? (size_t)(value - setting) : strlen(setting);
    char name[CONFIG_NAME_MAX + 1];
    int key;

    if (memchr(setting, '.', len))
        snprintf(name, sizeof(name), "%.*s", (int)len, setting);
    else
        snprintf(name, sizeof(name), "%s.%.*s", group, (int)len, setting);
    key = config_find(c->schema, name);
    if (value && key >= 0)
        return config_set(c, key, value + 1, (struct config_origin){ORIGIN_COMMAND_LINE, 0}, why,
                          size);
    snprintf(why, size, "%s: there is no such key, or no value", setting);
    return -EINVAL;
}

struct test_conf *test_conf_new(const struct arb_protocol *protocol, const char *const *settings,
                                char *why, size_t why_size)
{
    const struct arb_protocol *const protocols[] = {protocol, NULL};
    const char *group = protocol->group ? protocol->group : protocol->name;
    struct test_conf *c = test_alloc(sizeof(*c));
    int r = config_schema_new(protocols, &c->schema, why, why_size);

    c->n_users = 1;
    if (r == 0)
        r = config_try_new(c->schema, &c->config, why, why_size);
    for (; r == 0 && settings && *settings; settings++)
        r = set(c->config, group, *settings, why, why_size);
    if (r == 0)
        r = config_check(c->config, why, why_size);
    if (r == 0) {
        c->own = c->config->own[0];
        c->max_buffered = (size_t)c->config->max_buffered;
        return c;
    }
    test_conf_unref(c);
    return NULL;
}

void test_conf_unref(struct test_conf *c)
{
    if (!c || --c->n_users > 0)
        return;
    config_free(c->config);
    config_schema_free(c->schema);
    free(c);
}
