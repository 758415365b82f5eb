/*
 * What a process says of itself: memory that it has touched, descriptors that it has opened.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/usage.h"
#include "base/clock.h"
#include "base/util.h"

static bool is_old_kernel; /* whose fstat does not tell how many descriptors there are */

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

int __wrap_fstat(int fd, struct stat *st)
{
    const int rc = __real_fstat(fd, st);

    if (is_old_kernel)
        st->st_size = 0;
    return rc;
}

static void usage_look__after_touching_memory_and_time__has_grown(void **state UNUSED)
{
    enum { BYTES = 32 << 20 };
    struct usage u;
    struct usage_now before, after;
    char *memory;

    usage_open(&u);
    usage_look(&u, 0, &before);
    memory = malloc(BYTES);
    assert_non_null(memory);
    memset(memory, 1, BYTES);
    do
        usage_look(&u, 0, &after);
    while (after.cpu_ms < before.cpu_ms + 5);
    free(memory);
    assert_true(after.memory_bytes >= before.memory_bytes + BYTES / 2);
    usage_close(&u);
    assert_int_equal(usage_memory_bytes(&u), 0);
}

static void usage_look__descriptors__counted_by_the_kernel_or_from_the_start(void **state UNUSED)
{
    for (int i = 0; i <= 1; i++) {
        struct usage u;
        struct usage_now before, after;
        int fds[9];

        is_old_kernel = i;
        usage_open(&u);
        usage_look(&u, 0, &before);
        for (size_t k = 0; k < ARRAY_SIZE(fds); k++)
            fds[k] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        usage_look(&u, ARRAY_SIZE(fds), &after);
        assert_true(before.fds >= 5); /* three, and those of usage_open */
        assert_int_equal(after.fds, before.fds + ARRAY_SIZE(fds));
        assert_int_equal(after.fds_max, (uint64_t)sysconf(_SC_OPEN_MAX));
        for (size_t k = 0; k < ARRAY_SIZE(fds); k++)
            close(fds[k]);
        usage_close(&u);
    }
    is_old_kernel = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_look__after_touching_memory_and_time__has_grown),
        cmocka_unit_test(usage_look__descriptors__counted_by_the_kernel_or_from_the_start),
    };

    return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
