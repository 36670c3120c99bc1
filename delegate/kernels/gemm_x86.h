// The matrix kernels of AVX2 and AVX-512, written once over simd_avx2.h or simd_avx512.h, which the including file
// includes first. Panels are up to two vectors wide. Tile order: pack_lanes32 (see pack_weights.h): a vector of packed
// words holds 8 places of as many columns as it has lanes.
#ifndef DGMS_KERNELS_GEMM_X86_H_
#define DGMS_KERNELS_GEMM_X86_H_

#include "kernels/gemm_tiles.h"
#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kPlaces = 8;  // places of K per packed word

DGMS_INLINE int Vectors(int n) { return (n + kLanes - 1) / kLanes; }

// True if the columns of vector v share one table.
DGMS_INLINE bool SharesTable(const Tables& tables, int v) {
  return tables.column_table == nullptr ||
         tables.column_table[v * kLanes] == tables.column_table[v * kLanes + kLanes - 1];
}

DGMS_INLINE Table TableOf(const Tables& tables, int v) {
  const int64_t index = tables.column_table == nullptr ? 0 : tables.column_table[v * kLanes];
  return Table(tables.tables + kTableSize * index);
}

template <typename Lookup>
DGMS_INLINE void DecodeVector(const Lookup& lookup, const uint8_t* packed, int64_t k, int64_t width, float* panel) {
  for (int64_t p = 0; p < k; p += kPlaces, packed += width * 4, panel += width * kPlaces) {
    const Words words = LoadWords(packed);
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) Store(panel + place * width, lookup(words, place));
  }
}

void Decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  const int vectors = Vectors(n);
  for (int v = 0; v < vectors; ++v) {
    const uint8_t* from = packed + v * kLanes * 4;
    float* to = panel + v * kLanes;
    if (SharesTable(tables, v)) {
      DecodeVector(TableOf(tables, v), from, k, vectors * kLanes, to);
    } else {
      DecodeVector(LaneTables(tables.tables, tables.column_table + v * kLanes), from, k, vectors * kLanes, to);
    }
  }
}

// ---- one tile
// --------------------------------------------------------------------------------------------------------

template <int rows, int vectors>
struct Sums {
  Floats v[rows][vectors];
};

// One place of K: sums[r] += a[r] * panel row. Rows are reached from every fourth row's pointer by 0, 1, 2 or 3 strides
// (x86 addresses scale by 1 and 2), because a pointer for each row would not fit in the registers.
template <int rows, int vectors, int pointers>
DGMS_INLINE void Step(Sums<rows, vectors>& sums, const char* const (&a)[pointers], int64_t stride, int64_t stride3,
                      int offset, const float* panel) {
  Floats weights[vectors];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) weights[v] = Load(panel + v * kLanes);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    const char* row = a[r / 4] + (r % 4 == 3 ? stride3 : (r % 4) * stride) + offset * 4;
    const Floats x = Splat(*reinterpret_cast<const float*>(row));
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = MultiplyAdd(x, weights[v], sums.v[r][v]);
  }
}

// The columns of vector v: all of its lanes, or those that are left of n.
template <int rows, int vectors, bool all, bool accumulate, bool finish, bool adds>
DGMS_INLINE void FinishVector(const GemmF32Args& args, const Sums<rows, vectors>& sums, int v) {
  const Mask mask = First(args.n - v * kLanes);
  const int64_t stride = args.c_row_stride, residual_stride = args.epilogue.residual_row_stride;
  const Floats min = Splat(args.epilogue.min), max = Splat(args.epilogue.max);
  const Floats scale = finish ? Load(args.epilogue.scale + v * kLanes) : Zero();
  const Floats bias = finish ? Load(args.epilogue.bias + v * kLanes) : Zero();
  const float* residual = adds ? args.epilogue.residual + v * kLanes : nullptr;
  float* c = args.c + v * kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r, c += stride) {
    Floats sum = sums.v[r][v];
    if (accumulate) sum = Add(sum, all ? Load(c) : Load(c, mask));
    if (finish) sum = MultiplyAdd(sum, scale, bias);
    if (adds) {
      sum = Add(sum, all ? Load(residual) : Load(residual, mask));
      residual += residual_stride;
    }
    if (finish) sum = Clamp(sum, min, max);
    all ? Store(c, sum) : Store(c, sum, mask);  // masked stores are slow on some processors
  }
}

