/*
 * Descriptors that nobody has asked for: received, and closed where it may take long.
 */
#include "base/passed.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/fds.h"
#include "base/signals.h"
#include "base/util.h"

/* The longest that a close may linger: in the thread, and in the loop when the thread has more than
 * enough to do. */
enum { CLOSE_NS = 20000000, LOOP_CLOSE_NS = 1000000 };

/*
 * A thread that closes, one descriptor after the other. What no signal interrupts holds it up: a
 * file system that does not answer. The descriptors that come then stay open.
 */
static struct {
    pid_t pid; /* of the process that has started it: a forked child has none */
    sem_t begun; /* the thread has made all system calls of its beginning */
    sem_t filled; /* counts what is in `fds` */
    _Atomic unsigned closed, queued; /* numbers of the first and of the next in `fds` */
    int fds[PASSED_QUEUE_MAX];
} closer;

/* Does this kernel refuse them? Then nothing comes that was not asked for, and there is no work for
 * a thread. */
static enum { UNKNOWN, NO, YES } can_refuse;

int passed_refuse(int fd)
{
    const int off = 0;

    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) < 0 ? -errno : 0;
}

static int refuse_and_learn(int fd)
{
    const int rc = passed_refuse(fd);

    if (rc == 0 || rc == -ENOPROTOOPT)
        can_refuse = rc == 0 ? YES : NO;
    return rc;
}

static bool is_thread_needed(void)
{
    int fd = can_refuse == UNKNOWN ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

    if (fd >= 0)
        refuse_and_learn(fd);
    fds_close(&fd);
    return can_refuse != YES;
}

bool passed_may_come(int fd)
{
    const int rc = refuse_and_learn(fd);
    int domain = AF_UNIX;
    socklen_t len = sizeof(domain);

    if (rc == 0 || rc == -EOPNOTSUPP)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain == AF_UNIX;
}

static void on_impatience(int signo UNUSED)
{
}

/* A timer whose signal interrupts this thread in what it waits for. */
static bool make_timer(timer_t *ret)
{
    const struct sigaction action = {.sa_handler = on_impatience};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG};
    sigset_t urg;

    event._sigev_un._tid = gettid(); /* glibc 2.36 has no name for it, see sigevent(3type) */
    sigaction(SIGURG, &action, NULL);
    sigemptyset(&urg);
    sigaddset(&urg, SIGURG);
    pthread_sigmask(SIG_UNBLOCK, &urg, NULL);
    return timer_create(CLOCK_MONOTONIC, &event, ret) == 0;
}

/* A socket that lies unread in this one may linger as well. */
static void close_impatiently(const timer_t *timer, int fd, long ns)
{
    const struct itimerspec impatience = {{0, ns}, {0, ns}}, never = {{0, 0}, {0, 0}};

    if (timer)
        timer_settime(*timer, 0, &impatience, NULL);
    close(fd);
    if (timer)
        timer_settime(*timer, 0, &never, NULL);
}

/* With a timer of this thread's, which a forked child has not. */
static const timer_t *loop_timer(void)
{
    static pid_t owner;
    static timer_t timer;

    if (owner != getpid())
        owner = make_timer(&timer) ? getpid() : 0;
    return owner ? &timer : NULL;
}

static void close_in_loop(int fd)
{
    close_impatiently(loop_timer(), fd, LOOP_CLOSE_NS);
}

static void *closer_main(void *unused)
{
    timer_t timer;
    const bool has_timer = make_timer(&timer);

    sem_post(&closer.begun);
    for (;;) {
        const unsigned n = atomic_load(&closer.closed);
        int fd;

        while (sem_wait(&closer.filled) < 0)
            ;
        fd = closer.fds[n % PASSED_QUEUE_MAX];
        atomic_store(&closer.closed, n + 1);
        close_impatiently(has_timer ? &timer : NULL, fd, CLOSE_NS);
    }
    return unused;
}

/* It has no work but this. Returns 0 or -errno. */
static int closer_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t mask;
    int rc;

    if (closer.pid == getpid())
        return 0;
    sem_init(&closer.begun, 0, 0);
    sem_init(&closer.filled, 0, 0);
    atomic_store(&closer.closed, 0);
    atomic_store(&closer.queued, 0);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    signals_block_all(&mask);
    rc = pthread_create(&thread, &attr, closer_main, NULL);
    signals_restore(&mask);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        closer.pid = getpid();
    return -rc;
}

/* Returns 0, -ENOBUFS or -errno. */
static int closer_give(int fd)
{
    const int rc = closer_start();
    const unsigned n = atomic_load(&closer.queued);

    if (rc < 0)
        return rc;
    if (n - atomic_load(&closer.closed) >= PASSED_QUEUE_MAX)
        return -ENOBUFS;
    closer.fds[n % PASSED_QUEUE_MAX] = fd;
    atomic_store(&closer.queued, n + 1);
    sem_post(&closer.filled);
    return 0;
}

void passed_prepare(void)
{
    if (!is_thread_needed())
        return;
    if (closer_start() == 0)
        while (sem_wait(&closer.begun) < 0)
            ;
    loop_timer();
}

void passed_close(int *fd)
{
    const struct linger off = {0};

    if (*fd < 0)
        return;
    if (is_thread_needed()) {
        /* What waits alone need not wait long: the thread has more to close. */
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
        if (closer_give(*fd) < 0)
            close_in_loop(*fd);
        *fd = -1;
    }
    fds_close(fd);
}

ssize_t passed_recv(int fd, struct iovec *iov, int n_iov)
{
    struct fdpass got;
    const int rc = fdpass_receive(fd, iov, n_iov, &got);

    if (rc < 0) {
        errno = -rc;
        return -1;
    }
    for (size_t i = 0; i < got.n_fds; i++)
        passed_close(&got.fds[i]);
    return (ssize_t)got.len;
}
