/*
 * The control socket against those who would harm it: what lies in its place, users that may not,
 * clients that are slow, greedy or silent.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/control.h"
#include "base/util.h"
#include "support/server.h"
#include "support/stranger.h"
#include "support/tool.h"

static const struct identity nobody = {NOBODY, NOBODY, 0};

/* Lives until the test ends, or stops a server. */
static char *join(const char *before, const char *path, const char *after)
{
    size_t size = strlen(before) + strlen(path) + strlen(after) + 1;
    char *text = peer_alloc(size);

    snprintf(text, size, "%s%s%s", before, path, after);
    return text;
}

/* A setting of arbiter.control, that place as an address, and where the harness lets it be. */
#define CONF_OF(path)    join("arbiter: { control = \"", path, "\"; };")
#define ADDRESS_OF(path) join("unix:", path, "")
#define CONTROL_OF(s)    join((s)->run, "/control", "")

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    return un;
}

/* A socket of somebody else's at @path; closed it is stale. */
static int bind_at(const char *path, bool is_live)
{
    struct sockaddr_un un = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0, "bind: %s", strerror(errno));
    MUST(!is_live || listen(fd, 8) == 0, "listen: %s", strerror(errno));
    return fd;
}

static void must_answer(const char *path)
{
    int fd = peer_connect(ADDRESS_OF(path));

    peer_send_text(fd, "{\"command\":\"ping\",\"id\":7}\n");
    peer_expect_text(fd, "{\"id\":7,\"result\":\"pong\"}\n");
    peer_close(fd);
}

/* ---- what lies in its place ---- */

static void control_path__stale__taken_over(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "control");

    close(bind_at(path, false));
    server_start(it, .conf = CONF_OF(path));
    must_answer(path);
}

static void control_path__live__refused_and_untouched(void **state)
{
    struct it *it = *state;
    struct server *first = server_start(it);
    char *path = CONTROL_OF(first);

    server_refuses(it, 75, "echo1.conf:1: arbiter.control: unix:.*another server listens there",
                   .conf = CONF_OF(path));
    must_answer(path);
}

/* Nobody has asked for the default place: the second server of a user has one beside it, and says
 * so. */
static void control_path__default_is_live__one_beside_it(void **state)
{
    struct it *it = *state;
    struct server *first = server_start(it);
    struct server *second = server_start(it, .env = {join("RUNTIME_DIRECTORY=", first->run, "")});
    char *beside = join(CONTROL_OF(first), ".2", "");

    server_expect(second, "another server has the default control socket");
    MUST(server_log_count(second, "level=warning .*another server has the default control "
                                  "socket\" .*ours=.*/control.2 .*by its address") == 1,
         "it does not say which is its own");
    must_answer(CONTROL_OF(first));
    must_answer(beside);
    MUST(peer_is_served(second->addr[0], WAIT_MS), "the second does not serve");
    server_stop_and_check(second, SIGTERM, 0);
    MUST(access(beside, F_OK) < 0, "%s is left", beside);
    must_answer(CONTROL_OF(first));
}

static void make_file(const char *path, const char *other)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    (void)other;
    MUST(fd >= 0 && write(fd, "precious", 8) == 8 && close(fd) == 0, "%s", strerror(errno));
}

static void make_fifo(const char *path, const char *other)
{
    (void)other;
    MUST(mkfifo(path, 0600) == 0, "mkfifo: %s", strerror(errno));
}

static void make_directory(const char *path, const char *other)
{
    (void)other;
    MUST(mkdir(path, 0700) == 0, "mkdir: %s", strerror(errno));
}

static void make_link_to_file(const char *path, const char *other)
{
    make_file(other, NULL);
    MUST(symlink(other, path) == 0, "symlink: %s", strerror(errno));
}

static void make_link_to_stale(const char *path, const char *other)
{
    close(bind_at(other, false));
    MUST(symlink(other, path) == 0, "symlink: %s", strerror(errno));
}

static void make_dangling_link(const char *path, const char *other)
{
    MUST(symlink(other, path) == 0, "symlink: %s", strerror(errno));
}

static void make_stale_of_nobody(const char *path, const char *other)
{
    (void)other;
    close(bind_at(path, false));
    MUST(chown(path, NOBODY, NOBODY) == 0, "chown: %s", strerror(errno));
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode &&
           a->st_uid == b->st_uid && a->st_size == b->st_size;
}

