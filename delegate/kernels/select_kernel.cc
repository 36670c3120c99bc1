#include "kernels/select_kernel.h"

#include "kernels/arch.h"
#include "kernels/cpu_features.h"

namespace dgms {
namespace {

#define DGMS_GEMM_F32(name, isa, max_rows, max_columns, column_unit, k_unit, pack, scale_columns)                \
  constexpr GemmF32Kernel name##_kernel = {#name, isa,           max_rows,    max_columns, column_unit,  k_unit, \
                                           pack,  name##_decode, name##_gemm, name##_gemv, scale_columns};
#define DGMS_DEPTHWISE_F32(name, isa) constexpr DepthwiseF32Kernel name##_kernel = {#name, isa, name};
#define DGMS_CODES_F32(name, isa) constexpr CodesF32Kernel name##_kernel = {#name, isa, name};
#define DGMS_DENSE(name, isa) constexpr DenseKernel name##_kernel = {#name, isa, name##_transpose, name##_dot_rows};
#include "kernels/kernels.inc"

constexpr const GemmF32Kernel* kGemmF32[] = {
#define DGMS_GEMM_F32(name, ...) &name##_kernel,
#include "kernels/kernels.inc"
};

constexpr const DepthwiseF32Kernel* kDepthwiseF32[] = {
#define DGMS_DEPTHWISE_F32(name, isa) &name##_kernel,
#include "kernels/kernels.inc"
};

constexpr const CodesF32Kernel* kCodesF32[] = {
#define DGMS_CODES_F32(name, isa) &name##_kernel,
#include "kernels/kernels.inc"
};

constexpr const DenseKernel* kDense[] = {
#define DGMS_DENSE(name, isa) &name##_kernel,
#include "kernels/kernels.inc"
};

#define DGMS_GEMM_S8(name, isa, max_rows, long_rows, max_columns, column_unit, k_unit, flip, requantize, gemv, \
                     packed_rows)                                                                              \
  constexpr GemmS8Kernel name##_kernel = {#name,       isa,    max_rows,   long_rows,     max_columns,         \
                                          column_unit, k_unit, flip,       name##_decode, name##_gemm,         \
                                          requantize,  gemv,   packed_rows};
#define DGMS_DEPTHWISE_S8(name, isa, prepare, lines) \
  constexpr DepthwiseS8Kernel name##_kernel = {#name, isa, name, prepare, lines};
#define DGMS_OUTPUT_S8(name, isa, narrows)   \
  constexpr OutputS8Kernel name##_kernel = { \
      #name, isa, narrows, name##_requantize, name##_rescale, name##_dequantize, name##_rescale_rows};
#define DGMS_QUANTIZE_S8(name, isa) \
  constexpr QuantizeS8Kernel name##_kernel = {#name, isa, name##_range, name##_quantize};
#include "kernels/kernels_s8.inc"

constexpr const GemmS8Kernel* kGemmS8[] = {
#define DGMS_GEMM_S8(name, ...) &name##_kernel,
#include "kernels/kernels_s8.inc"
};

constexpr const DepthwiseS8Kernel* kDepthwiseS8[] = {
#define DGMS_DEPTHWISE_S8(name, ...) &name##_kernel,
#include "kernels/kernels_s8.inc"
};

constexpr const OutputS8Kernel* kOutputS8[] = {
#define DGMS_OUTPUT_S8(name, ...) &name##_kernel,
#include "kernels/kernels_s8.inc"
};

constexpr const QuantizeS8Kernel* kQuantizeS8[] = {
#define DGMS_QUANTIZE_S8(name, isa) &name##_kernel,
#include "kernels/kernels_s8.inc"
};

constexpr const PointwiseKernel* kPointwise[] = {
#define DGMS_POINTWISE(name, isa) &name,
#include "kernels/kernels_pointwise.inc"
#undef DGMS_POINTWISE
};

#define DGMS_WINOGRAD_PRODUCT(name)
#define DGMS_WINOGRAD_F32(name, isa, filter_cost, product_cost, product)                                 \
  constexpr WinogradF32Kernel name##_kernel = {#name,        isa,           filter_cost,   product_cost, \
                                               name##_input, name##_filter, name##_output, product};
#include "kernels/kernels_winograd.inc"

constexpr const WinogradF32Kernel* kWinogradF32[] = {
#define DGMS_WINOGRAD_PRODUCT(name)
#define DGMS_WINOGRAD_F32(name, ...) &name##_kernel,
#include "kernels/kernels_winograd.inc"
};

constexpr int kIsaCount = sizeof(kIsas) / sizeof(kIsas[0]);

