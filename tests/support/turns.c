#include "turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

size_t turns_seed(void) {
    static size_t seed;
    static bool known;
    if (known) return seed;
    const char *given = getenv("QLORA_TEST_SEED");
    seed = given ? (size_t)strtoull(given, NULL, 10) : (size_t)time(NULL) % 100000;
    known = true;
    printf("QLORA_TEST_SEED=%zu: whose turn it is under the sanitizer\n", seed);
    return seed;
}