static void control_path__not_ours__refused_and_untouched(void **state)
{
    static const struct {
        const char *what;
        void (*make)(const char *path, const char *other);
        const char *reason;
        bool needs_root;
    } rows[] = {
        {"file", make_file, "no socket", false},
        {"fifo", make_fifo, "no socket", false},
        {"directory", make_directory, "no socket", false},
        {"link to a file", make_link_to_file, "no socket", false},
        {"link to a stale socket", make_link_to_stale, "no socket", false},
        {"link to nothing", make_dangling_link, "no socket", false},
        {"stale socket of another user", make_stale_of_nobody, "of another user", true},
    };
    struct it *it = *state;

    /* Below: sockets beside its files would be taken for the server's. */
    MUST(mkdir(it_path(it, "place"), 0700) == 0, "mkdir: %s", strerror(errno));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *path = it_path(it, "place/control"), *other = it_path(it, "place/other");
        char pattern[128];
        struct stat before, after, other_before = {0}, other_after = {0};

        if (rows[i].needs_root && geteuid() != 0) {
            printf("# %s: not tried: only root can make it\n", rows[i].what);
            continue;
        }
        rows[i].make(path, other);
        MUST(lstat(path, &before) == 0, "lstat: %s", strerror(errno));
        lstat(other, &other_before);
        snprintf(pattern, sizeof(pattern),
                 "cannot start\" reason=\".*echo[0-9]*.conf:1: arbiter.control: unix:.*%s",
                 rows[i].reason);
        server_refuses(it, 73, pattern, .conf = CONF_OF(path));
        lstat(other, &other_after);
        MUST(lstat(path, &after) == 0 && is_same(&before, &after), "%s: touched", rows[i].what);
        MUST(is_same(&other_before, &other_after), "%s: its target was touched", rows[i].what);
        MUST(remove(path) == 0 && (remove(other) == 0 || errno == ENOENT), "remove");
    }
}

/* ---- users that may not ---- */

static void open_to_all(void)
{
    umask(0);
}

static void control__other_user_from_the_first_moment__never_gets_in(void **state)
{
    struct it *it = *state;
    char *path = stranger_public_path(it);
    const int starts = it_is_soak() ? 200 : 8;
    struct stranger *r;
    struct stat st;

    stranger_need_root();
    r = stranger_send(it, path, &nobody);
    for (int i = 0; i < starts; i++) {
        unsigned refused = r->refused;
        struct server *s = server_start(it, .conf = CONF_OF(path), .in_child = open_to_all);

        MUST(stat(path, &st) == 0 && st.st_mode == (S_IFSOCK | 0600), "mode %o", st.st_mode);
        if (proc_is_alive(r->pid))
            MUST_COME(r->refused > refused, "the stranger does not knock");
        server_stop_and_check(s, SIGTERM, 0);
    }
    stranger_call_back(it, r);
    printf(
        "# %d starts, %u attempts: %u before it was there, %u refused, %u connected, %u answers\n",
        starts, r->absent + r->refused + r->connected + r->odd, r->absent, r->refused, r->connected,
        r->answered);
    MUST(r->odd == 0, "connect: %s", strerror((int)r->error));
    MUST(r->connected == 0 && r->answered == 0, "it got in");
}

/* Whoever opens the file's mode to others has not let them in: the peer's identity counts. */
static void control__mode_widened__peers_are_still_told_apart(void **state)
{
    struct it *it = *state;
    char *path = stranger_public_path(it);
    struct server *s;
    struct stranger *r;

    stranger_need_root();
    s = server_start(it, .conf = CONF_OF(path));
    server_expect(s, "control: a peer of another user is refused");
    MUST(chmod(path, 0777) == 0, "chmod");
    r = stranger_send(it, path, &nobody);
    WAIT_UNTIL(r->connected >= 100 || !proc_is_alive(r->pid), WAIT_MS);
    stranger_call_back(it, r);
    MUST(r->connected >= 100 && r->answered == 0, "%u connected, %u answered", r->connected,
         r->answered);
    MUST(r->told == r->connected, "%u connected, %u heard why not", r->connected, r->told);
    MUST(server_log_count(s, "level=warning .*a peer of another user") <= 3, "it floods the log");
    must_answer(path);
}

/* ---- clients that are a burden ---- */

static bool skip_line(int fd)
{
    char byte;

    do {
        if (recv(fd, &byte, 1, 0) != 1)
            return false;
    } while (byte != '\n');
    return true;
}

static void control__request_too_long__hears_why_then_the_end(void **state)
{
    static const char answer[] = "{\"id\":null,\"error\":{\"code\":\"bad_request\",\"message\":\"a "
                                 "request has at most 65536 bytes, with the newline that ends "
                                 "it\"}}\n";
    static char block[4 * CONTROL_LINE_MAX];
    struct it *it = *state;
    struct server *s = server_start(it);
    int fd = peer_connect(ADDRESS_OF(CONTROL_OF(s)));

    server_expect(s, "control: a request is too long");
    memset(block, ' ', sizeof(block));
    /* The longest that is allowed, and one more byte. */
    block[CONTROL_LINE_MAX - 1] = '\n';
    memcpy(block, "{\"command\":\"ping\",\"id\":1}", 25);
    peer_send(fd, block, CONTROL_LINE_MAX);
    peer_expect_text(fd, "{\"id\":1,\"result\":\"pong\"}\n");
    block[CONTROL_LINE_MAX - 1] = ' ';
    peer_send(fd, block, sizeof(block));
    peer_expect_text(fd, answer);
    peer_expect_eof(fd);
    must_answer(CONTROL_OF(s));
}

