// What the processor we run on can do.
#ifndef DGMS_KERNELS_CPU_FEATURES_H_
#define DGMS_KERNELS_CPU_FEATURES_H_

namespace dgms {

// True only if every instruction that the compiler may use with our flags for that set works, and the operating system
// saves the registers.
struct CpuFeatures {
  bool avx2 = false;         // AVX2, FMA, F16C
  bool avx512 = false;       // the above and AVX-512 F, BW, DQ, VL
  bool avx512_vnni = false;  // int8 dot products, with avx512
  bool avx512_amx = false;   // int8 tiles, with avx512_vnni; the operating system has let this process use them
  bool neon = false;
  bool neon_dotprod = false;
  bool neon_i8mm = false;
};

// Asked once, then remembered.
const CpuFeatures& DetectCpu();

}  // namespace dgms

#endif  // DGMS_KERNELS_CPU_FEATURES_H_
