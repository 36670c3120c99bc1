// The core's measured multiply-add peaks: independent chains of one instruction (or of the few that make one multiply-
// accumulate step), nothing else.
#ifndef DGMS_BENCH_PEAK_H_
#define DGMS_BENCH_PEAK_H_

#include <cstdint>
#include <cstring>

#include "bench/clock.h"
#include "kernels/arch.h"
#include "kernels/kernel.h"

namespace dgms::bench {

// What kernels compute: float multiply-adds, and products of int8 with 32-bit sums, in matrices and in depthwise
// convolutions, whose kernels use other instructions for them.
enum class Arithmetic { kFloat, kMatrixInt8, kDepthwiseInt8 };

struct Probe {
  const char* instruction;
  Isa isa;
  Arithmetic arithmetic;
  int64_t macs_per_loop;
  void (*run)(int64_t loops);
};

// Written in assembler, so that the compiler needs no flags for instructions that only these probes use. Operands are
// zeros: no denormals, no power of the multiplier's data. Registers 0 and 1 are operands, the others accumulate.
#if DGMS_X86_64
#define DGMS_VECTORS_X86                                                                                              \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15", "cc"
#define DGMS_TEN(one) one("2") one("3") one("4") one("5") one("6") one("7") one("8") one("9") one("10") one("11")
#define DGMS_FIVE(one) one("2") one("3") one("4") one("5") one("6")
#define DGMS_PROBE_X86(name, body)                                                                                   \
  inline void name(int64_t loops) {                                                                                  \
    __asm__ volatile("vzeroall\n\t1:\n\t" body "dec %0\n\tjnz 1b\n\tvzeroupper" : "+r"(loops) : : DGMS_VECTORS_X86); \
  }
#define DGMS_ONE(reg, mnemonic, r) mnemonic " %%" reg "mm0, %%" reg "mm1, %%" reg "mm" r "\n\t"
#define DGMS_FMA_Y(r) DGMS_ONE("y", "vfmadd231ps", r)
#define DGMS_FMA_Z(r) DGMS_ONE("z", "vfmadd231ps", r)
#define DGMS_DPBUSD_Z(r) DGMS_ONE("z", "vpdpbusd", r)
// Products go to registers of their own (12, 13), as they do in the kernels: the sum is the only chain.
#define DGMS_ADD_TO(r) "vpaddd %%ymm12, %%ymm" r ", %%ymm" r "\n\t"
#define DGMS_MADDWD_Y(r) "vpmaddwd %%ymm0, %%ymm1, %%ymm12\n\t" DGMS_ADD_TO(r)
#define DGMS_MADDUBSW_Y(r) "vpmaddubsw %%ymm0, %%ymm1, %%ymm13\n\tvpmaddwd %%ymm13, %%ymm1, %%ymm12\n\t" DGMS_ADD_TO(r)
DGMS_PROBE_X86(RunFmaY, DGMS_TEN(DGMS_FMA_Y))
DGMS_PROBE_X86(RunFmaZ, DGMS_TEN(DGMS_FMA_Z))
DGMS_PROBE_X86(RunDpbusdZ, DGMS_TEN(DGMS_DPBUSD_Z))
DGMS_PROBE_X86(RunMaddwdY, DGMS_TEN(DGMS_MADDWD_Y))
DGMS_PROBE_X86(RunMaddubswY, DGMS_TEN(DGMS_MADDUBSW_Y))
#if DGMS_AMX
// Four tiles of 16 x 16 sums, as a kernel of 32 x 32 has them.
inline void RunTdpbssd(int64_t loops) {
  struct alignas(64) Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config;
  std::memset(&config, 0, sizeof(config));
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = 16;
  }
  __asm__ volatile(
      "ldtilecfg %1\n\ttilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t1:\n\t"
      "tdpbssd %%tmm6, %%tmm4, %%tmm0\n\ttdpbssd %%tmm7, %%tmm4, %%tmm1\n\t"
      "tdpbssd %%tmm6, %%tmm5, %%tmm2\n\ttdpbssd %%tmm7, %%tmm5, %%tmm3\n\t"
      "dec %0\n\tjnz 1b\n\ttilerelease"
      : "+r"(loops)
      : "m"(config)
      : "cc");
}
#endif
#elif DGMS_AARCH64
#define DGMS_VECTORS_ARM \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "cc"
#define DGMS_EIGHT(one) one("16") one("17") one("18") one("19") one("20") one("21") one("22") one("23")
#define DGMS_PROBE_ARM(name, body)                                                                  \
  inline void name(int64_t loops) {                                                                 \
    __asm__ volatile("movi v0.4s, #0\n\tmovi v1.4s, #0\n\t1:\n\t" body "subs %0, %0, #1\n\tb.ne 1b" \
                     : "+r"(loops)                                                                  \
                     :                                                                              \
                     : DGMS_VECTORS_ARM);                                                           \
  }
