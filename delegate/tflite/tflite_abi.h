// The part of TFLite's C ABI that a delegate touches, declared in our own words.
//
// No package ships TFLite's C headers for desktop builds, and the layouts below have not changed from TFLite 2.16 /
// LiteRT 1.0 to LiteRT 2.3 (new fields only ever go to the end of a struct). tests/cpp/tflite/official_abi_check.h
// compares every offset and size with the official headers where those can be had; the assertions at the end of this
// file pin them everywhere else.
//
// Two deliberate differences from the official text: enums have a fixed underlying type, so a value we do not know is
// just a number; and `bool` fields are bytes, so whatever a runtime stored there may be read.
#ifndef DGMS_TFLITE_TFLITE_ABI_H_
#define DGMS_TFLITE_TFLITE_ABI_H_

#include <stddef.h>
#include <stdint.h>

namespace dgms {
namespace tfl {

struct Context;
struct Delegate;
struct Node;
struct Registration;

enum Status : int32_t { kOk = 0, kError = 1 };

enum class Type : int32_t {
  kNone = 0,
  kFloat32 = 1,
  kInt32 = 2,
  kUInt8 = 3,
  kInt64 = 4,
  kInt8 = 9,
};

// Where a tensor's data lives. Only kMmapRo is constant for the whole life of the interpreter.
enum class Allocation : int32_t {
  kNone = 0,
  kMmapRo = 1,
  kArenaRw = 2,
  kArenaRwPersistent = 3,
  kDynamic = 4,
  kPersistentRo = 5,
  kCustom = 6,
};

// Builtin operator codes (schema.fbs, BuiltinOperator).
enum Builtin : int32_t {
  kBuiltinAdd = 0,
  kBuiltinAveragePool2d = 1,
  kBuiltinConcatenation = 2,
  kBuiltinConv2d = 3,
  kBuiltinDepthwiseConv2d = 4,
  kBuiltinDequantize = 6,
  kBuiltinFullyConnected = 9,
  kBuiltinLogistic = 14,
  kBuiltinMaxPool2d = 17,
  kBuiltinMul = 18,
  kBuiltinRelu = 19,
  kBuiltinReluN1To1 = 20,
  kBuiltinRelu6 = 21,
  kBuiltinReshape = 22,
  kBuiltinSoftmax = 25,
  kBuiltinCustom = 32,
  kBuiltinPad = 34,
  kBuiltinGather = 36,
  kBuiltinMean = 40,
  kBuiltinSub = 41,
  kBuiltinSqueeze = 43,
  kBuiltinDelegate = 51,
  kBuiltinCast = 53,
  kBuiltinPadV2 = 60,
  kBuiltinSlice = 65,
  kBuiltinExpandDims = 70,
  kBuiltinQuantize = 114,
  kBuiltinHardSwish = 117,
};

constexpr int kOptionalTensor = -1;  // in Node::inputs: "this input is left out"

// A counted list of ints (shapes, tensor and node numbers): `size`, then that many ints right behind it. The runtime
// allocates and frees these with malloc and free.
struct IntArray {
  int size;

  int* data() { return reinterpret_cast<int*>(this + 1); }
  const int* data() const { return reinterpret_cast<const int*>(this + 1); }
  const int* begin() const { return data(); }
  const int* end() const { return data() + (size > 0 ? size : 0); }
};

struct QuantizationParams {  // the older, per-tensor description
  float scale;
  int32_t zero_point;
};

struct Quantization {
  int32_t type;  // 0: none
  void* params;
};
constexpr int32_t kAffineQuantization = 1;  // Quantization::type; params is then an AffineQuantization

// As IntArray, with floats.
struct FloatArray {
  int size;

