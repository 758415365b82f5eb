/*
 * The client tool: finds the command in its table, hands it the rest of the words, and turns what
 * it returns into the exit code. The commands live in echo_client_<name>.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "client/text.h"
#include "cmd/echo_client.h"
#include "echo/echo.h"

/* The first row is what happens without a command. */
static const struct command commands[] = {
    {"send", "[MESSAGE...]", "print a line for each echo (the default command)", send_run, NULL,
     false, NULL},
    {"ping", "[-n COUNT] [-i TIME] [-s SIZE]", "how long does an echo take?", ping_run,
     ping_argp_options, false, NULL},
    {"bench", "[OPTION...]", "how many messages per second, and how fast?", bench_run,
     bench_argp_options, false, NULL},
    {"audit", "[OPTION...]", "prove what becomes of every message", audit_run, audit_argp_options,
     false, NULL},
    {"hold", "[-c N] [-t TIME] [--probe MIN-MAX]", "leave connections idle; what cuts them?",
     hold_run, hold_argp_options, false, NULL},
    {"info", "", "show the arbiter, its workers and what they have done", info_run, NULL, true,
     NULL},
    {"top", "[-n COUNT] [-i SECONDS]", "watch the workers", top_run, top_argp_options, true, NULL},
    {"actors", "", "list every actor with its process and state", actors_run, NULL, true, NULL},
    {"commands", "", "list what can be asked of an actor with call", commands_run, NULL, true,
     NULL},
    {"call", "ACTOR COMMAND [KEY=VALUE...]", "give one command to an actor", call_run, NULL, true,
     "arbiter workers"},
    {"reload", "[--force]", "read the configuration again; wait until it is done", reload_run,
     reload_argp_options, true, NULL},
    {"scale", "N", "change the number of workers; wait until they run", scale_run, NULL, true,
     NULL},
    {"upgrade", "", "execute the server's program anew; wait until it is done", upgrade_run, NULL,
     true, NULL},
    {"crashes", "[show NUMBER]", "list the last crashes of workers, or show one", crashes_run, NULL,
     true, "show"},
    {"stop", "[--now]", "stop the server; wait until it is gone", stop_run, stop_argp_options, true,
     NULL},
    {"log-level", "LEVEL", "change the log level until the next reload", log_level_run, NULL, true,
     "debug info warning error"},
    {"reopen-logs", "", "open the log file anew", reopen_logs_run, NULL, true, NULL},
};

const char *argp_program_version = "echo-client " ECHO_VERSION;

/* What is found before the command's own words. */
struct main_input {
    struct tool tool;
    const struct command *command;
    int argc;
    char **argv;
};

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* A word that was meant for a command must not be sent as a message, unnoticed. */
static void check_word(const struct main_input *in, struct argp_state *state, const char *word)
{
    static const char advice[] = "to send it as a message use: echo-client send";

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (text_is_slip(word, commands[i].name))
            argp_error(state, "%s: no command; did you mean %s? %s %s", word, commands[i].name,
                       advice, word);
    if (strcmp(word, "help") == 0)
        argp_error(state, "%s: no command; did you mean --help? %s %s", word, advice, word);
    if (in->tool.control && !in->tool.has_address)
        argp_error(state, "-C %s: %s is no command; %s %s without -C", in->tool.control, word,
                   advice, word);
}

/*
 * The first word ends the main options. It is a command's name or, for the default command, its
 * first argument; the word before it makes room for the program's name, which argp wants first.
 */
static void take_words(struct main_input *in, struct argp_state *state)
{
    int first = state->next - 1;
    bool is_quoted = state->quoted > 0 && first >= state->quoted;
    const struct command *found = is_quoted ? NULL : command_find(state->argv[first]);

    if (found) {
        in->command = found;
        in->argv = state->argv + first;
    } else {
        if (!is_quoted)
            check_word(in, state, state->argv[first]);
        in->argv = state->argv + first - (is_quoted ? 2 : 1);
        if (is_quoted)
            in->argv[1] = (char *)"--";
    }
    in->argc = (int)(state->argv + state->argc - in->argv);
    in->argv[0] = state->argv[0];
    state->next = state->argc;
}

