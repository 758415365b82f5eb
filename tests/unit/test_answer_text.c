/*
 * The server's answers as people read them, to the character.
 */
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
#include "client/answer_text.h"
#include "measure/info_text.h"

typedef int writer(FILE *f, const json_t *result);

static json_t *load(const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text, JSON_DECODE_ANY, &error);

    if (!o)
        fail_msg("%s: %s", error.text, text);
    return o;
}

static void check(writer *write, const char *answer, const char *expected)
{
    json_t *o = load(answer);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(write(f, o), 0);
    fclose(f);
    assert_string_equal(text, expected);
    free(text);
    json_decref(o);
}

static void check_refused(writer *write)
{
    static const char *const texts[] = {"null", "5", "\"text\"", "{}", "{\"workers\":5}"};
    char buf[4096];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_t *o = load(texts[i]);
        FILE *f = fmemopen(buf, sizeof(buf), "w");

        assert_non_null(f);
        assert_int_equal(write(f, o), -EBADMSG);
        fclose(f);
        json_decref(o);
    }
}

#define ARBITER                                                                                    \
    "\"arbiter\":{\"pid\":70,\"version\":\"1.2\",\"state\":\"run\",\"uptime_ms\":3700000,"         \
    "\"revision\":4,\"reloads\":3,\"restarts\":1,\"workers_wanted\":2,\"degraded\":%s,"            \
    "\"user\":\"echo\",\"group\":\"www-data\","                                                    \
    "\"binds\":[\"127.0.0.1:80\",\"[::1]:80\"],\"config\":\"%s\"%s}"
#define WORKERS                                                                                    \
    "\"workers\":[{\"id\":\"worker.1\",\"pid\":71,\"state\":\"run\",\"incarnation\":4,"            \
    "\"uptime_ms\":65000,\"connections\":2,\"accepted\":10,\"requests\":1234567,\"bytes_in\":"     \
    "1500,"                                                                                        \
    "\"bytes_out\":1500,\"heartbeat_age_ms\":250,\"lag_ms\":1.25},"                                \
    "{\"id\":\"worker.2\",\"pid\":1072,\"state\":\"stopping\",\"incarnation\":3,\"uptime_ms\":"    \
    "5000}]"
#define TOTALS                                                                                     \
    "\"totals\":{\"connections\":2,\"accepted\":12,\"requests\":1234570,\"bytes_in\":1600,"        \
    "\"bytes_out\":1600,\"closed_peer\":9,\"closed_quit\":0,\"closed_reset\":1,"                   \
    "\"accept_pauses\":2,\"log_dropped\":0,\"scanned\":77}"

static void info__two_workers__a_table_and_what_has_happened(void **state UNUSED)
{
    char text[2048];

    snprintf(text, sizeof(text), "{" ARBITER "," WORKERS "," TOTALS "}", "false", "/etc/echo.conf",
             "");
    check(
        info_write, text,
        "VERSION  PID  STATE      UP  REVISION  RELOADS  RESTARTS  WANTED  USER  GROUP     SERVING"
        "                CONFIG\n"
        "1.2       70  run    1h 01m         4        3         1       2"
        "  echo  www-data  127.0.0.1:80 [::1]:80  /etc/echo.conf\n"
        "\n"
        "WORKER     PID  STATE     NTH      UP  CONNS  ACCEPTED   MSGS       IN      OUT    LAG"
        "   BEAT\n"
        "worker.1    71  run         4  1m 05s      2        10  1.23M  1.50 kB  1.50 kB  1.2ms"
        "  250ms\n"
        "worker.2  1072  stopping    3    5.0s      -         -      -        -        -      -"
        "      -\n"
        "total        -  run         -       -      2        12  1.23M  1.60 kB  1.60 kB      -"
        "      -\n"
        "(the total has what ended workers did, too)\n"
        "\n"
        "COUNTER          TOTAL\n"
        "connections          2\n"
        "accepted            12\n"
        "requests       1234570\n"
        "bytes_in          1600\n"
        "bytes_out         1600\n"
        "closed_peer          9\n"
        "closed_reset         1\n"
        "accept_pauses        2\n"
        "scanned             77\n");
}

