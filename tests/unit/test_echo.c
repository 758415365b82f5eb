/*
 * EchoServerProtocol: what it says of bytes, and that the reply is the request's own bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "client/echo.h"
#include "echo_arbiter/echo.h"

static struct arb_output on_data(void *server, const char *text, size_t resume)
{
    const struct arb_input in = {
        .data = (const uint8_t *)text, .len = strlen(text), .resume = resume};
    struct arb_output out = {.next = ARB_GO_ON};

    echo_protocol.on_data(server, NULL, &in, &out);
    return out;
}

static void *start(const char *separator, uint64_t max_message)
{
    struct echo_conf conf = {.separator.len = strlen(separator), .max_message = max_message};
    void *server;

    memcpy(conf.separator.data, separator, conf.separator.len);
    assert_int_equal(echo_protocol.start(NULL, &conf, &server), 0);
    return server;
}

static void echo_on_data__messages_and_a_rest__reply_is_the_prefix(void **state UNUSED)
{
    const char *text = "a\r\n\r\n\r\n\r\nbcdefgh";
    void *server = start(ECHO_SEPARATOR, 100);
    struct arb_output p = on_data(server, text, 0);

    assert_int_equal(p.next, ARB_GO_ON);
    assert_ptr_equal(p.reply, text);
    assert_int_equal(p.reply_len, 9);
    assert_int_equal(p.consumed, 9);
    assert_int_equal(p.messages, 2);
    assert_int_equal(p.resume, 4);
    p = on_data(server, text + 9, p.resume);
    assert_int_equal(p.consumed + p.reply_len + p.messages, 0);
    assert_int_equal(p.scanned, 3);
    echo_protocol.stop(server);
}

static void echo_on_data__quit__echoed_and_closed(void **state UNUSED)
{
    void *server = start("\n", 100);
    const struct arb_output p = on_data(server, "x\nQUIT\ny\n", 0);

    assert_int_equal(p.next, ARB_CLOSE);
    assert_int_equal(p.reply_len, 7);
    assert_int_equal(p.messages, 2);
    echo_protocol.stop(server);
}

static void echo_on_data__too_big__what_precedes_is_echoed(void **state UNUSED)
{
    void *server = start("\n", 3);
    const struct arb_output p = on_data(server, "abc\nabcd\nx\n", 0);

    assert_int_equal(p.next, ARB_REFUSE);
    assert_int_equal(p.reply_len, 4);
    assert_int_equal(p.consumed, 4);
    assert_int_equal(p.messages, 1);
    echo_protocol.stop(server);
}

static void echo_on_data__raw__everything_and_quit_is_payload(void **state UNUSED)
{
    void *server = start("", 3);
    const struct arb_output p = on_data(server, "QUIT\r\n\r\n", 0);

    assert_int_equal(p.next, ARB_GO_ON);
    assert_int_equal(p.reply_len, 8);
    echo_protocol.stop(server);
}

static void echo_start__separator_too_long__refused(void **state UNUSED)
{
    struct echo_conf conf = {.separator = {17, "12345678901234567"}, .max_message = 3};
    void *server = NULL;

    assert_int_equal(echo_protocol.start(NULL, &conf, &server), -EINVAL);
    echo_protocol.stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_on_data__messages_and_a_rest__reply_is_the_prefix),
        cmocka_unit_test(echo_on_data__quit__echoed_and_closed),
        cmocka_unit_test(echo_on_data__too_big__what_precedes_is_echoed),
        cmocka_unit_test(echo_on_data__raw__everything_and_quit_is_payload),
        cmocka_unit_test(echo_start__separator_too_long__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
