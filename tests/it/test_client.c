/*
 * echo-client as people and scripts use it: real process, real server, or a server that does
 * exactly what a case says.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { OUTPUT_MAX = 8 << 20 };

/* ---- servers that do what a case says ---- */

static int scripted_listen(char addr[64])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 8) == 0 &&
             getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
         "listen: %s", strerror(errno));
    snprintf(addr, 64, "127.0.0.1:%u", ntohs(sa.sin_port));
    return fd;
}

static int scripted_accept(int listener)
{
    int fd = -1;

    MUST_COME((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0,
              "nobody connects");
    return fd;
}

/* Run the tool with one message "hello" against a server that says @reply and ends with @how. */
enum scripted_end { SCRIPTED_EOF, SCRIPTED_RESET, SCRIPTED_SILENCE };

static struct tool_run run_scripted(struct it *it, const char *reply, enum scripted_end how)
{
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    struct tool_run r = {0};
    char addr[64];
    int listener = scripted_listen(addr), conn;

    fcntl(listener, F_SETFL, O_NONBLOCK);
    r.pid = tool_start(
        it, io, ARGS("-a", addr, "--timeout", how == SCRIPTED_SILENCE ? "0.1" : "20", "hello"));
    conn = scripted_accept(listener);
    peer_expect_text(conn, "hello\r\n\r\n");
    peer_send_text(conn, reply);
    if (how == SCRIPTED_EOF)
        shutdown(conn, SHUT_WR);
    if (how == SCRIPTED_RESET) {
        setsockopt(conn, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        fds_close(&conn);
    }
    r.code = tool_wait(r.pid);
    r.out = tool_read_back(io.out, &r.out_len);
    r.err = tool_read_back(io.err, NULL);
    fds_close(&conn);
    close(listener);
    return r;
}

/* ---- messages and replies ---- */

static void client__words__a_line_each(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "Hello!");

    tool_must_print(&r, "Hello!\n", 7);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "one", "", "two words");
    tool_must_print(&r, "one\n\ntwo words\n", 15);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "send", "send", "--", "-x");
    tool_must_print(&r, "send\n-x\n", 8);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "--", "send", "-x");
    tool_must_print(&r, "send\n-x\n", 8);
}

static void client__lines__as_they_are(void **state)
{
    static const struct bytes inputs[] = {
        BYTES(""),
        BYTES("a"),
        BYTES("a\n"),
        BYTES("\n"),
        BYTES("\n\n"),
        BYTES("a\n\nb"),
        BYTES("\0\n\xff\0\r\n"),
        BYTES("\r"),
        BYTES("a\r\r"),
        BYTES("QUIT\nmore\nQUIT\nand more\n"),
    };
    struct it *it = *state;
    struct server *s = server_start(it);

    for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
        const char *in = inputs[i].data;
        struct tool_run r = RUN(it, inputs[i], "-a", s->addr[0]);

        /* What comes out is what went in, with a newline after the last line. */
        if (inputs[i].len > 0 && in[inputs[i].len - 1] != '\n') {
            char *want = peer_alloc(inputs[i].len + 1);

            memcpy(want, in, inputs[i].len);
            want[inputs[i].len] = '\n';
            tool_must_print(&r, want, inputs[i].len + 1);
        } else {
            tool_must_print(&r, in, inputs[i].len);
        }
    }
}

static void client__many_and_long_lines__all_come_back(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *text = peer_alloc(OUTPUT_MAX);
    size_t len = 0;
    struct tool_run r;
    uint64_t rng = 1;

    while (len < OUTPUT_MAX - 3000000) {
        size_t n = rng_below(&rng, 1000) == 0 ? 2000000 : rng_below(&rng, 60);

        for (size_t i = 0; i < n; i++)
            text[len++] = (char)(' ' + rng_below(&rng, 90));
        text[len++] = '\n';
    }
    r = tool_run(it, (struct bytes){text, len}, ARGS("-a", s->addr[0]));
    tool_must_print(&r, text, len);
}

static void client__other_separator__same_as_the_servers(void **state)
{
    struct it *it = *state;
    struct server *lines = server_start(it, .conf = "server = { separator = \"\\n\"; };");
    struct server *raw = server_start(it, .conf = "server = { separator = \"\"; };");
    struct tool_run r = RUN(it, NO_INPUT, "-a", lines->addr[0], "--separator", "\\n", "a\r\n\r");

    tool_must_fail(&r, 65, "message 1: message would end early");
    r = RUN(it, NO_INPUT, "-a", lines->addr[0], "--separator=\\x0a", "a\r\r", "b");
    tool_must_print(&r, "a\r\r\nb\n", 6);
    r = RUN(it, BYTES("QUIT\n\nanything\r\n"), "-a", raw->addr[0], "--separator=");
    tool_must_print(&r, "QUIT\n\nanything\r\n", 16);
}

