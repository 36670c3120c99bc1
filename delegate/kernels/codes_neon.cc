// Codes in the order of their file become floats, with NEON.
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kCodes = 32;  // of sixteen bytes

// The floats of sixteen codes: byte i of all floats has a table of its own, and storing puts them together.
DGMS_INLINE void StoreEntries(const uint8x16x4_t& table, uint8x16_t codes, float* weights) {
  uint8x16x4_t bytes;
  for (int i = 0; i < 4; ++i) bytes.val[i] = Lookup(table.val[i], codes);
  vst4q_u8(reinterpret_cast<uint8_t*>(weights), bytes);
}

}  // namespace

void f32_codes_neon(const uint8_t* codes, int64_t count, const float* table, float* weights) {
  const uint8x16x4_t entries = vld4q_u8(reinterpret_cast<const uint8_t*>(table));
  int64_t i = 0;
  for (; i + kCodes <= count; i += kCodes) {
    const uint8x16_t bytes = vld1q_u8(codes + i / 2);
    const uint8x16x2_t order = vzipq_u8(vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4));
    StoreEntries(entries, order.val[0], weights + i);
    StoreEntries(entries, order.val[1], weights + i + kCodes / 2);
  }
  for (; i < count; ++i) weights[i] = table[codes[i / 2] >> i % 2 * 4 & 15];
}

}  // namespace dgms
