#include "ops/int8_output.h"

#include <algorithm>
#include <cmath>

#include "ops/narrow_requantization.h"

namespace dgms {
namespace {

// The kernels may read, not use, some entries beyond the last.
template <typename T>
bool Allocate(Buffer<T>* buffer, int64_t channels) {
  if (!buffer->Reserve(channels + kColumnSlack)) return false;
  std::fill(buffer->data(), buffer->data() + channels + kColumnSlack, T{});
  return true;
}

// To look for a channel's NarrowS8 takes some 2,000 instructions, and 16 outputs of one take 4 less: with so many rows
// it has paid after some 70 runs, and with few it would only make the start longer.
constexpr int64_t kNarrowRows = 100;

int32_t Clamped(int64_t sum) { return static_cast<int32_t>(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX)); }

// Of numbers that are not negative. Many processors divide 64 bits in several times the time of 32.
int64_t Quotient(int64_t a, int64_t b) {
  const bool narrow = ((a | b) >> 32) == 0;
  return narrow ? static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b)) : a / b;
}

}  // namespace

FixedPoint ToFixedPoint(double factor) {
  if (!(factor > 0)) return {};
  int exponent = 0;
  const double fraction = std::frexp(factor, &exponent);
  int64_t multiplier = static_cast<int64_t>(std::round(fraction * 2147483648.0));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++exponent;
  }
  if (exponent < -31) return {};
  return {static_cast<int32_t>(multiplier), exponent};
}

Status Int8Output::Init(const Int8LayerOutput& layer, int64_t channels, const int32_t* column_sums, int32_t seen_zero,
                        const OutputS8Kernel& kernel) {
  kernel_ = &kernel;
  channels_ = channels;
  dynamic_ = layer.dynamic != nullptr;
  if (dynamic_) {
    const Dequantization& d = *layer.dynamic;
    range_ = d.range;
    if (!Allocate(&column_sum_, channels) || !Allocate(&scale_, channels) || !Allocate(&bias_, channels)) {
      return Status::kOutOfMemory;
    }
    std::copy(d.scale, d.scale + channels, scale_.data());
    if (column_sums != nullptr) std::copy(column_sums, column_sums + channels, column_sum_.data());
    if (d.bias != nullptr) std::copy(d.bias, d.bias + channels, bias_.data());
    to_int8_ = d.output != nullptr;
    for (int64_t c = 0; to_int8_ && c < channels; ++c) {
      scale_[c] /= d.output->scale;
      bias_[c] = bias_[c] / d.output->scale + static_cast<float>(d.output->zero + 128);
    }
    return Status::kOk;
  }
  const Requantization& r = *layer.int8;
  fixed_point_ = r.fixed_point;
  zero_ = r.output_zero;
  min_ = r.min;
  max_ = r.max;
  if (!Allocate(&integer_bias_, channels)) return Status::kOutOfMemory;
  for (int64_t c = 0; c < channels; ++c) {
    const uint32_t bias = r.bias == nullptr ? 0 : static_cast<uint32_t>(r.bias[c]);
    const uint32_t sum = column_sums == nullptr ? 0 : static_cast<uint32_t>(column_sums[c]);
    integer_bias_[c] = static_cast<int32_t>(bias - static_cast<uint32_t>(seen_zero) * sum);
  }
  if (!fixed_point_) {
    if (!Allocate(&factor_, channels)) return Status::kOutOfMemory;
    std::copy(r.factor, r.factor + channels, factor_.data());
    return Status::kOk;
  }
  if (!Allocate(&multiplier_, channels) || !Allocate(&left_, channels) || !Allocate(&right_, channels)) {
    return Status::kOutOfMemory;
  }
  for (int64_t c = 0; c < channels; ++c) {
    const FixedPoint factor = ToFixedPoint(r.factor[c]);
    multiplier_[c] = factor.multiplier;
    left_[c] = std::max(factor.exponent, 0);
    right_[c] = std::max(-factor.exponent, 0);
  }
  simple_ = std::all_of(right_.data(), right_.data() + channels, [](int32_t right) { return right > 0; });
  return Status::kOk;
}

bool Int8Output::MayNarrow() const {
  return kernel_->narrows && !dynamic_ && simple_ && zero_ == INT8_MIN && min_ == INT8_MIN && max_ == INT8_MAX;
}

Status Int8Output::SetSums(const Buffer<SignedSums>& weights, int32_t least, int32_t largest) {
  if (!sums_.Reserve(channels_)) return Status::kOutOfMemory;
  for (int64_t c = 0; c < channels_; ++c) {
    const int64_t bias = integer_bias_[c];
    const SignedSums& w = weights[c];
    sums_[c] = {Clamped(bias + w.above * least + w.below * largest),
                Clamped(bias + w.above * largest + w.below * least)};
  }
  return Status::kOk;
}

