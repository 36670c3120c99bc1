// Copies lines of maps. The C library's memmove does the same, of any direction; on 64-bit ARM, where NEON is never
// missing, this executes half the instructions: one of them loads 64 bytes, one stores them.
#ifndef DGMS_KERNELS_MOVE_BYTES_H_
#define DGMS_KERNELS_MOVE_BYTES_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/arch.h"
#if DGMS_AARCH64
#include <arm_neon.h>
#endif

namespace dgms {

// They may overlap where `to` lies before `from`.
inline void MoveBytesDown(void* to, const void* from, size_t bytes) {
#if DGMS_AARCH64
  uint8_t* y = static_cast<uint8_t*>(to);
  const uint8_t* x = static_cast<const uint8_t*>(from);
  constexpr size_t kPiece = 64;
  for (; bytes >= 2 * kPiece; bytes -= 2 * kPiece) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const uint8x16x4_t piece = vld1q_u8_x4(x);
      x += kPiece;
      __asm__("" : "+r"(x));  // keeps the step in the load
      vst1q_u8_x4(y, piece);
      y += kPiece;
      __asm__("" : "+r"(y));
    }
  }
  memmove(y, x, bytes);
#else
  memmove(to, from, bytes);
#endif
}

}  // namespace dgms

#endif  // DGMS_KERNELS_MOVE_BYTES_H_
