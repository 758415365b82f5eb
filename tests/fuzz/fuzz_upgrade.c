/*
 * The state over an exec: whatever decode accepts is within its bounds, and encode and decode agree
 * on it.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "arbiter/transition.h"
#include "arbiter/upgrade_state.h"

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static void check_fds(const struct upgrade_state *s)
{
    size_t n;
    int *fds;

    must(upgrade_state_fds(s, &fds, &n) == 0);
    for (size_t i = 0; i < n; i++)
        must(fds[i] > 2 && (i == 0 || fds[i] > fds[i - 1]));
    free(fds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[STATE_WHY_LEN] = "", *text, *again;
    struct upgrade_state s, t;
    size_t len, len_again;

    if (upgrade_state_decode((const char *)data, size, &s, why) != 0) {
        must(why[0] && memchr(why, 0, sizeof(why)));
        return 0;
    }
    must(s.workers <= TR_SLOTS_MAX && s.n_children <= TR_RECORDS_MAX);
    for (size_t i = 0; i < s.n_children; i++)
        must(s.children[i].record < TR_RECORDS_MAX && s.children[i].slot <= TR_SLOTS_MAX);
    check_fds(&s);
    must(upgrade_state_encode(&s, &text, &len) == 0);
    must(upgrade_state_decode(text, len, &t, why) == 0);
    must(upgrade_state_encode(&t, &again, &len_again) == 0);
    must(len == len_again && memcmp(text, again, len) == 0);
    free(text);
    free(again);
    upgrade_state_fini(&s);
    upgrade_state_fini(&t);
    return 0;
}
