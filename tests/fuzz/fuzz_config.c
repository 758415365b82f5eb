/*
 * The configuration from bytes that anybody wrote: as a file (the scan of the text here, the whole
 * way in a child, where libconfig may do what it likes), as the child's answer, and as the text of
 * each key.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "conf/config_codec.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"
#include "conf/config_text.h"
#include "support/schema.h"

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const char path[] = "F";

static void require_errors(const struct config_errors *e)
{
    REQUIRE(e->n <= CONFIG_ERRORS_MAX);
    for (size_t i = 0; i < e->n; i++) {
        REQUIRE(e->text[i] && *e->text[i]);
        /* The last one may say how many there is no place for. */
        REQUIRE(i == 0 || i == e->n - 1 || e->line[i - 1] <= e->line[i]);
    }
}

/* ---- the scan of the text ---- */

static void require_numbers_inside(const struct config_text *t, const char *text, size_t len,
                                   unsigned n_lines)
{
    for (int key = 0; key < schema_of_toys()->n_keys; key++) {
        REQUIRE(t->key[key].line <= n_lines);
        if (t->key[key].number)
            REQUIRE(t->key[key].line && t->key[key].number_len > 0 && t->key[key].number >= text &&
                    t->key[key].number + t->key[key].number_len <= text + len);
    }
}

/* What is told is blanked: a second scan finds nothing. Lines stay where they are. */
static int scan(const uint8_t *data, size_t size, struct config_text *ret, size_t *ret_n_errors)
{
    struct config_errors errors = {.n = 0}, again = {.n = 0};
    struct config_text second;
    char *text = malloc(size + 1);
    unsigned n_lines = 1;
    int r;

    REQUIRE(text);
    memcpy(text, data, size);
    text[size] = '\0';
    r = config_text_scan(schema_of_toys(), text, size, path, ret, &errors);
    for (size_t i = 0; i < size; i++) {
        REQUIRE((text[i] == '\n') == (data[i] == '\n'));
        REQUIRE(text[i] == (char)data[i] || (text[i] == ' ' && errors.n));
        n_lines += data[i] == '\n';
    }
    require_errors(&errors);
    require_numbers_inside(ret, text, size, n_lines);
    REQUIRE(r == 0 || (r == CONFIG_TEXT_UNREADABLE && errors.n));
    if (r == 0 && errors.n) {
        REQUIRE(config_text_scan(schema_of_toys(), text, size, path, &second, &again) == 0);
        REQUIRE(again.n == 0);
    }
    *ret_n_errors = errors.n;
    config_errors_fini(&errors);
    free(text);
    return r;
}

/* ---- the whole way ---- */

static int load_file(FILE *f, struct config **ret, struct config_errors *errors, char *name,
                     size_t name_size)
{
    snprintf(name, name_size, "/proc/%d/fd/%d", (int)getpid(), fileno(f));
    return config_load(schema_of_toys(), name, NULL, 0, ret, errors);
}

static FILE *open_memory(void)
{
    FILE *f = fdopen(memfd_create("echo.conf", MFD_CLOEXEC), "w");

    REQUIRE(f);
    return f;
}

/* What -T prints is the same configuration. */
static void dump(const struct config *c)
{
    struct config_errors errors = {.n = 0};
    struct config *back = NULL;
    FILE *f = open_memory();
    char name[64];

    REQUIRE(config_dump(c, f) == 0 && fflush(f) == 0);
    REQUIRE(load_file(f, &back, &errors, name, sizeof(name)) == 0);
    REQUIRE(config_diff(c, back, NULL, NULL) == 0);
    config_free(back);
    fclose(f);
}

