#include "ops/pool2d.h"

#include <algorithm>
#include <limits>

#include "ops/create_weightless.h"
#include "ops/depthwise_plan.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

constexpr int64_t kMaxWindow = int64_t{1} << 23;  // positions: see PoolArgs

class Pool2DOp : public WeightlessOp {
 public:
  Pool2DOp(const Pool2DParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init();
  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int) const override { return false; }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  template <typename T, typename Bound>
  void RunMaps(const void* input, void* output, void (*kernel)(const PoolArgs<T, Bound>&), Bound min, Bound max, T pad,
               ThreadPool& pool) const;

  const Pool2DParams params_;
  const PointwiseKernel& kernel_;
  ActivationRange range_ = {};
  int32_t min_ = -128, max_ = 127;
  DepthwisePlan plan_;  // a pooling window moves as a depthwise convolution's does
  int64_t lines_ = 0;
  bool ready_ = false;
};

Status Pool2DOp::Init() {
  range_ = RangeOf(params_.activation);
  DepthwiseConv2DParams& p = plan_.params;
  p.kernel_h = params_.kernel_h;
  p.kernel_w = params_.kernel_w;
  p.stride_h = params_.stride_h;
  p.stride_w = params_.stride_w;
  p.padding = params_.padding;
  p.pads = params_.pads;
  p.in_channels = 1;
  if (!plan_.ValidParams() || plan_.taps() >= kMaxWindow) return Status::kInvalidArgument;
  const bool padded = p.pads.top > 0 || p.pads.bottom > 0 || p.pads.left > 0 || p.pads.right > 0;
  if (padded && (params_.kind != PoolKind::kMax || params_.padding != Padding::kValid)) return Status::kInvalidArgument;
  if (params_.type == ElementType::kFloat32) return Status::kOk;
  if (!IsValid(params_.quantization) || !QuantizedRange(params_.activation, params_.quantization, &min_, &max_)) {
    return Status::kInvalidArgument;
  }
  return Status::kOk;
}

Status Pool2DOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  if (count != 1 || inputs[0].rank != 4 || !inputs[0].IsValid() || inputs[0].dims[3] < 1) {
    return Status::kInvalidArgument;
  }
  const int64_t* dims = inputs[0].dims;
  plan_.params.in_channels = plan_.channels = dims[3];
  const Status status = plan_.Plan(dims[0], dims[1], dims[2]);
  if (status != Status::kOk) return status;
  *output = TensorShape{dims[0], plan_.h.output, plan_.w.output, dims[3]};
  if (!output->IsValid()) return Status::kInvalidArgument;
  lines_ = dims[0] * plan_.h.output;
  ready_ = true;
  return Status::kOk;
}

// A window that reaches into explicit padding has one more value: the lower bound of its result.
template <typename T, typename Bound>
void Pool2DOp::RunMaps(const void* input, void* output, void (*kernel)(const PoolArgs<T, Bound>&), Bound min, Bound max,
                       T pad, ThreadPool& pool) const {
  const T* x = static_cast<const T*>(input);
  T* y = static_cast<T*>(output);
  const int64_t line_elements = plan_.w.output * plan_.channels;
  const bool pads_take_part = params_.kind == PoolKind::kMax && params_.padding == Padding::kValid;
  const Bound pad_min = static_cast<Bound>(pad) > min ? static_cast<Bound>(pad) : min;
  RunLines(lines_, line_elements * plan_.taps(), pool, [&](int64_t line, int64_t end) {
    for (; line < end; ++line) {
      plan_.ForEachRun(line, [&](const DepthwiseRun& run) {
        T* to = y + line * line_elements + run.x * plan_.channels;
        const int64_t inside = run.lines.count() * run.taps.count();
        if (inside == 0) {
          const Bound value = std::min(std::max(pad_min, static_cast<Bound>(std::numeric_limits<T>::lowest())), max);
          std::fill(to, to + run.pixels * plan_.channels, static_cast<T>(value));
          return;
        }
        const Bound lower = pads_take_part && inside < plan_.taps() ? pad_min : min;
        kernel({x + run.input, plan_.line_stride(), plan_.tap_stride(), plan_.pixel_stride(), run.lines.count(),
                run.taps.count(), run.pixels, plan_.channels, to, plan_.channels, lower, max});
      });
    }
  });
}

Status Pool2DOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  const bool max = params_.kind == PoolKind::kMax;
  if (params_.type == ElementType::kFloat32) {
    RunMaps(inputs[0], output, max ? kernel_.max_pool_f32 : kernel_.average_pool_f32, range_.min, range_.max,
            params_.float_pad, pool);
  } else {
    RunMaps(inputs[0], output, max ? kernel_.max_pool_s8 : kernel_.average_pool_s8, min_, max_, params_.int8_pad, pool);
  }
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreatePool2D(const Pool2DParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<Pool2DOp>(params, kernels, status);
}

}  // namespace dgms
