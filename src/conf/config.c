/*
 * THE key table. Parsing, overrides, -T, the reload's diff and the checks of the manual and the
 * example file go through its rows; a new key is a new row (and its field).
 */
#include "conf/config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/cpus.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/runtime_path.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/config_type.h"

/* The offset of a field, and a compile-time check that the kind of value fits it. */
#define FIELD(field, c_type)                                                                       \
    (offsetof(struct config, field) +                                                              \
     0 * sizeof(&((struct config *)NULL)->field == (__typeof__(c_type) *)NULL))

#define COUNT(field)    .type = &config_type_count, .offset = FIELD(field, unsigned)
#define DURATION(field) .type = &config_type_duration, .offset = FIELD(field, uint64_t)
#define SIZE(field)     .type = &config_type_size, .offset = FIELD(field, uint64_t)
#define BOOLEAN(field)  .type = &config_type_boolean, .offset = FIELD(field, bool)
#define PATH(field)     .type = &config_type_path, .offset = FIELD(field, char[CONFIG_PATH_MAX])
#define LOG_FILE(field)                                                                            \
    .type = &config_type_place, .choices = log_places, .offset = FIELD(field, char[CONFIG_PATH_MAX])
#define CONTROL(field)                                                                             \
    .type = &config_type_control, .choices = control_places,                                       \
    .offset = FIELD(field, char[CONFIG_PATH_MAX])
#define MODE(field)  .type = &config_type_mode, .offset = FIELD(field, int)
#define OWNER(field) .type = &config_type_owner, .offset = FIELD(field, char[CONFIG_OWNER_LEN])
#define LEVEL(field)                                                                               \
    .type = &config_type_choice, .choices = levels, .offset = FIELD(field, enum log_level)
#define FORMAT(field)                                                                              \
    .type = &config_type_choice, .choices = formats, .offset = FIELD(field, enum log_format)
#define CPUS(field)                                                                                \
    .type = &config_type_cpus, .choices = affinities, .offset = FIELD(field, enum config_affinity)
#define NETS(field)   .type = &config_type_nets, .offset = offsetof(struct config, field)
#define SAMPLE(field) .type = &config_type_sample, .offset = FIELD(field, unsigned)
#define SANDBOX(field)                                                                             \
    .type = &config_type_choice, .choices = sandboxes, .offset = FIELD(field, enum config_sandbox)
#define ADDRESS(field) .type = &config_type_address, .offset = FIELD(field, char[ADDR_TEXT_LEN])
#define BIND(field)    .type = &config_type_bind, .offset = offsetof(struct config, field)

static const char *const levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const log_places[] = {"syslog", NULL};
static const char *const control_places[] = {"auto", NULL};
static const char *const affinities[] = {"off", "auto", NULL};
static const char *const sandboxes[] = {"auto", "off", "require", NULL};
static const char *const formats[] = {"text", "json", NULL};

enum { DAY_MS = 86400000 };

#define ALLOWED_OWNER(what)                                                                        \
    "the name or the number of a " what " in quotes, without , @ : / [ and blanks, or \"\""

