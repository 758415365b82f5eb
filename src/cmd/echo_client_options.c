/*
 * The options that every command of the client tool has, and values that options share.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/escape.h"
#include "base/num.h"
#include "measure/quantity.h"
#include "cmd/echo_client.h"
#include "client/echo.h"

#define DEFAULT_PORT    "8060"
#define DEFAULT_ADDRESS "127.0.0.1:" DEFAULT_PORT

enum { DEFAULT_TIMEOUT_MS = 10000 };

enum { OPT_TIMEOUT = 256, OPT_SEPARATOR, OPT_JSON };

static const struct argp_option options[] = {
    {"address", 'a', "ADDR", 0,
     "HOST[:PORT], [V6][:PORT], :PORT (this machine) or unix:PATH; default " DEFAULT_ADDRESS, 0},
    {"control", 'C', "PATH", 0,
     "the control socket; default $RUNTIME_DIRECTORY/control, else /run/echo-arbiter/control for "
     "root and where others have no $XDG_RUNTIME_DIR/echo-arbiter.control",
     0},
    {"timeout", OPT_TIMEOUT, "SECONDS", 0,
     "give up on connecting and on each reply after so long; default 10 (call, reload, scale, "
     "upgrade, stop: 60), 0 = never",
     0},
    {"separator", OPT_SEPARATOR, "TEXT", 0,
     "what ends a message, with \\r \\n \\t \\f \\\" \\\\ \\xHH; default \\r\\n\\r\\n, empty = raw "
     "echo",
     0},
    {"json", OPT_JSON, NULL, 0, "a JSON object for each reply and for an error", 0},
    {NULL, 'h', NULL, 0, "give this help list", -1},
    {0},
};

static void set_defaults(struct tool *t)
{
    const char *why;

    if (t->address_text)
        return; /* a command's own words are parsed after the main ones */
    t->address_text = DEFAULT_ADDRESS;
    addr_parse(DEFAULT_ADDRESS, &t->address, &why);
    t->timeout_ms = DEFAULT_TIMEOUT_MS;
    memcpy(t->separator, ECHO_SEPARATOR, ECHO_SEPARATOR_LEN);
    t->separator_len = ECHO_SEPARATOR_LEN;
}

static void set_separator(struct tool *t, const char *text, struct argp_state *state)
{
    int rc = escape_read(text, t->separator, sizeof(t->separator), &t->separator_len);

    if (rc == -E2BIG)
        argp_error(state, "--separator %s: it takes at most %zu bytes", text, sizeof(t->separator));
    else if (rc)
        argp_error(state, "--separator: the escapes are \\r \\n \\t \\f \\\" \\\\ \\xHH, not '%s'",
                   text);
}

static const char *set_control(const char *arg, struct argp_state *state)
{
    const char *path = strncmp(arg, "unix:", 5) == 0 ? arg + 5 : arg;
    const size_t max = sizeof(((struct addr *)0)->path) - 1;

    if (*path == '\0' || strlen(path) > max)
        argp_error(state, "-C %s: the path of a socket, of 1 to %zu bytes", arg, max);
    return path;
}

/* Each way has its commands: what was aimed at one must not go, unseen, the other. */
static void check_way(const struct tool *t, struct argp_state *state)
{
    if (!t->command)
        return;
    if (t->command->is_steering && t->has_address && !t->control)
        argp_error(state, "-a %s: %s asks over the control socket of this machine: -C PATH",
                   t->address_text, t->command->name);
    if (!t->command->is_steering && t->control && !t->has_address)
        argp_error(state,
                   "-C %s: for commands like info and reload; %s goes to an address: -a ADDR",
                   t->control, t->command->name);
}

