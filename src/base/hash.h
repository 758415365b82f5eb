/*
 * One hash and one sequence of random numbers, the same on every machine and in every version: what
 * they make is compared by processes of different programs. Neither resists an attacker.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* hash_bytes - FNV-1a, 64 bits: begin with HASH_INIT and go on with what came out */
#define HASH_INIT UINT64_C(0xcbf29ce484222325)
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    for (const uint8_t *p = data; len > 0; p++, len--)
        hash = (hash ^ *p) * UINT64_C(0x100000001b3);
    return hash;
}

/* hash_name - of a name that other processes know, too */
static inline uint64_t hash_name(const char *name)
{
    return hash_bytes(HASH_INIT, name, strlen(name));
}

/* random_next - the next number of a sequence (splitmix64); @state begins as any seed */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