  float* data() { return reinterpret_cast<float*>(this + 1); }
  const float* data() const { return reinterpret_cast<const float*>(this + 1); }
};

struct AffineQuantization {
  FloatArray* scale;
  IntArray* zero_point;
  int32_t quantized_dimension;
};

struct Tensor {
  Type type;
  void* data;
  IntArray* dims;
  QuantizationParams params;
  Allocation allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  uint8_t data_is_stale;
  uint8_t is_variable;
  Quantization quantization;
  void* sparsity;  // not null: the data is in a sparse encoding
  const IntArray* dims_signature;
};

struct Node {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;     // what Registration::init returned
  void* builtin_data;  // a *Params struct below; for a delegate's node, DelegateParams
  const void* custom_initial_data;
  int custom_initial_data_size;
  Delegate* delegate;
  uint8_t might_have_side_effect;
};

struct Registration {
  void* (*init)(Context*, const char* buffer, size_t length);
  void (*free)(Context*, void* user_data);
  Status (*prepare)(Context*, Node*);
  Status (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* (*async_kernel)(Context*, Node*);
  uint64_t inplace_operator;
};

struct DelegateParams {  // one partition: what a delegate's init gets as its buffer
  Delegate* delegate;
  IntArray* nodes_to_replace;
  IntArray* input_tensors;
  IntArray* output_tensors;
};

// Function pointers that this delegate never calls have the type Unused. Those marked (P) work only inside
// Delegate::Prepare, and (of them) only GetNodeAndRegistration inside Registration::init.
struct Context {
  using Unused = void (*)();

