#include "kernels/cpu_features.h"

#include "kernels/arch.h"

#if DGMS_X86_64
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#elif DGMS_NEON
#include <sys/auxv.h>
#endif

namespace dgms {
namespace {

#if DGMS_X86_64

bool Bit(unsigned word, int bit) { return ((word >> bit) & 1u) != 0; }

// The register state that the operating system saves (extended control register 0).
uint64_t EnabledState() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux gives the tiles' eight kilobytes of registers to processes that ask for them
// (Documentation/arch/x86/xstate.rst). The answer holds for all threads, present and future, and for children. It is no
// where a thread has an alternate signal stack that is too small for them; after a yes, sigaltstack refuses such
// stacks.
bool MayUseTiles() {
#if DGMS_AMX
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures Detect() {
  CpuFeatures features;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return features;
  const bool fma = Bit(c, 12), osxsave = Bit(c, 27), avx = Bit(c, 28), f16c = Bit(c, 29);
  if (!osxsave || !avx) return features;
  const uint64_t state = EnabledState();
  const bool saves_ymm = (state & 0x6) == 0x6;    // SSE and AVX registers
  const bool saves_zmm = (state & 0xe6) == 0xe6;  // and masks, upper halves, zmm16-31
  const bool saves_tiles = Bit(static_cast<unsigned>(state), 17) && Bit(static_cast<unsigned>(state), 18);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
  features.avx2 = saves_ymm && Bit(b, 5) && fma && f16c;
  features.avx512 = features.avx2 && saves_zmm && Bit(b, 16) && Bit(b, 17) && Bit(b, 30) && Bit(b, 31);
  features.avx512_vnni = features.avx512 && Bit(c, 11);
  const bool amx_tile = Bit(d, 24), amx_int8 = Bit(d, 25);
  features.avx512_amx = features.avx512_vnni && saves_tiles && amx_tile && amx_int8 && MayUseTiles();
  return features;
}

#elif DGMS_AARCH64

CpuFeatures Detect() {
  // The kernel's names for these bits (asm/hwcap.h), which older headers lack.
  constexpr unsigned long kHwcapAdvancedSimd = 1ul << 1;
  constexpr unsigned long kHwcapDotprod = 1ul << 20;
  constexpr unsigned long kHwcap2I8mm = 1ul << 13;
  CpuFeatures features;
  features.neon = (getauxval(AT_HWCAP) & kHwcapAdvancedSimd) != 0;
  features.neon_dotprod = features.neon && (getauxval(AT_HWCAP) & kHwcapDotprod) != 0;
  features.neon_i8mm = features.neon_dotprod && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0;
  return features;
}

#elif DGMS_ARM32

CpuFeatures Detect() {
  constexpr unsigned long kHwcapNeon = 1ul << 12;
  constexpr unsigned long kHwcapVfpv4 = 1ul << 16;  // fused multiply-add, which our flags let the compiler use
  CpuFeatures features;
  const unsigned long hwcap = getauxval(AT_HWCAP);
  features.neon = (hwcap & kHwcapNeon) != 0 && (hwcap & kHwcapVfpv4) != 0;
  return features;
}

#else

CpuFeatures Detect() { return CpuFeatures(); }

#endif

}  // namespace

const CpuFeatures& DetectCpu() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace dgms
