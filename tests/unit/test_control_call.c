/*
 * The operator's end of the control socket against a server that is played here: every way in
 * which an answer can come, or not. Nothing runs beside the test, so nothing depends on time.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/deadlines.h"
#include "client/text.h"
#include "client/control_call.h"

enum { LONG_MS = 30000 }; /* an alarm, never reached */

/* A listener in a directory of its own, the client, and the connection between them. */
struct rig {
    char dir[32], path[64];
    int listener, peer;
    struct control_call call;
};

static int setup(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    strcpy(r->dir, "/tmp/echo-ctl.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/s", r->dir);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", r->path);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(r->listener, 4), 0);
    control_call_init(&r->call);
    r->peer = -1;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    control_call_fini(&r->call);
    if (r->peer >= 0)
        close(r->peer);
    close(r->listener);
    unlink(r->path);
    rmdir(r->dir);
    free(r);
    return 0;
}

static void connect_rig(struct rig *r)
{
    assert_int_equal(control_call_connect(&r->call, r->path, deadline_after_ms(LONG_MS)), 0);
    r->peer = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(r->peer >= 0);
}

/* Post, and see the request as it arrives at the server. */
static json_t *ask(struct rig *r, const char *command, const char *target, json_t *args)
{
    char line[4096];
    json_t *answer = NULL, *request;
    ssize_t n;

    assert_int_equal(control_call_post(&r->call, command, target, args), 0);
    assert_int_equal(control_call_advance(&r->call, &answer), OUTCOME_PENDING);
    n = recv(r->peer, line, sizeof(line), 0);
    assert_true(n > 0 && line[n - 1] == '\n');
    assert_null(memchr(line, '\n', (size_t)n - 1));
    request = json_loadb(line, (size_t)n, 0, NULL);
    assert_non_null(request);
    return request;
}

static json_int_t ask_id(struct rig *r)
{
    json_t *request = ask(r, "ping", NULL, NULL);
    json_int_t id = json_integer_value(json_object_get(request, "id"));

    assert_true(id > 0);
    json_decref(request);
    return id;
}

