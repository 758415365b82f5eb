/*
 * EchoServerProtocol: verdicts, and that the reply is the request's own bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "echo/echo.h"

static struct protocol_result on_data(const struct frame_rule *r, const char *text, size_t resume)
{
    uint64_t protocol_state = 0;

    return echo_server_protocol.on_data(r, &protocol_state, (const uint8_t *)text, strlen(text),
                                        resume);
}

static void echo_on_data__messages_and_a_rest__reply_is_the_prefix(void **state UNUSED)
{
    const char *text = "a\r\n\r\n\r\n\r\nbcdefgh";
    struct protocol_result p;
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, ECHO_SEPARATOR, ECHO_SEPARATOR_LEN, 100), 0);
    p = on_data(&r, text, 0);
    assert_int_equal(p.outcome, PROTOCOL_GO_ON);
    assert_ptr_equal(p.reply, text);
    assert_int_equal(p.reply_len, 9);
    assert_int_equal(p.consumed, 9);
    assert_int_equal(p.messages, 2);
    assert_int_equal(p.resume, 4);
    p = on_data(&r, text + 9, p.resume);
    assert_int_equal(p.consumed + p.reply_len + p.messages, 0);
    assert_int_equal(p.scanned, 3);
}

static void echo_on_data__quit__echoed_and_closed(void **state UNUSED)
{
    struct protocol_result p;
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, "\n", 1, 100), 0);
    p = on_data(&r, "x\nQUIT\ny\n", 0);
    assert_int_equal(p.outcome, PROTOCOL_CLOSE);
    assert_int_equal(p.reply_len, 7);
    assert_int_equal(p.messages, 2);
}

static void echo_on_data__too_big__what_precedes_is_echoed(void **state UNUSED)
{
    struct protocol_result p;
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, "\n", 1, 3), 0);
    p = on_data(&r, "abc\nabcd\nx\n", 0);
    assert_int_equal(p.outcome, PROTOCOL_TOO_BIG);
    assert_int_equal(p.reply_len, 4);
    assert_int_equal(p.consumed, 4);
    assert_int_equal(p.messages, 1);
}

static void echo_on_data__raw__everything_and_quit_is_payload(void **state UNUSED)
{
    struct protocol_result p;
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, "", 0, 3), 0);
    assert_int_equal(r.quit_len, 0);
    p = on_data(&r, "QUIT\r\n\r\n", 0);
    assert_int_equal(p.outcome, PROTOCOL_GO_ON);
    assert_int_equal(p.reply_len, 8);
}

static void echo_rule_init__separator_too_long__refused(void **state UNUSED)
{
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, "12345678901234567", 17, 3), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_on_data__messages_and_a_rest__reply_is_the_prefix),
        cmocka_unit_test(echo_on_data__quit__echoed_and_closed),
        cmocka_unit_test(echo_on_data__too_big__what_precedes_is_echoed),
        cmocka_unit_test(echo_on_data__raw__everything_and_quit_is_payload),
        cmocka_unit_test(echo_rule_init__separator_too_long__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
