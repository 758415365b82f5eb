/*
 * Asking the server over its control socket, and saying what its answers mean when they are no.
 */
#include "cmd/echo_client_operator.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/util.h"
#include "client/deadlines.h"
#include "client/human.h"

enum { NAME_MS = 1000 }; /* that a server has to name itself: a command does not wait for that */

#define SYSTEM_SOCKET "/run/echo-arbiter/control"

/* ---- what went wrong, and what to do next ---- */

static const struct {
    const char *code;
    int exit_code;
    const char *advice; /* NULL = the message says it all */
} errors[] = {
    {"bad_request", EX_PROTOCOL, "are client and server of the same version?"},
    {"unknown_command", EX_USAGE, "list them with: echo-client commands"},
    {"unknown_actor", EX_USAGE, "list them with: echo-client actors"},
    {"bad_argument", EX_USAGE, "list what is allowed with: echo-client commands"},
    {"not_allowed", EX_NOPERM, NULL},
    {"timeout", EX_TEMPFAIL, "see how it goes on with: echo-client info"},
    {"gone", EX_UNAVAILABLE, "see who is there with: echo-client actors"},
    {"busy", EX_TEMPFAIL, "try again later"},
    {"superseded", EX_TEMPFAIL, NULL},
    {"config", EX_CONFIG, "nothing has changed; check the file with: echo-arbiter -t -c FILE"},
    {"needs_restart", EX_CONFIG,
     "nothing has changed; put back the old value, or stop the server and start it anew"},
    {"groups_lost", EX_CONFIG,
     "nothing has changed; if it is meant, take it with: echo-client reload --force"},
    {"rollback", EX_CONFIG, "everything is as it was before; the server's log says more"},
    {"not_opened", EX_CANTCREAT, "mend that; the server tries again by itself"},
    {"stopping", EX_UNAVAILABLE, "start a new one when it has stopped"},
    {"internal", EX_SOFTWARE, "the server's log may say more"},
    {"", EX_SOFTWARE, NULL}, /* of a command of the program's own */
};

static size_t find_error(const char *code)
{
    size_t i = 0;

    while (i + 1 < ARRAY_SIZE(errors) && strcmp(errors[i].code, code) != 0)
        i++;
    return i; /* the last: any other */
}

int operator_error_exit(const char *code)
{
    return errors[find_error(code)].exit_code;
}

static const char *advise(int outcome)
{
    switch (outcome) {
    case ARB_REFUSED:
        return "is echo-arbiter running? name its arbiter.control with -C, or its address with -a";
    case ARB_TIMEOUT:
        return "allow more time with --timeout TIME; is the arbiter stopped or very busy?";
    case ARB_CLOSED:
    case ARB_RESET:
        return "has the arbiter ended, or has it too many control clients?";
    case -EBADMSG:
    case -EMSGSIZE:
        return "is this the control socket of an echo-arbiter of the same version?";
    case -EACCES:
    case -EPERM:
        return "run this as root, as the user whose server it is, or as a member of its "
               "arbiter.control_group";
    default:
        return NULL;
    }
}

int operator_fail(const struct operator* o, int outcome)
{
    const char *why = why_no_socket(o->path);
    const char *next, *text;
    char message[512];
    int exit_code;

    /* connect(2) asks for permission before it looks at what is there. */
    if (outcome == -EACCES && why)
        outcome = ARB_REFUSED;
    next = advise(outcome);
    text = arb_strerror(outcome);
    exit_code = outcome_exit(outcome);
    if (outcome == -EBADMSG || outcome == -EMSGSIZE) {
        text = "that is no answer to the request";
        exit_code = EX_PROTOCOL;
    } else if (outcome == -EILSEQ) {
        text = "not UTF-8";
        exit_code = EX_USAGE;
    } else if (outcome == ARB_REFUSED) {
        text = why ? why : "no server there";
    } else if (outcome == ARB_TIMEOUT) {
        text = "no answer in time";
    } else if (outcome == ARB_CLOSED) {
        text = "connection closed before the answer";
    }
    snprintf(message, sizeof(message), "%s: %s%s%s%s%s", o->path, o->command ? o->command : "",
             o->command ? ": " : "", text, next ? ": " : "", next ? next : "");
    return fail_say(o->tool, arb_status_name(outcome), message, exit_code);
}

static void print_details(const json_t *details)
{
    const json_t *value;
    size_t i;

    json_array_foreach(details, i, value)
    {
        const char *text = json_string_value(value);
        char *copy = text ? strdup(text) : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        if (copy)
            fprintf(stderr, "  %s\n", human_clean(copy));
        free(copy);
    }
}