#define DGMS_FMLA(r) "fmla v" r ".4s, v0.4s, v1.4s\n\t"
#define DGMS_SMLAL16(r) "smlal v" r ".4s, v0.4h, v1.4h\n\t"
// As the kernel without dot products: sixteen byte products in two steps, then pairwise into 32 bits.
#define DGMS_SMULL8(r) "smull v2.8h, v0.8b, v1.8b\n\tsmlal2 v2.8h, v0.16b, v1.16b\n\tsadalp v" r ".4s, v2.8h\n\t"
// SDOT Vr.4S, V0.16B, V1.16B and SMMLA, as words: an assembler takes the names only with flags.
#define DGMS_SDOT(r) ".inst 0x4e819400 + " r "\n\t"
#define DGMS_SMMLA(r) ".inst 0x4e81a400 + " r "\n\t"
DGMS_PROBE_ARM(RunFmla, DGMS_EIGHT(DGMS_FMLA))
DGMS_PROBE_ARM(RunSmlal16, DGMS_EIGHT(DGMS_SMLAL16))
DGMS_PROBE_ARM(RunSmull8, DGMS_EIGHT(DGMS_SMULL8))
DGMS_PROBE_ARM(RunSdot, DGMS_EIGHT(DGMS_SDOT))
DGMS_PROBE_ARM(RunSmmla, DGMS_EIGHT(DGMS_SMMLA))
#endif

// In rising order of preference within an arithmetic, as kernels are.
inline constexpr Probe kProbes[] = {
#if DGMS_X86_64
    {"vfmadd231ps ymm", Isa::kAvx2, Arithmetic::kFloat, 10 * 8, RunFmaY},
    {"vfmadd231ps zmm", Isa::kAvx512, Arithmetic::kFloat, 10 * 16, RunFmaZ},
    {"vpmaddubsw + vpmaddwd + vpaddd ymm", Isa::kAvx2, Arithmetic::kMatrixInt8, 10 * 32, RunMaddubswY},
    {"vpdpbusd zmm", Isa::kAvx512Vnni, Arithmetic::kMatrixInt8, 10 * 64, RunDpbusdZ},
#if DGMS_AMX
    {"tdpbssd", Isa::kAvx512Amx, Arithmetic::kMatrixInt8, 4 * 16 * 16 * 64, RunTdpbssd},
#endif
    {"vpmaddwd + vpaddd ymm", Isa::kAvx2, Arithmetic::kDepthwiseInt8, 10 * 16, RunMaddwdY},
    {"vpdpbusd zmm", Isa::kAvx512Vnni, Arithmetic::kDepthwiseInt8, 10 * 64, RunDpbusdZ},
#elif DGMS_AARCH64
    {"fmla 4s", Isa::kNeon, Arithmetic::kFloat, 8 * 4, RunFmla},
    {"smull + smlal + sadalp", Isa::kNeon, Arithmetic::kMatrixInt8, 8 * 16, RunSmull8},
    {"sdot", Isa::kNeonDotprod, Arithmetic::kMatrixInt8, 8 * 16, RunSdot},
    {"smmla", Isa::kNeonI8mm, Arithmetic::kMatrixInt8, 8 * 32, RunSmmla},
    {"smlal 4s", Isa::kNeon, Arithmetic::kDepthwiseInt8, 8 * 4, RunSmlal16},
#else
    {"none", Isa::kAvx512Amx, Arithmetic::kFloat, 0, nullptr},  // no kernel is of this instruction set here
#endif
};

// The probe for a kernel of this instruction set; null where there is none (portable code, 32-bit ARM). The machine
// must have the instruction set.
inline const Probe* ProbeFor(Isa isa, Arithmetic arithmetic) {
  const Probe* found = nullptr;
  for (const Probe& probe : kProbes) {
    if (probe.arithmetic == arithmetic && probe.isa <= isa && probe.run != nullptr) found = &probe;
  }
  return found;
}

// Multiply-adds per second of one core: the best of `repeats` tries of about a millisecond.
inline double PeakMacsPerSecond(const Probe& probe, int repeats = 3) {
  constexpr int64_t kMacs = 60'000'000;
  const int64_t loops = kMacs / probe.macs_per_loop + 1;
  double best = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double start = ThreadSeconds();
    probe.run(loops);
    const double rate = static_cast<double>(loops * probe.macs_per_loop) / (ThreadSeconds() - start);
    best = rate > best ? rate : best;
  }
  return best;
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_PEAK_H_
