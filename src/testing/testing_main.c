/*
 * libarbiter-testing: arb_main, for a server that is linked with it: FILE... are checked, each as
 * the input of a connection.
 */
#include <arbiter/server.h>
#include <arbiter/testing.h>

#include <stdio.h>
#include <stdlib.h>

static char *file_read(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    size_t len = 0;
    int c;

    while (f && (c = getc(f)) != EOF) {
        char *grown = realloc(data, len + 1);

        if (!grown)
            break;
        data = grown;
        data[len++] = (char)c;
    }
    if (!f)
        perror(path);
    else
        fclose(f);
    *ret_len = len;
    return f && !data ? malloc(1) : data;
}

int arb_main_abi(unsigned abi, const struct arb_program *program, int argc, char **argv)
{
    int failed = abi != ARB_ABI || argc < 2;

    if (failed)
        fprintf(stderr, "Usage: %s FILE...  (linked with libarbiter-testing: checks inputs)\n",
                argv[0]);
    for (int i = 1; i < argc && abi == ARB_ABI; i++) {
        char why[512] = "cannot be read";
        size_t len;
        char *data = file_read(argv[i], &len);

        if (!data || arb_test_check(program->protocols[0], NULL, data, len, why, sizeof(why)) < 0) {
            printf("%s: %s\n", argv[i], why);
            failed = 1;
        }
        free(data);
    }
    return failed;
}