/* clang-format off */
const struct config_row config_keys[CONFIG_KEYS] = {
    [CONFIG_WORKERS] = {
        .name = "arbiter.workers", COUNT(workers), .min = 0, .max = 1024,
        .reload = RELOAD_ARBITER, .initial = "0",
        .help = "worker processes; 0 = one for each CPU that the server may use" },
    [CONFIG_CPU_AFFINITY] = {
        .name = "arbiter.cpu_affinity", CPUS(cpu_affinity),
        .reload = RELOAD_WORKERS, .initial = "off",
        .allowed = "\"off\", \"auto\", or numbers of CPUs that the server may use, such as \"0,2-5\"",
        .help = "one CPU for each worker: off, one after the other of all, or of a list" },
    [CONFIG_BOOT_TIMEOUT] = {
        .name = "arbiter.boot_timeout", DURATION(boot_timeout_ms), .min = 100, .max = DAY_MS,
        .reload = RELOAD_ARBITER, .initial = "10",
        .help = "time that a new worker has to become ready" },
    [CONFIG_EXIT_TIMEOUT] = {
        .name = "arbiter.exit_timeout", DURATION(exit_timeout_ms), .min = 0, .max = DAY_MS,
        .reload = RELOAD_ARBITER, .initial = "30",
        .help = "time to drain before what is left is cut" },
    [CONFIG_STOP_DELAY] = {
        .name = "arbiter.stop_delay", DURATION(stop_delay_ms), .min = 0, .max = DAY_MS,
        .reload = RELOAD_ARBITER, .initial = "0",
        .help = "time to serve on, no longer ready, before a stop drains" },
    [CONFIG_MAX_REQUESTS] = {
        .name = "arbiter.max_requests", COUNT(max_requests), .min = 0, .max = 4294967295,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "messages after which a worker is replaced, give or take a third; 0 = never" },
    [CONFIG_MAX_MEMORY] = {
        .name = "arbiter.max_memory", SIZE(max_memory), .min = 0, .max = 1ull << 40,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "resident size at which a worker is replaced; \"0\" = never" },
    [CONFIG_TIMEOUT] = {
        .name = "arbiter.timeout", DURATION(timeout_ms), .min = 500, .max = DAY_MS,
        .reload = RELOAD_ARBITER, .initial = "30",
        .help = "time without a heartbeat before a worker is aborted and replaced" },
    [CONFIG_KEEPERS] = {
        .name = "arbiter.keepers", BOOLEAN(has_keepers),
        .reload = RELOAD_WORKERS, .initial = "true",
        .help = "keep idle connections for a worker that is killed, beside each worker" },
    [CONFIG_KEEP_AFTER] = {
        .name = "arbiter.keep_after", DURATION(keep_after_ms), .min = 0, .max = DAY_MS,
        .reload = RELOAD_WORKERS, .initial = "1",
        .help = "age at which a connection is given to a keeper; 0 = at once" },
    [CONFIG_USER] = {
        .name = "arbiter.user", OWNER(user), .reload = RELOAD_RESTART, .initial = "",
        .allowed = ALLOWED_OWNER("user"),
        .help = "whom workers run as if root starts the server; \"\" = a user without rights" },
    [CONFIG_GROUP] = {
        .name = "arbiter.group", OWNER(group), .reload = RELOAD_RESTART, .initial = "",
        .allowed = ALLOWED_OWNER("group"),
        .help = "the group that they run in; \"\" = that of their user" },
    [CONFIG_SANDBOX] = {
        .name = "arbiter.sandbox", SANDBOX(sandbox),
        .reload = RELOAD_WORKERS, .initial = "auto",
        .help = "seccomp and Landlock for workers and the framework's own actors: as far as they can be had, off, or all of it" },
    [CONFIG_CONTROL] = {
        .name = "arbiter.control", CONTROL(control),
        .reload = RELOAD_RESTART, .initial = "auto",
        .allowed = "\"auto\", a path in quotes, shorter than 108 bytes, or \"\"",
        .help = "control socket; \"auto\" = in the runtime directory, \"\" = none" },
    [CONFIG_CONTROL_MODE] = {
        .name = "arbiter.control_mode", MODE(control_access.mode),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = "three or four octal digits in quotes, at most \"0770\", or \"\"",
        .help = "mode of the control socket; \"\" = 0660 where a group may use it, else 0600" },
    [CONFIG_CONTROL_OWNER] = {
        .name = "arbiter.control_owner", OWNER(control_access.owner),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = ALLOWED_OWNER("user"),
        .help = "user who owns the control socket and may ask; \"\" = the arbiter's own" },
    [CONFIG_CONTROL_GROUP] = {
        .name = "arbiter.control_group", OWNER(control_access.group),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = ALLOWED_OWNER("group"),
        .help = "group of the control socket, whose members may ask; \"\" = arbiter.steer_group" },
    [CONFIG_STEER_GROUP] = {
        .name = "arbiter.steer_group", OWNER(steer_group),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = ALLOWED_OWNER("group"),
        .help = "group whose members may also steer; \"\" = none" },
    [CONFIG_PID_FILE] = {
        .name = "arbiter.pid_file", PATH(pid_file),
        .reload = RELOAD_RESTART, .initial = "",
        .allowed = "a path in quotes, shorter than 512 bytes, or \"\"",
        .help = "holds the arbiter's pid, locked for life; \"\" = none" },
    [CONFIG_DAEMON] = {
        .name = "arbiter.daemon", BOOLEAN(is_daemon),
        .reload = RELOAD_RESTART, .initial = "false",
        .help = "detach from the terminal once every worker is ready" },
    [CONFIG_BIND] = {
        .name = "server.bind", BIND(bind),
        .reload = RELOAD_ARBITER, .initial = "127.0.0.1:8060",
        .allowed = "1 to 64 of \"HOST:PORT\", \"[V6]:PORT\", \":PORT\", \"unix:PATH\", where HOST is a "
                   "numeric address or localhost; with more to say ( ADDRESS, "
                   "{ address = ADDRESS; protocol = \"NAME\"; mode = \"0660\"; owner = \"USER\"; "
                   "group = \"GROUP\"; proxy = \"require\"; proxy_from = [\"10.0.0.0/8\"]; } )",
        .help = "addresses to listen on" },
    [CONFIG_BACKLOG] = {
        .name = "server.backlog", COUNT(backlog), .min = 1, .max = 65535,
        .reload = RELOAD_WORKERS, .initial = "2048",
        .help = "accept queue of each address" },
    [CONFIG_KEEP_ALIVE] = {
        .name = "server.keep_alive", DURATION(keep_alive_ms), .min = 0, .max = DAY_MS,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "time that an idle connection is kept; 0 = for ever" },
    [CONFIG_MESSAGE_TIMEOUT] = {
        .name = "server.message_timeout", DURATION(message_timeout_ms), .min = 10, .max = DAY_MS,
        .reload = RELOAD_WORKERS, .initial = "30",
        .help = "time from a message's first byte to its separator" },
    [CONFIG_WRITE_TIMEOUT] = {
        .name = "server.write_timeout", DURATION(write_timeout_ms), .min = 10, .max = DAY_MS,
        .reload = RELOAD_WORKERS, .initial = "30",
        .help = "time that a reply may make no progress" },
    [CONFIG_MAX_BUFFERED] = {
        .name = "server.max_buffered", SIZE(max_buffered), .min = 1 << 20, .max = UINT64_C(1) << 40,
        .reload = RELOAD_WORKERS, .initial = "256MiB",
        .help = "unfinished input and unsent output of all connections of one worker" },
    [CONFIG_MAX_CONNECTIONS] = {
        .name = "server.max_connections", COUNT(max_connections), .min = 0, .max = 1000000,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "connections of one worker; 0 = what RLIMIT_NOFILE allows" },
    [CONFIG_MAX_PER_SOURCE] = {
        .name = "server.max_per_source", COUNT(max_per_source), .min = 0, .max = 1000000,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "connections of one source address, in all workers; 0 = no limit" },
    [CONFIG_ACCEPT_RATE] = {
        .name = "server.accept_rate", COUNT(accept_rate), .min = 0, .max = 1000000,
        .reload = RELOAD_WORKERS, .initial = "0",
        .help = "connections accepted from one source address a second; 0 = no limit" },
    [CONFIG_TRUSTED] = {
        .name = "server.trusted", NETS(trusted),
        .reload = RELOAD_WORKERS, .initial = "",
        .allowed = "[ ] or up to 64 of \"ADDRESS\", \"ADDRESS/BITS\" in numbers; on a command line "
                   "nothing, or all in one with commas",
        .help = "addresses of proxies, which have no limit per source" },
    [CONFIG_LOG_LEVEL] = {
        .name = "log.level", LEVEL(log_level),
        .reload = RELOAD_ARBITER, .initial = "info",
        .help = "least severity that is logged" },
    [CONFIG_LOG_FILE] = {
        .name = "log.file", LOG_FILE(log_file),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = "\"\", \"syslog\", or a path in quotes, shorter than 512 bytes",
        .help = "where the log goes; \"\" = standard error" },
    [CONFIG_LOG_FORMAT] = {
        .name = "log.format", FORMAT(log_format),
        .reload = RELOAD_ARBITER, .initial = "text",
        .help = "KEY=VALUE text, or a JSON object per line" },
    [CONFIG_CRASH_PAYLOAD] = {
        .name = "log.crash_payload", BOOLEAN(has_crash_payload),
        .reload = RELOAD_WORKERS, .initial = "false",
        .help = "keep up to 256 bytes of the message that a worker crashed on" },
    [CONFIG_LOG_CONNECTIONS] = {
        .name = "log.connections", SAMPLE(log_connections), .max = 1000000,
        .reload = RELOAD_WORKERS, .initial = "off",
        .allowed = "\"off\", \"errors\", \"all\", or \"1/N\", one of N, with N up to 1000000",
        .help = "a line for each connection that ends: off, errors, all, 1/N; always for what the server cuts" },
    [CONFIG_STATUS_BIND] = {
        .name = "status.bind", ADDRESS(status_bind),
        .reload = RELOAD_ARBITER, .initial = "",
        .allowed = "\"HOST:PORT\", \"[V6]:PORT\", \":PORT\", where HOST is a numeric address or localhost, or \"\"",
        .help = "address that shows over HTTP how the server is; \"\" = none" },
};
/* clang-format on */

