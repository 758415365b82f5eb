/*
 * The scene of the chaos: its clients, the questions to its server, and what must hold.
 */
#include "support/chaos.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/util.h"

enum { SECONDS_SHORT = 3, SECONDS_SOAK = 150 };

/* ---- time passes, clients talk ---- */

void chaos_turn(struct chaos *c)
{
    talkers_turn(c->talkers);
    c->inside += talkers_inside(c->talkers);
    c->n_looks++;
}

void chaos_run(struct chaos *c, uint64_t ms)
{
    const uint64_t until_ms = clock_mono_ms() + ms;

    while (clock_mono_ms() < until_ms)
        chaos_turn(c);
}

void chaos_await_settled(struct chaos *c)
{
    AWAIT(c, !talkers_unsettled(c->talkers), "%s", talkers_unsettled(c->talkers));
}

/* ---- questions to the server ---- */

json_t *chaos_ask_all(struct chaos *c, const char *requests)
{
    static char text[1 << 20];
    char address[128], *save = NULL;
    size_t len = 0, n = 0;
    json_t *answers = json_array();

    snprintf(address, sizeof(address), "unix:%s/control", c->server->run);
    const int fd = peer_connect(address);
    peer_send_text(fd, requests);
    peer_half_close(fd);
    for (const char *p = requests; (p = strchr(p, '\n')); p++)
        n++;
    AWAIT(c, ({
              const ssize_t got = recv(fd, text + len, sizeof(text) - 1 - len, MSG_DONTWAIT);
              len += got > 0 ? (size_t)got : 0;
              got == 0;
          }),
          "no answer to: %s", requests);
    peer_close(fd);
    text[len] = '\0';
    for (char *p = strtok_r(text, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
        json_array_append_new(answers, json_loads(p, 0, NULL));
    MUST(json_array_size(answers) == n, "%zu answers to %zu requests: %s\n%s",
         json_array_size(answers), n, requests, text);
    return answers;
}

bool chaos_is_error(const json_t *answer, const char *code)
{
    const json_t *said = json_object_get(json_object_get(answer, "error"), "code");

    return said && !strcmp(json_string_value(said), code);
}

json_t *chaos_ask(struct chaos *c, const char *command, const char *args)
{
    const uint64_t alarm_ms = clock_mono_ms() + CHAOS_ALARM_MS;
    char request[256];

    snprintf(request, sizeof(request), "{\"id\":1,\"command\":\"%s\",\"args\":{%s}}\n", command,
             args);
    for (;;) {
        json_t *answers = chaos_ask_all(c, request);
        json_t *answer = json_incref(json_array_get(answers, 0));

        json_decref(answers);
        if (!chaos_is_error(answer, "busy"))
            return answer;
        json_decref(answer);
        MUST(clock_mono_ms() < alarm_ms, "%s: still busy", command);
        chaos_run(c, 5);
    }
}

json_t *chaos_must_succeed(struct chaos *c, const char *command, const char *args)
{
    json_t *answer = chaos_ask(c, command, args);
    json_t *result = json_incref(json_object_get(answer, "result"));

    if (!result)
        must_fail(__FILE__, __LINE__, "%s: %s", command, json_dumps(answer, 0));
    json_decref(answer);
    return result;
}

uint64_t chaos_number(const json_t *info, const char *part, const char *name)
{
    const json_t *value = json_object_get(json_object_get(info, part), name);

    MUST(json_is_integer(value), "no number %s.%s", part, name);
    return (uint64_t)json_integer_value(value);
}

uint64_t chaos_number_now(struct chaos *c, const char *part, const char *name)
{
    json_t *info = chaos_must_succeed(c, "info", "");
    const uint64_t value = chaos_number(info, part, name);

    json_decref(info);
    return value;
}

static bool is_staffed(struct chaos *c)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t wanted = chaos_number_now(c, "arbiter", "workers_wanted");

    return server_worker_pids(c->server, pids) == wanted && server_accepting(c->server) == wanted;
}

void chaos_await_staff(struct chaos *c)
{
    AWAIT(c, is_staffed(c), "%zu workers accept of %" PRIu64, server_accepting(c->server),
          chaos_number_now(c, "arbiter", "workers_wanted"));
}

/* No worker has clearly more than another: the rule of the balance itself. */
bool chaos_is_balanced(struct chaos *c)
{
    json_t *info = chaos_must_succeed(c, "info", ""), *worker;
    uint64_t least = UINT64_MAX, most = 0;
    size_t i;

    json_array_foreach(json_object_get(info, "workers"), i, worker)
    {
        const uint64_t n = (uint64_t)json_integer_value(json_object_get(worker, "connections"));

        least = MIN(least, n);
        most = MAX(most, n);
    }
    json_decref(info);
    return most <= least + least / 32 + 2;
}

/* ---- what must be ---- */

/* What a crash between a send and its count leaves out at most. */
enum { ONE_SEND_BYTES = 4 << 20, ONE_SEND_MESSAGES = 4096 };

/* Equal, unless connections were lost amid traffic: then as far as that explains it. */
static void must_agree(const struct chaos *c, const json_t *info, const char *name,
                       uint64_t counted, uint64_t below, uint64_t above)
{
    const uint64_t said = chaos_number(info, "totals", name);

    if (c->is_exact)
        below = above = 0;
    MUST(said + below >= counted && said <= counted + above,
         "the server counts %" PRIu64 " %s, the clients %" PRIu64 " (%" PRIu64 " less, %" PRIu64
         " more could be)",
         said, name, counted, below, above);
}

static void check_counters(struct chaos *c, const json_t *info)
{
    static const char *const never[] = {
        "closed_reset",         "closed_error",      "closed_too_big",  "closed_message_timeout",
        "closed_write_timeout", "closed_keep_alive", "closed_buffered", "closed_drained",
        "closed_cut",           "closed_refused"};
    const struct talkers_counts *n = talkers_counts(c->talkers);

    MUST(n->sent == n->echoed + n->failed, "%" PRIu64 " messages without an explanation",
         n->sent - n->echoed - n->failed);
    must_agree(c, info, "accepted", n->connects, c->n_crashes, 0); /* one at a time */
    must_agree(c, info, "requests", n->echoed, c->n_crashes * ONE_SEND_MESSAGES, n->failed);
    must_agree(c, info, "bytes_in", n->bytes_sent, n->lost_bytes, 0);
    must_agree(c, info, "bytes_out", n->bytes_received, c->n_crashes * ONE_SEND_BYTES,
               n->lost_bytes);
    must_agree(c, info, "closed_peer", n->closed + n->half_closed, c->uncounted, 0);
    must_agree(c, info, "closed_partial", n->broken_off, c->uncounted, 0);
    must_agree(c, info, "closed_quit", n->quit, c->uncounted, 0);
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        MUST(chaos_number(info, "totals", never[i]) == 0, "%s is not 0", never[i]);
    /* One that was about to be replaced is not started again for its crash. */
    MUST(chaos_number(info, "arbiter", "restarts") <= c->n_crashes,
         "%" PRIu64 " restarts, %u crashes", chaos_number(info, "arbiter", "restarts"),
         c->n_crashes);
}

static void check_bounds(struct chaos *c)
{
    enum { BASE_KIB = 48 << 10, BASE_FDS = 64 };
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(c->server, pids);

    for (size_t i = 0; i < n; i++) {
        const uint64_t kib = proc_status(pids[i], "VmRSS", 10);
        const size_t fds = proc_count_fds(pids[i]);

        MUST(it_is_sanitized() || kib < BASE_KIB + CHAOS_MAX_BUFFERED / 1024,
             "worker %d has %" PRIu64 " KiB", (int)pids[i], kib);
        MUST(fds < CHAOS_TALKERS + BASE_FDS, "worker %d has %zu descriptors", (int)pids[i], fds);
    }
}

void chaos_set_all(struct chaos *c, enum talker_mode mode)
{
    for (unsigned i = 0; i < CHAOS_TALKERS; i++)
        talkers_set_mode(c->talkers, i, mode);
}

/* The server has read all that is sent: what is left in the kernel would be nobody's yet. */
static bool has_read_all(struct chaos *c)
{
    const uint64_t sent = talkers_counts(c->talkers)->bytes_sent;
    const uint64_t read = chaos_number_now(c, "totals", "bytes_in");

    return c->is_exact ? read == sent : read + talkers_counts(c->talkers)->lost_bytes >= sent;
}

static bool is_all_open(struct chaos *c)
{
    return chaos_number_now(c, "totals", "connections") == talkers_open(c->talkers);
}

void chaos_await_read(struct chaos *c)
{
    AWAIT(c, is_all_open(c) && has_read_all(c), "the server does not come to rest");
}

void chaos_check_all(struct chaos *c)
{
    chaos_set_all(c, TALKER_RESTS);
    chaos_await_settled(c);
    chaos_await_staff(c);
    chaos_await_read(c);
    json_t *info = chaos_must_succeed(c, "info", "");
    check_counters(c, info);
    json_decref(info);
    check_bounds(c);
    chaos_set_all(c, TALKER_TALKS);
}

/* ---- the whole ---- */

static bool is_every_one_made(const unsigned *made, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (made[i] == 0)
            return false;
    return true;
}

/* A row that may not be made now has no weight. */
static uint64_t weight_of(const struct chaos_row *row, unsigned made, bool is_any)
{
    return is_any || made == 0 ? row->weight : 0;
}

static size_t random_row(struct chaos *c, const struct chaos_row *rows, size_t n,
                         const unsigned *made)
{
    const bool is_any = is_every_one_made(made, n);
    uint64_t all = 0, at;
    size_t i = 0;

    for (size_t k = 0; k < n; k++)
        all += weight_of(&rows[k], made[k], is_any);
    at = rng_below(&c->rng, MAX(all, (uint64_t)1));
    for (; i + 1 < n && at >= weight_of(&rows[i], made[i], is_any); i++)
        at -= weight_of(&rows[i], made[i], is_any);
    return i;
}

void chaos_make_one(struct chaos *c, const struct chaos_row *rows, size_t n, unsigned *made)
{
    const size_t i = random_row(c, rows, n, made);

    printf("# %" PRIu64 " ms: %s\n", clock_mono_ms() - c->begin_ms, rows[i].name);
    rows[i].make(c);
    made[i]++;
    /* The stimulus itself: the next one often comes amid what this one has begun. */
    chaos_run(c, rng_below(&c->rng, 200));
}

static unsigned seconds(void)
{
    const char *text = getenv("ECHO_CHAOS_SECONDS");

    return text ? (unsigned)atoi(text) : it_is_soak() ? SECONDS_SOAK : SECONDS_SHORT;
}

struct chaos chaos_begin(struct it *it)
{
    struct chaos c = {.it = it, .rng = it_seed(), .is_exact = true};

    /* A sanitizer's own handler would come before the worker's. */
    c.server = server_start(
        it, .conf = chaos_random_configuration(&c, true),
        .env = {"ASAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigfpe=0:handle_sigbus=0:"
                "handle_sigill=0:abort_on_error=1",
                "UBSAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigfpe=0:handle_sigbus=0:"
                "handle_sigill=0:halt_on_error=1"});
    server_expect(c.server, "reload refused|msg=\"configuration\"");
    c.talkers = talkers_new(&(struct talkers_options){.addr = c.server->addr[0],
                                                      .n = CHAOS_TALKERS,
                                                      .seed = c.rng,
                                                      .max_message = CHAOS_MAX_MESSAGE,
                                                      .max_under_way = CHAOS_MAX_UNDER_WAY});
    c.begin_ms = clock_mono_ms();
    c.end_ms = c.begin_ms + 1000 * seconds();
    chaos_run(&c, 300);
    return c;
}

void chaos_print_made(const char *title, const struct chaos_row *rows, size_t n,
                      const unsigned *made)
{
    printf("#| %s:", title);
    for (size_t i = 0; i < n; i++)
        printf("%s %u %s", i ? "," : "", made[i], rows[i].name);
    printf("\n");
}

bool chaos_is_over(const struct chaos *c, const unsigned *made, size_t n)
{
    return clock_mono_ms() >= c->end_ms && is_every_one_made(made, n);
}

void chaos_end(struct chaos *c)
{
    const struct talkers_counts *n = talkers_counts(c->talkers);

    chaos_check_all(c);
    talkers_finish(c->talkers);
    AWAIT(c, is_all_open(c), "connections stay");
    json_t *info = chaos_must_succeed(c, "info", "");
    check_counters(c, info);
    printf("#| %u s, %" PRIu64 " connections, %" PRIu64 " messages, %" PRIu64
           " MiB; with the %" PRIu64 " connections that %u crashes have cost %" PRIu64
           " messages failed\n",
           seconds(), n->connects, n->sent, n->bytes_sent >> 20, n->lost, c->n_crashes, n->failed);
    printf("#| %" PRIu64 " of %d clients in the middle of a message at a time; the server counts "
           "%" PRIu64 " messages\n",
           c->inside / c->n_looks, (int)CHAOS_TALKERS, chaos_number(info, "totals", "requests"));
    json_decref(info);
    chaos_check_log(c);
    server_must_idle(c->server);
    server_must_be_well(c->server, server_accepting(c->server));
    talkers_free(c->talkers);
}
