// The kernels of operators without weights against plain loops: strides, repeated rows, every length up to two vectors
// of bytes, every array between guard pages. (Whole operators: ops/binary_test.cc, pool2d_test.cc and so on.)
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel_pointwise.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kLengths = 130;

std::vector<const PointwiseKernel*> Kernels() {
  int count = 0;
  const PointwiseKernel* const* kernels = PointwiseKernels(&count);
  return {kernels, kernels + count};
}

class Pointwise : public ::testing::TestWithParam<const PointwiseKernel*> {};

INSTANTIATE_TEST_SUITE_P(AllKernels, Pointwise, ::testing::ValuesIn(Kernels()),
                         [](const auto& info) { return std::string(info.param->name); });

std::vector<int8_t> Int8s(Random& random, int64_t count) {
  std::vector<int8_t> values(static_cast<size_t>(count));
  for (int8_t& value : values) value = static_cast<int8_t>(random.Int(-128, 127));
  return values;
}

// Which way the two operands go on, and how their rows lie.
struct Layout {
  int a_step, b_step;
  bool a_repeats, b_repeats;  // rows
};
const Layout kLayouts[] = {{1, 1, false, false}, {1, 1, true, false},  {1, 1, false, true},
                           {0, 1, false, false}, {1, 0, false, false}, {0, 1, true, false}};

// One call's operands, each exactly as long as what the layout reaches.
template <typename T>
struct Operands {
  const int64_t rows, n, a_stride, b_stride;
  const GuardedBuffer<T> a, b;
  GuardedBuffer<T> output;
  const Layout layout;

  Operands(const std::vector<T>& values, const Layout& layout, int64_t rows, int64_t n, Flush flush)
      : rows(rows),
        n(n),
        a_stride(layout.a_repeats ? 0 : n + 3),
        b_stride(layout.b_repeats ? 0 : n + 1),
        a(First(values, (rows - 1) * a_stride + (layout.a_step ? n : 1)), flush),
        b(Last(values, (rows - 1) * b_stride + (layout.b_step ? n : 1)), flush),
        output(rows * n, flush),
        layout(layout) {}

  static std::vector<T> First(const std::vector<T>& values, int64_t n) { return {values.begin(), values.begin() + n}; }
  static std::vector<T> Last(const std::vector<T>& values, int64_t n) { return {values.end() - n, values.end()}; }

  BinaryOperands<T> View() {
    return {rows, n, a.data(), a_stride, layout.a_step, b.data(), b_stride, layout.b_step, output.data()};
  }
  T A(int64_t r, int64_t i) const { return a[r * a_stride + i * layout.a_step]; }
  T B(int64_t r, int64_t i) const { return b[r * b_stride + i * layout.b_step]; }
};

// Calls check(operands) for all layouts and lengths.
template <typename T, typename Values, typename Check>
void ForAllOperands(const Values& values, const Check& check) {
  for (const Layout& layout : kLayouts) {
    for (int64_t n = 1; n <= kLengths && !::testing::Test::HasFailure(); ++n) {
      const int64_t rows = 1 + n % 3;
      Operands<T> operands(values(rows * (n + 3)), layout, rows, n, n % 2 == 0 ? Flush::kEnd : Flush::kStart);
      check(operands);
      EXPECT_TRUE(operands.output.SurroundingsIntact());
    }
  }
}

TEST_P(Pointwise, BinaryF32) {
  Random random(1);
  for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul}) {
    ForAllOperands<float>(
        [&](int64_t count) { return random.Floats(count, -3, 3); },
        [&](Operands<float>& o) {
          const float min = o.n % 2 == 0 ? -1.0f : -kInf, max = o.n % 3 == 0 ? 1.5f : kInf;
          GetParam()->binary_f32({kind, o.View(), min, max});
          for (int64_t r = 0; r < o.rows; ++r) {
            for (int64_t i = 0; i < o.n; ++i) {
              const float a = o.A(r, i), b = o.B(r, i);
              const float y = kind == BinaryKind::kAdd ? a + b : kind == BinaryKind::kSub ? a - b : a * b;
              ASSERT_EQ(o.output[r * o.n + i], std::min(max, std::max(min, y))) << "row " << r << " element " << i;
            }
          }
        });
  }
}

