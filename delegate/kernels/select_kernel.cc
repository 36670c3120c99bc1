#include "kernels/select_kernel.h"

#include "kernels/cpu_features.h"

namespace dgms {
namespace {

#define DGMS_GEMM_F32(name, isa, max_rows, max_columns, column_unit, k_unit, pack)                \
  constexpr GemmF32Kernel name##_kernel = {#name,  isa,  max_rows,      max_columns, column_unit, \
                                           k_unit, pack, name##_decode, name##_gemm, name##_gemv};
#define DGMS_DEPTHWISE_F32(name, isa) constexpr DepthwiseF32Kernel name##_kernel = {#name, isa, name};
#include "kernels/kernels.inc"
#undef DGMS_GEMM_F32
#undef DGMS_DEPTHWISE_F32

constexpr const GemmF32Kernel* kGemmF32[] = {
#define DGMS_GEMM_F32(name, ...) &name##_kernel,
#define DGMS_DEPTHWISE_F32(name, isa)
#include "kernels/kernels.inc"
#undef DGMS_GEMM_F32
#undef DGMS_DEPTHWISE_F32
};

constexpr const DepthwiseF32Kernel* kDepthwiseF32[] = {
#define DGMS_GEMM_F32(name, ...)
#define DGMS_DEPTHWISE_F32(name, isa) &name##_kernel,
#include "kernels/kernels.inc"
#undef DGMS_GEMM_F32
#undef DGMS_DEPTHWISE_F32
};

constexpr Isa kIsas[] = {Isa::kPortable, Isa::kNeon, Isa::kNeonDotprod, Isa::kAvx2, Isa::kAvx512};
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
    case Isa::kAvx2:
      return cpu.avx2;
    case Isa::kAvx512:
      return cpu.avx512;
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
      sets[i] = {kIsas[i], nullptr, nullptr};
      if (!MachineHas(kIsas[i])) continue;
      sets[i] = {kIsas[i], Last(kGemmF32, kIsas[i]), Last(kDepthwiseF32, kIsas[i])};
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
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
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

}  // namespace dgms