static void control__no_request__said_without_a_word_of_the_parser(void **state)
{
    static const struct {
        const char *line, *id, *message;
    } rows[] = {
        {"{\"command\":\"ping\",\"id\":1.5}", "null", "a request is {\\\"command\\\":TEXT"},
        {"{\"command\":\"ping\",\"id\":{}}", "null", "a request is {\\\"command\\\":TEXT"},
        {"{\"command\":\"ping\",\"id\":true}", "null", "a request is {\\\"command\\\":TEXT"},
        {"[]", "null", "a request is a JSON object\""},
        {"ping", "null", "a request is a JSON object, this is none from byte "},
        {"{\"command\":\"ping\"} 1", "null", "a request is a JSON object, this is none from byte "},
        {"{\"command\":\"a\\u0000\"}", "null", "a text may not have \\\\u0000 in it"},
        {"{\"command\":\"a\",\"command\":\"b\"}", "null", "a request has each member only once"},
        {"{\"id\":\"x\",\"args\":{\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}}", "\"x\"",
         "a request is nested at most 16 deep"},
    };
    struct it *it = *state;
    struct server *s = server_start(it);
    int fd = peer_connect(ADDRESS_OF(CONTROL_OF(s)));
    char want[256];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        peer_send_text(fd, rows[i].line);
        peer_send_text(fd, "\n");
        snprintf(want, sizeof(want),
                 "{\"id\":%s,\"error\":{\"code\":\"bad_request\",\"message\":\"%s", rows[i].id,
                 rows[i].message);
        peer_expect_text(fd, want);
        peer_send_text(fd, "{\"command\":\"ping\",\"id\":0}\n");
        MUST(skip_line(fd), "row %zu: no end", i);
        peer_expect_text(fd, "{\"id\":0,\"result\":\"pong\"}\n");
    }
}

/* All in one write: the last one is what comes to be, and the others hear that. */
static void control__scale_superseded__says_so(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    int fd = peer_connect(ADDRESS_OF(CONTROL_OF(s)));

    peer_send_text(fd, "{\"command\":\"scale\",\"args\":{\"workers\":5},\"id\":1}\n"
                       "{\"command\":\"scale\",\"args\":{\"workers\":3},\"id\":2}\n"
                       "{\"command\":\"spawn\",\"id\":3}\n");
    peer_expect_text(fd, "{\"id\":1,\"error\":{\"code\":\"superseded\",\"message\":\"superseded by "
                         "another scaling or a reload: 4 workers run\"}}\n"
                         "{\"id\":2,\"error\":{\"code\":\"superseded\",\"message\":\"superseded by "
                         "another scaling or a reload: 4 workers run\"}}\n"
                         "{\"id\":3,\"result\":{\"workers\":4,\"actor\":\"worker.4\"}}\n");
    server_wait_workers(s, 4);
}

/* A whole buffer of requests that have to wait for one worker, each for its turn. */
static void control__more_requests_than_may_wait__each_answered(void **state)
{
    enum { REQUESTS = 2000, ALARM_MS = 5000 };
    struct it *it = *state;
    struct server *s = server_start(it);
    int fd = peer_connect(ADDRESS_OF(CONTROL_OF(s)));
    char *out = peer_alloc(REQUESTS * 64), *want = peer_alloc(REQUESTS * 64);
    size_t len = 0, want_len = 0;
    uint64_t begin, took;

    for (int i = 0; i < REQUESTS; i++) {
        len += (size_t)sprintf(out + len,
                               "{\"command\":\"ping\",\"target\":\"worker.1\",\"id\":%d}\n", i);
        want_len += (size_t)sprintf(want + want_len, "{\"id\":%d,\"result\":\"pong\"}\n", i);
    }
    MUST(len > CONTROL_LINE_MAX, "they fit at once");
    kill(server_worker(s, 0), SIGSTOP);
    /* What fits into the arbiter and into the kernel; the rest when it goes on. */
    size_t sent = peer_send_until_full(fd, (struct bytes){out, len});
    kill(server_worker(s, 0), SIGCONT);
    begin = clock_mono_ms();
    peer_exchange(fd, (struct bytes){out + sent, len - sent}, (struct bytes){want, want_len}, 0,
                  NULL);
    took = clock_mono_ms() - begin;
    printf("# %d requests of which 16 may wait: %llu ms\n", REQUESTS, (unsigned long long)took);
    MUST(took < ALARM_MS, "what was postponed is taken up late");
    peer_send_text(fd, "{\"command\":\"ping\",\"id\":\"the last, without an end\"}");
    peer_half_close(fd);
    peer_expect_text(fd, "{\"id\":\"the last, without an end\",\"result\":\"pong\"}\n");
    peer_expect_eof(fd);
}

