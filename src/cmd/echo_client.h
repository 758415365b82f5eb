/*
 * What the files of the client tool share: the options that every command has, the table of
 * commands, and the one place each for output and for errors. Only the tool may print and exit.
 */
#ifndef CMD_ECHO_CLIENT_H
#define CMD_ECHO_CLIENT_H

#include <arbiter/client.h>
#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/addr.h"
#include "wire/frame.h"

/* Ended by a closed pipe: what a shell shows for SIGPIPE. */
enum { EXIT_PIPE = 141 };

/* What the value of an option is, and so the type of the field it goes to. */
enum option_kind {
    OPTION_SET, /* bool: no value; true */
    OPTION_NUMBER, /* an unsigned integer of any size, from min to max */
    OPTION_MS, /* the same: a time with a unit, in milliseconds */
    OPTION_SIZE, /* the same: bytes */
    OPTION_MS_RANGE, /* struct quantity_range */
    OPTION_SIZE_RANGE,
    OPTION_SHARE, /* struct quantity_share */
    OPTION_TEXT, /* const char * */
};

/* A row of a command's own options: --help and the parser are derived from it. */
struct own_option {
    const char *name;
    int letter; /* 0 = none */
    const char *arg; /* of the help; NULL = it has no value */
    const char *help;
    enum option_kind kind;
    size_t offset, size; /* OPTION_AT: where the value goes */
    uint64_t min, max;
};

#define OPTION_AT(type, field) offsetof(type, field), sizeof(((type *)NULL)->field)

struct tool;

/* A command: its row is all that main, --help and the tests know of it. */
struct command {
    const char *name;
    const char *args; /* for the usage line */
    const char *help; /* one line */
    const char *doc; /* the same for its own --help; NULL = that line */
    int (*run)(struct tool *t); /* calls tool_parse first. Returns the exit code. */
    bool is_steering; /* asks over the control socket, else it talks to the address itself */
    int min_words, max_words; /* that it takes */
};

/* The options of more than one command. */
enum tool_option {
    TOOL_ADDRESS,
    TOOL_CONTROL,
    TOOL_TIMEOUT,
    TOOL_SEPARATOR,
    TOOL_JSON,
    TOOL_OPTIONS
};

struct tool {
    const char *address_text; /* borrowed, as written */
    struct addr address;
    const char *control; /* borrowed: the control socket's path; NULL = the default one */
    const struct command *found; /* among the main words */
    const struct command *command; /* what is run; NULL = the main words are being parsed */
    int argc; /* argv[0] is the program, the rest the command's own words */
    char **argv;
    unsigned given; /* bit n: option n of `enum tool_option` was given */
    bool has_address; /* it was given */
    uint64_t timeout_ms; /* 0 = none */
    bool has_timeout; /* it was given: commands that take longer have another default */
    uint8_t separator[FRAME_SEPARATOR_MAX];
    size_t separator_len;
    bool is_json;
    bool is_optional; /* without a server there is nothing to do */
    int n_words; /* after tool_parse: those that are no options */
    char **words;
};

/* These options; an argp child whose input is a `struct tool`. */
extern const struct argp tool_argp;

/* tool_is_given - was it on the command line, before the command or behind it? */
static inline bool tool_is_given(const struct tool *t, enum tool_option option)
{
    return t->given & (1u << option);
}

/*
 * tool_parse - read the words of the tool's command
 * @options  its own, up to a row without a name; NULL = none
 * @values   the struct that their rows point into
 * Exits with 64 on an error, with 0 after --help. So does usage_error.
 */
void tool_parse(struct tool *t, const struct own_option *options, void *values);
void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* tool_check_main - as tool_parse does, of the words up to the command: are their options known? */
void tool_check_main(int argc, char **argv);

/* Far above any server's max_message: a bound for our own memory. */
#define TOOL_MESSAGE_MAX ((size_t)1 << 30)

/* Of times on the command line. */
enum { TOOL_MS_MAX = 1000000000 };

/*
 * tool_client - a client of the library for the tool's address, with one connection
 * @loop      borrowed; NULL = it is driven by the functions that block
 * @pipeline  calls under way at once
 * Returns as arb_client_new.
 */
int tool_client(const struct tool *t, struct ev_loop *loop, unsigned pipeline,
                struct arb_client **ret);

int send_run(struct tool *t);

/* Measuring and proving; see echo_client_<name>.c. */
int ping_run(struct tool *t);
int bench_run(struct tool *t);
int hold_run(struct tool *t);
int audit_run(struct tool *t);

/* Over the control socket; request_run is that of most. */
int request_run(struct tool *t);
int reload_run(struct tool *t);
int ready_run(struct tool *t);
int reopen_run(struct tool *t);
int stop_run(struct tool *t);
int call_run(struct tool *t);
int top_run(struct tool *t);
int connections_run(struct tool *t);
int kill_run(struct tool *t);

/* ---- output: each returns 0 or an exit code (EXIT_PIPE, 74), reported already ---- */

int out_line(const void *data, size_t len);
int out_print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* as a line */
/*
 * out_json   - as a line; an object gets the number of the schema. @o is freed, NULL = there was no
 *              memory for it
 * out_answer - the same for what a server says, as it is
 */
int out_json(json_t *o);
int out_answer(json_t *o);
/* out_begin - a stream for text of lines; out_end - write them, or forget them */
FILE *out_begin(void);
int out_end(FILE *f, bool is_wanted);
int out_flush(void);

/* ---- errors ---- */

/*
 * fail_outcome - say what a call's outcome means and what to do next; JSON too if asked for
 * @what  the thing that failed ("line 3"), or NULL
 * Returns the exit code.
 */
int fail_outcome(const struct tool *t, const char *what, int outcome);

/* why_no_socket - what is at @path instead of a socket; static, NULL = a socket or nothing */
const char *why_no_socket(const char *path);

/* fail_say - @message, and JSON with @code (NULL = none) if asked for. Returns @exit_code. */
int fail_say(const struct tool *t, const char *code, const char *message, int exit_code);

#endif
