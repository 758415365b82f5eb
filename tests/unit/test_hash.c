/*
 * Published values of the hash and of the random sequence: other programs compare what they make.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/hash.h"
#include "base/util.h"

static void hash_bytes__published_values__same_at_once_or_in_pieces(void **state UNUSED)
{
    assert_true(hash_bytes(HASH_INIT, "", 0) == HASH_INIT);
    assert_true(hash_bytes(HASH_INIT, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(hash_bytes(HASH_INIT, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    assert_true(hash_bytes(hash_bytes(HASH_INIT, "f", 1), "oobar", 5) ==
                UINT64_C(0x85944171f73967e8));
}

/* Of the list that comes with SipHash: the key is 00 to 0f, the word 00 to 07. */
static void hash_keyed__published_value__same(void **state UNUSED)
{
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

    assert_true(hash_keyed(key, UINT64_C(0x0706050403020100)) == UINT64_C(0x93f5f5799a932462));
}

static void random_next__published_values__same(void **state UNUSED)
{
    uint64_t seed = 1234567;

    assert_true(random_next(&seed) == UINT64_C(6457827717110365317));
    assert_true(random_next(&seed) == UINT64_C(3203168211198807973));
    assert_true(random_next(&seed) == UINT64_C(9817491932198370423));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_bytes__published_values__same_at_once_or_in_pieces),
        cmocka_unit_test(hash_keyed__published_value__same),
        cmocka_unit_test(random_next__published_values__same),
    };

    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
