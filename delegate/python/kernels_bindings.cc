// Python bindings of the kernels and ops, for tests and benches: `dgms_keras._native`. NumPy arrays in, NumPy arrays
// out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/packed_codes.h"
#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "kernels/select_kernel.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/fully_connected.h"

namespace py = pybind11;

namespace dgms {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using CodeArray = py::array_t<uint8_t, py::array::c_style>;  // no cast: -1 or 300 must not become a code
using OptionalFloats = std::optional<FloatArray>;

[[noreturn]] void Refuse(const std::string& message) { throw py::value_error(message); }

std::string ShapeText(const py::array& array) { return py::str(py::tuple(array.attr("shape"))); }

void CheckRank(const py::array& array, int rank, const char* name) {
  if (array.ndim() != rank) {
    Refuse("`" + std::string(name) + "` must have " + std::to_string(rank) + " dimensions. Received: shape " +
           ShapeText(array));
  }
}

Activation ParseActivation(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "relu6") return Activation::kRelu6;
  if (name == "relu_n1_to_1") return Activation::kReluN1To1;
  Refuse("`activation` must be none, relu, relu6 or relu_n1_to_1. Received: activation='" + name + "'");
}

Padding ParsePadding(const std::string& name) {
  if (name == "same") return Padding::kSame;
  if (name == "valid") return Padding::kValid;
  Refuse("`padding` must be same or valid. Received: padding='" + name + "'");
}

const KernelSet& Kernels(const std::string& isa) {
  const KernelSet* kernels = KernelsFor(isa);
  if (kernels == nullptr) {
    Refuse("`isa` must be auto or an instruction set of this machine (see kernel_sets()). Received: isa='" + isa + "'");
  }
  return *kernels;
}

const float* DataOrNull(const OptionalFloats& array) { return array.has_value() ? array->data() : nullptr; }

// Codes as the ops have them: two per byte.
std::vector<uint8_t> Nibbles(const CodeArray& codes, int64_t entries) {
  for (py::ssize_t i = 0; i < codes.size(); ++i) {
    if (codes.data()[i] >= entries) {
      Refuse("`codes` must be below " + std::to_string(entries) +
             ", the entries of a codebook. Received: " + std::to_string(codes.data()[i]));
    }
  }
  std::vector<uint8_t> nibbles(static_cast<size_t>(CodeBytes(codes.size())));
  uint8_t* const planes[] = {nibbles.data()};
  PackCodes(*CodeFormatOf(4), codes.data(), codes.size(), planes);
  return nibbles;
}

// A filter, and its codes while an op is created from it.
struct Filter : CodebookFilter {
  std::vector<uint8_t> nibbles;
};

// Checks what the ops cannot see (array sizes) and views the rest.
Filter View(const CodeArray& codes, const FloatArray& codebooks, const OptionalFloats& scale,
            const OptionalFloats& bias, int64_t group_size, int64_t channels) {
  if (codebooks.ndim() < 1 || codebooks.ndim() > 2) {
    Refuse("`codebooks` must be [2**bits] or [groups, 2**bits]. Received: shape " + ShapeText(codebooks));
  }
  Filter filter;
  const int64_t entries = codebooks.shape(codebooks.ndim() - 1);
  filter.bits = entries == 4 ? 2 : entries == 8 ? 3 : entries == 16 ? 4 : 0;
  if (filter.bits == 0) Refuse("a codebook must have 4, 8 or 16 entries. Received: shape " + ShapeText(codebooks));
  if (group_size < 0) {
    Refuse("`group_size` must be at least 0. Received: group_size=" + std::to_string(group_size));
  }
  const int64_t groups = codebooks.ndim() == 1 ? 1 : codebooks.shape(0);
  const int64_t needed = group_size == 0 ? 1 : (channels + group_size - 1) / group_size;
  if (groups != needed) {
    Refuse("`codebooks` must have one row per group of channels, " + std::to_string(needed) + ". Received: shape " +
           ShapeText(codebooks));
  }
  for (const auto& [array, name] : {std::pair{&scale, "scale"}, {&bias, "bias"}}) {
    if (array->has_value() && ((*array)->ndim() != 1 || (*array)->shape(0) != channels)) {
      Refuse("`" + std::string(name) + "` must have shape (" + std::to_string(channels) + ",). Received: shape " +
             ShapeText(**array));
    }
  }
  filter.nibbles = Nibbles(codes, entries);
  filter.codes = filter.nibbles.data();
  filter.count = codes.size();
  filter.codebooks = codebooks.data();
  filter.group_size = group_size;
  filter.scale = DataOrNull(scale);
  return filter;
}

void CheckStatus(Status status) {
  if (status == Status::kOutOfMemory) throw std::bad_alloc();
  if (status != Status::kOk) Refuse(StatusText(status));
}

std::unique_ptr<ThreadPool> MakePool(int num_threads) {
  std::unique_ptr<ThreadPool> pool = ThreadPool::Create(num_threads);
  if (pool == nullptr) throw std::bad_alloc();
  return pool;
}