/* Returns 0, -EINVAL (see @why) or -ENOMEM; @c is of zeros, and may be half filled. */
static int set_defaults(struct config *c, char *why, size_t why_size)
{
    const struct config_schema *s = c->schema;
    int r = 0;

    for (size_t i = 0; i < s->n_protocols; i++) {
        c->own[i] = calloc(1, s->protocols[i]->conf_size);
        if (!c->own[i] && s->protocols[i]->conf_size)
            return -ENOMEM;
    }
    for (int key = 0; r == 0 && key < s->n_keys; key++)
        r = config_set(c, key, s->rows[key].initial, (struct config_origin){ORIGIN_DEFAULT, 0}, why,
                       why_size);
    return r;
}

int config_try_new(const struct config_schema *schema, struct config **ret, char *why,
                   size_t why_size)
{
    struct config *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->schema = schema;
    c->control_access.uid = (uid_t)-1;
    c->control_access.gid = c->steer_gid = (gid_t)-1;
    r = set_defaults(c, why, why_size);
    if (r == 0)
        *ret = c;
    else
        config_free(c);
    return r;
}

struct config *config_new(const struct config_schema *schema)
{
    struct config *c = NULL;
    int r = config_try_new(schema, &c, NULL, 0);

    assert(r == 0 || r == -ENOMEM);
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_bind; i++)
        free(c->bind[i].address);
    for (size_t i = 0; i < c->schema->n_protocols; i++)
        free(c->own[i]);
    free(c);
}

