#include "ops/int8_filter_panels.h"

#include <algorithm>
#include <cstring>

#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// The book of each output channel, as rows of `books`.
int64_t BookOf(const Int8CodebookFilter& filter, int64_t channel) {
  return filter.group_size == 0 ? 0 : channel / filter.group_size;
}

}  // namespace

Status Int8FilterPanels::Init(const FilterMatrix& shape, const Int8Filter& filter, const KernelSet& kernels) {
  const GemmS8Kernel& kernel = *kernels.gemm_s8;
  kernel_ = &kernel;
  dense_kernel_ = kernels.dense;
  shape_ = shape;
  const CheckedSize k = CheckedSize(shape.segment_count) * shape.segment_length;
  const CheckedSize channels_checked = CheckedSize(shape.groups) * shape.columns;
  // With room for rounding up every segment to units and the columns to panels.
  const CheckedSize padded = CheckedSize(shape.segment_count) * (CheckedSize(shape.segment_length) + kMaxUnitS8);
  if (shape.groups < 1 || shape.columns < 1 || shape.segment_count < 1 || shape.segment_length < 1 ||
      !((channels_checked + CheckedSize(shape.groups) * kMaxColumns) * (padded + kPanelBytes) * kMaxColumns).ok() ||
      !IsValid(filter, channels_checked.value(), k.value() * channels_checked.value())) {
    return Status::kInvalidArgument;
  }
  panels_per_group_ = CeilDiv(shape.columns, kernel.max_columns);
  const int64_t limit = kPanelBytes / kernel.max_columns / kernel.k_unit * kernel.k_unit;
  const int64_t unit = kernel.packed != nullptr ? kPackedPlaces : kernel.k_unit;  // where a block may begin
  const Status status = PlanFilterBlocks(shape.segment_count, shape.segment_length, limit, unit,
                                         /*pad_segments=*/true, &blocks_, &block_count_);
  if (status != Status::kOk) return status;
  if (!first_place_.Reserve(block_count_) || !column_sums_.Reserve(channels())) return Status::kOutOfMemory;
  places_ = 0;
  for (int64_t b = 0; b < block_count_; ++b) {
    first_place_[b] = places_;
    places_ += Places(blocks_[b]);
  }
  if (const auto* dense = std::get_if<Int8DenseFilter>(&filter)) {
    values_ = dense->values;
    SumRows();
    return Status::kOk;
  }
  const Int8CodebookFilter& codebook = *std::get_if<Int8CodebookFilter>(&filter);
  if (!packed_.Reserve(panels() * places_ * kernel.max_columns / 2)) return Status::kOutOfMemory;
  Pack(codebook);
  SumColumns(codebook);
  return FillTables(codebook);
}

int64_t Int8FilterPanels::Places(const FilterBlock& block) const {
  return block.segment_count * RoundUp(block.segment_length, kernel_->k_unit);
}

int Int8FilterPanels::Columns(int64_t panel_in_group) const {
  const int64_t left = shape_.columns - panel_in_group * kernel_->max_columns;
  return static_cast<int>(std::min<int64_t>(kernel_->max_columns, left));
}

int64_t Int8FilterPanels::FirstChannel(int64_t panel) const {
  return panel / panels_per_group_ * shape_.columns + panel % panels_per_group_ * kernel_->max_columns;
}

void Int8FilterPanels::Pack(const Int8CodebookFilter& filter) {
  for (int64_t i = 0; i < panels(); ++i) {
    const int n = Columns(i % panels_per_group_);
    const int width = static_cast<int>(RoundUp(n, kernel_->column_unit));
    uint8_t* packed = packed_.data() + i * places_ * kernel_->max_columns / 2;
    for (int64_t b = 0; b < block_count_; ++b) {
      const FilterBlock& block = blocks_[b];
      for (int64_t s = 0; s < block.segment_count; ++s) {
        const int64_t place = (block.first_segment + s) * shape_.segment_length + block.offset;
        pack_s8(filter.codes, FirstChannel(i) * k() + place, k(), block.segment_length, n, width, kernel_->k_unit,
                packed);
        packed += RoundUp(block.segment_length, kernel_->k_unit) * width / 2;
      }
    }
  }
}

void Int8FilterPanels::SumColumns(const Int8CodebookFilter& filter) {
  for (int64_t c = 0; c < channels(); ++c) {
    const int8_t* book = filter.codebooks + (BookOf(filter, c) << filter.bits);
    uint32_t sum = 0;
    for (int64_t p = 0; p < k(); ++p) sum += static_cast<uint32_t>(int32_t{book[CodeAt(filter.codes, c * k() + p)]});
    column_sums_[c] = static_cast<int32_t>(sum);
  }
}

void Int8FilterPanels::SumRows() {
  for (int64_t c = 0; c < channels(); ++c) {
    const int8_t* row = values_ + c * k();
    uint32_t sum = 0;
    for (int64_t p = 0; p < k(); ++p) sum += static_cast<uint32_t>(int32_t{row[p]});
    column_sums_[c] = static_cast<int32_t>(sum);
  }
}

