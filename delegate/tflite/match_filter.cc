#include "tflite/match_filter.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "tflite/log.h"

namespace dgms {
namespace {

// A codebook above this cannot be separated from its scale: our kernels scale the sum, and a sum of unscaled products
// could overflow where the scaled weights do not. 2^64 leaves activations the same room again, squared.
constexpr float kMaxScaledCodebook = 1.8446744e19F;

// Thrown away with its reason where a chain does not fit: internal control flow of this file only.
struct Mismatch {
  std::string why;
};

// Operators of the longest chain: 3 bits, with groups, padding and a scale. For memory only.
constexpr size_t kLongestChain = 16;

class Matcher {
 public:
  Matcher(const Graph& graph, int channel_axis, int rank, tfl::Type values, FilterMatch* match)
      : graph_(graph), channel_axis_(channel_axis), rank_(rank), values_(values), match_(*match) {}

  void Match(int id) {
    match_.nodes.reserve(kLongestChain);
    bool scaled = false;
    int scale = tfl::kOptionalTensor;
    const int filter = SkipScale(id, &scaled, &scale);
    const GraphNode& last = Producer(filter, "the filter");
    if (last.builtin == tfl::kBuiltinGather) {
      MatchGroups(last, filter);
    } else {
      MatchBlocks(SkipTail(filter), /*values=*/true);
    }
    CheckSizes();
    if (scaled) ReadScale(scale);
    CheckDims(id, match_.shape);
    CheckDims(filter, match_.shape);
  }

 private:
  [[noreturn]] static void Fail(const std::string& why) { throw Mismatch{why}; }
  static void Require(bool condition, const char* why) {
    if (!condition) Fail(why);
  }

  // The operator that computes tensor `id`; it joins the chain.
  const GraphNode& Producer(int id, const char* what) {
    const int position = graph_.producer(id);
    if (position == Graph::kNone) Fail(std::string(what) + " is not computed by a decode chain");
    const GraphNode& node = graph_.node(position);
    if (node.output_count() != 1) Fail(std::string(what) + " is computed by an operator with several outputs");
    match_.nodes.push_back(position);
    return node;
  }

  const GraphNode& Producer(int id, int builtin, const char* what) {
    const GraphNode& node = Producer(id, what);
    if (node.builtin != builtin) Fail(std::string(what) + " is not computed by the expected operator");
    return node;
  }

  void RequireType(int id, tfl::Type type) {
    const tfl::Tensor* tensor = graph_.tensor(id);
    Require(tensor != nullptr && tensor->type == type, "an intermediate tensor has an unexpected type");
    const bool may_be_quantised = type == tfl::Type::kInt8;
    Require(tensor->is_variable == 0 && tensor->sparsity == nullptr &&
                (may_be_quantised || tensor->quantization.type == 0) &&
                tensor->allocation_type != tfl::Allocation::kMmapRo,
            "an intermediate tensor is constant, variable, sparse or quantised");
  }

  // Declared dims must be the true ones, or [0]: what this delegate makes of intermediates that it skips, and what is
  // then left of them if the runtime takes the delegate out and puts it in again.
  void CheckDims(int id, IntSpan expected) {
    const tfl::IntArray* dims = graph_.tensor(id)->dims;
    if (!DimsEqual(dims, expected) && !DimsEqual(dims, {0})) Fail("an intermediate tensor declares a wrong shape");
  }

  const void* Constant(int id, tfl::Type type, IntSpan dims, const char* what) {
    int64_t count = 0;
    const void* data = graph_.ConstantData(id, type, &count);
    if (data == nullptr || !DimsEqual(graph_.tensor(id)->dims, dims)) {
      Fail(std::string(what) + " is not a constant of the right type and shape");
    }
    return data;
  }

  // A constant of rank 1, whatever its size.
  const void* Vector(int id, tfl::Type type, int* size, const char* what) {
    int64_t count = 0;
    const void* data = graph_.ConstantData(id, type, &count);
    if (data == nullptr || graph_.tensor(id)->dims->size != 1) Fail(std::string(what) + " is not a constant vector");
    *size = static_cast<int>(count);
    return data;
  }

