/*
 * The client tool: finds the command in its table, hands it the rest of the words, and turns what
 * it returns into the exit code. The commands live in echo_client_<name>.c.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/num.h"
#include "base/signals.h"
#include "base/slip.h"
#include "base/std_streams.h"
#include "base/util.h"
#include "client/columns.h"
#include "client/text.h"
#include "cmd/echo_client.h"
#include "client/echo.h"

/* The first row is what happens without a command. */
static const struct command commands[] = {
    {"send", "[MESSAGE...]", "print a line for each echo (the default command)", NULL, send_run,
     false, 0, INT_MAX},
    {"ping", "[-c COUNT] [-i TIME] [-s SIZE]", "how long does an echo take?",
     "Send a message every so often and print how long its echo took; at the end, or on Ctrl-C, "
     "what was lost and the least, mean and greatest time. Exit status 1: messages were lost.",
     ping_run, false, 0, 0},
    {"bench", "[OPTION...]", "how many messages per second, and how fast?",
     "Measure how many messages per second a server echoes and how long each takes, for 10 seconds "
     "if nothing else is said. Ctrl-C ends it with what it has. Exit status 1: worse than "
     "--compare allows.",
     bench_run, false, 0, 0},
    {"audit", "[OPTION...]", "prove what becomes of every message",
     "Send messages that describe themselves over many connections and prove what became of each: "
     "echoed, lost, changed, doubled or out of order. Goes on through outages; Ctrl-C ends it "
     "with the summary. Exit status 1: the limits were broken.",
     audit_run, false, 0, 0},
    {"hold", "[-c N] [-t TIME] [--probe MIN-MAX]", "leave connections idle; what cuts them?",
     "Open connections, leave them idle, and tell when and how each is cut; with --probe find out "
     "how long a pause survives. Exit status 1: some were cut or refused.",
     hold_run, false, 0, 0},
    {"info", "", "show the arbiter, its workers and what they have done", NULL, request_run, true,
     0, 0},
    {"ready", "", "shall clients be sent here? Exit status 1: no",
     "Say whether clients shall be sent to the server: yes if it has started, at least one worker "
     "runs, and nobody has asked it to stop. Exit status 1: not ready, and why.",
     ready_run, true, 0, 0},
    {"top", "[-n COUNT] [-i TIME]", "watch the workers",
     "Watch the workers: on a terminal in place until q or Ctrl-C, elsewhere a line for each "
     "worker and one for all, MB being 1000000 bytes. A server that goes away is waited for, with "
     "--timeout only so long.",
     top_run, true, 0, 0},
    {"actors", "", "list every actor with its process and state", NULL, request_run, true, 0, 0},
    {"connections", "[FILTER...]", "list connections of clients",
     "List the connections of clients to all workers, the oldest of each first. A filter is "
     "peer=ADDRESS[/BITS], peer=ADDRESS:PORT, id=N, worker=N, state=STATE, protocol=NAME, "
     "kept=yes or kept=no, or it bounds age, idle, messages, bytes_in or bytes_out with = < > <= "
     "or >=, as in 'idle>60s'; all of them have to be met.",
     connections_run, true, 0, INT_MAX},
    {"kill", "PEER|ID...", "end connections of clients",
     "End connections at once: that of a number or of a peer's address and port as connections "
     "shows them, or all of an address, a network ADDRESS/BITS or unix. Exit status 1: one of "
     "the words has met no connection.",
     kill_run, true, 1, INT_MAX},
    {"commands", "", "list what can be asked of an actor with call", NULL, request_run, true, 0, 0},
    {"call", "ACTOR COMMAND [KEY=VALUE...]", "give one command to an actor",
     "Give one command to an actor (arbiter, worker.N, or workers for all of them) and print its "
     "answer. The commands are listed by: echo-client commands",
     call_run, true, 2, INT_MAX},
    {"reload", "[--force]", "read the configuration again; wait until it is done", NULL, reload_run,
     true, 0, 0},
    {"scale", "N", "change the number of workers; wait until they run", NULL, request_run, true, 1,
     1},
    {"upgrade", "", "execute the program anew; wait until it is done",
     "Let the server execute its program anew, in place, and wait until workers of the new one "
     "have taken over.",
     request_run, true, 0, 0},
    {"crashes", "[show NUMBER]", "list the last crashes of workers, or show one", NULL, request_run,
     true, 0, 2},
    {"stop", "[--now]", "stop the server; wait until it is gone",
     "Stop the server and wait until it is gone: every message that is on its way is still "
     "answered, within arbiter.exit_timeout.",
     stop_run, true, 0, 0},
    {"log-level", "LEVEL", "change the log level until the next reload", NULL, request_run, true, 1,
     1},
    {"reopen-logs", "[--if-running]", "open the log file anew", NULL, reopen_run, true, 0, 0},
};

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* Words that other tools have for it. */
static const struct {
    const char *word, *instead;
} strangers[] = {
    {"help", "--help"},
    {"version", "--version"},
    {"status", "info"},
    {"show", "info"},
    {"list", "actors"},
    {"shutdown", "stop"},
    {"quit", "stop"},
    {"restart", "reload or upgrade"},
    {"config", "call arbiter config"},
    {"workers", "scale or actors"},
};

