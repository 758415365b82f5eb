/*
 * The options that every command of the client tool has, and values that options share.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/escape.h"
#include "base/num.h"
#include "measure/quantity.h"
#include "cmd/echo_client.h"
#include "echo/echo.h"

#define DEFAULT_ADDRESS "127.0.0.1:8060"

enum { DEFAULT_TIMEOUT_MS = 10000, MAX_MS = 1000000000 };

enum { OPT_TIMEOUT = 256, OPT_SEPARATOR, OPT_JSON };

static const struct argp_option options[] = {
    {"address", 'a', "ADDR", 0,
     "HOST:PORT, [V6]:PORT, :PORT (this machine) or unix:PATH; default " DEFAULT_ADDRESS, 0},
    {"control", 'C', "PATH", 0,
     "the control socket; default $RUNTIME_DIRECTORY/control, else /run/echo-arbiter/control for "
     "root, else $XDG_RUNTIME_DIR/echo-arbiter.control",
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
        argp_error(state, "--separator: more than %zu bytes", sizeof(t->separator));
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

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct tool *t = state->input;
    const char *why;

    switch (key) {
    case ARGP_KEY_INIT:
        set_defaults(t);
        return 0;
    case 'a':
        t->address_text = arg;
        t->has_address = true;
        if (addr_parse(arg, &t->address, &why))
            argp_error(state, "-a %s: %s", arg, why);
        else if (t->address.kind != ADDR_UNIX && t->address.port == 0)
            argp_error(state, "-a %s: port 0 cannot be connected to", arg);
        return 0;
    case 'C':
        t->control = set_control(arg, state);
        return 0;
    case OPT_TIMEOUT:
        t->has_timeout = true;
        if (num_parse_duration_ms(arg, 0, MAX_MS, &t->timeout_ms))
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

uint64_t option_number(const char *option, const char *arg, uint64_t min, uint64_t max,
                       struct argp_state *state)
{
    uint64_t n = min;

    if (num_parse_u64(arg, min, max, &n))
        argp_error(state, "%s %s: a number from %" PRIu64 " to %" PRIu64, option, arg, min, max);
    return n;
}

uint64_t option_ms(const char *option, const char *arg, uint64_t min_ms, struct argp_state *state)
{
    uint64_t ms = min_ms;

    if (quantity_ms(arg, min_ms, MAX_MS, &ms))
        argp_error(state, "%s %s: a time like 200ms, 2, 30s or 10m", option, arg);
    return ms;
}

const struct argp tool_argp = {.options = options, .parser = parse_option};

void tool_parse(const struct argp *own, int argc, char **argv, void *input)
{
    const struct argp_child children[] = {{&tool_argp, 0, NULL, 0}, {0}};
    struct argp argp = *own;

    argp.children = children;
    argp_parse(&argp, argc, argv, 0, NULL, input);
}

int tool_client(const struct tool *t, struct ev_loop *loop, unsigned pipeline,
                struct arb_client **ret)
{
    struct arb_client_options o;

    arb_client_options_init(&o);
    o.loop = loop;
    o.pool_size = 1;
    o.pipeline = pipeline;
    o.timeout_ms = (int)t->timeout_ms; /* MAX_MS at most */
    o.separator = t->separator;
    o.separator_len = t->separator_len;
    o.max_message = TOOL_MESSAGE_MAX;
    return arb_client_new(t->address_text, &o, ret);
}