  static std::vector<int> Ints(const void* data, int count) {
    std::vector<int> values(count);
    if (count > 0) std::memcpy(values.data(), data, count * sizeof(int32_t));
    return values;
  }

  static std::vector<float> Floats(const void* data, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    if (count > 0) std::memcpy(values.data(), data, static_cast<size_t>(count) * sizeof(float));
    return values;
  }

  // A constant vector of codebook values.
  const void* Codebooks(int id, int* entries) {
    int64_t count = 0;
    const bool floats = values_ == tfl::Type::kFloat32;
    const void* data =
        floats ? graph_.ConstantData(id, values_, &count) : graph_.QuantizedConstantData(id, values_, &count);
    if (data == nullptr || graph_.tensor(id)->dims->size != 1) Fail("the codebook is not a constant vector");
    *entries = static_cast<int>(count);
    return data;
  }

  // The filter's codebooks: 2^bits values each, from each start on.
  void CopyCodebooks(const void* data, const std::vector<int>& starts) {
    const int book = match_.format->codebook_size();
    if (values_ == tfl::Type::kFloat32) match_.codebooks.reserve(starts.size() * static_cast<size_t>(book));
    for (int start : starts) {
      if (values_ == tfl::Type::kFloat32) {
        const size_t at = match_.codebooks.size();
        match_.codebooks.resize(at + static_cast<size_t>(book));
        std::memcpy(match_.codebooks.data() + at, static_cast<const float*>(data) + start, book * sizeof(float));
      } else {
        const auto* values = static_cast<const int8_t*>(data) + start;
        for (int i = 0; i < book; ++i) Require(values[i] >= -127, "a value of the int8 codebook is -128");
        match_.int8_codebooks.insert(match_.int8_codebooks.end(), values, values + book);
      }
    }
  }

  static void RequireGather(const GraphNode& node) {
    const auto* params = node.params<tfl::GatherParams>();
    Require(node.input_count() == 2 && params != nullptr && params->axis == 0 && params->batch_dims == 0,
            "a GATHER has an axis or batch_dims other than 0");
  }

  static void RequireNoActivation(const GraphNode& node) {
    const auto* params = node.params<tfl::ElementwiseParams>();
    Require(node.input_count() == 2 && params != nullptr && params->activation == tfl::Activation::kNone,
            "an ADD or MUL of the chain has a fused activation");
  }

  // 3.4: MUL(filter, scale), in either order. Returns the unscaled filter.
  int SkipScale(int id, bool* scaled, int* scale) {
    RequireType(id, values_);
    const int position = graph_.producer(id);
    if (values_ != tfl::Type::kFloat32 || position < 0 || graph_.node(position).builtin != tfl::kBuiltinMul) return id;
    const GraphNode& mul = Producer(id, "the filter");
    RequireNoActivation(mul);
    const int filter_input = graph_.producer(mul.input(0)) != Graph::kNone ? 0 : 1;
    *scaled = true;
    *scale = mul.input(1 - filter_input);
    RequireType(mul.input(filter_input), tfl::Type::kFloat32);
    return mul.input(filter_input);
  }

  void ReadScale(int id) {
    const int channels = match_.shape[channel_axis_];
    std::vector<int> dims(rank_, 1);
    dims[channel_axis_] = channels;
    match_.scale = Floats(Constant(id, tfl::Type::kFloat32, dims, "the scale"), channels);
    for (float factor : match_.scale) Require(std::isfinite(factor), "a scale is not finite");
    for (float value : match_.codebooks) {  // false for NaN, too
      Require(std::fabs(value) <= kMaxScaledCodebook, "a scaled codebook is too large or not finite");
    }
  }

  // The constant shape that a RESHAPE gives its output: the second input where it is a vector of int32, as the stock
  // kernel has it, else the operator's own parameters.
  std::vector<int> NewShape(const GraphNode& reshape) {
    std::vector<int> shape;
    if (reshape.input_count() == 2) {
      int size = 0;
      const void* data = Vector(reshape.input(1), tfl::Type::kInt32, &size, "the shape of a RESHAPE");
      shape = Ints(data, size);
    } else {
      const auto* params = reshape.params<tfl::ReshapeParams>();
      Require(
          reshape.input_count() == 1 && params != nullptr && params->num_dimensions >= 0 && params->num_dimensions <= 8,
          "a RESHAPE has no constant shape");
      shape.assign(params->shape, params->shape + params->num_dimensions);
    }
    for (int dim : shape) Require(dim > 0, "a RESHAPE has a shape with a dimension that is not positive");
    return shape;
  }

