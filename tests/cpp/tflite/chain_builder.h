// Writes one layer with its decode chain (FORMAT.md, section 3) into a mock runtime.
#ifndef DGMS_TESTS_TFLITE_CHAIN_BUILDER_H_
#define DGMS_TESTS_TFLITE_CHAIN_BUILDER_H_

#include <cstdint>
#include <random>
#include <vector>

#include "format/packed_codes.h"
#include "tflite/mock_runtime.h"

namespace dgms::testing {

struct LayerSpec {
  int builtin = tfl::kBuiltinConv2d;
  int bits = 4;
  std::vector<int> input = {1, 5, 6, 3};
  std::vector<int> filter = {4, 3, 3, 3};  // OHWI, 1HWC or OI
  int group_size = 0;                      // 0: one codebook
  bool scale = false;
  bool bias = true;
  tfl::Padding padding = tfl::Padding::kSame;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  tfl::Activation activation = tfl::Activation::kNone;
  bool keep_num_dims = false;
  bool int8 = false;       // then `scale` has no effect
  bool one_scale = false;  // int8: of the filter
  int input_zero = -5, output_zero = 3;
};

// The numbers of everything in the layer; -1 where it has no such part.
struct LayerIds {
  std::vector<int> constants, intermediates;  // tensors of the chain
  std::vector<int> chain;                     // nodes of the chain
  int input = -1, filter = -1, bias = -1, output = -1, node = -1;
};

class ChainBuilder {
 public:
  ChainBuilder(MockRuntime* runtime, uint32_t seed) : runtime_(*runtime), random_(seed) {}

  // Appends a layer that reads tensor `input` (-1: a new one).
  LayerIds Layer(const LayerSpec& spec, int input = -1) { return AnyLayer(spec, input, /*plain=*/false); }

  // The same with a filter of plain values; `bits` and `group_size` have no effect.
  LayerIds PlainLayer(const LayerSpec& spec, int input = -1) { return AnyLayer(spec, input, /*plain=*/true); }

  static constexpr float kInputScale = 0.05F, kOutputScale = 0.7F;

  std::vector<float> Floats(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }

 private:
  LayerIds AnyLayer(const LayerSpec& spec, int input, bool plain) {
    ids_ = LayerIds();
    const tfl::Type type = spec.int8 ? tfl::Type::kInt8 : tfl::Type::kFloat32;
    ids_.input = input >= 0 ? input : runtime_.AddTensor(type, spec.input, "input");
    if (spec.int8 && input < 0) runtime_.Quantize(ids_.input, {kInputScale}, {spec.input_zero});
    ids_.filter = plain ? PlainFilter(spec) : Filter(spec);
    const int channels = spec.filter[ChannelAxis(spec)];
    if (spec.bias)
      ids_.bias = spec.int8 ? IntegerBias(channels) : runtime_.Constant<float>({channels}, Floats(channels));
    ids_.output = runtime_.AddTensor(type, {1}, "output");
    if (spec.int8) runtime_.Quantize(ids_.output, {kOutputScale}, {spec.output_zero});
    const std::vector<int> inputs = {ids_.input, ids_.filter, ids_.bias};
    if (spec.builtin == tfl::kBuiltinConv2d) {
      const tfl::ConvParams params = {spec.padding,    spec.stride_w,   spec.stride_h,
                                      spec.activation, spec.dilation_w, spec.dilation_h};
      ids_.node = runtime_.AddNode(spec.builtin, inputs, {ids_.output}, params);
    } else if (spec.builtin == tfl::kBuiltinDepthwiseConv2d) {
      const tfl::DepthwiseConvParams params = {spec.padding,    spec.stride_w,   spec.stride_h,  1,
                                               spec.activation, spec.dilation_w, spec.dilation_h};
      ids_.node = runtime_.AddNode(spec.builtin, inputs, {ids_.output}, params);
    } else {
      const tfl::FullyConnectedParams params = {spec.activation, 0, static_cast<uint8_t>(spec.keep_num_dims), 0};
      ids_.node = runtime_.AddNode(spec.builtin, inputs, {ids_.output}, params);
    }
    std::vector<int> dims;
    const bool needs_bias = runtime_.stock_has_bias;
    runtime_.stock_has_bias = false;
    StockShape(&runtime_, ids_.node, &dims);
    runtime_.stock_has_bias = needs_bias;
    runtime_.SetDims(ids_.output, dims);
    return ids_;
  }

