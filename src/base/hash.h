/*
 * One hash and one sequence of random numbers, the same on every machine and in every version: what
 * they make is compared by processes of different programs. Neither resists an attacker; the keyed
 * hash does.
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

static inline void hash_keyed_round(uint64_t v[4])
{
#define HASH_ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
    v[0] += v[1];
    v[2] += v[3];
    v[1] = HASH_ROTATE(v[1], 13) ^ v[0];
    v[3] = HASH_ROTATE(v[3], 16) ^ v[2];
    v[0] = HASH_ROTATE(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = HASH_ROTATE(v[1], 17) ^ v[2];
    v[3] = HASH_ROTATE(v[3], 21) ^ v[0];
    v[2] = HASH_ROTATE(v[2], 32);
#undef HASH_ROTATE
}

/* hash_keyed - SipHash-2-4 of one word: who does not know the key cannot choose words that collide
 */
static inline uint64_t hash_keyed(const uint64_t key[2], uint64_t word)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const uint64_t words[] = {word, UINT64_C(8)
                                        << 56}; /* the last says how many bytes there were */

    for (size_t i = 0; i < 2; i++) {
        v[3] ^= words[i];
        hash_keyed_round(v);
        hash_keyed_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        hash_keyed_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
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