  static int64_t Product(const std::vector<int>& dims) {
    int64_t product = 1;
    for (int dim : dims) Require(MultiplyChecked(product, dim, &product), "a shape overflows");
    return product;
  }

  // 3.3: [M, r] -> RESHAPE -> filter, or [M, r] -> RESHAPE -> SLICE -> RESHAPE -> filter. Sets the filter's shape and
  // count and returns the tensor [M, r].
  int SkipTail(int id) {
    const tfl::Type type = graph_.tensor(id)->type;
    const GraphNode& reshape = Producer(id, tfl::kBuiltinReshape, "the filter");
    match_.shape = NewShape(reshape);
    Require(static_cast<int>(match_.shape.size()) == rank_, "the filter has an unexpected rank");
    match_.count = Product(match_.shape);
    padded_ = match_.count;
    int blocks = reshape.input(0);
    RequireType(blocks, type);
    const int position = graph_.producer(blocks);
    if (position < 0 || graph_.node(position).builtin != tfl::kBuiltinSlice) return blocks;

    const GraphNode& slice = Producer(blocks, "the filter");
    Require(slice.input_count() == 3, "a SLICE without begin and size");
    const int begin = Ints(Constant(slice.input(1), tfl::Type::kInt32, {1}, "the begin of a SLICE"), 1)[0];
    const int size = Ints(Constant(slice.input(2), tfl::Type::kInt32, {1}, "the size of a SLICE"), 1)[0];
    Require(begin == 0 && size == match_.count, "a SLICE does not cut off exactly the padding");
    CheckDims(blocks, {size});
    RequireType(slice.input(0), type);
    const GraphNode& flatten = Producer(slice.input(0), tfl::kBuiltinReshape, "the input of a SLICE");
    const std::vector<int> flat = NewShape(flatten);
    Require(flat.size() == 1 && flat[0] > size, "the input of a SLICE is not the flat, padded filter");
    CheckDims(slice.input(0), flat);
    padded_ = flat[0];
    RequireType(flatten.input(0), type);
    return flatten.input(0);
  }

  // 3.5: GATHER(codebooks, ADD(index, offset)).
  void MatchGroups(const GraphNode& gather, int filter) {
    RequireGather(gather);
    int entries = 0;
    const void* codebooks = Codebooks(gather.input(0), &entries);
    RequireType(gather.input(1), tfl::Type::kInt32);
    const GraphNode& add = Producer(gather.input(1), tfl::kBuiltinAdd, "the index of a GATHER");
    RequireNoActivation(add);
    const int index_input = graph_.producer(add.input(0)) != Graph::kNone ? 0 : 1;
    const int index = add.input(index_input);
    RequireType(index, tfl::Type::kInt32);
    MatchBlocks(SkipTail(index), /*values=*/false);
    CheckDims(index, match_.shape);
    CheckDims(gather.input(1), match_.shape);
    CheckDims(filter, match_.shape);
    ReadOffsets(add.input(1 - index_input), codebooks, entries);
  }

