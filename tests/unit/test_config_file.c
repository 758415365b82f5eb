/*
 * Reading files in a child: every trap that libconfig or the file system lays, all errors of a file
 * at once, and a parser that exits, crashes, babbles or hangs. config_read_string is wrapped here,
 * so that the child can be looked at and made to misbehave.
 */
#include "conf/config_file.h"

#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libconfig.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "conf/config_diff.h"
#include "conformance/must.h"
#include "support/schema.h"

#define KEY "log = { level = \"info\"; };" /* at its default */

/* ---- the wrapped parser ---- */

enum mode {
    MODE_PARSE,
    MODE_EXIT,
    MODE_ABORT,
    MODE_BABBLE,
    MODE_PAUSE,
    MODE_HANG,
    MODE_UNKILLABLE,
    MODE_LOOP,
    MODE_GROW
};

/* Shared with the child: what it is to do, and what it saw. */
struct probe {
    enum mode mode;
    bool was_called;
    bool has_deadline;
    unsigned n_blocked;
    unsigned n_not_default;
    unsigned n_descriptors;
    pid_t tracer;
};
static struct probe *probe;

static unsigned count_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n - 3; /* ., .. and the directory's own */
}

static void look_around(void)
{
    struct itimerval timer = {.it_value = {0, 0}};
    sigset_t mask;

    probe->was_called = true;
    getitimer(ITIMER_REAL, &timer);
    probe->has_deadline = timer.it_value.tv_sec || timer.it_value.tv_usec;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction sa;

        probe->n_blocked += sigismember(&mask, signo) == 1;
        probe->n_not_default += sigaction(signo, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL;
    }
    probe->n_descriptors = count_descriptors();
}

/* Writes to the one descriptor behind stdio, which is the pipe, and leaves no room for an answer.
 */
static void babble(void)
{
    static const char text[] = "value log.level 1 4\ninfo\nend 7\n";
    int fd = 3;

    while (fcntl(fd, F_GETFD) < 0)
        fd++;
    _exit(write(fd, text, sizeof(text) - 1) < 0);
}

/* A debugger that never asks keeps the end of this process from its parent, as a file system that
 * does not answer would keep it from its end. */