// A channel count beside the arrays': the spatial output is known only after Reshape.
template <typename Op>
FloatArray RunSpatial(Op& op, const FloatArray& input, int64_t channels, int num_threads) {
  CheckStatus(op.Reshape(input.shape(0), input.shape(1), input.shape(2)));
  FloatArray output({input.shape(0), static_cast<py::ssize_t>(op.output_h()), static_cast<py::ssize_t>(op.output_w()),
                     static_cast<py::ssize_t>(channels)});
  const float* x = input.data();
  float* y = output.mutable_data();
  const auto pool = MakePool(num_threads);
  Status status;
  {
    const py::gil_scoped_release release;
    status = op.Run(x, y, *pool);
  }
  CheckStatus(status);
  return output;
}

using Pair = std::pair<int, int>;

FloatArray RunConv2D(const FloatArray& input, const CodeArray& codes, const FloatArray& codebooks,
                     const OptionalFloats& scale, const OptionalFloats& bias, Pair strides, Pair dilations,
                     const std::string& padding, int groups, const std::string& activation, int64_t group_size,
                     const std::string& isa, int num_threads) {
  CheckRank(input, 4, "input");
  CheckRank(codes, 4, "codes");
  Conv2DParams params;
  params.kernel_h = static_cast<int>(codes.shape(1));
  params.kernel_w = static_cast<int>(codes.shape(2));
  std::tie(params.stride_h, params.stride_w) = strides;
  std::tie(params.dilation_h, params.dilation_w) = dilations;
  params.padding = ParsePadding(padding);
  params.groups = groups;
  params.in_channels = input.shape(3);
  params.out_channels = codes.shape(0);
  params.activation = ParseActivation(activation);
  Status status;
  const auto op = Conv2D::Create(params, View(codes, codebooks, scale, bias, group_size, params.out_channels),
                                 DataOrNull(bias), Kernels(isa), &status);
  CheckStatus(status);
  return RunSpatial(*op, input, params.out_channels, num_threads);
}

FloatArray RunDepthwise(const FloatArray& input, const CodeArray& codes, const FloatArray& codebooks,
                        const OptionalFloats& scale, const OptionalFloats& bias, Pair strides, Pair dilations,
                        const std::string& padding, const std::string& activation, int64_t group_size,
                        const std::string& isa, int num_threads) {
  CheckRank(input, 4, "input");
  CheckRank(codes, 3, "codes");
  DepthwiseConv2DParams params;
  params.kernel_h = static_cast<int>(codes.shape(0));
  params.kernel_w = static_cast<int>(codes.shape(1));
  std::tie(params.stride_h, params.stride_w) = strides;
  std::tie(params.dilation_h, params.dilation_w) = dilations;
  params.padding = ParsePadding(padding);
  params.in_channels = input.shape(3);
  const int64_t channels = codes.shape(2);
  if (params.in_channels < 1 || channels < 1 || channels % params.in_channels != 0) {
    Refuse("the channels of `codes` must be a multiple of the input's. Received: input shape " + ShapeText(input) +
           ", codes shape " + ShapeText(codes));
  }
  params.depth_multiplier = static_cast<int>(channels / params.in_channels);
  params.activation = ParseActivation(activation);
  Status status;
  const auto op = DepthwiseConv2D::Create(params, View(codes, codebooks, scale, bias, group_size, channels),
                                          DataOrNull(bias), Kernels(isa), &status);
  CheckStatus(status);
  return RunSpatial(*op, input, channels, num_threads);
}

FloatArray RunFullyConnected(const FloatArray& input, const CodeArray& codes, const FloatArray& codebooks,
                             const OptionalFloats& scale, const OptionalFloats& bias, const std::string& activation,
                             int64_t group_size, const std::string& isa, int num_threads) {
  CheckRank(input, 2, "input");
  CheckRank(codes, 2, "codes");
  const FullyConnectedParams params = {input.shape(1), codes.shape(0), ParseActivation(activation)};
  Status status;
  const auto op = FullyConnected::Create(params, View(codes, codebooks, scale, bias, group_size, params.out_channels),
                                         DataOrNull(bias), Kernels(isa), &status);
  CheckStatus(status);
  CheckStatus(op->Reshape(input.shape(0)));
  FloatArray output({input.shape(0), codes.shape(0)});
  const auto pool = MakePool(num_threads);
  CheckStatus(op->Run(input.data(), output.mutable_data(), *pool));
  return output;
}

const GemmF32Kernel& PanelKernel(const std::string& isa, int64_t k, int64_t n) {
  const GemmF32Kernel& kernel = *Kernels(isa).gemm;
  if (k < 1 || k > kMaxBlock || n < 1 || n > kernel.max_columns) {
    Refuse("a panel must have 1.." + std::to_string(kernel.max_columns) + " columns of 1.." +
           std::to_string(kMaxBlock) + " places. Received: " + std::to_string(n) + " columns of " + std::to_string(k));
  }
  return kernel;
}

