#include "format/packed_codes.h"

#include <algorithm>
#include <cstring>

namespace dgms {
namespace {

constexpr CodeFormat kFormats[] = {
    {2, 1, {{2, 0}, {0, 0}}},
    {3, 2, {{2, 0}, {1, 2}}},
    {4, 1, {{4, 0}, {0, 0}}},
};

// The table of a plane, as a file holds it.
template <int width, int shift>
struct Table {
  int32_t entries[kByteValues][8 / width] = {};

  constexpr Table() {
    for (int value = 0; value < kByteValues; ++value) {
      for (int field = 0; field < 8 / width; ++field) entries[value][field] = TableEntry({width, shift}, value, field);
    }
  }
  bool Equals(const PlaneFormat& plane, const void* table) const {
    return plane.width == width && plane.shift == shift && std::memcmp(table, entries, sizeof(entries)) == 0;
  }
};

// Of every plane in kFormats: one comparison, as each layer of a network has a table.
constexpr Table<1, 2> kHighBits;
constexpr Table<2, 0> kLowBits;
constexpr Table<4, 0> kNibbles;

constexpr int kRun = 16;  // codes that are read together: whole bytes of every plane, and whole words of nibbles

// 16 fields of `width` bits, side by side, as one nibble each: groups of 8 fields are moved apart, then of 4, 2 and 1.
template <int width>
uint64_t Spread(uint64_t fields) {
  for (int group = kRun / 2; group >= 1; group /= 2) {
    const uint64_t nibbles = (uint64_t{1} << (4 * group)) - 1;  // that a group has room in
    const uint64_t bits = ((uint64_t{1} << (width * group)) - 1) * (~uint64_t{0} / nibbles);  // of every group
    fields = (fields | fields << ((4 - width) * group)) & bits;
  }
  return fields;
}

// Codes first..first+count-1 (first a multiple of 16, 1 <= count <= 16) as nibbles; what follows them is not specified.
uint64_t ReadRun(const CodeFormat& format, const uint8_t* const planes[], int64_t first, int64_t count) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first code is a word's lowest bits");
  uint64_t codes = 0;
  for (int i = 0; i < format.plane_count; ++i) {
    const PlaneFormat& plane = format.planes[i];
    const int per_byte = plane.codes_per_byte();
    uint64_t fields = 0;
    std::memcpy(&fields, planes[i] + first / per_byte, static_cast<size_t>((count + per_byte - 1) / per_byte));
    fields = plane.width == 1 ? Spread<1>(fields) : plane.width == 2 ? Spread<2>(fields) : fields;
    codes |= fields << plane.shift;
  }
  return codes;
}

}  // namespace

int CodeFormat::block_size() const {
  int block = 0;
  for (int i = 0; i < plane_count; ++i) block = std::max(block, planes[i].codes_per_byte());
  return block;
}

int64_t CodeFormat::padded_count(int64_t count) const {
  const int64_t block = block_size();
  return (count + block - 1) / block * block;
}

int64_t CodeFormat::plane_bytes(int plane, int64_t count) const {
  return padded_count(count) / planes[plane].codes_per_byte();
}

const CodeFormat* CodeFormatOf(int bits) {
  return bits >= kMinBits && bits <= kMaxBits ? &kFormats[bits - kMinBits] : nullptr;
}

bool IsTableOf(const PlaneFormat& plane, const void* table, int64_t columns) {
  if (columns != plane.codes_per_byte()) return false;
  return kNibbles.Equals(plane, table) || kLowBits.Equals(plane, table) || kHighBits.Equals(plane, table);
}

void WidenCodes(const CodeFormat& format, const uint8_t* const planes[], int64_t count, uint8_t* nibbles) {
  for (int64_t i = 0; i < count; i += kRun) {
    const int64_t run = std::min<int64_t>(kRun, count - i);
    const uint64_t codes = ReadRun(format, planes, i, run);
    std::memcpy(nibbles + i / 2, &codes, static_cast<size_t>((run + 1) / 2));
  }
}

void UnpackCodes(const CodeFormat& format, const uint8_t* const planes[], int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count; i += kRun) {
    const int64_t run = std::min<int64_t>(kRun, count - i);
    const uint64_t nibbles = ReadRun(format, planes, i, run);
    for (int64_t j = 0; j < run; ++j) codes[i + j] = static_cast<uint8_t>(nibbles >> (4 * j) & 15);
  }
}

void PackCodes(const CodeFormat& format, const uint8_t* codes, int64_t count, uint8_t* const planes[]) {
  for (int i = 0; i < format.plane_count; ++i) {
    const PlaneFormat& plane = format.planes[i];
    std::memset(planes[i], 0, static_cast<size_t>(format.plane_bytes(i, count)));
    for (int64_t n = 0; n < count; ++n) {
      const int field = (codes[n] >> plane.shift) & ((1 << plane.width) - 1);
      const int position = static_cast<int>(n % plane.codes_per_byte()) * plane.width;
      planes[i][n / plane.codes_per_byte()] |= static_cast<uint8_t>(field << position);
    }
  }
}

}  // namespace dgms
