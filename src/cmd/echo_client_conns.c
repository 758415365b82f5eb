/*
 * The connections of a server, listed and ended: each worker is asked page by page, those that
 * drain as well, so that nobody is kept from its clients for long.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/json_schema.h"
#include "base/num.h"
#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_operator.h"

enum {
    LIMIT_DEFAULT = 1000,
    LIMIT_MAX = 1000000,
    PAGE_ROWS = 64,
    ROUNDS_MAX = 10, /* of kill, to meet everybody */
    LISTINGS_MAX = 5, /* while workers come and go */
    ROUNDS_MS = 20, /* between two of either */
};

/* ---- filters: NAME=VALUE, and for amounts NAME<VALUE, NAME>VALUE, NAME<=VALUE, NAME>=VALUE ----
 */

static const struct filter {
    const char *name;
    const char *key; /* of the worker's argument; NULL = it is not asked, but chosen */
    enum { IS_TEXT, IS_NUMBER, IS_FLAG, IS_TIME, IS_SIZE, IS_AMOUNT } kind;
    const char *allowed;
} filters[] = {
    {"peer", "peer", IS_TEXT, "ADDRESS:PORT, ADDRESS, ADDRESS/BITS or unix"},
    {"id", "id", IS_NUMBER, "a number as in the first column"},
    {"worker", NULL, IS_NUMBER, "a worker or its number, like worker.2 or 2"},
    {"state", "state", IS_TEXT, "a state as in its column"},
    {"protocol", "protocol", IS_TEXT, "the name of a protocol"},
    {"kept", "kept", IS_FLAG, "yes or no"},
    {"age", "age_ms", IS_TIME, "a time like 200ms, 30s or 10m"},
    {"idle", "idle_ms", IS_TIME, "a time like 200ms, 30s or 10m"},
    {"messages", "messages", IS_AMOUNT, "a number"},
    {"bytes_in", "bytes_in", IS_SIZE, "bytes, like 1000 or 64KiB"},
    {"bytes_out", "bytes_out", IS_SIZE, "bytes, like 1000 or 64KiB"},
};

static bool is_amount(const struct filter *f)
{
    return f->kind >= IS_TIME;
}

static const struct filter *filter_find(const char *word, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
        if (strlen(filters[i].name) == len && memcmp(filters[i].name, word, len) == 0)
            return &filters[i];
    return NULL;
}

static __attribute__((noreturn)) void refuse_filter(const char *word)
{
    char names[256];
    size_t len = 0;

    for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
                                filters[i].name);
    usage_error("connections %s: a filter is NAME=VALUE, or NAME>VALUE and the like, with a name "
                "of: %s",
                word, names);
}

static __attribute__((noreturn)) void refuse_value(const char *word, const struct filter *f)
{
    usage_error("connections %s: %s is %s", word, f->name, f->allowed);
}

static uint64_t read_amount(const char *word, const struct filter *f, const char *value)
{
    uint64_t n = 0;
    int rc;

    if (f->kind == IS_TIME)
        rc = num_parse_duration_ms(value, 0, TOOL_MS_MAX, &n);
    else if (f->kind == IS_SIZE)
        rc = num_parse_size(value, 0, INT64_MAX / 2, &n);
    else
        rc = num_parse_u64(value, 0, INT64_MAX / 2, &n);
    if (rc)
        refuse_value(word, f);
    return n;
}

/* Of several bounds the narrowest counts. */
static void narrow(json_t *args, const char *which, const char *key, uint64_t n)
{
    const bool is_least = strcmp(which, "min") == 0;
    json_t *bounds = json_object_get(args, which), *before = json_object_get(bounds, key);
    const uint64_t old = before ? (uint64_t)json_integer_value(before) : n;

    if (!bounds) {
        bounds = json_object();
        json_object_set_new(args, which, bounds);
    }
    json_object_set_new(bounds, key,
                        json_integer((json_int_t)(is_least ? MAX(old, n) : MIN(old, n))));
}

static void add_bound(json_t *args, const char *word, const struct filter *f, const char *sign,
                      const char *value)
{
    const bool is_inclusive = sign[1] == '=' || *sign == '=';
    const uint64_t n = read_amount(word, f, value);

    if (*sign == '<' && !is_inclusive && n == 0)
        usage_error("connections %s: nothing is less than 0", word);
    if (*sign != '<')
        narrow(args, "min", f->key, is_inclusive ? n : n + 1);
    if (*sign != '>')
        narrow(args, "max", f->key, is_inclusive ? n : n - 1);
}

