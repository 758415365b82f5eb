/*
 * Runs of echo-client in a test: what it printed, what it said, how it ended. What does not end
 * within WAIT_MS breaks the case. Blocks live as those of peer.h.
 */
#ifndef SUPPORT_TOOL_H
#define SUPPORT_TOOL_H

#include <stddef.h>
#include <sys/types.h>

#include "conformance/peer.h"
#include "support/server.h"

/* A run that has ended, or a part of one. */
struct tool_run {
    pid_t pid;
    int code; /* exit code, or 128 + signal */
    char *out, *err;
    size_t out_len;
};

struct tool_io {
    int in, out, err; /* -1 = closed */
};

#define ARGS(...)        ((const char *const[]){__VA_ARGS__, NULL})
#define RUN(it, in, ...) tool_run((it), (in), ARGS(__VA_ARGS__))
#define NO_INPUT         BYTES("")

/* tool_run - from its start to its end, with @in as its standard input */
struct tool_run tool_run(struct it *it, struct bytes in, const char *const *args);

/* tool_start - only start; tool_wait - its exit code, or 128 + signal */
pid_t tool_start(struct it *it, struct tool_io io, const char *const *args);
int tool_wait(pid_t pid);

/* tool_file - a file in the test's directory, empty; tool_read_back - its text, and close it */
int tool_file(struct it *it, const char *name);
char *tool_read_back(int fd, size_t *ret_len);

/* tool_must_print - it succeeded, printed exactly this and said nothing */
void tool_must_print(const struct tool_run *r, const void *data, size_t len);

/* tool_must_fail - with this code, and one line on the standard error that has @text in it */
void tool_must_fail(const struct tool_run *r, int code, const char *text);

/*
 * tool_start_on_terminal - its terminal is ours to type on, its state in the test's directory
 * @columns  0 = the terminal does not know
 */
pid_t tool_start_on_terminal(struct it *it, const char *term, unsigned short columns,
                             const char *const *args, int *ret_fd);

/* tool_type - as somebody does there */
void tool_type(int fd, const char *text);

/* tool_terminal_expect - read from a pty until @text has come; @buf holds all that came so far */
void tool_terminal_expect(int fd, char *buf, size_t size, const char *text);

#endif
