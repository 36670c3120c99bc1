// Denormals cost a hundred cycles each on most processors, and runtimes disagree about them. Every thread of ours
// treats them as zero while it works, the caller's thread included, so results do not depend on who computes what.
#ifndef DGMS_KERNELS_DENORMALS_H_
#define DGMS_KERNELS_DENORMALS_H_

#include <cstdint>

#include "kernels/arch.h"

#if DGMS_X86_64
#include <xmmintrin.h>
#endif

namespace dgms {

// Flushes denormals (inputs and results) in this thread from construction to destruction, then restores its mode.
class ScopedFlushDenormals {
 public:
  ScopedFlushDenormals() : saved_(Read()) {
    if ((saved_ & kFlush) != kFlush) Write(saved_ | kFlush);
  }
  ~ScopedFlushDenormals() {
    if ((saved_ & kFlush) != kFlush) Write(saved_);
  }
  ScopedFlushDenormals(const ScopedFlushDenormals&) = delete;
  ScopedFlushDenormals& operator=(const ScopedFlushDenormals&) = delete;

 private:
#if DGMS_X86_64
  using Word = unsigned;
  static constexpr Word kFlush = 0x8040;  // flush to zero, denormals are zero
  static Word Read() { return _mm_getcsr(); }
  static void Write(Word word) { _mm_setcsr(word); }
#elif DGMS_AARCH64
  using Word = uint64_t;
  static constexpr Word kFlush = Word{1} << 24;  // FPCR.FZ
  static Word Read() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Write(Word word) { __asm__ volatile("msr fpcr, %0" : : "r"(word)); }
#elif DGMS_ARM32
  using Word = uint32_t;
  static constexpr Word kFlush = Word{1} << 24;  // FPSCR.FZ; NEON on 32-bit ARM always flushes
  static Word Read() {
    Word word;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(word));
    return word;
  }
  static void Write(Word word) { __asm__ volatile("vmsr fpscr, %0" : : "r"(word)); }
#else
  using Word = unsigned;
  static constexpr Word kFlush = 0;
  static Word Read() { return 0; }
  static void Write(Word) {}
#endif
  Word saved_;
};

}  // namespace dgms

#endif  // DGMS_KERNELS_DENORMALS_H_
