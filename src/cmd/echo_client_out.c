/*
 * The one place where the client tool writes: lines to the standard output, errors with advice to
 * the standard error.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/json_schema.h"
#include "base/std_streams.h"
#include "client/outcome.h"
#include "cmd/echo_client.h"

/* Says why the standard output cannot be written. */
static int out_failed(void)
{
    if (errno == EPIPE)
        return EXIT_PIPE;
    fprintf(stderr, "echo-client: standard output: %s\n", strerror(errno));
    return EX_IOERR;
}

int out_line(const void *data, size_t len)
{
    if (fwrite(data, 1, len, stdout) != len || putchar('\n') == EOF)
        return out_failed();
    return 0;
}

int out_print(const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vprintf(format, args);
    va_end(args);
    return n < 0 ? out_failed() : out_line("", 0);
}

int out_json(json_t *o)
{
    if (json_is_object(o))
        json_object_set_new(o, "schema", json_integer(JSON_SCHEMA));
    return out_answer(o);
}

int out_answer(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) : NULL;
    int rc = text ? out_line(text, strlen(text)) : EX_OSERR;

    free(text);
    json_decref(o);
    return rc;
}

static struct {
    char *text;
    size_t len;
} out;

FILE *out_begin(void)
{
    return open_memstream(&out.text, &out.len);
}

int out_end(FILE *f, bool is_wanted)
{
    int rc = f && fclose(f) == 0 ? 0 : EX_OSERR;

    if (rc == 0 && is_wanted && out.len > 0)
        rc = out_line(out.text, out.len - 1); /* which ends with a newline of its own */
    free(out.text);
    out.text = NULL;
    return rc;
}

/* A line that a terminal has not taken is not there any more to be flushed. */
int out_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    errno = std_streams_error() ? std_streams_error() : errno;
    clearerr(stdout); /* it is told once */
    return out_failed();
}

static const char *const advice[OUTCOMES_N] = {
    [ARB_TIMEOUT] = "allow more time with --timeout TIME; if bytes were sent, is --separator the "
                    "same as the server's?",
    [ARB_REFUSED] = "is echo-arbiter running? start it with: echo-arbiter -c echo.conf",
    [ARB_UNREACHABLE] = "check the address after -a and the network",
    [ARB_UNRESOLVED] = "check the name after -a",
    [ARB_NO_RESOLVER] = "check the name servers in /etc/resolv.conf, or give a number after -a",
    [ARB_CLOSED] = "is the server stopping, or the message longer than its max_message?",
    [ARB_RESET] = "has the server's process died, something in between cut the line, or "
                  "is the message longer than the server's max_message?",
    [ARB_UNEXPECTED] = "is this an echo server, and --separator the same as its own?",
    [ARB_MISMATCH] = "is this an echo server, and --separator the same as its own?",
    [ARB_SEPARATOR] = "choose another one with --separator, as the server's configuration has",
};

const char *why_no_socket(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || S_ISSOCK(st.st_mode))
        return NULL;
    return S_ISDIR(st.st_mode) ? "it is a directory, and no socket" : "it is a file, and no socket";
}

/* connect(2) refuses alike where nobody listens, where there is no socket, and where there is
 * something else. */
static const char *text_of(const struct tool *t, int outcome)
{
    const char *why = NULL;

    if (outcome != ARB_REFUSED || t->address.kind != ADDR_UNIX)
        return arb_strerror(outcome);
    if (access(t->address.path, F_OK) < 0 && errno == ENOENT)
        why = "there is no such socket";
    else
        why = why_no_socket(t->address.path);
    return why ? why : arb_strerror(outcome);
}

int fail_say(const struct tool *t, const char *code, const char *message, int exit_code)
{
    if (t->is_json && code)
        out_json(json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message));
    /* stdout before stderr, so that what belongs together stays together. */
    if (out_flush() == EXIT_PIPE)
        return EXIT_PIPE;
    fprintf(stderr, "echo-client: %s\n", message);
    return exit_code;
}

int fail_outcome(const struct tool *t, const char *what, int outcome)
{
    const char *next;
    char message[512];

    /* connect(2) asks for permission before it looks at what is there. */
    if (outcome == -EACCES && t->address.kind == ADDR_UNIX && why_no_socket(t->address.path))
        outcome = ARB_REFUSED;
    next = outcome >= 0 && outcome < OUTCOMES_N ? advice[outcome] : NULL;
    snprintf(message, sizeof(message), "%s: %s%s%s%s%s", t->address_text, what ? what : "",
             what ? ": " : "", text_of(t, outcome), next ? ": " : "", next ? next : "");
    return fail_say(t, arb_status_name(outcome), message, outcome_exit(outcome));
}