static json_t *plain_value(const char *word, const struct filter *f, const char *value)
{
    json_t *text = f->kind == IS_TEXT && *value ? json_string(value) : NULL;
    uint64_t n;

    if (text)
        return text;
    if (f->kind == IS_NUMBER && num_parse_u64(value, 1, INT64_MAX, &n) == 0)
        return json_integer((json_int_t)n);
    if (f->kind == IS_FLAG && (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0))
        return json_boolean(*value == 'y');
    refuse_value(word, f); /* a text that is not UTF-8, too: no connection has it */
}

static void add_filter(json_t *args, const char *word, uint64_t *ret_worker)
{
    const size_t len = strcspn(word, "=<>");
    const struct filter *f = filter_find(word, len);
    const char *sign = word + len, *value = sign + (*sign ? 1 : 0);
    json_t *v;

    if (!f || !*sign)
        refuse_filter(word);
    if (*sign != '=' && *value == '=')
        value++;
    if (is_amount(f)) {
        add_bound(args, word, f, sign, value);
        return;
    }
    if (*sign != '=')
        usage_error("connections %s: %s is not more or less: write %s=VALUE", word, f->name,
                    f->name);
    if (f->key ? json_object_get(args, f->key) != NULL : *ret_worker != 0)
        usage_error("connections %s: %s is given twice", word, f->name);
    if (!f->key && strncmp(value, "worker.", strlen("worker.")) == 0)
        value += strlen("worker."); /* as in its column */
    v = plain_value(word, f, value);
    if (f->key)
        json_object_set_new(args, f->key, v);
    else {
        *ret_worker = (uint64_t)json_integer_value(v);
        json_decref(v);
    }
}

/* ---- asking worker by worker ---- */

struct round {
    struct operator o;
    json_t *args; /* owned: of the command, without `from` and `rows` */
    const char *command;
    uint64_t worker; /* the only one to ask; 0 = all */
    size_t limit; /* rows to list */
    json_t *rows; /* owned: what has come */
    json_t *silent; /* owned: workers that have not answered */
    uint64_t matched; /* connections, listed or not */
    bool is_changing; /* a worker comes or goes, so connections may be on their way */
    uint64_t pids; /* of the workers that were there: their sum */
};

static int round_open(struct round *r, struct tool *t, const char *command)
{
    *r = (struct round){.command = command, .limit = SIZE_MAX};
    r->rows = json_array();
    r->silent = json_array();
    return operator_open(&r->o, t, OPERATOR_SLOW_MS);
}

static void round_close(struct round *r)
{
    json_decref(r->args);
    json_decref(r->rows);
    json_decref(r->silent);
    operator_close(&r->o);
}

static const char *text_at(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text ? text : "";
}

enum { PAGE_IS_LAST = -1, PAGE_IS_SILENCE = -2 };

/* One that has ended meanwhile has no connections any more; one that does not answer is told of. */
static int read_answer(struct round *r, json_t *answer, json_t **ret_page)
{
    const char *code = text_at(json_object_get(answer, "error"), "code");
    json_t *page = json_object_get(answer, "result");

    if (json_is_array(json_object_get(page, "connections"))) {
        *ret_page = json_incref(page);
        return 0;
    }
    if (strcmp(code, "gone") == 0 || strcmp(code, "unknown_actor") == 0)
        return PAGE_IS_LAST;
    if (strcmp(code, "timeout") == 0 || strcmp(code, "busy") == 0 ||
        strcmp(code, "superseded") == 0)
        return PAGE_IS_SILENCE;
    return *code ? operator_refused(&r->o, answer) : operator_fail(&r->o, -EBADMSG);
}

/* @next  NULL = the first page. Returns 0, PAGE_* or an exit code, reported already. */
static int ask_page(struct round *r, const char *target, json_t *next, json_t **ret_page)
{
    json_t *args = json_copy(r->args), *answer = NULL;
    const size_t listed = json_array_size(r->rows);
    const size_t wanted = listed < r->limit ? r->limit - listed : 0;
    int rc;

    if (next)
        json_object_set(args, "from", next);
    if (r->limit < SIZE_MAX)
        json_object_set_new(args, "rows", json_integer((json_int_t)MIN(wanted, (size_t)PAGE_ROWS)));
    r->o.command = r->command;
    rc = control_call_post(&r->o.call, r->command, target, args);
    if (rc == 0)
        rc = control_call_wait(&r->o.call, r->o.deadline_ns, &answer);
    rc = rc ? operator_fail(&r->o, rc) : read_answer(r, answer, ret_page);
    json_decref(answer);
    json_decref(args);
    return rc;
}

