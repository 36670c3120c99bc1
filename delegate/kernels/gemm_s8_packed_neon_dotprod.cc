// int8 with the ARMv8.2 dot product and packed rows (kernel_s8.h): six rows by 16 columns at a time.
//
// Packed rows come in the order of use: per 8 places 48 bytes, which are one load. So registers hold the sums of 6 rows
// (24), 8 places of all rows (3) and 4 places of the 16 columns (4), and 96 dot products need 6 loads beside them;
// rows that are read where they are need 5 and 4 for 80, and every segment begins anew.
//     bytes 0..15    places 0..3 of rows 0, 1, 2, 3
//     bytes 16..31   places 4..7 of them
//     bytes 32..47   places 0..3 of rows 4 and 5, then places 4..7
#include "kernels/gemm_s8_by_rows_neon.h"

namespace dgms {
namespace {

constexpr int kTileRows = 6;
constexpr int kGroup = kPackedPlaces;  // places
constexpr int kGroupBytes = kTileRows * kGroup;

template <int lane, int vectors>
DGMS_INLINE void StepRow(int32x4_t (&sums)[vectors], const int8x16_t (&w)[vectors], int8x16_t x) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) sums[v] = vdotq_laneq_s32(sums[v], w[v], x, lane);
}

// Places half * 4 .. of a group.
template <int half, int rows, int vectors>
DGMS_INLINE void StepHalf(SumsS8<rows, vectors>& sums, const int8x16x3_t& x, const int8_t** panel) {
  int8x16_t w[vectors];
  NextWeights<vectors>(panel, w);
  StepRow<0>(sums.v[0], w, x.val[half]);
  if constexpr (rows > 1) StepRow<1>(sums.v[1], w, x.val[half]);
  if constexpr (rows > 2) StepRow<2>(sums.v[2], w, x.val[half]);
  if constexpr (rows > 3) StepRow<3>(sums.v[3], w, x.val[half]);
  if constexpr (rows > 4) StepRow<half * 2>(sums.v[4], w, x.val[2]);
  if constexpr (rows > 5) StepRow<half * 2 + 1>(sums.v[5], w, x.val[2]);
  After(panel, sums);
}

template <int rows, int vectors>
DGMS_INLINE void StepGroup(SumsS8<rows, vectors>& sums, const int8_t** packed, const int8_t** panel) {
  const int8x16x3_t x = vld1q_s8_x3(*packed);
  *packed += kGroupBytes;
  __asm__("" : "+r"(*packed));
  StepHalf<0>(sums, x, panel);
  StepHalf<1>(sums, x, panel);
  After(packed, sums);
}

// Some groups a round, then the others. Rounds count down to 0: one instruction, which the empty assembly keeps.
template <int rows, int vectors>
DGMS_INLINE void Accumulate(SumsS8<rows, vectors>& sums, const int8_t* packed, const int8_t* panel, int64_t places) {
  constexpr int kRound = rows == kTileRows && vectors == 4 ? 8 : 4;  // other tiles are few
  for (int64_t left = places & ~int64_t{kRound * kGroup - 1}; left != 0; left -= kRound * kGroup) {
    __asm__("" : "+r"(left));
#pragma GCC unroll 8
    for (int group = 0; group < kRound; ++group) StepGroup(sums, &packed, &panel);
  }
  for (int64_t left = places & ((kRound - 1) * kGroup); left != 0; left -= kGroup) {
    __asm__("" : "+r"(left));
    StepGroup(sums, &packed, &panel);
  }
  if (places % kGroup != 0) StepHalf<0>(sums, vld1q_s8_x3(packed), &panel);
}

template <int rows, int vectors, typename Output>
void TilesS8(const PackedGemmS8Args& args, const int8_t* packed, int tiles, Output* output) {
  for (; tiles > 0; --tiles, packed += args.tile_stride) {
    SumsS8<rows, vectors> sums;
    output->Begin(sums);
    Accumulate(sums, packed, args.panel, args.places);
    output->Finish(sums);
  }
}

template <typename Output>
using TilesFn = void (*)(const PackedGemmS8Args& args, const int8_t* packed, int tiles, Output* output);

// By their rows.
template <int vectors, typename Output>
constexpr TilesFn<Output> kTiles[kTileRows] = {TilesS8<1, vectors, Output>, TilesS8<2, vectors, Output>,
                                               TilesS8<3, vectors, Output>, TilesS8<4, vectors, Output>,
                                               TilesS8<5, vectors, Output>, TilesS8<6, vectors, Output>};