CodeArray PackPanel(const CodeArray& codes, const std::string& isa) {
  CheckRank(codes, 2, "codes");
  const GemmF32Kernel& kernel = PanelKernel(isa, codes.shape(1), codes.shape(0));
  const int n = static_cast<int>(codes.shape(0));
  CodeArray packed(PackedBlockBytes(kernel, codes.shape(1), n));
  kernel.pack(Nibbles(codes, kTableSize).data(), 0, codes.shape(1), codes.shape(1), n,
              static_cast<int>(RoundUp(n, kernel.column_unit)), packed.mutable_data());
  return packed;
}

FloatArray DecodePanel(const CodeArray& packed, int64_t k, int64_t n, const FloatArray& table, const std::string& isa) {
  const GemmF32Kernel& kernel = PanelKernel(isa, k, n);
  const int columns = static_cast<int>(n);
  if (packed.size() != PackedBlockBytes(kernel, k, columns)) {
    Refuse("`packed` must have " + std::to_string(PackedBlockBytes(kernel, k, columns)) +
           " bytes. Received: " + std::to_string(packed.size()));
  }
  if (table.ndim() != 1 || table.size() > kTableSize) {
    Refuse("`table` must have at most 16 floats. Received: shape " + ShapeText(table));
  }
  alignas(kAlignment) float padded_table[kTableSize] = {};
  std::copy(table.data(), table.data() + table.size(), padded_table);
  Buffer<float> panel;
  const int64_t width = RoundUp(n, kernel.column_unit);
  if (!panel.Reserve(RoundUp(k, kernel.k_unit) * width)) throw std::bad_alloc();
  kernel.decode(packed.data(), k, columns, {padded_table, nullptr}, panel.data());
  FloatArray result({static_cast<py::ssize_t>(k), static_cast<py::ssize_t>(n)});
  for (int64_t p = 0; p < k; ++p) {
    std::copy(panel.data() + p * width, panel.data() + p * width + n, result.mutable_data(p, 0));
  }
  return result;
}

py::list KernelSets() {
  py::list sets;
  for (const Isa isa : kIsas) {
    const KernelSet* set = KernelsFor(IsaName(isa));
    if (set == nullptr) continue;
    py::dict entry;
    entry["isa"] = IsaName(isa);
    entry["gemm"] = set->gemm->name;
    entry["depthwise"] = set->depthwise->name;
    entry["best"] = set == BestKernels();
    sets.append(entry);
  }
  return sets;
}

}  // namespace

void register_kernels(py::module_& module) {
  using py::arg;
  const Pair ones = {1, 1};
  module.def("kernel_sets", &KernelSets,
             "The instruction sets of this machine: a list of {isa, gemm, depthwise, best} with the kernels' names.");
  module.def("conv2d", &RunConv2D,
             "CONV_2D. input [N, H, W, C] float32, codes [O, kh, kw, C / groups] uint8, codebooks [2**bits] or\n"
             "[channel groups, 2**bits] float32, scale and bias [O] or None. Returns [N, H', W', O].",
             arg("input"), arg("codes").noconvert(), arg("codebooks"), py::kw_only(), arg("scale") = py::none(),
             arg("bias") = py::none(), arg("strides") = ones, arg("dilations") = ones, arg("padding") = "valid",
             arg("groups") = 1, arg("activation") = "none", arg("group_size") = 0, arg("isa") = "auto",
             arg("num_threads") = 1);
  module.def("depthwise_conv2d", &RunDepthwise,
             "DEPTHWISE_CONV_2D. input [N, H, W, C] float32, codes [kh, kw, C * multiplier] uint8, the rest as conv2d.",
             arg("input"), arg("codes").noconvert(), arg("codebooks"), py::kw_only(), arg("scale") = py::none(),
             arg("bias") = py::none(), arg("strides") = ones, arg("dilations") = ones, arg("padding") = "valid",
             arg("activation") = "none", arg("group_size") = 0, arg("isa") = "auto", arg("num_threads") = 1);
  module.def("fully_connected", &RunFullyConnected,
             "FULLY_CONNECTED. input [N, I] float32, codes [O, I] uint8, the rest as conv2d. Returns [N, O].",
             arg("input"), arg("codes").noconvert(), arg("codebooks"), py::kw_only(), arg("scale") = py::none(),
             arg("bias") = py::none(), arg("activation") = "none", arg("group_size") = 0, arg("isa") = "auto",
             arg("num_threads") = 1);
  module.def(
      "pack_panel", &PackPanel,
      "One panel of codes [columns, places] uint8 in a kernel's tile order (see delegate/kernels/pack_weights.h).",
      arg("codes").noconvert(), arg("isa") = "auto");
  module.def("decode_panel", &DecodePanel,
             "The floats [places, columns] of what pack_panel made, looked up in `table` (at most 16 float32).",
             arg("packed").noconvert(), arg("places"), arg("columns"), arg("table"), arg("isa") = "auto");
}

}  // namespace dgms