// What is asked for is asked once, not for every row: tiles with a short K spend as long here as on their products.
template <int rows, int vectors, bool all>
DGMS_INLINE void FinishVector(const GemmF32Args& args, const Sums<rows, vectors>& sums, int v) {
  const bool adds = args.finish && args.epilogue.residual != nullptr;
  if (args.accumulate) {
    if (adds) return FinishVector<rows, vectors, all, true, true, true>(args, sums, v);
    if (args.finish) return FinishVector<rows, vectors, all, true, true, false>(args, sums, v);
    return FinishVector<rows, vectors, all, true, false, false>(args, sums, v);
  }
  if (adds) return FinishVector<rows, vectors, all, false, true, true>(args, sums, v);
  if (args.finish) return FinishVector<rows, vectors, all, false, true, false>(args, sums, v);
  FinishVector<rows, vectors, all, false, false, false>(args, sums, v);
}

template <int rows, int vectors>
DGMS_INLINE void Finish(const GemmF32Args& args, const Sums<rows, vectors>& sums) {
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) {
    if (args.n >= (v + 1) * kLanes) {
      FinishVector<rows, vectors, true>(args, sums, v);
    } else {
      FinishVector<rows, vectors, false>(args, sums, v);
    }
  }
}

template <int rows, int vectors>
void Tile(const GemmF32Args& args) {
  Sums<rows, vectors> sums;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = Zero();
  }
  constexpr int kPointers = (rows + 3) / 4;
  const int64_t stride = args.a_row_stride * 4, stride3 = stride * 3;
  const float* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const char* a[kPointers];
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) {
      a[i] = reinterpret_cast<const char*>(args.a + args.segments[s]) + 4 * i * stride;
    }
    int64_t p = args.segment_length;
    for (; p >= 4; p -= 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) Step<rows, vectors>(sums, a, stride, stride3, i, panel + i * vectors * kLanes);
      panel += 4 * vectors * kLanes;
#pragma GCC unroll 4
      for (int i = 0; i < kPointers; ++i) a[i] += 16;
    }
    for (; p > 0; --p) {
      Step<rows, vectors>(sums, a, stride, stride3, 0, panel);
      panel += vectors * kLanes;
#pragma GCC unroll 4
      for (int i = 0; i < kPointers; ++i) a[i] += 4;
    }
  }
  Finish(args, sums);
}

// ---- one row, decoding in registers
// -----------------------------------------------------------------------------------

// Four chains of sums (places 0, 4; 1, 5; 2, 6; 3, 7 of each word) hide the latency of the multiply-add.
template <typename Lookup>
DGMS_INLINE Floats GemvVector(const Lookup& lookup, const GemvF32Args& args, int vectors, int v) {
  constexpr int kChains = 4;
  constexpr int kAhead = 4096;  // bytes: weights are used once, and a new page stops the processor's own prefetching
  const uint8_t* packed = args.packed + v * kLanes * 4;
  const int64_t step = int64_t{vectors} * kLanes * 4;
  Floats sums[kChains];
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i) sums[i] = Zero();
  int64_t p = 0;
  for (; p + kPlaces <= args.k; p += kPlaces, packed += step) {
    _mm_prefetch(reinterpret_cast<const char*>(packed + kAhead), _MM_HINT_T0);
    const Words words = LoadWords(packed);
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) {
      sums[place % kChains] = MultiplyAdd(Splat(args.x[p + place]), lookup(words, place), sums[place % kChains]);
    }
  }
  if (p < args.k) {
    Words words = LoadWords(packed);
    for (; p < args.k; ++p, words = ShiftRight(words, 4)) {
      sums[0] = MultiplyAdd(Splat(args.x[p]), lookup(words, 0), sums[0]);
    }
  }
  return Add(Add(sums[0], sums[1]), Add(sums[2], sums[3]));
}

void Gemv(const GemvF32Args& args) {
  const int vectors = Vectors(args.n);
  const Epilogue& e = args.epilogue;
  for (int v = 0; v < vectors; ++v) {
    const Floats sum =
        SharesTable(args.tables, v)
            ? GemvVector(TableOf(args.tables, v), args, vectors, v)
            : GemvVector(LaneTables(args.tables.tables, args.tables.column_table + v * kLanes), args, vectors, v);
    const Mask mask = First(args.n - v * kLanes);
    Floats y = MultiplyAdd(sum, Load(e.scale + v * kLanes), Load(e.bias + v * kLanes));
    if (e.residual != nullptr) y = Add(y, Load(e.residual + v * kLanes, mask));
    Store(args.y + v * kLanes, Clamp(y, Splat(e.min), Splat(e.max)), mask);
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_GEMM_X86_H_
