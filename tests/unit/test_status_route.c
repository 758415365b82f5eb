/*
 * The table of paths of the status actor: what is said there, of what the arbiter says of itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "status/status_route.h"

static const char ready_text[] = "{\"arbiter\":{\"ready\":true},\"workers\":[],\"totals\":{}}";
static const char not_ready_text[] =
    "{\"arbiter\":{\"ready\":false,\"not_ready\":\"no worker runs\"},\"workers\":[],\"totals\":{}}";

static struct status_answer answer_of(const char *path, const char *text)
{
    const struct status_route *route = status_route_find(path);
    json_t *info = json_loads(text, 0, NULL);
    const struct status_view view = {.info = info, .text = text, .len = strlen(text), .accept = ""};
    struct status_answer a = {.code = 0};

    assert_non_null(route);
    assert_int_equal(route->make(&view, &a), 0);
    json_decref(info);
    return a;
}

static void must_answer(const char *path, const char *info, unsigned code, const char *type,
                        const char *text)
{
    const struct status_answer a = answer_of(path, info);

    assert_int_equal(a.code, code);
    assert_string_equal(a.type, type);
    assert_int_equal(a.len, strlen(text));
    assert_memory_equal(a.text, text, a.len);
    assert_true(!a.owned || a.owned == a.text);
    free(a.owned);
}

static void status_route__health__by_what_the_arbiter_says(void **state UNUSED)
{
    must_answer("/health/live", not_ready_text, 200, STATUS_TEXT, "live: the arbiter answers\n");
    must_answer("/health/ready", ready_text, 200, STATUS_TEXT, "ready\n");
    must_answer("/health/ready", not_ready_text, 503, STATUS_TEXT, "not ready: no worker runs\n");
    must_answer("/health/ready", "{}", 503, STATUS_TEXT,
                "not ready: the arbiter does not say why\n");
}

static void status_route__info__as_it_came(void **state UNUSED)
{
    char text[sizeof(ready_text) + 1];

    snprintf(text, sizeof(text), "%s\n", ready_text);
    must_answer("/api/info", ready_text, 200, STATUS_JSON, text);
}

static void status_route__each_row__complete_and_found(void **state UNUSED)
{
    const struct status_route *route;
    size_t n = 0;

    for (; (route = status_route(n)); n++) {
        struct status_answer a = answer_of(route->path, ready_text);

        assert_true(route->path[0] == '/' && *route->help);
        assert_ptr_equal(status_route_find(route->path), route);
        assert_int_equal(a.code, 200);
        assert_true(a.len > 0 && strchr(a.type, '/'));
        free(a.owned);
    }
    assert_true(n > 0);
}

static void status_route__unknown_path__told_what_there_is(void **state UNUSED)
{
    static const char *const paths[] = {
        "",          "/health",          "/health/ready/",   "//health/ready",
        "/API/INFO", "http://x/nothing", "https://x/metrics"};
    struct status_answer a;

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        assert_null(status_route_find(paths[i]));
    assert_ptr_equal(status_route_find("http://x:9090/metrics"), status_route_find("/metrics"));
    assert_ptr_equal(status_route_find("HTTP://[::1]"), status_route_find("/"));
    assert_int_equal(status_answer_unknown(&a), 0);
    assert_int_equal(a.code, 404);
    for (size_t i = 0; status_route(i); i++)
        assert_non_null(strstr(a.text, status_route(i)->path));
    free(a.owned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_route__health__by_what_the_arbiter_says),
        cmocka_unit_test(status_route__info__as_it_came),
        cmocka_unit_test(status_route__each_row__complete_and_found),
        cmocka_unit_test(status_route__unknown_path__told_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