static void take_page(struct round *r, const json_t *page, const char *worker)
{
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(page, "connections"), i, row)
    {
        json_object_set_new(row, "worker", json_string(worker));
        json_array_append(r->rows, row);
    }
    r->matched += (uint64_t)json_integer_value(json_object_get(page, "matched"));
}

static int ask_worker(struct round *r, const json_t *actor)
{
    const char *id = text_at(actor, "id");
    json_t *page = NULL, *next = NULL;
    char target[64];
    int rc = 0;

    snprintf(target, sizeof(target), "%.40s@%" JSON_INTEGER_FORMAT, id,
             json_integer_value(json_object_get(actor, "pid")));
    do {
        page = NULL;
        rc = ask_page(r, target, next, &page);
        json_decref(next);
        next = json_incref(json_object_get(page, "next"));
        if (page)
            take_page(r, page, id);
        json_decref(page);
    } while (rc == 0 && next);
    json_decref(next);
    if (rc == PAGE_IS_SILENCE)
        json_array_append_new(r->silent, json_string(id));
    return rc < 0 ? 0 : rc;
}

/* Returns its number, 0 if it is no worker. */
static uint64_t worker_number(const json_t *actor)
{
    const char *id = text_at(actor, "id");
    uint64_t number;

    return strncmp(id, "worker.", 7) == 0 && num_parse_u64(id + 7, 1, UINT32_MAX, &number) == 0
               ? number
               : 0;
}

/* Which workers are there, and do all of them stay? */
static void note_workers(struct round *r, const json_t *actors)
{
    const json_t *actor;
    size_t i;

    r->pids = 0;
    json_array_foreach(actors, i, actor)
    {
        if (worker_number(actor) == 0)
            continue;
        r->is_changing |= strcmp(text_at(actor, "state"), "run") != 0;
        r->pids += (uint64_t)json_integer_value(json_object_get(actor, "pid"));
    }
}

/* Returns 0 or an exit code, reported already. */
static int ask_all(struct round *r)
{
    json_t *actors = NULL, *actor;
    uint64_t n_asked = 0;
    size_t i;
    int rc = operator_ask(&r->o, "actors", NULL, NULL, &actors);

    r->is_changing = false;
    note_workers(r, actors);
    json_array_foreach(actors, i, actor)
    {
        const uint64_t number = worker_number(actor);

        if (rc || number == 0)
            continue;
        if (r->worker && r->worker != number)
            continue;
        n_asked++;
        rc = ask_worker(r, actor);
    }
    json_decref(actors);
    if (rc == 0 && n_asked == 0 && r->worker) {
        char message[128];

        snprintf(message, sizeof(message),
                 "%s: there is no worker.%" PRIu64 ": list them with: echo-client actors",
                 r->command, r->worker);
        rc = fail_say(r->o.tool, "unknown_actor", message, EX_USAGE);
    }
    return rc;
}

/* Are those who were asked still all that there are? Returns 0 or an exit code. */
static int look_again(struct round *r)
{
    const uint64_t before = r->pids;
    json_t *actors = NULL;
    const int rc = operator_ask(&r->o, "actors", NULL, NULL, &actors);

    note_workers(r, actors);
    r->is_changing |= r->pids != before;
    json_decref(actors);
    return rc;
}

/*
 * A connection that moves meanwhile may be met by neither worker: as long as workers come and go,
 * all are asked anew. Returns 0 or an exit code, reported already.
 */
static int list_all(struct round *r)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < LISTINGS_MAX && (i == 0 || r->is_changing); i++) {
        if (i > 0)
            poll(NULL, 0, ROUNDS_MS);
        json_array_clear(r->rows);
        json_array_clear(r->silent);
        r->matched = 0;
        rc = ask_all(r);
        if (rc == 0)
            rc = look_again(r);
    }
    return rc;
}

/* ---- in order ---- */