static void info__times_and_usage__a_row_for_each_process(void **state UNUSED)
{
    check(info_write,
          "{\"arbiter\":{\"cpu_ms\":5,\"memory_bytes\":4000000,\"fds\":24,\"fds_max\":1024},"
          "\"workers\":[{\"id\":\"worker.1\",\"cpu_ms\":1500,\"memory_bytes\":null,\"fds\":45,"
          "\"fds_max\":null,\"reply_us\":{\"p50\":5.0,\"p99\":40.0,\"max\":20000.5},"
          "\"loop_lag_us\":{\"p99\":1.0}}],"
          "\"actors\":[{\"id\":\"keeper.1\",\"cpu_ms\":0}],\"totals\":{\"cpu_ms\":2000}}",
          "VERSION  PID  STATE  UP  REVISION  RELOADS  RESTARTS  WANTED  USER  GROUP  SERVING"
          "  CONFIG\n"
          "-          -  -       -         -        -         -       -  -     -      -      "
          "  -\n"
          "\n"
          "WORKER    PID  STATE  NTH  UP  CONNS  ACCEPTED  MSGS  IN  OUT  LAG  BEAT\n"
          "worker.1    -  -        -   -      -         -     -   -    -    -     -\n"
          "total       -  -        -   -      -         -     -   -    -    -     -\n"
          "(the total has what ended workers did, too)\n"
          "\n"
          "ACTOR     PID  STATE  NTH  UP  KEPT  KEPT IN  LAG  BEAT\n"
          "keeper.1    -  -        -   -     -        -    -     -\n"
          "\n"
          "TIMES OF  REPLY 50 %    99 %  LONGEST  LAG 99 %    CPU   MEMORY  FDS    OF\n"
          "arbiter            -       -        -         -  5.0ms  4.00 MB   24  1024\n"
          "worker.1       5.0us  40.0us  20.00ms     1.0us   1.5s        -   45     -\n"
          "keeper.1           -       -        -         -  0.0ms        -    -     -\n"
          "total              -       -        -         -   2.0s        -    -     -\n"
          "\n"
          "COUNTER  TOTAL\n"
          "cpu_ms    2000\n");
}

#define OWN_COUNTERS                                                                               \
    "\"own_counters\":[{\"owner\":\"pubsub\",\"name\":\"published\",\"help\":\"messages\""         \
    "%s},{\"owner\":\"clock\",\"name\":\"ticks\",\"help\":\"seconds\"%s}]"
#define OWN_TOTALS "\"own\":{\"pubsub\":{\"published\":12345},\"clock\":{\"ticks\":0}}"

static void info__own_counters__all_with_what_they_count(void **state UNUSED)
{
    char text[2048];

    snprintf(text, sizeof(text),
             "{" ARBITER ",\"workers\":[],\"totals\":{\"accepted\":12," OWN_TOTALS "}," OWN_COUNTERS
             "}",
             "false", "", "", "", "");
    check(
        info_write, text,
        "VERSION  PID  STATE      UP  REVISION  RELOADS  RESTARTS  WANTED  USER  GROUP     SERVING"
        "                CONFIG\n"
        "1.2       70  run    1h 01m         4        3         1       2"
        "  echo  www-data  127.0.0.1:80 [::1]:80\n"
        "\n"
        "WORKER  PID  STATE  NTH  UP  CONNS  ACCEPTED  MSGS  IN  OUT  LAG  BEAT\n"
        "total     -  run      -   -      -        12     -   -    -    -     -\n"
        "(the total has what ended workers did, too)\n"
        "\n"
        "COUNTER   TOTAL\n"
        "accepted     12\n"
        "\n"
        "OWN COUNTER       TOTAL  WHAT IS COUNTED\n"
        "pubsub.published  12345  messages\n"
        "clock.ticks           0  seconds\n");
}

static void info__degraded_with_notes_and_without_file__said(void **state UNUSED)
{
    char text[2048];

    snprintf(text, sizeof(text), "{" ARBITER ",\"workers\":[]}", "true", "",
             ",\"notified\":{\"info\":{\"by\":\"\\u001b\"},\"age_ms\":61000}");
    check(
        info_write, text,
        "VERSION  PID  STATE      UP  REVISION  RELOADS  RESTARTS  WANTED  USER  GROUP     SERVING"
        "                CONFIG\n"
        "1.2       70  run    1h 01m         4        3         1       2"
        "  echo  www-data  127.0.0.1:80 [::1]:80\n"
        "DEGRADED: processes keep dying, fewer than wanted may run\n"
        "\n"
        "WORKER  PID  STATE     NTH  UP  CONNS  ACCEPTED  MSGS  IN  OUT  LAG  BEAT\n"
        "total     -  degraded    -   -      -         -     -   -    -    -     -\n"
        "(the total has what ended workers did, too)\n"
        "\n"
        "NOTE OF     AGE  NOTE\n"
        "arbiter  1m 01s  {\"by\":\"\\u001B\"}\n");
}

