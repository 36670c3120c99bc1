// Which kernels run on this machine.
#ifndef DGMS_KERNELS_SELECT_KERNEL_H_
#define DGMS_KERNELS_SELECT_KERNEL_H_

#include <string_view>

#include "kernels/kernel.h"
#include "kernels/kernel_pointwise.h"
#include "kernels/kernel_s8.h"
#include "kernels/kernel_winograd.h"

namespace dgms {

// One choice of kernels, made when an op is created and kept for its life. Points to static data.
struct KernelSet {
  Isa isa;
  const GemmF32Kernel* gemm;
  const DepthwiseF32Kernel* depthwise;
  const CodesF32Kernel* codes;
  const GemmS8Kernel* gemm_s8;
  const DepthwiseS8Kernel* depthwise_s8;
  const OutputS8Kernel* output_s8;
  const QuantizeS8Kernel* quantize_s8;
  const PointwiseKernel* pointwise;
  const DenseKernel* dense;
  const WinogradF32Kernel* winograd;
};

// All instruction sets, in rising order of preference within a processor family.
inline constexpr Isa kIsas[] = {Isa::kPortable, Isa::kNeon,   Isa::kNeonDotprod, Isa::kNeonI8mm,
                                Isa::kAvx2,     Isa::kAvx512, Isa::kAvx512Vnni,  Isa::kAvx512Amx};

// "portable", "neon", "neon_dotprod", "neon_i8mm", "avx2", "avx512", "avx512_vnni", "avx512_amx".
const char* IsaName(Isa isa);

// The best kernels that this machine runs. Never null.
const KernelSet* BestKernels();

// The kernels for the name of an instruction set (IsaName; "" or "auto" mean the best). Null if the name is unknown, or
// if this machine or this build does not have it. An instruction set without a kernel of its own for some job uses the
// next lower one's.
const KernelSet* KernelsFor(std::string_view isa_name);

// All kernels of this build that this machine runs, for tests and benches. `*count` receives how many.
const GemmF32Kernel* const* GemmF32Kernels(int* count);
const DepthwiseF32Kernel* const* DepthwiseF32Kernels(int* count);
const CodesF32Kernel* const* CodesF32Kernels(int* count);
const DenseKernel* const* DenseKernels(int* count);
const GemmS8Kernel* const* GemmS8Kernels(int* count);
const DepthwiseS8Kernel* const* DepthwiseS8Kernels(int* count);
const OutputS8Kernel* const* OutputS8Kernels(int* count);
const QuantizeS8Kernel* const* QuantizeS8Kernels(int* count);
const PointwiseKernel* const* PointwiseKernels(int* count);
const WinogradF32Kernel* const* WinogradF32Kernels(int* count);

}  // namespace dgms

#endif  // DGMS_KERNELS_SELECT_KERNEL_H_
