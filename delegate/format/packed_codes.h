// The packed code stream of dgms_keras/format/FORMAT.md, sections 1 and 2: bits in the file <-> one code per byte.
//
// N codes of b bits lie in planes. A plane holds `width` consecutive bits of every code, from bit `shift` on, 8 / width
// fields per byte, the first code in the least significant bits of the first byte. 2- and 4-bit codes have one plane;
// 3-bit codes have two, the low two bits and the high bit. All planes are padded to whole blocks of codes.
//
// Worked example (FORMAT.md): the 4-bit codes 3, 0, 15, 9, 1 are the bytes 0x03 (3 low, 0 high), 0x9f, 0x01.
//
// Python's twin is dgms_keras/format/packing.py; tests/golden/packing.txt pins both.
#ifndef DGMS_FORMAT_PACKED_CODES_H_
#define DGMS_FORMAT_PACKED_CODES_H_

#include <cstddef>
#include <cstdint>

namespace dgms {

constexpr int kMinBits = 2;
constexpr int kMaxBits = 4;
constexpr int kMaxPlanes = 2;
constexpr int kByteValues = 256;  // rows of a table

struct PlaneFormat {
  int width;  // 1, 2 or 4 bits
  int shift;  // of these bits in the code

  int codes_per_byte() const { return 8 / width; }
};

// How codes of one bit width are stored.
struct CodeFormat {
  int bits;
  int plane_count;
  PlaneFormat planes[kMaxPlanes];

  int codebook_size() const { return 1 << bits; }
  // Codes in the smallest run that fills whole bytes of every plane: 4, 8, 2 for 2, 3, 4 bits.
  int block_size() const;
  // `count` rounded up to whole blocks. count must be at least 0 and at most INT64_MAX - 7.
  int64_t padded_count(int64_t count) const;
  // Bytes of plane `plane` for `count` codes.
  int64_t plane_bytes(int plane, int64_t count) const;
};

// The format of 2, 3 or 4 bits; nullptr for any other number.
const CodeFormat* CodeFormatOf(int bits);

// What field `field` of the byte `value` adds to its code: the entry (value, field) of the plane's table.
constexpr int TableEntry(const PlaneFormat& plane, int value, int field) {
  return ((value >> (plane.width * field)) & ((1 << plane.width) - 1)) << plane.shift;
}

// Whether `table`, int32 [kByteValues, columns] in native byte order and at any address, is the table of `plane`.
bool IsTableOf(const PlaneFormat& plane, const void* table, int64_t columns);

// Reads `count` codes.
//   planes  one array per plane of `format`, plane_bytes(plane, count) bytes each; not one byte more is read
//   codes   count bytes, each set to a value in [0, codebook_size)
void UnpackCodes(const CodeFormat& format, const uint8_t* const planes[], int64_t count, uint8_t* codes);

// Reads `count` codes as nibbles: what the plane of 4 bits is.
//   nibbles  (count + 1) / 2 bytes, code i in byte i / 2, in the low nibble if i is even; what is beside the last of an
//            odd count is not specified
void WidenCodes(const CodeFormat& format, const uint8_t* const planes[], int64_t count, uint8_t* nibbles);

// Writes `count` codes, each in [0, codebook_size), into the planes; padding codes are 0. For tests and tools.
void PackCodes(const CodeFormat& format, const uint8_t* codes, int64_t count, uint8_t* const planes[]);

}  // namespace dgms

#endif  // DGMS_FORMAT_PACKED_CODES_H_
