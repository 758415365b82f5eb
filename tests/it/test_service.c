/*
 * What makes a service of the server: what `make install` puts down and takes away again, the units
 * as systemd's own tools see them, log rotation, and the configuration that nobody has to name.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/installed.h"
#include "support/server.h"
#include "support/stranger.h"
#include "support/tool.h"

#define MAKE "make --no-print-directory B=\"$BUILD\" DESTDIR=\"$DEST\" "

/* ---- make install ---- */

/*
 * What systemd's own tools say of what is installed. The units are copies with the paths that they
 * have here; a manual page is there if its file is.
 */
static const char look_at_units[] =
    "mkdir \"$DEST/here\"\n"
    "for unit in service socket; do\n"
    "    sed \"s,=/usr/,=$DEST/usr/,\" \"$DEST/usr/lib/systemd/system/echo-arbiter.$unit\" \\\n"
    "        >\"$DEST/here/echo-arbiter.$unit\"\n"
    "done\n"
    "for page in $(sed -n 's/^Documentation=//p' \"$DEST\"/here/echo-arbiter.*); do\n"
    "    page=${page#man:} name=${page%(*} section=${page#*(}\n"
    "    test -s \"$DEST/usr/share/man/man${section%)}/$name.${section%)}\"\n"
    "done\n"
    "if command -v systemd-analyze; then\n"
    "    systemd-analyze --man=no verify \"$DEST\"/here/echo-arbiter.* 2>\"$DEST/here/said\"\n"
    "    cat \"$DEST/here/said\"; test ! -s \"$DEST/here/said\"\n"
    "    systemd-analyze security --offline=true --threshold=12 "
    "\"$DEST/here/echo-arbiter.service\"\n"
    "    systemd-sysusers --root=\"$DEST\" --dry-run 2>&1 | grep \"Creating user 'echo-arbiter'\"\n"
    "fi\n"
    "rm -r \"$DEST/here\"\n";

static void install__service__sound_and_gone_after_uninstall(void **state)
{
    struct it *it = *state;

    installed_run(it, "mkdir -p \"$DEST/usr/bin\" \"$DEST/etc\"\n"
                      "(cd \"$DEST\" && find . | LC_ALL=C sort) >\"$LOG.before\"\n" MAKE
                      "prefix=/usr install\n"
                      "test -s \"$DEST/etc/logrotate.d/echo-arbiter\"\n"
                      "cmp conf/echo.conf \"$DEST/etc/echo-arbiter/echo.conf\"\n");
    installed_run(it, look_at_units);
    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v systemd-analyze")) != 0)
        print_message("units not analyzed: there is no systemd-analyze here; apt-get install "
                      "systemd\n");
    installed_run(it, MAKE "prefix=/usr uninstall\n"
                           "(cd \"$DEST\" && find . | LC_ALL=C sort) | diff \"$LOG.before\" -\n");
}

/* Neither a second installation nor the end of it costs an operator's own configuration. */
static void install__configuration_changed__kept(void **state)
{
    installed_run(*state,
                  "conf=\"$DEST/etc/echo-arbiter/echo.conf\"\n"
                  "mkdir -p \"$DEST/etc/echo-arbiter\"\n"
                  "echo 'server = { backlog = 7; };' >\"$conf\"\n" MAKE "prefix=/usr install\n"
                  "grep -q 'backlog = 7' \"$conf\"\n" MAKE "prefix=/usr uninstall\n"
                  "grep -q 'backlog = 7' \"$conf\"\n"
                  "test ! -e \"$DEST/usr\"\n");
}

static void install__prefix_in_capitals__the_same(void **state)
{
    installed_run(*state,
                  MAKE "-n install PREFIX=/opt/echo sysconfdir=/etc >\"$LOG.capital\"\n" MAKE
                       "-n install prefix=/opt/echo sysconfdir=/etc >\"$LOG.small\"\n"
                       "cmp \"$LOG.capital\" \"$LOG.small\"\n"
                       "grep -q /opt/echo/lib/systemd/system/echo-arbiter.service \"$LOG.small\"\n"
                       "! grep -q /usr/local \"$LOG.small\"\n");
}