// A fixed factor, with products in 128 bits' stead in long double, which holds 64.
double Fixed(int64_t x, const FixedFactor& f) {
  const long double high =
      std::floor(std::ldexp(static_cast<long double>(x * (int64_t{1} << f.left)) * f.multiplier, -31) + 0.5L);
  return static_cast<double>(std::round(std::ldexp(high, -f.right)));
}

double Clamp(double y, int32_t min, int32_t max) { return std::min<double>(max, std::max<double>(min, y)); }

// Whatever the margin is: it decides about the way, never about the result.
TEST_P(Pointwise, AddS8) {
  Random random(2);
  AddS8Args args = {};
  args.a_zero = -7;
  args.b_zero = 100;
  args.zero = 12;
  args.a_factor = {1 << 30, 0, 0};     // one half
  args.b_factor = {1431655765, 0, 1};  // a third
  args.factor = {1717986918, 0, 19};
  const double unit = std::ldexp(1717986918.0, -31 - 19 + 20);
  args.a_float = static_cast<float>(0.5 * unit);
  args.b_float = static_cast<float>(1431655765.0 / 2147483648.0 / 2 * unit);
  for (const float margin : {0.001f, 0.1f, 1.0f}) {
    for (const bool subtract : {false, true}) {
      args.near.margin = margin;
      args.subtract = subtract;
      ForAllOperands<int8_t>(
          [&](int64_t count) { return Int8s(random, count); },
          [&](Operands<int8_t>& o) {
            args.operands = o.View();
            args.min = o.n % 2 == 0 ? -128 : -20;
            args.max = o.n % 3 == 0 ? 127 : 50;
            GetParam()->add_s8(args);
            for (int64_t r = 0; r < o.rows; ++r) {
              for (int64_t i = 0; i < o.n; ++i) {
                const double a = Fixed((int64_t{o.A(r, i)} - args.a_zero) * (1 << 20), args.a_factor);
                const double b = Fixed((int64_t{o.B(r, i)} - args.b_zero) * (1 << 20), args.b_factor);
                const double y = Fixed(static_cast<int64_t>(subtract ? a - b : a + b), args.factor) + args.zero;
                ASSERT_EQ(o.output[r * o.n + i], Clamp(y, args.min, args.max)) << "row " << r << " element " << i;
              }
            }
          });
    }
  }
}

TEST_P(Pointwise, MulS8) {
  Random random(3);
  const FixedFactor factors[] = {{1 << 30, 0, 0},     {INT32_MAX, 0, 0},  {1300000000, 0, 9},
                                 {0x5fff8000, 0, 7},  {0x5fff7fff, 0, 7}, {1 << 30, 0, 30},
                                 {1500000000, 0, 31}, {1500000000, 3, 0}, {0, 0, 0}};
  for (const FixedFactor& factor : factors) {
    ForAllOperands<int8_t>(
        [&](int64_t count) { return Int8s(random, count); },
        [&](Operands<int8_t>& o) {
          MulS8Args args = {};
          args.operands = o.View();
          args.a_zero = o.n % 2 == 0 ? -128 : 9;
          args.b_zero = o.n % 2 == 0 ? 127 : -3;
          args.zero = 5;
          args.factor = factor;
          args.factor_float = static_cast<float>(std::ldexp(factor.multiplier, factor.left - factor.right - 31));
          args.near.margin = factor.left > 0 || o.n % 5 == 0 ? 1.0f : 0.01f + 0.04f * args.factor_float;
          args.min = -100;
          args.max = 127;
          GetParam()->mul_s8(args);
          for (int64_t r = 0; r < o.rows; ++r) {
            for (int64_t i = 0; i < o.n; ++i) {
              const int64_t product = (int64_t{o.A(r, i)} - args.a_zero) * (int64_t{o.B(r, i)} - args.b_zero);
              ASSERT_EQ(o.output[r * o.n + i], Clamp(Fixed(product, factor) + args.zero, args.min, args.max))
                  << "product " << product << " multiplier " << factor.multiplier << " right " << factor.right;
            }
          }
        });
  }
}

