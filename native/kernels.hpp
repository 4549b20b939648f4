// The interface between the bindings and the kernels of each instruction set.
//
// All arithmetic is modulo 2^64, or a smaller power of two where a mask or bits are given. Nothing
// here allocates, throws or keeps state: the bindings check every size first, and hand in the
// memory to work in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace veilform {

using u8 = std::uint8_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

// An elementwise operand: words of 2, 4 or 8 bytes (width), or zero everywhere (width 0). Element i
// of the result uses element i / repeat.
struct Operand {
  const void* data = nullptr;
  unsigned width = 0;
  std::size_t repeat = 1;
};

// An opened value: y = y' 2^t, y' its opening modulo 2^(bits-t), lifted to a ring of `bits` bits.
// For t = 0 it was opened in its own ring. See veilform/kernels/__init__.py.
struct Opened {
  Operand y;
  unsigned t = 0;
};

struct SquareTerms {
  Operand q, h, q2, qh;
};

struct ProductTerms {
  Operand qa, ha, qb, hb, qaqb, qahb, haqb, hahb;
};

// ((((a + b + plus) mod 2^bits) >> right) + then) << left, with b optional and either negated.
struct Mix {
  const u64* a;
  const u64* b;  // or null
  bool negate_a, negate_b;
  u64 plus;
  unsigned bits, right;
  u64 then;
  unsigned left;
};

// Angles order x[i] 2^shift, in units of which 2^32 are a turn.
struct Angles {
  const u64* x;
  u64 order;
  unsigned shift;
};

// A product of a row block of A by a run of column panels of B.
struct GemmTask {
  const u64* a;      // first row of the block; rows are lda words apart
  std::size_t lda;
  const void* b;     // plain: words of B itself, rows ldb words apart; packed: the first panel
  std::size_t ldb;   // ignored if packed
  unsigned width;    // bytes of a packed weight, or 0 for a plain B
  u64* c;            // top left of the block of the result, at the first panel's first column
  std::size_t ldc;
  std::size_t rows, cols, inner;
  bool accumulate;   // add to what c holds
  u64 mask;          // of the result's words: 2^bits - 1
};

// Images (N, H, W, C) and tiles (T, some rows of tiles of all N down, across, C), for Winograd's
// transforms one way or the other: see tiles.hpp.
struct Tiling {
  const u64* image;
  u64* tiles_out;
  const u64* tiles;
  u64* image_out;
  std::size_t images, height, width, channels, padding, down, across;
  unsigned tile;  // 2 or 4, the outputs of a tile each way
  u64 mask;       // of the words of image_out: 2^bits - 1
  bool accumulate;  // add to what image_out holds
};

using GemmFn = void (*)(const GemmTask&, u64* scratch);

// The kernels of one instruction set.
struct Ops {
  // Panel p of a packed matrix (k, n) holds columns p nr .. (p+1) nr, row after row: nr signed
  // weights of 1, 2, 3, 4 or 8 bytes for each of the k rows (k rounded up to even), zero beyond
  // row k and column n. A row of 3-byte weights is its nr low halves, then its nr high bytes.
  std::size_t nr;
  std::size_t max_rows;       // of one GemmTask
  std::size_t scratch_words;  // that one GemmTask works in
  GemmFn gemm;
  void (*pack)(const u64* b, std::size_t k, std::size_t n, unsigned width, u8* out);
  // Elements first .. end of the whole arrays.
  void (*share)(u64* out, const Opened& y, unsigned bits, bool lead, const Operand& q,
                const Operand& h, std::size_t first, std::size_t end);
  void (*square)(u64* out, const Opened& y, unsigned bits, bool lead, const SquareTerms& terms,
                 std::size_t first, std::size_t end);
  void (*mix)(u64* out, const Mix& mix, std::size_t first, std::size_t end);
  void (*product)(u64* out, const Opened& a, const Opened& b, unsigned bits, bool lead,
                  const ProductTerms& terms, std::size_t first, std::size_t end);
  // Rows first .. end of (rows, d): d x - sum(x).
  void (*centre)(u64* out, const u64* x, std::size_t d, std::size_t first, std::size_t end);
  // cos and sin of the angles, with `scale` fraction bits, from 2 to 30.
  void (*phasor)(u64* cos, u64* sin, const Angles& at, unsigned scale, std::size_t first,
                 std::size_t end);
  // onto += (a cos + b sin) cos[i] + (a sin - b cos) sin[i], for |a|, |b| <= 2^30.
  void (*harmonic)(u64* onto, const Angles& at, u64 a, u64 b, const u64* cos, const u64* sin,
                   std::size_t first, std::size_t end);
  // Rows of tiles first .. end of N down; the tiles hold these rows alone.
  void (*tile_inputs)(const Tiling&, std::size_t first, std::size_t end);
  void (*tile_outputs)(const Tiling&, std::size_t first, std::size_t end);
};

// Keys first .. end of a batch of K point functions on n bits. `aes` is three AES-128 keys: left,
// right, convert. Shapes are in veilform/kernels/__init__.py.
struct DpfKeys {
  const u8* aes;
  unsigned n;
  unsigned levels;  // the lowest of the tree's, which have a value word each
  u8* cw_seeds;
  u8* cw_bits;
  u64* final_words;
};

struct DpfLookup {
  int party;
  const u8* seeds;
  const u64* y;
  // Column c holds table[(-j) mod 2^n] at j = 0 .. 2^(n+1), then at least 32 spare words.
  const u64* reversed;
  std::size_t stride;   // words between columns
  std::size_t columns;
  u64* out;             // (K, columns, 2)
};

