/*
 * The state over an exec: whatever is accepted is within its bounds, is packed again with the same
 * descriptors, and what is refused has closed none of them.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "support/inherited.h"

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void check(const struct arbiter *a, const struct upgrade_state *s)
{
    struct upgrade_state again;

    must(a->live->workers >= 1 && a->live->workers <= TR_SLOTS_MAX);
    must(a->n_children_used <= TR_RECORDS_MAX && a->live->number <= a->last_revision);
    for (uint32_t i = 0; i < a->n_children_used; i++)
        must(!a->children[i].pid ||
             (a->children[i].proc == i && a->children[i].slot <= TR_ALL_SLOTS_MAX));
    must(upgrade_state_pack(a, &again) == 0);
    qsort(again.fds, again.n_fds, sizeof(*again.fds), compare_ints);
    must(again.n_fds == s->n_fds && memcmp(again.fds, s->fds, s->n_fds * sizeof(*s->fds)) == 0);
    upgrade_state_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[ARBITER_WHY_LEN] = "";
    struct upgrade_state s;
    struct arbiter a;

    inherited_has_keepers = true;
    if (upgrade_state_decode((const char *)data, size, INHERITED_PROGRAM, INHERITED_PID, &s, why) !=
        0) {
        must(why[0] && memchr(why, 0, sizeof(why)));
        return 0;
    }
    why[0] = '\0';
    if (inherited_is_known(&s)) {
        if (inherited_unpack(&s, &a, why) == 0)
            check(&a, &s);
        else
            must(why[0] && memchr(why, 0, sizeof(why)) && inherited_are_open());
        inherited_fini(&a);
    }
    upgrade_state_fini(&s);
    return 0;
}