static void load(const uint8_t *data, size_t size, const struct config_text *scanned,
                 size_t n_scan_errors)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    FILE *f = open_memory();
    char name[64];
    int r;

    REQUIRE(fwrite(data, 1, size, f) == size && fflush(f) == 0);
    r = load_file(f, &c, &errors, name, sizeof(name));
    REQUIRE(r == 0 || r == -EINVAL);
    require_errors(&errors);
    REQUIRE((r == 0) == (errors.n == 0));
    REQUIRE(r < 0 || n_scan_errors == 0);
    /* The child has always answered: what the scan lets through neither ends nor holds it. */
    REQUIRE(r == 0 || strncmp(errors.text[0] + strlen(name), ": the parser", 12) != 0);
    for (int key = 0; r == 0 && key < schema_of_toys()->n_keys; key++) {
        bool is_from_file = c->origin[key].kind == ORIGIN_FILE;

        REQUIRE(is_from_file == (scanned->key[key].line != 0));
        REQUIRE(!is_from_file || c->origin[key].line == scanned->key[key].line);
    }
    if (r == 0)
        dump(c);
    config_errors_fini(&errors);
    config_free(c);
    fclose(f);
}

/* ---- the child's answer ---- */

static void answer(const uint8_t *data, size_t size)
{
    struct config_errors errors = {.n = 0}, none = {.n = 0};
    struct config *c = NULL, *back = config_new(schema_of_toys()), *copy;
    json_t *values;
    int r;

    REQUIRE(back);
    r = config_child_result(schema_of_toys(), path, (const char *)data, size, 0, NULL, 0, &c,
                            &errors);
    REQUIRE(r == (errors.n ? -EINVAL : 0));
    require_errors(&errors);
    if (r == 0) {
        REQUIRE((values = config_encode(c)) && (copy = config_copy(c)));
        REQUIRE(config_decode(back, values, path, &none) == 0 && none.n == 0);
        REQUIRE(config_diff(c, back, NULL, NULL) == 0);
        REQUIRE(config_diff(c, copy, NULL, NULL) == 0);
        json_decref(values);
        config_free(copy);
    }
    config_errors_fini(&errors);
    config_free(c);
    config_free(back);
}

/* ---- values ---- */

static void value(struct config *c, int key, const char *text)
{
    struct config_origin origin = {ORIGIN_COMMAND_LINE, 0};
    char why[CONFIG_WHY_LEN] = "", *before = config_get(c, key), *after, *again;
    int r = config_set(c, key, text, origin, why, sizeof(why));

    after = config_get(c, key);
    REQUIRE(before && after);
    if (r == 0) {
        REQUIRE(config_set(c, key, after, origin, why, sizeof(why)) == 0);
        again = config_get(c, key);
        REQUIRE(again && strcmp(after, again) == 0);
        free(again);
    } else {
        REQUIRE(r == -EINVAL && strcmp(before, after) == 0);
        REQUIRE(strstr(why, ", allowed: ") && strstr(why, schema_of_toys()->rows[key].name) == why);
    }
    free(before);
    free(after);
}

static void values(const uint8_t *data, size_t size)
{
    struct config *c = config_new(schema_of_toys());
    char *text = strndup((const char *)data, size);

    REQUIRE(c && text);
    for (int key = 0; key < schema_of_toys()->n_keys; key++)
        value(c, key, text);
    free(text);
    config_free(c);
}

/* Forking is slow: a fuzzer sends one in four, of those with a key. A replay sends all. */
static bool is_worth_a_child(const uint8_t *data, size_t size, const struct config_text *scanned)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    uint32_t hash = 0;
    bool has_key = false;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 16777619u;
    for (int key = 0; key < schema_of_toys()->n_keys; key++)
        has_key |= scanned->key[key].line != 0;
    return has_key && (hash >> 16) % 4 == 0;
#else
    (void)data, (void)size, (void)scanned;
    return true;
#endif
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_text scanned;
    size_t n_errors;
    int r;

    if (size > CONFIG_FILE_MAX_BYTES)
        return 0;
    answer(data, size);
    values(data, size);
    r = scan(data, size, &scanned, &n_errors);
    if (r == 0 && is_worth_a_child(data, size, &scanned))
        load(data, size, &scanned, n_errors);
    return 0;
}
