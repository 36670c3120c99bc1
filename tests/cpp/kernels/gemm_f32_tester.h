// One call of a matrix kernel against a plain oracle, every buffer exact between guard pages.
#ifndef DGMS_TESTS_KERNELS_GEMM_F32_TESTER_H_
#define DGMS_TESTS_KERNELS_GEMM_F32_TESTER_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel.h"
#include "kernels/pack_weights.h"
#include "kernels/random_values.h"

namespace dgms::testing {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A packed block with its tables, and the values it stands for.
class PackedBlock {
 public:
  // table_of_column: empty for one table.
  PackedBlock(const GemmF32Kernel& kernel, const std::vector<uint8_t>& codes, int64_t k, int n,
              const std::vector<float>& tables, const std::vector<int32_t>& table_of_column = {})
      : kernel_(kernel),
        codes_(codes),
        k_(k),
        n_(n),
        width_(static_cast<int>(RoundUp(n, kernel.column_unit))),
        tables_(tables, Flush::kEnd, kAlignment),
        column_table_(Widen(table_of_column, width_)),
        packed_(PackedBlockBytes(kernel, k, n), Flush::kEnd, 4) {
    kernel.pack(GuardedBuffer<uint8_t>(Nibbles(codes)).data(), 0, k, k, n, width_, packed_.data());
    // The same codes, the first in a high nibble.
    std::vector<uint8_t> shifted = {15};
    shifted.insert(shifted.end(), codes.begin(), codes.end());
    GuardedBuffer<uint8_t> again(packed_.size(), Flush::kEnd, 4);
    kernel.pack(GuardedBuffer<uint8_t>(Nibbles(shifted)).data(), 1, k, k, n, width_, again.data());
    EXPECT_EQ(again.values(), packed_.values());
  }

  Tables tables() const { return {tables_.data(), column_table_.size() > 0 ? column_table_.data() : nullptr}; }
  const uint8_t* packed() const { return packed_.data(); }
  int width() const { return width_; }
  float Weight(int64_t place, int column) const {
    const int table = column_table_.size() > 0 ? column_table_[column] : 0;
    return tables_[int64_t{table} * kTableSize + codes_[column * k_ + place]];
  }
  // The decoded block, checked against its guards.
  std::vector<float> Decode() const {
    GuardedBuffer<float> panel(RoundUp(k_, kernel_.k_unit) * width_, Flush::kEnd, kAlignment);
    kernel_.decode(packed_.data(), k_, n_, tables(), panel.data());
    EXPECT_TRUE(panel.SurroundingsIntact());
    EXPECT_TRUE(packed_.SurroundingsIntact());
    return panel.values();
  }

 private:
  static std::vector<int32_t> Widen(std::vector<int32_t> table_of_column, int width) {
    if (!table_of_column.empty()) table_of_column.resize(width, table_of_column.back());
    return table_of_column;
  }
  const GemmF32Kernel& kernel_;
  std::vector<uint8_t> codes_;
  int64_t k_;
  int n_, width_;
  GuardedBuffer<float> tables_;
  GuardedBuffer<int32_t> column_table_;
  GuardedBuffer<uint8_t> packed_;
};

class GemmF32Tester {
 public:
  GemmF32Tester& rows(int value) { return rows_ = value, *this; }
  GemmF32Tester& n(int value) { return n_ = value, *this; }
  GemmF32Tester& segments(int64_t count, int64_t length, int64_t gap = 0) {
    return segment_count_ = count, segment_length_ = length, segment_gap_ = gap, *this;
  }
  GemmF32Tester& row_gap(int64_t value) { return row_gap_ = value, *this; }
  GemmF32Tester& output_gap(int64_t value) { return output_gap_ = value, *this; }
  GemmF32Tester& accumulate(bool value) { return accumulate_ = value, *this; }
  GemmF32Tester& finish(bool value) { return finish_ = value, *this; }
  GemmF32Tester& residual(bool value) { return residual_ = value, *this; }
  GemmF32Tester& clamp(float min, float max) { return min_ = min, max_ = max, *this; }
  // All scales are 1, and the kernel is told so, or not.
  GemmF32Tester& scales_of_one(bool told) { return scales_of_one_ = true, unit_scale_ = told, *this; }
  GemmF32Tester& tables(int value) { return tables_ = value, *this; }
  GemmF32Tester& seed(uint64_t value) { return seed_ = value, *this; }