  static int ChannelAxis(const LayerSpec& spec) { return spec.builtin == tfl::kBuiltinDepthwiseConv2d ? 3 : 0; }

  int IntegerBias(int channels) {
    std::vector<int32_t> values;
    for (float value : Floats(channels)) values.push_back(static_cast<int32_t>(value * 1000));
    const int bias = runtime_.Constant<int32_t>({channels}, values);
    runtime_.Quantize(bias, {kInputScale * 0.01F}, {0});
    return bias;
  }

  std::vector<int8_t> Bytes(int count) {
    std::vector<int8_t> values;
    for (int i = 0; i < count; ++i) values.push_back(static_cast<int8_t>(static_cast<int>(random_() % 255) - 127));
    return values;
  }

  int Constant(int id) {
    ids_.constants.push_back(id);
    return id;
  }

  template <typename Params>
  int Step(int builtin, const std::vector<int>& inputs, tfl::Type type, const std::vector<int>& dims,
           const Params& params) {
    const int output = runtime_.AddTensor(type, dims);
    ids_.chain.push_back(runtime_.AddNode(builtin, inputs, {output}, params));
    ids_.intermediates.push_back(output);
    return output;
  }

  int Gather(int data, int index, tfl::Type type, const std::vector<int>& dims) {
    return Step(tfl::kBuiltinGather, {data, index}, type, dims, tfl::GatherParams{0, 0});
  }

  int Reshape(int data, tfl::Type type, const std::vector<int>& dims) {
    tfl::ReshapeParams params = {};
    params.num_dimensions = static_cast<int>(dims.size());
    std::copy(dims.begin(), dims.end(), params.shape);
    const int shape = Constant(runtime_.Constant<int32_t>({params.num_dimensions}, dims));
    return Step(tfl::kBuiltinReshape, {data, shape}, type, dims, params);
  }

  int Binary(int builtin, int a, int b, tfl::Type type, const std::vector<int>& dims) {
    return Step(builtin, {a, b}, type, dims, tfl::ElementwiseParams{tfl::Activation::kNone});
  }

  int Table(const PlaneFormat& plane) {
    std::vector<int32_t> values;
    for (int value = 0; value < kByteValues; ++value) {
      for (int field = 0; field < plane.codes_per_byte(); ++field) values.push_back(TableEntry(plane, value, field));
    }
    return Constant(runtime_.Constant<int32_t>({kByteValues, plane.codes_per_byte()}, values));
  }

  int Tail(int blocks, tfl::Type type, int padded, const std::vector<int>& shape, int count) {
    if (padded != count) {
      const int flat = Reshape(blocks, type, {padded});
      const int begin = Constant(runtime_.Constant<int32_t>({1}, {0}));
      const int size = Constant(runtime_.Constant<int32_t>({1}, {count}));
      blocks = Step(tfl::kBuiltinSlice, {flat, begin, size}, type, {count}, 0);
    }
    return Reshape(blocks, type, shape);
  }

  void QuantizeFilter(const LayerSpec& spec, int filter) {
    std::vector<float> scales;
    for (int c = 0; c < (spec.one_scale ? 1 : spec.filter[ChannelAxis(spec)]); ++c) {
      scales.push_back(0.01F + 0.002F * static_cast<float>(c));
    }
    runtime_.Quantize(filter, scales, std::vector<int>(scales.size(), 0), ChannelAxis(spec));
  }

