/*
 * The main of a server: arguments, wiring, exit codes. Reads the configuration, detaches if asked
 * to, and hands the arbiter the program and its kind of worker. All names come from the program.
 */
#include <argp.h>
#include <arbiter/server.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <paths.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "arbiter/arbiter.h"
#include "arbiter/upgrade_state.h"
#include "base/args.h"
#include "base/fds.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "base/signals.h"
#include "base/std_streams.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"
#include "keeper/keeper.h"
#include "kind/kind.h"
#include "server/daemon.h"
#include "server/image.h"
#include "server/program.h"
#include "status/status.h"
#include "worker/worker.h"

/* Of the stack; a worker has been seen to need more than 128 KiB. */
enum { STACK_NEEDED_BYTES = 512 << 10, STACK_WANTED_BYTES = 8 << 20 };

enum { OPTION_READY_FD = 256, OPTION_LOG_FILE, OPTION_MANUAL, SIGNALS_MAX = 16 };

enum action { ACTION_SERVE, ACTION_TEST, ACTION_DUMP, ACTION_MANUAL };

struct arguments {
    const struct config_schema *schema; /* borrowed */
    enum action action;
    const char *path; /* as given */
    char binds[16384]; /* all -b, one per line */
    struct config_override overrides[CONFIG_KEYS_MAX];
    size_t n_overrides;
    int ready_fd; /* -1 = none */
};

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0,
     "Read the configuration from FILE (default: the program's own file if it is there, else the "
     "built-in values; -T says which)",
     0},
    {"bind", 'b', "ADDR", 0,
     "Listen on ADDR, or PROTOCOL@ADDR, instead of server.bind; may be given again", 0},
    {"workers", 'w', "N", 0, "Number of worker processes, 0 = one per CPU", 0},
    {"daemon", 'D', NULL, 0, "Detach once every worker is ready", 0},
    {"pid-file", 'p', "FILE", 0, "Write the process id to FILE and keep it locked", 0},
    {"option", 'o', "GROUP.KEY=VALUE", 0,
     "Set any key of the configuration; may be given again, and the last one wins", 0},
    {"log-level", 'l', "LEVEL", 0, "Log from LEVEL up: debug, info, warning or error", 0},
    {"log-file", OPTION_LOG_FILE, "FILE", 0,
     "Log to FILE, or to \"syslog\", instead of standard error", 0},
    {"test", 't', NULL, 0, "Check the configuration and exit; binds nothing", 0},
    {"show", 'T', NULL, 0, "Print the effective configuration with the origin of each value", 0},
    {"manual", OPTION_MANUAL, NULL, 0,
     "Print the program's own keys as a part of a manual page (mdoc)", 0},
    {"ready-fd", OPTION_READY_FD, "N", 0,
     "Write one line with the bound addresses to descriptor N when every worker is ready", 0},
    {NULL, 'h', NULL, 0, "Give this help list", -1},
    {0},
};

/* For --help: the arbiter's own table. */
static void describe_signals(struct argp_option *ret)
{
    int signo;

    for (size_t i = 0; i < SIGNALS_MAX; i++) {
        const char *help = arbiter_signal_help(i, &signo);

        if (!help)
            break;
        ret[i] = (struct argp_option){
            .name = sigabbrev_np(signo), .flags = OPTION_DOC | OPTION_NO_USAGE, .doc = help};
    }
}

/* For --help, as argp wants it. Malloc'ed, or NULL without memory. */
static char *describe_program(const struct arb_program *program)
{
    static const struct {
        const char *arguments, *meaning;
    } examples[] = {
        {"", "serve on 127.0.0.1:8060"},
        {"-c FILE", "serve as FILE says"},
        {"-b :7000 -w 4 -l debug", "all interfaces, four workers"},
        {"-t -c FILE", "is the file right?"},
    };
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        return NULL;
    fprintf(f, "%s\vExamples:\n", program->doc ? program->doc : "");
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++)
        fprintf(f, "  %s %-24s %s\n", program->name, examples[i].arguments, examples[i].meaning);
    fclose(f);
    return text;
}

/* To standard error, in the name of the program. */
static void __attribute__((format(printf, 1, 2))) complain(const char *format, ...)
{
    va_list values;

    fprintf(stderr, "%s: ", title_program());
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
}

/* One for each key: the last one wins. */
static void add_override(struct arguments *args, struct config_override override)
{
    size_t i = 0;

    while (i < args->n_overrides && args->overrides[i].key != override.key)
        i++;
    args->n_overrides += i == args->n_overrides;
    args->overrides[i] = override;
}

static void override(struct arguments *args, int key, const char *text)
{
    add_override(args, (struct config_override){.key = key, .text = text});
}

