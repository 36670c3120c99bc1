// One call of an int8 matrix kernel against a plain oracle, every buffer exact between guard pages.
#ifndef DGMS_TESTS_KERNELS_GEMM_S8_TESTER_H_
#define DGMS_TESTS_KERNELS_GEMM_S8_TESTER_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel_s8.h"
#include "kernels/pack_weights.h"
#include "kernels/random_values.h"
#include "kernels/requantize_oracle.h"

namespace dgms::testing {

inline std::vector<int8_t> RandomInt8(Random& random, int64_t count, int low = -128, int high = 127) {
  std::vector<int8_t> values(static_cast<size_t>(count));
  for (int8_t& value : values) value = static_cast<int8_t>(random.Int(low, high));
  return values;
}

// A packed block of `segments` segments with its tables, and the values it stands for.
class PackedBlockS8 {
 public:
  // codes: [n][segments * length]; table_of_column: empty for one table.
  PackedBlockS8(const GemmS8Kernel& kernel, const std::vector<uint8_t>& codes, int64_t segments, int64_t length, int n,
                const std::vector<int8_t>& tables, const std::vector<int32_t>& table_of_column = {})
      : kernel_(kernel),
        codes_(codes),
        k_(segments * length),
        places_(segments * RoundUp(length, kernel.k_unit)),
        width_(static_cast<int>(RoundUp(n, kernel.column_unit))),
        tables_(tables, Flush::kEnd, 16),
        column_table_(Widen(table_of_column, width_)),
        packed_(places_ * width_ / 2) {
    std::vector<uint8_t> shifted = {15};  // the same codes once more, the first in a high nibble
    shifted.insert(shifted.end(), codes.begin(), codes.end());
    const GuardedBuffer<uint8_t> even(Nibbles(codes)), odd(Nibbles(shifted));
    GuardedBuffer<uint8_t> again(packed_.size());
    const int64_t bytes = RoundUp(length, kernel.k_unit) * width_ / 2;  // of a segment
    for (int64_t s = 0; s < segments; ++s) {
      pack_s8(even.data(), s * length, k_, length, n, width_, kernel.k_unit, packed_.data() + s * bytes);
      pack_s8(odd.data(), 1 + s * length, k_, length, n, width_, kernel.k_unit, again.data() + s * bytes);
    }
    EXPECT_EQ(segments * bytes, packed_.size());
    EXPECT_EQ(again.values(), packed_.values());
  }

  int width() const { return width_; }
  const GuardedBuffer<uint8_t>& packed() const { return packed_; }
  const int8_t* table() const { return tables_.data(); }  // the first
  int8_t Weight(int64_t place, int column) const {
    const int64_t table = column_table_.size() > 0 ? column_table_[column] : 0;
    return tables_[table * kTableSize + codes_[column * k_ + place]];
  }
  // The decoded block, checked against its guards.
  std::vector<int8_t> Decode() const {
    GuardedBuffer<int8_t> panel(places_ * width_, Flush::kEnd, kAlignment);
    kernel_.decode(packed_.data(), places_, width_,
                   {tables_.data(), column_table_.size() > 0 ? column_table_.data() : nullptr}, panel.data());
    EXPECT_TRUE(panel.SurroundingsIntact());
    return panel.values();
  }

 private:
  static std::vector<int32_t> Widen(std::vector<int32_t> table_of_column, int width) {
    if (!table_of_column.empty()) table_of_column.resize(width, table_of_column.back());
    return table_of_column;
  }
  const GemmS8Kernel& kernel_;
  std::vector<uint8_t> codes_;
  int64_t k_, places_;
  int width_;
  GuardedBuffer<int8_t> tables_;
  GuardedBuffer<int32_t> column_table_;
  GuardedBuffer<uint8_t> packed_;
};

class GemmS8Tester {
 public:
  GemmS8Tester& rows(int value) { return rows_ = value, *this; }
  GemmS8Tester& n(int value) { return n_ = value, *this; }
  GemmS8Tester& segments(int64_t count, int64_t length, int64_t gap = 0) {
    return segment_count_ = count, segment_length_ = length, segment_gap_ = gap, *this;
  }
  GemmS8Tester& row_gap(int64_t value) { return row_gap_ = value, *this; }
  GemmS8Tester& accumulate(bool value) { return accumulate_ = value, *this; }
  GemmS8Tester& tables(int value) { return tables_ = value, *this; }
  // Every activation and every weight is one of the two: the largest sums that there are.
  GemmS8Tester& extremes(int8_t activation, int8_t weight) {
    return extreme_ = true, activation_ = activation, weight_ = weight, *this;
  }
  // What the kernel leaves in registers between calls; null: nothing.
  GemmS8Tester& state(GemmState* value) { return state_ = value, *this; }
  GemmS8Tester& seed(uint64_t value) { return seed_ = value, *this; }

