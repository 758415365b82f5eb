/*
 * The names of users and groups in a configuration, all in one list, and their numbers.
 */
#include "conf/config_owner.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include "base/num.h"
#include "conf/config_type.h"

/* Of each listener and of the control socket two, and one that steers. */
enum { OWNERS_MAX = 2 * CONFIG_BIND_MAX + 3 };

/* One name of the configuration, and where its number stands. uid_t and gid_t are the same type. */
struct owner {
    int key;
    bool is_group;
    const char *name; /* borrowed */
    uid_t *id; /* borrowed */
};

static size_t add_owner(struct owner *owners, size_t n, int key, bool is_group, const char *name,
                        const uid_t *id)
{
    if (*name)
        owners[n++] = (struct owner){key, is_group, name, (uid_t *)(uintptr_t)id};
    return n;
}

static size_t list_owners(const struct config *c, struct owner owners[OWNERS_MAX])
{
    const struct config_access *access = &c->control_access;
    size_t n = 0;

    for (size_t i = 0; i < c->n_bind; i++) {
        const struct config_access *at = &c->bind[i].access;

        n = add_owner(owners, n, CONFIG_BIND, false, at->owner, &at->uid);
        n = add_owner(owners, n, CONFIG_BIND, true, at->group, &at->gid);
    }
    n = add_owner(owners, n, CONFIG_CONTROL_OWNER, false, access->owner, &access->uid);
    n = add_owner(owners, n, CONFIG_CONTROL_GROUP, true, access->group, &access->gid);
    return add_owner(owners, n, CONFIG_STEER_GROUP, true, c->steer_group, &c->steer_gid);
}

/* What consists of digits is a number: nobody can be called so. */
static bool is_number(const char *name)
{
    return name[strspn(name, "0123456789")] == '\0';
}

bool config_owners_are_numbers(const struct config *c)
{
    struct owner owners[OWNERS_MAX];
    const size_t n = list_owners(c, owners);

    for (size_t i = 0; i < n; i++)
        if (!is_number(owners[i].name))
            return false;
    return true;
}

static const char *set_name(const struct owner *o)
{
    return o->is_group ? "groups" : "users";
}

static bool ask_system(const struct owner *o, uid_t *ret)
{
    const struct passwd *user = o->is_group ? NULL : getpwnam(o->name);
    const struct group *group = o->is_group ? getgrnam(o->name) : NULL;

    if (user)
        *ret = user->pw_uid;
    if (group)
        *ret = group->gr_gid;
    return user || group;
}

/* @ask = NULL: as they have been filled in. */
static json_t *encode_owners(const struct config *c, bool (*ask)(const struct owner *o, uid_t *ret))
{
    json_t *o = json_pack("{s:{},s:{}}", "users", "groups");
    struct owner owners[OWNERS_MAX];
    const size_t n = list_owners(c, owners);

    for (size_t i = 0; o && i < n; i++) {
        uid_t id = *owners[i].id;

        if (is_number(owners[i].name) || (ask && !ask(&owners[i], &id)))
            continue;
        /* A name that is no UTF-8 is left out, and not found then. */
        json_object_set_new(json_object_get(o, set_name(&owners[i])), owners[i].name,
                            json_integer((json_int_t)id));
    }
    return o;
}

json_t *config_owners_look_up(const struct config *c)
{
    return encode_owners(c, ask_system);
}

json_t *config_owners_encode(const struct config *c)
{
    return encode_owners(c, NULL);
}

/* -1, all ones, stands for "no change" in chown(2). */
static bool find_number(const struct owner *o, const json_t *owners, uid_t *ret)
{
    const json_t *found = json_object_get(json_object_get(owners, set_name(o)), o->name);
    uint64_t number;

    if (is_number(o->name)) {
        if (num_parse_u64(o->name, 0, UINT32_MAX - 1, &number) < 0)
            return false;
        *ret = (uid_t)number;
        return true;
    }
    if (!json_is_integer(found) || json_integer_value(found) < 0 ||
        json_integer_value(found) >= UINT32_MAX)
        return false;
    *ret = (uid_t)json_integer_value(found);
    return true;
}

void config_owners_apply(struct config *c, const json_t *owners, struct config_errors *errors)
{
    struct owner list[OWNERS_MAX];
    const size_t n = list_owners(c, list);
    char shown[CONFIG_SHOW_LEN];

    for (size_t i = 0; i < n; i++) {
        const struct owner *o = &list[i];
        const struct config_origin *origin = &c->origin[o->key];
        const char *what = o->is_group ? "group" : "user";

        if (find_number(o, owners, o->id))
            continue;
        config_errors_add(errors, origin->kind == ORIGIN_FILE ? c->path : "command line",
                          origin->kind == ORIGIN_FILE ? origin->line : 0,
                          "%s: \"%s\" is no %s of this system, allowed: what getent %s knows, or a "
                          "number below 4294967295",
                          c->schema->rows[o->key].name,
                          config_show(o->name, strlen(o->name), shown), what,
                          o->is_group ? "group" : "passwd");
    }
}
