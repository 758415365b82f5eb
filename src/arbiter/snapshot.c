/*
 * Answers a status actor with what `info` says. The text goes in a sealed memory file, because it
 * can be longer than a message may be. The arbiter does not wait for anything here, and leaves
 * questions that come too fast unanswered.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "actor/command.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

/* A status actor asks at most each STATUS_FRESH_MS, 250 ms; its timer may be early. */
enum { SNAPSHOT_MIN_MS = 100 };

/* Returns 0 or -errno. */
static int send_snapshot(struct child *c, char *text, uint64_t taken_ns)
{
    struct iovec part = {text, strlen(text)};
    int fd = fds_memfd("snapshot");
    int rc = fd < 0 ? fd : fds_write_sealed(fd, &part, 1);

    if (rc == 0)
        rc = children_send_fds(c, "snapshot", 0,
                               json_pack("{s:I}", "taken_ns", (json_int_t)taken_ns), &fd, 1);
    fds_close(&fd);
    return rc;
}

void snapshot_on_asked(struct arbiter *a, struct child *c, json_t *args UNUSED)
{
    const uint64_t now_ns = clock_mono_ns(), now_ms = now_ns / 1000000;
    json_t *info;
    char *text;
    int rc;

    if (!child_is_status(c) || now_ms - c->shown_ms < SNAPSHOT_MIN_MS)
        return;
    c->shown_ms = now_ms;
    info = stats_info(a);
    text = info ? json_dumps(info, JSON_COMPACT) : NULL;
    json_decref(info);
    rc = text ? send_snapshot(c, text, now_ns) : -ENOMEM;
    free(text);
    if (rc < 0)
        log_warning_limited(a->log, "what is to be shown over HTTP cannot be passed on", F_CHILD(c),
                            F_ERR(rc));
}
