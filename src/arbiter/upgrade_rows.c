/*
 * One table a struct: how its members are called and bounded.
 */
#include "arbiter/upgrade_rows.h"

#include "actor/crash.h"
#include "arbiter/crashes.h"
#include "arbiter/sinks.h"
#include "arbiter/transition.h"
#include "arbiter/upgrade_state.h"
#include "base/util.h"

enum { LIST_MAX = 1 << 16 };

#define ANY_U64 ((uint64_t)INT64_MAX)
#define ROW(type, member, kind, max)                                                               \
    {                                                                                              \
#member, kind, offsetof(struct type, member), 0, max, NULL                                 \
    }
#define LIST_ROW(type, member, max, of)                                                            \
    {                                                                                              \
#member, LIST, offsetof(struct type, member), offsetof(struct type, n_##member), max, of   \
    }
#define MAYBE_LIST_ROW(type, member, max, of)                                                      \
    {                                                                                              \
#member, MAYBE_LIST, offsetof(struct type, member), offsetof(struct type, n_##member),     \
            max, of                                                                                \
    }
#define TABLE(type, rows)                                                                          \
    {                                                                                              \
        rows, ARRAY_SIZE(rows), sizeof(struct type)                                                \
    }

/* clang-format off */
static const struct row value_rows[] = {
    ROW(state_value, key, TEXT, 0),
    ROW(state_value, text, TEXT, 0),
    ROW(state_value, line, UINT, UINT32_MAX),
};
static const struct row listener_rows[] = {
    ROW(state_listener, text, TEXT, 0),
    ROW(state_listener, fd, FD, 0),
    ROW(state_listener, backlog, UINT, INT32_MAX),
    ROW(state_listener, is_owner, BOOL, 0),
    ROW(state_listener, dev, WORD, 0),
    ROW(state_listener, ino, WORD, 0),
};
static const struct row sink_rows[] = {
    ROW(state_sink, path, TEXT, 0),
    ROW(state_sink, read_fd, MAYBE_FD, 0),
    ROW(state_sink, write_fd, MAYBE_FD, 0),
    ROW(state_sink, control_fd, MAYBE_FD, 0),
    ROW(state_sink, pid, UINT, INT32_MAX),
};
static const struct row total_rows[] = {
    ROW(state_total, name, TEXT, 0),
    ROW(state_total, value, UINT, ANY_U64),
};
static const struct table totals = TABLE(state_total, total_rows);

static const struct row child_rows[] = {
    ROW(state_child, pid, UINT, INT32_MAX),
    ROW(state_child, record, UINT, TR_RECORDS_MAX - 1),
    ROW(state_child, slot, UINT, TR_SLOTS_MAX),
    ROW(state_child, incarnation, UINT, ANY_U64),
    ROW(state_child, revision, UINT, ANY_U64),
    ROW(state_child, forked_ms, UINT, ANY_U64),
    ROW(state_child, ready_ms, UINT, ANY_U64),
    ROW(state_child, is_killed, BOOL, 0),
    ROW(state_child, n_gives, UINT, UINT32_MAX),
    ROW(state_child, mailbox_fd, MAYBE_FD, 0),
    ROW(state_child, phase, TEXT, 0),
    ROW(state_child, role, TEXT, 0),
    ROW(state_child, wants_heir, BOOL, 0),
    ROW(state_child, is_quick, BOOL, 0),
    ROW(state_child, is_overdue, BOOL, 0),
    ROW(state_child, exit_timeout_ms, UINT, ANY_U64),
    ROW(state_child, since_ms, UINT, ANY_U64),
    ROW(state_child, deadline_ms, UINT, ANY_U64),
    LIST_ROW(state_child, counters, LIST_MAX, &totals),
};
static const struct row slot_rows[] = {
    ROW(state_slot, slot, UINT, TR_SLOTS_MAX),
    ROW(state_slot, incarnation, UINT, ANY_U64),
    ROW(state_slot, rescue_recv_fd, MAYBE_FD, 0),
    ROW(state_slot, rescue_send_fd, MAYBE_FD, 0),
};
static const struct row word_rows[] = {
    ROW(state_word, value, WORD, 0),
};
static const struct row pending_rows[] = {
    ROW(state_pending, id, JSON, 0),
    ROW(state_pending, wait, TEXT, 0),
    ROW(state_pending, deadline_ms, UINT, ANY_U64),
};
static const struct table values = TABLE(state_value, value_rows);
static const struct table listeners = TABLE(state_listener, listener_rows);
static const struct table sinks = TABLE(state_sink, sink_rows);
static const struct table children = TABLE(state_child, child_rows);
static const struct table slots = TABLE(state_slot, slot_rows);
static const struct table pendings = TABLE(state_pending, pending_rows);
static const struct table words = TABLE(state_word, word_rows);

