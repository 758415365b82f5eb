/*
 * The library as its users meet it: `make install` below an empty directory, a program that knows
 * nothing but pkg-config, headers for C99 and C++, and no symbol that is not arb_*.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/installed.h"
#include "support/server.h"
#include "support/tool.h"

static void install__a_program_of_twenty_lines__builds_and_runs(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);

    installed_make(it);
    setenv("ADDR", s->addr[0], 1);
    installed_run(it, "$CC -std=c99 -pedantic-errors -Wall -Wextra -Werror examples/hello.c \\\n"
                      "    $(pkg-config --cflags --libs arbiter-client) -o \"$DEST/hello\"\n"
                      "\"$DEST/hello\" \"$ADDR\" >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "Hello!\n");
    installed_run(
        it, "$CC -x c++ -std=c++11 -pedantic-errors -Wall -Wextra -Werror examples/hello.c \\\n"
            "    $(pkg-config --cflags --libs arbiter-client) -o \"$DEST/hello++\"\n"
            "\"$DEST/hello++\" \"$ADDR\" >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "Hello!\n");
    installed_run(
        it,
        "$CC examples/hello.c $(pkg-config --cflags arbiter-client) -o \"$DEST/hello-static\" \\\n"
        "    \"$lib/libarbiter-client.a\" $(pkg-config --libs --static arbiter-client |\n"
        "    sed 's/-larbiter-client//')\n"
        "unset LD_LIBRARY_PATH\n"
        "\"$DEST/hello-static\" \"$ADDR\" >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "Hello!\n");
}

/* The same as C and as C++, with the shared library and with the static one. */
static void install__a_server__builds_and_serves(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(it, "$CC -std=c99 -pedantic-errors -Wall -Wextra -Werror tests/tools/tiny.c \\\n"
                      "    $(pkg-config --cflags --libs arbiter) -o \"$DEST/tiny\"\n"
                      "\"$DEST/tiny\" --version >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "tiny 1.5\n");
    installed_run(
        it,
        "$CC -x c++ -std=c++20 -pedantic-errors -Wall -Wextra -Wno-missing-field-initializers \\\n"
        "    -Werror tests/tools/tiny.c $(pkg-config --cflags --libs arbiter) -o \"$DEST/tiny++\"\n"
        "\"$DEST/tiny++\" --version >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "tiny 1.5\n");
    installed_run(
        it, "$CC tests/tools/tiny.c $(pkg-config --cflags arbiter) -o \"$DEST/tiny-static\" \\\n"
            "    \"$lib/libarbiter.a\" $(pkg-config --libs --static arbiter |\n"
            "    sed 's/-larbiter//')\n"
            "unset LD_LIBRARY_PATH\n"
            "\"$DEST/tiny-static\" --version >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "tiny 1.5\n");
}

/* What the caller compiled is not what the library is, or it is wrong: a sentence and exit code 70.
 */
static void install__a_wrong_program__says_what_is_wrong(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(
        it, "cat >\"$DEST/wrong.c\" <<'END'\n"
            "#include <arbiter/server.h>\n"
            "int main(int argc, char **argv)\n"
            "{\n"
            "    static const struct arb_program program = ARB_PROGRAM(.name = \"Wrong\",\n"
            "        .version = \"1\");\n"
            "    return arb_main_abi(argc > 1 ? ARB_ABI + 1 : ARB_ABI, &program, argc, argv);\n"
            "}\n"
            "END\n"
            "$CC \"$DEST/wrong.c\" $(pkg-config --cflags --libs arbiter) -o \"$DEST/wrong\"\n"
            "rc=0; \"$DEST/wrong\" 2>\"$DEST/said\" || rc=$?; test $rc = 70\n");
    installed_must_say(
        it, "dest/said",
        "wrong: the program's name is \"Wrong\", allowed: 1 to 31 of a to z, 0 to 9 and -, a "
        "letter first\n");
    installed_run(it, "rc=0; \"$DEST/wrong\" -t 2>\"$DEST/said\" || rc=$?; test $rc = 70\n");
    installed_must_say(
        it, "dest/said",
        "wrong: the program was compiled for ABI 2 of libarbiter, and this library has 1: "
        "compile it with the headers of this one\n");
}

/* A crash names where it was in both of them, whatever the process title says by then. */
static void install__worker_crashes__library_and_program_are_named(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(
        it, "$CC tests/tools/tiny.c $(pkg-config --cflags --libs arbiter) -o \"$DEST/tiny\"\n");
    struct server *s =
        server_start(it, .binary = it_path(it, "dest/tiny"), .env = {installed_env(it)});
    server_expect(s, "msg=\"(worker (crashes|died)|backtrace|crash)\"");
    kill(server_worker(s, 0), SIGSEGV);
    server_wait_log(s, "libarbiter.so.0[^ ]*\\+0x", 1);
    server_wait_log(s, " tiny\\+0x", 1);
    server_wait_log(s, "msg=\"?crash\"? ", 1); /* the arbiter has it, and names both as well */
    char control[108];
    snprintf(control, sizeof(control), "%s/control", s->run);
    const struct tool_run r = RUN(it, NO_INPUT, "-C", control, "crashes", "show", "1");
    MUST(r.code == 0 && strstr(r.out, " libarbiter.so.0") && strstr(r.out, " tiny+0x"),
         "frames without both names: %s", r.out);
    server_wait_workers(s, 2);
}

static void install__headers__each_alone_in_c99_and_cpp(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(
        it,
        "for header in \"$DEST\"/usr/local/include/arbiter/*.h; do\n"
        "    header=${header##*/}\n"
        "    for language in 'c -std=c99' 'c -std=c11' 'c++ -std=c++11' 'c++ -std=c++20'; do\n"
        "        printf '#include <arbiter/%s>\\n#include <arbiter/%s>\\n' $header $header |\n"
        "            $CC -x $language -pedantic-errors -Wall -Wextra -Wundef -Wshadow -Werror \\\n"
        "            $(pkg-config --cflags arbiter-client) -fsyntax-only -\n"
        "    done\n"
        "done\n");
}

/* What the tutorial prints is what compiles, and its first program is the example. */
static void install__programs_of_the_tutorial__compile_and_check_their_configuration(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(it, "mkdir \"$DEST/tutorial\"\n"
                      "awk -v dir=\"$DEST/tutorial/\" '\n"
                      "    /^[.]Bd -literal$/ { on = 1; file = \"\"; next }\n"
                      "    /^[.]Ed$/ { on = 0 }\n"
                      "    on && !file { match($0, /cc [a-z]+[.]c/)\n"
                      "                  file = dir substr($0, RSTART + 3, RLENGTH - 3) }\n"
                      "    on { gsub(/\\\\e/, \"\\\\\"); print >file }\n"
                      "' man/arbiter-tutorial.7\n"
                      "cmp \"$DEST/tutorial/shout.c\" examples/shout.c\n"
                      "for name in shout names later; do\n"
                      "    $CC -std=c99 -Wall -Wextra -Werror \"$DEST/tutorial/$name.c\" \\\n"
                      "        $(pkg-config --cflags --libs arbiter) -o \"$DEST/$name\"\n"
                      "    \"$DEST/$name\" -t | grep -q valid\n"
                      "done\n"
                      "! \"$DEST/shout\" -t -o shout.max_line=2MiB\n"
                      "\"$DEST/shout\" -T | grep -q 'max_line = \"64KiB\"'\n");
}

static void install__symbols__only_arb(void **state)
{
    struct it *it = *state;

    if (it_is_sanitized()) {
        printf("# skipped: a sanitizer adds symbols of its own\n");
        skip();
    }
    installed_make(it);
    installed_run(
        it,
        "for name in arbiter arbiter-client; do\n"
        "    nm -D --defined-only \"$lib/lib$name.so.0\" | grep -v ' A ARB_0$' >\"$DEST/shared\"\n"
        "    nm -g --defined-only \"$lib/lib$name.a\" | grep -E ' [A-Z] ' >\"$DEST/static\"\n"
        "    ! grep -vE ' T arb_[a-z_]+@@ARB_0$' \"$DEST/shared\"\n"
        "    ! grep -vE ' T arb_[a-z_]+$' \"$DEST/static\"\n"
        "    for list in shared static; do\n"
        "        sed 's/.* //; s/@.*//' \"$DEST/$list\" | sort >\"$DEST/$name.$list\"\n"
        "    done\n"
        "    diff \"$DEST/$name.static\" \"$DEST/$name.shared\"\n"
        "    readelf -d \"$lib/lib$name.so\" | grep -q \"soname: .lib$name.so.0.\"\n"
        "done\n"
        /* What the headers declare is there, and what is there is declared. */
        "declared() { printf '#include <arbiter/%s.h>\\n' \"$@\" |\n"
        "    $CC -E -P $(pkg-config --cflags arbiter) -x c - | tr '\\n;' ' \\n' |\n"
        "    grep -v 'typedef ' | grep -oE '\\barb_[a-z_]+ *\\(' |\n"
        "    tr -d ' (' | sort -u; }\n"
        "declared client control >\"$DEST/declared\"\n"
        "diff \"$DEST/declared\" \"$DEST/arbiter-client.shared\"\n"
        "declared server frame >\"$DEST/declared\"\n"
        "diff \"$DEST/declared\" \"$DEST/arbiter.shared\"\n"
        /* Tests of authors find everything that a server finds. */
        "declared server frame testing >\"$DEST/declared\"\n"
        "nm -g --defined-only \"$lib/libarbiter-testing.a\" | sed -n 's/.* [A-Z] //p' | sort |\n"
        "    diff \"$DEST/declared\" -\n"
        /* Nothing in it can end the process, print, or change a signal. */
        "nm -D --undefined-only \"$lib/libarbiter-client.so.0\" | sed 's/.* //; s/@.*//' \\\n"
        "    >\"$DEST/used\"\n"
        "! grep -xE "
        "'exit|_exit|abort|printf|puts|perror|write|signal|sigaction|raise|kill|environ|getenv|"
        "setlocale|srand|rand' \"$DEST/used\"\n");
}

static void uninstall__after_install__nothing_left(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(it, "test -x \"$DEST/usr/local/bin/echo-client\"\n"
                      "test -f \"$DEST/usr/local/share/man/man3/libarbiter-client.3\"\n"
                      "make --no-print-directory uninstall B=\"$BUILD\" DESTDIR=\"$DEST\"\n"
                      "! find \"$DEST\" ! -type d | grep .\n");
}

/* On a machine that has make, and none of what the build needs. */
static void make__packages_missing__one_line_that_names_them(void **state)
{
    struct it *it = *state;
    char script[512];
    snprintf(script, sizeof(script),
             "mkdir %s/bin; for t in sh make nproc tr sort xargs; do ln -s $(command -v $t) "
             "%s/bin/$t; done; ln -s /bin/echo %s/bin/echo; unset MAKEFLAGS MAKELEVEL; "
             "PATH=%s/bin exec make B=%s/build CC=gcc",
             it->dir, it->dir, it->dir, it->dir, it->dir);
    const char *const argv[] = {"sh", "-c", script, NULL};
    MUST(it_tool_run(it, "make.log", argv) == 2, "it does not fail");
    MUST_COME(it_file_has(it_path(it, "make.log"), "missing packages: gcc .*apt-get install gcc "),
              "not named");
    MUST(it_count_lines(it_path(it, "make.log"), "") == 1, "more than one line");
    MUST(access(it_path(it, "build"), F_OK) < 0, "something is left");
}

static void make__compiler_missing__one_line_that_names_it(void **state)
{
    struct it *it = *state;
    char script[256];
    snprintf(script, sizeof(script), "unset MAKEFLAGS MAKELEVEL; exec make B=%s/build CC=nosuchcc",
             it->dir);
    const char *const argv[] = {"sh", "-c", script, NULL};
    MUST(it_tool_run(it, "make.log", argv) == 2, "it does not fail");
    MUST_COME(it_file_has(it_path(it, "make.log"), "there is no compiler nosuchcc"), "not named");
    MUST(it_count_lines(it_path(it, "make.log"), "") == 1, "more than one line");
    MUST(access(it_path(it, "build"), F_OK) < 0, "something is left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(install__a_program_of_twenty_lines__builds_and_runs),
        IT(install__a_server__builds_and_serves),
        IT(install__a_wrong_program__says_what_is_wrong),
        IT(install__worker_crashes__library_and_program_are_named),
        IT(install__headers__each_alone_in_c99_and_cpp),
        IT(install__programs_of_the_tutorial__compile_and_check_their_configuration),
        IT(install__symbols__only_arb),
        IT(uninstall__after_install__nothing_left),
        IT(make__packages_missing__one_line_that_names_them),
        IT(make__compiler_missing__one_line_that_names_it),
    };

    return it_run(tests);
}
