/*
 * examples/pubsub against Redis itself: inputs, well-formed and not, whose replies have to be the
 * same to the byte. A real redis-server gets each through a unix socket, the protocol through the
 * library of authors' tests, which tries it in all splits and moves as well.
 */
#include <arbiter/testing.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

extern const struct arb_protocol pubsub_protocol;

struct row {
    const char *input; /* @len bytes */
    size_t len;
    const char *ours; /* where Redis says something else; NULL = the same */
    const char *reason; /* why */
};

#define IN(text)                                                                                   \
    {                                                                                              \
        text, sizeof(text) - 1, NULL, NULL                                                         \
    }
#define OTHER(text, ours, reason)                                                                  \
    {                                                                                              \
        text, sizeof(text) - 1, ours, reason                                                       \
    }

#define HELLO_REPLY                                                                                \
    "*14\r\n$6\r\nserver\r\n$6\r\npubsub\r\n$7\r\nversion\r\n$1\r\n1\r\n$5\r\nproto\r\n:2\r\n"     \
    "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"          \
    "$7\r\nmodules\r\n*0\r\n"

/* After each a PING shows whether the connection has ended. */
static const struct row rows[] = {
    /* arrays */
    IN("*1\r\n$4\r\nPING\r\n"),
    IN("*1\r\n$4\r\npInG\r\n"),
    IN("*2\r\n$4\r\nPING\r\n$0\r\n\r\n"),
    IN("*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\0c\r\n"),
    IN("*1\r\n$4\r\nPINGxx"),
    IN("*1xy$4zzPING\r\n"),
    IN("*0\r\n"),
    IN("*-1\r\n"),
    IN("*-10\r\n"),
    IN("*-9223372036854775808\r\n"),
    IN("*-0\r\n"),
    IN("*00\r\n"),
    IN("*01\r\n$4\r\nPING\r\n"),
    IN("*+1\r\n$4\r\nPING\r\n"),
    IN("* 1\r\n$4\r\nPING\r\n"),
    IN("*1 \r\n$4\r\nPING\r\n"),
    IN("*a\r\n"),
    IN("*\r\n"),
    IN("**1\r\n"),
    IN("*2147483648\r\n"),
    IN("*9223372036854775807\r\n"),
    IN("*99999999999999999999\r\n"),
    IN("*1\r\n*1\r\n$4\r\nPING\r\n"),
    IN("*1\r\n:4\r\nPING\r\n"),
    IN("*1\r\n+PING\r\n"),
    IN("*1\r\n\r\n"),
    IN("*1\r\n\n\n\r\n"),
    IN("*1\r\n$-1\r\n"),
    IN("*1\r\n$-0\r\n"),
    IN("*1\r\n$04\r\nPING\r\n"),
    IN("*1\r\n$\r\n"),
    IN("*1\r\n$x\r\n"),
    IN("*1\r\n$4x\r\nPING\r\n"),
    IN("*1\r\n$1048577\r\n"),
    IN("*1\r\n$99999999999999999999\r\n"),
    IN("*1\r\n$0\r\n\r\n"),
    IN("*2\r\n$4\r\nPING\r\n*1\r\n"),
    IN("*3\r\n$4\r\nECHO\r\n$1\r\na\r\n$1\r\nb\r\n"),
    IN("*1\r\n$4\r\nPING"),
    IN("*2\r\n$3\r\nfoo\r\n$4\r\na\r\nb\r\n"),
    IN("*2\r\n$5\r\nfo\0ox\r\n$4\r\na\0\nb\r\n"),
    IN("*1\r\n$3\0\r\nfoo\r\n"),
    IN("*1\0\r\n$3\r\nfoo\r\n"),
    /* lines */
    IN("PING\r\n"),
    IN("PING\n"),
    IN("PING\r\r\n"),
    IN("\r\n\r\n\n"),
    IN("   PING   \r\n"),
    IN("\tPING\tx\x0by\r\n"),
    IN("PING \"a b\"\r\n"),
    IN("PING \"a\\x41\\x4g\\n\\r\\t\\b\\a\\q\\\\\\\"\"\r\n"),
    IN("PING 'a\\'b\\n'\r\n"),
    IN("PING ''\r\n"),
    IN("PING \"\"\r\n"),
    IN("PING ab\"c d\"'e f' \r\n"),
    IN("PING ab\"c d\"\r\n"),
    IN("PING \"abc\r\n"),
    IN("PING 'abc\r\n"),
    IN("PING \"abc\"d\r\n"),
    IN("PING 'abc'd\r\n"),
    IN("PING \"abc\\\r\n"),
    IN("PING \"\\x4\r\n"),
    IN("PING a\\nb\r\n"),
    IN("\"PING\"\r\n"),
    IN("\"\"\r\n"),
    IN("PI\0NG\r\n"),
    IN("PING a\0b\r\n"),
    IN("$4\r\n"),
    IN("PING \xff\xfe\r\n"),
    /* commands */
    IN("foo\r\n"),
    IN("foo a 'b c' \"\\n\"\r\n"),
    IN("foo "
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaa"
       "aaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbb ccc\r\n"),
    IN("foo "
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbb\r\n"),
    IN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b\r\n"),
    IN("PING a b\r\n"),
    IN("ECHO\r\nECHO a b\r\nECHO a\r\n"),
    IN("SELECT 3\r\nSELECT 16\r\nSELECT -1\r\nSELECT x\r\nSELECT 01\r\nSELECT "
       "4294967297\r\nSELECT\r\n"),
    IN("SELECT 99999999999999999999\r\nSELECT ' 1'\r\nSELECT ''\r\n"),
    IN("CLIENT\r\nCLIENT foo\r\nCLIENT SETNAME\r\nCLIENT GETNAME x\r\nclient id x y\r\n"),
    IN("CLIENT SETNAME abc\r\nCLIENT GETNAME\r\nCLIENT SETNAME ''\r\nCLIENT GETNAME\r\n"),
    IN("CLIENT SETNAME 'a b'\r\nCLIENT SETNAME \"a\\n\"\r\nCLIENT SETNAME \"\\x7f\"\r\n"
       "CLIENT GETNAME\r\n"),
    IN("SUBSCRIBE a a b\r\nPSUBSCRIBE x* x*\r\nUNSUBSCRIBE zz\r\nUNSUBSCRIBE a\r\nPUNSUBSCRIBE\r\n"
       "UNSUBSCRIBE\r\nUNSUBSCRIBE\r\n"),
    IN("SUBSCRIBE\r\nPSUBSCRIBE\r\nUNSUBSCRIBE a b\r\nPUNSUBSCRIBE a\r\nPUNSUBSCRIBE\r\n"),
    IN("SUBSCRIBE a\r\nECHO x\r\nCLIENT ID\r\nPUBLISH a b\r\nfoo\r\nPING a b\r\nPING\r\nPING x\r\n"
       "MULTI\r\nHELLO\r\nECHO\r\nRESET\r\nECHO x\r\n"),
    IN("SUBSCRIBE a\r\nQUIT\r\n"),
    IN("PUBLISH a\r\nPUBLISH a b c\r\nPUBLISH nobody x\r\n"),
    IN("PUBSUB\r\nPUBSUB foo\r\nPUBSUB CHANNELS\r\nPUBSUB CHANNELS a b\r\nPUBSUB NUMSUB\r\n"
       "PUBSUB NUMSUB a b\r\npubsub channels x*\r\n"),
    IN("MULTI\r\nSUBSCRIBE h\r\nPUBSUB CHANNELS\r\nPUBSUB NUMSUB h\r\nEXEC\r\nPUNSUBSCRIBE\r\n"),
    IN("MULTI\r\nMULTI\r\nPING\r\nECHO 'a b'\r\nEXEC\r\nEXEC\r\nDISCARD\r\n"),
    IN("MULTI\r\nEXEC\r\nMULTI x\r\nEXEC x\r\nDISCARD x\r\n"),
    IN("MULTI\r\nPING a b c\r\nSELECT x\r\nSELECT 2\r\nEXEC\r\n"),
    IN("MULTI\r\nEXEC foo\r\nEXEC\r\n"),
    IN("MULTI\r\nPING\r\nfoo\r\nEXEC\r\nEXEC\r\n"),
    IN("MULTI\r\nECHO\r\nDISCARD\r\nMULTI\r\nCLIENT foo\r\nPING\r\nEXEC\r\n"),
    IN("MULTI\r\nDISCARD x\r\nEXEC\r\n"),
    IN("MULTI\r\nRESET\r\nEXEC\r\n"),
    IN("MULTI\r\nQUIT\r\n"),
    IN("QUIT now\r\n"),
    IN("RESET x\r\nRESET\r\n"),
    IN("CLIENT SETNAME x\r\nSELECT 2\r\nRESET\r\nCLIENT GETNAME\r\n"),
    IN("HELLO x\r\nHELLO 1\r\nHELLO 4\r\nHELLO 2 XX\r\nHELLO 2 SETNAME\r\nHELLO 2 SETNAME 'a b'\r\n"
       "HELLO 02\r\n"),
    IN("DEBUG\r\nDEBUG foo\r\nDEBUG SLEEP\r\nDEBUG SLEEP 0 1\r\nDEBUG sleep 0.001\r\n"
       "DEBUG SLEEP abc\r\nDEBUG SLEEP -1\r\n"),
    IN("MULTI\r\nDEBUG SLEEP 0.001\r\nPING\r\nDEBUG SLEEP 0.001\r\nEXEC\r\n"),
    IN("CONFIG\r\nCONFIG GET\r\nCONFIG foo\r\nCONFIG GET nosuch\r\nCONFIG GET save\r\n"
       "CONFIG GET appendonly\r\n"),
    IN("COMMAND foo\r\nCOMMAND DOCS nosuch\r\n"),
    /* what is other here, and why */
    OTHER("HELLO\r\n", HELLO_REPLY "+PONG\r\n", "another server, another version"),
    OTHER("HELLO 2 SETNAME x\r\n", HELLO_REPLY "+PONG\r\n", "another server, another version"),
    OTHER("HELLO 3\r\n", "-NOPROTO unsupported protocol version\r\n+PONG\r\n", "RESP2 only"),
    OTHER("HELLO 2 AUTH a b\r\n", "-ERR Syntax error in HELLO option 'AUTH'\r\n+PONG\r\n",
          "there are no users"),
    OTHER("GET / HTTP/1.1\r\n",
          "-ERR unknown command 'GET', with args beginning with: '/' 'HTTP/1.1' \r\n+PONG\r\n",
          "there are no keys"),
    OTHER("COMMAND\r\n", "*0\r\n+PONG\r\n", "nothing to tell: clients know these commands"),
    OTHER("*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n",
          "the limit of pubsub.max_arguments; Redis has another one"),
};

static const char ping[] = "PING\r\n";

/* ---- the real one ---- */

static char dir[] = "/tmp/redis-table-XXXXXX";
static pid_t redis;

static int redis_connect(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/socket", dir);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    close(fd);
    return -1;
}

static int redis_start(void **state)
{
    int ready[2], fd;
    char line[512];
    FILE *out;

    (void)state;
    if (!mkdtemp(dir) || pipe(ready) < 0)
        return -1;
    redis = fork();
    if (redis == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(dir) < 0 || dup2(ready[1], 1) < 0)
            _exit(1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", "socket", "--save",
               "", "--appendonly", "no", "--enable-debug-command", "yes", "--proto-max-bulk-len",
               "1mb", (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    out = fdopen(ready[0], "r");
    while (out && fgets(line, sizeof(line), out)) {
        if (strstr(line, "ready to accept connections") == NULL)
            continue;
        fd = redis_connect();
        close(fd);
        return fd < 0; /* the pipe stays open: what it writes later has a reader */
    }
    print_error("redis-server does not start\n");
    return -1;
}

static int redis_stop(void **state)
{
    char path[64];

    (void)state;
    kill(redis, SIGTERM);
    waitpid(redis, NULL, 0);
    snprintf(path, sizeof(path), "%s/socket", dir);
    unlink(path);
    return rmdir(dir);
}

/* Sends all, half-closes, and reads to the end. Returns the length. */
static size_t redis_ask(const char *input, size_t len, char *ret, size_t size)
{
    const int fd = redis_connect();
    size_t n = 0, sent = 0;
    ssize_t r;

    assert_true(fd >= 0);
    while (sent < len && (r = send(fd, input + sent, len - sent, MSG_NOSIGNAL)) > 0)
        sent += (size_t)r;
    shutdown(fd, SHUT_WR);
    while (n < size && (r = recv(fd, ret + n, size - n, 0)) > 0)
        n += (size_t)r;
    close(fd);
    return n;
}

/* ---- ours ---- */

static size_t we_ask(const char *input, size_t len, char *ret, size_t size)
{
    char why[512];
    struct arb_actor *a = arb_test_worker(&pubsub_protocol, NULL, why, sizeof(why));
    struct arb_conn *c = a ? arb_test_open(a) : NULL;
    const char *got;
    size_t n;

    assert_non_null(c);
    arb_test_feed(c, input, len);
    arb_test_end(c);
    arb_test_advance(a, 1000);
    got = arb_test_read(c, &n);
    assert_true(n <= size);
    memcpy(ret, got, n);
    assert_null(arb_test_stop(a));
    arb_test_free(a);
    return n;
}

static void print_bytes(const char *what, const char *s, size_t len)
{
    print_error("%s\"", what);
    for (size_t i = 0; i < len && i < 400; i++)
        print_error(s[i] >= ' ' && s[i] <= '~' ? "%c" : "\\x%02x", (unsigned char)s[i]);
    print_error("\"\n");
}

static bool is_same(const char *input, size_t len, const char *want, size_t want_len,
                    const char *got, size_t got_len)
{
    if (want_len == got_len && memcmp(want, got, want_len) == 0)
        return true;
    print_bytes("input: ", input, len);
    print_bytes("  want: ", want, want_len);
    print_bytes("  got:  ", got, got_len);
    return false;
}

static char want[1 << 20], got[1 << 20];

static void table__each_input__the_bytes_of_redis(void **state)
{
    unsigned bad = 0;

    (void)state;
    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++) {
        char input[1024];
        const size_t len = row->len + sizeof(ping) - 1;
        size_t want_len, got_len;

        memcpy(input, row->input, row->len);
        memcpy(input + row->len, ping, sizeof(ping) - 1);
        want_len = redis_ask(input, len, want, sizeof(want));
        got_len = we_ask(input, len, got, sizeof(got));
        if (row->ours) {
            bad += want_len == strlen(row->ours) && memcmp(want, row->ours, want_len) == 0;
            want_len = strlen(row->ours);
            memcpy(want, row->ours, want_len);
        }
        bad += !is_same(input, len, want, want_len, got, got_len);
    }
    assert_int_equal(bad, 0);
}

static void table__each_input__the_same_in_all_splits_and_moves(void **state)
{
    char why[512];

    (void)state;
    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++) {
        if (arb_test_check(&pubsub_protocol, NULL, row->input, row->len, why, sizeof(why)) < 0) {
            print_bytes("input: ", row->input, row->len);
            fail_msg("%s", why);
        }
    }
}

static size_t repeat(char *to, const char *head, char c, size_t n, const char *tail)
{
    const size_t head_len = strlen(head), tail_len = strlen(tail);

    memcpy(to, head, head_len);
    memset(to + head_len, c, n);
    memcpy(to + head_len + n, tail, tail_len);
    return head_len + n + tail_len;
}

/* Redis refuses a line only when no end has come with it; here a line is too long or it is not. */
static void limits__long_lines_and_headers__the_bytes_of_redis(void **state)
{
    static const struct {
        const char *head, *tail;
        size_t n;
    } longs[] = {
        {"", "", 65536},        {"", "", 65537},        {"PING ", "\r\n", 65000}, {"*1", "", 65536},
        {"*1\r\n$", "", 65535}, {"*1\r\n$", "", 65536}, {"*1\r\n$", "", 65537},   {"*1", "", 65535},
    };
    static char input[70000];
    unsigned bad = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
        const size_t len = repeat(input, longs[i].head, '1', longs[i].n, longs[i].tail);
        const size_t want_len = redis_ask(input, len, want, sizeof(want));
        const size_t got_len = we_ask(input, len, got, sizeof(got));

        bad += !is_same(input, len, want, want_len, got, got_len);
    }
    assert_int_equal(bad, 0);
}