static const struct row crash_rows[] = {
    ROW(state_crash, number, UINT, ANY_U64),
    ROW(state_crash, wall_ns, UINT, ANY_U64),
    ROW(state_crash, slot, UINT, TR_SLOTS_MAX),
    ROW(state_crash, incarnation, UINT, ANY_U64),
    ROW(state_crash, pid, UINT, INT32_MAX),
    ROW(state_crash, signo, WORD, 0),
    ROW(state_crash, code, WORD, 0),
    ROW(state_crash, sender_pid, WORD, 0),
    ROW(state_crash, address, WORD, 0),
    ROW(state_crash, pc, WORD, 0),
    ROW(state_crash, sp, WORD, 0),
    ROW(state_crash, fd, WORD, 0),
    ROW(state_crash, requests, WORD, 0),
    ROW(state_crash, connections, WORD, 0),
    ROW(state_crash, uptime_ms, WORD, 0),
    ROW(state_crash, rescued, WORD, 0),
    ROW(state_crash, payload, BYTES, CRASH_PAYLOAD_MAX),
    LIST_ROW(state_crash, frames, CRASH_FRAMES_MAX, &words),
};
static const struct table crashes = TABLE(state_crash, crash_rows);

static const struct row client_rows[] = {
    ROW(state_client, fd, FD, 0),
    ROW(state_client, in, BYTES, 1 << 20),
    ROW(state_client, out, BYTES, 16 << 20),
    LIST_ROW(state_client, pending, LIST_MAX, &pendings),
};
static const struct table clients = TABLE(state_client, client_rows);

static const struct row state_rows[] = {
    ROW(upgrade_state, pid, UINT, INT32_MAX),
    ROW(upgrade_state, version, TEXT, 0),
    ROW(upgrade_state, path, TEXT, 0),
    ROW(upgrade_state, started_ms, UINT, ANY_U64),
    ROW(upgrade_state, asked_ms, UINT, ANY_U64),
    ROW(upgrade_state, reloads, UINT, ANY_U64),
    ROW(upgrade_state, restarts, UINT, ANY_U64),
    ROW(upgrade_state, upgrades, UINT, ANY_U64),
    ROW(upgrade_state, is_reload_due, BOOL, 0),
    ROW(upgrade_state, is_upgrade_due, BOOL, 0),
    ROW(upgrade_state, revision, UINT, ANY_U64),
    ROW(upgrade_state, last_revision, UINT, ANY_U64),
    ROW(upgrade_state, workers, UINT, TR_SLOTS_MAX),
    ROW(upgrade_state, config_path, TEXT, 0),
    LIST_ROW(upgrade_state, values, LIST_MAX, &values),
    ROW(upgrade_state, log_level, TEXT, 0),
    MAYBE_LIST_ROW(upgrade_state, sinks, SINKS_MAX, &sinks),
    LIST_ROW(upgrade_state, listeners, LIST_MAX, &listeners),
    LIST_ROW(upgrade_state, children, TR_RECORDS_MAX, &children),
    LIST_ROW(upgrade_state, slots, TR_SLOTS_MAX, &slots),
    ROW(upgrade_state, crash_count, UINT, ANY_U64),
    LIST_ROW(upgrade_state, crashes, CRASHES_KEPT, &crashes),
    LIST_ROW(upgrade_state, totals, LIST_MAX, &totals),
    ROW(upgrade_state, scoreboard_fd, FD, 0),
    ROW(upgrade_state, scoreboard_layout, WORD, 0),
    ROW(upgrade_state, pid_file_fd, MAYBE_FD, 0),
    ROW(upgrade_state, pid_file, TEXT, 0),
    ROW(upgrade_state, control_fd, MAYBE_FD, 0),
    ROW(upgrade_state, control, TEXT, 0),
    ROW(upgrade_state, control_dir, TEXT, 0),
    ROW(upgrade_state, control_dev, WORD, 0),
    ROW(upgrade_state, control_ino, WORD, 0),
    LIST_ROW(upgrade_state, clients, LIST_MAX, &clients),
    ROW(upgrade_state, last_request, UINT, ANY_U64),
    ROW(upgrade_state, notes, JSON, 0),
};
const struct table upgrade_state_table = TABLE(upgrade_state, state_rows);
/* clang-format on */
