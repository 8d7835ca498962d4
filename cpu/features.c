#define _GNU_SOURCE /* syscall */
#include "cpu/features.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* __builtin_cpu_supports() does not tell what the processor has from what the system lets it, and older compilers do
 * not know all of these. */
enum { EAX, EBX, ECX, EDX };

static bool has_bit(unsigned leaf, unsigned subleaf, int reg, int bit) {
    unsigned r[4];
    return __get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) && (r[reg] >> bit & 1);
}

/* The states that the system saves, or 0: bits 1 and 2 are those of AVX, 5 to 7 those of AVX-512, 17 and 18 those of
 * AMX. */
static uint64_t saved_states(void) {
    if (!has_bit(1, 0, ECX, 27)) return 0; /* OSXSAVE: there is such a register */
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Tiles are 8 KiB of registers, which Linux saves only for processes that have asked. */
static bool ask_for_tiles(void) {
    enum { ARCH_GET_XCOMP_PERM = 0x1022, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    uint64_t granted = 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 &&
           syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &granted) == 0 && (granted >> XFEATURE_XTILEDATA & 1);
}

static cpu_features_t find_features(void) {
    const uint64_t saved = saved_states(), avx = 0x6, avx512 = 0xe6, tiles = 0x60000;
    cpu_features_t has = {
        .avx2 = has_bit(7, 0, EBX, 5) && has_bit(1, 0, ECX, 12) && has_bit(1, 0, ECX, 29) && (saved & avx) == avx,
        .avx512 = has_bit(7, 0, EBX, 16) && has_bit(7, 0, EBX, 17) && has_bit(7, 0, EBX, 30) && has_bit(7, 0, EBX, 31),
        .avx512_bf16 = has_bit(7, 1, EAX, 5),
        .amx_bf16 = has_bit(7, 0, EDX, 24) && has_bit(7, 0, EDX, 22),
        .saves_avx512 = (saved & avx512) == avx512,
        .saves_tiles = (saved & tiles) == tiles,
    };
    has.grants_tiles = has.amx_bf16 && has.saves_tiles && ask_for_tiles();
    return has;
}
#else
static cpu_features_t find_features(void) { return (cpu_features_t){0}; }
#endif

static cpu_features_t found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find(void) { found = find_features(); }

cpu_features_t cpu_features(void) {
    pthread_once(&once, find);
    return found;
}

bool cpu_runs_avx512(const cpu_features_t *has) { return has->avx2 && has->avx512 && has->saves_avx512; }

bool cpu_runs_avx512_bf16(const cpu_features_t *has) { return cpu_runs_avx512(has) && has->avx512_bf16; }

/* Its operands are laid out by the kernels of AVX512-BF16, which every processor with AMX has. */
bool cpu_runs_amx(const cpu_features_t *has) {
    return cpu_runs_avx512_bf16(has) && has->amx_bf16 && has->saves_tiles && has->grants_tiles;
}

cpu_build_t cpu_build(void) {
    cpu_build_t built = {0};
#ifdef QLORA_AVX512_BF16
    built.avx512_bf16 = true;
#endif
#ifdef QLORA_AMX_BF16
    built.amx_bf16 = true;
#endif
    return built;
}

/* ---- what is missing ------------------------------------------------------------------------------------- */

/* What is in the way of AMX, or of AVX512-BF16 where there is no AMX; NULL: nothing. */
static const char *missing_for_bf16(const cpu_features_t *has, const cpu_build_t *built) {
    if (!cpu_runs_avx512_bf16(has)) return NULL; /* no processor has AMX alone */
    if (has->amx_bf16 && !built->amx_bf16)
        return "this program was built by a compiler that does not know it; build it again with GCC 11, clang 12 or "
               "newer";
    if (has->amx_bf16 && !has->saves_tiles)
        return "the operating system does not enable it; that takes Linux 5.16 or newer and, in a virtual machine, a "
               "hypervisor that lets its guests use AMX";
    if (has->amx_bf16 && !has->grants_tiles)
        return "Linux does not grant it to this process; let the container or sandbox pass arch_prctl "
               "(ARCH_REQ_XCOMP_PERM) on";
    if (!has->amx_bf16 && !built->avx512_bf16)
        return "this program was built by a compiler that does not know it; build it again with GCC 10, clang 9 or "
               "newer";
    return NULL;
}

void cpu_shortfall(const cpu_features_t *has, const cpu_build_t *built, bool bf16, char *out, size_t size) {
    *out = '\0';
    if (has->avx512 && !cpu_runs_avx512(has)) {
        snprintf(out, size,
                 "this processor has AVX-512, but the operating system does not enable it; everything runs by %s, at "
                 "half the speed or less; let the kernel enable it (its command line has noxsave or clearcpuid, or "
                 "the hypervisor keeps it from its guests)",
                 has->avx2 ? "AVX2" : "SSE2");
        return;
    }
    const char *missing = bf16 ? missing_for_bf16(has, built) : NULL;
    if (!missing) return;
    snprintf(out, size, "this processor has %s for bf16 products, but %s; they run %s",
             has->amx_bf16 ? "AMX" : "AVX512-BF16", missing,
             has->amx_bf16 ? "by vectors, several times slower" : "in f32, at half the speed");
}