static void info__of_another_shape__bad_message(void **state UNUSED)
{
    check_refused(info_write);
}

static void actors__each__a_line(void **state UNUSED)
{
    check(answer_text_actors,
          "[{\"id\":\"arbiter\",\"pid\":7,\"state\":\"run\"},"
          "{\"id\":\"worker.1\",\"pid\":12345,\"state\":\"starting\"},{}]",
          "ACTOR       PID  STATE\n"
          "arbiter       7  run\n"
          "worker.1  12345  starting\n"
          "-             -  -\n");
    check_refused(answer_text_actors);
}

static void commands__table__arguments_explained_below(void **state UNUSED)
{
    check(
        answer_text_commands,
        "[{\"name\":\"ping\",\"arbiter\":true,\"worker\":true,\"right\":\"ask\",\"args\":[],"
        "\"help\":\"Answer\"},"
        "{\"name\":\"kill_actor\",\"arbiter\":true,\"worker\":false,\"right\":\"steer\",\"args\":["
        "{\"name\":\"actor\",\"type\":\"string\",\"allowed\":\"a string\",\"required\":true,"
        "\"help\":\"worker.N\"},"
        "{\"name\":\"timeout\",\"type\":\"uint\",\"allowed\":\"a number\",\"required\":false,"
        "\"help\":\"seconds\"}],\"help\":\"End one\"},"
        "{\"name\":\"spin\",\"arbiter\":false,\"worker\":true,\"right\":\"steer\",\"help\":"
        "\"Turn\"}]",
        "COMMAND     ARGUMENTS          ACTORS   RIGHT  WHAT IT DOES\n"
        "ping                           all      ask    Answer\n"
        "kill_actor  actor= [timeout=]  arbiter  steer  End one\n"
        "spin                           workers  steer  Turn\n"
        "\n"
        "COMMAND     ARGUMENT  IS        MEANS\n"
        "kill_actor  actor     a string  worker.N\n"
        "kill_actor  timeout   a number  seconds\n");
    check_refused(answer_text_commands);
}

static void upgrade__done__version_and_revision(void **state UNUSED)
{
    check(answer_text_upgrade, "{\"version\":\"1.3\",\"revision\":7,\"took_ms\":28}",
          "upgraded: version 1.3, revision 7, 28 ms\n");
    check(answer_text_upgrade,
          "{\"version\":\"1.3\",\"program\":\"/opt/b/echo-arbiter\",\"old_version\":\"1.2\","
          "\"old_program\":\"/opt/a/echo-arbiter\",\"revision\":7,\"took_ms\":28}",
          "upgraded: version 1.3 (/opt/b/echo-arbiter) from 1.2 (/opt/a/echo-arbiter), "
          "revision 7, 28 ms\n");
    check_refused(answer_text_upgrade);
}

static void reload__changes__old_and_new(void **state UNUSED)
{
    check(answer_text_reload,
          "{\"revision\":5,\"took_ms\":12,\"changed\":[{\"key\":\"server.keep_alive\","
          "\"old\":\"0\",\"new\":\"15\"},{\"key\":\"log.file\",\"old\":\"\",\"new\":\"\\n\"}],"
          "\"workers\":[{\"id\":\"worker.1\",\"pid\":71}]}",
          "reloaded: revision 5, 12 ms\n"
          "KEY                BEFORE  NOW\n"
          "server.keep_alive  0       15\n"
          "log.file                   ?\n"
          "WORKER    PID\n"
          "worker.1   71\n");
    check(answer_text_reload, "{\"revision\":6,\"took_ms\":1,\"changed\":[],\"workers\":[]}",
          "reloaded: revision 6, 1 ms\n"
          "no key has changed\n");
    check_refused(answer_text_reload);
}

