#include "support/inherited.h"

#include <arbiter/server.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actor/scoreboard.h"
#include "base/fds.h"
#include "support/schema.h"

const struct arb_program *inherited_program;
bool inherited_has_keepers;

static int prototypes[INHERITED_N];

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

static int listen_anywhere(void)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    must(fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
         listen(fd, 1) == 0);
    return fd;
}

static void make_prototypes(void)
{
    struct scoreboard board;
    int *p = prototypes;

    must(scoreboard_open(&board, TR_RECORDS_MAX) == 0);
    *p++ = listen_anywhere();
    *p++ = listen_anywhere();
    *p++ = fcntl(board.fd, F_DUPFD_CLOEXEC, 3);
    must(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
    p += 2;
    *p++ = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (p < prototypes + INHERITED_N) {
        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p) == 0);
        p += 2;
    }
    scoreboard_close(&board);
}

bool inherited_is_known(const struct upgrade_state *s)
{
    for (size_t i = 0; i < s->n_fds; i++)
        if (s->fds[i] < INHERITED_FIRST || s->fds[i] >= INHERITED_FIRST + INHERITED_N)
            return false;
    return true;
}

int inherited_unpack(const struct upgrade_state *s, struct arbiter *a, char *why)
{
    static char *argv[] = {"echo-arbiter", NULL};
    static const struct arbiter_image image = {.path = "/nowhere/echo-arbiter", .argv = argv};
    static const struct arb_program program = {.name = INHERITED_PROGRAM, .version = "9"};
    static struct arbiter_options options = {.image = &image};
    static struct log none = {.fd = -1, .level = LOG_LEVEL_ERROR};

    static const struct actor_kind keeper = {.name = "keeper"};

    options.keeper = inherited_has_keepers ? &keeper : NULL;
    options.program = inherited_program ? inherited_program : &program;
    if (!prototypes[0])
        make_prototypes();
    for (int i = 0; i < INHERITED_N; i++)
        must(dup2(prototypes[i], INHERITED_FIRST + i) >= 0);
    options.schema = schema_of_echo();
    must(arbiter_init(a, &none, &options) == 0);
    return upgrade_state_unpack(s, a, why);
}

bool inherited_are_open(void)
{
    for (int i = 0; i < INHERITED_N; i++)
        if (fcntl(INHERITED_FIRST + i, F_GETFD) < 0)
            return false;
    return true;
}

/* No file of these names is ours, no process of these numbers, and no log is written, whatever the
 * state says. */
void inherited_fini(struct arbiter *a)
{
    struct list *link;

    list_for_each (link, &a->sinks.list) {
        struct sink *s = container_of(link, struct sink, link);

        s->pid = 0;
        s->is_ready = false;
        fds_close(&s->ends[0]);
    }
    for (size_t i = 0; a->live && i < a->live->n_listeners; i++)
        a->live->listeners[i]->owner = 0;
    if (a->control.listener)
        a->control.listener->owner = 0;
    a->control.made_dir[0] = a->pidfile.path[0] = '\0';
    arbiter_fini(a);
    for (int i = 0; i < INHERITED_N; i++)
        close(INHERITED_FIRST + i);
}