/* ---- what the unit forbids ---- */

/* The calls that its filter allows, one a line: what a line with ~ names is taken away again. */
static const char list_allowed[] =
    "calls() { for set in \"$@\"; do case $set in\n"
    "    @*) calls $(systemd-analyze syscall-filter \"$set\" | sed 's/ *#.*//; 1d') ;;\n"
    "    *) echo \"$set\" ;; esac; done; }\n"
    "mkdir \"$DEST\"\n"
    ": >\"$DEST/allowed\"\n"
    "sed -n 's/^SystemCallFilter=//p' conf/systemd/echo-arbiter.service.in | while read -r line; "
    "do\n"
    "    calls ${line#\\~} | sort >\"$DEST/sets\"\n"
    "    case $line in\n"
    "    \\~*) comm -23 \"$DEST/allowed\" \"$DEST/sets\" >\"$DEST/next\" ;;\n"
    "    *) sort -u \"$DEST/allowed\" \"$DEST/sets\" >\"$DEST/next\" ;; esac\n"
    "    mv \"$DEST/next\" \"$DEST/allowed\"\n"
    "done\n"
    "grep -q '^accept4$' \"$DEST/allowed\"; grep -q '^seccomp$' \"$DEST/allowed\"\n"
    "! grep -q '^setuid$' \"$DEST/allowed\"; ! grep -q '^sched_setaffinity$' \"$DEST/allowed\"\n";

static struct it *the_it;
static const char *allowed_path;

/* As the unit has it: somebody without a privilege, to whom other calls say EPERM. */
static void become_service(void)
{
    static const struct identity nobody = {NOBODY, NOBODY, 0};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    FILE *list = fopen(allowed_path, "re");
    char name[64];

    if (!list || !filter)
        _exit(97);
    if (getuid() == 0 && (chown(the_it->dir, NOBODY, NOBODY) < 0 ||
                          chown(getenv("RUNTIME_DIRECTORY"), NOBODY, NOBODY) < 0))
        _exit(99);
    if (getuid() == 0)
        stranger_become(&nobody);
    while (fgets(name, sizeof(name), list)) {
        name[strcspn(name, "\n")] = '\0';
        if (seccomp_syscall_resolve_name(name) >= 0) /* else this machine has no such call */
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 0);
    }
    if (seccomp_load(filter) < 0)
        _exit(98);
    seccomp_release(filter);
    fclose(list);
}

/* The server starts, serves, reloads, upgrades and stops. */
static void unit__calls_that_its_filter_allows__are_enough(void **state)
{
    struct it *it = *state;
    char *program = it_copy(it, it_build_path(it, "echo-arbiter"), "program", 0), conf[160];
    struct server *s;

    if (it_is_sanitized()) {
        print_message("skipped: sanitizers call more than the unit allows\n");
        skip();
    }
    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v systemd-analyze")) != 0) {
        print_message("skipped: there is no systemd-analyze here; apt-get install systemd\n");
        skip();
    }
    installed_run(it, list_allowed);
    snprintf(conf, sizeof(conf), "server: { bind = [\"127.0.0.1:0\", \"unix:%s\"]; };",
             it_path(it, "served.sock"));
    the_it = it;
    allowed_path = it_path(it, "dest/allowed");
    s = server_start(it, .binary = program, .in_child = become_service, .conf = conf);
    server_must_be_well(s, 2);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    server_wait_workers(s, 2);
    server_must_be_well(s, 2);
}

/* ---- log rotation ---- */