static json_int_t integer_at(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static int compare_integers(json_int_t a, json_int_t b)
{
    return a < b ? -1 : a > b;
}

static int by_id(const void *x, const void *y)
{
    return compare_integers(integer_at(*(json_t *const *)x, "id"),
                            integer_at(*(json_t *const *)y, "id"));
}

/* By worker, and the oldest first. */
static int by_worker(const void *x, const void *y)
{
    const json_t *a = *(json_t *const *)x, *b = *(json_t *const *)y;
    const int order = strverscmp(text_at(a, "worker"), text_at(b, "worker"));

    return order ? order : compare_integers(integer_at(b, "age_ms"), integer_at(a, "age_ms"));
}

/* What moved meanwhile may have come twice: then it counts once, where it was seen last. */
static int sort_rows(struct round *r)
{
    const size_t n = json_array_size(r->rows);
    json_t **rows = calloc(n + 1, sizeof(json_t *)), *sorted = json_array();
    size_t n_kept = 0;

    if (!rows || !sorted) {
        free(rows);
        json_decref(sorted);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        rows[i] = json_array_get(r->rows, i);
    qsort(rows, n, sizeof(json_t *), by_id);
    for (size_t i = 0; i < n; i++) {
        const json_int_t id = integer_at(rows[i], "id");

        if (n_kept > 0 && id != 0 && integer_at(rows[n_kept - 1], "id") == id)
            n_kept--;
        rows[n_kept++] = rows[i];
    }
    r->matched -= n - n_kept;
    qsort(rows, n_kept, sizeof(json_t *), by_worker);
    for (size_t i = 0; i < n_kept; i++)
        json_array_append(sorted, rows[i]);
    json_decref(r->rows);
    r->rows = sorted;
    free(rows);
    return 0;
}

/* ---- connections ---- */

static void mark_kept(json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const bool is_kept = json_is_true(json_object_get(row, "kept"));

        json_object_set_new(row, "shown_kept", json_string(is_kept ? "yes" : "no"));
    }
}

static int write_connections(FILE *f, const json_t *result)
{
    static const struct column columns[] = {{"ID", "id", SHOW_NUMBER, 0},
                                            {"PEER", "peer", SHOW_TEXT, 0},
                                            {"WORKER", "worker", SHOW_TEXT, 0},
                                            {"STATE", "state", SHOW_TEXT, 0},
                                            {"AGE", "age_ms", SHOW_MS, 0},
                                            {"IDLE", "idle_ms", SHOW_MS, 0},
                                            {"MESSAGES", "messages", SHOW_COUNT, 0},
                                            {"IN", "bytes_in", SHOW_BYTES, 0},
                                            {"OUT", "bytes_out", SHOW_BYTES, 0},
                                            {"KEPT", "shown_kept", SHOW_TEXT, 0},
                                            {"LOCAL", "local", SHOW_TEXT, 0},
                                            {"PROTOCOL", "protocol", SHOW_TEXT, 0}};
    json_t *rows = json_object_get(result, "connections");
    const json_int_t left_out = integer_at(result, "left_out");
    const bool is_changing = json_is_true(json_object_get(result, "changing"));
    const size_t n = json_array_size(rows);
    int rc = 0;

    mark_kept(rows);
    if (n > 0)
        rc = columns_write(f, columns, ARRAY_SIZE(columns), rows);
    if (left_out > 0)
        fprintf(f,
                "%zu of %" JSON_INTEGER_FORMAT
                " connections: list more with --limit, or fewer with a filter\n",
                n, integer_at(result, "matched"));
    else
        fprintf(f, "%zu connection%s\n", n, n == 1 ? "" : "s");
    if (is_changing)
        fprintf(f, "workers come and go: connections that moved meanwhile may be missing\n");
    return rc;
}

/* Returns 0, or the exit code of an answer that is not whole. */
static int say_silent(const struct round *r, const char *what)
{
    json_t *id;
    size_t i;

    json_array_foreach(r->silent, i, id)
    {
        if (out_flush() == EXIT_PIPE)
            return EXIT_PIPE;
        fprintf(stderr, "echo-client: %s: %s does not answer: %s\n", r->command,
                json_string_value(id), what);
    }
    return json_array_size(r->silent) > 0 ? EX_TEMPFAIL : 0;
}

struct listing_options {
    uint64_t limit;
};

int connections_run(struct tool *t)
{
    static const struct own_option options[] = {
        {"limit", 0, "N", "list at most so many; default 1000", OPTION_NUMBER,
         OPTION_AT(struct listing_options, limit), 1, LIMIT_MAX},
        {0}};
    struct listing_options own = {.limit = LIMIT_DEFAULT};
    json_t *args = json_object(), *result = NULL;
    uint64_t worker = 0;
    struct round r;
    int rc;

    tool_parse(t, options, &own);
    for (int i = 0; i < t->n_words; i++)
        add_filter(args, t->words[i], &worker);
    rc = round_open(&r, t, "connections");
    r.args = args;
    r.worker = worker;
    r.limit = own.limit;
    if (rc == 0)
        rc = list_all(&r);
    if (rc == 0 && sort_rows(&r) < 0)
        rc = operator_fail(&r.o, -ENOMEM);
    if (rc == 0) {
        result = json_pack("{s:i,s:O,s:I,s:I,s:O,s:b}", "schema", JSON_SCHEMA, "connections",
                           r.rows, "matched", (json_int_t)r.matched, "left_out",
                           (json_int_t)(r.matched - json_array_size(r.rows)), "silent", r.silent,
                           "changing", r.is_changing);
        rc = operator_print(&r.o, result, write_connections);
    }
    if (rc == 0)
        rc = say_silent(&r, "its connections are not listed");
    json_decref(result);
    round_close(&r);
    return rc;
}

/* ---- kill ---- */

static int write_killed(FILE *f, const json_t *result)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(result, "ended"), i, row)
    {
        char peer[256];

        snprintf(peer, sizeof(peer), "%s", text_at(row, "peer"));
        fprintf(f, "ended %" JSON_INTEGER_FORMAT ", %s, of %s\n", integer_at(row, "id"),
                human_clean(peer), text_at(row, "worker"));
    }
    return 0;
}

