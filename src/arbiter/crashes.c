/*
 * The last crashes. Runs in the arbiter.
 */
#include "arbiter/crashes.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "actor/command.h"
#include "actor/sandbox.h"
#include "base/addr.h"
#include "base/escape.h"
#include "base/log.h"
#include "base/title.h"
#include "base/util.h"
#include "wire/message.h"

static void check_lengths(struct crash_record *r)
{
    r->payload_len = MIN(r->payload_len, (uint64_t)CRASH_PAYLOAD_MAX);
    r->peer_len = MIN(r->peer_len, (uint64_t)CRASH_PEER_MAX);
    r->n_frames = MIN(r->n_frames, (uint64_t)CRASH_FRAMES_MAX);
}

/* "" = not known. Returns @buf. */
static const char *crash_peer(const struct crash_record *r, char buf[ADDR_TEXT_LEN])
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};

    memcpy(&peer, r->peer, MIN(r->peer_len, (uint64_t)sizeof(peer)));
    buf[0] = '\0';
    return r->peer_len > 0 ? addr_format((struct sockaddr *)&peer, (socklen_t)r->peer_len, buf)
                           : buf;
}

static const char *crash_signal_name(const struct crash_record *r)
{
    const char *name = r->signo < NSIG ? sigabbrev_np((int)r->signo) : NULL;

    return name ? name : "?";
}

/* What addr2line takes, whatever the address was of that one process; and the function, if its
 * module exports it. */
static void find_place(uint64_t address, char *ret, size_t size)
{
    void *const p = (void *)(uintptr_t)address; /* is looked up, and not followed */
    Dl_info at;
    int n;

    ret[0] = '\0';
    if (!dladdr(p, &at) || !at.dli_fname)
        return;
    n = snprintf(ret, size, "%.48s+0x%llx", title_module(&at),
                 (unsigned long long)(address - (uintptr_t)at.dli_fbase));
    if (at.dli_sname && n > 0 && (size_t)n < size)
        snprintf(ret + n, size - (size_t)n, " %s+0x%llx", at.dli_sname,
                 (unsigned long long)(address - (uintptr_t)at.dli_saddr));
}

static void find_places(struct crash_entry *e)
{
    find_place(e->record.pc, e->place, sizeof(e->place));
    for (uint64_t i = 0; i < e->record.n_frames; i++)
        find_place(e->record.frames[i], e->places[i], sizeof(e->places[i]));
}

static struct crash_entry *add_crash(struct crashes *c, const char *id, uint32_t slot,
                                     uint64_t incarnation, pid_t pid)
{
    struct crash_entry *e = &c->last[c->n % CRASHES_KEPT];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    *e = (struct crash_entry){
        .number = ++c->n,
        .wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .slot = slot,
        .incarnation = incarnation,
        .pid = pid,
    };
    snprintf(e->id, sizeof(e->id), "%s", id);
    return e;
}

static void log_crash_entry(struct log *log, const struct crash_entry *e)
{
    const struct crash_record *r = &e->record;
    char payload[4 * CRASH_PAYLOAD_MAX + 1], peer[ADDR_TEXT_LEN];
    const struct log_field fields[] = {
        F_UINT("slot", e->slot),
        F_INT("worker_pid", e->pid),
        F_UINT("number", e->number),
        F_CAUSE_STR("signal", crash_signal_name(r)),
        F_UINT("rescued", r->rescued),
        F_INT("fd", r->fd),
        F_STR("peer", crash_peer(r, peer)),
        F_STR("payload", escape_bytes(r->payload, r->payload_len, payload)),
        F_CAUSE_STR("id", e->id),
        F_CAUSE_STR(*e->call ? "forbidden_call" : NULL, e->call),
        {.key = NULL},
    };

    if (log->level <= LOG_LEVEL_WARNING)
        log_emit_limited(log, LOG_LEVEL_WARNING, "crash", fields);
}

void crashes_note(struct crashes *c, struct log *log, const char *id, uint32_t slot,
                  uint64_t incarnation, pid_t pid, bool is_ours, const struct crash_record *r,
                  const struct sandbox *sandbox)
{
    struct crash_entry *e;

    if (r->signo == 0)
        return;
    e = add_crash(c, id, slot, incarnation, pid);
    e->record = *r;
    check_lengths(&e->record);
    if (is_ours)
        find_places(e);
    if (r->signo == SIGSYS && r->code == SANDBOX_SYS_SECCOMP && r->call != SANDBOX_NONE)
        snprintf(e->call, sizeof(e->call), "%s", sandbox_call_name(sandbox, r->call));
    log_crash_entry(log, e);
}

void crashes_note_oom(struct crashes *c, struct log *log, const char *id, uint32_t slot,
                      uint64_t incarnation, pid_t pid, uint64_t uptime_ms,
                      const struct score_record *r)
{
    struct crash_entry *e = add_crash(c, id, slot, incarnation, pid);

    e->is_oom = true;
    e->record = (struct crash_record){
        .signo = SIGKILL,
        .code = SI_KERNEL,
        .fd = -1,
        .requests = counter_get(&r->counters.requests),
        .connections = scoreboard_connections(r),
        .uptime_ms = uptime_ms,
    };
    log_warning_limited(log, "the kernel has killed a process because memory ran out",
                        F_STR("id", id), F_INT("process", pid), F_UINT("number", e->number),
                        F_UINT("connections", e->record.connections),
                        F_STR("hint", "allow the control group more, or set arbiter.max_memory"));
}

