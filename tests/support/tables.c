#include "support/tables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { LINE_LEN = 1024 };

/* Splits "| a | b |" into trimmed cells. Returns their number, 0 if @line is not of a table. */
static size_t split_row(char *line, char cells[TABLE_COLUMNS_MAX][TABLE_CELL_LEN])
{
    size_t n = 0;

    if (line[0] != '|')
        return 0;
    for (char *at = line + 1, *end; (end = strchr(at, '|')); at = end + 1) {
        *end = '\0';
        while (*at == ' ')
            at++;
        for (char *last = end - 1; last >= at && *last == ' '; last--)
            *last = '\0';
        assert_true(n < TABLE_COLUMNS_MAX && strlen(at) < TABLE_CELL_LEN);
        strcpy(cells[n++], at);
    }
    return n;
}

void table_read(const char *path, const char *second, struct table *ret)
{
    struct table t = {.n_rows = 0};
    char line[LINE_LEN];
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        const size_t n = split_row(line, t.cells[t.n_rows]);

        if (t.n_rows == 0 && (n < 2 || strcmp(t.cells[0][1], second) != 0))
            continue;
        if (n == 0)
            break;
        if (t.n_rows == 0)
            t.n_columns = n;
        assert_int_equal(n, t.n_columns);
        if (strncmp(t.cells[t.n_rows][0], "--", 2) != 0)
            t.n_rows++;
        assert_true(t.n_rows < TABLE_ROWS_MAX);
    }
    fclose(f);
    if (t.n_rows < 2)
        fail_msg("%s has no table whose second column is '%s'", path, second);
    *ret = t;
}
