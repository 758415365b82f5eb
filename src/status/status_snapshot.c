/*
 * The answer of the arbiter comes as a memory file: it is longer than a message may be.
 */
#include "status/status_snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fds.h"
#include "base/util.h"

void status_snapshot_fini(struct status_snapshot *s)
{
    free(s->text);
    json_decref(s->info);
    *s = (struct status_snapshot){.text = NULL};
}

bool status_snapshot_has(const struct status_snapshot *s, uint64_t since_ns)
{
    return s->info && s->taken_ns > since_ns;
}

/* The arbiter limits how often it answers, from answer to answer, and an answer may come long after
 * its question. */
uint64_t status_snapshot_wait_ms(const struct status_snapshot *s, uint64_t now_ms)
{
    const uint64_t gap_ms = s->is_asking ? STATUS_ANSWER_MS : STATUS_FRESH_MS;
    const uint64_t since_ms = s->is_asking ? s->last_ms : MAX(s->last_ms, s->taken_ns / 1000000);

    return !since_ms || now_ms >= since_ms + gap_ms ? 0 : since_ms + gap_ms - now_ms;
}

void status_snapshot_asked(struct status_snapshot *s, uint64_t now_ms)
{
    s->last_ms = now_ms;
    s->is_asking = true;
}

static int read_info(const void *data, size_t len, struct status_snapshot *ret)
{
    struct status_snapshot s = {.text = malloc(len), .len = len};

    if (!s.text)
        return -ENOMEM;
    memcpy(s.text, data, len);
    s.info = json_loadb(s.text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(s.info)) {
        status_snapshot_fini(&s);
        return -EBADMSG;
    }
    *ret = s;
    return 0;
}

/* After a pause of the arbiter several may come, each newer than the one before. */
int status_snapshot_take(struct status_snapshot *s, int fd, uint64_t taken_ns)
{
    struct status_snapshot taken;
    const void *data;
    size_t len;
    int rc = fds_map_sealed(fd, STATUS_INFO_MAX_BYTES, &data, &len);

    if (rc < 0)
        return rc;
    rc = read_info(data, len, &taken);
    munmap((void *)(uintptr_t)data, len);
    if (rc < 0)
        return rc;
    taken.taken_ns = taken_ns;
    taken.last_ms = s->last_ms;
    status_snapshot_fini(s);
    *s = taken;
    return 0;
}