template <int vectors, typename Output>
void RunTiles(const PackedGemmS8Args& args, Output output) {
  const int tiles = args.rows / kTileRows, left = args.rows % kTileRows;
  TilesS8<kTileRows, vectors, Output>(args, args.packed, tiles, &output);
  if (left > 0) kTiles<vectors, Output>[left - 1](args, args.packed + tiles* args.tile_stride, 1, & output);
}

// 2 * pairs neighbouring groups of all rows, `from` bytes behind their beginnings. The two halves of 16 places are
// apart from the beginning, so that stores which interleave by 4 places do all the rest; compilers would move registers
// about for them.
DGMS_INLINE int8_t* PackPairs(const int8_t* const* row, int64_t from, int64_t pairs, int8_t* to) {
  const int8_t *r0 = row[0] + from, *r1 = row[1] + from, *r2 = row[2] + from;
  const int8_t *r3 = row[3] + from, *r4 = row[4] + from, *r5 = row[5] + from;
  __asm__ volatile(
      "1:\n"
      "ldp d0, d4, [%[r0]], #16\n"
      "ldp d1, d5, [%[r1]], #16\n"
      "ldp d2, d6, [%[r2]], #16\n"
      "ldp d3, d7, [%[r3]], #16\n"
      "ldp d16, d18, [%[r4]], #16\n"
      "ldp d17, d19, [%[r5]], #16\n"
      "subs %[pairs], %[pairs], #1\n"
      "st4 {v0.2s, v1.2s, v2.2s, v3.2s}, [%[to]], #32\n"
      "st2 {v16.2s, v17.2s}, [%[to]], #16\n"
      "st4 {v4.2s, v5.2s, v6.2s, v7.2s}, [%[to]], #32\n"
      "st2 {v18.2s, v19.2s}, [%[to]], #16\n"
      "b.ne 1b\n"
      : [r0] "+r"(r0), [r1] "+r"(r1), [r2] "+r"(r2), [r3] "+r"(r3), [r4] "+r"(r4), [r5] "+r"(r5), [to] "+r"(to),
        [pairs] "+r"(pairs)
      :
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "cc", "memory");
  return to;
}

DGMS_INLINE int8_t* PackGroup(const int8_t* const* row, int64_t from, int8_t* to) {
  const auto load = [from](const int8_t* p) { return vreinterpret_s32_s8(vld1_s8(p + from)); };
  const int32x2x4_t four = {{load(row[0]), load(row[1]), load(row[2]), load(row[3])}};
  const int32x2x2_t two = {{load(row[4]), load(row[5])}};
  vst4_s32(reinterpret_cast<int32_t*>(to), four);
  vst2_s32(reinterpret_cast<int32_t*>(to + 32), two);
  return to + kGroupBytes;
}

// `count` neighbouring groups.
DGMS_INLINE int8_t* PackGroups(const int8_t* const* row, int64_t from, int64_t count, int8_t* to) {
  if (count / 2 > 0) to = PackPairs(row, from, count / 2, to);
  return count % 2 == 0 ? to : PackGroup(row, from + (count - 1) * kGroup, to);
}

// `count` bytes, the two ends in pieces that overlap; nothing beyond is read or written.
DGMS_INLINE void CopyBytes(const int8_t* from, int8_t* to, int64_t count) {
  if (count >= 16) {
    const int8x16_t last = vld1q_s8(from + count - 16);
    for (int64_t i = 0; i + 16 < count; i += 16) vst1q_s8(to + i, vld1q_s8(from + i));
    vst1q_s8(to + count - 16, last);
  } else if (count >= 8) {
    const int8x8_t first = vld1_s8(from), last = vld1_s8(from + count - 8);
    vst1_s8(to, first);
    vst1_s8(to + count - 8, last);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

// Some places of all rows, on their way to whole groups.
constexpr int64_t kBuffered = 256;
struct RowBuffer {
  int8_t row[kTileRows][kBuffered + 16];  // and zeros behind them
  int64_t places = 0;

  // Zeros up to a whole group.
  int8_t* Flush(int8_t* to) {
    const int8_t* rows[kTileRows];
    const int64_t groups = (places + kGroup - 1) / kGroup;
    for (int r = 0; r < kTileRows; ++r) {
      rows[r] = row[r];
      vst1_s8(row[r] + places, vdup_n_s8(0));
    }
    places = 0;
    return PackGroups(rows, 0, groups, to);
  }
};

// Segments of `least` bytes to twice as many, each in two pieces that overlap.
template <typename Load, typename Store>
DGMS_INLINE void CopyInTwo(const PackRowsS8Args& args, const int8_t* const* row, int64_t least, RowBuffer* buffer,
                           const Load& load, const Store& store) {
  const int64_t length = args.segment_length, rest = length - least;
  const int8_t *first[kTileRows], *last[kTileRows];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    first[r] = row[r];
    last[r] = row[r] + rest;
  }
  int64_t to = 0;
  for (int64_t s = 0; s < args.segment_count; ++s, to += length) {
    const int64_t from = args.segments[s];
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const auto start = load(first[r] + from), end = load(last[r] + from);
      store(buffer->row[r] + to, start);
      store(buffer->row[r] + to + rest, end);
    }
  }
  buffer->places = to;
}