static size_t random_text(char *to, const char *alphabet, size_t max)
{
    const size_t len = 1 + (size_t)rand() % max, n = strlen(alphabet);

    for (size_t i = 0; i < len; i++)
        to[i] = alphabet[(size_t)rand() % n];
    return len;
}

static size_t put_bulk(char *to, const char *s, size_t len)
{
    const size_t n = (size_t)sprintf(to, "$%zu\r\n", len);

    memcpy(to + n, s, len);
    memcpy(to + n + len, "\r\n", 2);
    return n + len + 2;
}

/* A channel and a pattern, in a MULTI, as a subscriber could not ask otherwise. */
static void glob__random_patterns__match_as_in_redis(void **state)
{
    unsigned bad = 0;

    (void)state;
    srand(7);
    for (unsigned i = 0; i < 3000; i++) {
        char name[16], pattern[16], input[512];
        const size_t name_len = random_text(name, "abc-]^\\", 5);
        const size_t pattern_len = random_text(pattern, "aabc*?[]^-\\", 8);
        size_t len = (size_t)sprintf(input, "MULTI\r\n*2\r\n$9\r\nSUBSCRIBE\r\n");
        size_t want_len, got_len;

        len += put_bulk(input + len, name, name_len);
        len += (size_t)sprintf(input + len, "*3\r\n$6\r\nPUBSUB\r\n$8\r\nCHANNELS\r\n");
        len += put_bulk(input + len, pattern, pattern_len);
        len += (size_t)sprintf(input + len, "EXEC\r\n");
        want_len = redis_ask(input, len, want, sizeof(want));
        got_len = we_ask(input, len, got, sizeof(got));
        bad += !is_same(input, len, want, want_len, got, got_len);
    }
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__each_input__the_bytes_of_redis),
        cmocka_unit_test(table__each_input__the_same_in_all_splits_and_moves),
        cmocka_unit_test(limits__long_lines_and_headers__the_bytes_of_redis),
        cmocka_unit_test(glob__random_patterns__match_as_in_redis),
    };

    return cmocka_run_group_tests(tests, redis_start, redis_stop);
}