int operator_refused(const struct operator* o, const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    size_t row = find_error(json_string_value(json_object_get(error, "code")));
    const char *next = errors[row].advice;
    char message[1024], cause[768];
    bool is_named;
    int rc;

    snprintf(cause, sizeof(cause), "%s", json_string_value(json_object_get(error, "message")));
    if (strstr(cause, ", allowed: "))
        next = NULL; /* it has been said */
    is_named = strncmp(cause, o->command, strlen(o->command)) == 0;
    snprintf(message, sizeof(message), "%s%s%s%s%s", is_named ? "" : o->command,
             is_named ? "" : ": ", human_clean(cause), next ? ": " : "", next ? next : "");
    if (o->tool->is_json)
        out_answer(json_incref((json_t *)answer));
    rc = fail_say(o->tool, NULL, message, errors[row].exit_code);
    if (rc != EXIT_PIPE)
        print_details(json_object_get(error, "details"));
    return rc;
}

/* ---- asking ---- */

static int operator_locate(struct operator* o, struct tool *t)
{
    const char *service = getenv("RUNTIME_DIRECTORY");
    struct runtime_path place;
    int rc = 0;

    *o = (struct operator){.tool = t};
    control_call_init(&o->call);
    if (t->control) {
        snprintf(o->path, sizeof(o->path), "%s", t->control);
        return 0;
    }
    rc = runtime_path_default("echo-arbiter", service, getenv("XDG_RUNTIME_DIR"), geteuid() == 0,
                              &place);
    /* Who has no server of his own may ask the system's, if he is in its group. */
    if (!service && (rc || access(place.socket, F_OK) < 0) && access(SYSTEM_SOCKET, F_OK) == 0) {
        strcpy(o->path, SYSTEM_SOCKET);
        return 0;
    }
    if (rc)
        return fail_say(o->tool, "refused",
                        rc == -ENOENT ? "there is no default place for the control socket without "
                                        "$XDG_RUNTIME_DIR: give its path with -C"
                                      : "the runtime directory's path is too long for a socket: "
                                        "give the control socket's path with -C",
                        EX_UNAVAILABLE);
    memcpy(o->path, place.socket, sizeof(o->path));
    return 0;
}

/* ---- one of several servers ---- */

/* What `info` says, or NULL. Nothing is reported: it is not what was asked for. */
static json_t *ask_info(struct operator* o)
{
    json_t *answer = NULL, *info = NULL;

    if (control_call_post(&o->call, "info", NULL, NULL) == 0 &&
        control_call_wait(&o->call, o->deadline_ns, &answer) == 0)
        info = json_incref(json_object_get(answer, "result"));
    json_decref(answer);
    return info;
}

/* Is it where who connects to @wanted gets to? */
static bool is_bound_to(const char *bound, const struct addr *wanted)
{
    static const struct in_addr any;
    struct sockaddr_storage x, y;
    socklen_t x_len, y_len;
    const char *at = strchr(bound, '@'), *why;
    struct addr a;

    if (addr_parse(at ? at + 1 : bound, &a, &why) < 0)
        return false;
    if (a.kind == ADDR_UNIX || wanted->kind == ADDR_UNIX)
        return a.kind == wanted->kind && strcmp(a.path, wanted->path) == 0;
    if (a.port != wanted->port)
        return false;
    if (wanted->kind == ADDR_ANY || a.kind == ADDR_ANY || addr_to_sockaddr(&a, &x, &x_len) < 0 ||
        addr_to_sockaddr(wanted, &y, &y_len) < 0)
        return true;
    if (x.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&x)->sin6_addr))
        return true;
    if (x.ss_family != y.ss_family)
        return false;
    return (x.ss_family == AF_INET &&
            memcmp(&((struct sockaddr_in *)&x)->sin_addr, &any, sizeof(any)) == 0) ||
           memcmp(&x, &y, x_len) == 0;
}

static bool has_address(const json_t *info, const struct addr *wanted)
{
    const json_t *bound;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(info, "arbiter"), "binds"), i, bound)
    {
        if (json_is_string(bound) && is_bound_to(json_string_value(bound), wanted))
            return true;
    }
    return false;
}

/* To that place, if a server is there. */
static int try_place(struct operator* o, const char *socket, unsigned n)
{
    char path[RUNTIME_PATH_MAX];

    if (runtime_path_nth(socket, n, path) < 0 || access(path, F_OK) < 0)
        return ARB_REFUSED;
    memcpy(o->path, path, sizeof(path));
    return control_call_connect(&o->call, path, o->deadline_ns);
}

