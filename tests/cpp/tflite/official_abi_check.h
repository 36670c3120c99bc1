// Compares delegate/tflite/tflite_abi.h with TFLite's own headers at compile time. Needs those headers on the include
// path; tests/end_to_end/test_delegate_abi.py gets them and compiles this for every target that it can.
#ifndef DGMS_TESTS_TFLITE_OFFICIAL_ABI_CHECK_H_
#define DGMS_TESTS_TFLITE_OFFICIAL_ABI_CHECK_H_

#include "tensorflow/lite/builtin_ops.h"
#include "tensorflow/lite/c/common.h"
#include "tflite/tflite_abi.h"

namespace official_abi_check {

namespace tfl = dgms::tfl;

#define SAME_SIZE(ours, theirs) static_assert(sizeof(tfl::ours) == sizeof(::theirs), "size of " #theirs)
#define SAME_FIELD(ours, theirs, field)                                                                     \
  static_assert(offsetof(tfl::ours, field) == offsetof(::theirs, field), "offset of " #theirs "::" #field); \
  static_assert(sizeof(tfl::ours::field) == sizeof(::theirs::field), "size of " #theirs "::" #field)
#define SAME_RENAMED_FIELD(ours, theirs, our_field, field)                                                      \
  static_assert(offsetof(tfl::ours, our_field) == offsetof(::theirs, field), "offset of " #theirs "::" #field); \
  static_assert(sizeof(tfl::ours::our_field) == sizeof(::theirs::field), "size of " #theirs "::" #field)
#define SAME_VALUE(ours, theirs) \
  static_assert(static_cast<long long>(tfl::ours) == static_cast<long long>(::theirs), #theirs)

SAME_SIZE(IntArray, TfLiteIntArray);
SAME_FIELD(IntArray, TfLiteIntArray, size);
static_assert(sizeof(tfl::IntArray) == offsetof(::TfLiteIntArray, data), "the ints follow the size");

SAME_SIZE(QuantizationParams, TfLiteQuantizationParams);
SAME_FIELD(QuantizationParams, TfLiteQuantizationParams, scale);
SAME_FIELD(QuantizationParams, TfLiteQuantizationParams, zero_point);
SAME_SIZE(Quantization, TfLiteQuantization);
SAME_FIELD(Quantization, TfLiteQuantization, type);
SAME_FIELD(Quantization, TfLiteQuantization, params);
static_assert(::kTfLiteNoQuantization == 0, "no quantisation is 0");

SAME_SIZE(Tensor, TfLiteTensor);
SAME_FIELD(Tensor, TfLiteTensor, type);
SAME_FIELD(Tensor, TfLiteTensor, data);
SAME_FIELD(Tensor, TfLiteTensor, dims);
SAME_FIELD(Tensor, TfLiteTensor, params);
SAME_FIELD(Tensor, TfLiteTensor, allocation_type);
SAME_FIELD(Tensor, TfLiteTensor, bytes);
SAME_FIELD(Tensor, TfLiteTensor, allocation);
SAME_FIELD(Tensor, TfLiteTensor, name);
SAME_FIELD(Tensor, TfLiteTensor, delegate);
SAME_FIELD(Tensor, TfLiteTensor, buffer_handle);
SAME_FIELD(Tensor, TfLiteTensor, data_is_stale);
SAME_FIELD(Tensor, TfLiteTensor, is_variable);
SAME_FIELD(Tensor, TfLiteTensor, quantization);
SAME_FIELD(Tensor, TfLiteTensor, sparsity);
SAME_FIELD(Tensor, TfLiteTensor, dims_signature);

SAME_SIZE(Node, TfLiteNode);
SAME_FIELD(Node, TfLiteNode, inputs);
SAME_FIELD(Node, TfLiteNode, outputs);
SAME_FIELD(Node, TfLiteNode, intermediates);
SAME_FIELD(Node, TfLiteNode, temporaries);
SAME_FIELD(Node, TfLiteNode, user_data);
SAME_FIELD(Node, TfLiteNode, builtin_data);
SAME_FIELD(Node, TfLiteNode, custom_initial_data);
SAME_FIELD(Node, TfLiteNode, custom_initial_data_size);
SAME_FIELD(Node, TfLiteNode, delegate);
SAME_FIELD(Node, TfLiteNode, might_have_side_effect);

SAME_SIZE(Registration, TfLiteRegistration);
SAME_FIELD(Registration, TfLiteRegistration, init);
SAME_FIELD(Registration, TfLiteRegistration, free);
SAME_FIELD(Registration, TfLiteRegistration, prepare);
SAME_FIELD(Registration, TfLiteRegistration, invoke);
SAME_FIELD(Registration, TfLiteRegistration, profiling_string);
SAME_FIELD(Registration, TfLiteRegistration, builtin_code);
SAME_FIELD(Registration, TfLiteRegistration, custom_name);
SAME_FIELD(Registration, TfLiteRegistration, version);
SAME_FIELD(Registration, TfLiteRegistration, registration_external);
SAME_FIELD(Registration, TfLiteRegistration, async_kernel);
SAME_FIELD(Registration, TfLiteRegistration, inplace_operator);

SAME_SIZE(DelegateParams, TfLiteDelegateParams);
SAME_FIELD(DelegateParams, TfLiteDelegateParams, delegate);
SAME_FIELD(DelegateParams, TfLiteDelegateParams, nodes_to_replace);
SAME_FIELD(DelegateParams, TfLiteDelegateParams, input_tensors);
SAME_FIELD(DelegateParams, TfLiteDelegateParams, output_tensors);

SAME_SIZE(Context, TfLiteContext);
SAME_FIELD(Context, TfLiteContext, tensors_size);
SAME_FIELD(Context, TfLiteContext, GetExecutionPlan);
SAME_FIELD(Context, TfLiteContext, tensors);
SAME_RENAMED_FIELD(Context, TfLiteContext, impl, impl_);
SAME_FIELD(Context, TfLiteContext, ResizeTensor);
SAME_FIELD(Context, TfLiteContext, ReportError);
SAME_FIELD(Context, TfLiteContext, AddTensors);
SAME_FIELD(Context, TfLiteContext, GetNodeAndRegistration);
SAME_FIELD(Context, TfLiteContext, ReplaceNodeSubsetsWithDelegateKernels);
SAME_FIELD(Context, TfLiteContext, recommended_num_threads);
SAME_FIELD(Context, TfLiteContext, GetExternalContext);
SAME_FIELD(Context, TfLiteContext, SetExternalContext);
SAME_FIELD(Context, TfLiteContext, allow_fp32_relax_to_fp16);
SAME_FIELD(Context, TfLiteContext, profiler);
SAME_FIELD(Context, TfLiteContext, AllocatePersistentBuffer);
SAME_FIELD(Context, TfLiteContext, AllocateBufferForEval);
SAME_FIELD(Context, TfLiteContext, RequestScratchBufferInArena);
SAME_FIELD(Context, TfLiteContext, GetScratchBuffer);
SAME_FIELD(Context, TfLiteContext, ResizeTensorExplicit);
SAME_FIELD(Context, TfLiteContext, PreviewDelegatePartitioning);
SAME_FIELD(Context, TfLiteContext, GetTensor);
SAME_FIELD(Context, TfLiteContext, GetEvalTensor);
SAME_FIELD(Context, TfLiteContext, GetModelMetadata);
SAME_FIELD(Context, TfLiteContext, AcquireSubgraphContext);
SAME_FIELD(Context, TfLiteContext, ReleaseSubgraphContext);

SAME_SIZE(Delegate, TfLiteDelegate);
SAME_RENAMED_FIELD(Delegate, TfLiteDelegate, data, data_);
SAME_FIELD(Delegate, TfLiteDelegate, Prepare);
SAME_FIELD(Delegate, TfLiteDelegate, CopyFromBufferHandle);
SAME_FIELD(Delegate, TfLiteDelegate, CopyToBufferHandle);
SAME_FIELD(Delegate, TfLiteDelegate, FreeBufferHandle);
SAME_FIELD(Delegate, TfLiteDelegate, flags);
SAME_FIELD(Delegate, TfLiteDelegate, opaque_delegate_builder);

SAME_VALUE(kOk, kTfLiteOk);
SAME_VALUE(kError, kTfLiteError);
static_assert(sizeof(tfl::Status) == sizeof(::TfLiteStatus), "TfLiteStatus");
SAME_VALUE(Type::kNone, kTfLiteNoType);
SAME_VALUE(Type::kFloat32, kTfLiteFloat32);
SAME_VALUE(Type::kInt32, kTfLiteInt32);
SAME_VALUE(Type::kUInt8, kTfLiteUInt8);
SAME_VALUE(Type::kInt64, kTfLiteInt64);
SAME_VALUE(Type::kInt8, kTfLiteInt8);
SAME_VALUE(Allocation::kNone, kTfLiteMemNone);
SAME_VALUE(Allocation::kMmapRo, kTfLiteMmapRo);
SAME_VALUE(Allocation::kArenaRw, kTfLiteArenaRw);
SAME_VALUE(Allocation::kArenaRwPersistent, kTfLiteArenaRwPersistent);
SAME_VALUE(Allocation::kDynamic, kTfLiteDynamic);
SAME_VALUE(Allocation::kPersistentRo, kTfLitePersistentRo);
SAME_VALUE(Allocation::kCustom, kTfLiteCustom);
static_assert(tfl::kOptionalTensor == kTfLiteOptionalTensor, "kTfLiteOptionalTensor");
SAME_SIZE(AffineQuantization, TfLiteAffineQuantization);
SAME_FIELD(AffineQuantization, TfLiteAffineQuantization, scale);
SAME_FIELD(AffineQuantization, TfLiteAffineQuantization, zero_point);
SAME_FIELD(AffineQuantization, TfLiteAffineQuantization, quantized_dimension);
static_assert(sizeof(tfl::FloatArray) == offsetof(::TfLiteFloatArray, data), "TfLiteFloatArray");
SAME_VALUE(kAffineQuantization, kTfLiteAffineQuantization);
SAME_VALUE(kDelegateFlagAllowDynamicTensors, kTfLiteDelegateFlagsAllowDynamicTensors);
SAME_VALUE(kBuiltinAdd, kTfLiteBuiltinAdd);
SAME_VALUE(kBuiltinAveragePool2d, kTfLiteBuiltinAveragePool2d);
SAME_VALUE(kBuiltinConcatenation, kTfLiteBuiltinConcatenation);
SAME_VALUE(kBuiltinConv2d, kTfLiteBuiltinConv2d);
SAME_VALUE(kBuiltinDepthwiseConv2d, kTfLiteBuiltinDepthwiseConv2d);
SAME_VALUE(kBuiltinDequantize, kTfLiteBuiltinDequantize);
SAME_VALUE(kBuiltinFullyConnected, kTfLiteBuiltinFullyConnected);
SAME_VALUE(kBuiltinLogistic, kTfLiteBuiltinLogistic);
SAME_VALUE(kBuiltinMaxPool2d, kTfLiteBuiltinMaxPool2d);
SAME_VALUE(kBuiltinMul, kTfLiteBuiltinMul);
SAME_VALUE(kBuiltinRelu, kTfLiteBuiltinRelu);
SAME_VALUE(kBuiltinReluN1To1, kTfLiteBuiltinReluN1To1);
SAME_VALUE(kBuiltinRelu6, kTfLiteBuiltinRelu6);
SAME_VALUE(kBuiltinReshape, kTfLiteBuiltinReshape);
SAME_VALUE(kBuiltinSoftmax, kTfLiteBuiltinSoftmax);
SAME_VALUE(kBuiltinCustom, kTfLiteBuiltinCustom);
SAME_VALUE(kBuiltinPad, kTfLiteBuiltinPad);
SAME_VALUE(kBuiltinGather, kTfLiteBuiltinGather);
SAME_VALUE(kBuiltinMean, kTfLiteBuiltinMean);
SAME_VALUE(kBuiltinSub, kTfLiteBuiltinSub);
SAME_VALUE(kBuiltinSqueeze, kTfLiteBuiltinSqueeze);
SAME_VALUE(kBuiltinDelegate, kTfLiteBuiltinDelegate);
SAME_VALUE(kBuiltinCast, kTfLiteBuiltinCast);
SAME_VALUE(kBuiltinPadV2, kTfLiteBuiltinPadv2);
SAME_VALUE(kBuiltinSlice, kTfLiteBuiltinSlice);
SAME_VALUE(kBuiltinExpandDims, kTfLiteBuiltinExpandDims);
SAME_VALUE(kBuiltinQuantize, kTfLiteBuiltinQuantize);
SAME_VALUE(kBuiltinHardSwish, kTfLiteBuiltinHardSwish);

}  // namespace official_abi_check

#endif  // DGMS_TESTS_TFLITE_OFFICIAL_ABI_CHECK_H_
