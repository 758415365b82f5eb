/*
 * Wrong inputs, a row each: what was typed, the exit status, and parts of what is said. Each
 * message names the thing, the value, and what is allowed or to be done next; nothing goes to the
 * standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { WORDS_MAX = 9, PARTS_MAX = 4 };

struct wrong {
    int code;
    const char *words[WORDS_MAX];
    const char *parts[PARTS_MAX];
};

/* In the test's directory, in which "none" is nothing. Without an input, and without a server where
 * one would be looked for. */
static void must_be_told(struct it *it, const char *program, const struct wrong *w)
{
    const int out = tool_file(it, "out"), err = tool_file(it, "err");
    const char *argv[WORDS_MAX + 1] = {it_build_path(it, program)};
    const pid_t pid = fork();
    char *said, *printed;
    int code;

    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        memcpy(argv + 1, w->words, sizeof(w->words));
        if (chdir(it->dir) == 0 && setenv("RUNTIME_DIRECTORY", it->dir, 1) == 0 &&
            dup2(open("/dev/null", O_RDONLY), 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2)
            execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    code = tool_wait(pid);
    said = tool_read_back(err, NULL);
    printed = tool_read_back(out, NULL);
    for (size_t i = 0; i < WORDS_MAX && w->words[i]; i++)
        print_message("%s%s", i ? " " : "", w->words[i]);
    print_message("\n");
    MUST(code == w->code, "exit status %d, not %d: %s", code, w->code, said);
    MUST(strncmp(said, program, strlen(program)) == 0, "does not begin with its name: %s", said);
    for (size_t i = 0; i < PARTS_MAX && w->parts[i]; i++)
        MUST(strstr(said, w->parts[i]), "no '%s' in: %s", w->parts[i], said);
    MUST(*printed == '\0', "printed: %s", printed);
}

/* clang-format off */
static const struct wrong client_rows[] = {
    /* addresses and sockets */
    {64, {"-a", "http://127.0.0.1:8060", "x"}, {"-a http://127.0.0.1:8060: ", "no scheme", "write HOST:PORT"}},
    {64, {"-a", "127.0.0.1:99999", "x"}, {"-a 127.0.0.1:99999: ", "from 0", "to 65535"}},
    {64, {"-a", "127.0.0.1:port", "x"}, {"-a 127.0.0.1:port: ", "a whole number"}},
    {64, {"-a", "127.0.0.1:0", "x"}, {"-a 127.0.0.1:0: ", "cannot be connected to"}},
    {64, {"-a", "unix:", "x"}, {"-a unix:: ", "empty", "write HOST:PORT"}},
    {64, {"-a", "", "x"}, {"-a : ", "empty", "write HOST:PORT"}},
    {64, {"-a", "[::1", "x"}, {"-a [::1: ", "[V6]:PORT"}},
    {69, {"-a", "unix:/etc/passwd", "x"}, {"unix:/etc/passwd: ", "a file, and no socket", "start it with: "}},
    {69, {"-a", "unix:none", "x"}, {"unix:none: ", "there is no such socket", "start it with: "}},
    {69, {"-C", "/etc", "info"}, {"/etc: ", "a directory, and no socket", "with -C"}},
    {69, {"-C", "none", "info"}, {"none: ", "no server there", "with -C"}},
    {64, {"-C", "", "info"}, {"-C : ", "of 1 to 107 bytes"}},
    {69, {"info"}, {"/control: ", "no server there", "with -C"}},
    {69, {"-a", ":8077", "stop"}, {"-a :8077: ", "no server that listens there", "with -C"}},
    /* options of many commands */
    {64, {"--timeout", "5x", "x"}, {"--timeout 5x: ", "200ms, 2, 30s, 5m or 1h"}},
    {64, {"--timeout=-1", "x"}, {"--timeout -1: ", "a time"}},
    {64, {"--timeout", "300h", "x"}, {"--timeout 300h: ", "up to 1000000 seconds"}},
    {64, {"--separator", "\\q", "x"}, {"--separator", "'\\q'", "the escapes are \\r \\n"}},
    {64, {"--separator", "12345678901234567", "x"}, {"--separator 12345678901234567: ", "at most 16 bytes"}},
    {64, {"x", "--separator"}, {"--separator: ", "value is missing", "=TEXT"}},
    {64, {"--sperator", "x"}, {"--sperator: ", "did you mean --separator?"}},
    {64, {"--bogus"}, {"--bogus: ", "no such option", "--help"}},
    {64, {"-Z"}, {"-Z: ", "no such option", "--help"}},
    {64, {"--json=yes", "x"}, {"--json: ", "takes no value", "'yes'"}},
    {64, {"-C", "none", "-a", ":1", "info"}, {"-a :1 and -C none: ", "one of them"}},
    {64, {"-C", "none", "ping"}, {"-C none: ", "ping goes to an address: -a ADDR"}},
    {64, {"-C", "none"}, {"-C none: ", "Name a command"}},
    {64, {"info", "--separator", "x"}, {"--separator: ", "info sends no messages", "send, ping, bench, audit and hold"}},
    {64, {"hold", "--separator", "x"}, {"--separator: ", "without --probe"}},
    /* words */
    {64, {"inof"}, {"inof: ", "did you mean info?", "echo-client send inof"}},
    {64, {"relaod", "now"}, {"relaod: ", "did you mean reload?", "echo-client send relaod"}},
    {64, {"status"}, {"status: ", "did you mean info?", "echo-client send status"}},
    {64, {"-C", "none", "Hello!"}, {"-C none: Hello! ", "is no command", "without -C"}},
    {64, {"info", "all"}, {"all: ", "info takes no words"}},
    {64, {"ping", "127.0.0.1"}, {"127.0.0.1: ", "ping takes no words", "[-c COUNT]"}},
    {64, {"call", "arbiter"}, {"call takes more words", "call ACTOR COMMAND"}},
    {64, {"info", "--force"}, {"info: --force: ", "no such option", "echo-client info --help"}},
    {64, {"reload", "--forse"}, {"reload: --forse: ", "did you mean --force?"}},
    {64, {"stop", "--no"}, {"--no: ", "write --now"}},
    /* numbers, times, sizes */
    {64, {"ping", "-c", "0"}, {"--count 0: ", "from 1 to"}},
    {64, {"ping", "-i", "5parsecs"}, {"--interval 5parsecs: ", "like 200ms", "from 0s to"}},
    {64, {"ping", "-s", "64kB"}, {"--size 64kB: ", "64k or 64KiB", "from 16 to 1GiB"}},
    {64, {"bench", "-c", "many"}, {"--connections many: ", "a number", "from 1 to"}},
    {64, {"bench", "-s", "16k-1k"}, {"--size 16k-1k: ", "the lesser first", "64-16KiB"}},
    {64, {"bench", "--warmup", "20s", "-t", "10s"}, {"--warmup 20000ms: ", "10000ms (-t)"}},
    {64, {"bench", "--compare", "none"}, {"--compare none: ", "No such file", "--json bench"}},
    {64, {"bench", "--compare", "/etc"}, {"--compare /etc: ", "a directory", "--json bench"}},
    {64, {"bench", "--max-regress", "5%"}, {"--max-regress 5%: ", "--compare FILE"}},
    {64, {"bench", "--max-regress", "101%"}, {"--max-regress 101%: ", "up to 100%"}},
    {64, {"audit", "--max-loss", "1s"}, {"--max-loss 1s: ", "a share up to 100%"}},
    {64, {"audit", "--slow", "20", "-c", "10"}, {"--slow 20", "-c", "these are 10"}},
    {64, {"audit", "--rate", "10", "--think", "1s"}, {"--rate 10: ", "--think", "one of them"}},
    {64, {"audit", "--separator", ""}, {"--separator: ", "an audit needs one"}},
    {64, {"audit", "--churn-messages", "5"}, {"--churn-messages 5: ", "--churn"}},
    {64, {"hold", "--probe", "1m-10s"}, {"--probe 1m-10s: ", "the lesser first"}},
    {64, {"top", "-i", "1ms"}, {"--interval 1ms: ", "from 0.1s to 3600s"}},
    {64, {"scale", "two"}, {"scale two: ", "from 1 to 1024"}},
    {64, {"scale", "0"}, {"scale 0: ", "from 1 to 1024"}},
    {64, {"scale", "-1"}, {"scale -1: ", "not negative"}},
    {64, {"scale"}, {"scale takes more words", "scale N"}},
    {64, {"crashes", "shwo", "1"}, {"crashes shwo: ", "crashes show NUMBER"}},
    {64, {"crashes", "show", "last"}, {"crashes last: ", "the number of a crash"}},
    {64, {"log-level", "warn"}, {"log-level warn: ", "did you mean warning?"}},
    {64, {"log-level", "loud"}, {"log-level loud: ", "debug, info, warning or error"}},
};

/* With a server, whose answer it is. */
static const struct wrong asked_rows[] = {
    {64, {"call", "worker.9", "ping"}, {"worker.9", "worker.1 to worker.2", "echo-client actors"}},
    {64, {"call", "arbiter", "pong"}, {"pong", "echo-client commands"}},
    {64, {"call", "arbiter", "echo"}, {"echo", "message", "echo-client commands"}},
    {64, {"call", "arbiter", "echo", "hello"}, {"call arbiter echo: ", "'hello'", "KEY=VALUE"}},
    {64, {"call", "arbiter", "scale", "workers=many"}, {"workers", "from 1 to 1024"}},
    {64, {"call", "arbiter", "spawn", "kind=clock"}, {"kind 'clock'", "echo-client commands"}},
    {64, {"call", "arbiter", "config", "key=server.keep_alife"}, {"server.keep_alife", "write server.keep_alive"}},
    {64, {"crashes", "show", "7"}, {"there is no crash 7, allowed: ", "that crashes lists"}},
    {64, {"kill", "worker.1"}, {"peer: 'worker.1' is not a peer, allowed: ", "as connections shows it\n"}},
    {64, {"connections", "state=asleep"}, {"state: 'asleep' is not a state, allowed: header, idle"}},
    {64, {"connections", "worker=worker.x"}, {"connections worker=worker.x: ", "like worker.2 or 2"}},
};

static const struct wrong server_rows[] = {
    {64, {"start"}, {"start: ", "options only", "-c FILE"}},
    {64, {"--wrokers", "2"}, {"--wrokers: ", "did you mean --workers?"}},
    {64, {"-c"}, {"-c: ", "value is missing", "-c FILE"}},
    {64, {"-t", "-T"}, {"-t, -T and --manual: ", "one of them"}},
    {64, {"-t", "-c", ""}, {"-c: ", "name of a file"}},
    {78, {"-t", "-c", "none"}, {"/none: ", "No such file", "a regular file"}},
    {78, {"-t", "-c", "/etc"}, {"/etc: ", "a directory", "a regular file"}},
    {78, {"-t", "-b", "nonsense"}, {"server.bind: \"nonsense\": ", "the port is missing", "HOST:PORT"}},
    {78, {"-t", "-b", ":99999"}, {"server.bind: \":99999\": ", "to 65535"}},
    {78, {"-t", "-b", "example.org:80"}, {"\"example.org:80\": ", "a name", "a numeric address"}},
    {78, {"-t", "-b", "redis@:80"}, {"\"redis@:80\": ", "no such protocol", "echo"}},
    {78, {"-t", "-w", "two"}, {"arbiter.workers: two ", "from 0 to 1024"}},
    {78, {"-t", "-w", "5000"}, {"arbiter.workers: 5000 ", "out of range", "from 0 to 1024"}},
    {78, {"-t", "-l", "loud"}, {"log.level: \"loud\" ", "\"debug\", \"info\""}},
    {64, {"-t", "-o", "workers=2"}, {"-o workers=2: ", "write arbiter.workers"}},
    {64, {"-t", "-o", "arbiter.wokers=2"}, {"'arbiter.wokers'", "write arbiter.workers"}},
    {64, {"-t", "-o", "arbiter.workers"}, {"-o arbiter.workers: ", "no value", "GROUP.KEY=VALUE"}},
    {78, {"-t", "-o", "server.keep_alive=5parsecs"}, {"server.keep_alive: 5parsecs ", "\"200ms\", \"30s\""}},
    {78, {"-t", "-o", "server.keep_alive=25h"}, {"server.keep_alive: 25h ", "from 0 to 86400"}},
    {78, {"-t", "-o", "server.max_message=64kB"}, {"server.max_message: \"64kB\" ", "\"64KiB\" or 65536"}},
    {78, {"-t", "-o", "arbiter.daemon=yes"}, {"arbiter.daemon: \"yes\" ", "true or false"}},
    {78, {"-t", "-o", "server.trusted=10.0.0.0/99"}, {"\"10.0.0.0/99\"", "/0 to /32"}},
    {78, {"-t", "-o", "arbiter.control_mode=999"}, {"arbiter.control_mode: \"999\" ", "octal digits"}},
    {64, {"--ready-fd", "x"}, {"--ready-fd x: ", "from 0 to 65535"}},
    {64, {"--ready-fd", "77"}, {"--ready-fd 77: ", "not open", "77>&1"}},
    {73, {"-t", "-p", "none/pid"}, {"arbiter.pid_file: ", "/none/pid: ", "No such file"}},
};

/* What stands in a file. */
static const struct wrong_file {
    const char *text, *parts[PARTS_MAX];
} file_rows[] = {
    {"server = { keep_alive = 30s; };", {":1: server.keep_alive: 30s ", "write \"30s\""}},
    {"server = { max_message = 64k; };", {":1: server.max_message: 64k ", "write \"64k\""}},
    {"server = { keep_alive = \"soon\"; };", {":1: server.keep_alive: soon ", "\"200ms\", \"30s\" or \"5m\""}},
    {"server = { backlog = \"2k\"; };", {":1: server.backlog: \"2k\" is a string", "without quotes"}},
    {"server = {};\nserver = {};", {":2: server: given twice", "one group of that name"}},
    {"server.keep_alive = 15;", {":1: server.keep_alive: outside of its group", "server = { keep_alive = VALUE; ... }"}},
    {"keep_alive = 15;", {":1: keep_alive: outside of its group", "server = { keep_alive = VALUE; ... }"}},
    {"server = {\nkeep_alife = 15; };", {":2: server.keep_alife: ", "did you mean keep_alive?"}},
    {"sever = { keep_alive = 15; };", {":1: sever: ", "did you mean server?"}},
    {"server = { keep_alive = 15 16; };", {":1: syntax error in column 28", "\"16; };\""}},
    {"server = { keep_alive = 15;", {":1: { is never closed"}},
    {"server = { bind = [\":1\", \":1\"]; };", {":1: server.bind: \":1\": ", "has that already"}},
    {"server = { bind = \"http://x:1\"; };", {":1: server.bind: \"http://x:1\": ", "no scheme"}},
    {"server = {\n bind = [\":1\",\n\":2\",\n\":3x\"]; };", {":4: server.bind: \":3x\": ", "a whole number"}},
    {"log = { level = 3; };", {":1: log.level: 3 is a number", "\"debug\""}},
    {"", {"holds no key", "GROUP = { KEY = VALUE; ... };"}},
    {"server = { max_message = \"1G\"; };", {":1: server.max_message: ", "\"1GiB\"", "at least four times"}},
    {"arbiter = { pid_file = \"/x\"; control = \"/x\"; };", {":1: arbiter.pid_file: \"/x\" ", "a path of its own"}},
    {"server = { bind = ({ address = \"unix:/tmp/x\"; mode = \"0668\"; }); };", {"mode=0668", "octal digits up to 0777"}},
    {"status = { bind = \"9090\"; };", {":1: status.bind: \"9090\": the port is missing, allowed: \"HOST:PORT\""}},
    {"@include \"x\"\n", {":1: @include: ", "all keys in this one"}},
};
/* clang-format on */

static void client__wrong_inputs__named_with_what_is_allowed(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(client_rows); i++)
        must_be_told(*state, "echo-client", &client_rows[i]);
}

