/*
 * THE table of outcomes, turned into words. Pure.
 */
#include "client/status.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

static const struct {
    const char *name, *text;
} rows[] = {
    [ARB_OK] = {"ok", "done"},
    [ARB_TIMEOUT] = {"timeout", "timed out"},
    [ARB_REFUSED] = {"refused", "connection refused"},
    [ARB_UNREACHABLE] = {"unreachable", "no way to that address"},
    [ARB_UNRESOLVED] = {"unresolved", "unknown host"},
    [ARB_NO_RESOLVER] = {"no_resolver", "the name cannot be looked up just now"},
    [ARB_CLOSED] = {"closed", "connection closed before the reply"},
    [ARB_RESET] = {"reset", "connection reset before the reply"},
    [ARB_UNEXPECTED] = {"unexpected", "the server sent what nobody asked for"},
    [ARB_MISMATCH] = {"mismatch", "the reply is not the message"},
    [ARB_TOO_LONG] = {"too_long", "message too long"},
    [ARB_SEPARATOR] = {"separator", "message would end early: it has the separator in it"},
    [ARB_CANCELLED] = {"cancelled", "cancelled"},
    [ARB_POOL_CLOSED] = {"pool_closed", "the pool is closed"},
    [ARB_QUEUE_FULL] = {"queue_full", "too many calls are under way"},
    [ARB_BUSY] = {"busy", "not possible now: in use, or inside a callback"},
    [ARB_FORKED] = {"forked", "the client belongs to the parent process"},
    [ARB_INVALID] = {"invalid", "an argument is out of its range"},
    [ARB_BAD_ADDRESS] = {"bad_address",
                         "no address: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH"},
    [ARB_NOMEM] = {"nomem", "out of memory"},
};

static const struct {
    int error, status;
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

const char *arb_strerror(int status)
{
    const char *text;

    if (status >= 0)
        return status < (int)ARRAY_SIZE(rows) ? rows[status].text : "unknown status";
    text = status > -4096 ? strerrordesc_np(-status) : NULL;
    return text ? text : "unknown error";
}

const char *arb_status_name(int status)
{
    if (status >= 0 && status < (int)ARRAY_SIZE(rows))
        return rows[status].name;
    return "error";
}

const char *arb_version(void)
{
    return ECHO_VERSION;
}

int status_of_errno(int error)
{
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        if (errors[i].error == error)
            return errors[i].status;
    return -error;
}
