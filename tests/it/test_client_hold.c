/*
 * echo-client hold: connections that are left alone, and what cuts them.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure/hold.h"
#include "support/server.h"
#include "support/tool.h"

static void hold__until_interrupted__all_still_open(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-a", s->addr[0], "hold", "-c", "300"));
    char *out;
    int code;

    MUST_COME(server_gauge(s, connections) == 300, "%llu connections",
              (unsigned long long)server_gauge(s, connections));
    kill(pid, SIGINT);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 130, "exit code %d", code);
    MUST(strstr(out, ": 300 connections opened, 300 still open, 0 cut\n"), "says: %s", out);
    MUST(strstr(out, "\nnothing was echoed: no probe was sent, see --probe\n"), "says: %s", out);
}

static void hold__worker_killed__each_cut_told(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { workers = 1; };");
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-a", s->addr[0], "hold", "-c", "20"));
    char *out;
    int code;

    server_expect(s, "worker died.*kind=signal");
    MUST_COME(server_gauge(s, connections) == 20, "not open");
    kill(server_worker(s, 0), SIGKILL);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 1, "exit code %d", code);
    MUST(strstr(out, "  connection 20 from 127.0.0.1:"), "says: %s", out);
    MUST(strstr(out, ": 20 connections opened, 0 still open, 20 cut\n"), "says: %s", out);
    server_wait_workers(s, 1);
}

/* The server itself is what forgets: after one second. */
static void hold__probe__finds_the_limit(void **state)
{
    struct it *it = *state;

    if (!it_is_soak()) {
        print_message("skipped: its pauses are real time; ECHO_PROFILE=soak runs it\n");
        skip();
    }
    struct server *s = server_start(it, .conf = "server = { keep_alive = 1; };");
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "hold", "-c", "6", "--probe",
                            "100ms-30s", "-q");
    json_t *o = json_loads(r.out, 0, NULL), *summary = json_object_get(o, "summary"), *limit;

    MUST(r.code == 1, "exit code %d: %s%s", r.code, r.out, r.err);
    MUST(json_integer_value(json_object_get(summary, "opened")) == 6, "says: %s", r.out);
    MUST(json_integer_value(json_object_get(json_object_get(summary, "closed"), "count")) == 5 &&
             json_integer_value(json_object_get(json_object_get(summary, "survived"), "count")) ==
                 1,
         "says: %s", r.out);
    limit = json_object_get(summary, "limit_ms");
    MUST(json_real_value(json_array_get(limit, 0)) >= 100 &&
             json_real_value(json_array_get(limit, 1)) >= 900,
         "says: %s", r.out);
    json_decref(o);
}

/* A network of our own in which an address has 100 ports. Returns whether that is allowed here. */
static bool enter_small_network(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;
    FILE *f;

    if (unshare(CLONE_NEWNET) < 0)
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(ioctl(fd, SIOCSIFFLAGS, &r) == 0, "lo: %s", strerror(errno));
    close(fd);
    f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "we");
    MUST(f && fputs("40000 40099\n", f) >= 0 && fclose(f) == 0, "ports: %s", strerror(errno));
    return true;
}

static void hold__more_than_an_address_has_ports__from_several(void **state)
{
    struct it *it = *state;
    int outside = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), code;
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    struct server *s;
    const char *out;
    pid_t pid;

    if (!enter_small_network()) {
        close(outside);
        print_message("skipped: only root may make a network of its own\n");
        skip();
    }
    s = server_start(it);
    pid = tool_start(it, io, ARGS("-a", s->addr[0], "hold", "-c", "250"));
    MUST(setns(outside, CLONE_NEWNET) == 0, "setns: %s", strerror(errno));
    close(outside);
    MUST_COME(server_gauge(s, connections) == 250, "not all connect");
    kill(pid, SIGINT);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 130, "exit code %d: %s", code, out);
    MUST(strstr(out, ": 250 connections opened, 250 still open, 0 cut"), "says: %s", out);
}

static void hold__nobody__refused(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "-a", "127.0.0.1:1", "hold", "-c", "500");

    tool_must_fail(&r, 69, "connection refused");
}

static void hold__wrong_words__usage(void **state)
{
    static const char *const bad[][2] = {{"-c", "0"}, {"--probe", "5-1"}, {"-t", "0"}, {"x", NULL}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tool_run r = RUN(*state, NO_INPUT, "hold", bad[i][0], bad[i][1]);

        MUST(r.code == 64 && r.err[0], "%s: exit code %d", bad[i][0], r.code);
    }
}

static void hold_limit__only_if_longer_pauses_were_cut(void **state)
{
    struct hold_report r = {0};
    uint64_t survived = 0, cut = 0;

    (void)state;
    assert_false(hold_limit(&r, &survived, &cut));
    times_add(&r.survived, 300);
    times_add(&r.survived, 340);
    assert_false(hold_limit(&r, &survived, &cut));
    times_add(&r.ends[HOLD_REFUSED], 1); /* says nothing of pauses */
    assert_false(hold_limit(&r, &survived, &cut));
    times_add(&r.ends[HOLD_RESET], 360);
    times_add(&r.ends[HOLD_SILENT], 355);
    assert_true(hold_limit(&r, &survived, &cut));
    assert_int_equal(survived, 340);
    assert_int_equal(cut, 355);
    assert_int_equal(hold_report_cut(&r), 2);
    times_add(&r.ends[HOLD_CLOSED], 200); /* that was something else */
    assert_false(hold_limit(&r, &survived, &cut));
    assert_int_equal(hold_probe_ms(10, 50, 0, 5), 10);
    assert_int_equal(hold_probe_ms(10, 50, 4, 5), 50);
    assert_int_equal(hold_probe_ms(10, 50, 0, 1), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(hold__until_interrupted__all_still_open),
        IT(hold__worker_killed__each_cut_told),
        IT(hold__probe__finds_the_limit),
        IT(hold__more_than_an_address_has_ports__from_several),
        IT(hold__nobody__refused),
        IT(hold__wrong_words__usage),
        cmocka_unit_test(hold_limit__only_if_longer_pauses_were_cut),
    };

    return it_run(tests);
}
