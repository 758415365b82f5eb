/*
 * Users, groups and capabilities. Any process; see the header for what may block.
 */
#include "base/privileges.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/util.h"

/* The user that owns nothing, by whatever name; and the largest number, since the next means
 * "none".
 */
enum { OVERFLOW_ID = 65534 };
static const uint64_t id_max = UINT32_MAX - 1;

/* Returns whether @text is a number: then it is one, whatever users are called. */
static bool read_id(const char *text, id_t *ret)
{
    uint64_t id;

    if (num_parse_u64(text, 0, id_max, &id) < 0)
        return false;
    *ret = (id_t)id;
    return true;
}

/* ---- to find ---- */

/* Nobody of that name, by any of the numbers that say so; getpwnam(3). */
static bool is_missing(int error)
{
    return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int explain_lookup(const char *what, const char *name, int error, char *why)
{
    if (is_missing(error)) {
        snprintf(why, PRIVILEGES_WHY_LEN,
                 "there is no %s \"%s\", allowed: the name of one that exists, or a number", what,
                 name);
        return -ESRCH;
    }
    snprintf(why, PRIVILEGES_WHY_LEN, "the %s \"%s\" cannot be looked up: %s", what, name,
             strerror(error));
    return -error;
}

/* A number needs no entry. Returns 0 or -errno with @why; *@ret_entry may be NULL. */
static int find_user(const char *text, id_t *ret, const struct passwd **ret_entry, char *why)
{
    const bool is_number = read_id(text, ret);
    const struct passwd *entry;

    errno = 0;
    entry = is_number ? getpwuid(*ret) : getpwnam(text);
    if (!entry && !is_number)
        return explain_lookup("user", text, errno, why);
    *ret_entry = entry;
    if (entry)
        *ret = entry->pw_uid;
    return 0;
}

static int find_group(const char *text, id_t *ret, char *why)
{
    const struct group *entry;

    if (read_id(text, ret))
        return 0;
    errno = 0;
    entry = getgrnam(text);
    if (!entry)
        return explain_lookup("group", text, errno, why);
    *ret = entry->gr_gid;
    return 0;
}

/* Whom root serves as when nobody has said it. */
static const struct passwd *find_usual(const char *usual)
{
    const struct passwd *entry = getpwnam(usual);

    return entry ? entry : getpwnam("nobody");
}

static void name_id(char name[PRIVILEGES_NAME_LEN], const char *found, id_t id)
{
    if (found && strlen(found) < PRIVILEGES_NAME_LEN)
        strcpy(name, found);
    else
        snprintf(name, PRIVILEGES_NAME_LEN, "%" PRIu32, id);
}

/* Those of the user @entry; a user without an entry is in no other group. */
static int find_groups(struct privileges *p, const char *user, char *why)
{
    int n = PRIVILEGES_GROUPS_MAX;

    p->groups[0] = p->gid;
    p->n_groups = 1;
    if (!user)
        return 0;
    if (getgrouplist(user, p->gid, p->groups, &n) < 0) {
        snprintf(why, PRIVILEGES_WHY_LEN, "the user \"%s\" is in too many groups, allowed: %d",
                 user, PRIVILEGES_GROUPS_MAX);
        return -E2BIG;
    }
    p->n_groups = (size_t)n;
    return 0;
}

void privileges_same(struct privileges *ret)
{
    *ret = (struct privileges){
        .kind = geteuid() == 0 ? PRIVILEGES_ROOT : PRIVILEGES_SAME,
        .uid = geteuid(),
        .gid = getegid(),
    };
    name_id(ret->user, NULL, ret->uid);
    name_id(ret->group, NULL, ret->gid);
}

static int refuse_other(const char *what, const char *text, id_t is, char *why)
{
    snprintf(why, PRIVILEGES_WHY_LEN,
             "only root can serve as another %s than its own: \"%s\" is not %s %" PRIu32
             ", whose process this is: start it as root, or leave the key out",
             what, text, what, is);
    return -EPERM;
}

int privileges_find(const struct privileges_wish *wish, struct privileges *ret, bool *ret_is_group,
                    char *why)
{
    const bool is_root = geteuid() == 0;
    const struct passwd *entry = NULL;
    const struct group *group;
    char user[PRIVILEGES_NAME_LEN];
    struct privileges p;
    id_t uid, gid;
    int rc = 0;

    *ret_is_group = false;
    privileges_same(&p);
    uid = is_root ? OVERFLOW_ID : p.uid;
    if (*wish->user)
        rc = find_user(wish->user, &uid, &entry, why);
    else if (is_root && (entry = find_usual(wish->usual)))
        uid = entry->pw_uid;
    if (rc < 0)
        return rc;
    if (!is_root && uid != p.uid)
        return refuse_other("user", wish->user, p.uid, why);
    gid = entry ? entry->pw_gid : is_root ? uid : p.gid;
    /* The next look-up takes the entry's place. */
    name_id(user, entry ? entry->pw_name : NULL, uid);
    *ret_is_group = *wish->group != '\0';
    if (*wish->group)
        rc = find_group(wish->group, &gid, why);
    if (rc < 0)
        return rc;
    if (!is_root && *wish->group && gid != p.gid)
        return refuse_other("group", wish->group, p.gid, why);
    p.kind = !is_root ? PRIVILEGES_SAME : uid == 0 ? PRIVILEGES_ROOT : PRIVILEGES_SWITCH;
    p.has_group = p.kind != PRIVILEGES_ROOT || *wish->group;
    if (is_root) {
        p.uid = uid;
        p.gid = gid;
    }
    rc = find_groups(&p, entry ? user : NULL, why);
    if (rc < 0)
        return rc;
    strcpy(p.user, user);
    group = getgrgid(p.gid);
    name_id(p.group, group ? group->gr_name : NULL, p.gid);
    *ret = p;
    return 0;
}

/* ---- to drop ---- */

static int fail_step(const char **ret_step, const char *step)
{
    *ret_step = step;
    return -errno;
}

/* What a process without CAP_SETPCAP may not do here, nobody can make use of: it cannot gain a
 * capability by an exec any more. */
static void drop_bounds(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap) < 0)
            break;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* unknown before Linux 4.3 */
}

