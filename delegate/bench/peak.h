// The core's measured multiply-add peak: ten independent chains of one instruction, nothing else.
#ifndef DGMS_BENCH_PEAK_H_
#define DGMS_BENCH_PEAK_H_

#include <time.h>

#include <chrono>
#include <cstdint>

#include "kernels/arch.h"
#include "kernels/kernel.h"

namespace dgms::bench {

inline double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The time that this thread has computed, for work on one thread: other programs' time slices do not count.
inline double ThreadSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Written in assembler, so that the compiler needs no flags for instructions that only this probe uses. Operands are
// zeros: no denormals, no power of the multiplier's data.
#if DGMS_X86_64
#define DGMS_TEN_FMAS(reg)                                                                       \
  "vfmadd231ps %%" reg "0, %%" reg "1, %%" reg "2\n\tvfmadd231ps %%" reg "0, %%" reg "1, %%" reg \
  "3\n\t"                                                                                        \
  "vfmadd231ps %%" reg "0, %%" reg "1, %%" reg "4\n\tvfmadd231ps %%" reg "0, %%" reg "1, %%" reg \
  "5\n\t"                                                                                        \
  "vfmadd231ps %%" reg "0, %%" reg "1, %%" reg "6\n\tvfmadd231ps %%" reg "0, %%" reg "1, %%" reg \
  "7\n\t"                                                                                        \
  "vfmadd231ps %%" reg "0, %%" reg "1, %%" reg "8\n\tvfmadd231ps %%" reg "0, %%" reg "1, %%" reg \
  "9\n\t"                                                                                        \
  "vfmadd231ps %%" reg "0, %%" reg "1, %%" reg "10\n\tvfmadd231ps %%" reg "0, %%" reg "1, %%" reg "11\n\t"
#define DGMS_RUN_FMAS(reg)                                                                                             \
  __asm__ volatile("vzeroall\n\t1:\n\t" DGMS_TEN_FMAS(reg) "dec %0\n\tjnz 1b\n\tvzeroupper"                            \
                   : "+r"(loops)                                                                                       \
                   :                                                                                                   \
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                     "cc")
#elif DGMS_AARCH64
#define DGMS_TEN_FMAS                                                                                           \
  "fmla v2.4s, v0.4s, v1.4s\n\tfmla v3.4s, v0.4s, v1.4s\n\tfmla v4.4s, v0.4s, v1.4s\n\t"                        \
  "fmla v5.4s, v0.4s, v1.4s\n\tfmla v6.4s, v0.4s, v1.4s\n\tfmla v7.4s, v0.4s, v1.4s\n\t"                        \
  "fmla v16.4s, v0.4s, v1.4s\n\tfmla v17.4s, v0.4s, v1.4s\n\tfmla v18.4s, v0.4s, v1.4s\n\tfmla v19.4s, v0.4s, " \
  "v1.4s\n\t"
#endif

// Multiply-adds per second of one core with an instruction set's vectors; 0 where there is no probe for it.
inline double PeakMacsPerSecond(Isa isa) {
  constexpr int64_t kLoops = 200000, kChains = 10;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    int64_t loops = kLoops, lanes = 0;
    const double start = ThreadSeconds();
#if DGMS_X86_64
    if (isa == Isa::kAvx512 || isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Amx) {
      lanes = 16;
      DGMS_RUN_FMAS("zmm");
    } else if (isa == Isa::kAvx2) {
      lanes = 8;
      DGMS_RUN_FMAS("ymm");
    }
#elif DGMS_AARCH64
    if (isa == Isa::kNeon || isa == Isa::kNeonDotprod || isa == Isa::kNeonI8mm) {
      lanes = 4;
      __asm__ volatile("1:\n\t" DGMS_TEN_FMAS "subs %0, %0, #1\n\tb.ne 1b"
                       : "+r"(loops)
                       :
                       : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "cc");
    }
#endif
    (void)loops;
    const double rate = static_cast<double>(kLoops * kChains * lanes) / (ThreadSeconds() - start);
    best = rate > best ? rate : best;
  }
  return best;
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_PEAK_H_