struct config *config_copy(const struct config *c)
{
    struct config *copy = malloc(sizeof(*copy));
    bool is_whole = true;

    if (!copy)
        return NULL;
    *copy = *c;
    for (size_t i = 0; i < c->n_bind; i++)
        is_whole &= (copy->bind[i].address = strdup(c->bind[i].address)) != NULL;
    for (size_t i = 0; i < c->schema->n_protocols; i++) {
        const size_t size = c->schema->protocols[i]->conf_size;

        copy->own[i] = size ? malloc(size) : NULL;
        if (copy->own[i])
            memcpy(copy->own[i], c->own[i], size);
        is_whole &= copy->own[i] || size == 0;
    }
    if (is_whole)
        return copy;
    config_free(copy);
    return NULL;
}

int config_set(struct config *c, int key, const char *text, struct config_origin origin, char *why,
               size_t why_size)
{
    const struct config_row *row = &c->schema->rows[key];
    char problem[CONFIG_WHY_LEN / 2] = "";
    int r = row->type->set(c, row, text, problem, sizeof(problem));

    if (r == -EINVAL && why)
        snprintf(why, why_size, "%s: %s, allowed: %s", row->name, problem, row->allowed);
    if (r == 0)
        c->origin[key] = origin;
    return r;
}

char *config_get(const struct config *c, int key)
{
    return c->schema->rows[key].type->get(c, &c->schema->rows[key]);
}

