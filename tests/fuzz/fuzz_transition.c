/*
 * Bytes as events against the transition engine, held against the model of tests/support. At the
 * end comes a stop, which must end.
 *
 * Byte 0: workers, and in its high bits actors of other kinds. Byte 1: records. Byte 2: the
 * jitter's seed. Then two bytes an event: what, and its argument.
 */
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/util.h"
#include "support/tr_model.h"

enum { RECORDS_MAX = 24 };

static struct tr_model model;

static void check(void)
{
    if (!model.broken[0])
        return;
    fprintf(stderr, "%s\n%s\n", model.broken, model.trace);
    abort();
}

static void all_of(enum tr_phase phase, enum tr_event_kind kind)
{
    for (uint32_t i = 0; i < model.n_procs; i++)
        if (model.procs[i].phase == phase)
            tr_model_kind(&model, kind, i);
}

/* The set of a reload may be any, also one that makes no sense. */
static void reload_oddly(uint8_t arg)
{
    struct tr_event ev = {.kind = TR_EV_RELOAD, .set = tr_model_set(&model, arg >> 4)};

    if (arg & 1)
        ev.set.revision = 0;
    if (arg & 2)
        ev.set = model.live;
    if (arg & 4)
        ev.set.exit_timeout_ms = UINT32_MAX;
    if (arg & 8)
        ev.set.boot_timeout_ms = 1;
    tr_model_event(&model, &ev);
}

static void take(uint8_t what, uint8_t arg)
{
    static const uint32_t units_ms[] = {1, 10, 100, 1000};

    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        tr_model_advance(&model, model.now_ms + arg * units_ms[what % 16]);
        break;
    case 4:
    case 5:
        tr_model_kind(&model, TR_EV_READY, arg % RECORDS_MAX);
        break;
    case 6:
    case 7:
        tr_model_event(&model, &(struct tr_event){.kind = TR_EV_EXITED,
                                                  .proc = arg % RECORDS_MAX,
                                                  .was_killed = what % 2,
                                                  .is_missed = (what & 16) != 0});
        break;
    case 8:
        tr_model_kind(&model,
                      what & 16   ? TR_EV_WANTS_HEIR
                      : what & 32 ? TR_EV_TOLD
                                  : TR_EV_DRAINS,
                      arg % RECORDS_MAX);
        break;
    case 9:
        tr_model_kind(&model, TR_EV_FORK_FAILED, arg % RECORDS_MAX);
        break;
    case 10:
        if (what & 16)
            tr_model_event(&model, &(struct tr_event){.kind = TR_EV_ONE_MORE, .other = arg});
        else
            tr_model_event(&model, &(struct tr_event){.kind = TR_EV_SCALE, .workers = arg});
        break;
    case 11:
        tr_model_reload(&model, arg % RECORDS_MAX);
        break;
    case 12:
        reload_oddly(arg);
        break;
    case 13:
        all_of(TR_STARTING, TR_EV_READY);
        break;
    case 14:
        all_of((enum tr_phase)(arg % TR_PHASES), TR_EV_EXITED);
        break;
    default: /* rarely, or little else would be seen */
        if (what & 32)
            tr_model_upgrade(&model);
        else if (arg < 16)
            tr_model_event(&model,
                           &(struct tr_event){.kind = TR_EV_STOP, .is_quick = arg % 2 != 0});
        else
            tr_model_kind(&model, (enum tr_event_kind)(arg % 16), (uint32_t)arg * 977);
        break;
    }
}

static void fail_unless(bool fact, const char *what)
{
    if (fact)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* Everything that is killed is reaped: then the end comes within the timeout and the grace. */
static void stop(bool is_quick)
{
    const uint64_t bound_ms = model.now_ms + model.live.exit_timeout_ms + TR_KILL_GRACE_MS;

    if (!model.is_stopping || is_quick)
        tr_model_event(&model, &(struct tr_event){.kind = TR_EV_STOP, .is_quick = is_quick});
    fail_unless(model.stop_ms <= bound_ms, "the stop takes too long");
    tr_model_advance(&model, model.stop_ms + (model.companions ? TR_QUICK_GRACE_MS : 0));
    check();
    all_of(TR_KILLED, TR_EV_EXITED);
    check();
    fail_unless(model.is_stopped, "the stop does not end");
    fail_unless(transition_deadline(&model.engine) == UINT64_MAX, "a deadline after the end");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    tr_model_init_kinds(&model, 1 + data[0] % 8, data[0] >> 6, (data[0] >> 4) & 3,
                        1 + data[1] % RECORDS_MAX, data[2], NULL, NULL);
    model.companions = data[0] & 8 ? 6 : 0; /* of each set but the first */
    model.brief = data[1] & 64 ? 1 : 0;
    check();
    for (size_t i = 3; i + 1 < size && i < 4096; i += 2) {
        take(data[i], data[i + 1]);
        check();
    }
    stop(data[2] % 2);
    return 0;
}