  size_t tensors_size;
  Status (*GetExecutionPlan)(Context*, IntArray** plan);  // (P); each call invalidates the array the last one gave
  Tensor* tensors;                                        // moves when tensors are added: never keep it
  void* impl;
  Status (*ResizeTensor)(Context*, Tensor*, IntArray* new_size);  // takes ownership of new_size, also on failure
  void (*ReportError)(Context*, const char* format, ...);
  Unused AddTensors;
  Status (*GetNodeAndRegistration)(Context*, int node, Node**, Registration**);                               // (P)
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray* nodes, Delegate*);  // (P)
  int recommended_num_threads;
  Unused GetExternalContext;
  Unused SetExternalContext;
  uint8_t allow_fp32_relax_to_fp16;
  void* profiler;
  Unused AllocatePersistentBuffer;
  Unused AllocateBufferForEval;
  Unused RequestScratchBufferInArena;
  Unused GetScratchBuffer;
  Unused ResizeTensorExplicit;
  Status (*PreviewDelegatePartitioning)(Context*, const IntArray* nodes, DelegateParams** partitions,
                                        int* count);  // (P)
  Unused GetTensor;
  Unused GetEvalTensor;
  Unused GetModelMetadata;
  Unused AcquireSubgraphContext;
  Unused ReleaseSubgraphContext;
};

// Without this flag the runtime makes the graph immutable, and every resize frees and builds all delegate kernels
// again.
constexpr int64_t kDelegateFlagAllowDynamicTensors = 1;

struct Delegate {
  void* data;
  Status (*Prepare)(Context*, Delegate*);
  Status (*CopyFromBufferHandle)(Context*, Delegate*, int handle, Tensor*);
  Status (*CopyToBufferHandle)(Context*, Delegate*, int handle, Tensor*);
  void (*FreeBufferHandle)(Context*, Delegate*, int* handle);
  int64_t flags;
  void* opaque_delegate_builder;
};

// Parameters of the builtin operators that the matcher reads. Newer runtimes append fields; the ones declared here stay
// where they are.
enum class Padding : int32_t { kUnknown = 0, kSame = 1, kValid = 2 };
enum class Activation : int32_t { kNone = 0, kRelu = 1, kReluN1To1 = 2, kRelu6 = 3 };

struct ConvParams {
  Padding padding;
  int stride_width, stride_height;
  Activation activation;
  int dilation_width, dilation_height;
};

struct DepthwiseConvParams {
  Padding padding;
  int stride_width, stride_height;
  int depth_multiplier;  // redundant, and ignored by stock kernels: it follows from the shapes
  Activation activation;
  int dilation_width, dilation_height;
};

struct FullyConnectedParams {
  Activation activation;
  int32_t weights_format;  // 0: default
  uint8_t keep_num_dims;
  uint8_t asymmetric_quantize_inputs;
};

struct GatherParams {
  int axis;
  int batch_dims;
};

struct ReshapeParams {
  int32_t shape[8];
  int num_dimensions;
};

struct ElementwiseParams {  // ADD, SUB and MUL
  Activation activation;
};

struct PoolParams {
  Padding padding;
  int stride_width, stride_height;
  int filter_width, filter_height;
  Activation activation;
};

struct ConcatenationParams {
  int axis;
  Activation activation;
};

struct ReducerParams {  // MEAN
  uint8_t keep_dims;
};

struct SoftmaxParams {
  float beta;
};

struct SqueezeParams {
  int32_t squeeze_dims[8];
  int num_squeeze_dims;
};

// The layouts, for 64-bit and 32-bit targets. kPointer is 8 or 4; kInt64Align differs between 32-bit ARM (8) and x86
// (4).
constexpr size_t kPointer = sizeof(void*);
struct Int64AlignmentProbe {
  char c;
  int64_t i;
};
constexpr size_t kInt64Align = offsetof(Int64AlignmentProbe, i);
constexpr size_t AlignTo(size_t offset, size_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

static_assert(sizeof(int) == 4 && sizeof(bool) == 1,
              "TFLite's ABI as declared here assumes 4-byte int and 1-byte bool");
static_assert(kPointer == 8 || kPointer == 4, "only 64-bit and 32-bit targets");
static_assert(sizeof(IntArray) == 4 && sizeof(FloatArray) == 4);
static_assert(offsetof(AffineQuantization, quantized_dimension) == 2 * kPointer);
static_assert(sizeof(Tensor) == (kPointer == 8 ? 112 : 64));
static_assert(offsetof(Tensor, data) == kPointer);
static_assert(offsetof(Tensor, dims) == 2 * kPointer);
static_assert(offsetof(Tensor, allocation_type) == (kPointer == 8 ? 32 : 20));
static_assert(offsetof(Tensor, bytes) == (kPointer == 8 ? 40 : 24));
static_assert(offsetof(Tensor, delegate) == (kPointer == 8 ? 64 : 36));
static_assert(offsetof(Tensor, is_variable) == (kPointer == 8 ? 77 : 45));
static_assert(offsetof(Tensor, quantization) == (kPointer == 8 ? 80 : 48));
static_assert(offsetof(Tensor, sparsity) == (kPointer == 8 ? 96 : 56));
static_assert(sizeof(Node) == (kPointer == 8 ? 80 : 40));
static_assert(offsetof(Node, builtin_data) == 5 * kPointer);
static_assert(offsetof(Node, delegate) == (kPointer == 8 ? 64 : 32));
static_assert(sizeof(DelegateParams) == 4 * kPointer);
static_assert(sizeof(Context) == 25 * kPointer);
static_assert(offsetof(Context, recommended_num_threads) == 9 * kPointer);
static_assert(offsetof(Context, PreviewDelegatePartitioning) == 19 * kPointer);
static_assert(offsetof(Registration, builtin_code) == 5 * kPointer);
static_assert(offsetof(Registration, custom_name) == 6 * kPointer);
static_assert(offsetof(Registration, inplace_operator) == AlignTo(10 * kPointer, kInt64Align));
static_assert(sizeof(Registration) == AlignTo(10 * kPointer, kInt64Align) + 8);
static_assert(offsetof(Delegate, flags) == AlignTo(5 * kPointer, kInt64Align));
static_assert(sizeof(Delegate) ==
              AlignTo(offsetof(Delegate, flags) + 8 + kPointer, kInt64Align > kPointer ? kInt64Align : kPointer));
static_assert(kPointer != 8 || (sizeof(Registration) == 88 && sizeof(Delegate) == 56));

}  // namespace tfl
}  // namespace dgms

#endif  // DGMS_TFLITE_TFLITE_ABI_H_