const char *config_where(const struct config *c, int key, char *buf)
{
    const struct config_origin *o = &c->origin[key];

    if (o->kind == ORIGIN_FILE)
        snprintf(buf, CONFIG_WHERE_LEN, "%s:%u", c->path, o->line);
    else
        strcpy(buf, o->kind == ORIGIN_DEFAULT ? "default" : "command line");
    return buf;
}

void config_name_key(const struct config *c, int key, char *why, size_t why_size)
{
    char where[CONFIG_WHERE_LEN], reason[CONFIG_WHY_LEN];

    snprintf(reason, sizeof(reason), "%s", why);
    if (c->origin[key].kind == ORIGIN_FILE)
        snprintf(why, why_size, "%s: %s: %s", config_where(c, key, where),
                 c->schema->rows[key].name, reason);
    else
        snprintf(why, why_size, "%s%s: %s", c->schema->rows[key].name,
                 key == CONFIG_BIND ? " (-b)" : "", reason);
}

/* Is the key of that full name in the sentence? */
static bool is_named(const char *sentence, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_.";
    const size_t len = strlen(name);

    for (const char *p = sentence; (p = strstr(p, name)); p += len)
        if ((p == sentence || !strchr(letters, p[-1])) && (!p[len] || !strchr(letters, p[len])))
            return true;
    return false;
}

/*
 * Which key is a protocol's sentence about? Rather one that somebody wrote than one at its default,
 * and rather one of the protocol's own.
 */
static int find_named(const struct config *c, size_t owner, const char *sentence)
{
    int best = NOT_A_KEY, best_rank = -1;

    for (int key = 0; key < c->schema->n_keys; key++) {
        const struct config_row *row = &c->schema->rows[key];
        const int rank = 2 * (c->origin[key].kind != ORIGIN_DEFAULT) + (row->owner == owner);

        if (rank > best_rank && is_named(sentence, row->name)) {
            best = key;
            best_rank = rank;
        }
    }
    return best;
}

static int check_protocol(const struct config *c, size_t i, char *why, size_t why_size)
{
    const struct arb_protocol *p = c->schema->protocols[i];
    const struct arb_limits limits = {.max_buffered = c->max_buffered,
                                      .max_connections = c->max_connections,
                                      .workers = config_effective_workers(c)};
    char reason[CONFIG_WHY_LEN / 2] = "", where[CONFIG_WHERE_LEN];
    int r = p->check ? p->check(c->own[i], &limits, reason, sizeof(reason)) : 0, key;

    if (r == 0)
        return 0;
    reason[sizeof(reason) - 1] = '\0';
    key = find_named(c, i + 1, reason);
    if (key == NOT_A_KEY)
        snprintf(why, why_size, "protocol %s: %s", p->name, *reason ? reason : "not allowed");
    else
        snprintf(why, why_size, "%s: %s: %s", config_where(c, key, where),
                 c->schema->rows[key].name, reason);
    return -EINVAL;
}

/* A file or socket that a key makes. */
struct made {
    int key;
    const char *path;
};

static size_t add_made(struct made *made, size_t n, int key, const char *path)
{
    if (path[0] == '/')
        made[n++] = (struct made){key, path};
    return n;
}

