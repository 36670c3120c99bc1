// Output sizes, padding, and arithmetic that notices overflow.
#include "ops/shapes.h"

#include <gtest/gtest.h>

#include "ops/reference_ops.h"

namespace dgms::testing {
namespace {

TEST(CheckedSize, RemembersOverflowAtEveryStep) {
  EXPECT_TRUE((CheckedSize(3) * 4 + 5).ok());
  EXPECT_EQ((CheckedSize(3) * 4 + 5).value(), 17);
  EXPECT_FALSE((CheckedSize(INT64_MAX) * 2).ok());
  EXPECT_FALSE((CheckedSize(INT64_MAX) + 1).ok());
  EXPECT_FALSE(CheckedSize(-1).ok());
  EXPECT_FALSE((CheckedSize(INT64_MAX) * 2 * 0).ok()) << "a later zero must not hide it";
  EXPECT_FALSE((CheckedSize(-1) * 0).ok());
  EXPECT_TRUE((CheckedSize(INT64_MAX) * 0).ok());
  EXPECT_TRUE(CheckedSize(PTRDIFF_MAX / 16).FitsFloats());
  EXPECT_FALSE(CheckedSize(PTRDIFF_MAX / 8).FitsFloats());
}

TEST(PlanConvDim, EqualsTFLite) {
  for (int64_t input = 1; input <= 20; ++input) {
    for (int64_t kernel = 1; kernel <= 7; ++kernel) {
      for (int64_t stride = 1; stride <= 4; ++stride) {
        for (int64_t dilation = 1; dilation <= 3; ++dilation) {
          for (const Padding padding : {Padding::kSame, Padding::kValid}) {
            int64_t before = 0;
            const int64_t output = ReferenceOutput(input, 0, 0, kernel, stride, dilation, padding, &before);
            ConvDim dim;
            const bool ok = PlanConvDim(input, kernel, stride, dilation, padding, &dim);
            const bool fits = padding == Padding::kSame || input >= (kernel - 1) * dilation + 1;
            ASSERT_EQ(ok, fits);
            if (!ok) continue;
            ASSERT_EQ(dim.output, output);
            ASSERT_EQ(dim.pad_before, before);
            ASSERT_EQ(dim.extent, (output - 1) * stride + (kernel - 1) * dilation + 1);
          }
        }
      }
    }
  }
}

TEST(PlanConvDim, KnownCases) {
  ConvDim dim;
  ASSERT_TRUE(PlanConvDim(224, 7, 2, 1, Padding::kSame, &dim));  // ResNet's stem: 2 before, 3 after
  EXPECT_EQ(dim.output, 112);
  EXPECT_EQ(dim.pad_before, 2);
  EXPECT_EQ(dim.extent, 229);
  ASSERT_TRUE(PlanConvDim(56, 1, 2, 1, Padding::kSame, &dim));  // a strided 1x1 needs no padding
  EXPECT_EQ(dim.output, 28);
  EXPECT_EQ(dim.pad_before, 0);
  EXPECT_EQ(dim.extent, 55);
  EXPECT_FALSE(dim.reads_padding());
}

TEST(PlanConvDim, ExplicitPadding) {
  ConvDim dim;
  ASSERT_TRUE(PlanConvDim(224, 3, 3, 7, 2, 1, Padding::kValid, &dim));  // Keras's ResNet stem
  EXPECT_EQ(dim.output, 112);
  EXPECT_EQ(dim.pad_before, 3);
  EXPECT_EQ(dim.extent, 229);
  EXPECT_TRUE(dim.reads_padding());
  ASSERT_TRUE(PlanConvDim(7, 0, 1, 3, 2, 1, Padding::kValid, &dim));  // the stride never reaches the padding
  EXPECT_EQ(dim.output, 3);
  EXPECT_FALSE(dim.reads_padding());
  ASSERT_TRUE(PlanConvDim(1, 2, 0, 3, 1, 1, Padding::kValid, &dim)) << "only with its padding as large as the kernel";
  EXPECT_EQ(dim.output, 1);
  ASSERT_TRUE(PlanConvDim(5, 1, 2, 3, 1, 1, Padding::kSame, &dim));  // SAME around that
  EXPECT_EQ(dim.output, 8);
  EXPECT_EQ(dim.pad_before, 2);
  EXPECT_FALSE(PlanConvDim(INT64_MAX - 4, 3, 3, 3, 1, 1, Padding::kSame, &dim));
}

TEST(PlanConvDim, RefusesWhatMakesNoSense) {
  ConvDim dim;
  EXPECT_FALSE(PlanConvDim(0, 1, 1, 1, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(-3, 1, 1, 1, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(5, 0, 1, 1, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(5, 1, 0, 1, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(5, 1, 1, 0, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(5, 1, -1, 1, Padding::kValid, &dim));
  EXPECT_FALSE(PlanConvDim(5, INT64_MAX, 1, INT64_MAX, Padding::kSame, &dim));
  EXPECT_FALSE(PlanConvDim(INT64_MAX, 3, 2, 1, Padding::kSame, &dim));
}

}  // namespace
}  // namespace dgms::testing