static void client__message_with_separator__refused_after_what_precedes_it(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "one", "t\r\n\r\nwo", "three");

    tool_must_fail(&r, 65, "message 2: message would end early");
    MUST(strcmp(r.out, "one\n") == 0, "printed: %s", r.out);
}

static void client__every_form_of_address__connects(void **state)
{
    struct it *it = *state;
    char *unix_addr = peer_alloc(256), *port_only = peer_alloc(64), *name = peer_alloc(64);
    char *conf = peer_alloc(512);
    struct server *s;
    const char *const *args;

    snprintf(unix_addr, 256, "unix:%s", it_path(it, "sock"));
    snprintf(conf, 512, "server = { bind = [\"127.0.0.1:0\", \"%s\"]; };", unix_addr);
    s = server_start(it, .conf = conf);
    snprintf(port_only, 64, "%s", strrchr(s->addr[0], ':'));
    snprintf(name, 64, "localhost%s", port_only);
    args = ARGS(s->addr[0], unix_addr, port_only, name);
    for (size_t i = 0; args[i]; i++) {
        struct tool_run r = RUN(it, NO_INPUT, "-a", args[i], "hello");

        tool_must_print(&r, "hello\n", 6);
    }
}

static void client__json__an_object_a_line(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "--json", "-a", s->addr[0], "a \"b\"", "\xff", "\r\n");
    json_t *o, *error;

    tool_must_fail(&r, 65, "message 3");
    o = json_loads(r.out, JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "reply")), "a \"b\"");
    assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 5);
    assert_true(json_real_value(json_object_get(o, "time_ms")) > 0);
    json_decref(o);
    r.out = strchr(r.out, '\n') + 1;
    o = json_loads(r.out, JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "reply_base64")), "/w==");
    json_decref(o);
    r.out = strchr(r.out, '\n') + 1;
    o = json_loads(r.out, 0, NULL);
    error = json_object_get(o, "error");
    assert_string_equal(json_string_value(json_object_get(error, "code")), "separator");
    assert_non_null(strstr(json_string_value(json_object_get(error, "message")), "message 3"));
    json_decref(o);
}

/* ---- failures ---- */

static void client__bad_command_line__usage(void **state)
{
    struct it *it = *state;
    static const char *const rows[][5] = {
        {"--bogus"},
        {"-a", "non:sense", "x"},
        {"-a", "http://127.0.0.1", "x"},
        {"-a", "127.0.0.1:0", "x"},
        {"--timeout", "-1", "x"},
        {"--timeout", "soon", "x"},
        {"--separator", "\\q", "x"},
        {"--separator", "12345678901234567", "x"},
        {"send", "--bogus"},
        {"-C", "/x"},
        {"-C", "/x", "Hello!"},
        {"-C", "/x", "ping"},
        {"send", "-C", "/x", "Hello!"},
        {"-a", ":80", "info", "-C", "/x"},
        {"reload", "--separator", "x"},
        {"relaod"},
        {"-a", ":80", "scael", "4"},
        {"help"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_run r = tool_run(it, NO_INPUT, rows[i]);

        MUST(r.code == 64, "row %zu: exit code %d: %s", i, r.code, r.err);
        MUST(strstr(r.err, "Try `echo-client ") && strstr(r.err, " --help"),
             "row %zu says no way on: %s", i, r.err);
        MUST(r.out_len == 0, "row %zu printed: %s", i, r.out);
    }
}

/* A command with a slip is no message, unless that is said. */
static void client__word_like_a_command__asked_back(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "relaod", "now");

    assert_int_equal(r.code, 64);
    MUST(strstr(r.err, "did you mean reload? to send it as a message use: echo-client send relaod"),
         "says: %s", r.err);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "send", "relaod");
    tool_must_print(&r, "relaod\n", 7);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "--", "relaod");
    tool_must_print(&r, "relaod\n", 7);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "pong", "relaod");
    tool_must_print(&r, "pong\nrelaod\n", 12);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "inof");
    MUST(r.code == 64 && strstr(r.err, "inof: no command; did you mean info?"), "%s", r.err);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "status");
    MUST(r.code == 64 && strstr(r.err, "status: no command; did you mean info?"), "%s", r.err);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "information", "status");
    tool_must_print(&r, "information\nstatus\n", 19);
}

