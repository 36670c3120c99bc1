// From int32 sums to a layer's outputs: int8 as TFLite's reference kernels compute it, or float where the activations
// were quantised at run time.
#ifndef DGMS_OPS_INT8_OUTPUT_H_
#define DGMS_OPS_INT8_OUTPUT_H_

#include <cstddef>
#include <cstdint>

#include "kernels/select_kernel.h"
#include "ops/memory.h"
#include "ops/quantization.h"
#include "ops/shapes.h"
#include "ops/status.h"

namespace dgms {

// A positive factor as TFLite's kernels hold it: multiplier / 2^31 * 2^exponent.
struct FixedPoint {
  int32_t multiplier = 0;
  int32_t exponent = 0;
};

// The nearest one. Factors below about 2^-32 become 0.
// Source: the TensorFlow Lite 8-bit quantization specification and its reference kernels' behaviour
// (QuantizeMultiplier).
FixedPoint ToFixedPoint(double factor);

// What an int8 layer needs beside its filter. All pointers are views that need to live during Create only.
struct Requantization {
  int32_t input_zero = 0;          // -128..127
  const int32_t* bias = nullptr;   // [output channels], or null
  const double* factor = nullptr;  // [output channels]: input scale * filter scale / output scale; 0 < factor < 2^30
  bool fixed_point = true;         // multiply in fixed point (convolutions); else in double (fully connected)
  int32_t output_zero = 0;         // -128..127
  int32_t min = -128, max = 127;   // of the outputs: the fused activation
};

// What a float layer needs that runs on quantised activations. Its input is float, and quantised as it runs, or int8
// with a quantisation that is known before; its output is float or int8.
struct Dequantization {
  const float* scale = nullptr;          // [output channels]: what a filter's integer stands for
  const float* bias = nullptr;           // [output channels], or null
  ActivationRange range = {};            // of a float output; an int8 output's values end where the activation's do
  const Quantization* input = nullptr;   // of an int8 input
  const Quantization* output = nullptr;  // of an int8 output
};

// Either of the two; the other one is null.
struct Int8LayerOutput {
  const Requantization* int8 = nullptr;
  const Dequantization* dynamic = nullptr;

  bool float_input() const { return dynamic != nullptr && dynamic->input == nullptr; }
};

// The sums of a channel's weights above and below zero.
struct SignedSums {
  int64_t above = 0, below = 0;

  void Add(int64_t weight) {
    above += weight > 0 ? weight : 0;
    below += weight < 0 ? weight : 0;
  }
};

class Int8Output {
 public:
  // One run: where outputs go, and (dynamic only) the quantisation of the activations.
  struct Target {
    void* output;                    // int8 or float, [rows][channels]
    const int32_t* zeros = nullptr;  // of the numbers that the kernels saw: entry i is that of rows
    const float* scales = nullptr;   // i * rows_each .. (i + 1) * rows_each - 1
    int64_t rows_each = 1;
    const float* residual = nullptr;         // [rows][channels], added before the activation (to float); or null
    const ActivationRange* range = nullptr;  // in place of the layer's own
  };

  //   column_sums   [channels], what an input zero point of 1 adds to the sums; null: the sums are free of it already
  //   seen_zero     the input's zero point in the numbers that the kernels see (int8 only)
  Status Init(const Int8LayerOutput& layer, int64_t channels, const int32_t* column_sums, int32_t seen_zero,
              const OutputS8Kernel& kernel);

  // After Init, where a kernel may make the outputs: what NarrowFor needs to know, if there is any use in that.
  bool MayNarrow() const;
  //   weights         [channels]
  //   least, largest  what the weights meet, least <= 0 <= largest
  Status SetSums(const Buffer<SignedSums>& weights, int32_t least, int32_t largest);

  // Before runs with so many rows: looks for NarrowS8 once they are worth it.
  Status NarrowFor(int64_t rows);

  // Whether sums go by Target's quantisations of the activations: Int8LayerOutput::dynamic.
  bool dynamic() const { return dynamic_; }
  // Whether outputs are float, too.
  bool dequantizes() const { return dynamic_ && !to_int8_; }

  // Replaces the activation for later runs, if dequantizes().
  void SetRange(const ActivationRange& range) { range_ = range; }

  // Rows first_row.. of the target, channels first_channel.., from sums [rows][sums_row_stride].
  void Finish(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n, const int32_t* sums,
              int64_t sums_row_stride) const;

  // Whether a kernel may make the outputs itself (GemmS8Kernel::requantize), and what it needs; `sums` are left out.
  bool simple() const { return simple_; }
  RequantizeArgs Requantizing(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n) const;
  // The same for PackedGemmS8::dequantize, if dequantizes().
  DequantizeArgs Dequantizing(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n) const;
  // For PackedGemmS8::rescale_rows, if dynamic() and not dequantizes().
  RescaleRowsArgs Rescaling(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n) const;

  size_t bytes() const;

 private:
  void FillByRows(const Target& target, int64_t first_row, int rows, int64_t first_channel, int n,
                  ByRowsArgs* args) const;

  const OutputS8Kernel* kernel_ = nullptr;
  bool dynamic_ = false, fixed_point_ = false;
  bool to_int8_ = false;  // dynamic
  bool simple_ = false;   // fixed point, and all channels with a right shift alone
  int64_t channels_ = 0;
  int32_t zero_ = 0, min_ = 0, max_ = 0;
  ActivationRange range_ = {};
  Buffer<int32_t> integer_bias_;               // int8
  Buffer<int32_t> multiplier_, left_, right_;  // int8, fixed point
  struct SumRange {
    int32_t lowest, highest;
  };
  Buffer<SumRange> sums_;                            // int8: with the bias; none if they are of no use, or no longer
  Buffer<int32_t> narrow_bias_, narrow_multiplier_;  // int8, fixed point: NarrowS8, or none
  Buffer<uint8_t> narrow_applies_;
  Buffer<double> factor_;       // int8, in double
  Buffer<int32_t> column_sum_;  // dynamic
  Buffer<float> scale_, bias_;  // to int8: in units of the outputs' scale (RescaleRowsArgs)
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_OUTPUT_H_