Status Int8Output::NarrowFor(int64_t rows) {
  if (rows < kNarrowRows || sums_.data() == nullptr) return Status::kOk;
  // The bias says that there are any: it comes last.
  if (!Allocate(&narrow_applies_, channels_) || !Allocate(&narrow_multiplier_, channels_) ||
      !Allocate(&narrow_bias_, channels_)) {
    return Status::kOutOfMemory;
  }
  for (int64_t c = 0; c < channels_; ++c) {
    NarrowScale scale = {};
    if (!FindNarrowScale({multiplier_[c], right_[c], sums_[c].lowest, sums_[c].highest}, &scale)) continue;
    const uint32_t bias = static_cast<uint32_t>(integer_bias_[c]);
    narrow_bias_[c] = static_cast<int32_t>(bias + static_cast<uint32_t>(scale.offset));
    narrow_multiplier_[c] = scale.multiplier;
    narrow_applies_[c] = 1;
  }
  sums_.Free();  // once is enough
  return Status::kOk;
}

// In place: to read a struct in wide pieces, as a copy does, waits until the narrow ones in which it was just written
// have left for the cache, behind all sums and outputs that were stored before.
void Int8Output::FillByRows(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n,
                            ByRowsArgs* args) const {
  const int64_t entry = Quotient(first_row, target.rows_each);
  args->rows = rows;
  args->n = n;
  args->zero = target.zeros + entry;
  args->scale = target.scales + entry;
  args->first_rows = (entry + 1) * target.rows_each - first_row;
  args->rows_each = target.rows_each;
  args->column_sum = column_sum_.data() + first_channel;
  args->column_scale = scale_.data() + first_channel;
  args->bias = bias_.data() + first_channel;
  args->output_row_stride = channels_;
}

DequantizeArgs Int8Output::Dequantizing(const Target& target, int64_t first_row, int rows, int64_t first_channel,
                                        int n) const {
  DequantizeArgs args = {};
  FillByRows(target, first_row, rows, first_channel, n, &args);
  const int64_t at = first_row * channels_ + first_channel;
  const ActivationRange& range = target.range == nullptr ? range_ : *target.range;
  args.min = range.min;
  args.max = range.max;
  args.output = static_cast<float*>(target.output) + at;
  args.residual = target.residual == nullptr ? nullptr : target.residual + at;
  args.residual_row_stride = channels_;
  return args;
}

RescaleRowsArgs Int8Output::Rescaling(const Target& target, int64_t first_row, int rows, int64_t first_channel,
                                      int n) const {
  RescaleRowsArgs args = {};
  FillByRows(target, first_row, rows, first_channel, n, &args);
  args.output = static_cast<int8_t*>(target.output) + first_row * channels_ + first_channel;
  return args;
}

void Int8Output::Finish(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n,
                        const int32_t* sums, int64_t sums_row_stride) const {
  const int64_t c = first_channel, at = first_row * channels_ + c;
  if (to_int8_) {
    RescaleRowsArgs args = Rescaling(target, first_row, rows, first_channel, n);
    args.sums = sums;
    args.sums_row_stride = sums_row_stride;
    kernel_->rescale_rows(args);
  } else if (dynamic_) {
    DequantizeArgs args = Dequantizing(target, first_row, rows, first_channel, n);
    args.sums = sums;
    args.sums_row_stride = sums_row_stride;
    kernel_->dequantize(args);
  } else if (!fixed_point_) {
    kernel_->rescale({rows, n, sums, sums_row_stride, integer_bias_.data() + c, factor_.data() + c, zero_, min_, max_,
                      static_cast<int8_t*>(target.output) + at, channels_});
  } else {
    RequantizeArgs args = Requantizing(target, first_row, rows, first_channel, n);
    args.sums = sums;
    args.sums_row_stride = sums_row_stride;
    kernel_->requantize(args);
  }
}

RequantizeArgs Int8Output::Requantizing(const Target& target, int64_t first_row, int rows, int64_t first_channel,
                                        int n) const {
  const int64_t c = first_channel;
  return {rows,
          n,
          nullptr,
          0,
          integer_bias_.data() + c,
          multiplier_.data() + c,
          left_.data() + c,
          right_.data() + c,
          zero_,
          min_,
          max_,
          static_cast<int8_t*>(target.output) + first_row * channels_ + c,
          channels_,
          NarrowS8{narrow_bias_.data(), narrow_multiplier_.data(), narrow_applies_.data()}.From(c)};
}

size_t Int8Output::bytes() const {
  return integer_bias_.bytes() + factor_.bytes() + multiplier_.bytes() + left_.bytes() + right_.bytes() +
         sums_.bytes() + narrow_bias_.bytes() + narrow_multiplier_.bytes() + narrow_applies_.bytes() +
         column_sum_.bytes() + scale_.bytes() + bias_.bytes();
}

}  // namespace dgms
