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

static const struct outcome_row rows[OUTCOMES_N] = {
#define X(status, name, exit_code, text) [status] = {name, exit_code, text},
    OUTCOMES(X)
#undef X
};

static const struct {
    int error, outcome;
} errors[] = {
    {ECONNREFUSED, ARB_REFUSED},
    {ENOENT, ARB_REFUSED}, /* a unix socket that is not there */
    {ENETUNREACH, ARB_UNREACHABLE},
    {EHOSTUNREACH, ARB_UNREACHABLE},
    {ENETDOWN, ARB_UNREACHABLE},
    {EHOSTDOWN, ARB_UNREACHABLE},
    {EADDRNOTAVAIL, ARB_UNREACHABLE},
    {EAFNOSUPPORT, ARB_UNREACHABLE},
    {ETIMEDOUT, ARB_TIMEOUT},
    {ECONNRESET, ARB_RESET},
    {EPIPE, ARB_CLOSED},
    {ENOMEM, ARB_NOMEM},
};

const char *arb_status_name(int outcome)
{
    if (outcome < 0 || outcome >= OUTCOMES_N)
        return "error";
    return rows[outcome].name;
}

const char *arb_strerror(int outcome)
{
    const char *text = NULL;

    if (outcome >= 0 && outcome < OUTCOMES_N)
        return rows[outcome].text;
    if (outcome > -4096 && outcome < 0)
        text = strerrordesc_np(-outcome);
    return text ? text : "unknown error";
}

int outcome_exit(int outcome)
{
    if (outcome >= 0 && outcome < OUTCOMES_N)
        return rows[outcome].exit_code;
    if (outcome == -EACCES || outcome == -EPERM)
        return EX_NOPERM;
    return EX_OSERR;
}

int outcome_of(int error)
{
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        if (errors[i].error == error)
            return errors[i].outcome;
    return -error;
}

const char *arb_version(void)
{
    return ECHO_VERSION;
}