static void be_traced(void)
{
    int ends[2];
    char byte;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    if (pipe(ends) < 0)
        _exit(1);
    pid_t tracer = fork();
    if (tracer == 0) {
        if (ptrace(PTRACE_SEIZE, getppid(), 0, 0) < 0 || write(ends[1], "x", 1) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    probe->tracer = tracer; /* shared memory: set by this process alone */
    close(ends[1]);
    if (read(ends[0], &byte, 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

int config_read_string(config_t *config, const char *string)
{
    static const struct itimerval never = {.it_value = {0, 0}}, soon = {.it_value = {0, 10000}};
    int (*real)(config_t *, const char *) =
        (int (*)(config_t *, const char *))dlsym(RTLD_NEXT, "config_read_string");

    look_around();
    switch (probe->mode) {
    case MODE_PARSE:
        break;
    case MODE_EXIT:
        printf("what libconfig prints before it exits\n");
        exit(2);
    case MODE_ABORT:
        abort();
    case MODE_BABBLE:
        babble();
        break;
    case MODE_PAUSE: /* the deadline that the child has set itself, only sooner */
        setitimer(ITIMER_REAL, &soon, NULL);
        for (;;)
            pause();
    case MODE_HANG: /* nothing but SIGKILL ends this one */
        setitimer(ITIMER_REAL, &never, NULL);
        for (;;)
            pause();
    case MODE_UNKILLABLE:
        setitimer(ITIMER_REAL, &never, NULL);
        be_traced();
        break;
    case MODE_LOOP:
        setitimer(ITIMER_REAL, &soon, NULL);
        for (volatile unsigned i = 0;; i++)
            ;
    case MODE_GROW: /* as a bomb would; what is only reserved is no use of memory */
        for (char *block;;) {
            block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memset(block, 1, 1 << 20);
        }
    }
    return real(config, string);
}

/* ---- a directory for each test ---- */

static char dir[] = "/tmp/test_config_file.XXXXXX";
static char path[64];

static int remove_one(const char *name, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(name);
}

static int setup(void **state UNUSED)
{
    memset(probe, 0, sizeof(*probe));
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/echo.conf", dir);
    return 0;
}

/* Whatever a test did: its children are reaped. */
static int teardown(void **state UNUSED)
{
    bool has_child = waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;

    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) || has_child ? -1 : 0;
}

static void write_bytes(const char *bytes, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void write_file(const char *text)
{
    write_bytes(text, strlen(text));
}

/* ---- expectations ---- */

static struct config *load_good(void)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    int r = config_load(schema_of_echo(), path, NULL, 0, &c, &errors);

    if (r != 0)
        fail_msg("%d: %s", r, errors.n ? errors.text[0] : "no error is told");
    assert_int_equal(errors.n, 0);
    assert_non_null(c);
    return c;
}

static void expect_text(const struct config *c, int key, const char *expected)
{
    char *text = config_get(c, key);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

enum { EXPECTED_MAX = 24 };

/* Exactly these, by their beginning behind the path, in this order; and nothing is returned. */
static void expect_errors(const char *const *expected)
{
    struct config_errors errors = {.n = 0};
    struct config *c = (struct config *)probe; /* any value that must stay */
    size_t n = 0, len = strlen(path);

    assert_int_equal(config_load(schema_of_echo(), path, NULL, 0, &c, &errors), -EINVAL);
    assert_ptr_equal(c, probe);
    for (; n < EXPECTED_MAX && expected[n]; n++) {
        if (n >= errors.n)
            fail_msg("\"%s\" is not told", expected[n]);
        assert_memory_equal(errors.text[n], path, len);
        if (strncmp(errors.text[n] + len, expected[n], strlen(expected[n])) != 0)
            fail_msg("\"%s\" is told, not \"%s\"", errors.text[n] + len, expected[n]);
    }
    if (errors.n != n)
        fail_msg("one too many: %s", errors.text[n]);
    config_errors_fini(&errors);
}

static void expect_error(const char *expected)
{
    const char *const one[] = {expected, NULL};

    expect_errors(one);
}

/* ---- values from files ---- */

/* As they are written on a command line; numbers mean what they always have. */
static void load__times_and_sizes__numbers_and_strings_with_units(void **state UNUSED)
{
    struct config *c;

    write_file(
        "arbiter = { exit_timeout = \"1.5m\"; boot_timeout = \"200ms\"; max_memory = \"2G\"; };\n"
        "server = { keep_alive = \".2\"; write_timeout = 20; max_message = 65536; "
        "max_buffered = \"1024k\" };\n");
    c = load_good();
    expect_text(c, CONFIG_EXIT_TIMEOUT, "90");
    expect_text(c, CONFIG_BOOT_TIMEOUT, "0.2");
    expect_text(c, CONFIG_MAX_MEMORY, "2GiB");
    expect_text(c, CONFIG_KEEP_ALIVE, "0.2");
    expect_text(c, CONFIG_WRITE_TIMEOUT, "20");
    expect_text(c, KEY_MAX_MESSAGE, "64KiB");
    expect_text(c, CONFIG_MAX_BUFFERED, "1MiB");
    config_free(c);
}

static void load__every_type__from_the_file(void **state UNUSED)
{
    struct config *c;

    write_file("arbiter : { workers = 4, exit_timeout = 0.25; pid_file = \"/run/\" \"echo.pid\" "
               "daemon = TRUE }\n"
               "server = { bind = ( \":1\", \"unix:/x\\\\y\" ); backlog = 1; keep_alive = 5; "
               "write_timeout = 1e1;\n"
               "  max_message = \"64KiB\"; separator = \"\\\"\\n\\xff\\q\"; }\n"
               "log = { level = \"debug\"; };");
    c = load_good();
    expect_text(c, CONFIG_WORKERS, "4");
    expect_text(c, CONFIG_EXIT_TIMEOUT, "0.25");
    expect_text(c, CONFIG_PID_FILE, "/run/echo.pid");
    expect_text(c, CONFIG_DAEMON, "true");
    expect_text(c, CONFIG_BIND, ":1\nunix:/x\\y");
    expect_text(c, CONFIG_BACKLOG, "1");
    expect_text(c, CONFIG_WRITE_TIMEOUT, "10");
    expect_text(c, KEY_MAX_MESSAGE, "64KiB");
    assert_int_equal(schema_conf_of_echo(c)->separator.len, 5);
    assert_memory_equal(schema_conf_of_echo(c)->separator.data, "\"\n\xff\\q", 5);
    assert_int_equal(c->origin[CONFIG_WORKERS].kind, ORIGIN_FILE);
    assert_int_equal(c->origin[CONFIG_WORKERS].line, 1);
    assert_int_equal(c->origin[KEY_SEPARATOR].line, 3);
    assert_int_equal(c->origin[CONFIG_LOG_LEVEL].line, 4);
    assert_int_equal(c->origin[CONFIG_LOG_FILE].kind, ORIGIN_DEFAULT);
    assert_string_equal(c->path, path);
    config_free(c);
}

static void load__no_key__refused(void **state UNUSED)
{
    static const char *const empty[] = {"",
                                        "\n",
                                        " \t\n",
                                        "# only a comment",
                                        "// and no newline",
                                        "/* both */ # kinds\n",
                                        "arbiter = {};",
                                        "log: {}; server: {}",
                                        "server = { # workers = 2;\n};"};

    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        write_file(empty[i]);
        expect_error(": holds no key: it is empty or was cut off, allowed: GROUP = ");
    }
}

static void load__single_string__a_bind_list_of_one(void **state UNUSED)
{
    struct config *c;

    write_file("server = { bind = \":7000\"; };");
    c = load_good();
    expect_text(c, CONFIG_BIND, ":7000");
    config_free(c);
}

static void load__dump_of_any_configuration__reads_back_the_same(void **state UNUSED)
{
    static const struct config_override values[] = {
        {.key = CONFIG_WORKERS, .text = "7"},
        {.key = CONFIG_BOOT_TIMEOUT, .text = "0.125"},
        {.key = CONFIG_PID_FILE, .text = "/a\"b\\c\n\x7f\xff x"},
        {.key = CONFIG_DAEMON, .text = "true"},
        {.key = CONFIG_BIND,
         .text = "proxy=accept,proxy_from=10.0.0.0/8+::1@[::1]:9\nunix:/tmp/\"a\\b\"\n"
                 "mode=0600,proxy=require@unix:/x@y\n127.0.0.1:0"},
        {.key = KEY_MAX_MESSAGE, .text = "1000"},
        {.key = KEY_SEPARATOR, .text = "\\x01\"\\\\n\\xff\\r\\n\\t"},
        {.key = CONFIG_LOG_FILE, .text = "/x"},
        {.key = CONFIG_LOG_FORMAT, .text = "json"},
    };
    struct config_errors errors = {.n = 0};
    struct config *c = NULL, *back;
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(config_load(schema_of_echo(), NULL, values, ARRAY_SIZE(values), &c, &errors),
                     0);
    assert_int_equal(config_dump(c, f), 0);
    assert_int_equal(fclose(f), 0);
    back = load_good();
    assert_int_equal(config_diff(c, back, NULL, NULL), 0);
    assert_int_equal(back->origin[CONFIG_LOG_FORMAT].kind, ORIGIN_FILE);
    config_free(c);
    config_free(back);
}

/* ---- errors in the text ---- */

static void load__traps_of_libconfig__each_refused(void **state UNUSED)
{
    static const struct {
        const char *text, *error;
    } traps[] = {
        {"arbiter={workers=4294967296;};",
         ":1: arbiter.workers: 4294967296 is out of range, allowed: a whole number from 0 to 1024"},
        {"arbiter={workers=4294967297;};", ":1: arbiter.workers: 4294967297 is out of range"},
        {"arbiter={workers=4294967304;};", ":1: arbiter.workers: 4294967304 is out of range"},
        {"arbiter={workers=18446744073709551617;};",
         ":1: arbiter.workers: 18446744073709551617 is out of range"},
        {"arbiter={workers=4294967300L;};", ":1: arbiter.workers: 4294967300L is not understood"},
        {"arbiter={workers=4L;};", ":1: arbiter.workers: 4L is not understood"},
        {"arbiter={workers=-1;};", ":1: arbiter.workers: -1 is not understood"},
        {"arbiter={workers=0x10;};", ":1: arbiter.workers: 0x10 is not understood"},
        {"arbiter={workers=010;};", ":1: arbiter.workers: 010 is not understood"},
        {"arbiter={workers=4.0;};", ":1: arbiter.workers: 4.0 is not understood"},
        {"arbiter={boot_timeout=1e999;};", ":1: arbiter.boot_timeout: 1e999 is out of range"},
        {"arbiter={boot_timeout=-1e999;};", ":1: arbiter.boot_timeout: -1e999 is not understood"},
        {"arbiter={boot_timeout=inf;};", ":1: arbiter.boot_timeout: inf is a bare word"},
        {"arbiter={boot_timeout=nan;};", ":1: arbiter.boot_timeout: nan is a bare word"},
        {"arbiter={boot_timeout=.;};", ":1: arbiter.boot_timeout: . is not understood"},
        {"arbiter={boot_timeout=1e-400;};", ":1: arbiter.boot_timeout: 1e-400 is out of range"},
        {"arbiter={boot_timeout=4294967306;};",
         ":1: arbiter.boot_timeout: 4294967306 is out of range"},
        {"@include \"/etc\"\n", ":1: @include: another file is never read"},
        {"log={};\n\t@include \"/etc/passwd\"\n", ":2: @include: another file is never read"},
        {"arbiter={workers=1;\nworkers=2;};", ":2: arbiter.workers: given twice, first in line 1"},
        {"log={};\nlog={};", ":2: log: given twice"},
        {"lag={};", ":1: lag: unknown group, allowed: arbiter, server, log, status"},
        {"arbiter={tineout=30;};", ":1: arbiter.tineout: unknown key (did you mean timeout?), "
                                   "allowed: workers, cpu_affinity, boot_timeout"},
        {"Arbiter={workers=4;};", ":1: Arbiter: unknown group"},
        {"arbiter={workers=\"4\";};", ":1: arbiter.workers: \"4\" is a string, allowed: a whole "
                                      "number from 0 to 1024, without quotes"},
        {"arbiter={workers=true;};", ":1: arbiter.workers: true is a word without quotes"},
        {"arbiter={workers=[4];};", ":1: arbiter.workers: holds a list"},
        {"arbiter={workers={};};", ":1: arbiter.workers: holds a group"},
        {"arbiter={daemon=1;};", ":1: arbiter.daemon: 1 is a number, allowed: true or false"},
        {"arbiter={daemon=\"true\";};", ":1: arbiter.daemon: \"true\" is a string"},
        {"arbiter={pid_file=1;};",
         ":1: arbiter.pid_file: 1 is a number, allowed: a path in quotes"},
        {"server={max_message=4294967296;};",
         ":1: server.max_message: \"4294967296\" is out of range, allowed: a size from \"1\" to "
         "\"1GiB\", such as \"64KiB\" or 65536"},
        {"server={max_message=64k;};",
         ":1: server.max_message: 64k has no quotes, write \"64k\", allowed: a size from"},
        {"server={keep_alive=30s;};",
         ":1: server.keep_alive: 30s has no quotes, write \"30s\", allowed: seconds from 0 to"},
        {"server={keep_alive=30L;};", ":1: server.keep_alive: 30L is not understood"},
        {"server={keep_alive=\"30 s\";};", ":1: server.keep_alive: 30 s is not understood"},
        {"server={max_message=true;};", ":1: server.max_message: true is a word without quotes"},
        {"server={max_message=\"4294967296\";};",
         ":1: server.max_message: \"4294967296\" is out of range"},
        {"server={max_message=\"18446744073709551616\";};",
         ":1: server.max_message: \"18446744073709551616\" is out of range"},
        {"server={max_message=\"17179869184GiB\";};",
         ":1: server.max_message: \"17179869184GiB\" is out of range"},
        {"server={separator=13;};", ":1: server.separator: 13 is a number"},
        {"server={separator=\"0123456789abcdefg\";};",
         ":1: server.separator: \"0123456789abcdefg\" is too long"},
        {"server={separator=\"\\x00\";};", ":1: server.separator: a string with \\x00"},
        {"server={bind=[];};", ":1: server.bind: \"\": empty"},
        {"server={bind=\"\";};", ":1: server.bind: \"\": empty"},
        {"server={bind=[\"\"];};", ":1: server.bind: \"\": empty"},
        {"server={bind=[8060];};", ":1: server.bind: an element is no string"},
        {"server={bind=({address=\":1\";\nproxy=\"on\";});};",
         ":2: server.bind: proxy: \"on\" is not known, allowed: \"off\", \"accept\" or "
         "\"require\""},
        {"server={bind=({address=\":1\";\nproxy=true;});};",
         ":2: server.bind: proxy: not a string"},
        {"server={bind=({address=\":1\"; proxy=\"accept\"; proxy_from=[];});};",
         ":1: server.bind: \":1\": proxy needs proxy_from"},
        {"server={bind=({address=\":1\"; proxy=\"accept\";\nproxy_from=[\"10.0.0.1/8\"];});};",
         ":2: server.bind: proxy_from: \"10.0.0.1/8\": the address has bits behind"},
        {"server={bind=({address=\":1\"; proxy=\"accept\"; proxy_from=\"proxy.example.org\";});};",
         ":1: server.bind: proxy_from: \"proxy.example.org\": it is neither a numeric address"},
        {"server={bind=({address=\":1\"; proxy=\"accept\"; proxy_from=[1];});};",
         ":1: server.bind: proxy_from: \"\": it is no string"},
        {"server={bind=({address=\":1\"; proxi=\"accept\";});};",
         ":1: server.bind: proxi: unknown key of a listener, allowed: address, protocol, mode, "
         "owner, group, proxy, proxy_from"},
        {"server={bind=(\":1\", 2);};", ":1: server.bind: an element is no string"},
        {"server={bind=((\":1\"));};", ":1: server.bind: an element is no string"},
        {"server={bind=[\":1\\n:2\"];};", ":1: server.bind: an element is no string"},
        {"server={bind=8060;};", ":1: server.bind: 8060 is a number"},
        {"server={bind=[\":1\",\n\":1\"];};", ":2: server.bind: \":1\": an element before it"},
        {"server={bind=[\"example.org:80\"];};", ":1: server.bind: \"example.org:80\": a name"},
        {"log={level=\"loud\";};", ":1: log.level: \"loud\" is not known"},
        {"log={level=loud;};", ":1: log.level: loud is a bare word"},
        {"log={level='info';};", ":1: log.level: info is a bare word"},
        {"log={file=\"abc;\n};", ":1: a string begins here"},
        {"/* log={};", ":1: a comment begins here"},
        {"log={", ":1: { is never closed"},
        {"log={};}", ":1: } closes nothing"},
        {"log\n{\n};", ":2: syntax error in column 1, at \"{\" or just before"},
        {"log={level \"info\";};", ":1: syntax error in column 12, at \"\\\"info\\\";};\""},
        {"arbiter={workers=;};5;", ":1: syntax error"},
        {"arbiter={workers=4 5;};", ":1: syntax error in column 20, at \"5;};\""},
        {"arbiter={workers=5daemon=true;};", ":1: arbiter.workers: 5daemon is not understood"},
        {"\xef\xbb\xbflog={};", ":1: syntax error in column 1, at \"\\xef\\xbb\\xbflog={};\""},
        {"server={max_message=\"1GiB\";};",
         ":1: server.max_message: messages of \"1GiB\" are too large for buffers of \"256MiB\""},
        {"\nserver={max_buffered=\"1MiB\";};",
         ":2: server.max_buffered: messages of \"16MiB\" are too large"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(traps); i++) {
        write_file(traps[i].text);
        expect_error(traps[i].error);
    }
}

static void load__many_errors__all_told_in_the_order_of_lines(void **state UNUSED)
{
    static const char *const expected[] = {
        ":2: arbiter.workers: 4294967304 is out of range",
        ":3: arbiter.workerz: unknown key",
        ":4: arbiter.workers: given twice, first in line 2",
        ":5: arbiter.exit_timeout: 30x is not understood",
        ":6: arbiter.boot_timeout: inf is a bare word",
        ":8: server.bind: \"example.org:80\": a name",
        ":9: server.max_message: holds a list",
        ":11: server: given twice",
        ":12: lag: unknown group",
        ":13: log.level: \"loud\" is not known",
        ":14: log.format: true is a word without quotes",
        NULL,
    };

    write_file("arbiter = {\n"
               "  workers = 4294967304;\n"
               "  workerz = 1;\n"
               "  workers = 2;\n"
               "  exit_timeout = \"30x\";\n"
               "  boot_timeout = inf;\n"
               "};\n"
               "server = { bind = [\":1\", \"example.org:80\"];\n"
               "  max_message = [1];\n"
               "};\n"
               "server = { workers = 1; workers = 1; };\n"
               "lag = 1;\n"
               "log = { level = \"loud\";\n"
               "  format = true; };\n");
    expect_errors(expected);
}

static void load__syntax_error__told_beside_the_others(void **state UNUSED)
{
    static const char *const expected[] = {
        ":1: arbiter.workerz: unknown key",
        ":2: syntax error in column 17, at \"! \\\"info\\\"; };\" or just before",
        ":3: lag: unknown group", NULL};

    write_file("arbiter = { workerz = 1; };\n  log = { level ! \"info\"; };\nlag = {};\n");
    expect_errors(expected);
}

static void load__more_errors_than_places__counted(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    char text[2048], *p = text;
    char last[128];

    for (unsigned i = 0; i < 50; i++)
        p += sprintf(p, "key_%u = %u;\n", i, i);
    write_file(text);
    assert_int_equal(config_load(schema_of_echo(), path, NULL, 0, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, CONFIG_ERRORS_MAX);
    snprintf(last, sizeof(last), "%s: %d more of this kind", path, 50 - (CONFIG_ERRORS_MAX - 1));
    assert_string_equal(errors.text[CONFIG_ERRORS_MAX - 1], last);
    config_errors_fini(&errors);
}

static void load__deep_nesting__refused_without_recursion(void **state UNUSED)
{
    char *text = malloc(200001);

    assert_non_null(text);
    memset(text, '(', 200000);
    text[200000] = '\0';
    memcpy(text, "log={file=", 10);
    write_file(text);
    expect_error(":1: nested too deeply, allowed: 16 levels");
    assert_false(probe->was_called);
    free(text);
}

static void
load__two_hundred_thousand_settings__told_without_libconfig_seeing_them(void **state UNUSED)
{
    static const char head[] = "log={level={", item[] = "a=1;";
    char *text = malloc(CONFIG_FILE_MAX_BYTES + 1), *p;

    assert_non_null(text);
    p = stpcpy(text, head);
    while (p < text + CONFIG_FILE_MAX_BYTES - 10)
        p = stpcpy(p, item);
    strcpy(p, "};};");
    write_file(text);
    expect_error(":1: log.level: holds a group");
    free(text);
}

static void load__binary_garbage__refused(void **state UNUSED)
{
    char bytes[4096];
    uint32_t seed = 1;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(seed >> 24);
    }
    bytes[0] = '\0';
    write_bytes(bytes, sizeof(bytes));
    expect_error(":1: a NUL byte, allowed: text");
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(bytes[i] | '\x80');
    write_bytes(bytes, sizeof(bytes));
    expect_error(":1: syntax error");
}

/* ---- what the path may be ---- */

static void load__sparse_100_mb__refused_by_its_size(void **state UNUSED)
{
    write_file("");
    assert_int_equal(truncate(path, 100000000), 0);
    expect_error(": has 100000000 bytes, allowed: a regular file of at most 1 MiB");
}

static void load__exactly_1_mib__read_and_one_byte_more_refused(void **state UNUSED)
{
    char *text = malloc(CONFIG_FILE_MAX_BYTES + 1);

    assert_non_null(text);
    memset(text, ' ', CONFIG_FILE_MAX_BYTES + 1);
    memcpy(text, KEY "#", strlen(KEY "#"));
    write_bytes(text, CONFIG_FILE_MAX_BYTES);
    config_free(load_good());
    write_bytes(text, CONFIG_FILE_MAX_BYTES + 1);
    expect_error(": has 1048577 bytes, allowed: ");
    free(text);
}

static void load__fifo__refused_without_blocking(void **state UNUSED)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_error(": is a FIFO, allowed: a regular file of at most 1 MiB");
}

static void load__directory_or_device__refused(void **state UNUSED)
{
    assert_int_equal(mkdir(path, 0700), 0);
    expect_error(": is a directory, allowed: a regular file");
    strcpy(path, "/dev/null");
    expect_error(": is a device, allowed: a regular file");
}

static void load__socket__refused(void **state UNUSED)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(sun.sun_path, path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    expect_error(": cannot be read: No such device or address, allowed: a regular file");
    close(fd);
}

static void load__missing_or_dangling__refused(void **state UNUSED)
{
    expect_error(": cannot be read: No such file or directory");
    assert_int_equal(symlink("nowhere", path), 0);
    expect_error(": cannot be read: No such file or directory");
}

static void load__symbolic_link__followed(void **state UNUSED)
{
    char target[80];
    struct config *c;

    write_file("arbiter = { workers = 5; };");
    snprintf(target, sizeof(target), "%s/target", dir);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink("target", path), 0);
    c = load_good();
    assert_int_equal(c->workers, 5);
    assert_string_equal(c->path, path);
    config_free(c);
}

/* Root may read everything, so it is somebody else for a moment. */
static void load__no_permission__refused(void **state UNUSED)
{
    uid_t before = geteuid();

    write_file("");
    assert_int_equal(chmod(path, 0), 0);
    if (before == 0)
        assert_int_equal(seteuid(65534), 0);
    expect_error(": cannot be read: Permission denied");
    assert_int_equal(seteuid(before), 0);
}

static void load__path_too_long__refused(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    char longest[CONFIG_PATH_MAX + 1];
    struct config *c = NULL;

    memset(longest, '/', CONFIG_PATH_MAX);
    longest[CONFIG_PATH_MAX] = '\0';
    memcpy(longest + CONFIG_PATH_MAX - strlen(dir) - 1, dir, strlen(dir));
    assert_int_equal(config_load(schema_of_echo(), longest, NULL, 0, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_non_null(strstr(errors.text[0], "the path is too long"));
    config_errors_fini(&errors);
}

/* ---- the child ---- */

static void child__at_work__alone_and_with_a_deadline(void **state UNUSED)
{
    int fd = dup(1), high = fcntl(1, F_DUPFD, 200);
    struct sigaction old, ignore = {.sa_handler = SIG_IGN};
    sigset_t blocked, before, after;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGHUP);
    sigaction(SIGUSR2, &ignore, &old);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    write_file(KEY);
    config_free(load_good());
    sigprocmask(SIG_SETMASK, &before, &after);
    sigaction(SIGUSR2, &old, NULL);
    assert_true(probe->was_called);
    assert_true(probe->has_deadline);
    assert_int_equal(probe->n_blocked, 0);
    assert_int_equal(probe->n_not_default, 1); /* SIGPROF, which watches the memory */
    assert_int_equal(probe->n_descriptors, 3 + 1); /* the pipe */
    assert_int_equal(sigismember(&after, SIGHUP), 1);
    assert_int_equal(sigismember(&after, SIGTERM), 0);
    close(fd);
    close(high);
}

static void child__parser_exits_crashes_or_babbles__told(void **state UNUSED)
{
    static const struct {
        enum mode mode;
        const char *error;
    } ends[] = {
        {MODE_EXIT, ": the parser failed: it ended of itself, with exit status 2"},
        {MODE_ABORT, ": the parser failed: it crashed with signal 6 (Aborted)"},
        {MODE_PAUSE, ": the parser failed: it took longer than 5 s"},
        {MODE_LOOP, ": the parser failed: it took longer than 5 s"},
        {MODE_BABBLE, ": the parser failed: its answer is not complete or not understood"},
        {MODE_GROW, ": the parser failed: it took more than 256 MiB of memory"},
    };

    write_file(KEY);
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        probe->mode = ends[i].mode;
        expect_error(ends[i].error);
    }
}

static void child__hangs_for_ever__killed_at_the_deadline(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    write_file(KEY);
    probe->mode = MODE_HANG;
    assert_int_equal(config_load_within(schema_of_echo(), path, NULL, 0, 200, &c, &errors),
                     -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_non_null(
        strstr(errors.text[0], "echo.conf: the parser failed: it took longer than 0.2 s"));
    config_errors_fini(&errors);
}

static void child__cannot_be_killed__not_waited_for(void **state UNUSED)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    write_file(KEY);
    probe->mode = MODE_UNKILLABLE;
    assert_int_equal(config_load_within(schema_of_echo(), path, NULL, 0, 500, &c, &errors),
                     -EINVAL);
    assert_non_null(strstr(errors.text[0], "the parser failed: it took longer than 0.5 s"));
    config_errors_fini(&errors);
    assert_int_equal(kill(probe->tracer, SIGKILL), 0);
    assert_true(wait(NULL) > 0);
}

/* As hardened allocators do, in the server itself: 8 TiB of addresses, none of them used. */
static void child__addresses_reserved__reads_all_the_same(void **state UNUSED)
{
    const size_t size = (size_t)8 << 40;
    void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_ptr_not_equal(p, MAP_FAILED);
    write_file(KEY);
    config_free(load_good());
    munmap(p, size);
}

/* This process becomes the parent of the orphan, to see its end. */
static void child__its_parent_dies__dies_too(void **state UNUSED)
{
    int status, fd;
    pid_t parent, pid;

    write_file(KEY);
    probe->mode = MODE_HANG;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    parent = fork();
    if (parent == 0) {
        bool has_begun = config_child_start(schema_of_echo(), path, NULL, 0, &pid, &fd) == 0 &&
                         WAIT_UNTIL(probe->was_called, WAIT_MS);
        _exit(has_begun ? 0 : 1);
    }
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(status, 0);
    assert_true(waitpid(-1, &status, 0) > 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* ---- overrides ---- */

static void load__overrides__win_over_the_file(void **state UNUSED)
{
    static const struct config_override overrides[] = {{.key = CONFIG_WORKERS, .text = "3"},
                                                       {.key = CONFIG_BIND, .text = ":1\n:2"},
                                                       {.key = CONFIG_WORKERS, .text = "4"}};
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    write_file("arbiter = { workers = 2; exit_timeout = 5; };");
    assert_int_equal(
        config_load(schema_of_echo(), path, overrides, ARRAY_SIZE(overrides), &c, &errors), 0);
    assert_int_equal(c->workers, 4);
    assert_int_equal(c->origin[CONFIG_WORKERS].kind, ORIGIN_COMMAND_LINE);
    assert_int_equal(c->origin[CONFIG_BIND].kind, ORIGIN_COMMAND_LINE);
    assert_int_equal(c->origin[CONFIG_EXIT_TIMEOUT].kind, ORIGIN_FILE);
    assert_int_equal(c->n_bind, 2);
    config_free(c);
}

static void load__bad_overrides__told_with_the_file_s_errors(void **state UNUSED)
{
    static const struct config_override overrides[] = {{.key = CONFIG_WORKERS, .text = "-3"},
                                                       {.key = CONFIG_LOG_LEVEL, .text = "x"}};
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    write_file("arbiter = { workers = true; };");
    assert_int_equal(
        config_load(schema_of_echo(), path, overrides, ARRAY_SIZE(overrides), &c, &errors),
        -EINVAL);
    assert_int_equal(errors.n, 3);
    assert_string_equal(errors.text[0],
                        "command line: arbiter.workers: -3 is not understood, allowed: "
                        "a whole number from 0 to 1024");
    assert_non_null(strstr(errors.text[1], "command line: log.level: \"x\" is not known"));
    assert_non_null(strstr(errors.text[2], "echo.conf:1: arbiter.workers: true is a word"));
    config_errors_fini(&errors);
    assert_int_equal(config_load(schema_of_echo(), "", overrides, 1, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, 1);
    config_errors_fini(&errors);
    assert_null(c);
}

static void load__no_file__defaults_and_overrides(void **state UNUSED)
{
    static const struct config_override overrides[] = {{.key = CONFIG_MAX_BUFFERED, .text = "1MiB"},
                                                       {.key = KEY_MAX_MESSAGE, .text = "1KiB"}};
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    assert_int_equal(config_load(schema_of_echo(), NULL, overrides, 2, &c, &errors), 0);
    assert_string_equal(c->path, "");
    assert_int_equal(schema_conf_of_echo(c)->max_message, 1024);
    config_free(c);
    c = NULL;
    assert_int_equal(config_load(schema_of_echo(), NULL, overrides, 1, &c, &errors), -EINVAL);
    assert_non_null(strstr(errors.text[0], "command line: server.max_buffered: "));
    config_errors_fini(&errors);
    assert_null(c);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First, while the heap holds nothing freed that could be used without asking the kernel.
         */
        T(child__addresses_reserved__reads_all_the_same),
        T(load__every_type__from_the_file),
        T(load__times_and_sizes__numbers_and_strings_with_units),
        T(load__no_key__refused),
        T(load__single_string__a_bind_list_of_one),
        T(load__dump_of_any_configuration__reads_back_the_same),
        T(load__traps_of_libconfig__each_refused),
        T(load__many_errors__all_told_in_the_order_of_lines),
        T(load__syntax_error__told_beside_the_others),
        T(load__more_errors_than_places__counted),
        T(load__deep_nesting__refused_without_recursion),
        T(load__two_hundred_thousand_settings__told_without_libconfig_seeing_them),
        T(load__binary_garbage__refused),
        T(load__sparse_100_mb__refused_by_its_size),
        T(load__exactly_1_mib__read_and_one_byte_more_refused),
        T(load__fifo__refused_without_blocking),
        T(load__directory_or_device__refused),
        T(load__socket__refused),
        T(load__missing_or_dangling__refused),
        T(load__symbolic_link__followed),
        T(load__no_permission__refused),
        T(load__path_too_long__refused),
        T(child__at_work__alone_and_with_a_deadline),
        T(child__parser_exits_crashes_or_babbles__told),
        T(child__hangs_for_ever__killed_at_the_deadline),
        T(child__cannot_be_killed__not_waited_for),
        T(child__its_parent_dies__dies_too),
        T(load__overrides__win_over_the_file),
        T(load__bad_overrides__told_with_the_file_s_errors),
        T(load__no_file__defaults_and_overrides),
    };

    probe = mmap(NULL, sizeof(*probe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("config_file", tests, NULL, NULL);
}
