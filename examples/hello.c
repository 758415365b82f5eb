/* cc hello.c $(pkg-config --cflags --libs arbiter-client) -o hello && ./hello */
#include <arbiter/client.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct arb_client *echo = NULL;
    struct arb_reply reply;
    int rc = arb_client_new(argc > 1 ? argv[1] : "127.0.0.1:8060", NULL, &echo);

    if (rc == ARB_OK)
        rc = arb_echo(echo, "Hello!", 6, &reply);
    if (rc == ARB_OK) {
        printf("%.*s\n", (int)reply.len, (const char *)reply.data);
        arb_reply_free(&reply);
    } else {
        fprintf(stderr, "hello: %s\n", arb_strerror(rc));
    }
    arb_client_free(echo);
    return rc != ARB_OK;
}
