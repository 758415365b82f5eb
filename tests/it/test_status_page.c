/*
 * The status page of a real server in a real browser, which tests/it/page.py drives: four sizes and
 * both colour schemes, clicks, live numbers, an empty console, texts of others as texts.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/http.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

#define SHOWN "server: { bind = \"127.0.0.1:0\"; }; status: { bind = \"127.0.0.1:0\"; };\n"

/* Whatever a peer or an operator may have said, and a little of everything to be seen. */
static void make_events(struct server *s, const char *control)
{
    static const char note[] = "info={\"text\":\"<img src=x onerror=alert(1)> at noon\"}";
    struct tool_run r;

    server_expect(s,
                  "worker died|worker crashes|msg=\"?crash|backtrace|reload refused|configuration");
    r = RUN(s->it, NO_INPUT, "-C", control, "call", "arbiter", "notify", note);
    MUST(r.code == 0, "notify: %s", r.err);
    kill(server_worker(s, 0), SIGSEGV);
    server_wait_log(s, "worker died", 1);
    server_wait_workers(s, 2);
    server_configure(s, "arbiter: { workers = many; };");
    r = RUN(s->it, NO_INPUT, "-C", control, "reload");
    MUST(r.code != 0, "reload: %s", r.out);
    r = RUN(s->it, NO_INPUT, "-C", control, "scale", "3");
    MUST(r.code == 0, "scale: %s", r.err);
}

static void page__in_a_browser__whole_readable_live_and_harmless(void **state)
{
    struct it *it = *state;
    struct server *s;
    char control[128], url[160];
    char *problems;
    int code;

    if (it_tool_run(it, "which.log",
                    ARGS("bash", "-c",
                         "command -v python3 && (command -v chromium || command -v "
                         "chromium-browser)")) != 0) {
        print_message("skipped: there is no chromium or no python3 here; make check-status "
                      "installs what this needs\n");
        skip();
    }
    s = server_start(it, .conf = SHOWN);
    snprintf(control, sizeof(control), "%s/control", s->run);
    make_events(s, control);
    snprintf(url, sizeof(url), "http://%s/", http_address(s));
    code = it_tool_run(it, "page.log", ARGS("python3", "tests/it/page.py", url, s->addr[0]));
    it_wait_orphans(it); /* a browser is many processes */
    problems = it_read(it_path(it, "page.log"));
    if (code == 77) {
        print_message("%s", problems);
        free(problems);
        skip();
    }
    MUST(code == 0, "the page, exit code %d:\n%s", code, problems);
    free(problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(page__in_a_browser__whole_readable_live_and_harmless),
    };

    return it_run(tests);
}