// Every product of two int8 values less their zero points.
TEST_P(Pointwise, MulS8AllProducts) {
  std::vector<int8_t> all(256);
  for (int i = 0; i < 256; ++i) all[i] = static_cast<int8_t>(i - 128);
  const GuardedBuffer<int8_t> a(all), b(all);
  GuardedBuffer<int8_t> output(256 * 256);
  for (const int32_t multiplier : {1 << 30, INT32_MAX, 0x40008000, 0x7fff8000, 0x60000001}) {
    for (const int32_t right : {0, 6, 8, 9}) {
      const FixedFactor factor = {multiplier, 0, right};
      for (int64_t row = 0; row < 256; ++row) {
        const float factor_float = static_cast<float>(std::ldexp(multiplier, -right - 31));
        const NearHalf near = {65025.0f * factor_float / 2097152.0f};
        GetParam()->mul_s8({{1, 256, a.data() + row, 0, 0, b.data(), 0, 1, output.data() + row * 256},
                            -128,
                            127,
                            0,
                            factor,
                            factor_float,
                            near,
                            -128,
                            127});
      }
      for (int64_t i = 0; i < 256 * 256; ++i) {
        const int64_t product = (i / 256) * (i % 256 - 255);
        ASSERT_EQ(output[i], Clamp(Fixed(product, factor), -128, 127)) << product << " right " << right;
      }
    }
  }
}

// Rows that are all multiplied with one: every product of two int8 values less their zero points, either operand being
// the rows, the output in a place of its own or in that of the rows.
TEST_P(Pointwise, MulS8ByRow) {
  constexpr int kValues = 256;
  std::vector<int8_t> row(kValues), map(kValues * kValues);
  for (int i = 0; i < kValues * kValues; ++i) {
    map[i] = static_cast<int8_t>(i / kValues - 128);
    row[i % kValues] = static_cast<int8_t>(i % kValues - 128);
  }
  const GuardedBuffer<int8_t> b(row);
  for (const int32_t multiplier : {1 << 30, INT32_MAX, 0x40008000, 0x60000001, 0}) {
    for (const int32_t right : {0, 5, 8, 9, 14, 19, 20, 21, 30}) {
      for (const int variant : {0, 1, 2, 3}) {
        const bool in_place = variant % 2 == 1, swapped = variant / 2 == 1;
        GuardedBuffer<int8_t> a(map), output(kValues * kValues);
        const FixedFactor factor = {multiplier, 0, right};
        const float factor_float = static_cast<float>(std::ldexp(multiplier, -right - 31));
        const int32_t map_zero = in_place ? -128 : 17, row_zero = swapped ? 127 : -100;
        int8_t* to = in_place ? a.data() : output.data();
        MulS8Args args = {{kValues, kValues, a.data(), kValues, 1, b.data(), 0, 1, to},
                          map_zero,
                          row_zero,
                          -7,
                          factor,
                          factor_float,
                          {65025.0f * factor_float / 2097152.0f},
                          -120,
                          110};
        if (swapped) {
          args.operands = {kValues, kValues, b.data(), 0, 1, a.data(), kValues, 1, to};
          std::swap(args.a_zero, args.b_zero);
        }
        GetParam()->mul_s8(args);
        for (int64_t i = 0; i < kValues * kValues; ++i) {
          const int64_t product = (i / kValues - 128 - map_zero) * (i % kValues - 128 - row_zero);
          ASSERT_EQ(to[i], Clamp(Fixed(product, factor) - 7, -120, 110))
              << product << " multiplier " << multiplier << " right " << right << " variant " << variant;
        }
      }
    }
  }
}

