/*
 * Members of structs as JSON, by tables: each object of the JSON is a table of members, packed from
 * a struct and unpacked into it. Strict: what is missing, unknown, of another type or out of its
 * range is refused with its name. Only counters come and go with versions.
 */
#ifndef BASE_MEMBERS_H
#define BASE_MEMBERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum member_kind {
    MEMBER_UINT, /* an unsigned number of 4 or 8 bytes, 0..max */
    MEMBER_WORD, /* 8 bytes, any bits */
    MEMBER_FLAG, /* bool */
    MEMBER_NAME, /* an enum, by its name */
    MEMBER_TEXT, /* char [size] */
    MEMBER_OWN_TEXT, /* char *, owned */
    MEMBER_FD,
    MEMBER_MAYBE_FD, /* or -1 */
    MEMBER_ANY, /* json_t *, owned */
    MEMBER_COUNTERS, /* struct counters */
    MEMBER_TIMING, /* struct timing */
};

struct member {
    const char *name; /* NULL ends the table */
    size_t offset, size;
    enum member_kind kind;
    uint64_t max; /* MEMBER_UINT; MEMBER_NAME: how many names there are */
    const char *const *names; /* MEMBER_NAME; NULL in it = a value that is not written */
};

#define MEMBER(type, member)                                                                       \
#member, offsetof(struct type, member), sizeof(((struct type *)NULL)->member)

/* Of JSON's integers: what is larger is packed as this, as good as never if it is a time. */
#define MEMBER_UINT_MAX ((uint64_t)INT64_MAX)

struct members_packer {
    json_t *fds; /* owned by the caller: takes all descriptors that are packed */
    bool has_failed; /* without memory */
};

/* members_set - @o gets that member; @value is taken over, NULL = without memory */
void members_set(struct members_packer *p, json_t *o, const char *name, json_t *value);

/* members_pack - @o gets those of the struct at @base */
void members_pack(struct members_packer *p, json_t *o, const struct member *m, const void *base);

struct members_reader {
    const int *fds; /* borrowed: descriptors that may be named, sorted */
    size_t n_fds;
    bool *is_taken; /* borrowed: which of them have been */
    char *why; /* borrowed, @why_size bytes: a sentence, once something is refused */
    size_t why_size;
};

/* members_refuse - say why. Returns -EBADMSG. */
int members_refuse(struct members_reader *r, const char *what, const char *detail);

/*
 * members_unpack - the members of @m, and @n_more that others read
 * Each descriptor can be named once: two owners would close it twice.
 * Returns 0, -EBADMSG with @r->why, or -ENOMEM; what was read until then is in the struct.
 */
int members_unpack(struct members_reader *r, const json_t *o, const struct member *m, void *base,
                   size_t n_more);

/* members_compare_fds - for qsort of a reader's list */
int members_compare_fds(const void *a, const void *b);

#endif
