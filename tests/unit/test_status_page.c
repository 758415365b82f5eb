/*
 * The page for people: its policy allows what is in it and no more, it needs nothing from
 * elsewhere, and nothing that comes from elsewhere can become a part of it.
 */
#include "status/status_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "conformance/must.h"

static void page__is_the_file__whole(void **state UNUSED)
{
    static char text[1 << 18];
    FILE *f = fopen("src/status/status_page.html", "re");

    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(status_page_html, text);
    assert_true(strlen(text) > 1000 && strlen(text) < 32768);
}

/* What stands between the only <TAG> and its end. */
static char *between(const char *tag)
{
    char open[16], close[16];
    const char *begin, *end;

    snprintf(open, sizeof(open), "<%s>", tag);
    snprintf(close, sizeof(close), "</%s>", tag);
    begin = strstr(status_page_html, open);
    assert_non_null(begin);
    begin += strlen(open);
    end = strstr(begin, close);
    assert_non_null(end);
    assert_null(strstr(end, open));
    return strndup(begin, (size_t)(end - begin));
}

static uint32_t value_of(int digit)
{
    assert_true((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f'));
    return (uint32_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* What the program says of the file @name, in hexadecimal. */
static void hex_of(const char *name, char hex[65])
{
    int ends[2];
    pid_t pid;
    FILE *f;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execlp("sha256sum", "sha256sum", name, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    f = fdopen(ends[0], "re");
    assert_true(f && fscanf(f, "%64[0-9a-f]", hex) == 1 && strlen(hex) == 64);
    fclose(f);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* In base64, as a policy has it: 32 bytes are 43 characters and '='. */
static void sha256_of(const char *text, char ret[45])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char name[] = "/tmp/page.XXXXXX", hex[65] = "";
    uint8_t bytes[33] = {0};
    const int fd = mkstemp(name);
    FILE *f = fdopen(fd, "we");

    assert_true(fd >= 0 && f);
    fputs(text, f);
    fclose(f);
    hex_of(name, hex);
    unlink(name);
    for (size_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(value_of(hex[2 * i]) << 4 | value_of(hex[2 * i + 1]));
    for (size_t i = 0; i < 43; i++) {
        const size_t bit = 6 * i;
        const uint32_t two = (uint32_t)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];

        ret[i] = digits[two >> (10 - bit % 8) & 63];
    }
    ret[43] = '=';
    ret[44] = '\0';
}

static void must_allow(const char *directive, const char *tag)
{
    char *text = between(tag), hash[45], want[128];

    sha256_of(text, hash);
    snprintf(want, sizeof(want), "%s 'sha256-%s'", directive, hash);
    if (!strstr(STATUS_PAGE_POLICY, want))
        fail_msg("src/status/status_page.h has to say: %s", want);
    free(text);
}

static void policy__script_and_style__by_their_hashes(void **state UNUSED)
{
    must_allow("script-src", "script");
    must_allow("style-src", "style");
    assert_null(strstr(STATUS_PAGE_POLICY, "unsafe"));
}

/* The one address with a scheme is a name that the standard has, and nothing is fetched from it. */
static void page__addresses__none_but_its_own(void **state UNUSED)
{
    static const char *const allowed[] = {"http://www.w3.org/2000/svg"};
    const char *at = status_page_html;

    for (; (at = strstr(at, "://")); at++) {
        bool is_allowed = false;

        for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
            const char *colon = strstr(allowed[i], "://");

            is_allowed |= strncmp(at, colon, strlen(colon)) == 0;
        }
        if (!is_allowed)
            fail_msg("a foreign address: %.60s", at - 10);
    }
    assert_null(strstr(status_page_html, "src=\"//"));
    assert_null(strstr(status_page_html, "href=\"/"));
}

/* Texts of peers become text: there is no way from a string to elements or to code. */
static void page__what_could_make_elements_of_texts__is_not_used(void **state UNUSED)
{
    static const char *const words[] = {
        "innerHTML", "outerHTML", "insertAdjacent", "document.write",  "DOMParser",
        "srcdoc",    "eval(",     "new Function",   "setTimeout(\"",   "javascript:",
        " onclick",  " onload",   " style=",        "method:",         "POST",
        "<form",     "<iframe",   "localStorage",   "document.cookie",
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strstr(status_page_html, words[i]))
            fail_msg("the page has %s", words[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page__is_the_file__whole),
        cmocka_unit_test(policy__script_and_style__by_their_hashes),
        cmocka_unit_test(page__addresses__none_but_its_own),
        cmocka_unit_test(page__what_could_make_elements_of_texts__is_not_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
