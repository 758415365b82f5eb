#include "support/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const moods[] = {"glad", "sad", "mad", NULL};

static const struct arb_key toy_keys[] = {
    ARB_KEY_COUNT(struct schema_toy, count, "3", 1, 9, "how many"),
    ARB_KEY_CHOICE(struct schema_toy, mood, "glad", moods, "how it is"),
    ARB_KEY_DURATION(struct schema_toy, wait, "0.5", 10, 60000, "how long"),
    ARB_KEY_SIZE(struct schema_toy, room, "4KiB", 1024, 1 << 20, "how much"),
    ARB_KEY_BOOL(struct schema_toy, is_loud, "false", "is it heard"),
    ARB_KEY_TEXT(struct schema_toy, greeting, "hello", "what it says"),
    ARB_KEY_BYTES(struct schema_toy, mark, "\\x01\\n", 4, "what it leaves"),
};

/* A check that names keys in each way that counts. */
static int toy_check(const void *conf, const struct arb_limits *limits, char *why, size_t why_size)
{
    const struct schema_toy *toy = conf;

    if (toy->count == 4)
        snprintf(why, why_size, "it is unlucky");
    else if (limits->workers == 7)
        snprintf(why, why_size, "arbiter.workers is 7 and toy.wait is not toy.waits");
    else if (toy->count != 5) /* which is wrong without a word */
        return 0;
    return -EINVAL;
}

static const struct arb_protocol toy =
    ARB_PROTOCOL(.name = "toy", .keys = ARB_KEYS(toy_keys), .conf_size = sizeof(struct schema_toy),
                 .check = toy_check);

static const struct config_schema *make(const struct arb_protocol *const *protocols,
                                        struct config_schema **ret)
{
    char why[CONFIG_WHY_LEN] = "out of memory";

    if (!*ret && config_schema_new(protocols, ret, why, sizeof(why)) < 0) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    return *ret;
}

const struct config_schema *schema_of_echo(void)
{
    static const struct arb_protocol *const protocols[] = {&echo_protocol, NULL};
    static struct config_schema *schema;

    return make(protocols, &schema);
}

const struct config_schema *schema_of_toys(void)
{
    static const struct arb_protocol *const protocols[] = {&echo_protocol, &toy, NULL};
    static struct config_schema *schema;

    return make(protocols, &schema);
}

struct echo_conf *schema_conf_of_echo(const struct config *c)
{
    return c->own[SCHEMA_ECHO];
}
