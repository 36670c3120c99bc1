// Every kernel for codes in the order of their file, against CodeAt, every buffer exact between guard pages.
#include "kernels/codes.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

void Check(const CodesF32Kernel& kernel, int64_t count, const std::vector<float>& entries, Flush flush,
           Random* random) {
  SCOPED_TRACE(std::string(kernel.name) + " count " + std::to_string(count));
  std::vector<uint8_t> bytes(
      static_cast<size_t>(CodeBytes(count)));  // what is beside the last of an odd count is noise
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random->Int(0, 255));
  const GuardedBuffer<uint8_t> codes(bytes, flush);
  const GuardedBuffer<float> table(entries, flush);
  GuardedBuffer<float> weights(count, flush);
  kernel.decode(codes.data(), count, table.data(), weights.data());
  EXPECT_TRUE(weights.SurroundingsIntact());
  for (int64_t i = 0; i < count; ++i) {  // bit for bit
    ASSERT_EQ(std::memcmp(&weights[i], &entries[CodeAt(bytes.data(), i)], sizeof(float)), 0) << i;
  }
}

TEST(CodesF32Kernels, EveryCountFindsEveryEntry) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  int kernels = 0;
  const CodesF32Kernel* const* all = CodesF32Kernels(&kernels);
  ASSERT_GE(kernels, 1);
  Random random(1);
  std::vector<float> entries = random.Floats(kTableSize);
  entries[3] = kInfinity;
  entries[9] = std::numeric_limits<float>::quiet_NaN();
  entries[14] = -0.0f;
  for (int i = 0; i < kernels && !::testing::Test::HasFailure(); ++i) {
    for (int64_t count = 1; count <= 200; ++count) {
      Check(*all[i], count, entries, count % 3 == 0 ? Flush::kStart : Flush::kEnd, &random);
    }
    Check(*all[i], 9 * 960, entries, Flush::kEnd, &random);
  }
}

}  // namespace
}  // namespace dgms::testing
