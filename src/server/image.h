/*
 * The running program: how it was started, and what an image before it says on the command line.
 * Those words are written by arbiter/upgrade_exec.c, always first, and belong to no interface.
 */
#ifndef SERVER_IMAGE_H
#define SERVER_IMAGE_H

#include "arbiter/arbiter.h"

enum image_role {
    IMAGE_FIRST, /* started by somebody */
    IMAGE_CHECK, /* --inherit-check=STATE: the dry run */
    IMAGE_NEXT, /* --inherit=STATE,BACK [--inherit-failed=WHY] */
};

struct image {
    enum image_role role;
    struct arbiter_image program; /* owned: copies */
    struct arbiter_inherited inherited; /* IMAGE_CHECK: the state_fd alone */
};

/*
 * image_init - before anything changes the strings of @argv
 * Returns 0, -EINVAL (words that no image writes) or -ENOMEM.
 */
int image_init(struct image *image, int argc, char **argv);

/* image_fini - also of one that image_init could not finish */
void image_fini(struct image *image);

#endif