static void client__nobody_listens__says_how_to_start_it(void **state)
{
    struct it *it = *state;
    char addr[64], file[256];
    int bound = scripted_listen(addr);
    struct tool_run r;

    shutdown(bound, SHUT_RDWR); /* keeps the port, listens no more */
    r = RUN(it, NO_INPUT, "-a", addr, "x");
    tool_must_fail(&r, 69,
                   "connection refused: is echo-arbiter running? start it with: "
                   "echo-arbiter -c echo.conf");
    MUST(strstr(r.err, addr), "does not name the address: %s", r.err);
    r = RUN(it, NO_INPUT, "-a", "unix:/nowhere/sock", "x");
    tool_must_fail(&r, 69, "unix:/nowhere/sock: there is no such socket: is echo-arbiter running?");
    it_write(it, "plain", "");
    snprintf(file, sizeof(file), "unix:%s", it_path(it, "plain"));
    r = RUN(it, NO_INPUT, "-a", file, "x");
    tool_must_fail(&r, 69, "/plain: it is a file, and no socket");
    r = RUN(it, NO_INPUT, "-a", "unix:/etc", "x");
    tool_must_fail(&r, 69, "/etc: it is a directory, and no socket");
    r = RUN(it, NO_INPUT, "-C", "/etc", "info");
    tool_must_fail(&r, 69, "/etc: it is a directory, and no socket");
    r = RUN(it, NO_INPUT, "-a", "[::1]:1", "x"); /* with a port; without, the default one: */
    MUST(r.code == 69 && strstr(r.err, "[::1]:1: "), "says: %s", r.err);
    r = RUN(it, NO_INPUT, "-a", "no-such-host.invalid", "--timeout", "1", "x");
    MUST(strstr(r.err, "no-such-host.invalid:8060: "), "says: %s", r.err);
    close(bound);
}

static void client__server_misbehaves__each_its_own_code_and_sentence(void **state)
{
    static const struct {
        const char *reply;
        enum scripted_end how;
        int code;
        const char *text;
    } rows[] = {
        {"", SCRIPTED_EOF, 76, "message 1: connection closed before the reply"},
        {"hello\r\n\r", SCRIPTED_EOF, 76, "connection closed before the reply"},
        {"hel", SCRIPTED_SILENCE, 75, "timed out: allow more time with --timeout"},
        {"", SCRIPTED_RESET, 76, "connection reset before the reply"},
        {"hallo\r\n\r\n", SCRIPTED_EOF, 76,
         "message 1, what came is \"hallo\\r\\n\\r\\n\": the reply is not the message"},
        {"\r\n\r\n", SCRIPTED_EOF, 76, "the reply is not the message"},
        {"helQ", SCRIPTED_SILENCE, 76, "the reply is not the message"}, /* no separator, no end */
    };
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_run r = run_scripted(it, rows[i].reply, rows[i].how);

        tool_must_fail(&r, rows[i].code, rows[i].text);
        MUST(r.out_len == 0, "row %zu printed: %s", i, r.out);
    }
}