static void say(struct rig *r, const char *text)
{
    assert_int_equal(send(r->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

__attribute__((format(printf, 2, 3))) static void sayf(struct rig *r, const char *format, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    say(r, text);
}

/* ---- requests ---- */

static void request__with_all__one_line_of_json(void **state)
{
    struct rig *r = *state;
    json_t *args = json_pack("{s:s}", "message", "a\nb"), *request, *expected;

    connect_rig(r);
    request = ask(r, "echo", "worker.2", args);
    expected = json_pack("{s:s, s:s, s:I, s:{s:s}}", "command", "echo", "target", "worker.2", "id",
                         (json_int_t)1, "args", "message", "a\nb");
    assert_true(json_equal(request, expected));
    json_decref(request);
    json_decref(expected);
    json_decref(args);
}

static void request__without_target_and_args__neither_is_sent(void **state)
{
    struct rig *r = *state;
    json_t *request;

    connect_rig(r);
    request = ask(r, "info", NULL, NULL);
    assert_null(json_object_get(request, "target"));
    assert_null(json_object_get(request, "args"));
    json_decref(request);
}

static void request__longer_than_the_socket_takes__goes_on_when_there_is_room(void **state)
{
    struct rig *r = *state;
    size_t len = 4 << 20, got = 0;
    char *text = malloc(len + 1), buf[65536];
    json_t *args, *answer = NULL;

    assert_non_null(text);
    memset(text, 'x', len);
    text[len] = '\0';
    args = json_pack("{s:s}", "message", text);
    connect_rig(r);
    assert_int_equal(control_call_post(&r->call, "echo", NULL, args), 0);
    while (got == 0 || buf[0] != '\n') {
        ssize_t n;

        assert_int_equal(control_call_advance(&r->call, &answer), OUTCOME_PENDING);
        n = recv(r->peer, buf, sizeof(buf), MSG_DONTWAIT);
        assert_true(n > 0);
        got += (size_t)n;
        buf[0] = buf[n - 1];
        assert_int_equal(control_call_events(&r->call) & POLLOUT,
                         r->call.out_sent < r->call.out_len ? POLLOUT : 0);
    }
    assert_int_equal(got, r->call.out_len);
    assert_int_equal(control_call_events(&r->call), POLLIN);
    json_decref(args);
    free(text);
}

/* ---- answers ---- */

static void answer__a_byte_at_a_time__pending_until_the_newline(void **state)
{
    static const char text[] = "{\"id\":1,\"result\":\"pong\"}\n";
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    assert_int_equal(ask_id(r), 1);
    for (size_t i = 0; text[i]; i++) {
        assert_int_equal(control_call_advance(&r->call, &answer), OUTCOME_PENDING);
        assert_null(answer);
        assert_int_equal(send(r->peer, &text[i], 1, MSG_NOSIGNAL), 1);
    }
    assert_int_equal(control_call_advance(&r->call, &answer), 0);
    assert_string_equal(json_string_value(json_object_get(answer, "result")), "pong");
    json_decref(answer);
}

static void answer__error__is_an_answer(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    sayf(r,
         "{\"id\":%" JSON_INTEGER_FORMAT ",\"error\":{\"code\":\"busy\",\"message\":\"later\"}}\n",
         ask_id(r));
    assert_int_equal(control_call_wait(&r->call, deadline_after_ms(LONG_MS), &answer), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "busy");
    json_decref(answer);
}

static void answer__result_null__is_an_answer(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    say(r, "{\"id\":1,\"result\":null}\n");
    assert_int_equal(control_call_advance(&r->call, &answer), 0);
    assert_true(json_is_null(json_object_get(answer, "result")));
    json_decref(answer);
}

static void answer__of_a_request_given_up__skipped(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    assert_int_equal(ask_id(r), 1);
    assert_int_equal(ask_id(r), 2);
    say(r, "{\"id\":1,\"result\":\"old\"}\n");
    assert_int_equal(control_call_advance(&r->call, &answer), OUTCOME_PENDING);
    say(r, "{\"id\":1,\"result\":\"old\"}\n{\"id\":2,\"result\":\"new\"}\n");
    assert_int_equal(control_call_advance(&r->call, &answer), 0);
    assert_string_equal(json_string_value(json_object_get(answer, "result")), "new");
    json_decref(answer);
}

static void answer__without_id__is_ours(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    say(r, "{\"id\":null,\"error\":{\"code\":\"bad_request\",\"message\":\"?\"}}\n");
    assert_int_equal(control_call_advance(&r->call, &answer), 0);
    json_decref(answer);
}

static void answer__no_answer_at_all__bad_message(void **state)
{
    static const char *const lines[] = {
        "hello\n",
        "\n",
        "[1]\n",
        "{\"id\":1}\n",
        "{\"id\":1,\"error\":\"text\"}\n",
        "{\"id\":1,\"error\":{\"code\":\"busy\"}}\n",
        "{\"id\":1,\"error\":{\"code\":1,\"message\":\"x\"}}\n",
        "{\"id\":1,\"result\":1,\"result\":2}\n",
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        json_t *answer = NULL;

        connect_rig(r);
        ask_id(r);
        say(r, lines[i]);
        assert_int_equal(control_call_advance(&r->call, &answer), -EBADMSG);
        assert_null(answer);
        close(r->peer);
        r->peer = -1;
    }
}

static void answer__endless_line__bounded(void **state)
{
    struct rig *r = *state;
    char *text = malloc(CONTROL_CALL_READ_BYTES);
    json_t *answer = NULL;
    int rc = OUTCOME_PENDING;
    size_t sent = 0;

    assert_non_null(text);
    memset(text, ' ', CONTROL_CALL_READ_BYTES);
    connect_rig(r);
    ask_id(r);
    while (rc == OUTCOME_PENDING && sent <= 2 * (size_t)CONTROL_CALL_ANSWER_MAX) {
        ssize_t n = send(r->peer, text, CONTROL_CALL_READ_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);

        sent += n > 0 ? (size_t)n : 0;
        rc = control_call_advance(&r->call, &answer);
    }
    assert_int_equal(rc, -EMSGSIZE);
    assert_true(r->call.in_capacity <= CONTROL_CALL_ANSWER_MAX);
    free(text);
}

/* ---- ends ---- */

static void wait__end_of_file__closed(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    say(r, "{\"id\":1,\"resu");
    close(r->peer);
    r->peer = -1;
    assert_int_equal(control_call_wait(&r->call, deadline_after_ms(LONG_MS), &answer), ARB_CLOSED);
    assert_null(answer);
}

static void wait__answer_before_the_end__is_taken(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    say(r, "{\"id\":1,\"result\":{\"stopping\":true}}\n");
    close(r->peer);
    r->peer = -1;
    assert_int_equal(control_call_wait(&r->call, deadline_after_ms(LONG_MS), &answer), 0);
    json_decref(answer);
}

static void wait__nothing_comes__timeout_and_not_before(void **state)
{
    struct rig *r = *state;
    uint64_t before = clock_mono_ms();
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    assert_int_equal(control_call_wait(&r->call, deadline_after_ms(50), &answer), ARB_TIMEOUT);
    assert_true(clock_mono_ms() - before >= 50);
    /* The connection is still good for the answer. */
    say(r, "{\"id\":1,\"result\":1}\n");
    assert_int_equal(control_call_wait(&r->call, deadline_after_ms(LONG_MS), &answer), 0);
    json_decref(answer);
}

static void connect__nobody_there__refused(void **state)
{
    struct rig *r = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/nothing", r->dir);
    assert_int_equal(control_call_connect(&r->call, path, DEADLINE_NEVER), ARB_REFUSED);
    close(r->listener); /* a stale socket file */
    assert_int_equal(control_call_connect(&r->call, r->path, DEADLINE_NEVER), ARB_REFUSED);
    assert_int_equal(r->call.fd, -1);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void connect__path_too_long__said(void **state)
{
    struct rig *r = *state;
    char path[200];

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(control_call_connect(&r->call, path, DEADLINE_NEVER), -ENAMETOOLONG);
}

static void connect__again__nothing_of_the_old_is_left(void **state)
{
    struct rig *r = *state;
    json_t *answer = NULL;

    connect_rig(r);
    ask_id(r);
    say(r, "{\"id\":1,\"result\":\"hal");
    assert_int_equal(control_call_advance(&r->call, &answer), OUTCOME_PENDING);
    close(r->peer);
    connect_rig(r);
    assert_int_equal(ask_id(r), 2);
    say(r, "{\"id\":2,\"result\":\"whole\"}\n");
    assert_int_equal(control_call_advance(&r->call, &answer), 0);
    assert_string_equal(json_string_value(json_object_get(answer, "result")), "whole");
    json_decref(answer);
}

/* ---- the server's end ---- */

static void wait_end__connection_dropped__goes_on_while_the_process_lives(void **state)
{
    struct rig *r = *state;

    connect_rig(r);
    if (r->call.end_fd < 0) {
        print_message("skipped: no pidfd_open here\n");
        skip();
    }
    assert_int_equal(r->call.peer, getpid());
    close(r->peer);
    r->peer = -1;
    assert_int_equal(control_call_wait_end(&r->call, deadline_after_ms(20)), ARB_TIMEOUT);
}

static void wait_end__process_unknown__until_the_connection_ends(void **state)
{
    struct rig *r = *state;

    connect_rig(r);
    if (r->call.end_fd >= 0)
        close(r->call.end_fd);
    r->call.end_fd = -1;
    say(r, "{\"late\":1}\n");
    assert_int_equal(control_call_wait_end(&r->call, deadline_after_ms(20)), ARB_TIMEOUT);
    close(r->peer);
    r->peer = -1;
    assert_int_equal(control_call_wait_end(&r->call, deadline_after_ms(LONG_MS)), 0);
}

/* A server in a child, as listen() decides whose pid the client sees. */
static pid_t fork_server(const char *path, int *ret_go)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int ready[2], go[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        close(go[1]);
        snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        unlink(path);
        if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 4) == 0)
            (void)!write(ready[1], "r", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    close(ready[1]);
    close(go[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *ret_go = go[1];
    return pid;
}

static void wait_end__process_ends__seen(void **state)
{
    struct rig *r = *state;
    int go;
    pid_t pid = fork_server(r->path, &go);

    assert_int_equal(control_call_connect(&r->call, r->path, deadline_after_ms(LONG_MS)), 0);
    if (r->call.end_fd >= 0)
        assert_int_equal(r->call.peer, pid);
    close(go);
    assert_int_equal(control_call_wait_end(&r->call, deadline_after_ms(LONG_MS)), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- arguments ---- */

static json_t *parse(const char *table_text, const char *command, size_t n,
                     const char *const *words)
{
    json_t *table = table_text ? json_loads(table_text, 0, NULL) : NULL, *args = NULL;
    char why[128];

    assert_true(!table_text || table);
    assert_int_equal(
        text_parse_args((char *const *)words, n, table, command, &args, why, sizeof(why)), 0);
    json_decref(table);
    return args;
}

static void check_args(const char *table, const char *command, const char *expected_text, size_t n,
                       const char *const *words)
{
    json_t *args = parse(table, command, n, words);
    json_t *expected = json_loads(expected_text, 0, NULL);

    assert_non_null(expected);
    assert_true(json_equal(args, expected));
    json_decref(args);
    json_decref(expected);
}

#define ARGS(table, command, expected, ...)                                                        \
    check_args(table, command, expected, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),   \
               (const char *[]){__VA_ARGS__})

#define TABLE                                                                                      \
    "[{\"name\":\"echo\",\"args\":[{\"name\":\"message\",\"type\":\"string\"}]},"                  \
    "{\"name\":\"scale\",\"args\":[{\"name\":\"workers\",\"type\":\"uint\"}]}]"

static void args__no_table__json_or_a_text(void **state)
{
    (void)state;
    ARGS(NULL, "any",
         "{\"a\":12,\"b\":true,\"c\":false,\"d\":\"word\",\"e\":{\"x\":[1,2]},\"f\":\"\","
         "\"g\":\"k=v\",\"h\":\"5\",\"i\":-1.5,\"j\":\"12 monkeys\",\"k\":null}",
         "a=12", "b=true", "c=false", "d=word", "e={\"x\":[1,2]}", "f=", "g=k=v", "h=\"5\"",
         "i=-1.5", "j=12 monkeys", "k=null");
}

static void args__table_says_text__taken_as_it_is(void **state)
{
    (void)state;
    ARGS(TABLE, "echo", "{\"message\":\"12\"}", "message=12");
    ARGS(TABLE, "echo", "{\"message\":\"true\"}", "message=true");
    ARGS(TABLE, "echo", "{\"message\":\"\\\"q\\\"\"}", "message=\"q\"");
    ARGS(TABLE, "scale", "{\"workers\":4}", "workers=4");
    ARGS(TABLE, "scale", "{\"message\":4}", "message=4"); /* another command's argument */
}

static void args__table_of_an_unknown_shape__guessed(void **state)
{
    (void)state;
    ARGS("{}", "echo", "{\"message\":12}", "message=12");
    ARGS("[1,{\"name\":7},{\"name\":\"echo\",\"args\":5}]", "echo", "{\"message\":12}",
         "message=12");
}

static void args__malformed__said_which(void **state)
{
    static const char *const words[][2] = {
        {"message", "message"}, {"=x", "=x"}, {"a=1", "a=2"}, {"a=\xff", "b=1"}};
    char why[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        json_t *args = NULL;

        strcpy(why, "");
        assert_int_equal(
            text_parse_args((char *const *)words[i], 2, NULL, "x", &args, why, sizeof(why)),
            -EINVAL);
        assert_null(args);
        assert_string_not_equal(why, "");
    }
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG(request__with_all__one_line_of_json),
        RIG(request__without_target_and_args__neither_is_sent),
        RIG(request__longer_than_the_socket_takes__goes_on_when_there_is_room),
        RIG(answer__a_byte_at_a_time__pending_until_the_newline),
        RIG(answer__error__is_an_answer),
        RIG(answer__result_null__is_an_answer),
        RIG(answer__of_a_request_given_up__skipped),
        RIG(answer__without_id__is_ours),
        RIG(answer__no_answer_at_all__bad_message),
        RIG(answer__endless_line__bounded),
        RIG(wait__end_of_file__closed),
        RIG(wait__answer_before_the_end__is_taken),
        RIG(wait__nothing_comes__timeout_and_not_before),
        RIG(connect__nobody_there__refused),
        RIG(connect__path_too_long__said),
        RIG(connect__again__nothing_of_the_old_is_left),
        RIG(wait_end__connection_dropped__goes_on_while_the_process_lives),
        RIG(wait_end__process_unknown__until_the_connection_ends),
        RIG(wait_end__process_ends__seen),
        cmocka_unit_test(args__no_table__json_or_a_text),
        cmocka_unit_test(args__table_says_text__taken_as_it_is),
        cmocka_unit_test(args__table_of_an_unknown_shape__guessed),
        cmocka_unit_test(args__malformed__said_which),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