/* ---- while all that goes on, the arbiter does its work ---- */

static int connect_again(const struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
        _exit(1);
    return fd;
}

/* Sends @what again and again and reads nothing; when it is turned out it comes again. */
static pid_t send_pest(const char *path, const char *what, size_t len, uint64_t at_most)
{
    const struct sockaddr_un un = unix_address(path);
    pid_t pid = fork();

    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int fd = connect_again(&un);
        uint64_t sent = 0;
        ssize_t n = 0;

        while (sent < at_most && (n = send(fd, what, len, MSG_NOSIGNAL)) > 0)
            sent += (uint64_t)n;
        close(fd);
    }
}

static void end_pest(pid_t pid)
{
    MUST(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "the pest has gone");
}

/* Returns how long it took until the slot had a new process. */
static unsigned replace(struct server *s, uint32_t slot)
{
    const pid_t victim = server_slot_pid(s, slot);
    const uint64_t begin = clock_mono_ms();
    pid_t heir = 0;

    MUST(victim > 0 && kill(victim, SIGKILL) == 0, "nobody in slot %u", slot);
    MUST_COME((heir = server_slot_pid(s, slot)) != 0 && heir != victim, "slot %u stays empty",
              slot);
    return (unsigned)(clock_mono_ms() - begin);
}

static int connect_silent(const char *address)
{
    int fd = -EAGAIN; /* the accept queue is full */

    MUST_COME((fd = peer_try_connect(address, 0)) != -EAGAIN, "the accept queue stays full");
    MUST(fd >= 0, "connect: %s", strerror(-fd));
    return fd;
}

static void control__besieged__workers_are_replaced_as_ever(void **state)
{
    enum { SILENT = 1000, WORKERS = 4, BLOCK = 1 << 20 };
    static char line[BLOCK], requests[] = "{\"command\":\"info\",\"id\":1}\n";
    struct it *it = *state;
    const uint64_t line_length = it_is_soak() ? UINT64_C(1) << 30 : BLOCK;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 4; };");
    const char *path = CONTROL_OF(s), *address = ADDRESS_OF(path);
    unsigned quiet_ms, worst_ms = 0, n_open = 0;
    int fds[SILENT];
    pid_t pests[2];
    struct tool_run r;

    setrlimit(RLIMIT_NOFILE, &(struct rlimit){SILENT + 100, SILENT + 100});
    server_expect(s, "control: a request is too long");
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    memset(line, 'x', sizeof(line));
    quiet_ms = replace(s, 1);
    server_wait_workers(s, WORKERS);
    for (int i = 0; i < SILENT; i++)
        fds[i] = connect_silent(address);
    pests[0] = send_pest(path, line, sizeof(line), line_length);
    pests[1] = send_pest(path, requests, sizeof(requests) - 1, UINT64_MAX);
    server_wait_log(s, "control: a request is too long", 1);
    for (uint32_t slot = 2; slot <= WORKERS; slot++)
        worst_ms = MAX(worst_ms, replace(s, slot));
    r = RUN(it, NO_INPUT, "-C", path, "call", "workers", "ping");
    MUST(r.code == 0, "an operator is not heard: %s", r.err);
    for (int i = 0; i < SILENT; i++)
        n_open += !peer_has_ended(fds[i]);
    end_pest(pests[0]);
    end_pest(pests[1]);
    printf("# a dead worker's successor: %u ms in peace, at most %u ms besieged (aim 200); "
           "%u of %d silent clients kept\n",
           quiet_ms, worst_ms, n_open, SILENT);
    MUST(n_open <= CONTROL_CLIENTS_MAX, "%u clients", n_open);
    server_must_be_well(s, WORKERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(control_path__stale__taken_over),
        IT(control_path__live__refused_and_untouched),
        IT(control_path__default_is_live__one_beside_it),
        IT(control_path__not_ours__refused_and_untouched),
        IT(control__other_user_from_the_first_moment__never_gets_in),
        IT(control__mode_widened__peers_are_still_told_apart),
        IT(control__no_request__said_without_a_word_of_the_parser),
        IT(control__scale_superseded__says_so),
        IT(control__request_too_long__hears_why_then_the_end),
        IT(control__more_requests_than_may_wait__each_answered),
        IT(control__besieged__workers_are_replaced_as_ever),
    };

    return it_run(tests);
}