static void value__of_each_kind__readable(void **state UNUSED)
{
    check(answer_text_value, "\"pong\"", "pong\n");
    check(answer_text_value, "\"\"", "\n");
    check(answer_text_value, "\"a\\u001b[2Jb\"", "\"a\\u001B[2Jb\"\n");
    check(answer_text_value, "12", "12\n");
    check(answer_text_value, "true", "true\n");
    check(answer_text_value, "null", "null\n");
    check(answer_text_value, "{\"a\":0.1,\"worker.1\":2}",
          "{\n  \"a\": 0.1,\n  \"worker.1\": 2\n}\n");
    check(answer_text_value, "{}", "{}\n");
}

static void value__map_of_workers__a_line_each_in_their_order(void **state UNUSED)
{
    check(answer_text_value,
          "{\"worker.10\":\"pong\",\"worker.9\":{\"error\":{\"code\":\"gone\"}},"
          "\"worker.1\":\"pong\"}",
          "worker.1: pong\n"
          "worker.9: {\"error\":{\"code\":\"gone\"}}\n"
          "worker.10: pong\n");
}

/* ---- top ---- */

#define RATES    "\"requests_per_s\":1234.5,\"bytes_in_per_s\":2000000.0,\"bytes_out_per_s\":1500000.0"
#define NO_RATES "\"requests_per_s\":null,\"bytes_in_per_s\":null,\"bytes_out_per_s\":null"
#define SAMPLE(version, pid, degraded)                                                             \
    "{\"arbiter\":{\"pid\":" pid ",\"version\":\"" version "\",\"state\":\"run\","                 \
    "\"uptime_ms\":3700000,\"reloads\":3,\"restarts\":1,\"workers_wanted\":2,"                     \
    "\"degraded\":" degraded "},\"totals\":{\"connections\":2," RATES "},"                         \
    "\"workers\":[{\"id\":\"worker.1\",\"pid\":71,\"state\":\"run\",\"incarnation\":4,"            \
    "\"uptime_ms\":65000,\"connections\":2,\"heartbeat_age_ms\":250,\"lag_ms\":1.25,"              \
    "\"cpu_percent\":12.34,\"memory_bytes\":3400000,\"fds\":45," RATES "},"                        \
    "{\"id\":\"worker.2\",\"pid\":1072,\"state\":\"starting\",\"incarnation\":5,\"uptime_ms\":"    \
    "500,"                                                                                         \
    "\"connections\":0," NO_RATES "}]}"
#define PLAIN_SAMPLE SAMPLE("1.2", "70", "false")

static char *frame(const char *answer, const struct info_look *look)
{
    json_t *info = load(answer);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(info_frame(f, info, look), 0);
    fclose(f);
    json_decref(info);
    return text;
}

static void check_frame(const char *answer, struct info_look look, const char *expected)
{
    char *text = frame(answer, &look);

    assert_string_equal(text, expected);
    free(text);
}

#define HEAD_TITLES                                                                                \
    "VERSION  PID  STATE          UP  RESTARTS  RELOADS   CONNS  MSGS/S     IN/S    OUT/S  WANTED"
#define HEAD                                                                                       \
    "1.2       70  run        1h 01m         1        3       2   1.23k  2.00 MB  1.50 MB       2"
#define TITLES                                                                                     \
    "WORKER    STATE     NTH   CONNS  MSGS/S     IN/S    OUT/S     LAG  CPU %   MEMORY    BEAT"    \
    "       UP    FDS      PID"
#define FIRST                                                                                      \
    "worker.1  run         4       2   1.23k  2.00 MB  1.50 MB   1.2ms   12.3  3.40 MB   250ms"    \
    "   1m 05s     45       71"
#define SECOND                                                                                     \
    "worker.2  starting    5       0       -        -        -       -      -        -       -"    \
    "    500ms      -     1072"

static void frame__room_enough__all(void **state UNUSED)
{
    check_frame(PLAIN_SAMPLE, (struct info_look){.width = 200, .height = 50},
                HEAD_TITLES "\n" HEAD "\n\n" TITLES "\n" FIRST "\n" SECOND);
}

