#include "ops/filter_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/pack_weights.h"

namespace dgms {
namespace {

// True if weights that are multiplied by these scales stay within a float's range where the scaled sums would: scales
// of trained networks are many powers of ten away from the limits.
bool AreModerate(const float* scale, int64_t count) {
  bool all = true;
  for (int64_t i = 0; i < count; ++i) {
    const float size = std::abs(scale[i]);
    all &= size == 0.0f || (size > 1e-15f && size < 1e15f);
  }
  return all;
}

// Asks for bytes first..last-1, a hint.
void FetchAhead(const uint8_t* bytes, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; i += static_cast<int64_t>(kAlignment)) __builtin_prefetch(bytes + i, 0, 2);
}

}  // namespace

Status FilterPanels::Init(const FilterMatrix& shape, const FloatFilter& filter, const float* bias,
                          const KernelSet& kernels) {
  kernel_ = kernels.gemm;
  dense_kernel_ = kernels.dense;
  shape_ = shape;
  const CheckedSize k = CheckedSize(shape.segment_count) * shape.segment_length;
  const CheckedSize channels = CheckedSize(shape.groups) * shape.columns;
  // Twice over, so that rounding up to units and panels cannot overflow either.
  if (shape.groups < 1 || shape.columns < 1 || shape.segment_count < 1 || shape.segment_length < 1 ||
      !((channels + kMaxColumns) * (k + kPanelFloats) * kMaxColumns * kPanelFloats).ok() ||
      !IsValid(filter, channels.value(), k.value() * channels.value())) {
    return Status::kInvalidArgument;
  }
  panels_per_group_ = CeilDiv(shape.columns, kernel_->max_columns);
  Status status = PlanBlocks();
  if (status != Status::kOk) return status;
  if (const auto* dense = std::get_if<DenseFilter>(&filter)) {
    values_ = dense->values;
    one_run_ = true;
    return FillEpilogue(nullptr, bias);
  }
  const CodebookFilter& codebook = *std::get_if<CodebookFilter>(&filter);
  status = PackCodes(codebook);
  if (status == Status::kOk) status = FillTables(codebook);
  if (status == Status::kOk) status = FillEpilogue(codebook.scale, bias);
  return status;
}

// They depend on the filter's shape and the kernel only, so results do too.
Status FilterPanels::PlanBlocks() {
  const int64_t unit = kernel_->k_unit;
  const int64_t limit = std::min<int64_t>(kMaxBlock, kPanelFloats / kernel_->max_columns / unit * unit);
  const Status status = shape_.channel_ranges ? PlanChannelRanges(shape_.segment_count, shape_.segment_length, limit,
                                                                  unit, &blocks_, &block_count_)
                                              : PlanFilterBlocks(shape_.segment_count, shape_.segment_length, limit,
                                                                 unit, /*pad_segments=*/false, &blocks_, &block_count_);
  if (status != Status::kOk) return status;
  if (!first_place_.Reserve(block_count_)) return Status::kOutOfMemory;
  padded_k_ = 0;
  one_run_ = !shape_.channel_ranges;
  for (int64_t b = 0; b < block_count_; ++b) {
    first_place_[b] = padded_k_;
    padded_k_ += RoundUp(blocks_[b].k(), unit);
    if (b + 1 < block_count_ && blocks_[b].k() % unit != 0) one_run_ = false;
  }
  return Status::kOk;
}

int FilterPanels::Columns(int64_t panel_in_group) const {
  return static_cast<int>(
      std::min<int64_t>(kernel_->max_columns, shape_.columns - panel_in_group * kernel_->max_columns));
}

int64_t FilterPanels::FirstChannel(int64_t panel) const {
  return panel / panels_per_group_ * shape_.columns + panel % panels_per_group_ * kernel_->max_columns;
}

Status FilterPanels::PackCodes(const CodebookFilter& filter) {
  packed_panel_bytes_ = padded_k_ * kernel_->max_columns / 2;
  const int last = Columns(panels_per_group_ - 1);
  packed_group_bytes_ =
      (panels_per_group_ - 1) * packed_panel_bytes_ + padded_k_ * RoundUp(last, kernel_->column_unit) / 2;
  if (!packed_.Reserve(shape_.groups * packed_group_bytes_)) return Status::kOutOfMemory;
  uint8_t* packed = packed_.data();
  const int64_t bytes = filter.count / 2;  // of whole bytes
  for (int64_t group = 0; group < shape_.groups; ++group) {
    for (int64_t panel = 0; panel < panels_per_group_; ++panel) {
      const int n = Columns(panel);
      const int64_t first = (group * shape_.columns + panel * kernel_->max_columns) * k();
      const int64_t panel_bytes = n * k() / 2, next = first / 2 + panel_bytes;
      for (int64_t b = 0; b < block_count_; ++b) {
        // The codes of a model that was just opened are in no near cache, and a panel reads too many columns at a time
        // for the processor to fetch them ahead by itself: a share of the next panel's with each block.
        FetchAhead(filter.codes, std::min(next + panel_bytes * b / block_count_, bytes),
                   std::min(next + panel_bytes * (b + 1) / block_count_, bytes));
        const Block& block = blocks_[b];
        // Parts of several segments are packed one after the other: they are multiples of k_unit, so that the packed
        // block is that of all of them together.
        const int64_t runs = Runs(block), run = block.k() / runs;
        for (int64_t s = 0; s < runs; ++s) {
          kernel_->pack(filter.codes, first + (block.first_segment + s) * shape_.segment_length + block.offset, k(),
                        run, n, static_cast<int>(RoundUp(n, kernel_->column_unit)), packed);
          packed += PackedBlockBytes(*kernel_, run, n);
        }
      }
    }
  }
  return Status::kOk;
}

