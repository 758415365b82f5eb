/*
 * The table of outcomes, turned into words and exit codes. Pure.
 */
#include "client/outcome.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

struct outcome_row {
    const char *name;
    int exit_code;
    const char *text;
};

static const struct outcome_row rows[CALL_OUTCOMES_N] = {
#define X(id, name, exit_code, text) [CALL_##id] = {name, exit_code, text},
    CALL_OUTCOMES(X)
#undef X
};

const char *call_outcome_name(int outcome)
{
    if (outcome < 0 || outcome >= CALL_OUTCOMES_N)
        return "error";
    return rows[outcome].name;
}

const char *call_outcome_text(int outcome)
{
    const char *text;

    if (outcome >= 0 && outcome < CALL_OUTCOMES_N)
        return rows[outcome].text;
    text = strerrordesc_np(outcome < 0 ? -outcome : outcome);
    return text ? text : "unknown error";
}

int call_outcome_exit(int outcome)
{
    if (outcome >= 0 && outcome < CALL_OUTCOMES_N)
        return rows[outcome].exit_code;
    if (outcome == -EACCES || outcome == -EPERM)
        return EX_NOPERM;
    return EX_OSERR;
}