/* Of this process. Returns false where the kernel does not tell. */
static bool read_capabilities(struct __user_cap_data_struct ret[_LINUX_CAPABILITY_U32S_3])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &header, ret) == 0;
}

bool privileges_has(int capability)
{
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3];

    return !read_capabilities(has) ||
           (has[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

/* Where there are none, as in a service of systemd, the call itself may be forbidden. */
static bool has_capabilities(void)
{
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3];
    uint32_t any = 0;

    if (!read_capabilities(has))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(has); i++)
        any |= has[i].effective | has[i].permitted | has[i].inheritable;
    return any != 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return has_capabilities() ? (int)syscall(SYS_capset, &header, none) : 0;
}

/* The order matters: each step needs what a later one takes away. */
static int switch_user(const struct privileges *p, const char **ret_step)
{
    const bool has_group = p->kind == PRIVILEGES_ROOT && p->has_group;

    /* A parent without CAP_KILL could not end a child of another user, and would wait for it for
     * ever when it hangs. */
    if (p->kind == PRIVILEGES_SWITCH && !privileges_has(CAP_KILL)) {
        *ret_step = "kill";
        return -EPERM;
    }
    if (p->kind != PRIVILEGES_ROOT)
        drop_bounds();
    if (p->kind == PRIVILEGES_SWITCH || has_group) {
        if (setgroups(p->n_groups, p->groups) < 0)
            return fail_step(ret_step, "setgroups");
        if (setresgid(p->gid, p->gid, p->gid) < 0)
            return fail_step(ret_step, "setresgid");
    }
    if (p->kind == PRIVILEGES_SWITCH && setresuid(p->uid, p->uid, p->uid) < 0)
        return fail_step(ret_step, "setresuid");
    return 0;
}

int privileges_drop(const struct privileges *p, const char **ret_step, bool *ret_is_switch)
{
    const bool is_root = p->kind == PRIVILEGES_ROOT;
    const int rc = switch_user(p, ret_step);

    if (ret_is_switch)
        *ret_is_switch = rc < 0;
    if (rc < 0)
        return rc;
    if (!is_root && drop_capabilities() < 0)
        return fail_step(ret_step, "capset");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_step(ret_step, "prctl: PR_SET_NO_NEW_PRIVS");
    /* Among processes of one ordinary user it would protect nobody, and hide hung ones from their
     * arbiter. */
    if ((p->kind == PRIVILEGES_SWITCH || p->kind == PRIVILEGES_BARE) &&
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail_step(ret_step, "prctl: PR_SET_DUMPABLE");
    return 0;
}
