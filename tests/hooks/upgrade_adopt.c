/*
 * A new image of the test build hangs before it has taken over, if the file that ECHO_TEST_HOOK
 * names says "adopt". Its dry run does not, and the file goes: the image after it does not either.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/upgrade.h"
#include "arbiter/upgrade_state.h"

int __real_upgrade_inherit(struct arbiter *a, const struct upgrade_state *s, char *why);
int __wrap_upgrade_inherit(struct arbiter *a, const struct upgrade_state *s, char *why);

int __wrap_upgrade_inherit(struct arbiter *a, const struct upgrade_state *s, char *why)
{
    const char *path = getenv("ECHO_TEST_HOOK");
    FILE *f = path && s->pid == (uint64_t)getpid() ? fopen(path, "re") : NULL;
    char what[16] = "";

    if (f && fscanf(f, "%15s", what) == 1 && strcmp(what, "adopt") == 0) {
        unlink(path);
        for (;;)
            pause();
    }
    if (f)
        fclose(f);
    return __real_upgrade_inherit(a, s, why);
}