// The same with rows of all lengths.
TEST_P(Pointwise, MulS8ByRowOfEveryLength) {
  Random random(8);
  const FixedFactor factor = {1503238553, 0, 7};
  const float factor_float = static_cast<float>(std::ldexp(factor.multiplier, -factor.right - 31));
  std::vector<int64_t> lengths = {511, 512, 513, 575, 576, 577, 1024, 1089};
  for (int64_t n = 1; n <= kLengths; ++n) lengths.push_back(n);
  for (const int64_t n : lengths) {
    const int64_t rows = 9, stride = n + n % 3;
    const Flush flush = n % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<int8_t> a(Int8s(random, (rows - 1) * stride + n), flush), b(Int8s(random, n), flush);
    GuardedBuffer<int8_t> output(rows * n, flush);
    GetParam()->mul_s8({{rows, n, a.data(), stride, 1, b.data(), 0, 1, output.data()},
                        n % 5 == 0 ? -128 : 3,
                        -128,
                        -128,
                        factor,
                        factor_float,
                        {65025.0f * factor_float / 2097152.0f},
                        -128,
                        127});
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t i = 0; i < rows * n; ++i) {
      const int64_t product = (a[i / n * stride + i % n] - (n % 5 == 0 ? -128 : 3)) * (b[i % n] + 128);
      ASSERT_EQ(output[i], Clamp(Fixed(product, factor) - 128, -128, 127)) << "row " << i / n << " of " << n;
    }
  }
}

TEST_P(Pointwise, MapsOfEveryLength) {
  Random random(4);
  std::vector<int8_t> table = Int8s(random, 256);
  const GuardedBuffer<int8_t> guarded_table(table);
  for (int64_t n = 1; n <= kLengths; ++n) {
    const Flush flush = n % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<float> x(random.Floats(n, -200, 200), flush);
    const GuardedBuffer<int8_t> q(Int8s(random, n), flush);
    GuardedBuffer<float> y(n, flush);
    GuardedBuffer<int8_t> r(n, flush);
    GetParam()->unary_f32({UnaryKind::kClamp, x.data(), y.data(), n, -10.0f, 20.0f});
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], std::min(20.0f, std::max(-10.0f, x[i])));
    GetParam()->unary_f32({UnaryKind::kLogistic, x.data(), y.data(), n, 0, 0});
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], 1 / (1 + std::exp(-double{x[i]})), 4 * kEpsilon);
    GetParam()->unary_f32({UnaryKind::kHardSwish, x.data(), y.data(), n, 0, 0});
    for (int64_t i = 0; i < n; ++i) {
      const double exact = double{x[i]} * std::min(6.0, std::max(0.0, double{x[i]} + 3)) / 6;
      ASSERT_NEAR(y[i], exact, 3 * kEpsilon * std::abs(exact));
    }
    GetParam()->lookup_s8({guarded_table.data(), q.data(), r.data(), n});
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(r[i], table[static_cast<size_t>(q[i] + 128)]);
    GetParam()->quantize_f32({x.data(), r.data(), n, 1.25f, -4});
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(r[i], Clamp(double{std::round(x[i] / 1.25f)} - 4, -128, 127));
    GetParam()->dequantize_s8({q.data(), y.data(), n, 0.3f, 17});
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], static_cast<float>(double{0.3f} * (q[i] - 17)));
    EXPECT_TRUE(y.SurroundingsIntact() && r.SurroundingsIntact());
  }
}

TEST_P(Pointwise, Sums) {
  Random random(5);
  for (int64_t n = 1; n <= kLengths; ++n) {
    for (const int64_t rows : {int64_t{1}, int64_t{5}, n == 70 ? int64_t{600} : int64_t{0}}) {
      if (rows == 0) continue;
      const int64_t stride = n + n % 4;
      const Flush flush = n % 2 == 0 ? Flush::kEnd : Flush::kStart;
      const GuardedBuffer<float> x(random.Floats((rows - 1) * stride + n), flush);
      std::vector<int8_t> low((rows - 1) * stride + n, -128);
      const GuardedBuffer<int8_t> q(rows == 600 ? low : Int8s(random, (rows - 1) * stride + n), flush);
      GuardedBuffer<float> sums(std::vector<float>(n, 0.5f), flush);
      GuardedBuffer<int32_t> counts(std::vector<int32_t>(n, -3), flush);
      GetParam()->sum_rows_f32({x.data(), rows, stride, n, sums.data()});
      GetParam()->sum_rows_s8({q.data(), rows, stride, n, counts.data()});
      EXPECT_TRUE(sums.SurroundingsIntact() && counts.SurroundingsIntact());
      for (int64_t c = 0; c < n; ++c) {
        volatile float sum = 0.5f;
        int32_t count = -3;
        for (int64_t r = 0; r < rows; ++r) {
          sum = sum + x[r * stride + c];
          count += q[r * stride + c];
        }
        ASSERT_EQ(sums[c], sum) << "column " << c << " of " << rows << " rows, in their order";
        ASSERT_EQ(counts[c], count);
      }
    }
    const GuardedBuffer<float> x(random.Floats(n));
    const GuardedBuffer<int8_t> q(Int8s(random, n));
    double sum = 0, magnitude = 0;
    int32_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += x[i];
      magnitude += std::abs(x[i]);
      count += q[i];
    }
    ASSERT_NEAR(GetParam()->sum_f32(x.data(), n), sum, SumTolerance(magnitude));
    ASSERT_EQ(GetParam()->sum_s8(q.data(), n), count);
  }
}

