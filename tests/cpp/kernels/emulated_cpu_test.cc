// What only ARM has: its tile order, and the kernels that each processor gets.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/arch.h"
#include "kernels/pack_weights.h"
#include "kernels/select_kernel.h"

namespace dgms {
namespace {

#if DGMS_NEON
// The example of pack_weights.h, byte for byte.
TEST(PackWeights, Runs32Example) {
  std::vector<uint8_t> codes;  // 0..7 for each column, two per byte
  for (int column = 0; column < 8; ++column) codes.insert(codes.end(), {0x10, 0x32, 0x54, 0x76});
  uint8_t packed[32];
  pack_runs32(codes.data(), 0, 8, 8, 8, 8, packed);
  std::vector<uint8_t> expected;
  for (const uint8_t byte : {0x20, 0x31, 0x64, 0x75}) expected.insert(expected.end(), 8, byte);
  EXPECT_EQ(std::memcmp(packed, expected.data(), 32), 0);
}
#endif

// tests/aarch64/run_cpp.sh names what the processor that it emulates must get: an independent word, where the other
// tests believe our own detection.
TEST(EmulatedCpu, GetsItsKernels) {
  const char* expected = std::getenv("DGMS_EXPECTED_KERNELS");
  if (expected == nullptr) GTEST_SKIP() << "DGMS_EXPECTED_KERNELS is not set: not an emulated processor";
  const KernelSet* best = BestKernels();
  EXPECT_EQ(std::string(IsaName(best->isa)) + " " + best->gemm->name + " " + best->depthwise->name + " " +
                best->gemm_s8->name + " " + best->depthwise_s8->name + " " + best->output_s8->name,
            expected);
}

}  // namespace
}  // namespace dgms