static void client__longer_than_the_server_takes__closed_with_a_hint(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { max_message = \"1KiB\"; };");
    char *text = peer_alloc(3000);
    struct tool_run r;

    memset(text, 'x', 2000);
    memcpy(text, "ok\n", 3);
    text[2000] = '\0';
    r = tool_run(it, (struct bytes){text, 2000}, ARGS("-a", s->addr[0]));
    MUST(r.code == 76, "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.err, "line 2: connection"), "does not name the line: %s", r.err);
    MUST(strcmp(r.out, "ok\n") == 0, "printed: %s", r.out);
}

/* Between two messages nothing can be sent twice: a new connection takes over. */
static void client__closed_between_lines__goes_on_with_a_new_connection(void **state)
{
    struct it *it = *state;
    char addr[64];
    int listener = scripted_listen(addr), in[2], conn;
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid;

    fcntl(listener, F_SETFL, O_NONBLOCK);
    MUST(pipe2(in, O_CLOEXEC) == 0, "pipe2");
    io.in = in[0];
    pid = tool_start(it, io, ARGS("-a", addr));
    close(in[0]);
    for (int i = 0; i < 3; i++) {
        MUST(write(in[1], "hello\n", 6) == 6, "write");
        conn = scripted_accept(listener);
        peer_expect_text(conn, "hello\r\n\r\n");
        peer_send_text(conn, "hello\r\n\r\n");
        close(conn);
        MUST_COME(lseek(io.out, 0, SEEK_END) == 6 * (i + 1), "the reply is not printed");
    }
    close(in[1]);
    assert_int_equal(tool_wait(pid), 0);
    assert_string_equal(tool_read_back(io.err, NULL), "");
    close(io.out);
    close(listener);
}

/* ---- output ---- */

static void client__output_fails__says_so_or_is_silent_for_a_closed_pipe(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, -1, -1};
    int pipe_fds[2];
    const char *err;

    MUST(pipe2(pipe_fds, O_CLOEXEC) == 0, "pipe2");
    close(pipe_fds[0]);
    io.err = tool_file(it, "err");
    io.out = pipe_fds[1];
    assert_int_equal(tool_wait(tool_start(it, io, ARGS("-a", s->addr[0], "x"))), 141);
    assert_string_equal(tool_read_back(io.err, NULL), "");
    close(pipe_fds[1]);

    io.err = tool_file(it, "err");
    io.out = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(tool_wait(tool_start(it, io, ARGS("-a", s->addr[0], "x"))), 74);
    err = tool_read_back(io.err, NULL);
    assert_string_equal(err, "echo-client: standard output: No space left on device\n");

    io.err = tool_file(it, "err"); /* argp's own way out */
    assert_int_equal(tool_wait(tool_start(it, io, ARGS("--help"))), 74);
    close(io.out);
    err = tool_read_back(io.err, NULL);
    assert_string_equal(err, "echo-client: standard output: No space left on device\n");

    if (getenv("ECHO_TOOL_WRAPPER"))
        return; /* it would open files in their places */
    /* All of 0, 1, 2 closed: a socket must not become one of them. */
    io = (struct tool_io){-1, -1, -1};
    assert_int_equal(tool_wait(tool_start(it, io, ARGS("-a", s->addr[0], "x"))), 74);
    assert_int_equal(tool_wait(tool_start(it, io, ARGS("-a", s->addr[0]))), 74);
}

static void client__interrupted__ended_by_the_signal_with_all_replies_printed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    int in[2];
    pid_t pid;

    MUST(pipe2(in, O_CLOEXEC) == 0, "pipe2");
    io.in = in[0];
    pid = tool_start(it, io, ARGS("-a", s->addr[0]));
    close(in[0]);
    MUST(write(in[1], "one\ntwo\n", 8) == 8, "write");
    MUST_COME(lseek(io.out, 0, SEEK_END) == 8, "the replies are not printed");
    kill(pid, SIGINT);
    assert_int_equal(tool_wait(pid), 130);
    assert_string_equal(tool_read_back(io.out, NULL), "one\ntwo\n");
    assert_string_equal(tool_read_back(io.err, NULL), "");
    close(in[1]);
}