/* Of those that are where a server of this user would be, the one of this address. */
static int find_by_address(struct operator* o, const char *socket)
{
    char message[512];
    unsigned n_seen = 0;

    for (unsigned n = 1; n <= RUNTIME_SERVERS_MAX; n++) {
        json_t *info = NULL;
        bool is_it;

        if (try_place(o, socket, n) != 0)
            continue;
        n_seen++;
        info = ask_info(o);
        is_it = has_address(info, &o->tool->address);
        json_decref(info);
        if (is_it)
            return 0;
    }
    control_call_close(&o->call);
    snprintf(message, sizeof(message),
             "-a %s: no server that listens there has its control socket at %s%s: %s",
             o->tool->address_text, socket, n_seen > 1 ? " or beside it" : "",
             n_seen > 0 ? "see where they listen with: echo-client info; or name the socket with -C"
                        : "name its control socket with -C");
    return fail_say(o->tool, "refused", message, EX_UNAVAILABLE);
}

/* Which of them is meant could not be told: say so. */
static void warn_of_others(const struct operator* o, const char *socket)
{
    struct operator other = {.tool = o->tool, .deadline_ns = o->deadline_ns};

    for (unsigned n = 1; n <= RUNTIME_SERVERS_MAX; n++) {
        int rc;

        control_call_init(&other.call);
        rc = try_place(&other, socket, n);
        control_call_fini(&other.call);
        if (rc != 0 || strcmp(other.path, o->path) == 0)
            continue;
        fprintf(
            stderr,
            "echo-client: warning: another server has its control socket at %s, this is the one "
            "at %s: say which is meant with -a ADDR or -C PATH\n",
            other.path, o->path);
        return;
    }
}

static int find_any(struct operator* o, const char *socket)
{
    int rc = control_call_connect(&o->call, socket, o->deadline_ns);

    for (unsigned n = 2; rc == ARB_REFUSED && n <= RUNTIME_SERVERS_MAX; n++)
        rc = try_place(o, socket, n);
    if (rc == 0)
        warn_of_others(o, socket);
    else
        strcpy(o->path, socket);
    return rc;
}

const char *operator_name(const struct operator* o, char *buf)
{
    struct operator other = {.deadline_ns = MIN(o->deadline_ns, deadline_after_ms(NAME_MS))};
    json_t *info = NULL, *bound;
    size_t i, len = 0;

    /* On a connection of its own: where it is never answered, what is asked for is carried out. */
    control_call_init(&other.call);
    if (control_call_connect(&other.call, o->path, other.deadline_ns) == 0)
        info = ask_info(&other);
    control_call_fini(&other.call);
    buf[0] = '\0';
    if (o->call.peer > 0)
        len = (size_t)snprintf(buf, OPERATOR_NAME_LEN, "pid %d", (int)o->call.peer);
    json_array_foreach(json_object_get(json_object_get(info, "arbiter"), "binds"), i, bound)
    {
        const char *text = json_string_value(bound);

        if (!text || len + strlen(text) + sizeof(", ") > OPERATOR_NAME_LEN)
            break;
        len += (size_t)snprintf(buf + len, OPERATOR_NAME_LEN - len, "%s%s",
                                i > 0     ? " "
                                : len > 0 ? ", "
                                          : "",
                                text);
    }
    json_decref(info);
    return human_clean(buf);
}

int operator_open(struct operator* o, struct tool *t, uint64_t slow_ms)
{
    int rc = operator_locate(o, t);
    char socket[RUNTIME_PATH_MAX];

    if (rc)
        return rc;
    memcpy(socket, o->path, sizeof(socket));
    o->deadline_ns = deadline_after_ms(t->has_timeout || slow_ms == 0 ? t->timeout_ms : slow_ms);
    if (t->has_address)
        return find_by_address(o, socket);
    rc = t->control ? control_call_connect(&o->call, o->path, o->deadline_ns) : find_any(o, socket);
    if (rc == ARB_REFUSED && t->is_optional)
        return OPERATOR_NOBODY;
    return rc ? operator_fail(o, rc) : 0;
}

void operator_close(struct operator* o)
{
    control_call_fini(&o->call);
}

int operator_ask(struct operator* o, const char *command, const char *target, json_t *args,
                 json_t **ret_result)
{
    json_t *answer = NULL, *result;
    int rc;

    o->command = command;
    rc = control_call_post(&o->call, command, target, args);
    if (rc == 0)
        rc = control_call_wait(&o->call, o->deadline_ns, &answer);
    if (rc)
        return operator_fail(o, rc);
    result = json_object_get(answer, "error") ? NULL : json_object_get(answer, "result");
    if (result)
        *ret_result = json_incref(result);
    else
        rc = operator_refused(o, answer);
    json_decref(answer);
    return rc;
}

int operator_print(const struct operator* o, const json_t *result,
                   int (*write)(FILE *f, const json_t *result))
{
    FILE *f;
    int rc, rc_out;

    if (o->tool->is_json)
        return out_answer(json_incref((json_t *)result));
    f = out_begin();
    rc = f ? write(f, result) : -ENOMEM;
    rc_out = out_end(f, rc == 0);
    return rc ? operator_fail(o, rc) : rc_out;
}
