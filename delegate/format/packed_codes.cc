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

constexpr int kMaxFields = 8;  // fields of the narrowest plane's bytes

// The fields of every byte value of one plane, as codes.
struct ByteTable {
  explicit ByteTable(const PlaneFormat& plane) {
    for (int value = 0; value < kByteValues; ++value) {
      for (int field = 0; field < plane.codes_per_byte(); ++field) {
        fields[value][field] = static_cast<uint8_t>(TableEntry(plane, value, field));
      }
    }
  }
  uint8_t fields[kByteValues][kMaxFields] = {};
};

// Stores (kFirst) or adds a plane's part of the codes. kFields, known to the compiler, makes the fields of one byte one
// wide load, or and store.
template <int kFields, bool kFirst>
void UnpackPlane(const ByteTable& table, const uint8_t* bytes, int64_t count, uint8_t* codes) {
  const int64_t whole = count / kFields;
  for (int64_t i = 0; i < whole; ++i) {
    const uint8_t* fields = table.fields[bytes[i]];
    if (kFirst) {
      std::memcpy(codes + i * kFields, fields, kFields);
    } else {
      uint64_t sum = 0, part = 0;  // codes do not overlap: or is addition, whatever the byte order
      std::memcpy(&sum, codes + i * kFields, kFields);
      std::memcpy(&part, fields, kFields);
      sum |= part;
      std::memcpy(codes + i * kFields, &sum, kFields);
    }
  }
  for (int64_t i = whole * kFields; i < count; ++i) {  // the last byte, where padding follows the codes
    const uint8_t field = table.fields[bytes[whole]][i - whole * kFields];
    codes[i] = static_cast<uint8_t>(kFirst ? field : codes[i] | field);
  }
}

// Nibbles need no table: four bytes become eight by moving halves apart, then their halves, then theirs, which takes
// less than half of the time.
void UnpackNibbles(const uint8_t* bytes, int64_t count, uint8_t* codes) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first code is a word's lowest byte");
  const auto unpack = [](const uint8_t* packed, size_t packed_bytes, uint8_t* to, size_t codes_there) {
    uint64_t word = 0;
    std::memcpy(&word, packed, packed_bytes);
    word = (word | word << 16) & 0x0000ffff0000ffff;
    word = (word | word << 8) & 0x00ff00ff00ff00ff;
    word = (word | word << 4) & 0x0f0f0f0f0f0f0f0f;
    std::memcpy(to, &word, codes_there);
  };
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) unpack(bytes + i / 2, 4, codes + i, 8);
  const auto left = static_cast<size_t>(count - i);
  if (left > 0) unpack(bytes + i / 2, (left + 1) / 2, codes + i, left);
}

template <int kFields>
void UnpackPlane(const PlaneFormat& plane, bool first, const uint8_t* bytes, int64_t count, uint8_t* codes) {
  const ByteTable table(plane);
  if (first) {
    UnpackPlane<kFields, true>(table, bytes, count, codes);
  } else {
    UnpackPlane<kFields, false>(table, bytes, count, codes);
  }
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
  const char* entry = static_cast<const char*>(table);
  for (int value = 0; value < kByteValues; ++value) {
    for (int field = 0; field < columns; ++field, entry += sizeof(int32_t)) {
      int32_t found;
      std::memcpy(&found, entry, sizeof(found));
      if (found != TableEntry(plane, value, field)) return false;
    }
  }
  return true;
}

void UnpackCodes(const CodeFormat& format, const uint8_t* const planes[], int64_t count, uint8_t* codes) {
  for (int i = 0; i < format.plane_count; ++i) {
    const PlaneFormat& plane = format.planes[i];
    switch (plane.codes_per_byte()) {
      case 2:
        UnpackNibbles(planes[i], count, codes);  // the only plane of 4 bits
        break;
      case 4:
        UnpackPlane<4>(plane, i == 0, planes[i], count, codes);
        break;
      default:
        UnpackPlane<8>(plane, i == 0, planes[i], count, codes);
        break;
    }
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
