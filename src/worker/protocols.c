/*
 * The life of protocols in a worker.
 */
#include "worker/protocols.h"

#include <errno.h>

#include "actor/own.h"
#include "base/log.h"
#include "conf/config.h"

static int start_one(struct protocols *p, const struct actor_boot *boot,
                     struct actor_process *process)
{
    const unsigned i = p->n;
    const struct arb_protocol *table = boot->program->protocols[i];
    struct conn_protocol *c = &p->list[i];
    int rc;

    *c = (struct conn_protocol){.table = table, .actor = &p->holds[i]};
    own_hold(boot->own, table->name, process, c->actor);
    rc = config_fingerprint(boot->config, i, boot->program->version, &c->fingerprint);
    if (rc == 0 && table->start)
        rc = table->start(c->actor, boot->config->own[i], &c->server);
    c->actor->data = c->server;
    if (rc == 0) {
        p->n++;
        return 0;
    }
    log_error(boot->log, "a protocol cannot start", F_STR("protocol", table->name), F_ERR(rc));
    if (c->server && table->stop)
        table->stop(c->server);
    actor_fini(c->actor);
    return rc < 0 ? rc : -EINVAL;
}

int protocols_start(struct protocols *p, const struct actor_boot *boot,
                    struct actor_process *process)
{
    int rc = 0;

    p->n = 0;
    while (rc == 0 && boot->program->protocols[p->n])
        rc = start_one(p, boot, process);
    if (rc < 0)
        protocols_stop(p);
    return rc;
}

void protocols_run(struct protocols *p)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->list[i].table->run)
            p->list[i].table->run(p->list[i].server);
}

void protocols_stop(struct protocols *p)
{
    while (p->n > 0) {
        const struct conn_protocol *c = &p->list[--p->n];

        if (c->table->stop)
            c->table->stop(c->server);
        actor_fini(c->actor);
    }
}