static void set_option(struct arguments *args, const char *text, struct argp_state *state)
{
    struct config_override override;
    char why[CONFIG_WHY_LEN];

    if (config_override_read(args->schema, text, &override, why, sizeof(why)) < 0)
        argp_error(state, "-o %s: %s", text, why);
    else
        add_override(args, override);
}

static void add_bind(struct arguments *args, const char *text, struct argp_state *state)
{
    size_t len = strlen(args->binds);

    if (len + strlen(text) + 2 > sizeof(args->binds))
        argp_error(state, "too many addresses");
    snprintf(args->binds + len, sizeof(args->binds) - len, "%s%s", len ? "\n" : "", text);
    override(args, CONFIG_BIND, args->binds);
}

static void set_ready_fd(struct arguments *args, const char *text, struct argp_state *state)
{
    uint64_t fd;

    if (num_parse_u64(text, 0, 65535, &fd) < 0)
        argp_error(state,
                   "--ready-fd %s: it takes the number of an open descriptor, from 0 to 65535",
                   text);
    args->ready_fd = (int)fd;
    if (fcntl(args->ready_fd, F_GETFD) < 0)
        argp_error(
            state,
            "--ready-fd %s: that descriptor is not open: open it before the start, as with %s>&1",
            text, text);
}

static void set_action(struct arguments *args, enum action action, struct argp_state *state)
{
    if (args->action != ACTION_SERVE && args->action != action)
        argp_error(state, "-t, -T and --manual: each does another thing: give one of them");
    args->action = action;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct arguments *args = state->input;

    switch (key) {
    case 'c':
        if (!*text)
            argp_error(state, "-c: the name of a file is missing");
        args->path = text;
        break;
    case 'b':
        add_bind(args, text, state);
        break;
    case 'w':
        override(args, CONFIG_WORKERS, text);
        break;
    case 'D':
        override(args, CONFIG_DAEMON, "true");
        break;
    case 'p':
        override(args, CONFIG_PID_FILE, text);
        break;
    case 'o':
        set_option(args, text, state);
        break;
    case 'l':
        override(args, CONFIG_LOG_LEVEL, text);
        break;
    case OPTION_LOG_FILE:
        override(args, CONFIG_LOG_FILE, text);
        break;
    case 't':
        set_action(args, ACTION_TEST, state);
        break;
    case 'T':
        set_action(args, ACTION_DUMP, state);
        break;
    case OPTION_MANUAL:
        set_action(args, ACTION_MANUAL, state);
        break;
    case OPTION_READY_FD:
        set_ready_fd(args, text, state);
        break;
    case 'h':
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: there are options only, such as -c FILE or -b ADDR", text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Absolute, so that a reload finds the same file wherever the process stands then. "" = none. */
static int resolve(const char *path, char *ret, size_t size)
{
    int rc;

    *ret = '\0';
    if (!path)
        return EX_OK;
    rc = config_path_absolute(path, ret, size);
    if (rc == 0)
        return EX_OK;
    if (rc == -ENAMETOOLONG)
        complain("-c %s: is too long as an absolute path, allowed: %d bytes", path,
                 CONFIG_PATH_MAX - 1);
    else
        complain("-c %s: is relative, and the working directory is not known: %s: give an absolute "
                 "path",
                 path, strerror(-rc));
    return rc == -ENAMETOOLONG ? EX_CONFIG : EX_OSERR;
}

static int load(const struct config_schema *schema, const struct arguments *args, const char *path,
                struct config **ret)
{
    struct config_errors errors = {0};
    int rc = config_load(schema, path, args->overrides, args->n_overrides, ret, &errors);

    for (size_t i = 0; i < errors.n; i++)
        complain("%s", errors.text[i]);
    config_errors_fini(&errors);
    if (rc == 0)
        return EX_OK;
    if (rc == -EINVAL)
        return EX_CONFIG;
    complain("cannot read %s: %s", *path ? path : "the configuration", strerror(-rc));
    return EX_OSERR;
}

/* Could the start make or write this file? Touches nothing. Returns 0 or -errno. */
static int check_file(const char *path)
{
    char dir[CONFIG_PATH_MAX];
    struct stat st;

    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return -EISDIR;
        return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0 ? -errno : 0;
    }
    if (errno != ENOENT)
        return -errno;
    snprintf(dir, sizeof(dir), "%s", path);
    strrchr(dir, '/')[1] = '\0'; /* it is absolute */
    return faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* What -t finds out beyond what the file says. Returns the exit code, as a start would. */
static int check_files(const struct config *c)
{
    static const int keys[] = {CONFIG_PID_FILE, CONFIG_LOG_FILE};
    const char *const paths[] = {c->pid_file, c->log_file};
    char where[CONFIG_WHERE_LEN];
    int code = EX_OK;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const int rc = paths[i][0] == '/' ? check_file(paths[i]) : 0;

        if (rc == 0)
            continue;
        complain("%s: %s: %s: cannot be made or written: %s", config_where(c, keys[i], where),
                 c->schema->rows[keys[i]].name, paths[i], strerror(-rc));
        code = rc == -EACCES || rc == -EPERM ? EX_NOPERM : EX_CANTCREAT;
    }
    return code;
}

static int check_user(const struct config *c, const struct arbiter_options *options)
{
    char why[CONFIG_WHY_LEN];
    const int code = arbiter_try_start(c, options, why);

    if (code != 0)
        complain("%s", why);
    return code;
}

struct readiness {
    int ready_fd;
    struct daemon_launch launch;
    struct log *early; /* to standard error, until the configuration's own has taken over */
};

static void on_serving(const char *addresses, void *userdata)
{
    struct readiness *r = userdata;

    if (r->ready_fd >= 0)
        dprintf(r->ready_fd, "%s\n", addresses);
    log_close(r->early); /* a daemon must not keep the terminal */
    daemon_report(&r->launch, EX_OK);
    /* The end of file is the last step. It may be 1 or 2, which must never be a client's socket. */
    fds_close(&r->ready_fd);
    fds_ensure_stdio();
}

/* The dry run's process is never unwound: what it has inherited is the arbiter's. */
static void __attribute__((noreturn))
check(const struct image *image, const struct arbiter_options *options)
{
    char why[ARBITER_WHY_LEN];
    int rc = arbiter_try_inherit(image->inherited.state_fd, options, why);

    if (rc == 0)
        dprintf(STDOUT_FILENO, "%s" ARBITER_CAN_INHERIT "%s\n" ARBITER_WRITES_STATE "%d\n",
                options->program->name, options->program->version, STATE_VERSION);
    else
        dprintf(STDERR_FILENO, "%s\n", why);
    _exit(rc == 0 ? EX_OK : EX_SOFTWARE);
}

/* Signals are blocked since the image before this one. */
static int go_on(const struct image *image, const struct arbiter_options *options)
{
    struct log log;
    int rc;

    log_open(&log, "", LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "arbiter");
    rc = arbiter_inherit(&image->inherited, &log, options);
    log_close(&log);
    return rc;
}

static int serve(struct arguments *args, const struct arbiter_options *base, struct config *config)
{
    struct log log;
    struct readiness readiness = {.ready_fd = args->ready_fd, .launch = {.fd = -1}, .early = &log};
    struct arbiter_options options = *base;
    int rc;

    options.overrides = args->overrides;
    options.n_overrides = args->n_overrides;
    options.on_serving = on_serving;
    options.userdata = &readiness;
    if (config->is_daemon) {
        rc = daemon_detach(&readiness.launch);
        if (rc != 0) {
            config_free(config);
            return rc > 0 ? rc - 1 : EX_OSERR;
        }
    }
    signals_block_all(NULL);
    log_open(&log, "", config->log_level, config->log_format, "arbiter");
    rc = arbiter_run(config, &log, &options);
    log_close(&log);
    daemon_report(&readiness.launch, rc);
    return rc;
}

/* What was printed has to be somewhere. Returns EX_OK or EX_IOERR, which has been explained. */
static int flush_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EX_OK;
    complain("standard output: %s", errno ? strerror(errno) : "not all could be written");
    return EX_IOERR;
}