enum { OPT_COMPLETION = 2000 };

static error_t parse_main(int key, char *arg, struct argp_state *state)
{
    struct main_input *in = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &in->tool;
        return 0;
    case OPT_COMPLETION:
        if (completion_write(stdout, arg, commands, ARRAY_SIZE(commands)))
            argp_error(state, "--completion %s: bash or zsh", arg);
        exit(0); /* by way of check_output */
    case ARGP_KEY_ARG:
        take_words(in, state);
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (in->tool.control && !in->tool.has_address)
            argp_error(state, "-C %s: what shall the server do? Name a command like info or reload",
                       in->tool.control);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *help_commands(const char *text)
{
    char *all = NULL;
    size_t size;
    FILE *f = open_memstream(&all, &size);

    if (!f)
        return (char *)text;
    fputs("Commands:\n", f);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        int len = fprintf(f, "  %s%s%s", c->name, *c->args ? " " : "", c->args);

        /* What is too long for its column has a line of its own. */
        fprintf(f, "%s%*s%s\n", len < 24 ? "" : "\n", len < 24 ? 24 - len : 24, "", c->help);
    }
    fputs(text, f);
    fclose(f);
    return all;
}

/* The usage line and the list of commands are derived from the table. argp frees what is new. */
static char *filter_help(int key, const char *text, void *input)
{
    (void)input;
    if (key == ARGP_KEY_HELP_POST_DOC && text)
        return help_commands(text);
    return (char *)text;
}

static const char doc[] =
    "Send messages to an echo server and check that they come back as they were sent; "
    "ask a server how it is, and steer it.\v"
    "\n"
    "Without MESSAGE each line of the standard input is a message; on a terminal\n"
    "there is a prompt. A reply that differs from its message is an error.\n"
    "\n"
    "Examples:\n"
    "  echo-client 'Hello!'\n"
    "  echo-client -a '[::1]:8060' one two three\n"
    "  echo-client -a unix:/run/echo.sock < messages.txt\n"
    "  echo-client --json --timeout 2 send 'Hello!'\n"
    "  echo-client --separator '\\n' 'a line'\n"
    "  echo-client info\n"
    "  echo-client call worker.1 ping\n"
    "\n"
    "Exit status: 0 every message came back, 1 a limit was broken (audit, bench),\n"
    "messages were lost (ping) or connections cut (hold), 64 usage,\n"
    "65 a message that cannot be sent, 68 unknown host, 69 refused or unreachable,\n"
    "70 failed in the server, 74 input or output, 75 timeout, 76 connection\n"
    "closed or wrong reply, 77 not allowed, 78 configuration refused.";

/* Never let a socket become one of 0, 1, 2: whoever started us closed them. */
static void guard_stdio(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0) /* the wrong way round, so that using it is an error */
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* argp ends --help, --version and --usage with 0 whether or not they could be written. */
static void check_output(void)
{
    int rc = out_flush();

    if (rc)
        _exit(rc);
}

int main(int argc, char **argv)
{
    static char *no_words[] = {NULL, NULL};
    const struct argp_child children[] = {{&tool_argp, 0, NULL, 0}, {0}};
    static const struct argp_option options[] = {
        {"completion", OPT_COMPLETION, "SHELL", OPTION_HIDDEN, NULL, 0}, {0}};
    const struct argp main_argp = {
        .options = options,
        .parser = parse_main,
        .args_doc = "[send] MESSAGE...\n< FILE",
        .doc = doc,
        .children = children,
        .help_filter = filter_help,
    };
    struct main_input in = {.command = &commands[0], .argc = 1, .argv = no_words};
    int rc, rc_flush;

    guard_stdio();
    atexit(check_output);
    signal(SIGPIPE, SIG_IGN);
    no_words[0] = argv[0];
    argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &in);
    in.tool.command = in.command;
    rc = in.command->run(&in.tool, in.argc, in.argv);
    rc_flush = rc == EXIT_PIPE ? 0 : out_flush();
    /* What stdio could not write it shall not try again. */
    _exit(rc ? rc : rc_flush);
}