static void frame__colours_and_trouble__only_around_whole_lines(void **state UNUSED)
{
    check_frame(
        PLAIN_SAMPLE,
        (struct info_look){.width = 200, .height = 50, .has_colour = true, .trouble = "waiting"},
        "\033[7m" HEAD_TITLES "\033[0m\n" HEAD "\n\033[1;31mwaiting\033[0m\n\033[7m" TITLES
        "\033[0m\n" FIRST "\n" SECOND);
    check_frame(PLAIN_SAMPLE, (struct info_look){.width = 200, .height = 50, .trouble = "waiting"},
                HEAD_TITLES "\n" HEAD "\nwaiting\n" TITLES "\n" FIRST "\n" SECOND);
}

static void frame__degraded__said(void **state UNUSED)
{
    check_frame(SAMPLE("1.2", "70", "true"), (struct info_look){.width = 200, .height = 50},
                HEAD_TITLES "\n" HEAD "\nDEGRADED: processes keep dying\n" TITLES "\n" FIRST
                            "\n" SECOND);
}

static void frame__narrow__important_columns_whole(void **state UNUSED)
{
    check_frame(PLAIN_SAMPLE, (struct info_look){.width = 33, .height = 50},
                "VERSION  PID  STATE          UP\n"
                "1.2       70  run        1h 01m\n"
                "\n"
                "WORKER    STATE     NTH   CONNS\n"
                "worker.1  run         4       2\n"
                "worker.2  starting    5       0");
}

/* As much as fits the usual terminal, with the longest process number that Linux has. */
static void frame__eighty_columns__rates_and_everything_up_to_cpu(void **state UNUSED)
{
    struct info_look look = {.width = 80, .height = 50};
    char *text = frame(SAMPLE("10.20.30", "4194304", "false"), &look);

    assert_non_null(strstr(text, "  RESTARTS  RELOADS   CONNS  MSGS/S     IN/S\n"));
    assert_non_null(strstr(text,
                           "WORKER    STATE     NTH   CONNS  MSGS/S     IN/S    OUT/S     LAG "
                           " CPU %\n"));
    free(text);
}

static void frame__times__in_a_line_of_their_own_where_there_is_room(void **state UNUSED)
{
    static const char plain[] = PLAIN_SAMPLE;
    const char *totals = strstr(plain, "\"totals\":{") + strlen("\"totals\":{");
    char sample[2048];

    snprintf(sample, sizeof(sample),
             "%.*s\"reply_us\":{\"max\":2500000.0,\"recent\":{\"p50\":5.5,\"p99\":81.25}},"
             "\"loop_lag_us\":{\"recent\":null},\"cpu_percent\":150.0,%s",
             (int)(totals - plain), plain, totals);
    check_frame(sample, (struct info_look){.width = 200, .height = 12},
                HEAD_TITLES "\n" HEAD "\n\n"
                            "REPLY 50 %     99 %  LONGEST EVER  LAG 99 %   CPU %  ARBITER %\n"
                            "     5.5us   81.2us        2.500s         -   150.0          -\n"
                            "\n" TITLES "\n" FIRST "\n" SECOND);
    check_frame(sample, (struct info_look){.width = 200, .height = 11},
                HEAD_TITLES "\n" HEAD "\n\n" TITLES "\n" FIRST "\n" SECOND);
}

static void frame__low__rest_is_counted(void **state UNUSED)
{
    check_frame(PLAIN_SAMPLE, (struct info_look){.width = 26, .height = 5},
                "VERSION  PID  STATE\n"
                "1.2       70  run\n"
                "\n"
                "WORKER    STATE     NTH\n"
                "and 2 more");
    check_frame(PLAIN_SAMPLE, (struct info_look){.width = 26, .height = 1}, "VERSION  PID  STATE");
}