static void client__terminal__prompts_and_leaves_on_quit(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char buf[4096] = "";
    int fd;
    pid_t pid = tool_start_on_terminal(it, "dumb", 0, ARGS("-a", s->addr[0]), &fd);

    tool_terminal_expect(fd, buf, sizeof(buf), "> ");
    tool_type(fd, "hello\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "hello\r\nhello\r\n> ");
    tool_type(fd, "a\\r\\n\\r\\nb\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "line 2: message would end early");
    tool_type(fd, "a\\r\\n\\r\\nb\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "line 3: message would end early");
    tool_type(fd, "QUIT\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "QUIT\r\nQUIT\r\n");
    assert_int_equal(tool_wait(pid), 0);
    MUST(!strchr(buf, '\033'), "escape codes: %s", buf);
    close(fd);
}

/* Lines that go on, escapes, a mistake, commands completed, an end of file; and the history. */
static void client__terminal__edits_completes_and_remembers(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char buf[8192] = "", *path = it_path(it, "state/echo-client/history");
    struct stat st;
    int fd;
    pid_t pid = tool_start_on_terminal(it, "dumb", 0, ARGS("-a", s->addr[0]), &fd);

    tool_terminal_expect(fd, buf, sizeof(buf), "> ");
    tool_type(fd, "one\\\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "\n. ");
    tool_type(fd, "two\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "two\r\none\r\ntwo\r\n> ");
    tool_type(fd, "a\\tb\\x41\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "a\tbA\r\n");
    tool_type(fd, "c:\\dir\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "a \\ itself is \\\\\r\n");
    tool_type(fd, "/he\t\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "A line is a message.");
    tool_type(fd, "given up\\\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "up\\\r\n. ");
    tool_type(fd, "\003"); /* Ctrl-C: not this message */
    tool_terminal_expect(fd, buf, sizeof(buf), "^C\r\n> ");
    tool_type(fd, "//slash\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "\n/slash\r\n");
    tool_type(fd, "\004");
    assert_int_equal(tool_wait(pid), 0);
    close(fd);
    MUST(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode & 0777);
    MUST_COME(it_file_has(path, "slash") && it_file_has(path, "two"), "the history has no lines");

    /* The next one remembers: the line before last comes back with two keys up. */
    buf[0] = '\0';
    pid = tool_start_on_terminal(it, "vt100", 0, ARGS("-a", s->addr[0]), &fd);
    tool_terminal_expect(fd, buf, sizeof(buf), "> ");
    tool_type(fd, "\020\n"); /* Ctrl-P, the line before */
    tool_terminal_expect(fd, buf, sizeof(buf), "\n/slash\r\n");
    tool_type(fd, "/quit\n");
    assert_int_equal(tool_wait(pid), 0);
    close(fd);
    unlink(path);
    rmdir(it_path(it, "state/echo-client"));
    rmdir(it_path(it, "state"));
}

/* Whatever the locale says of them. */
static void client__terminal__any_byte_is_sent(void **state)
{
    static const struct {
        const char *locale, *typed, *echoed;
    } rows[] = {
        {"C", "gr\xc3\xbcn\n", "\ngr\xc3\xbcn\r\n> "},
        {"C.UTF-8", "gr\xc3\xbcn\n", "\ngr\xc3\xbcn\r\n> "},
        {"C.UTF-8", "gr\xfcn \xc3\n", "\ngr\xfcn \xc3\r\n> "}, /* in Latin-1 */
    };
    struct it *it = *state;
    struct server *s = server_start(it);
    const char *before = getenv("LC_ALL");

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char buf[8192] = "";
        int fd;

        setenv("LC_ALL", rows[i].locale, 1);
        pid_t pid = tool_start_on_terminal(it, "dumb", 0, ARGS("-a", s->addr[0]), &fd);
        tool_terminal_expect(fd, buf, sizeof(buf), "> ");
        tool_type(fd, rows[i].typed);
        tool_terminal_expect(fd, buf, sizeof(buf), rows[i].echoed);
        tool_type(fd, "\004");
        assert_int_equal(tool_wait(pid), 0);
        close(fd);
    }
    if (before)
        setenv("LC_ALL", before, 1);
    else
        unsetenv("LC_ALL");
    unlink(it_path(it, "state/echo-client/history"));
    rmdir(it_path(it, "state/echo-client"));
    rmdir(it_path(it, "state"));
}

/* The terminal is the shell's then, and takes it as an end of file. */
static void client__terminal__ctrl_d_while_a_reply_is_awaited__ends(void **state)
{
    struct it *it = *state;
    char addr[64], buf[8192] = "";
    int listener = scripted_listen(addr), conn, fd;

    fcntl(listener, F_SETFL, O_NONBLOCK);
    pid_t pid = tool_start_on_terminal(it, "dumb", 0, ARGS("-a", addr), &fd);
    conn = scripted_accept(listener);
    tool_terminal_expect(fd, buf, sizeof(buf), "> ");
    tool_type(fd, "hello\n");
    peer_expect_text(conn, "hello\r\n\r\n");
    tool_type(fd, "\004");
    peer_send_text(conn, "hello\r\n\r\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "hello\r\n> ");
    assert_int_equal(tool_wait(pid), 0);
    close(fd);
    close(conn);
    close(listener);
    unlink(it_path(it, "state/echo-client/history"));
    rmdir(it_path(it, "state/echo-client"));
    rmdir(it_path(it, "state"));
}

static void client__terminal__history_is_a_fifo__told(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char buf[8192] = "", *path = it_path(it, "state/echo-client/history");
    int fd;

    mkdir(it_path(it, "state"), 0700);
    mkdir(it_path(it, "state/echo-client"), 0700);
    MUST(mkfifo(path, 0600) == 0, "no FIFO");
    pid_t pid = tool_start_on_terminal(it, "dumb", 0, ARGS("-a", s->addr[0]), &fd);
    tool_terminal_expect(fd, buf, sizeof(buf), "is no regular file: there is no history\r\n");
    tool_terminal_expect(fd, buf, sizeof(buf), "> ");
    tool_type(fd, "\004");
    assert_int_equal(tool_wait(pid), 0);
    close(fd);
    unlink(path);
    rmdir(it_path(it, "state/echo-client"));
    rmdir(it_path(it, "state"));
}

/* Somebody else who has the pipe too may have made it so. */
static void client__pipes_do_not_block__not_a_byte_is_lost(void **state)
{
    enum { LINES = 40000 };
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, -1, tool_file(it, "err")};
    int in[2], out[2];
    char line[16], *got = peer_alloc(LINES * 7);
    size_t n_sent = 0, n_got = 0;
    ssize_t n;

    MUST(pipe2(in, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(out, O_CLOEXEC | O_NONBLOCK) == 0,
         "pipes");
    io.in = in[0];
    io.out = out[1];
    pid_t pid = tool_start(it, io, ARGS("-a", s->addr[0]));
    close(in[0]);
    close(out[1]);
    /* Nothing is read before all is written, so that the tool meets a full pipe. */
    for (size_t i = 0; i < LINES; i++) {
        snprintf(line, sizeof(line), "%06zu\n", i);
        while ((n = write(in[1], line, 7)) != 7) {
            MUST(n < 0 && errno == EAGAIN, "write: %s", strerror(errno));
            n = read(out[0], got + n_got, LINES * 7 - n_got);
            n_got += n > 0 ? (size_t)n : 0;
        }
        n_sent += 7;
    }
    close(in[1]);
    while (n_got < n_sent && (n = read(out[0], got + n_got, LINES * 7 - n_got)) != 0)
        n_got += n > 0 ? (size_t)n : 0;
    MUST(tool_wait(pid) == 0, "says: %s", tool_read_back(io.err, NULL));
    MUST(n_got == n_sent, "%zu of %zu bytes", n_got, n_sent);
    for (size_t i = 0; i < LINES; i++) {
        snprintf(line, sizeof(line), "%06zu\n", i);
        MUST(memcmp(got + 7 * i, line, 7) == 0, "line %zu is wrong", i);
    }
    close(out[0]);
    close(io.err);
}

static void client__help_and_version__on_standard_output(void **state)
{
    struct it *it = *state;
    struct tool_run r = RUN(it, NO_INPUT, "--help");

    assert_int_equal(r.code, 0);
    for (size_t i = 0; i < 6; i++) {
        static const char *const texts[] = {"Usage: ",     "--address", "--timeout",
                                            "--separator", "--json",    "Examples:"};

        MUST(strstr(r.out, texts[i]), "--help has no '%s': %s", texts[i], r.out);
    }
    r = RUN(it, NO_INPUT, "--version");
    tool_must_print(&r, "echo-client " ECHO_VERSION "\n", strlen("echo-client " ECHO_VERSION "\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(client__words__a_line_each),
        IT(client__lines__as_they_are),
        IT(client__many_and_long_lines__all_come_back),
        IT(client__other_separator__same_as_the_servers),
        IT(client__message_with_separator__refused_after_what_precedes_it),
        IT(client__every_form_of_address__connects),
        IT(client__json__an_object_a_line),
        IT(client__bad_command_line__usage),
        IT(client__word_like_a_command__asked_back),
        IT(client__nobody_listens__says_how_to_start_it),
        IT(client__server_misbehaves__each_its_own_code_and_sentence),
        IT(client__longer_than_the_server_takes__closed_with_a_hint),
        IT(client__closed_between_lines__goes_on_with_a_new_connection),
        IT(client__output_fails__says_so_or_is_silent_for_a_closed_pipe),
        IT(client__interrupted__ended_by_the_signal_with_all_replies_printed),
        IT(client__terminal__prompts_and_leaves_on_quit),
        IT(client__terminal__edits_completes_and_remembers),
        IT(client__terminal__any_byte_is_sent),
        IT(client__terminal__ctrl_d_while_a_reply_is_awaited__ends),
        IT(client__terminal__history_is_a_fifo__told),
        IT(client__pipes_do_not_block__not_a_byte_is_lost),
        IT(client__help_and_version__on_standard_output),
    };

    return it_run(tests);
}