  int PlainFilter(const LayerSpec& spec) {
    int count = 1;
    for (int dim : spec.filter) count *= dim;
    if (!spec.int8) return Constant(runtime_.Constant<float>(spec.filter, Floats(count)));
    const int filter = Constant(runtime_.Constant<int8_t>(spec.filter, Bytes(count)));
    QuantizeFilter(spec, filter);
    return filter;
  }

  int Filter(const LayerSpec& spec) {
    constexpr tfl::Type kInt = tfl::Type::kInt32;
    const tfl::Type type = spec.int8 ? tfl::Type::kInt8 : tfl::Type::kFloat32;
    const CodeFormat& format = *CodeFormatOf(spec.bits);
    int count = 1;
    for (int dim : spec.filter) count *= dim;
    const int channels = spec.filter[ChannelAxis(spec)];
    const int groups = spec.group_size == 0 ? 1 : (channels + spec.group_size - 1) / spec.group_size;
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random_() % format.codebook_size());
    std::vector<std::vector<uint8_t>> bytes;
    uint8_t* planes[kMaxPlanes] = {};
    for (int i = 0; i < format.plane_count; ++i) bytes.emplace_back(format.plane_bytes(i, count));
    for (int i = 0; i < format.plane_count; ++i) planes[i] = bytes[i].data();
    PackCodes(format, codes.data(), count, planes);

    const int entries = groups * format.codebook_size();
    const int codebook = Constant(spec.int8 ? runtime_.Constant<int8_t>({entries}, Bytes(entries))
                                            : runtime_.Constant<float>({entries}, Floats(entries)));
    const int padded = static_cast<int>(format.padded_count(count));
    const std::vector<int> block_shape = {padded / format.block_size(), format.block_size()};
    int wide[kMaxPlanes], tables[kMaxPlanes], sizes[kMaxPlanes];
    for (int i = 0; i < format.plane_count; ++i) {
      sizes[i] = static_cast<int>(bytes[i].size());
      const int packed = Constant(runtime_.Constant<uint8_t>({sizes[i]}, bytes[i]));
      wide[i] = Step(tfl::kBuiltinCast, {packed}, kInt, {sizes[i]}, int64_t{0});
      tables[i] = Table(format.planes[i]);
    }
    const bool grouped = spec.group_size != 0;
    int blocks = -1;
    if (spec.bits == 3) {
      const int fields = Gather(tables[0], wide[0], kInt, {sizes[0], 4});
      const int lows = Reshape(fields, kInt, block_shape);
      const int highs = Gather(tables[1], wide[1], kInt, block_shape);
      blocks = Binary(tfl::kBuiltinAdd, lows, highs, kInt, block_shape);
      if (!grouped) blocks = Gather(codebook, blocks, type, block_shape);
    } else if (grouped) {
      blocks = Gather(tables[0], wide[0], kInt, block_shape);
    } else {
      const int extended = Gather(codebook, tables[0], type, {kByteValues, format.block_size()});
      blocks = Gather(extended, wide[0], type, block_shape);
    }
    int filter = Tail(blocks, grouped ? kInt : type, padded, spec.filter, count);
    std::vector<int> side(spec.filter.size(), 1);
    side[ChannelAxis(spec)] = channels;
    if (grouped) {
      std::vector<int32_t> offset;
      for (int c = 0; c < channels; ++c) offset.push_back(format.codebook_size() * (c / spec.group_size));
      const int shifted =
          Binary(tfl::kBuiltinAdd, filter, Constant(runtime_.Constant<int32_t>(side, offset)), kInt, spec.filter);
      filter = Gather(codebook, shifted, type, spec.filter);
    }
    if (spec.int8) {
      QuantizeFilter(spec, filter);
    } else if (spec.scale) {
      filter = Binary(tfl::kBuiltinMul, filter, Constant(runtime_.Constant<float>(side, Floats(channels))), type,
                      spec.filter);
    }
    return filter;
  }

  MockRuntime& runtime_;
  std::mt19937 random_;
  LayerIds ids_;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_TFLITE_CHAIN_BUILDER_H_
