/*
 * The answer of the arbiter comes as a memory file: it is longer than a message may be.
 */
#include "status/status_snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fds.h"

void status_snapshot_fini(struct status_snapshot *s)
{
    free(s->text);
    json_decref(s->info);
    *s = (struct status_snapshot){.text = NULL};
}

bool status_snapshot_is_fresh(const struct status_snapshot *s, uint64_t now_ms)
{
    return s->info && now_ms - s->taken_ms < STATUS_FRESH_MS;
}

bool status_snapshot_may_ask(const struct status_snapshot *s, uint64_t now_ms)
{
    return !s->asked_ms || now_ms - s->asked_ms >= STATUS_ANSWER_MS;
}

static int read_info(const void *data, size_t len, uint64_t now_ms, struct status_snapshot *ret)
{
    struct status_snapshot s = {.text = malloc(len), .len = len, .taken_ms = now_ms};

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

int status_snapshot_take(struct status_snapshot *s, int fd, uint64_t now_ms)
{
    struct status_snapshot taken;
    const void *data;
    size_t len;
    int rc = fds_map_sealed(fd, STATUS_INFO_MAX_BYTES, &data, &len);

    if (rc < 0)
        return rc;
    rc = read_info(data, len, now_ms, &taken);
    munmap((void *)(uintptr_t)data, len);
    if (rc < 0)
        return rc;
    status_snapshot_fini(s);
    *s = taken;
    return 0;
}