/* The last death of that id is meant: one before it had its answer, or nothing to pass on. */
void crashes_rescued(struct crashes *c, const char *id, uint64_t count)
{
    const uint64_t oldest = c->n > CRASHES_KEPT ? c->n - CRASHES_KEPT : 0;

    for (uint64_t n = c->n; n > oldest; n--) {
        struct crash_entry *e = &c->last[(n - 1) % CRASHES_KEPT];

        if (strcmp(e->id, id) != 0)
            continue;
        if (e->is_oom && !e->is_judged) {
            e->record.rescued = count;
            e->is_judged = true;
        }
        return;
    }
}

static void set_hex(json_t *o, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
    json_object_set_new(o, key, json_string(text));
}

static json_t *describe_crash(const struct crash_entry *e)
{
    const struct crash_record *r = &e->record;
    json_t *o = json_object();
    char text[4 * CRASH_PAYLOAD_MAX + 1], peer[ADDR_TEXT_LEN];
    time_t seconds = (time_t)(e->wall_ns / 1000000000u);
    struct tm tm;

    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    message_set_uint(o, "number", e->number);
    json_object_set_new(o, "time", json_string(text));
    json_object_set_new(o, "id", json_string(e->id));
    message_set_uint(o, "slot", e->slot);
    message_set_uint(o, "incarnation", e->incarnation);
    message_set_uint(o, "pid", (uint64_t)e->pid);
    json_object_set_new(o, "signal", json_string(crash_signal_name(r)));
    json_object_set_new(o, "code", json_integer(r->code));
    if (*e->call) {
        json_object_set_new(o, "cause", json_sprintf("forbidden call: %s", e->call));
        json_object_set_new(o, "forbidden_call", json_string(e->call));
    }
    if (e->is_oom)
        json_object_set_new(o, "cause", json_string("out of memory"));
    else if (r->code <= 0)
        message_set_uint(o, "sent_by_pid", r->sender_pid);
    else
        set_hex(o, "address", r->address);
    if (!e->is_oom)
        set_hex(o, "pc", r->pc);
    if (e->place[0])
        json_object_set_new(o, "at", command_text(e->place));
    if (!e->is_oom)
        set_hex(o, "sp", r->sp);
    json_object_set_new(o, "fd", json_integer(r->fd));
    if (r->peer_len > 0)
        json_object_set_new(o, "peer", command_text(crash_peer(r, peer)));
    message_set_uint(o, "requests", r->requests);
    message_set_uint(o, "connections", r->connections);
    message_set_uint(o, "uptime_ms", r->uptime_ms);
    message_set_uint(o, "rescued", r->rescued);
    if (r->payload_len)
        json_object_set_new(o, "payload",
                            json_string(escape_bytes(r->payload, r->payload_len, text)));
    return o;
}

static const struct crash_entry *find_crash(const struct crashes *c, uint64_t number)
{
    if (number == 0 || number > c->n || number + CRASHES_KEPT <= c->n)
        return NULL;
    return &c->last[(number - 1) % CRASHES_KEPT];
}

json_t *crashes_list(const struct crashes *c)
{
    json_t *list = json_array();
    const uint64_t first = c->n > CRASHES_KEPT ? c->n - CRASHES_KEPT + 1 : 1;

    for (uint64_t number = first; number <= c->n; number++)
        json_array_append_new(list, describe_crash(find_crash(c, number)));
    return list;
}

json_t *crashes_brief(const struct crashes *c)
{
    static const char *const shown[] = {"number",      "time",    "id",    "pid", "signal",
                                        "connections", "rescued", "cause", "at"};
    json_t *all = crashes_list(c), *list = json_array(), *crash;
    size_t i;

    json_array_foreach(all, i, crash)
    {
        json_t *o = json_object();

        for (size_t k = 0; k < ARRAY_SIZE(shown); k++)
            if (json_object_get(crash, shown[k]))
                json_object_set(o, shown[k], json_object_get(crash, shown[k]));
        json_array_append_new(list, o);
    }
    json_decref(all);
    return list;
}

json_t *crashes_show(const struct crashes *c, uint64_t number)
{
    const struct crash_entry *e = find_crash(c, number);
    json_t *o, *frames;

    if (!e)
        return NULL;
    o = describe_crash(e);
    frames = json_array();
    for (uint64_t i = 0; i < e->record.n_frames; i++) {
        char text[CRASH_PLACE_LEN + 24];

        snprintf(text, sizeof(text), "0x%llx%s%s", (unsigned long long)e->record.frames[i],
                 e->places[i][0] ? " " : "", e->places[i]);
        json_array_append_new(frames, command_text(text));
    }
    json_object_set_new(o, "frames", frames);
    return o;
}
