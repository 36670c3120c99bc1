#include "kernels/move_bytes.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/guarded_buffer.h"

namespace dgms {
namespace {

TEST(MoveBytes, CopiesAnyNumberAndTouchesNothingElse) {
  for (int bytes = 0; bytes < 400; ++bytes) {
    testing::GuardedBuffer<uint8_t> from(bytes), to(bytes);
    std::iota(from.data(), from.data() + bytes, static_cast<uint8_t>(bytes));
    MoveBytesDown(to.data(), from.data(), static_cast<size_t>(bytes));
    for (int i = 0; i < bytes; ++i) ASSERT_EQ(to.data()[i], static_cast<uint8_t>(bytes + i)) << i << " of " << bytes;
  }
}

TEST(MoveBytes, MovesDownOntoItself) {
  for (int distance : {1, 15, 16, 63, 64, 65, 127, 300}) {
    for (int bytes : {0, 1, 100, 128, 129, 1000}) {
      std::vector<uint8_t> all(static_cast<size_t>(distance + bytes));
      for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint8_t>(i * 7 + i / 256);
      std::vector<uint8_t> expected = all;
      std::memmove(expected.data(), expected.data() + distance, static_cast<size_t>(bytes));
      MoveBytesDown(all.data(), all.data() + distance, static_cast<size_t>(bytes));
      ASSERT_EQ(all, expected) << bytes << " bytes by " << distance;
    }
  }
}

}  // namespace
}  // namespace dgms