// Books that are equal share a table: channels with a factor below zero have a book of their own each, but only two
// kinds of them exist in a layer.
Status Int8FilterPanels::FillTables(const Int8CodebookFilter& filter) {
  const int64_t count = CodebookCount(filter, channels());
  const int entries = 1 << filter.bits;
  Buffer<int32_t> table_of_book;
  if (!tables_.Reserve(count * kTableSize) || !table_of_book.Reserve(count) || !mixed_.Reserve(panels()) ||
      (count > 1 && !column_table_.Reserve(panels() * kernel_->max_columns))) {
    return Status::kOutOfMemory;
  }
  constexpr int64_t kMaxCompared = 64;  // tables that a book is compared with, so that many books cost no square
  int32_t tables = 0;
  for (int64_t book = 0; book < count; ++book) {
    int8_t values[kTableSize] = {};
    std::memcpy(values, filter.codebooks + book * entries, static_cast<size_t>(entries));
    int32_t found = 0;
    const int32_t compared = static_cast<int32_t>(std::min<int64_t>(tables, kMaxCompared));
    while (found < compared && std::memcmp(tables_.data() + found * kTableSize, values, kTableSize) != 0) ++found;
    if (found == compared) {
      found = tables++;
      std::memcpy(tables_.data() + found * kTableSize, values, kTableSize);
    }
    table_of_book[book] = found;
  }
  for (int64_t i = 0; i < panels(); ++i) {
    mixed_[i] = 0;
    if (count == 1) continue;
    const int n = Columns(i % panels_per_group_);
    int32_t* table = column_table_.data() + i * kernel_->max_columns;
    for (int j = 0; j < kernel_->max_columns; ++j) {  // columns beyond n repeat the last
      table[j] = table_of_book[BookOf(filter, FirstChannel(i) + std::min(j, n - 1))];
      if (table[j] != table[0]) mixed_[i] = 1;
    }
  }
  return Status::kOk;
}

Int8FilterPanels::Panel Int8FilterPanels::panel(int64_t index) const {
  Panel panel = {};
  panel.group = index / panels_per_group_;
  panel.first_channel = FirstChannel(index);
  panel.n = Columns(index % panels_per_group_);
  panel.width = static_cast<int>(RoundUp(panel.n, kernel_->column_unit));
  if (values_ != nullptr) {
    panel.values = values_ + panel.first_channel * k();
    return panel;
  }
  panel.packed = packed_.data() + index * places_ * kernel_->max_columns / 2;
  panel.tables = {tables_.data(), nullptr};
  if (column_table_.data() != nullptr) {
    const int32_t* table = column_table_.data() + index * kernel_->max_columns;
    panel.tables.tables += int64_t{kTableSize} * (mixed_[index] != 0 ? 0 : table[0]);
    if (mixed_[index] != 0) panel.tables.column_table = table;
  }
  return panel;
}

void Int8FilterPanels::Decode(const Panel& panel, int64_t index, int8_t* decoded) const {
  const FilterBlock& block = blocks_[index];
  if (values_ == nullptr) {
    kernel_->decode(panel.packed + first_place_[index] * panel.width / 2, Places(block), panel.width, panel.tables,
                    decoded);
    return;
  }
  const int64_t length = block.segment_length, unit = kernel_->k_unit;
  const int8_t* values = panel.values + block.first_segment * shape_.segment_length + block.offset;
  if (length % unit == 0) {  // segments follow one another without padding
    ToDotOrder(values, block.k(), panel, decoded);
    return;
  }
  for (int64_t s = 0; s < block.segment_count; ++s, values += length, decoded += RoundUp(length, unit) * panel.width) {
    ToDotOrder(values, length, panel, decoded);
  }
}

// `places` neighbouring places of every column, with zeros up to a whole unit.
void Int8FilterPanels::ToDotOrder(const int8_t* values, int64_t places, const Panel& panel, int8_t* decoded) const {
  constexpr int kWord = 4;  // bytes: the places that `transpose` moves together
  const int64_t unit = kernel_->k_unit, width = panel.width;
  const int64_t whole = places / unit * unit;
  if (unit == kWord && whole > 0) {
    dense_kernel_->transpose(values, k(), whole / kWord, panel.n, panel.width, decoded);
  } else {
    for (int64_t p = 0; p < whole; p += unit) {
      for (int j = 0; j < panel.width; ++j) {  // columns without a row repeat the last
        std::memcpy(decoded + p * width + j * unit, values + std::min(j, panel.n - 1) * k() + p,
                    static_cast<size_t>(unit));
      }
    }
  }
  if (whole == places) return;
  int8_t* last = decoded + whole * width;
  std::memset(last, 0, static_cast<size_t>(unit * width));
  for (int j = 0; j < panel.n; ++j) {
    for (int64_t p = whole; p < places; ++p) last[j * unit + p - whole] = values[j * k() + p];
  }
}

size_t Int8FilterPanels::bytes() const {
  return first_place_.bytes() + packed_.bytes() + tables_.bytes() + column_table_.bytes() + mixed_.bytes() +
         column_sums_.bytes() + blocks_.bytes();
}

}  // namespace dgms