// A function of an index, constant rows on segments of it: see segments.hpp. keys.levels is n.
struct DpfSegments {
  int party;
  const u8* seeds;
  const u64* y;
  u64 first_index, last_index;  // beyond these, an index counts as outside
  unsigned fine;    // a segment inside starts at 2^fine times its length, or later
  unsigned grid;    // rows an octave, as a power of two
  unsigned octave;  // of the first row: floor(log2(first_index))
  const u64* rows;  // (R, 2): intercept and slope
  u64* out;         // (K, 4)
};

// A function of an index: rows on equal segments of a window, and one row on either side of it: see
// curve.hpp. keys.levels is n.
struct DpfCurve {
  int party;
  const u8* seeds;
  const u64* y;
  u64 first_index, last_index;  // the window
  unsigned cap;     // a segment inside has 2^cap indices at most
  // (last - first + 3, 2): left, by the segment's start, right; and those for an index above y.
  const u64 *rows, *wrapped_rows;
  u64* out;         // (K, 3)
};

// Keys first .. end of a batch of K comparisons on n bits, 1 to 64: see compare.hpp. `aes` as above.
struct CompareKeys {
  const u8* aes;
  std::size_t count;  // K
  unsigned n;
  unsigned levels;    // compare_levels(n)
  u8* blocks;         // (K, levels + 1, 16); the left control bit is the lowest bit of its level's
  u64* right_bits;    // (K,): bit i is the right control bit of level i
};

struct ComparePoints {
  int party;
  const u8* seeds;
  const u64* points;  // (rows, K)
  std::size_t rows;
  u64* out;           // (rows, K)
};

// A node's block answers for seven bits.
constexpr unsigned compare_levels(unsigned n) { return n > 7 ? n - 7 : 0; }

// scratch: dpf_scratch_words(n, columns) words, aligned to 64 bytes.
using DpfLookupFn = void (*)(const DpfKeys&, const DpfLookup&, std::size_t first, std::size_t end,
                             u64* scratch);
// scratch: kDpfTogether dpf_tree_words(room) words, aligned to 64 bytes, for `room` nodes of a level.
using DpfSegmentsFn = void (*)(const DpfKeys&, const DpfSegments&, std::size_t first,
                               std::size_t end, std::size_t room, u64* scratch);
using DpfCurveFn = void (*)(const DpfKeys&, const DpfCurve&, std::size_t first, std::size_t end,
                            std::size_t room, u64* scratch);
using DpfGenerateFn = void (*)(const DpfKeys&, const u8* seeds0, const u8* seeds1,
                               const u64* alpha, const u64* payload, std::size_t first,
                               std::size_t end);
using CompareGenerateFn = void (*)(const CompareKeys&, const u8* seeds0, const u8* seeds1,
                                   const u64* alpha, std::size_t first, std::size_t end);
using CompareEvaluateFn = void (*)(const CompareKeys&, const ComparePoints&, std::size_t first,
                                   std::size_t end);

extern const Ops portable_ops;
#ifdef VEILFORM_X86
extern const Ops avx2_ops, avx512_ops;
extern const GemmFn ifma_gemm;  // in avx512_ops' layout and scratch, for masks of up to 52 bits
extern const DpfGenerateFn aesni_generate;
extern const DpfLookupFn aesni_lookup, vaes_lookup;
extern const DpfSegmentsFn aesni_segments, vaes_segments;
extern const DpfCurveFn aesni_curve, vaes_curve;
extern const CompareGenerateFn aesni_compare_generate, vaes_compare_generate;
extern const CompareEvaluateFn aesni_compare_evaluate, vaes_compare_evaluate;
#endif

// Levels that a lookup expands breadth first below each run of kDpfRoots inner nodes.
constexpr unsigned kDpfBottom = 6;
constexpr std::size_t kDpfRoots = 16;
constexpr std::size_t kDpfLeaves = 32;  // converted at a time

constexpr std::size_t dpf_top_blocks(unsigned n) {
  const std::size_t top = std::size_t{1} << (n > kDpfBottom ? n - kDpfBottom : 0);
  return top < 2 * kDpfRoots ? 2 * kDpfRoots : top;
}

constexpr std::size_t dpf_scratch_words(unsigned n, std::size_t columns) {
  return 4 * dpf_top_blocks(n) + 4 * (kDpfRoots << kDpfBottom) + 2 * kDpfLeaves + 16 * columns;
}

// Nodes of one level that are not done, rounded up to whole vectors: those that hold an end of the
// range or 0, three at most, and `others`. Vectors of up to eight are written behind the last.
constexpr std::size_t dpf_room(std::size_t others) {
  return (others + 12 + kDpfLeaves) / kDpfLeaves * kDpfLeaves;
}

// Those inside start below 2^fine lengths.
constexpr std::size_t dpf_segment_nodes(unsigned fine) {
  return dpf_room(std::size_t{1} << fine);
}

// Those inside are longer than 2^cap.
constexpr std::size_t dpf_curve_nodes(std::size_t window, unsigned cap) {
  return dpf_room(window >> (cap + 1));
}

constexpr std::size_t kDpfEnded = 256;  // nodes that are converted together

constexpr std::size_t kDpfTogether = 4;  // walks at a time

// Of each walk.
constexpr std::size_t dpf_tree_words(std::size_t room) {
  return 8 * room + 5 * (2 * room + kDpfEnded) + 2 * kDpfLeaves;
}

}  // namespace veilform