/* No key may destroy what another one makes. */
static int check_paths(const struct config *c, char *why, size_t why_size)
{
    static const char scheme[] = "unix:";
    struct made made[CONFIG_BIND_MAX + 3];
    struct runtime_path place = {.socket = ""};
    char where[CONFIG_WHERE_LEN];
    size_t n = 0;

    if (strcmp(c->control, "auto") == 0)
        runtime_path_default(title_program(), getenv("RUNTIME_DIRECTORY"),
                             getenv("XDG_RUNTIME_DIR"), geteuid() == 0, &place);
    n = add_made(made, n, CONFIG_PID_FILE, c->pid_file);
    n = add_made(made, n, CONFIG_CONTROL, *place.socket ? place.socket : c->control);
    n = add_made(made, n, CONFIG_LOG_FILE, c->log_file);
    for (size_t i = 0; i < c->n_bind; i++)
        if (strncmp(c->bind[i].address, scheme, strlen(scheme)) == 0)
            n = add_made(made, n, CONFIG_BIND, c->bind[i].address + strlen(scheme));
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            const size_t k = c->origin[made[i].key].kind == ORIGIN_DEFAULT ? j : i;

            if (!config_path_is_same(made[i].path, made[j].path))
                continue;
            snprintf(why, why_size,
                     "%s: %s: \"%s\" is what %s has, allowed: a path of its own for each",
                     config_where(c, made[k].key, where), c->schema->rows[made[k].key].name,
                     made[k].path, c->schema->rows[made[i + j - k].key].name);
            return -EINVAL;
        }
    }
    return 0;
}

/* One port cannot have both. */
static int check_status(const struct config *c, char *why, size_t why_size)
{
    const char *reason;
    char where[CONFIG_WHERE_LEN];
    struct addr status, served;

    if (!*c->status_bind || addr_parse(c->status_bind, &status, &reason) < 0)
        return 0;
    for (size_t i = 0; i < c->n_bind; i++) {
        if (addr_parse(c->bind[i].address, &served, &reason) < 0 ||
            !addr_conflicts(&status, &served))
            continue;
        snprintf(why, why_size, "%s: %s: \"%s\" is what %s has, allowed: an address of its own",
                 config_where(c, CONFIG_STATUS_BIND, where), config_keys[CONFIG_STATUS_BIND].name,
                 c->status_bind, config_keys[CONFIG_BIND].name);
        return -EINVAL;
    }
    return 0;
}

/* A list may be right on another machine, or before the server was confined. */
static int check_cpus(const struct config *c, char *why, size_t why_size)
{
    char where[CONFIG_WHERE_LEN], text[CPUS_TEXT_LEN];
    cpu_set_t allowed, both;
    unsigned cpu = 0;

    if (c->cpu_affinity != AFFINITY_LIST || cpus_allowed(&allowed) < 0)
        return 0;
    CPU_AND(&both, &c->cpus, &allowed);
    if (CPU_EQUAL(&both, &c->cpus))
        return 0;
    while (!CPU_ISSET(cpu, &c->cpus) || CPU_ISSET(cpu, &allowed))
        cpu++;
    snprintf(why, why_size, "%s: %s: CPU %u is none that the server may use, allowed: %s",
             config_where(c, CONFIG_CPU_AFFINITY, where), config_keys[CONFIG_CPU_AFFINITY].name,
             cpu, cpus_format(&allowed, text));
    return -EINVAL;
}

/* To connect to a unix socket takes the right to write to its file; unix(7). */
static int check_control_mode(const struct config *c, char *why, size_t why_size)
{
    const struct config_access *access = &c->control_access;
    const int key = *access->group ? CONFIG_CONTROL_GROUP : CONFIG_STEER_GROUP;
    char where[CONFIG_WHERE_LEN];

    if (access->mode < 0 || (access->mode & 0020) || !(*access->group || *c->steer_group))
        return 0;
    snprintf(why, why_size,
             "%s: %s: %04o lets no member of %s connect, which takes the right to write, allowed: "
             "0660 or 0620, or no group",
             config_where(c, CONFIG_CONTROL_MODE, where), config_keys[CONFIG_CONTROL_MODE].name,
             (unsigned)access->mode, config_keys[key].name);
    return -EINVAL;
}

