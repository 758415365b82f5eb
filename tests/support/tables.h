/*
 * Tables of the documents beside the code, for tests that hold one against the other. Paths are
 * from the top of the tree.
 */
#ifndef SUPPORT_TABLES_H
#define SUPPORT_TABLES_H

#include <stddef.h>

enum { TABLE_ROWS_MAX = 12, TABLE_COLUMNS_MAX = 16, TABLE_CELL_LEN = 160 };

struct table {
    char cells[TABLE_ROWS_MAX][TABLE_COLUMNS_MAX][TABLE_CELL_LEN]; /* row 0 is the head */
    size_t n_rows, n_columns;
};

/* table_read - the table of @path whose second column is headed @second; fails the test if there is
 * none */
void table_read(const char *path, const char *second, struct table *ret);

#endif