/* argp ends --help, --version and --usage with 0 whether or not they could be written. */
static bool is_parsing;

static void check_help(void)
{
    const int rc = is_parsing ? flush_output() : EX_OK;

    if (rc != EX_OK)
        _exit(rc);
}

/* Only returns if there is something to be done. */
static void parse_arguments(const struct arb_program *program, int argc, char **argv,
                            struct arguments *ret)
{
    struct argp_option signal_options[SIGNALS_MAX + 1] = {0};
    const struct argp signals = {.options = signal_options};
    const struct argp_child children[] = {{&signals, 0, "Signals:", 1}, {0}};
    const struct argp_option *const lists[] = {option_table, NULL};
    char *doc = describe_program(program), *version = NULL, why[ARGS_WHY_LEN];
    const struct argp argp = {option_table, parse_option, NULL, doc, children, NULL, NULL};

    if (asprintf(&version, "%s %s", program->name, program->version) < 0)
        version = NULL;
    argp_program_version = version;
    argp_err_exit_status = EX_USAGE;
    describe_signals(signal_options);
    if (args_check(lists, argc, argv, false, why) < 0) {
        complain("%s", why);
        fprintf(stderr, "Try `%s --help' for more information.\n", program->name);
        exit(EX_USAGE);
    }
    is_parsing = atexit(check_help) == 0;
    argp_parse(&argp, argc, argv, 0, NULL, ret);
    is_parsing = false;
    argp_program_version = NULL;
    free(version);
    free(doc);
}

