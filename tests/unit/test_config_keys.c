/*
 * Table, example file and manual: the same keys in the same order with the same defaults. Run from
 * the top of the tree.
 */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"
#include "conf/config_type.h"
#include "support/schema.h"

static const char example[] = "conf/echo.conf";
static const char manual[] = "man/echo.conf.5";

static struct config *load(const char *path)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    if (config_load(schema_of_echo(), path, NULL, 0, &c, &errors) != 0)
        fail_msg("%s", errors.n ? errors.text[0] : path);
    return c;
}

static void fail_on_change(const struct config_row *row, const char *old_text, const char *new_text,
                           void *userdata UNUSED)
{
    fail_msg("%s has %s = %s, and the default is %s", example, row->name, new_text, old_text);
}

static void example__every_key_of_the_table__at_its_default_in_table_order(void **state UNUSED)
{
    struct config *defaults = config_new(schema_of_echo()), *c = load(example);
    unsigned line = 0;

    assert_non_null(defaults);
    config_diff(defaults, c, fail_on_change, NULL);
    for (int i = 0; i < KEYS_OF_ECHO; i++) {
        const int key = c->schema->listed[i];

        if (c->origin[key].kind != ORIGIN_FILE)
            fail_msg("%s does not have %s", example, schema_of_echo()->rows[key].name);
        if (c->origin[key].line <= line)
            fail_msg("%s has %s out of order", example, schema_of_echo()->rows[key].name);
        line = c->origin[key].line;
    }
    config_free(defaults);
    config_free(c);
}

/* Each key of the example stands below a comment that explains it. */
static void example__every_key__has_a_comment_above_it(void **state UNUSED)
{
    FILE *f = fopen(example, "r");
    char line[512];
    unsigned n = 0;
    bool has_comment = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        const char *text = line + strspn(line, " ");
        bool is_comment = strncmp(text, "//", 2) == 0;

        if (line[0] == ' ' && !is_comment && *text != '\n') {
            if (!has_comment)
                fail_msg("no comment above \"%s\"", text);
            n++;
        }
        has_comment = is_comment;
    }
    fclose(f);
    assert_int_equal(n, KEYS_OF_ECHO);
}

/* ---- the manual ---- */

/* mdoc's spellings of a quote and a backslash, and the & that hides a dot. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *p = text; *p;) {
        if (strncmp(p, "\\(dq", 4) == 0) {
            *to++ = '"';
            p += 4;
        } else if (strncmp(p, "\\e", 2) == 0) {
            *to++ = '\\';
            p += 2;
        } else if (strncmp(p, "\\&", 2) == 0) {
            p += 2;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
}

struct manual_row {
    char name[64];
    char initial[128];
};

/* ".It Ic KEY No = …" begins a row; ".Li VALUE ." after "The default is" ends it. */
static size_t read_manual(struct manual_row *rows, size_t max)
{
    FILE *f = fopen(manual, "r");
    char line[512];
    size_t n = 0;
    bool is_default = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        struct manual_row *row = n ? &rows[n - 1] : NULL;

        if (strncmp(line, ".It Ic ", 7) == 0) {
            assert_true(n < max);
            memset(&rows[n], 0, sizeof(rows[n]));
            assert_int_equal(sscanf(line, ".It Ic %63s No = ", rows[n++].name), 1);
        } else if (row && is_default && strncmp(line, ".Li ", 4) == 0) {
            unescape(line);
            assert_int_equal(sscanf(line, ".Li %127s .", row->initial), 1);
        }
        is_default = strstr(line, "efault is\n") != NULL;
    }
    fclose(f);
    return n;
}

/* The default as the file would have it: what config_dump prints. */
static void dump_value(const char *dump, const char *name, char *buf, size_t size)
{
    const int group_len = (int)(strchr(name, '.') - name);
    char group[64], key[64];
    const char *begin, *end;

    snprintf(group, sizeof(group), "%.*s = {\n", group_len, name);
    snprintf(key, sizeof(key), "    %s = ", name + group_len + 1);
    begin = strstr(dump, group);
    assert_non_null(begin);
    begin = strstr(begin, key);
    assert_non_null(begin);
    begin += strlen(key);
    end = strstr(begin, ";  # default");
    assert_non_null(end);
    assert_true((size_t)(end - begin) < size);
    memcpy(buf, begin, (size_t)(end - begin));
    buf[end - begin] = '\0';
}

static void manual__every_key_of_the_table__with_its_default_in_table_order(void **state UNUSED)
{
    struct manual_row rows[KEYS_OF_ECHO + 8];
    struct config *c = config_new(schema_of_echo());
    char *dump = NULL;
    size_t len, n = read_manual(rows, ARRAY_SIZE(rows));
    FILE *f = open_memstream(&dump, &len);

    assert_non_null(c);
    assert_non_null(f);
    assert_int_equal(config_dump(c, f), 0);
    fclose(f);
    for (size_t i = 0; i < KEYS_OF_ECHO; i++) {
        const char *name = c->schema->rows[c->schema->listed[i]].name;
        char initial[128];

        if (i >= n || strcmp(rows[i].name, name) != 0)
            fail_msg("%s has %s where %s belongs", manual, i < n ? rows[i].name : "nothing", name);
        dump_value(dump, name, initial, sizeof(initial));
        if (strcmp(rows[i].initial, initial) != 0)
            fail_msg("%s has %s as the default of %s, which is %s", manual, rows[i].initial, name,
                     initial);
    }
    assert_int_equal(n, KEYS_OF_ECHO);
    free(dump);
    config_free(c);
}

/* What is allowed is said in the manual with the same numbers, in the key's own paragraph. */
static void manual__every_bound_of_the_table__named(void **state UNUSED)
{
    FILE *f = fopen(manual, "r");
    char text[32768] = "";
    unsigned n = 0;

    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    unescape(text);
    for (char *p = text; *p; p++)
        if (*p == '\n')
            *p = ' ';
    for (int key = 0; key < KEYS_OF_ECHO; key++) {
        const struct config_row *row = &schema_of_echo()->rows[key];
        const char *range = strstr(row->allowed, " from ");
        char bounds[64], begin[80];
        const char *paragraph, *end;

        if (!range)
            continue;
        n++;
        range++;
        snprintf(bounds, sizeof(bounds), "%.*s", (int)strcspn(range, ","), range);
        snprintf(begin, sizeof(begin), ".It Ic %s ", row->name);
        paragraph = strstr(text, begin);
        assert_non_null(paragraph);
        end = strstr(paragraph, "The default is");
        assert_non_null(end);
        if (!memmem(paragraph, (size_t)(end - paragraph), bounds, strlen(bounds)))
            fail_msg("%s does not say \"%s\" for %s", manual, bounds, row->name);
    }
    assert_int_equal(n, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example__every_key_of_the_table__at_its_default_in_table_order),
        cmocka_unit_test(example__every_key__has_a_comment_above_it),
        cmocka_unit_test(manual__every_key_of_the_table__with_its_default_in_table_order),
        cmocka_unit_test(manual__every_bound_of_the_table__named),
    };

    return cmocka_run_group_tests_name("config_keys", tests, NULL, NULL);
}