  // offset[c] is where the codebook of channel c starts: 2^b * (c / group_size), or anything else inside the codebooks
  // (a converter may merge or reorder channels), and then every channel gets a copy of its own.
  void ReadOffsets(int id, const void* codebooks, int entries) {
    const int channels = match_.shape[channel_axis_];
    const int book = match_.format->codebook_size();
    std::vector<int> dims(rank_, 1);
    if (!DimsEqual(graph_.tensor(id) != nullptr ? graph_.tensor(id)->dims : nullptr, dims)) {
      dims[channel_axis_] = channels;
    }
    const void* data = Constant(id, tfl::Type::kInt32, dims, "the offset of the channel groups");
    std::vector<int> offset = Ints(data, dims[channel_axis_]);
    offset.resize(channels, offset[0]);  // broadcast
    for (int start : offset) Require(start >= 0 && start <= entries - book, "a channel's codes leave the codebooks");
    int group_size = 0;
    while (group_size < channels && offset[group_size] == 0) ++group_size;
    bool regular = group_size > 0;
    for (int c = 0; c < channels && regular; ++c) {
      regular = offset[c] == static_cast<int64_t>(book) * (c / group_size);
    }
    match_.group_size = regular ? group_size : 1;
    if (!regular) {
      CopyCodebooks(codebooks, offset);
      return;
    }
    std::vector<int> starts;
    for (int c = 0; c < channels; c += group_size) starts.push_back(offset[c]);
    CopyCodebooks(codebooks, starts);
  }

  // [M, r]: decoded values (`values`) or int32 codes.
  void MatchBlocks(int id, bool values) {
    const GraphNode& last = Producer(id, "the decoded blocks");
    if (!values) {
      MatchCodes(last, id);
      return;
    }
    Require(last.builtin == tfl::kBuiltinGather, "the decoded blocks are not computed by GATHER");
    RequireGather(last);
    int entries = 0;
    if (graph_.producer(last.input(0)) == Graph::kNone) {  // 3.2: GATHER(codebook, ADD(lows, highs))
      const void* codebook = Codebooks(last.input(0), &entries);
      RequireType(last.input(1), tfl::Type::kInt32);
      MatchCodes(Producer(last.input(1), tfl::kBuiltinAdd, "the index of a GATHER"), last.input(1));
      SetCodebook(codebook, entries);
    } else {  // 3.1: GATHER(GATHER(codebook, pairs), CAST(packed))
      RequireType(last.input(0), values_);
      const GraphNode& extend = Producer(last.input(0), tfl::kBuiltinGather, "the extended codebook");
      RequireGather(extend);
      const void* codebook = Codebooks(extend.input(0), &entries);
      SetFormatFromTable(extend.input(1));
      ReadPlane(0, last.input(1));
      CheckDims(last.input(0), {kByteValues, match_.format->planes[0].codes_per_byte()});
      SetCodebook(codebook, entries);
    }
    CheckDims(id, {static_cast<int>(plane_bytes_[last_plane_]), match_.format->block_size()});
  }

  void SetCodebook(const void* data, int entries) {
    Require(entries == match_.format->codebook_size(), "the codebook does not have one value per code");
    CopyCodebooks(data, {0});
  }

  // int32 [M, r]: GATHER(pairs, CAST(packed)), or for 3 bits ADD(RESHAPE(GATHER(low)), GATHER(high)).
  void MatchCodes(const GraphNode& last, int id) {
    if (last.builtin == tfl::kBuiltinGather) {
      RequireGather(last);
      SetFormatFromTable(last.input(0));
      ReadPlane(0, last.input(1));
    } else {
      Require(last.builtin == tfl::kBuiltinAdd, "the codes are computed by neither GATHER nor ADD");
      RequireNoActivation(last);
      match_.format = CodeFormatOf(3);
      const int position = graph_.producer(last.input(0));
      const int low_input = position >= 0 && graph_.node(position).builtin == tfl::kBuiltinReshape ? 0 : 1;
      const int lows = last.input(low_input);
      const int highs = last.input(1 - low_input);
      RequireType(lows, tfl::Type::kInt32);
      RequireType(highs, tfl::Type::kInt32);
      const GraphNode& reshape = Producer(lows, tfl::kBuiltinReshape, "the low bits");
      const std::vector<int> shape = NewShape(reshape);
      const int fields = reshape.input(0);
      RequireType(fields, tfl::Type::kInt32);
      MatchTableGather(0, fields, "the low bits");
      MatchTableGather(1, highs, "the high bits");
      const int blocks = static_cast<int>(plane_bytes_[1]);
      Require(shape == std::vector<int>({blocks, 8}) && plane_bytes_[0] == 2 * plane_bytes_[1],
              "the two bit planes have different sizes");
      CheckDims(lows, shape);
      CheckDims(highs, shape);
      CheckDims(fields, {static_cast<int>(plane_bytes_[0]), 4});
    }
    CheckDims(id, {static_cast<int>(plane_bytes_[last_plane_]), match_.format->block_size()});
  }