  // Runs and compares; returns the outputs, [rows][n].
  std::vector<float> Test(const GemmF32Kernel& kernel) const {
    SCOPED_TRACE(Describe(kernel));
    const int64_t k = segment_count_ * segment_length_;
    // Rows may overlap, as the pixels of a convolution do: row_gap is what lies between one row's end and the next's
    // start in the first segment, and may be negative.
    const int64_t stride = segment_length_ + row_gap_;
    const int64_t pitch = std::max<int64_t>(segment_length_ + (rows_ - 1) * stride, segment_length_) + segment_gap_;
    const int64_t input_size = (segment_count_ - 1) * pitch + (rows_ - 1) * stride + segment_length_;
    Random random(seed_);
    const GuardedBuffer<float> a(random.Floats(input_size), seed_ % 2 == 0 ? Flush::kEnd : Flush::kStart);
    std::vector<int64_t> offsets;
    for (int64_t s = 0; s < segment_count_; ++s) offsets.push_back(s * pitch);
    const GuardedBuffer<int64_t> segments(offsets);

    std::vector<int32_t> table_of_column;
    for (int j = 0; tables_ > 1 && j < n_; ++j) table_of_column.push_back(j * tables_ / n_);
    const PackedBlock block(kernel, random.Codes(k * n_, 4), k, n_, random.Floats(kTableSize * tables_),
                            table_of_column);
    const GuardedBuffer<float> panel(block.Decode(), Flush::kEnd, kAlignment);
    std::vector<float> scales = random.Floats(kMaxColumns, 0.5f, 2.0f), biases = random.Floats(kMaxColumns);
    if (scales_of_one_) std::fill(scales.begin(), scales.end(), 1.0f);
    scales.resize(block.width());
    biases.resize(block.width());
    const GuardedBuffer<float> scale(scales), bias(biases);

    const int64_t c_stride = n_ + output_gap_;
    const int64_t c_size = (rows_ - 1) * c_stride + n_;
    const std::vector<float> old = random.Floats(c_size);
    GuardedBuffer<float> c(old, seed_ % 2 == 0 ? Flush::kEnd : Flush::kStart);
    GemmF32Args args = {};
    args.rows = rows_;
    args.n = n_;
    args.a = a.data();
    args.a_row_stride = stride;
    args.segments = segments.data();
    args.segment_count = segment_count_;
    args.segment_length = segment_length_;
    args.panel = panel.data();
    args.c = c.data();
    args.c_row_stride = c_stride;
    args.accumulate = accumulate_;
    args.finish = finish_;
    // Rows of its own length, exact at both ends. Without `finish` the epilogue must not be touched.
    const int64_t residual_stride = n_ + 1 + output_gap_;
    const GuardedBuffer<float> residual(random.Floats((rows_ - 1) * residual_stride + n_),
                                        seed_ % 2 == 0 ? Flush::kEnd : Flush::kStart);
    args.epilogue = {finish_ ? scale.data() : nullptr,
                     finish_ ? bias.data() : nullptr,
                     min_,
                     max_,
                     finish_ && residual_ ? residual.data() : nullptr,
                     residual_stride,
                     unit_scale_};
    kernel.gemm(args);
    EXPECT_TRUE(c.SurroundingsIntact());

    std::vector<float> result;
    for (int r = 0; r < rows_; ++r) {
      for (int64_t j = 0; j < c_stride && r * c_stride + j < c_size; ++j) {
        const int64_t at = r * c_stride + j;
        if (j >= n_) {
          EXPECT_EQ(c[at], old[at]) << "written between the rows, row " << r << " place " << j;
          continue;
        }
        double sum = accumulate_ ? old[at] : 0, magnitude = std::abs(sum);
        for (int64_t s = 0; s < segment_count_; ++s) {
          for (int64_t p = 0; p < segment_length_; ++p) {
            const double term = static_cast<double>(a[r * stride + offsets[s] + p]) *
                                block.Weight(s * segment_length_ + p, static_cast<int>(j));
            sum += term;
            magnitude += std::abs(term);
          }
        }
        if (finish_) {
          const double added = residual_ ? residual[r * residual_stride + j] : 0.0;
          sum = std::min<double>(max_, std::max<double>(min_, sum * scale[j] + bias[j] + added));
          magnitude = magnitude * scale[j] + std::abs(bias[j]) + std::abs(added);
        }
        EXPECT_NEAR(c[at], sum, SumTolerance(magnitude)) << "row " << r << " column " << j;
        result.push_back(c[at]);
      }
    }
    return result;
  }

 private:
  std::string Describe(const GemmF32Kernel& kernel) const {
    std::ostringstream text;
    text << kernel.name << " rows " << rows_ << " n " << n_ << " segments " << segment_count_ << "x" << segment_length_
         << " gap " << segment_gap_ << " row gap " << row_gap_ << " tables " << tables_
         << (accumulate_ ? " accumulate" : "") << (finish_ ? " finish" : "") << (residual_ ? " residual" : "")
         << " seed " << seed_;
    return text.str();
  }
  int rows_ = 1, n_ = 1, tables_ = 1;
  int64_t segment_count_ = 1, segment_length_ = 1, segment_gap_ = 0, row_gap_ = 0, output_gap_ = 0;
  bool accumulate_ = false, finish_ = true, residual_ = false;
  bool scales_of_one_ = false, unit_scale_ = false;
  float min_ = -kInfinity, max_ = kInfinity;
  uint64_t seed_ = 1;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_KERNELS_GEMM_F32_TESTER_H_
