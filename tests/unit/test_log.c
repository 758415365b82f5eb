/*
 * The log: what a line looks like whatever it is made of, that no target can block it, and that a
 * cause that repeats is counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"

/* 2026-11-22 09:15:01.123456789 UTC */
#define WALL      UINT64_C(1795338901123456789)
#define TEXT_HEAD "ts=2026-11-22T09:15:01.123Z level=info actor=arbiter pid=123 "
#define JSON_HEAD                                                                                  \
    "{\"ts\":\"2026-11-22T09:15:01.123Z\",\"level\":\"info\",\"actor\":\"arbiter\",\"pid\":123,"
#define FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = NULL}})
#define NO_FIELDS   ((const struct log_field[]){{.key = NULL}})

static char line[LOG_LINE_MAX];

static const char *render(enum log_format format, const char *message,
                          const struct log_field *fields)
{
    memset(line, '#', sizeof(line));
    size_t len = log_render(line, sizeof(line), format, LOG_LEVEL_INFO, "arbiter", 123, WALL,
                            message, fields);
    assert_int_equal(strlen(line), len);
    return line;
}

/* --- rendering --- */

static void log_render__fields__documented_text(void **state UNUSED)
{
    assert_string_equal(
        render(LOG_FORMAT_TEXT, "worker ready",
               FIELDS(F_STR("worker", "worker.1"), F_INT("n", INT64_MIN), F_UINT("u", UINT64_MAX),
                      F_STR("bind", "[::1]:80"), F_ERR(-ENOENT), F_STR("none", NULL))),
        TEXT_HEAD "msg=\"worker ready\" worker=worker.1 n=-9223372036854775808 "
                  "u=18446744073709551615 bind=[::1]:80 error=\"No such file or directory\" "
                  "none=\"\"\n");
    assert_string_equal(render(LOG_FORMAT_TEXT, "alone", NO_FIELDS), TEXT_HEAD "msg=\"alone\"\n");
    assert_string_equal(render(LOG_FORMAT_TEXT, NULL, NULL), TEXT_HEAD "msg=\"\"\n");
}

static void log_render__fields__documented_json(void **state UNUSED)
{
    assert_string_equal(render(LOG_FORMAT_JSON, "worker ready",
                               FIELDS(F_STR("worker", "worker.1"), F_INT("n", -1), F_UINT("u", 2),
                                      F_STR("none", NULL))),
                        JSON_HEAD
                        "\"msg\":\"worker ready\",\"worker\":\"worker.1\",\"n\":-1,\"u\":2,"
                        "\"none\":\"\"}\n");
    assert_string_equal(
        render(LOG_FORMAT_JSON, "", FIELDS(F_UINT("a", INT64_MAX), F_UINT("b", UINT64_MAX))),
        JSON_HEAD "\"msg\":\"\",\"a\":9223372036854775807,\"b\":\"18446744073709551615\"}\n");
    assert_string_equal(render(LOG_FORMAT_JSON, NULL, NULL), JSON_HEAD "\"msg\":\"\"}\n");
}