static void frame__own_counters__below_the_workers_in_half_of_the_room(void **state UNUSED)
{
    const struct info_look wide = {.width = 200, .height = 50}, low = {.width = 40, .height = 9},
                           lower = {.width = 40, .height = 8};
    static const char plain[] = PLAIN_SAMPLE;
    const char *totals = strstr(plain, "\"totals\":{") + strlen("\"totals\":{");
    char sample[2048], own[512];

    snprintf(own, sizeof(own), OWN_COUNTERS, ",\"per_s\":41.5", ",\"per_s\":null");
    snprintf(sample, sizeof(sample), "{%s,%.*s" OWN_TOTALS ",%s", own, (int)(totals - &plain[1]),
             &plain[1], totals);
    check_frame(sample, wide,
                HEAD_TITLES "\n" HEAD "\n\n" TITLES "\n" FIRST "\n" SECOND "\n"
                            "\n"
                            "OWN COUNTER        TOTAL      /S  WHAT IS COUNTED\n"
                            "pubsub.published   12345    41.5  messages\n"
                            "clock.ticks            0       -  seconds");
    check_frame(sample, low,
                "VERSION  PID  STATE          UP\n"
                "1.2       70  run        1h 01m\n"
                "\n"
                "WORKER    STATE     NTH   CONNS  MSGS/S\n"
                "worker.1  run         4       2   1.23k\n"
                "worker.2  starting    5       0       -\n"
                "\n"
                "OWN COUNTER        TOTAL      /S\n"
                "and 2 more");
    check_frame(sample, lower,
                "VERSION  PID  STATE          UP\n"
                "1.2       70  run        1h 01m\n"
                "\n"
                "WORKER    STATE     NTH   CONNS  MSGS/S\n"
                "worker.1  run         4       2   1.23k\n"
                "worker.2  starting    5       0       -");
}

/* Whatever the size: never more lines or characters than there are. */
static void frame__any_size__fits(void **state UNUSED)
{
    for (size_t width = 1; width < 110; width++) {
        for (size_t height = 1; height < 10; height++) {
            struct info_look look = {
                .width = width, .height = height, .trouble = "waiting \xc3\xa9"};
            char *text = frame(PLAIN_SAMPLE, &look);
            size_t lines = 1, n = 0;

            for (const char *p = text; *p; p++) {
                if (*p == '\n') {
                    lines++;
                    n = 0;
                } else {
                    n += ((unsigned char)*p & 0xc0) != 0x80;
                }
                assert_true(n <= width);
            }
            assert_true(lines <= height);
            free(text);
        }
    }
}

static void lines__twice__columns_of_plain_numbers(void **state UNUSED)
{
    json_t *info = load(PLAIN_SAMPLE);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(info_lines(f, info, "10:20:30", true), 0);
    assert_int_equal(info_lines(f, info, "10:20:31", false), 0);
    fclose(f);
/* clang-format off */
#define LINES(time)                                                                                \
    time "  worker.1      run           4         -         2      1234.5      2.000      1.500      1.25    12.3\n" \
    time "  worker.2      starting      5         -         0           -          -          -         -       -\n" \
    time "  total         run           -         1         2      1234.5      2.000      1.500         -       -\n"
    assert_string_equal(text,
        "TIME      ACTOR         STATE       NTH  RESTARTS     CONNS      MSGS/S    IN_MB/S   OUT_MB/S    LAG_MS   CPU_%\n"
        LINES("10:20:30") LINES("10:20:31"));
    /* clang-format on */
    free(text);
    json_decref(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info__two_workers__a_table_and_what_has_happened),
        cmocka_unit_test(info__times_and_usage__a_row_for_each_process),
        cmocka_unit_test(info__own_counters__all_with_what_they_count),
        cmocka_unit_test(info__degraded_with_notes_and_without_file__said),
        cmocka_unit_test(info__of_another_shape__bad_message),
        cmocka_unit_test(actors__each__a_line),
        cmocka_unit_test(commands__table__arguments_explained_below),
        cmocka_unit_test(reload__changes__old_and_new),
        cmocka_unit_test(upgrade__done__version_and_revision),
        cmocka_unit_test(value__of_each_kind__readable),
        cmocka_unit_test(value__map_of_workers__a_line_each_in_their_order),
        cmocka_unit_test(frame__room_enough__all),
        cmocka_unit_test(frame__colours_and_trouble__only_around_whole_lines),
        cmocka_unit_test(frame__degraded__said),
        cmocka_unit_test(frame__narrow__important_columns_whole),
        cmocka_unit_test(frame__eighty_columns__rates_and_everything_up_to_cpu),
        cmocka_unit_test(frame__times__in_a_line_of_their_own_where_there_is_room),
        cmocka_unit_test(frame__low__rest_is_counted),
        cmocka_unit_test(frame__own_counters__below_the_workers_in_half_of_the_room),
        cmocka_unit_test(frame__any_size__fits),
        cmocka_unit_test(lines__twice__columns_of_plain_numbers),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