/* A start by somebody, with arguments. */
static int begin(const struct arbiter_options *options, int argc, char **argv)
{
    static const char no_file[] = "built-in defaults";
    struct arguments args = {.schema = options->schema, .ready_fd = -1};
    struct config *config = NULL;
    char path[CONFIG_PATH_MAX];
    int rc;

    parse_arguments(options->program, argc, argv, &args);
    if (args.ready_fd >= 0)
        fds_set_cloexec(args.ready_fd, true);
    if (args.action != ACTION_SERVE)
        std_streams_wait();
    if (args.action == ACTION_MANUAL) {
        rc = config_manual(options->schema, stdout);
        return rc == 0 || rc == -EIO ? flush_output() : EX_OSERR;
    }
    if (!args.path)
        args.path = config_path_default(options->program->config);
    rc = resolve(args.path, path, sizeof(path));
    if (rc == EX_OK)
        rc = load(options->schema, &args, path, &config);
    if (rc == EX_OK && args.action == ACTION_SERVE) {
        rc = serve(&args, options, config);
    } else if (rc == EX_OK) {
        if (args.action == ACTION_DUMP) {
            printf("// %s\n", *path ? path : no_file);
            config_dump(config, stdout);
        } else if ((rc = check_files(config)) == EX_OK &&
                   (rc = check_user(config, options)) == EX_OK)
            printf("%s: the configuration is valid\n", *path ? path : no_file);
        config_free(config);
        rc = rc == EX_OK ? flush_output() : rc;
    }
    return rc;
}

/* What the author has written is known no sooner than here. Returns the exit code. */
static int make_schema(const struct arb_program *program, struct config_schema **ret)
{
    char why[CONFIG_WHY_LEN];
    const int rc = config_schema_new(program->protocols, ret, why, sizeof(why));

    if (rc == 0)
        return EX_OK;
    complain("the program is wrong: %s", rc == -EINVAL ? why : strerror(-rc));
    return rc == -EINVAL ? EX_SOFTWARE : EX_OSERR;
}

static const struct actor_kind worker_kind = {"worker", worker_main, &worker_commands};

/* Not part of serve_program, whose frame has to fit into the smallest stack. */
static int __attribute__((noinline)) run(const struct arb_program *program, int argc, char **argv)
{
    struct image image;
    struct config_schema *schema = NULL;
    struct arbiter_options options = {.program = program,
                                      .worker = &worker_kind,
                                      .other = &kind_actor,
                                      .keeper = &keeper_actor,
                                      .status = &status_actor,
                                      .image = &image.program};
    int rc = fds_ensure_stdio();

    if (rc < 0) {
        fprintf(stderr, "%s: descriptors 0, 1 and 2: " _PATH_DEVNULL ": %s\n", program->name,
                strerror(-rc));
        return EX_OSERR;
    }
    rc = image_init(&image, argc, argv);
    if (rc < 0) {
        image_fini(&image);
        return rc == -EINVAL ? EX_USAGE : EX_OSERR;
    }
    title_init(program->name, argc, argv);
    rc = make_schema(program, &schema);
    options.schema = schema;
    if (rc == EX_OK && image.role == IMAGE_CHECK)
        check(&image, &options);
    if (rc == EX_OK)
        rc = image.role == IMAGE_NEXT ? go_on(&image, &options) : begin(&options, argc, argv);
    config_schema_free(schema);
    image_fini(&image);
    return rc;
}

/* The kernel ends a process without a word where its stack cannot grow: not here, and not later. */
static int serve_program(const struct arb_program *program, int argc, char **argv)
{
    const uint64_t stack = limits_raise(RLIMIT_STACK, STACK_WANTED_BYTES);

    if (stack >= STACK_NEEDED_BYTES)
        return run(program, argc, argv);
    dprintf(STDERR_FILENO,
            "%s: RLIMIT_STACK is %" PRIu64 " bytes, needed: %d: raise it, for example with: ulimit "
            "-s 8192\n",
            program->name, stack, STACK_NEEDED_BYTES);
    return EX_OSERR;
}

int arb_main_abi(unsigned abi, const struct arb_program *program, int argc, char **argv)
{
    static struct program taken; /* borrowed for ever by all that follows */
    char why[PROGRAM_WHY_LEN];

    if (program_take(abi, program, &taken, why) == 0)
        return serve_program(&taken.table, argc, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", title_program(), why);
    return EX_SOFTWARE;
}