static void client__what_a_server_refuses__named_with_what_is_allowed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char path[128];

    snprintf(path, sizeof(path), "%s/control", s->run);
    for (size_t i = 0; i < ARRAY_SIZE(asked_rows); i++) {
        struct wrong w = {asked_rows[i].code, {"-C", path}, {NULL}};

        memcpy(w.words + 2, asked_rows[i].words, (WORDS_MAX - 2) * sizeof(*w.words));
        memcpy(w.parts, asked_rows[i].parts, sizeof(w.parts));
        must_be_told(it, "echo-client", &w);
    }
}

static void server__wrong_inputs__named_with_what_is_allowed(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(server_rows); i++)
        must_be_told(*state, "echo-arbiter", &server_rows[i]);
}

static void file__wrong_inputs__named_with_what_is_allowed(void **state)
{
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(file_rows); i++) {
        struct wrong w = {78, {"-t", "-c", "wrong.conf"}, {NULL}};

        it_write(it, "wrong.conf", file_rows[i].text);
        memcpy(w.parts, file_rows[i].parts, sizeof(w.parts));
        must_be_told(it, "echo-arbiter", &w);
    }
}

static void server__output_that_cannot_be_written__said(void **state)
{
    static const char *const options[] = {"--help", "--usage", "-V", "-t", "-T", "--manual"};
    struct it *it = *state;
    const char *program = it_build_path(it, "echo-arbiter");

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const int err = tool_file(it, "err");
        const pid_t pid = fork();
        int code;

        MUST(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (dup2(open("/dev/full", O_WRONLY), 1) == 1 && dup2(err, 2) == 2)
                execl(program, program, options[i], NULL);
            _exit(127);
        }
        code = tool_wait(pid);
        MUST(code == 74, "%s: exit status %d", options[i], code);
        assert_string_equal(tool_read_back(err, NULL),
                            "echo-arbiter: standard output: No space left on device\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(client__wrong_inputs__named_with_what_is_allowed),
        IT(client__what_a_server_refuses__named_with_what_is_allowed),
        IT(server__wrong_inputs__named_with_what_is_allowed),
        IT(file__wrong_inputs__named_with_what_is_allowed),
        IT(server__output_that_cannot_be_written__said),
    };

    return it_run(tests);
}
