/*
 * The table of outcomes, turned into words and exit codes. Pure.
 */
#include "client/outcome.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "base/util.h"

struct outcome_row {
    const char *name;
    int exit_code;
    const char *text;
};

static const struct outcome_row rows[CALL_OUTCOMES_N] = {
#define X(id, status, name, exit_code, text) [CALL_##id] = {name, exit_code, text},
    CALL_OUTCOMES(X)
#undef X
};

static const struct {
    int error, outcome;
} errors[] = {
    {ECONNREFUSED, CALL_REFUSED},
    {ENOENT, CALL_REFUSED}, /* a unix socket that is not there */
    {ENETUNREACH, CALL_UNREACHABLE},
    {EHOSTUNREACH, CALL_UNREACHABLE},
    {ENETDOWN, CALL_UNREACHABLE},
    {EHOSTDOWN, CALL_UNREACHABLE},
    {EADDRNOTAVAIL, CALL_UNREACHABLE},
    {EAFNOSUPPORT, CALL_UNREACHABLE},
    {ETIMEDOUT, CALL_TIMEOUT},
    {ECONNRESET, CALL_RESET},
    {EPIPE, CALL_CLOSED},
    {ENOMEM, CALL_NO_MEMORY},
};

const char *call_outcome_name(int outcome)
{
    if (outcome < 0 || outcome >= CALL_OUTCOMES_N)
        return "error";
    return rows[outcome].name;
}

const char *call_outcome_text(int outcome)
{
    const char *text = NULL;

    if (outcome >= 0 && outcome < CALL_OUTCOMES_N)
        return rows[outcome].text;
    if (outcome > -4096 && outcome < 0)
        text = strerrordesc_np(-outcome);
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

int call_outcome_of(int error)
{
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        if (errors[i].error == error)
            return errors[i].outcome;
    return -error;
}

/* ---- for the library's users ---- */

const char *arb_strerror(int status)
{
    return call_outcome_text(status);
}

const char *arb_status_name(int status)
{
    return call_outcome_name(status);
}

const char *arb_version(void)
{
    return ECHO_VERSION;
}