Status FilterPanels::FillTables(const CodebookFilter& filter) {
  const int64_t count = CodebookCount(filter, channels());
  const int entries = 1 << filter.bits;
  group_size_ = filter.group_size;
  if (!tables_.Reserve(count * kTableSize)) return Status::kOutOfMemory;
  for (int64_t t = 0; t < count; ++t) {
    float* table = tables_.data() + t * kTableSize;
    std::fill(table, table + kTableSize, 0.0f);
    std::memcpy(table, filter.codebooks + t * entries, entries * sizeof(float));
  }
  if (count == 1) {
    group_size_ = 0;
    return Status::kOk;
  }
  bool mixed = false;
  for (int64_t i = 0; i < panels() && !mixed; ++i) {
    const int64_t first = FirstChannel(i);
    mixed = first / group_size_ != (first + Columns(i % panels_per_group_) - 1) / group_size_;
  }
  if (!mixed) return Status::kOk;
  if (!column_table_.Reserve(panels() * kernel_->max_columns)) return Status::kOutOfMemory;
  for (int64_t i = 0; i < panels(); ++i) {
    const int64_t first = FirstChannel(i);
    const int n = Columns(i % panels_per_group_);
    for (int j = 0; j < kernel_->max_columns; ++j) {  // columns beyond n repeat the last: entries never decrease
      column_table_[i * kernel_->max_columns + j] = static_cast<int32_t>((first + std::min(j, n - 1)) / group_size_);
    }
  }
  return Status::kOk;
}

Status FilterPanels::FillEpilogue(const float* scale, const float* bias) {
  const int64_t size = panels() * kernel_->max_columns;
  unit_scale_ = scale == nullptr;
  can_scale_weights_ = !unit_scale_ && kernel_->scale_columns != nullptr && AreModerate(scale, channels());
  const int64_t scales = unit_scale_ ? kernel_->max_columns : size;
  if (!scale_.Reserve(scales) || !bias_.Reserve(size)) return Status::kOutOfMemory;
  std::fill(scale_.data(), scale_.data() + scales, 1.0f);
  std::fill(bias_.data(), bias_.data() + size, 0.0f);
  for (int64_t i = 0; i < panels(); ++i) {
    const int64_t first = FirstChannel(i);
    const size_t n = static_cast<size_t>(Columns(i % panels_per_group_));
    const int64_t at = i * kernel_->max_columns;
    if (scale != nullptr) std::memcpy(scale_.data() + at, scale + first, n * sizeof(float));
    if (bias != nullptr) std::memcpy(bias_.data() + at, bias + first, n * sizeof(float));
  }
  return Status::kOk;
}

FilterPanels::Panel FilterPanels::panel(int64_t index) const {
  Panel panel = {};
  const int64_t in_group = index % panels_per_group_;
  panel.group = index / panels_per_group_;
  panel.first_channel = FirstChannel(index);
  panel.n = Columns(in_group);
  const int64_t at = index * kernel_->max_columns;
  panel.scale = scale_.data() + (unit_scale_ ? 0 : at);
  panel.bias = bias_.data() + at;
  if (values_ != nullptr) {
    panel.values = values_ + panel.first_channel * k();
    return panel;
  }
  panel.packed = packed_.data() + panel.group * packed_group_bytes_ + in_group * packed_panel_bytes_;
  panel.tables = {tables_.data(), nullptr};
  if (group_size_ > 0) {
    const int64_t first = panel.first_channel / group_size_;
    if (first == (panel.first_channel + panel.n - 1) / group_size_) {
      panel.tables.tables += first * kTableSize;
    } else {
      panel.tables.column_table = column_table_.data() + at;
    }
  }
  return panel;
}

void FilterPanels::Decode(const Panel& panel, int64_t index, bool scaled, float* decoded) const {
  const Block& block = blocks_[index];
  const int width = static_cast<int>(RoundUp(panel.n, kernel_->column_unit));
  if (values_ == nullptr) {
    kernel_->decode(panel.packed + first_place_[index] * width / 2, block.k(), panel.n, panel.tables, decoded);
    if (scaled) kernel_->scale_columns(panel.scale, block.k(), width, decoded);
    return;
  }
  const int64_t runs = Runs(block), run = block.k() / runs, row_bytes = k() * static_cast<int64_t>(sizeof(float));
  for (int64_t s = 0; s < runs; ++s, decoded += run * width) {
    const float* rows = panel.values + (block.first_segment + s) * shape_.segment_length + block.offset;
    dense_kernel_->transpose(rows, row_bytes, run, panel.n, width, decoded);
  }
}

void FilterPanels::MultiplyRow(const Panel& panel, const float* x, const float* residual, float* y,
                               const ActivationRange& range) const {
  const Epilogue epilogue = {panel.scale, panel.bias, range.min, range.max, residual, 0};
  if (values_ == nullptr) {
    kernel_->gemv({x, k(), panel.n, panel.packed, panel.tables, y, epilogue});
  } else {
    dense_kernel_->dot_rows({x, k(), panel.n, panel.values, k(), y, epilogue});
  }
}

size_t FilterPanels::bytes() const {
  return packed_.bytes() + tables_.bytes() + column_table_.bytes() + scale_.bytes() + bias_.bytes() + blocks_.bytes() +
         first_place_.bytes();
}

}  // namespace dgms