static void log_render__hostile_values__escaped(void **state UNUSED)
{
    static const struct {
        const char *value, *text, *json;
    } cases[] = {
        {"plain", "plain", "\"plain\""},
        {"two words", "\"two words\"", "\"two words\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"say \"hi\"", "\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""},
        {"C:\\x", "\"C:\\\\x\"", "\"C:\\\\x\""},
        {"a\nlevel=error msg=forged", "\"a\\nlevel=error msg=forged\"",
         "\"a\\nlevel=error msg=forged\""},
        {"\r\t", "\"\\r\\t\"", "\"\\r\\t\""},
        {"\x1b[2J\x07", "\"\\u001b[2J\\u0007\"", "\"\\u001b[2J\\u0007\""},
        {"\x7f", "\"\\u007f\"", "\"\\u007f\""},
        {"\xc2\x85\xc2\x9b", "\"\\u0085\\u009b\"", "\"\\u0085\\u009b\""}, /* C1: NEL, CSI */
        {"\xe2\x80\xa8\xe2\x80\xa9", "\"\\u2028\\u2029\"", "\"\\u2028\\u2029\""},
        {"\xe2\x80\xaa\xe2\x80\xae", "\"\\u202a\\u202e\"", "\"\\u202a\\u202e\""},
        {"\xe2\x81\xa6\xe2\x81\xa9", "\"\\u2066\\u2069\"", "\"\\u2066\\u2069\""},
        {"\xef\xbb\xbf", "\"\\ufeff\"", "\"\\ufeff\""},
        {"\xf3\xa0\x81\x81", "\"\\udb40\\udc41\"", "\"\\udb40\\udc41\""}, /* U+E0041, a tag */
        {"caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80",
         "\"caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80\"",
         "\"caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80\""},
        /* no UTF-8: lone, cut short, overlong, surrogate, too high, never used */
        {"\xff", "\"\\xff\"", "\"\\ufffd\""},
        {"\x80", "\"\\x80\"", "\"\\ufffd\""},
        {"\xe2\x80", "\"\\xe2\\x80\"", "\"\\ufffd\\ufffd\""},
        {"\xe2\x80z", "\"\\xe2\\x80z\"", "\"\\ufffd\\ufffdz\""},
        {"\xc0\xaf", "\"\\xc0\\xaf\"", "\"\\ufffd\\ufffd\""},
        {"\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\"", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\"", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xf8\x88\x80\x80", "\"\\xf8\\x88\\x80\\x80\"", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char expected[512];
        snprintf(expected, sizeof(expected), TEXT_HEAD "msg=\"m\" k=%s\n", cases[i].text);
        assert_string_equal(render(LOG_FORMAT_TEXT, "m", FIELDS(F_STR("k", cases[i].value))),
                            expected);
        snprintf(expected, sizeof(expected), JSON_HEAD "\"msg\":\"m\",\"k\":%s}\n", cases[i].json);
        assert_string_equal(render(LOG_FORMAT_JSON, "m", FIELDS(F_STR("k", cases[i].value))),
                            expected);
    }
}

static void log_render__hostile_message_actor_and_key__escaped(void **state UNUSED)
{
    log_render(line, sizeof(line), LOG_FORMAT_TEXT, LOG_LEVEL_ERROR, "a b\n", 1, WALL, "m\x1b",
               FIELDS(F_STR("k =\"\n", "v")));
    assert_string_equal(line, "ts=2026-11-22T09:15:01.123Z level=error actor=\"a b\\n\" pid=1 "
                              "msg=\"m\\u001b\" k____=v\n");
}

static void check_json(size_t len, bool is_cut)
{
    json_error_t error;
    json_t *root = json_loadb(line, len - 1, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        fail_msg("%s: %.*s", error.text, (int)len, line);
    assert_int_equal(json_is_true(json_object_get(root, "cut")), is_cut);
    json_decref(root);
}

/* Whatever the value and wherever it is cut, the line is whole. */
static void log_render__any_size__valid_and_marked(void **state UNUSED)
{
    static const char *const values[] = {
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"",
        "\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06",
        "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    unsigned n_cut = 0, n_whole = 0;
    for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
        for (size_t size = 128; size < 420; size++) {
            for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
                memset(line, '#', sizeof(line));
                size_t len = log_render(
                    line, size, (enum log_format)format, LOG_LEVEL_WARNING, values[v], 4194304,
                    WALL, values[v],
                    FIELDS(F_INT("n", 7), F_STR("k", values[v]), F_UINT("u", UINT64_MAX)));
                assert_true(len > 0 && len < size);
                assert_int_equal(strlen(line), len);
                assert_int_equal(line[size], '#');
                assert_ptr_equal(strchr(line, '\n'), line + len - 1);
                bool is_cut = strstr(line, format == LOG_FORMAT_JSON ? ",\"cut\":true}\n"
                                                                     : " cut=true\n") != NULL;
                bool is_whole = strstr(line, "18446744073709551615") != NULL;
                assert_int_equal(is_cut, !is_whole);
                n_cut += is_cut;
                n_whole += is_whole;
                if (format == LOG_FORMAT_JSON)
                    check_json(len, is_cut);
            }
        }
    }
    assert_true(n_cut > 100 && n_whole > 100);
}

static void log_render__huge_value__one_bounded_line(void **state UNUSED)
{
    static char huge[100000];
    memset(huge, 'x', sizeof(huge) - 1);
    render(LOG_FORMAT_JSON, "m", FIELDS(F_STR("k", huge), F_INT("after", 1)));
    assert_true(strlen(line) > LOG_LINE_MAX - 64);
    check_json(strlen(line), true);
    assert_null(strstr(line, "after"));
}

static void log_render__any_day__as_strftime_has_it(void **state UNUSED)
{
    static const uint64_t day_ns = UINT64_C(86400000000000);

    for (uint64_t day = 0; day<365 * 584; day += day> 365 * 35 ? 13 : 1) {
        const uint64_t wall_ns = day * day_ns + day * UINT64_C(997000007) % day_ns;
        const time_t seconds = (time_t)(wall_ns / 1000000000u);
        char expected[64];
        struct tm tm;
        size_t n;

        n = strftime(expected, sizeof(expected), "ts=%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        snprintf(expected + n, sizeof(expected) - n, ".%03uZ ",
                 (unsigned)(wall_ns / 1000000u % 1000u));
        log_render(line, sizeof(line), LOG_FORMAT_TEXT, LOG_LEVEL_INFO, "", 1, wall_ns, "", NULL);
        assert_memory_equal(line, expected, strlen(expected));
    }
}

static void log_level__names__both_ways(void **state UNUSED)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    enum log_level level = LOG_LEVEL_DEBUG;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_string_equal(log_level_name((enum log_level)i), names[i]);
        assert_int_equal(log_level_parse(names[i], &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("INFO", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_string_equal(log_level_name((enum log_level)99), "error");
}

/* --- targets --- */

static char dir[64], file[96], rotated[96];
static counter_t dropped;
static struct log lg;

static int setup(void **state UNUSED)
{
    strcpy(dir, "/tmp/log-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/log", dir);
    snprintf(rotated, sizeof(rotated), "%s/log.1", dir);
    counter_set(&dropped, 0);
    memset(&lg, 0, sizeof(lg));
    lg.fd = -1;
    return 0;
}

static int teardown(void **state UNUSED)
{
    log_close(&lg);
    unlink(file);
    unlink(rotated);
    return rmdir(dir);
}

static const char *contents(const char *path)
{
    static char buf[65536];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
    fds_close(&fd);
    buf[n < 0 ? 0 : n] = '\0';
    return buf;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void open_log_file(void)
{
    assert_int_equal(log_open(&lg, file, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "arbiter"), 0);
    lg.dropped = &dropped;
}

static void log_open__file__appended_with_levels(void **state UNUSED)
{
    struct stat st;
    umask(0);
    for (int i = 0; i < 2; i++) {
        open_log_file();
        assert_true(lg.fd > 2);
        assert_int_equal(fcntl(lg.fd, F_GETFD), FD_CLOEXEC);
        log_debug(&lg, "hidden");
        log_info(&lg, "shown", F_INT("round", i));
        log_close(&lg);
    }
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    const char *text = contents(file);
    assert_non_null(strstr(text, "msg=\"shown\" round=0\n"));
    assert_non_null(strstr(text, "msg=\"shown\" round=1\n"));
    assert_int_equal(count(text, "\n"), 2);
    assert_null(strstr(text, "hidden"));
    assert_int_equal(counter_get(&dropped), 0);
    umask(022);
}

static int open_syslog_at(enum log_level level, enum log_format format, const char *actor)
{
    char target[sizeof(file) + 8];

    snprintf(target, sizeof(target), "syslog:%s", file);
    return log_open(&lg, target, level, format, actor);
}

static void log_open__impossible__errno_and_stderr(void **state UNUSED)
{
    char path[600];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(log_open(&lg, path, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "a"), -ENAMETOOLONG);
    assert_true(lg.is_stderr && lg.fd > 2);
    log_close(&lg);
    assert_int_equal(log_open(&lg, dir, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "a"), -EISDIR);
    assert_true(lg.is_stderr && lg.fd > 2);
    log_close(&lg);
    assert_int_equal(open_syslog_at(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "a"), -ENOENT);
    assert_true(lg.is_stderr && lg.fd > 2 && !lg.is_syslog);
    log_close(&lg);
    /* A FIFO that nobody reads. */
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(log_open(&lg, file, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "a"), -ENXIO);
}

static void log_reopen__rotated__goes_on_in_the_new_file(void **state UNUSED)
{
    open_log_file();
    log_info(&lg, "old");
    assert_int_equal(rename(file, rotated), 0);
    log_info(&lg, "still old");
    assert_int_equal(log_reopen(&lg), 0);
    log_info(&lg, "new");
    assert_int_equal(count(contents(rotated), "old"), 2);
    assert_int_equal(count(contents(file), "\n"), 1);
    assert_non_null(strstr(contents(file), "new"));
}

static void log_reopen__impossible__goes_on_in_the_old_file(void **state UNUSED)
{
    open_log_file();
    assert_int_equal(rename(file, rotated), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(log_reopen(&lg), -EISDIR);
    log_info(&lg, "kept");
    assert_non_null(strstr(contents(rotated), "kept"));
    assert_int_equal(rmdir(file), 0);
}

/* In a child whose stderr is @fd: @n lines; returns how many were dropped. */
static int drops_of_child(int fd, unsigned n, bool is_reopened)
{
    int status;
    counter_t *drops =
        mmap(NULL, sizeof(*drops), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(drops, MAP_FAILED);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        alarm(60); /* a blocking write ends here, not with a hang */
        dup2(fd, 2);
        int flags = fcntl(2, F_GETFL);
        if (log_open(&lg, "", LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "child") != 0 || !lg.is_stderr)
            _exit(2);
        lg.dropped = drops;
        lg.must_poll = lg.must_poll || !is_reopened;
        if (!is_reopened)
            dup2(2, lg.fd);
        for (unsigned i = 0; i < n; i++)
            log_info(&lg, "line", F_UINT("i", i));
        _exit(fcntl(2, F_GETFL) == flags ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    int n_dropped = (int)counter_get(drops);
    assert_int_equal(munmap(drops, sizeof(*drops)), 0);
    return n_dropped;
}

static size_t fill_pipe(int fd)
{
    static char block[4096];
    size_t n = 0;
    memset(block, '.', sizeof(block));
    assert_int_equal(fds_set_nonblock(fd), 0);
    while (write(fd, block, sizeof(block)) > 0)
        n += sizeof(block);
    while (write(fd, block, 1) > 0)
        n++;
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    return n;
}

static void log_emit__stderr_is_a_full_pipe__dropped_not_blocked(void **state UNUSED)
{
    for (int is_reopened = 0; is_reopened <= 1; is_reopened++) {
        int fds[2];
        char buf[4096];
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(drops_of_child(fds[1], 3, is_reopened), 0);
        assert_true(read(fds[0], buf, sizeof(buf)) > 0);
        assert_non_null(strstr(buf, "msg=\"line\" i=0\n"));
        fill_pipe(fds[1]);
        assert_int_equal(drops_of_child(fds[1], 10, is_reopened), 10);
        fds_close(&fds[0]);
        assert_int_equal(drops_of_child(fds[1], 10, is_reopened), 10); /* EPIPE */
        fds_close(&fds[1]);
    }
}

static void log_emit__stderr_is_a_terminal__written(void **state UNUSED)
{
    char buf[4096];
    int locked = 0, terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (terminal < 0 || ioctl(terminal, TIOCSPTLCK, &locked) < 0) {
        print_message("skipped: this system gives no terminals\n");
        skip();
    }
    int end = ioctl(terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    assert_true(end >= 0);
    assert_int_equal(drops_of_child(end, 2, true), 0);
    /* The kernel hands what is written to a terminal on when it has time for it. */
    buf[0] = '\0';
    for (size_t len = 0; count(buf, "\n") < 2;) {
        struct pollfd readable = {.fd = terminal, .events = POLLIN};
        assert_int_equal(poll(&readable, 1, 20000), 1);
        ssize_t n = read(terminal, buf + len, sizeof(buf) - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        buf[len] = '\0';
    }
    assert_int_equal(count(buf, "msg=\"line\""), 2);
    fds_close(&end);
    fds_close(&terminal);
}

static void log_emit__stderr_is_a_socket__dropped_not_blocked(void **state UNUSED)
{
    int fds[2];
    char buf[4096];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(drops_of_child(fds[1], 2, true), 0);
    assert_true(read(fds[0], buf, sizeof(buf)) > 0);
    int drops = drops_of_child(fds[1], 2000, true);
    assert_true(drops > 0 && drops < 2000);
    fds_close(&fds[0]);
    assert_int_equal(drops_of_child(fds[1], 5, true), 5);
    fds_close(&fds[1]);
}

static void log_emit__disk_full__dropped_and_counted(void **state UNUSED)
{
    assert_int_equal(log_open(&lg, "/dev/full", LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "a"), 0);
    log_info(&lg, "nobody counts");
    lg.dropped = &dropped;
    log_info(&lg, "one");
    log_info(&lg, "two");
    assert_int_equal(counter_get(&dropped), 2);
}

static void log_emit__closed__dropped_and_counted(void **state UNUSED)
{
    open_log_file();
    log_close(&lg);
    log_close(&lg);
    log_close(NULL);
    log_info(&lg, "into nothing");
    assert_int_equal(counter_get(&dropped), 1);
}

/* A file that may grow by a part of a line, and later further. */
static void log_emit__short_write__the_next_line_begins_anew(void **state UNUSED)
{
    struct rlimit unlimited, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    signal(SIGXFSZ, SIG_IGN);
    open_log_file();
    log_info(&lg, "whole");
    limit = unlimited;
    limit.rlim_cur = strlen(contents(file)) + 40;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    log_info(&lg, "broken");
    log_info(&lg, "gone"); /* EFBIG: nothing of it is written */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    assert_int_equal(counter_get(&dropped), 2);
    log_info(&lg, "anew");
    log_info(&lg, "and on");
    const char *text = contents(file);
    assert_int_equal(counter_get(&dropped), 2);
    assert_int_equal(count(text, "\n"), 5);
    assert_int_equal(count(text, "\nts="), 4);
    assert_null(strstr(text, "broken"));
    assert_null(strstr(text, "gone"));
    assert_non_null(strstr(text, "msg=\"anew\"\nts="));
    assert_non_null(strstr(text, "level=warning "));
    assert_non_null(strstr(text, "msg=\"log: lines were lost\" count=2\nts="));
    assert_non_null(strstr(text, "msg=\"and on\"\n"));
    signal(SIGXFSZ, SIG_DFL);
}

static void drop_one_of_two(const char *name)
{
    int fd = lg.fd;
    lg.fd = -1;
    log_info(&lg, "dropped");
    lg.fd = fd;
    log_info(&lg, name);
}

static void log_emit__lines_lost_again_and_again__said_once_a_window(void **state UNUSED)
{
    open_log_file();
    for (int i = 0; i < 10; i++)
        drop_one_of_two("first window");
    assert_int_equal(count(contents(file), "lines were lost"), 1);
    assert_int_equal(count(contents(file), "lines were lost\" count=1\n"), 1);
    lg.lost_said_ms -= LOG_WINDOW_MS;
    log_info(&lg, "second window");
    assert_int_equal(count(contents(file), "lines were lost\" count=9\n"), 1);
    log_info(&lg, "nothing is lost any more");
    assert_int_equal(count(contents(file), "lines were lost"), 2);
    assert_int_equal(counter_get(&dropped), 10);
}

static void log_emit__syslog__priority_tag_and_no_newline(void **state UNUSED)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char buf[LOG_LINE_MAX + 100], expected[100];
    strcpy(un.sun_path, file);
    int daemon_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(daemon_fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(open_syslog_at(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, "arbiter"), 0);
    assert_true(lg.is_syslog && lg.fd > 2);
    lg.dropped = &dropped;

    static const int priorities[] = {31, 30, 28, 27}; /* daemon.debug … daemon.err */
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        log_emit(&lg, (enum log_level)level, "hello", NO_FIELDS);
        ssize_t n = read(daemon_fd, buf, sizeof(buf) - 1);
        assert_true(n > 0);
        buf[n] = '\0';
        snprintf(expected, sizeof(expected), "<%d>%s[%d]: ts=", priorities[level],
                 program_invocation_short_name, (int)getpid());
        assert_int_equal(strncmp(buf, expected, strlen(expected)), 0);
        assert_non_null(strstr(buf, "msg=\"hello\""));
        assert_null(strchr(buf, '\n'));
    }
    /* A daemon that does not read. */
    for (int i = 0; i < 5000 && counter_get(&dropped) == 0; i++)
        log_info(&lg, "flood");
    assert_true(counter_get(&dropped) > 0);

    /* A daemon that comes back. */
    fds_close(&daemon_fd);
    counter_set(&dropped, 0);
    log_info(&lg, "lost");
    assert_int_equal(counter_get(&dropped), 1);
    assert_int_equal(unlink(file), 0);
    daemon_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(daemon_fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(log_reopen(&lg), 0);
    log_info(&lg, "back");
    assert_true(read(daemon_fd, buf, sizeof(buf)) > 0);
    assert_int_equal(counter_get(&dropped), 1);
    fds_close(&daemon_fd);
}

/* --- causes that repeat --- */

static void limited(uint64_t now_ms, const char *message, const char *value)
{
    log_emit_limited_at(&lg, now_ms, LOG_LEVEL_WARNING, message,
                        FIELDS(F_STR("error", value), F_UINT("now", now_ms)));
}

static void log_emit_limited__a_storm__one_line_a_window_with_counts(void **state UNUSED)
{
    open_log_file();
    for (uint64_t now = 1000; now < 21000; now += 10)
        limited(now, "accept", "EMFILE");
    const char *text = contents(file);
    assert_int_equal(count(text, "\n"), 4);
    assert_non_null(strstr(text, "level=warning actor=arbiter"));
    assert_non_null(strstr(text, "msg=\"accept\" error=EMFILE now=1000\n"));
    assert_non_null(strstr(text, "now=6000 repeated=499\n"));
    assert_non_null(strstr(text, "now=16000 repeated=499\n"));
    log_close(&lg); /* says what it still knows */
    text = contents(file);
    assert_int_equal(count(text, "\n"), 5);
    assert_non_null(strstr(text, "msg=\"accept\" error=EMFILE now=20990 repeated=499\n"));
}

static void log_flush_causes__window_over__count_then_silence(void **state UNUSED)
{
    open_log_file();
    for (int i = 0; i < 10; i++)
        limited(1000, "accept", "EMFILE");
    log_flush_causes(&lg, 5999);
    assert_int_equal(count(contents(file), "\n"), 1);
    log_flush_causes(&lg, 6000);
    assert_int_equal(count(contents(file), "\n"), 2);
    assert_int_equal(count(contents(file), "msg=\"accept\" error=EMFILE now=1000 repeated=9\n"), 1);
    /* That line was the one of its window. */
    limited(6001, "accept", "EMFILE");
    assert_int_equal(count(contents(file), "\n"), 2);
    log_flush_causes(&lg, 11000);
    assert_int_equal(count(contents(file), "repeated=1\n"), 1);
    log_flush_causes(&lg, 16000);
    log_flush_causes(&lg, 30000);
    assert_int_equal(count(contents(file), "\n"), 3);
    limited(30001, "accept", "EMFILE");
    assert_int_equal(count(contents(file), "now=30001\n"), 1);
}

static void log_emit_limited__other_cause__its_own_line(void **state UNUSED)
{
    open_log_file();
    limited(1000, "accept", "EMFILE");
    limited(1000, "accept", "ENFILE");
    limited(1000, "read", "EMFILE");
    limited(1000, "acceptE", "MFILE");
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "plain", NO_FIELDS);
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "n", FIELDS(F_INT("n", -1)));
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "n", FIELDS(F_INT("n", -2)));
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "n", FIELDS(F_UINT("n", UINT64_MAX)));
    assert_int_equal(count(contents(file), "\n"), 8);
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "plain", NO_FIELDS);
    log_emit_limited_at(&lg, 1000, LOG_LEVEL_WARNING, "n", FIELDS(F_INT("n", -1)));
    assert_int_equal(count(contents(file), "\n"), 8);
    log_flush_causes(&lg, 6000);
    assert_int_equal(count(contents(file), "msg=\"plain\" repeated=1\n"), 1);
    assert_int_equal(count(contents(file), "msg=\"n\" n=-1 repeated=1\n"), 1);
    /* Through the macro, with the clock. */
    log_error_limited(&lg, "macro", F_STR("a", "b"));
    log_error_limited(&lg, "macro", F_STR("a", "b"));
    assert_int_equal(count(contents(file), "macro"), 1);
}

static void die(uint64_t now_ms, const char *worker, int pid, const char *signal, int code)
{
    log_emit_limited_at(&lg, now_ms, LOG_LEVEL_WARNING, "died",
                        FIELDS(F_STR("worker", worker), F_INT("pid", pid),
                               F_CAUSE_STR("signal", signal), F_CAUSE_INT("code", code)));
}

/* The same worker with another reason is another cause; what is counted says of which it is. */
static void log_emit_limited__marked_fields__belong_to_the_cause(void **state UNUSED)
{
    open_log_file();
    die(1000, "worker.1", 10, "KILL", 9);
    die(1001, "worker.1", 11, "SEGV", 11);
    die(1002, "worker.1", 12, "", 70);
    die(1003, "worker.1", 13, "", 71);
    assert_int_equal(count(contents(file), "\n"), 4);
    die(1004, "worker.1", 14, "SEGV", 11);
    die(1005, "worker.1", 15, "", 71);
    assert_int_equal(count(contents(file), "\n"), 4);
    log_flush_causes(&lg, 7000);
    const char *text = contents(file);
    assert_int_equal(count(text, "\n"), 6);
    assert_int_equal(count(text, "worker=worker.1 signal=SEGV code=11 repeated=1\n"), 1);
    assert_int_equal(count(text, "worker=worker.1 signal=\"\" code=71 repeated=1\n"), 1);
}

/* Also in the line that counts what was held back. */
static void log_emit__field_without_a_key__left_out(void **state UNUSED)
{
    open_log_file();
    for (int i = 0; i < 2; i++)
        log_emit_limited_at(
            &lg, 1000, LOG_LEVEL_WARNING, "died",
            FIELDS(F_STR("worker", "worker.1"), F_CAUSE_STR("", "KILL"), F_CAUSE_INT("code", 71)));
    log_flush_causes(&lg, 7000);
    assert_int_equal(count(contents(file), "worker=worker.1 code=71\n"), 1);
    assert_int_equal(count(contents(file), "worker=worker.1 code=71 repeated=1\n"), 1);
}

static void must_link(const char *target, const char *path, uid_t owner)
{
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(lchown(path, owner, (gid_t)-1), 0);
}

static void must_log_to(const char *path)
{
    const size_t before = count(contents(file), "\n");

    assert_int_equal(log_open(&lg, path, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "arbiter"), 0);
    log_info(&lg, "line");
    log_close(&lg);
    assert_int_equal(count(contents(file), "\n"), before + 1);
}

static void log_open__own_links__followed(void **state UNUSED)
{
    char link[sizeof(file) + 8], chain[sizeof(file) + 8], relative[sizeof(file) + 8];
    char shell[32];

    open_log_file();
    log_close(&lg);
    snprintf(link, sizeof(link), "%s.link", file);
    snprintf(chain, sizeof(chain), "%s.chain", file);
    snprintf(relative, sizeof(relative), "%s.rel", file);
    must_link(file, link, geteuid());
    must_link(link, chain, geteuid());
    must_link(strrchr(chain, '/') + 1, relative, geteuid());
    must_log_to(link);
    must_log_to(chain);
    must_log_to(relative);
    int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
    snprintf(shell, sizeof(shell), "/proc/self/fd/%d", fd);
    unlink(link);
    must_link(shell, link, geteuid());
    must_log_to(chain);
    close(fd);
    unlink(link);
    must_link(chain, link, geteuid());
    assert_int_equal(log_open(&lg, link, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "arbiter"), -ELOOP);
    log_close(&lg);
    unlink(link);
    unlink(chain);
    unlink(relative);
}

/* Whoever owns the directory of the log might lead root's pen to any file. */
static void log_reopen__link_of_another_user__refused_and_the_old_file_goes_on(void **state UNUSED)
{
    char old[sizeof(file) + 8], victim[sizeof(file) + 8], link[sizeof(file) + 8];
    struct stat st;

    if (geteuid() != 0) {
        print_message("left out: only root makes links of others\n");
        skip();
    }
    snprintf(old, sizeof(old), "%s.old", file);
    snprintf(victim, sizeof(victim), "%s.victim", file);
    snprintf(link, sizeof(link), "%s.link", file);
    open_log_file();
    assert_int_equal(rename(file, old), 0);
    must_link(victim, file, 1);
    assert_int_equal(log_reopen(&lg), -ELOOP);
    log_info(&lg, "goes on");
    assert_int_equal(count(contents(old), "goes on"), 1);
    must_link(file, link, 0); /* root's, and it leads there */
    log_close(&lg);
    assert_int_equal(log_open(&lg, link, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "arbiter"), -ELOOP);
    log_close(&lg);
    assert_int_equal(stat(victim, &st), -1);
    unlink(link);
    unlink(old);
}

static void log_emit_limited__table_full__oldest_goes_with_its_count(void **state UNUSED)
{
    char value[16];
    open_log_file();
    limited(1000, "first", "x");
    limited(1001, "first", "x");
    for (unsigned i = 0; i < LOG_CAUSES - 1; i++) {
        snprintf(value, sizeof(value), "%u", i);
        limited(1002 + i, "other", value);
    }
    assert_int_equal(count(contents(file), "\n"), LOG_CAUSES);
    limited(2000, "one more", "x");
    const char *text = contents(file);
    assert_int_equal(count(text, "\n"), LOG_CAUSES + 2);
    assert_int_equal(count(text, "msg=\"first\" error=x now=1001 repeated=1\n"), 1);
    assert_int_equal(count(text, "one more"), 1);
    limited(2001, "one more", "x"); /* it is in the table */
    assert_int_equal(count(contents(file), "\n"), LOG_CAUSES + 2);
}

static void log_forked__counts__stay_with_the_parent(void **state UNUSED)
{
    open_log_file();
    limited(1000, "accept", "EMFILE");
    limited(1000, "accept", "EMFILE");
    log_forked(&lg, "worker.3");
    log_flush_causes(&lg, 10000);
    assert_int_equal(count(contents(file), "\n"), 1);
    limited(1000, "accept", "EMFILE");
    assert_int_equal(count(contents(file), "actor=worker.3"), 1);
}

#define IN_DIR(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_render__fields__documented_text),
        cmocka_unit_test(log_render__fields__documented_json),
        cmocka_unit_test(log_render__hostile_values__escaped),
        cmocka_unit_test(log_render__hostile_message_actor_and_key__escaped),
        cmocka_unit_test(log_render__any_size__valid_and_marked),
        cmocka_unit_test(log_render__huge_value__one_bounded_line),
        cmocka_unit_test(log_render__any_day__as_strftime_has_it),
        cmocka_unit_test(log_level__names__both_ways),
        IN_DIR(log_open__file__appended_with_levels),
        IN_DIR(log_open__impossible__errno_and_stderr),
        IN_DIR(log_reopen__rotated__goes_on_in_the_new_file),
        IN_DIR(log_reopen__impossible__goes_on_in_the_old_file),
        IN_DIR(log_emit__stderr_is_a_full_pipe__dropped_not_blocked),
        IN_DIR(log_emit__stderr_is_a_terminal__written),
        IN_DIR(log_emit__stderr_is_a_socket__dropped_not_blocked),
        IN_DIR(log_emit__disk_full__dropped_and_counted),
        IN_DIR(log_emit__closed__dropped_and_counted),
        IN_DIR(log_emit__short_write__the_next_line_begins_anew),
        IN_DIR(log_emit__lines_lost_again_and_again__said_once_a_window),
        IN_DIR(log_emit__syslog__priority_tag_and_no_newline),
        IN_DIR(log_emit_limited__a_storm__one_line_a_window_with_counts),
        IN_DIR(log_flush_causes__window_over__count_then_silence),
        IN_DIR(log_emit_limited__other_cause__its_own_line),
        IN_DIR(log_emit_limited__marked_fields__belong_to_the_cause),
        IN_DIR(log_open__own_links__followed),
        IN_DIR(log_reopen__link_of_another_user__refused_and_the_old_file_goes_on),
        IN_DIR(log_emit__field_without_a_key__left_out),
        IN_DIR(log_emit_limited__table_full__oldest_goes_with_its_count),
        IN_DIR(log_forked__counts__stay_with_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
