/*
 * An installation of a test's own: see installed.h.
 */
#include "support/installed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/must.h"
#include "conformance/peer.h"

/* What every script below can use; a fresh make must not hear of the one that runs the tests. */
static const char prelude[] =
    "set -eu\n"
    "unset MAKELEVEL MFLAGS\n"
    "export MAKEFLAGS=\"$(printf '%s' \"${MAKEFLAGS-}\" | sed 's/--jobserver-[a-z]*=[^ ]*//g')\"\n"
    "BUILD=${BUILD%/.} BUILD=${BUILD#\"$PWD/\"}\n" /* as make knows it: nothing is built again */
    "export PKG_CONFIG_LIBDIR=\"$DEST/usr/local/lib/pkgconfig\" PKG_CONFIG_SYSROOT_DIR=\"$DEST\"\n"
    "export LD_LIBRARY_PATH=\"$DEST/usr/local/lib\"\n"
    "lib=\"$DEST/usr/local/lib\" CC=\"${ECHO_CC:-cc}\"\n";

static int run_script(struct it *it, const char *script)
{
    char *text = NULL;
    int status = -1;
    pid_t pid;

    MUST(asprintf(&text, "%s%s", prelude, script) > 0, "no memory");
    pid = fork();
    if (pid == 0) {
        setenv("DEST", it_path(it, "dest"), 1);
        setenv("BUILD", it_build_path(it, "."), 1);
        setenv("LOG", it_path(it, "log"), 1);
        MUST(freopen(it_path(it, "log"), "a", stdout) && dup2(1, 2) == 2, "log");
        execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    MUST(pid > 0 && waitpid(pid, &status, 0) == pid, "sh");
    free(text);
    return status;
}

void installed_run(struct it *it, const char *script)
{
    char line[512];
    FILE *f;

    if (run_script(it, script) == 0)
        return;
    f = fopen(it_path(it, "log"), "re");
    while (f && fgets(line, sizeof(line), f))
        fprintf(stderr, "# %s", line);
    if (f)
        fclose(f);
    MUST(false, "this failed: %s", script);
}

void installed_make(struct it *it)
{
    installed_run(
        it, "make --no-print-directory install B=\"$BUILD\" DESTDIR=\"$DEST\" MADE=/dev/null");
}

void installed_must_say(struct it *it, const char *name, const char *want)
{
    char text[256] = "";
    FILE *f = fopen(it_path(it, name), "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

    if (f)
        fclose(f);
    MUST(n == strlen(want) && !memcmp(text, want, n), "it said \"%s\", not \"%s\"", text, want);
}

const char *installed_env(struct it *it)
{
    static const char format[] = "LD_LIBRARY_PATH=%s/usr/local/lib";
    const char *dest = it_path(it, "dest");
    const size_t size = sizeof(format) + strlen(dest);
    char *text = peer_alloc(size);

    snprintf(text, size, format, dest);
    return text;
}
