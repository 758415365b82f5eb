/*
 * The options that many commands of the client tool have, and the kinds of values of all others. A
 * command's help lists those that it takes, and it refuses the others.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/args.h"
#include "base/escape.h"
#include "base/num.h"
#include "base/util.h"
#include "measure/quantity.h"
#include "cmd/echo_client.h"
#include "client/echo.h"

#define DEFAULT_PORT    "8060"
#define DEFAULT_ADDRESS "127.0.0.1:" DEFAULT_PORT

enum { DEFAULT_TIMEOUT_MS = 10000 };

enum { OPT_TIMEOUT = 256, OPT_SEPARATOR, OPT_JSON };

#define TALKS_TO "send, ping, bench, audit and hold"

static const struct argp_option options[] = {
    [TOOL_ADDRESS] = {"address", 'a', "ADDR", 0,
                      "the server: HOST[:PORT], [V6][:PORT], :PORT (this machine) or unix:PATH; "
                      "default " DEFAULT_ADDRESS ", to steer the one of the default control socket",
                      0},
    [TOOL_CONTROL] = {"control", 'C', "PATH", 0,
                      "the control socket; default $RUNTIME_DIRECTORY/control, else "
                      "/run/echo-arbiter/control for "
                      "root and where others have no $XDG_RUNTIME_DIR/echo-arbiter.control",
                      0},
    [TOOL_TIMEOUT] =
        {"timeout", OPT_TIMEOUT, "TIME", 0,
         "give up on connecting and on each reply after so long; default 10 (call, connections, "
         "kill, reload, scale, upgrade, stop: 60), 0 = never",
         0},
    [TOOL_SEPARATOR] = {"separator", OPT_SEPARATOR, "TEXT", 0,
                        "what ends a message, with \\r \\n \\t \\f \\\" \\\\ \\xHH; default "
                        "\\r\\n\\r\\n, empty = raw "
                        "echo",
                        0},
    [TOOL_JSON] = {"json", OPT_JSON, NULL, 0, "a JSON object for each reply and for an error", 0},
    {NULL, 'h', NULL, 0, "give this help list", -1},
    {0},
};

static bool command_takes(const struct command *c, enum tool_option option)
{
    return option == TOOL_CONTROL ? c->is_steering : option != TOOL_SEPARATOR || !c->is_steering;
}

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

/* What a command would ignore is refused: it was meant for something. */
static void check_taken(const struct tool *t, struct argp_state *state)
{
    const struct command *c = t->command;

    if (!c)
        return;
    if (tool_is_given(t, TOOL_CONTROL) && !command_takes(c, TOOL_CONTROL))
        argp_error(state,
                   "-C %s: for commands like info and reload; %s goes to an address: -a ADDR",
                   t->control, c->name);
    if (tool_is_given(t, TOOL_SEPARATOR) && !command_takes(c, TOOL_SEPARATOR))
        argp_error(state, "--separator: %s sends no messages; it is for " TALKS_TO, c->name);
    if (c->is_steering && tool_is_given(t, TOOL_ADDRESS) && tool_is_given(t, TOOL_CONTROL))
        argp_error(state, "-a %s and -C %s: both name a server, give one of them", t->address_text,
                   t->control);
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

static void give(struct tool *t, enum tool_option option)
{
    t->given |= 1u << option;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct tool *t = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        set_defaults(t);
        return 0;
    case 'a':
        give(t, TOOL_ADDRESS);
        set_address(t, arg, state);
        return 0;
    case 'h':
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
        return 0;
    case 'C':
        give(t, TOOL_CONTROL);
        t->control = set_control(arg, state);
        return 0;
    case OPT_TIMEOUT:
        give(t, TOOL_TIMEOUT);
        t->has_timeout = true;
        if (num_parse_duration_ms(arg, 0, TOOL_MS_MAX, &t->timeout_ms))
            argp_error(
                state,
                "--timeout %s: it takes a time up to 1000000 seconds, like " NUM_DURATION_LIKE
                "; 0 = never",
                arg);
        return 0;
    case OPT_SEPARATOR:
        give(t, TOOL_SEPARATOR);
        set_separator(t, arg, state);
        return 0;
    case OPT_JSON:
        give(t, TOOL_JSON);
        t->is_json = true;
        return 0;
    case ARGP_KEY_SUCCESS:
        check_taken(t, state);
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

static const char *parsed_command; /* whose words are being parsed; NULL = those before it */

void usage_error(const char *format, ...)
{
    va_list ap;

    fputs("echo-client: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\nTry `echo-client%s%s --help' for more information.\n",
            parsed_command ? " " : "", parsed_command ? parsed_command : "");
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
        if (num_parse_duration_ms(arg, o->min, o->max, &n))
            return "a time like " NUM_DURATION_LIKE;
        break;
    case OPTION_SIZE:
        if (num_parse_size(arg, o->min, o->max, &n))
            return "bytes, like " NUM_SIZE_LIKE;
        break;
    }
    store_number(o, to, n);
    return NULL;
}

/* An amount of that kind, as it can be written. Returns @buf. */
static const char *show_bound(const struct own_option *o, uint64_t bound, char *buf, size_t size)
{
    char text[NUM_DURATION_LEN + NUM_SIZE_LEN];

    switch (o->kind) {
    case OPTION_MS:
    case OPTION_MS_RANGE:
        snprintf(buf, size, "%ss", num_format_duration_ms(bound, text));
        break;
    case OPTION_SIZE:
    case OPTION_SIZE_RANGE:
        snprintf(buf, size, "%s", num_format_size(bound, text));
        break;
    default:
        snprintf(buf, size, "%" PRIu64, bound);
    }
    return buf;
}

static void set_own(const struct own_words *w, const struct own_option *o, const char *arg)
{
    const char *allowed = read_value(o, arg, (char *)w->values + o->offset);
    char min[64], max[64];

    if (!allowed)
        return;
    if (o->max == 0)
        usage_error("--%s %s: it takes %s", o->name, arg, allowed);
    usage_error("--%s %s: it takes %s, from %s to %s", o->name, arg, allowed,
                show_bound(o, o->min, min, sizeof(min)), show_bound(o, o->max, max, sizeof(max)));
}

static void check_words(const struct tool *t)
{
    const struct command *c = t->command;
    const char *blank = *c->args ? " " : "";

    if (t->n_words > c->max_words)
        usage_error("%s: %s takes %s words: it is written: %s%s%s", t->words[c->max_words], c->name,
                    c->max_words ? "fewer" : "no", c->name, blank, c->args);
    if (t->n_words < c->min_words)
        usage_error("%s takes more words: it is written: %s%s%s", c->name, c->name, blank, c->args);
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    struct own_words *w = state->input;

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
        check_words(w->tool);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_options(const struct argp_option *const *lists, int argc, char *const *argv,
                          bool is_in_order)
{
    char why[ARGS_WHY_LEN];

    if (args_check(lists, argc, argv, is_in_order, why) < 0)
        usage_error("%s%s%s", parsed_command ? parsed_command : "", parsed_command ? ": " : "",
                    why);
}

void tool_parse(struct tool *t, const struct own_option *own, void *values)
{
    const struct command *c = t->command;
    struct argp_option rows[OWN_OPTIONS_MAX + 1] = {0}, common[ARRAY_SIZE(options)];
    const struct argp common_argp = {.options = common, .parser = parse_option};
    const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
    char usage[128];
    const struct argp argp = {.options = own ? rows : NULL, /* glibc leaks an empty list */
                              .parser = parse_own,
                              .args_doc = usage,
                              .doc = c->doc ? c->doc : c->help,
                              .children = children};
    struct own_words w = {t, own, values};

    parsed_command = c->name;
    snprintf(usage, sizeof(usage), "%s %s", c->name, c->args);
    memcpy(common, options, sizeof(options));
    for (unsigned i = 0; i < TOOL_OPTIONS; i++)
        common[i].flags = command_takes(c, (enum tool_option)i) ? 0 : OPTION_HIDDEN;
    for (size_t i = 0; own && own[i].name; i++)
        rows[i] = (struct argp_option){.name = own[i].name,
                                       .key = own[i].letter ? own[i].letter : OWN_KEY + (int)i,
                                       .arg = own[i].arg,
                                       .doc = own[i].help};
    check_options((const struct argp_option *const[]){rows, common, NULL}, t->argc, t->argv, false);
    argp_parse(&argp, t->argc, t->argv, 0, NULL, &w);
}

void tool_check_main(int argc, char **argv)
{
    check_options((const struct argp_option *const[]){options, NULL}, argc, argv, true);
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
