// The benches' probes: there is one for every vector kernel, and each runs where its instruction set is.
#include <gtest/gtest.h>

#include <cmath>

#include "bench/bandwidth.h"
#include "bench/peak.h"
#include "kernels/select_kernel.h"

namespace dgms::bench {
namespace {

void ExpectProbe(Isa isa, Arithmetic arithmetic, const char* kernel) {
  const Probe* probe = ProbeFor(isa, arithmetic);
  if (isa == Isa::kPortable || DGMS_ARM32) {
    EXPECT_EQ(probe, nullptr) << kernel;
    return;
  }
  ASSERT_NE(probe, nullptr) << kernel;
  EXPECT_EQ(probe->arithmetic, arithmetic);
  EXPECT_LE(probe->isa, isa) << kernel;
  const double rate = PeakMacsPerSecond(*probe, 1);
  EXPECT_TRUE(std::isfinite(rate) && rate > 0) << probe->instruction << ": " << rate;
}

TEST(Probes, EveryVectorKernelHasOneThatRuns) {
  int count = 0;
  const GemmF32Kernel* const* gemm = GemmF32Kernels(&count);
  for (int i = 0; i < count; ++i) ExpectProbe(gemm[i]->isa, Arithmetic::kFloat, gemm[i]->name);
  const DepthwiseF32Kernel* const* depthwise = DepthwiseF32Kernels(&count);
  for (int i = 0; i < count; ++i) ExpectProbe(depthwise[i]->isa, Arithmetic::kFloat, depthwise[i]->name);
  const GemmS8Kernel* const* gemm_s8 = GemmS8Kernels(&count);
  for (int i = 0; i < count; ++i) ExpectProbe(gemm_s8[i]->isa, Arithmetic::kMatrixInt8, gemm_s8[i]->name);
  const DepthwiseS8Kernel* const* depthwise_s8 = DepthwiseS8Kernels(&count);
  for (int i = 0; i < count; ++i) ExpectProbe(depthwise_s8[i]->isa, Arithmetic::kDepthwiseInt8, depthwise_s8[i]->name);
}

TEST(Probes, ReadingHasABandwidth) {
  const double rate = ReadBytesPerSecond(1 << 18);
  EXPECT_TRUE(std::isfinite(rate) && rate > 0) << rate;
}

}  // namespace
}  // namespace dgms::bench