/*
 * A connection may move to a worker that has been asked already, and is met by neither while it is
 * on its way: so all are asked until nobody is met any more, and twice at least.
 */
static int kill_word(struct round *r, const char *word)
{
    uint64_t id;
    int rc = 0;

    json_decref(r->args);
    r->args = num_parse_u64(word, 1, INT64_MAX, &id) == 0 ? json_pack("{s:I}", "id", (json_int_t)id)
                                                          : json_pack("{s:s}", "peer", word);
    if (!r->args)
        return operator_fail(&r->o, -EILSEQ);
    for (unsigned i = 0; rc == 0 && i < ROUNDS_MAX; i++) {
        const size_t before = json_array_size(r->rows);

        if (i > 0)
            poll(NULL, 0, ROUNDS_MS);
        rc = ask_all(r);
        if (i > 0 && !r->is_changing && json_array_size(r->rows) == before)
            break;
    }
    return rc;
}

int kill_run(struct tool *t)
{
    json_t *unmatched = json_array(), *result = NULL, *word;
    struct round r;
    size_t i;
    int rc;

    tool_parse(t, NULL, NULL);
    rc = round_open(&r, t, "kill");
    for (int k = 0; rc == 0 && k < t->n_words; k++) {
        const size_t before = json_array_size(r.rows);

        rc = kill_word(&r, t->words[k]);
        if (rc == 0 && json_array_size(r.rows) == before)
            json_array_append_new(unmatched, json_string(t->words[k]));
    }
    if (rc == 0 || json_array_size(r.rows) > 0) {
        int rc_print;

        result = json_pack("{s:i,s:O,s:O,s:O}", "schema", JSON_SCHEMA, "ended", r.rows, "unmatched",
                           unmatched, "silent", r.silent);
        rc_print = operator_print(&r.o, result, write_killed);
        rc = rc ? rc : rc_print;
    }
    if (rc == 0)
        rc = say_silent(&r, "its connections are as they were");
    json_array_foreach(unmatched, i, word)
    {
        char message[512];

        snprintf(message, sizeof(message),
                 "kill: %s: no connection has that number or peer: list them with: echo-client "
                 "connections",
                 json_string_value(word));
        if (rc != EXIT_PIPE)
            rc = fail_say(t, NULL, human_clean(message), rc > 1 ? rc : 1);
    }
    json_decref(unmatched);
    json_decref(result);
    round_close(&r);
    return rc;
}