// Windows whose lines, taps, pixels and outputs all lie apart.
TEST_P(Pointwise, PoolStrides) {
  Random random(6);
  for (int64_t channels = 1; channels <= kLengths; ++channels) {
    const int64_t tap = channels + 2, pixel = 2 * tap + 1, line = 7 * tap + 5, out = channels + 3;
    const int64_t kernel_h = 1 + channels % 3, kernel_w = 1 + channels % 2, pixels = 2;
    const int64_t reach = (kernel_h - 1) * line + (pixels - 1) * pixel + (kernel_w - 1) * tap + channels;
    const Flush flush = channels % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<float> x(random.Floats(reach), flush);
    const GuardedBuffer<int8_t> q(Int8s(random, reach), flush);
    for (const bool max : {true, false}) {
      GuardedBuffer<float> y((pixels - 1) * out + channels, flush);
      GuardedBuffer<int8_t> r((pixels - 1) * out + channels, flush);
      const PoolF32Args f32 = {x.data(), line,     tap,      pixel, kernel_h, kernel_w,
                               pixels,   channels, y.data(), out,   -0.7f,    0.6f};
      const PoolS8Args s8 = {q.data(), line, tap, pixel, kernel_h, kernel_w, pixels, channels, r.data(), out, -90, 100};
      (max ? GetParam()->max_pool_f32 : GetParam()->average_pool_f32)(f32);
      (max ? GetParam()->max_pool_s8 : GetParam()->average_pool_s8)(s8);
      EXPECT_TRUE(y.SurroundingsIntact() && r.SurroundingsIntact());
      for (int64_t i = 0; i < pixels; ++i) {
        for (int64_t c = 0; c < channels; ++c) {
          float most = -2, sum = 0;
          int int_most = -128, int_sum = 0;
          for (int64_t k = 0; k < kernel_h * kernel_w; ++k) {
            const int64_t at = k / kernel_w * line + i * pixel + k % kernel_w * tap + c;
            most = std::max(most, x[at]);
            sum = sum + x[at];
            int_most = std::max<int>(int_most, q[at]);
            int_sum += q[at];
          }
          const int count = static_cast<int>(kernel_h * kernel_w), half = int_sum > 0 ? count / 2 : -(count / 2);
          const float expected = max ? most : sum / static_cast<float>(count);
          ASSERT_EQ(y[i * out + c], std::min(0.6f, std::max(-0.7f, expected))) << "channel " << c;
          ASSERT_EQ(r[i * out + c], Clamp(max ? int_most : (int_sum + half) / count, -90, 100)) << "channel " << c;
        }
      }
    }
  }
}

TEST_P(Pointwise, SoftmaxOfEveryLength) {
  Random random(7);
  for (int64_t n = 1; n <= kLengths; ++n) {
    const Flush flush = n % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<float> x(random.Floats(n, -5, 5), flush);
    GuardedBuffer<float> y(n, flush);
    GetParam()->softmax_f32({x.data(), y.data(), n, 0.75f});
    EXPECT_TRUE(y.SurroundingsIntact());
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(0.75 * x[i]);
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], std::exp(0.75 * x[i]) / sum, 20 * kEpsilon) << i << " of " << n;
  }
}

}  // namespace
}  // namespace dgms::testing