/* A host alone has the default port. */
static void set_address(struct tool *t, char *arg, struct argp_state *state)
{
    static char text[512];
    const size_t len = strlen(arg);
    const bool is_host = len > 0 && (!strchr(arg, ':') || (arg[0] == '[' && arg[len - 1] == ']'));
    const char *why;

    t->address_text = arg;
    t->has_address = true;
    if (is_host && len + sizeof(":" DEFAULT_PORT) <= sizeof(text)) {
        snprintf(text, sizeof(text), "%s:" DEFAULT_PORT, arg);
        t->address_text = text;
    }
    if (addr_parse(t->address_text, &t->address, &why))
        argp_error(state, "-a %s: %s", arg, why);
    else if (t->address.kind != ADDR_UNIX && t->address.port == 0)
        argp_error(state, "-a %s: port 0 cannot be connected to", arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct tool *t = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        set_defaults(t);
        return 0;
    case 'a':
        set_address(t, arg, state);
        return 0;
    case 'h':
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
        return 0;
    case 'C':
        t->control = set_control(arg, state);
        return 0;
    case OPT_TIMEOUT:
        t->has_timeout = true;
        if (num_parse_duration_ms(arg, 0, TOOL_MS_MAX, &t->timeout_ms))
            argp_error(state, "--timeout %s: seconds from 0 to 1000000, like 2 or 0.5", arg);
        return 0;
    case OPT_SEPARATOR:
        set_separator(t, arg, state);
        return 0;
    case OPT_JSON:
        t->is_json = true;
        return 0;
    case ARGP_KEY_SUCCESS:
        check_way(t, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp tool_argp = {.options = options, .parser = parse_option};

/* ---- a command's own options ---- */

enum { OWN_OPTIONS_MAX = 32, OWN_KEY = 1000 };

struct own_words {
    struct tool *tool;
    const struct own_option *options;
    void *values;
};

void usage_error(const char *format, ...)
{
    va_list ap;

    fputs("echo-client: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputs("\nTry `echo-client --help' for more information.\n", stderr);
    exit(EX_USAGE);
}

static void store_number(const struct own_option *o, void *to, uint64_t n)
{
    if (o->size == sizeof(uint32_t))
        *(uint32_t *)to = (uint32_t)n;
    else
        *(uint64_t *)to = n;
}

/* Reads @arg into @to. Returns what is allowed if it is not that, else NULL. */
static const char *read_value(const struct own_option *o, const char *arg, void *to)
{
    uint64_t n = 0;

    switch (o->kind) {
    case OPTION_SET:
        *(bool *)to = true;
        return NULL;
    case OPTION_TEXT:
        *(const char **)to = arg;
        return NULL;
    case OPTION_MS_RANGE:
        return quantity_ms_range(arg, o->min, o->max, to)
                   ? "one time or two, the lesser first, like 20ms or 10ms-1s"
                   : NULL;
    case OPTION_SIZE_RANGE:
        return quantity_size_range(arg, o->min, o->max, to)
                   ? "one size or two in bytes, the lesser first, like 64 or 64-16KiB"
                   : NULL;
    case OPTION_SHARE:
        return quantity_share(arg, to) ? "a number, or a share up to 100% like 0.1%" : NULL;
    case OPTION_NUMBER:
        if (num_parse_u64(arg, o->min, o->max, &n))
            return "a number";
        break;
    case OPTION_MS:
        if (quantity_ms(arg, o->min, o->max, &n))
            return "a time like 200ms, 2, 30s or 10m";
        break;
    case OPTION_SIZE:
        if (num_parse_size(arg, o->min, o->max, &n))
            return "bytes, like 1000 or 64KiB";
        break;
    }
    store_number(o, to, n);
    return NULL;
}

static void set_own(const struct own_words *w, const struct own_option *o, const char *arg)
{
    const char *allowed = read_value(o, arg, (char *)w->values + o->offset);
    char range[64] = "";

    if (!allowed)
        return;
    if (o->max > 0)
        snprintf(range, sizeof(range), ", from %" PRIu64 " to %" PRIu64 "%s", o->min, o->max,
                 o->kind == OPTION_MS || o->kind == OPTION_MS_RANGE ? " ms" : "");
    usage_error("--%s %s: it takes %s%s", o->name, arg, allowed, range);
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    struct own_words *w = state->input;
    const struct command *c = w->tool->command;

    for (const struct own_option *o = w->options; o && o->name; o++)
        if (key == (o->letter ? o->letter : OWN_KEY + (int)(o - w->options))) {
            set_own(w, o, arg);
            return 0;
        }
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = w->tool;
        return 0;
    case ARGP_KEY_ARGS:
        w->tool->n_words = state->argc - state->next;
        w->tool->words = state->argv + state->next;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (w->tool->n_words < c->min_words || w->tool->n_words > c->max_words)
            usage_error("%s takes %s words: it is written: %s %s", c->name,
                        w->tool->n_words < c->min_words ? "more"
                        : c->max_words                  ? "fewer"
                                                        : "no",
                        c->name, c->args);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void tool_parse(struct tool *t, const struct own_option *own, void *values)
{
    const struct command *c = t->command;
    struct argp_option rows[OWN_OPTIONS_MAX + 1] = {0};
    const struct argp_child children[] = {{&tool_argp, 0, NULL, 0}, {0}};
    char usage[128];
    const struct argp argp = {.options = own ? rows : NULL, /* glibc leaks an empty list */
                              .parser = parse_own,
                              .args_doc = usage,
                              .doc = c->doc ? c->doc : c->help,
                              .children = children};
    struct own_words w = {t, own, values};

    snprintf(usage, sizeof(usage), "%s %s", c->name, c->args);
    for (size_t i = 0; own && own[i].name; i++)
        rows[i] = (struct argp_option){.name = own[i].name,
                                       .key = own[i].letter ? own[i].letter : OWN_KEY + (int)i,
                                       .arg = own[i].arg,
                                       .doc = own[i].help};
    argp_parse(&argp, t->argc, t->argv, 0, NULL, &w);
}

int tool_client(const struct tool *t, struct ev_loop *loop, unsigned pipeline,
                struct arb_client **ret)
{
    struct arb_client_options o;

    arb_client_options_init(&o);
    o.loop = loop;
    o.pool_size = 1;
    o.pipeline = pipeline;
    o.timeout_ms = (int)t->timeout_ms; /* TOOL_MS_MAX at most */
    o.separator = t->separator;
    o.separator_len = t->separator_len;
    o.max_message = TOOL_MESSAGE_MAX;
    return arb_client_new(t->address_text, &o, ret);
}
