// Which kernels run on this machine.
#ifndef DGMS_KERNELS_SELECT_KERNEL_H_
#define DGMS_KERNELS_SELECT_KERNEL_H_

#include <string_view>

#include "kernels/kernel.h"

namespace dgms {

// One choice of kernels, made when an op is created and kept for its life. Points to static data.
struct KernelSet {
  Isa isa;
  const GemmF32Kernel* gemm;
  const DepthwiseF32Kernel* depthwise;
};

// "portable", "neon", "neon_dotprod", "avx2", "avx512".
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

}  // namespace dgms

#endif  // DGMS_KERNELS_SELECT_KERNEL_H_