int config_check(const struct config *c, char *why, size_t why_size)
{
    int r = check_paths(c, why, why_size);

    if (r == 0)
        r = check_control_mode(c, why, why_size);
    if (r == 0)
        r = check_status(c, why, why_size);
    if (r == 0)
        r = check_cpus(c, why, why_size);
    for (size_t i = 0; r == 0 && i < c->schema->n_protocols; i++)
        r = check_protocol(c, i, why, why_size);
    return r;
}

int config_fingerprint(const struct config *c, size_t i, const char *version, uint64_t *ret)
{
    const struct arb_protocol *p = c->schema->protocols[i];
    uint64_t hash = hash_bytes(hash_name(p->name), &p->state_version, sizeof(p->state_version));

    hash = hash_bytes(hash, version, strlen(version) + 1);
    for (int key = 0; key < c->schema->n_keys; key++) {
        const struct config_row *row = &c->schema->rows[key];
        char *text = row->owner == i + 1 ? config_get(c, key) : NULL;

        if (row->owner != i + 1)
            continue;
        if (!text)
            return -ENOMEM;
        hash = hash_bytes(hash, row->name, strlen(row->name) + 1);
        hash = hash_bytes(hash, text, strlen(text) + 1);
        free(text);
    }
    *ret = hash;
    return 0;
}

const char *config_log_path(const struct config *c)
{
    static const char *const names[] = {"/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"};

    /* As paths they cannot be opened if standard error is a socket. */
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(c->log_file, names[i]) == 0)
            return "";
    if (strcmp(c->log_file, "syslog") == 0 || (c->is_daemon && !*c->log_file))
        return NULL;
    return c->log_file;
}

unsigned config_explain_workers(const struct config *c, char *why, size_t size)
{
    const unsigned max = (unsigned)config_keys[CONFIG_WORKERS].max;
    const bool is_listed = c->cpu_affinity == AFFINITY_LIST;
    struct cpu_quota quota;
    cpu_set_t cpus = c->cpus;
    unsigned n = 1;

    snprintf(why, size, "%s", config_keys[CONFIG_WORKERS].name);
    if (c->workers)
        return MIN(c->workers, max);
    if (is_listed || cpus_allowed(&cpus) == 0)
        n = MIN(MAX((unsigned)CPU_COUNT(&cpus), 1u), max);
    cpu_quota_read("", &quota);
    if (quota.cpus > 0 && quota.cpus < n)
        snprintf(why, size, "%u of %u CPUs: quota of %s", quota.cpus, n, quota.path);
    else
        snprintf(why, size, "%u CPU%s%s", n, n == 1 ? "" : "s",
                 is_listed ? " of arbiter.cpu_affinity" : "");
    return quota.cpus > 0 ? MIN(quota.cpus, n) : n;
}

unsigned config_effective_workers(const struct config *c)
{
    char why[CONFIG_WORKERS_WHY_LEN];

    return config_explain_workers(c, why, sizeof(why));
}

static uint64_t add_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

uint64_t config_server(const struct config *c)
{
    uint64_t hash = add_text(add_text(HASH_INIT, c->path), c->pid_file);

    for (size_t i = 0; !*c->path && i < c->n_bind; i++)
        hash = add_text(hash, c->bind[i].address);
    return hash;
}

int config_cpu(const struct config *c, const cpu_set_t *allowed, unsigned slot)
{
    if (c->cpu_affinity == AFFINITY_OFF)
        return -1;
    return cpus_nth(c->cpu_affinity == AFFINITY_LIST ? &c->cpus : allowed, slot - 1);
}