static void logrotate__server_runs__writes_to_the_new_file(void **state)
{
    struct it *it = *state;
    char conf[160];
    struct server *s;

    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v logrotate")) != 0) {
        print_message("skipped: there is no logrotate here; apt-get install logrotate\n");
        skip();
    }
    installed_run(it, "mkdir -m 755 \"$DEST\"\n");
    snprintf(conf, sizeof(conf), "log: { file = \"%s/echo.log\"; };", it_path(it, "dest"));
    s = server_start(it, .conf = conf);
    setenv("RUNTIME_DIRECTORY", s->run, 1);
    installed_run(it,
                  "sed \"s,@bindir@,$PWD/$BUILD,; /^ *su /d; s,/var/log/echo-arbiter,$DEST,\" \\\n"
                  "    conf/logrotate.d/echo-arbiter.in >\"$DEST/rotate\"\n"
                  "chmod 644 \"$DEST/rotate\"\n"
                  "logrotate -f -s \"$DEST/state\" \"$DEST/rotate\" >\"$DEST/said\" 2>&1\n"
                  "cat \"$DEST/said\"; test ! -s \"$DEST/said\"\n"
                  "grep -q 'log reopened' \"$DEST/echo.log\"\n"
                  "grep -q 'serving' \"$DEST/echo.log.1\"\n");
    unsetenv("RUNTIME_DIRECTORY");
}

static void reopen_logs__nobody_there__silent_if_that_is_allowed(void **state)
{
    struct it *it = *state;
    const struct tool_run r =
        RUN(it, NO_INPUT, "-C", it_path(it, "nobody"), "reopen-logs", "--if-running");
    const struct tool_run strict = RUN(it, NO_INPUT, "-C", it_path(it, "nobody"), "reopen-logs");

    tool_must_print(&r, "", 0);
    tool_must_fail(&strict, 69, "no server there");
}

/* ---- the configuration that nobody has named ---- */

#define BARE                                                                                       \
    .binary = "test/echo-arbiter", .is_bare = true,                                                \
    .args = {"-b", "127.0.0.1:0", "-w", "2", "--ready-fd", "3"}, .env = {hook}

static void configuration__not_named__default_is_read(void **state)
{
    struct it *it = *state;
    char hook[160], control[128], line[160];
    struct server *s;
    struct tool_run r;

    snprintf(hook, sizeof(hook), "ECHO_TEST_CONFIG=%s", it_path(it, "default.conf"));
    server_refuses(it, 0, "^// built-in defaults$", .binary = "test/echo-arbiter", .is_bare = true,
                   .args = {"-T"}, .env = {hook});
    it_write(it, "default.conf", "server: { backlog = 77; };");
    snprintf(line, sizeof(line), "^// %s$", it_path(it, "default.conf"));
    server_refuses(it, 0, line, .binary = "test/echo-arbiter", .is_bare = true, .args = {"-T"},
                   .env = {hook});
    s = server_start(it, BARE);
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "-C", control, "info");
    MUST(r.code == 0 && strstr(r.out, it_path(it, "default.conf")), "info says: %s", r.out);
    /* With -c nothing else is read. */
    server_refuses(it, 0, "backlog = 2048", .binary = "test/echo-arbiter", .args = {"-T"},
                   .env = {hook});
    /* A file that is there and wrong is no reason to go on without. */
    it_write(it, "default.conf", "server: { colour = 77; };");
    server_refuses(it, 78, "default.conf:1: server.colour", BARE);
}

/* Without a file at the start: the reload finds it, and from then on it is the server's. */
static void configuration__appears_later__reload_reads_it(void **state)
{
    struct it *it = *state;
    char hook[160];
    struct server *s;

    snprintf(hook, sizeof(hook), "ECHO_TEST_CONFIG=%s", it_path(it, "default.conf"));
    s = server_start(it, BARE);
    it_write(it, "default.conf", "server: { backlog = 77; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "key=server.backlog old=2048 new=77", 1);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    unlink(it_path(it, "default.conf"));
    server_expect(s, "cannot be read|reload refused");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(install__service__sound_and_gone_after_uninstall),
        IT(install__configuration_changed__kept),
        IT(install__prefix_in_capitals__the_same),
        IT(unit__calls_that_its_filter_allows__are_enough),
        IT(logrotate__server_runs__writes_to_the_new_file),
        IT(reopen_logs__nobody_there__silent_if_that_is_allowed),
        IT(configuration__not_named__default_is_read),
        IT(configuration__appears_later__reload_reads_it),
    };
    return it_run(tests);
}
