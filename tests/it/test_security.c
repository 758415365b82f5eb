/*
 * The table of processes in SECURITY.md against what the kernel says of those of a server.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/sandbox.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { COLUMNS = 7 };
enum { PROCESS, PARSES, USER, CAP_EFF, NO_NEW_PRIVS, SECCOMP, LANDLOCK };

struct row {
    char cells[COLUMNS][64];
};

static const char heading[] = "| process | parses what clients send | user | CapEff | NoNewPrivs | "
                              "Seccomp | Landlock |\n";

/* Returns false if @line is no row of that many cells. */
static bool read_row(const char *line, struct row *ret)
{
    for (size_t i = 0; i < COLUMNS; i++)
        if (sscanf(line, "| %63[^|]", ret->cells[i]) != 1 || !(line = strchr(line + 1, '|')))
            return false;
    for (size_t i = 0; i < COLUMNS; i++)
        for (size_t n = strlen(ret->cells[i]); n > 0 && ret->cells[i][n - 1] == ' '; n--)
            ret->cells[i][n - 1] = '\0';
    return true;
}

/* The row of @process, which there is once. */
static struct row row_of(const char *process)
{
    FILE *f = fopen("SECURITY.md", "re");
    char line[1024];
    struct row found = {{{0}}}, row;
    bool is_table = false;
    size_t n = 0;

    MUST(f, "SECURITY.md: %s", strerror(errno));
    while (fgets(line, sizeof(line), f)) {
        is_table = strcmp(line, heading) == 0 || (is_table && line[0] == '|');
        if (is_table && read_row(line, &row) && strcmp(row.cells[PROCESS], process) == 0) {
            found = row;
            n++;
        }
    }
    fclose(f);
    MUST(n == 1, "SECURITY.md has %zu rows for %s", n, process);
    return found;
}

static const char *process_of(struct server *s, pid_t pid)
{
    static const struct {
        const char *part, *process;
    } titles[] = {{": log ", "log writer"},
                  {": worker.", "worker"},
                  {": keeper.", "keeper"},
                  {": status.", "status actor"}};
    char command[256];

    if (pid == s->pid)
        return "arbiter";
    proc_command(pid, command, sizeof(command)); /* its title */
    for (size_t i = 0; i < ARRAY_SIZE(titles); i++)
        if (strstr(command, titles[i].part))
            return titles[i].process;
    return "other actor";
}

/* Builds with sanitizers have no sandbox, nor has every kernel. */
static bool has_sandbox(void)
{
    struct sandbox s = {.is_known = false};
    bool is_whole;

    MUST(sandbox_init(&s, NULL) == 0, "sandbox_init");
    is_whole = s.has_seccomp;
    if (!is_whole)
        printf("# the column Seccomp is left out: %s\n", s.lacks);
    sandbox_fini(&s);
    return is_whole;
}

/* What stands in the table, or what this process has where the table says that nothing is changed.
 */
static uint64_t expected(const struct row *row, size_t column, const char *key, int base)
{
    const char *cell = row->cells[column];
    char *end;
    uint64_t value = strtoull(cell, &end, base);

    if (strcmp(cell, "its own") == 0 || (column == SECCOMP && value == 0))
        return proc_status(getpid(), key, base);
    MUST(*cell && !*end, "SECURITY.md: %s: \"%s\" is no number", row->cells[PROCESS], cell);
    return value;
}

static void must_be_as_said(struct server *s, pid_t pid, bool has_seccomp)
{
    static const struct {
        size_t column;
        const char *key;
        int base;
    } columns[] = {
        {CAP_EFF, "CapEff", 16}, {NO_NEW_PRIVS, "NoNewPrivs", 10}, {SECCOMP, "Seccomp", 10}};
    const struct row row = row_of(process_of(s, pid));
    const bool is_switched = strcmp(row.cells[USER], "arbiter.user") == 0;
    const uint64_t uid = proc_status(pid, "Uid", 10);

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        const char *key = columns[i].key;

        if (columns[i].column == SECCOMP && !has_seccomp)
            continue;
        MUST(proc_status(pid, key, columns[i].base) ==
                 expected(&row, columns[i].column, key, columns[i].base),
             "%s: %s is %llx, SECURITY.md says %s", row.cells[PROCESS], key,
             (unsigned long long)proc_status(pid, key, columns[i].base),
             row.cells[columns[i].column]);
    }
    MUST(is_switched || strcmp(row.cells[USER], "its own") == 0, "SECURITY.md: user of %s",
         row.cells[PROCESS]);
    MUST(is_switched && getuid() == 0 ? uid != 0 : uid == getuid(),
         "%s: uid %llu, SECURITY.md says %s", row.cells[PROCESS], (unsigned long long)uid,
         row.cells[USER]);
    MUST(strcmp(row.cells[PARSES], "yes") != 0 ||
             (is_switched && strcmp(row.cells[CAP_EFF], "0") == 0),
         "%s parses what clients send, with rights", row.cells[PROCESS]);
}

static void security__table_of_processes__as_the_kernel_says(void **state)
{
    struct it *it = *state;
    char env[128];
    pid_t pids[PROC_CHILDREN_MAX];
    struct server *s;
    const bool has_seccomp = has_sandbox();
    size_t n, n_others = 0;

    it_write(it, "told", "nothing\n");
    snprintf(env, sizeof(env), "KINDS_TEST=%s", it_path(it, "told"));
    s = server_start(it, .binary = "tests/kinds_server", .env = {env},
                     .args = {"-o", "status.bind=127.0.0.1:0"});
    n = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    must_be_as_said(s, s->pid, has_seccomp);
    for (size_t i = 0; i < n; i++) {
        must_be_as_said(s, pids[i], has_seccomp);
        n_others += strcmp(process_of(s, pids[i]), "other actor") == 0;
    }
    MUST(n == 1 + 2 * 2 + 1 + n_others && n_others > 0, "%zu processes, %zu others", n, n_others);
    if (getuid() != 0)
        printf("# only root's server has another user's workers\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(security__table_of_processes__as_the_kernel_says),
    };

    return it_run(tests);
}