  // GATHER(table of plane `plane`, CAST(bytes)), for 3 bits.
  void MatchTableGather(int plane, int id, const char* what) {
    const GraphNode& gather = Producer(id, tfl::kBuiltinGather, what);
    RequireGather(gather);
    const PlaneFormat& format = match_.format->planes[plane];
    const void* table = Constant(gather.input(0), tfl::Type::kInt32, {kByteValues, format.codes_per_byte()}, "a table");
    Require(IsTableOf(format, table, format.codes_per_byte()), "a table has unexpected values");
    ReadPlane(plane, gather.input(1));
  }

  // 2 or 4 bits, whichever the table at `id` belongs to.
  void SetFormatFromTable(int id) {
    for (int bits : {2, 4}) {
      const CodeFormat* format = CodeFormatOf(bits);
      const int columns = format->planes[0].codes_per_byte();
      int64_t count = 0;
      const void* table = graph_.ConstantData(id, tfl::Type::kInt32, &count);
      if (table != nullptr && DimsEqual(graph_.tensor(id)->dims, {kByteValues, columns}) &&
          IsTableOf(format->planes[0], table, columns)) {
        match_.format = format;
        return;
      }
    }
    Fail("a table is not one of the format's");
  }

  // CAST(packed): the bytes of plane `plane`.
  void ReadPlane(int plane, int id) {
    RequireType(id, tfl::Type::kInt32);
    const GraphNode& cast = Producer(id, tfl::kBuiltinCast, "the index of a GATHER");
    Require(cast.input_count() == 1, "a CAST with several inputs");
    int size = 0;
    const void* bytes = Vector(cast.input(0), tfl::Type::kUInt8, &size, "the packed codes");
    CheckDims(id, {size});
    match_.planes[plane] = static_cast<const uint8_t*>(bytes);
    plane_bytes_[plane] = size;
    last_plane_ = plane;
  }

  // The planes hold exactly the filter's codes and their padding.
  void CheckSizes() {
    Require(padded_ == match_.format->padded_count(match_.count), "the decoded blocks do not fit the filter's shape");
    for (int i = 0; i < match_.format->plane_count; ++i) {
      Require(plane_bytes_[i] == match_.format->plane_bytes(i, match_.count),
              "the packed codes are not as many as the filter's elements");
    }
  }

  const Graph& graph_;
  const int channel_axis_;
  const int rank_;
  const tfl::Type values_;
  FilterMatch& match_;
  int64_t padded_ = 0;                    // elements of [M, r]
  int64_t plane_bytes_[kMaxPlanes] = {};  // of the planes read so far
  int last_plane_ = 0;
};

}  // namespace

std::string MatchFilter(const Graph& graph, int id, int channel_axis, int rank, tfl::Type values, FilterMatch* match) {
  *match = FilterMatch();
  try {
    Matcher(graph, channel_axis, rank, values, match).Match(id);
  } catch (const Mismatch& mismatch) {
    return mismatch.why;
  }
  return "";
}

std::string MatchPlainFilter(const Graph& graph, int id, int rank, tfl::Type values, FilterMatch* match) {
  *match = FilterMatch();
  // An int8 filter is quantised; a float one with quantisation parameters is something unusual.
  match->values = values == tfl::Type::kInt8 ? graph.QuantizedConstantData(id, values, &match->count)
                                             : graph.ConstantData(id, values, &match->count);
  if (match->values == nullptr)
    return "its filter is stored as plain values that are not all there, or not of the input's type";
  match->shape = graph.dims(id);
  if (static_cast<int>(match->shape.size()) != rank) return "its filter has an unexpected rank";
  for (int dim : match->shape) {
    if (dim <= 0) return "its filter is empty";
  }
  const size_t alignment = values == tfl::Type::kInt8 ? alignof(int8_t) : alignof(float);
  if (reinterpret_cast<uintptr_t>(match->values) % alignment != 0) return "its filter is not aligned";
  return "";
}

}  // namespace dgms
