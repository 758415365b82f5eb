/*
 * Replays a corpus with any compiler: fuzz_NAME FILE-OR-DIRECTORY... Each input is copied to a
 * block of its exact size, so that a sanitizer or valgrind sees a read beyond it.
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned n_inputs;

static int replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    FILE *f = fopen(path, "rb");
    int r = -1;

    if (data && f && fread(data, 1, size, f) == size) {
        uint8_t *exact = realloc(data, size ? size : 1);
        if (exact) {
            data = exact;
            LLVMFuzzerTestOneInput(data, size);
            n_inputs++;
            r = 0;
        }
    }
    if (r)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (f)
        fclose(f);
    free(data);
    return r;
}

static int replay(const char *path);

static int replay_directory(const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    int r = 0;

    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    for (int i = 0; i < n; i++) {
        char *child = NULL;
        if (names[i]->d_name[0] != '.') {
            if (asprintf(&child, "%s/%s", path, names[i]->d_name) < 0 || replay(child))
                r = -1;
            free(child);
        }
        free(names[i]);
    }
    free(names);
    return r;
}

static int replay(const char *path)
{
    struct stat st;

    if (stat(path, &st)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    return S_ISDIR(st.st_mode) ? replay_directory(path) : replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int r = 0;

    for (int i = 1; i < argc; i++)
        if (replay(argv[i]))
            r = 1;
    printf("%u inputs replayed\n", n_inputs);
    return r || n_inputs == 0;
}