/*
 * Refuses a first word that was probably meant as a command, instead of sending it as a message:
 * one that is nearly the name of a command, or that other tools have for it.
 */
static void check_word(const struct tool *t, struct argp_state *state, const char *word)
{
    const char *meant = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(commands) && !meant; i++)
        if (slip_is(word, strlen(word), commands[i].name, strlen(commands[i].name)))
            meant = commands[i].name;
    for (size_t i = 0; i < ARRAY_SIZE(strangers) && !meant; i++)
        if (strcmp(word, strangers[i].word) == 0)
            meant = strangers[i].instead;
    if (meant)
        argp_error(state,
                   "%s: no command; did you mean %s? to send it as a message use: echo-client send "
                   "%s",
                   word, meant, word);
    if (t->control)
        argp_error(state,
                   "-C %s: %s is no command; to send it as a message use: echo-client send %s "
                   "without -C",
                   t->control, word, word);
}

/*
 * The first word ends the main options. It is a command's name or, for the default command, its
 * first argument; the word before it makes room for the program's name, which argp wants first.
 */
static void take_words(struct tool *t, struct argp_state *state)
{
    int first = state->next - 1;
    bool is_quoted = state->quoted > 0 && first >= state->quoted;
    const struct command *found = is_quoted ? NULL : command_find(state->argv[first]);

    if (found) {
        t->found = found;
        t->argv = state->argv + first;
    } else {
        if (!is_quoted)
            check_word(t, state, state->argv[first]);
        t->argv = state->argv + first - (is_quoted ? 2 : 1);
        if (is_quoted)
            t->argv[1] = (char *)"--";
    }
    t->argc = (int)(state->argv + state->argc - t->argv);
    t->argv[0] = state->argv[0];
    state->next = state->argc;
}

static error_t parse_main(int key, char *arg, struct argp_state *state)
{
    struct tool *t = state->input;

    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = t;
        return 0;
    case ARGP_KEY_ARG:
        take_words(t, state);
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (t->control)
            argp_error(state, "-C %s: what shall the server do? Name a command like info or reload",
                       t->control);
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

        /* A usage line that is too long for its column stands on a line of its own. */
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
    "messages were lost (ping), connections cut (hold) or it is not ready (ready),\n"
    "64 usage, 65 a message that cannot be sent, 68 unknown host, 69 refused or\n"
    "unreachable, 70 failed in the server, 74 input or output, 75 timeout, 76\n"
    "connection closed or wrong reply, 77 not allowed, 78 configuration refused.";

/* A socket must not become descriptor 0, 1 or 2 if the caller has closed these. */
static void guard_stdio(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0) /* the wrong way round, so that using it is an error */
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* Tables are for people where they are shown on a terminal; elsewhere a row is a line. */
static void limit_tables(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    uint64_t width;

    if (!isatty(STDOUT_FILENO))
        return;
    if (columns && num_parse_u64(columns, 1, 10000, &width) == 0)
        columns_limit((size_t)width);
    else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        columns_limit(size.ws_col);
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
    const struct argp main_argp = {
        .parser = parse_main,
        .args_doc = "[send] MESSAGE...\n< FILE",
        .doc = doc,
        .children = children,
        .help_filter = filter_help,
    };
    struct tool t = {.found = &commands[0], .argc = 1, .argv = no_words};
    int rc, rc_flush;

    guard_stdio();
    std_streams_wait();
    atexit(check_output);
    signal(SIGPIPE, SIG_IGN);
    signals_end_first_process();
    limit_tables();
    no_words[0] = argv[0];
    argp_program_version = "echo-client " ECHO_VERSION;
    tool_check_main(argc, argv);
    argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &t);
    t.command = t.found;
    rc = t.command->run(&t);
    rc_flush = rc == EXIT_PIPE ? 0 : out_flush();
    /* _exit, because stdio must not try again to write what it could not write. */
    _exit(rc ? rc : rc_flush);
}
