/*
 * The symbols of an ELF file, of the machine's own class.
 */
#include "cmd/echo_client_symbols.h"

#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

struct symbols {
    const char *file; /* mapped */
    size_t size;
    char name[256]; /* of the file, without directories */
    const ElfW(Sym) * list; /* within the file */
    size_t n;
    const char *names; /* the same; it ends with a NUL */
    size_t names_size;
    ElfW(Addr) base; /* what offsets count from */
};

/* @count objects of @size bytes at @offset of the file, or NULL. */
static const void *part_of_file(const struct symbols *s, size_t offset, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes) || offset > s->size ||
        bytes > s->size - offset || offset % sizeof(void *) != 0)
        return NULL;
    return s->file + offset;
}

static void find_base(struct symbols *s, const ElfW(Ehdr) * head)
{
    const ElfW(Phdr) *segments = part_of_file(s, head->e_phoff, head->e_phnum, sizeof(ElfW(Phdr)));

    for (size_t i = 0; segments && i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD) {
            s->base = segments[i].p_vaddr & ~(ElfW(Addr))4095;
            return;
        }
}

/* Returns whether there are any. */
static bool find_table(struct symbols *s)
{
    const ElfW(Ehdr) *head = part_of_file(s, 0, 1, sizeof(*head));
    const ElfW(Shdr) * sections;

    if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
        head->e_shentsize != sizeof(*sections))
        return false;
    find_base(s, head);
    sections = part_of_file(s, head->e_shoff, head->e_shnum, sizeof(*sections));
    for (size_t i = 0; sections && i < head->e_shnum; i++) {
        const ElfW(Shdr) *table = &sections[i], *names;

        if (table->sh_type != SHT_SYMTAB || table->sh_link >= head->e_shnum)
            continue;
        names = &sections[table->sh_link];
        s->n = table->sh_size / sizeof(*s->list);
        s->list = part_of_file(s, table->sh_offset, s->n, sizeof(*s->list));
        if (names->sh_offset > s->size || names->sh_size > s->size - names->sh_offset)
            return false;
        s->names = s->file + names->sh_offset;
        s->names_size = names->sh_size;
        return s->list && s->names_size > 0 && s->names[s->names_size - 1] == '\0';
    }
    return false;
}

static bool symbols_open(struct symbols *s, pid_t pid)
{
    char path[64], target[4096];
    struct stat st;
    const char *slash;
    void *map;
    ssize_t n;
    int fd;

    *s = (struct symbols){.file = NULL};
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    n = readlink(path, target, sizeof(target) - 1);
    fd = n > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(s->name, sizeof(s->name), "%.*s", (int)strcspn(slash ? slash + 1 : target, " "),
             slash ? slash + 1 : target);
    map = fstat(fd, &st) == 0 && st.st_size > 0
              ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
              : MAP_FAILED;
    close(fd);
    if (map == MAP_FAILED)
        return false;
    s->file = map;
    s->size = (size_t)st.st_size;
    return find_table(s);
}

static void symbols_close(struct symbols *s)
{
    if (s->file)
        munmap((void *)(uintptr_t)s->file, s->size);
}

static const ElfW(Sym) * find_function(const struct symbols *s, ElfW(Addr) at)
{
    for (size_t i = 0; i < s->n; i++) {
        const ElfW(Sym) *symbol = &s->list[i];

        if ((symbol->st_info & 15) == STT_FUNC && at >= symbol->st_value &&
            at - symbol->st_value < symbol->st_size && symbol->st_name < s->names_size)
            return symbol;
    }
    return NULL;
}

/* A return address may lie behind the end of a function that does not return from its last call. */
static json_t *name_frame(const struct symbols *s, const char *frame)
{
    const char *blank = strchr(frame, ' '), *plus = blank ? strchr(blank, '+') : NULL;
    const size_t len = strlen(s->name);
    const ElfW(Sym) * found;
    ElfW(Addr) at;

    if (!plus || (size_t)(plus - blank - 1) != len || memcmp(blank + 1, s->name, len) != 0)
        return NULL;
    at = s->base + (ElfW(Addr))strtoull(plus + 1, NULL, 16);
    found = find_function(s, at - 1);
    if (!found)
        found = find_function(s, at);
    return found ? json_sprintf("%s %s+0x%llx", frame, s->names + found->st_name,
                                (unsigned long long)(at - found->st_value))
                 : NULL;
}

void symbols_name_frames(pid_t pid, json_t *crash)
{
    json_t *frames = json_object_get(crash, "frames"), *frame, *named;
    struct symbols s;
    size_t i;

    if (!json_is_array(frames) || pid <= 0)
        return;
    if (symbols_open(&s, pid)) {
        json_array_foreach(frames, i, frame)
        {
            named = json_is_string(frame) ? name_frame(&s, json_string_value(frame)) : NULL;
            if (named)
                json_array_set_new(frames, i, named);
        }
    }
    symbols_close(&s);
}