// Segments that are no whole groups.
void PackRagged(const PackRowsS8Args& args, const int8_t* const* row) {
  RowBuffer buffer;
  const int64_t length = args.segment_length;
  int8_t* to = args.packed;
  if (args.segment_count * length <= kBuffered && length >= 8 && length <= 32) {
    if (length > 16) {
      CopyInTwo(
          args, row, 16, &buffer, [](const int8_t* p) { return vld1q_s8(p); },
          [](int8_t* p, int8x16_t v) { vst1q_s8(p, v); });
    } else {
      CopyInTwo(
          args, row, 8, &buffer, [](const int8_t* p) { return vld1_s8(p); },
          [](int8_t* p, int8x8_t v) { vst1_s8(p, v); });
    }
  } else {
    for (int64_t s = 0; s < args.segment_count; ++s) {
      for (int64_t p = 0, count; p < length; p += count) {
        const int64_t room = kBuffered - buffer.places;
        count = length - p < room ? length - p : room;
        for (int r = 0; r < kTileRows; ++r) {
          CopyBytes(row[r] + args.segments[s] + p, buffer.row[r] + buffer.places, count);
        }
        buffer.places += count;
        if (buffer.places == kBuffered) to = buffer.Flush(to);
      }
    }
  }
  buffer.Flush(to);
}

void PackRows(const PackRowsS8Args& args, const int8_t* const* row) {
  const int64_t groups = args.segment_length / kGroup;
  if (args.segment_length % kGroup != 0) return PackRagged(args, row);
  const int64_t* const end = args.segments + args.segment_count;
  int8_t* to = args.packed;
  if (groups % 2 == 0) {  // nothing to decide at each segment
    for (const int64_t* segment = args.segments; segment != end; ++segment) {
      to = PackPairs(row, *segment, groups / 2, to);
    }
  } else {
    for (const int64_t* segment = args.segments; segment != end; ++segment) to = PackGroups(row, *segment, groups, to);
  }
}

void Pack(const PackRowsS8Args& args) {
  if (args.rows == kTileRows) return PackRows(args, args.row);
  const int8_t* row[kTileRows];  // rows that are not there repeat the last
  for (int r = 0; r < kTileRows; ++r) row[r] = args.row[r < args.rows ? r : args.rows - 1];
  PackRows(args, row);
}

void Gemm(const PackedGemmS8Args& args) {
  args.width == 16 ? RunTiles<4>(args, ToSums<4>(args.c, args.accumulate))
                   : RunTiles<2>(args, ToSums<2>(args.c, args.accumulate));
}

void Requantize(const PackedGemmS8Args& args, const RequantizeArgs& output) {
  const int32_t* c = args.accumulate ? args.c : nullptr;
  if (args.width == 16) {
    WithBytes<4>(c, output, args.places, [&](const auto& bytes) { RunTiles<4>(args, bytes); });
  } else {
    WithBytes<2>(c, output, args.places, [&](const auto& bytes) { RunTiles<2>(args, bytes); });
  }
}

void Dequantize(const PackedGemmS8Args& args, const DequantizeArgs& output) {
  const int32_t* c = args.accumulate ? args.c : nullptr;
  args.width == 16 ? RunTiles<4>(args, ToFloats<4>(c, output)) : RunTiles<2>(args, ToFloats<2>(c, output));
}

void RescaleRows(const PackedGemmS8Args& args, const RescaleRowsArgs& output) {
  const int32_t* c = args.accumulate ? args.c : nullptr;
  args.width == 16 ? RunTiles<4>(args, ToRoundedBytes<4>(c, output)) : RunTiles<2>(args, ToRoundedBytes<2>(c, output));
}

}  // namespace

extern const PackedGemmS8 s8_6x16_packed_neon_dotprod = {kTileRows, Pack, Gemm, Requantize, Dequantize, RescaleRows};

}  // namespace dgms