  void Test(const GemmS8Kernel& kernel) const {
    SCOPED_TRACE(Describe(kernel));
    const int64_t k = segment_count_ * segment_length_;
    // As in gemm_f32_tester.h: rows may overlap.
    const int64_t stride = segment_length_ + row_gap_;
    const int64_t pitch = std::max<int64_t>(segment_length_ + (rows_ - 1) * stride, segment_length_) + segment_gap_;
    const int64_t input_size = (segment_count_ - 1) * pitch + (rows_ - 1) * stride + segment_length_;
    Random random(seed_);
    const std::vector<int8_t> activations =
        extreme_ ? std::vector<int8_t>(input_size, activation_) : RandomInt8(random, input_size);
    std::vector<int8_t> seen = activations;
    if (kernel.flip) {
      for (int8_t& value : seen) value = static_cast<int8_t>(value ^ -128);
    }
    const GuardedBuffer<int8_t> a(seen, seed_ % 2 == 0 ? Flush::kEnd : Flush::kStart);
    std::vector<int64_t> offsets;
    for (int64_t s = 0; s < segment_count_; ++s) offsets.push_back(s * pitch);
    const GuardedBuffer<int64_t> segments(offsets);
    std::vector<int32_t> table_of_column;
    for (int j = 0; tables_ > 1 && j < n_; ++j) table_of_column.push_back(j % tables_);
    const PackedBlockS8 block(
        kernel, random.Codes(k * n_, 4), segment_count_, segment_length_, n_,
        extreme_ ? std::vector<int8_t>(kTableSize * tables_, weight_) : RandomInt8(random, kTableSize * tables_, -127),
        table_of_column);
    const GuardedBuffer<int8_t> panel(block.Decode(), Flush::kEnd, kAlignment);
    std::vector<int32_t> old(rows_ * block.width());
    for (int32_t& value : old) value = static_cast<int32_t>(random.Int(INT32_MIN, INT32_MAX));
    GuardedBuffer<int32_t> c(old, Flush::kEnd, kAlignment);
    GemmS8Args args = {};
    args.rows = rows_;
    args.width = block.width();
    args.a = a.data();
    args.a_row_stride = stride;
    args.segments = segments.data();
    args.segment_count = segment_count_;
    args.segment_length = segment_length_;
    args.panel = panel.data();
    args.c = c.data();
    args.accumulate = accumulate_;
    args.state = state_;
    std::vector<int64_t> sums;  // [rows][n]
    for (int r = 0; r < rows_; ++r) {
      for (int j = 0; j < n_; ++j) {
        int64_t sum = accumulate_ ? old[r * block.width() + j] : 0;
        for (int64_t s = 0; s < segment_count_; ++s) {
          for (int64_t p = 0; p < segment_length_; ++p) {
            // What the kernel sees as unsigned is the signed number plus 128.
            const int64_t x = activations[r * stride + offsets[s] + p] + (kernel.flip ? 128 : 0);
            sum += x * block.Weight(s * segment_length_ + p, j);
          }
        }
        sums.push_back(sum);
      }
    }
    if (kernel.requantize != nullptr && n_ == block.width()) TestRequantize(kernel, args, sums, random);
    if (kernel.gemv != nullptr && rows_ == 1 && segment_count_ == 1 && tables_ == 1 && !accumulate_ &&
        block.width() == kernel.max_columns) {
      TestGemv(kernel, args, block, sums);
    }
    kernel.gemm(args);
    EXPECT_TRUE(c.SurroundingsIntact());
    for (int r = 0; r < rows_; ++r) {
      for (int j = 0; j < n_; ++j) {  // modulo 2^32
        ASSERT_EQ(c[r * block.width() + j], Wrapped(sums[r * n_ + j])) << "row " << r << " column " << j;
      }
    }
  }

 private:
  void TestRequantize(const GemmS8Kernel& kernel, const GemmS8Args& args, const std::vector<int64_t>& sums,
                      Random& random) const {
    int64_t usual = 0;
    for (const int64_t sum : sums) usual = std::max(usual, std::min<int64_t>(std::abs(sum), INT32_MAX));
    const SimpleColumns columns(random, n_, usual);
    const int64_t stride = n_ + random.Int(0, 3);
    GuardedBuffer<int8_t> output((rows_ - 1) * stride + n_, seed_ % 2 == 0 ? Flush::kEnd : Flush::kStart);
    const std::vector<int8_t> before = output.values();
    kernel.requantize(args, columns.Args(rows_, output.data(), stride));
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t i = 0; i < output.size(); ++i) {
      const int64_t r = i / stride, j = i % stride;
      if (j >= n_) {
        ASSERT_EQ(output[i], before[i]) << "behind row " << r;
        continue;
      }
      const int column = static_cast<int>(j);
      const bool narrows = DGMS_AARCH64 && !args.accumulate && n_ == kernel.max_columns;
      ASSERT_TRUE(columns.Allows(column, sums[r * n_ + j], output[i], narrows))
          << "output: row " << r << " column " << j << ": " << +output[i] << ", not "
          << columns.Expected(column, sums[r * n_ + j]);
    }
  }

  void TestGemv(const GemmS8Kernel& kernel, const GemmS8Args& args, const PackedBlockS8& block,
                const std::vector<int64_t>& sums) const {
    GuardedBuffer<int32_t> c(block.width(), Flush::kEnd, kAlignment);
    kernel.gemv({args.a, segment_length_, block.packed().data(), block.table(), kernel.flip, c.data()});
    EXPECT_TRUE(c.SurroundingsIntact());
    for (int j = 0; j < n_; ++j) ASSERT_EQ(c[j], Wrapped(sums[j])) << "row by panel: column " << j;
  }

  std::string Describe(const GemmS8Kernel& kernel) const {
    std::ostringstream text;
    text << kernel.name << " rows " << rows_ << " n " << n_ << " segments " << segment_count_ << "x" << segment_length_
         << " gap " << segment_gap_ << " row gap " << row_gap_ << " tables " << tables_
         << (accumulate_ ? " accumulate" : "") << " seed " << seed_;
    if (extreme_) text << " all activations " << int{activation_} << " all weights " << int{weight_};
    return text.str();
  }
  int rows_ = 1, n_ = 1, tables_ = 1;
  int64_t segment_count_ = 1, segment_length_ = 1, segment_gap_ = 0, row_gap_ = 0;
  bool accumulate_ = false, extreme_ = false;
  int8_t activation_ = 0, weight_ = 0;
  GemmState* state_ = nullptr;
  uint64_t seed_ = 1;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_KERNELS_GEMM_S8_TESTER_H_
