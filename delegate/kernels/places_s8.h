// Loads of a few neighbouring activations as one number. For kernel files only.
#ifndef DGMS_KERNELS_PLACES_S8_H_
#define DGMS_KERNELS_PLACES_S8_H_

#include <stdint.h>
#include <string.h>

namespace dgms {
namespace {

// The first `count` (1..4) places at p, with zeros behind them; nothing else is read. Byte by byte where they are
// fewer than four: a call of memcpy for each row costs more than the row's arithmetic.
inline __attribute__((always_inline)) int32_t LoadPlaces(const void* p, int64_t count) {
  if (count == 4) {
    int32_t all;
    memcpy(&all, p, sizeof(all));
    return all;
  }
  const uint8_t* bytes = static_cast<const uint8_t*>(p);
  uint32_t x = bytes[0];
  if (count > 1) x |= uint32_t{bytes[1]} << 8;
  if (count > 2) x |= uint32_t{bytes[2]} << 16;
  return static_cast<int32_t>(x);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_PLACES_S8_H_
