/*
 * What a service manager is told: the difference to what it has heard, and nothing twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "arbiter/notify.h"
#include "base/util.h"

static const struct notify_news nothing;

static struct notify_news news(enum notify_phase phase, const char *status)
{
    struct notify_news n = {.phase = phase};

    strcpy(n.status, status);
    return n;
}

static void must_say(const struct notify_news *said, const struct notify_news *now,
                     const char *want)
{
    char text[NOTIFY_TEXT_LEN] = "";
    const size_t len = notify_text(said, now, 5000000, text);

    assert_int_equal(len, strlen(want));
    assert_string_equal(text, want);
}

static void notify_text__each_step__its_words(void **state UNUSED)
{
    struct notify_news starting = news(NOTIFY_STARTING, "starting"),
                       serving = news(NOTIFY_SERVING, "serving"),
                       changing = news(NOTIFY_CHANGING, "a reload is under way"),
                       stopping = news(NOTIFY_STOPPING, "stopping");

    must_say(&nothing, &starting, "STATUS=starting\n");
    must_say(&starting, &serving, "READY=1\nSTATUS=serving\n");
    must_say(&serving, &changing,
             "RELOADING=1\nMONOTONIC_USEC=5000000\nSTATUS=a reload is under way\n");
    must_say(&changing, &serving, "READY=1\nSTATUS=serving\n");
    must_say(&serving, &stopping, "STOPPING=1\nSTATUS=stopping\n");
}

static void notify_text__nothing_has_changed__nothing(void **state UNUSED)
{
    struct notify_news serving = news(NOTIFY_SERVING, "serving");

    must_say(&serving, &serving, "");
    must_say(&nothing, &nothing, "");
}

/* A datagram was not taken: what it said is in the next one. */
static void notify_text__step_was_not_heard__said_with_the_next(void **state UNUSED)
{
    struct notify_news starting = news(NOTIFY_STARTING, "starting"),
                       serving = news(NOTIFY_SERVING, "serving: revision 2");

    must_say(&starting, &serving, "READY=1\nSTATUS=serving: revision 2\n");
}

static void notify_text__time_that_it_takes__from_now(void **state UNUSED)
{
    struct notify_news serving = news(NOTIFY_SERVING, ""), stopping = news(NOTIFY_STOPPING, "");

    stopping.until_ms = 7500;
    must_say(&serving, &stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000\n");
    must_say(&stopping, &stopping, "");
    stopping.until_ms = 4000; /* is over already */
    must_say(&serving, &stopping, "STOPPING=1\n");
}

static void notify_text__daemon__its_process(void **state UNUSED)
{
    struct notify_news starting = news(NOTIFY_STARTING, "");

    starting.main_pid = 4711;
    must_say(&nothing, &starting, "MAINPID=4711\n");
}

static void notify_text__longest_of_all__whole_lines(void **state UNUSED)
{
    struct notify_news now = news(NOTIFY_CHANGING, "");
    char text[NOTIFY_TEXT_LEN];
    size_t len;

    memset(now.status, 'x', sizeof(now.status) - 1);
    now.main_pid = INT32_MAX;
    now.until_ms = UINT64_MAX / 1000;
    len = notify_text(&nothing, &now, 1, text);
    assert_true(len < sizeof(text) && text[len] == '\0' && text[len - 1] == '\n');
    assert_non_null(strstr(text, "STATUS=xxx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notify_text__each_step__its_words),
        cmocka_unit_test(notify_text__nothing_has_changed__nothing),
        cmocka_unit_test(notify_text__step_was_not_heard__said_with_the_next),
        cmocka_unit_test(notify_text__time_that_it_takes__from_now),
        cmocka_unit_test(notify_text__daemon__its_process),
        cmocka_unit_test(notify_text__longest_of_all__whole_lines),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
