// A sequence of codes, two per byte: code i is in byte i / 2, in the low nibble if i is even. The only plane of a 4-bit
// filter in a .tflite is one (format/packed_codes.h), so such a filter is packed straight from the model's memory.
//
// Not for the kernels' own sources: its functions would be compiled for one instruction set and linked into others.
#ifndef DGMS_KERNELS_CODES_H_
#define DGMS_KERNELS_CODES_H_

#include <stdint.h>
#include <string.h>

namespace dgms {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first code is a word's lowest nibble");

// Bytes of `count` codes.
inline constexpr int64_t CodeBytes(int64_t count) { return (count + 1) / 2; }

inline int CodeAt(const uint8_t* codes, int64_t i) { return i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4; }

// Codes i..i+7, the first in the lowest nibble. Reads no byte that holds none of them.
inline uint32_t EightCodes(const uint8_t* codes, int64_t i) {
  uint32_t word;
  memcpy(&word, codes + i / 2, sizeof(word));
  return i % 2 == 0 ? word : word >> 4 | static_cast<uint32_t>(codes[i / 2 + 4]) << 28;
}

// The same for the codes i..i+count-1 (0 <= count <= 8); zeros follow them.
inline uint32_t UpToEightCodes(const uint8_t* codes, int64_t i, int64_t count) {
  if (count == 8) return EightCodes(codes, i);
  uint32_t word = 0;
  for (int64_t p = 0; p < count; ++p) word |= static_cast<uint32_t>(CodeAt(codes, i + p)) << (4 * p);
  return word;
}

// Calls use(0, the code at i), use(1, the next one) ... for `count` codes, which are read by eights.
template <typename Use>
inline void ForEachCode(const uint8_t* codes, int64_t i, int64_t count, const Use& use) {
  for (int64_t n = 0; n < count; n += 8) {
    const int64_t run = count - n < 8 ? count - n : 8;
    uint32_t word = UpToEightCodes(codes, i + n, run);
    for (int64_t p = 0; p < run; ++p, word >>= 4) use(n + p, static_cast<int>(word & 15));
  }
}

// The nibbles of a word as bytes, in the same order. They are moved apart in fours, then in pairs, then all.
inline uint64_t NibblesToBytes(uint32_t nibbles) {
  uint64_t x = nibbles;
  x = (x | x << 16) & 0x0000ffff0000ffff;
  x = (x | x << 8) & 0x00ff00ff00ff00ff;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

}  // namespace dgms

#endif  // DGMS_KERNELS_CODES_H_
