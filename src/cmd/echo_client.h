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

struct command;

/* Ended by a closed pipe: what a shell shows for SIGPIPE. */
enum { EXIT_PIPE = 141 };

struct tool {
    const char *address_text; /* borrowed, as written */
    struct addr address;
    const char *control; /* borrowed: the control socket's path; NULL = the default one */
    const struct command *command; /* what is run; NULL = not known yet */
    bool has_address; /* it was given */
    uint64_t timeout_ms; /* 0 = none */
    bool has_timeout; /* it was given: commands that take longer have another default */
    uint8_t separator[FRAME_SEPARATOR_MAX];
    size_t separator_len;
    bool is_json;
};

/* A command: its row is all that main, --help and the tests know of it. */
struct command {
    const char *name;
    const char *args; /* for the usage line */
    const char *help; /* one line */
    /* @argv[0] is the program, the rest the command's own words. Returns the exit code. */
    int (*run)(struct tool *t, int argc, char **argv);
    const struct argp_option *options; /* of its own; NULL = none */
    bool is_steering; /* asks over the control socket, else it talks to the address */
    const char *words; /* that it understands, for completion; NULL = none that are known */
};

/* The options of every command; an argp child whose input is a `struct tool`. */
extern const struct argp tool_argp;

/*
 * tool_parse - the words of a command whose parser hands its `struct tool` to child 0
 * @own  its options, parser and texts. Exits with 64 on an error, with 0 after --help.
 */
void tool_parse(const struct argp *own, int argc, char **argv, void *input);

/* Far above any server's max_message: a bound for our own memory. */
#define TOOL_MESSAGE_MAX ((size_t)1 << 30)

/*
 * tool_client - a client of the library for the tool's address, with one connection
 * @loop      borrowed; NULL = it is driven by the functions that block
 * @pipeline  calls under way at once
 * Returns as arb_client_new.
 */
int tool_client(const struct tool *t, struct ev_loop *loop, unsigned pipeline,
                struct arb_client **ret);

/* option_number, option_ms - the value of an option, or exit with 64 and what is allowed */
uint64_t option_number(const char *option, const char *arg, uint64_t min, uint64_t max,
                       struct argp_state *state);
uint64_t option_ms(const char *option, const char *arg, uint64_t min_ms, struct argp_state *state);

/* completion_write - for "bash" or "zsh", from the table. Returns 0, or -1 for another shell. */
int completion_write(FILE *f, const char *shell, const struct command *commands, size_t n);

int send_run(struct tool *t, int argc, char **argv);

/* Measuring and proving; see echo_client_<name>.c. */
int ping_run(struct tool *t, int argc, char **argv);
int bench_run(struct tool *t, int argc, char **argv);
int hold_run(struct tool *t, int argc, char **argv);
int audit_run(struct tool *t, int argc, char **argv);
extern const struct argp_option ping_argp_options[];
extern const struct argp_option bench_argp_options[];
extern const struct argp_option hold_argp_options[];
extern const struct argp_option audit_argp_options[];
extern const struct argp_option top_argp_options[];
extern const struct argp_option reload_argp_options[];
extern const struct argp_option stop_argp_options[];

/* Over the control socket. */
int info_run(struct tool *t, int argc, char **argv);
int top_run(struct tool *t, int argc, char **argv);
int actors_run(struct tool *t, int argc, char **argv);
int commands_run(struct tool *t, int argc, char **argv);
int call_run(struct tool *t, int argc, char **argv);
int reload_run(struct tool *t, int argc, char **argv);
int scale_run(struct tool *t, int argc, char **argv);
int upgrade_run(struct tool *t, int argc, char **argv);
int crashes_run(struct tool *t, int argc, char **argv);
int stop_run(struct tool *t, int argc, char **argv);
int log_level_run(struct tool *t, int argc, char **argv);
int reopen_logs_run(struct tool *t, int argc, char **argv);

/* ---- output: each returns 0 or an exit code (EXIT_PIPE, 74), reported already ---- */

int out_line(const void *data, size_t len);
int out_print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* as a line */
/* out_json - as a line; @o is freed, NULL = there was no memory for it */
int out_json(json_t *o);
int out_flush(void);

/* ---- errors ---- */

/*
 * fail_outcome - say what a call's outcome means and what to do next; JSON too if asked for
 * @what  the thing that failed ("line 3"), or NULL
 * Returns the exit code.
 */
int fail_outcome(const struct tool *t, const char *what, int outcome);

/* ---- input: lines of a descriptor, binary safe ---- */

struct lines {
    int fd; /* borrowed */
    char *data;
    size_t start, len, capacity; /* unread bytes are data[start..start+len) */
    size_t scanned; /* of these, looked at for a newline */
    bool is_end;
};

void lines_init(struct lines *l, int fd);
void lines_fini(struct lines *l);

/*
 * lines_take - the next line that is here already, without its newline
 * @ret  borrowed until lines_fill. Returns 1, or 0 if none is here (or ever will be: is_end).
 */
int lines_take(struct lines *l, const char **ret, size_t *ret_len);

/*
 * lines_fill - read once; blocks. Lines taken before are gone.
 * Returns 0, -EMSGSIZE (a line above @max bytes) or -errno.
 */
int lines_fill(struct lines *l, size_t max);

#endif