bool MachineHas(Isa isa) {
  const CpuFeatures& cpu = DetectCpu();
  switch (isa) {
    case Isa::kPortable:
      return true;
    case Isa::kNeon:
      return cpu.neon;
    case Isa::kNeonDotprod:
      return cpu.neon_dotprod;
    case Isa::kNeonI8mm:
      return cpu.neon_i8mm;
    case Isa::kAvx2:
      return cpu.avx2;
    case Isa::kAvx512:
      return cpu.avx512;
    case Isa::kAvx512Vnni:
      return cpu.avx512_vnni;
    case Isa::kAvx512Amx:
      return DGMS_AMX && cpu.avx512_amx;
  }
  return false;
}

// The last kernel of the list (it is in rising order of preference) that an instruction set may use. On one machine
// only one family's sets exist, so "not above `isa`" is enough.
template <typename Kernel, size_t count>
const Kernel* Last(const Kernel* const (&kernels)[count], Isa isa) {
  const Kernel* found = nullptr;
  for (const Kernel* kernel : kernels) {
    if (kernel->isa <= isa && MachineHas(kernel->isa)) found = kernel;
  }
  return found;
}

// The kernels of this build that this machine runs.
template <typename Kernel, size_t count>
struct Runnable {
  const Kernel* kernels[count];
  int size = 0;
  explicit Runnable(const Kernel* const (&all)[count]) {
    for (const Kernel* kernel : all) {
      if (MachineHas(kernel->isa)) kernels[size++] = kernel;
    }
  }
};

// Every instruction set's choice; `gemm` is null where this machine lacks the set.
struct Choices {
  KernelSet sets[kIsaCount];
  const KernelSet* best = nullptr;
  Choices() {
    for (int i = 0; i < kIsaCount; ++i) {
      const Isa isa = kIsas[i];
      KernelSet& set = sets[i];
      set = {};
      set.isa = isa;
      if (!MachineHas(isa)) continue;
      set.gemm = Last(kGemmF32, isa);
      set.depthwise = Last(kDepthwiseF32, isa);
      set.codes = Last(kCodesF32, isa);
      set.gemm_s8 = Last(kGemmS8, isa);
      set.depthwise_s8 = Last(kDepthwiseS8, isa);
      set.output_s8 = Last(kOutputS8, isa);
      set.quantize_s8 = Last(kQuantizeS8, isa);
      set.pointwise = Last(kPointwise, isa);
      set.dense = Last(kDense, isa);
      set.winograd = Last(kWinogradF32, isa);
      best = &sets[i];
    }
  }
};

const Choices& AllChoices() {
  static const Choices choices;
  return choices;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neon_dotprod";
    case Isa::kNeonI8mm:
      return "neon_i8mm";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
    case Isa::kAvx512Amx:
      return "avx512_amx";
  }
  return "unknown";
}

const KernelSet* BestKernels() { return AllChoices().best; }

const KernelSet* KernelsFor(std::string_view isa_name) {
  if (isa_name.empty() || isa_name == "auto") return BestKernels();
  for (const KernelSet& set : AllChoices().sets) {
    if (isa_name == IsaName(set.isa)) return set.gemm != nullptr ? &set : nullptr;
  }
  return nullptr;
}

const GemmF32Kernel* const* GemmF32Kernels(int* count) {
  static const Runnable runnable(kGemmF32);
  *count = runnable.size;
  return runnable.kernels;
}

const DepthwiseF32Kernel* const* DepthwiseF32Kernels(int* count) {
  static const Runnable runnable(kDepthwiseF32);
  *count = runnable.size;
  return runnable.kernels;
}

const CodesF32Kernel* const* CodesF32Kernels(int* count) {
  static const Runnable runnable(kCodesF32);
  *count = runnable.size;
  return runnable.kernels;
}

const DenseKernel* const* DenseKernels(int* count) {
  static const Runnable runnable(kDense);
  *count = runnable.size;
  return runnable.kernels;
}

const GemmS8Kernel* const* GemmS8Kernels(int* count) {
  static const Runnable runnable(kGemmS8);
  *count = runnable.size;
  return runnable.kernels;
}

const DepthwiseS8Kernel* const* DepthwiseS8Kernels(int* count) {
  static const Runnable runnable(kDepthwiseS8);
  *count = runnable.size;
  return runnable.kernels;
}

const QuantizeS8Kernel* const* QuantizeS8Kernels(int* count) {
  static const Runnable runnable(kQuantizeS8);
  *count = runnable.size;
  return runnable.kernels;
}

const WinogradF32Kernel* const* WinogradF32Kernels(int* count) {
  static const Runnable runnable(kWinogradF32);
  *count = runnable.size;
  return runnable.kernels;
}

const PointwiseKernel* const* PointwiseKernels(int* count) {
  static const Runnable runnable(kPointwise);
  *count = runnable.size;
  return runnable.kernels;
}

const OutputS8Kernel* const* OutputS8Kernels(int* count) {
  static const Runnable runnable(kOutputS8);
  *count = runnable.size;
  return runnable.kernels;
}

}  // namespace dgms
