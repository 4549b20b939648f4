// The product of words by small weights: (m, k) words times q 2^shift, q (k, n) signed bytes and a
// shift for each column of n, modulo 2^bits.
//
// Words are taken apart into limbs of `bytes` bytes. A limb's matrix times q is exact in 32 bits over
// `inner` steps, and the sums of the limbs are put together in words. That is why small weights pay:
// a multiply-add takes ceil(bits / (8 bytes)) small products, of which VNNI does 64 at a time. How
// many it is depends on the ring alone, so that time does not tell of the weights or their shifts.
//
// Limbs of one byte are unsigned. Those of two are signed, for vpmaddwd: with H = 0x8000800080008000,
// the halves of (x + H) ^ H are digits of x in -2^15 .. 2^15 - 1, as adding H to their sum shows.
//
// q comes in panels of kSmallPanel columns: (panels, groups, kSmallPanel, 4), where byte t of group g
// is row 4g + t, and 0 beyond the last row and column.
#pragma once

#include "kernels.hpp"

namespace veilform {

constexpr std::size_t kSmallPanel = 48;
constexpr std::size_t kSmallRows = 8;     // a tile's
constexpr std::size_t kSmallBlock = 256;  // bytes of a row that lie together

constexpr std::size_t small_groups(std::size_t k) { return (k + 3) / 4; }

// Bytes of one limb of a tile's rows, `row` bytes each: [blocks][kSmallRows][kSmallBlock].
constexpr std::size_t small_limb_bytes(std::size_t row) {
  return (row + kSmallBlock - 1) / kSmallBlock * kSmallBlock * kSmallRows;
}

// kSmallRows rows of words, `rows` of which are there, as limbs: those of a row are zero beyond
// `inner`.
struct SmallRows {
  const u64* a;
  std::size_t lda, rows, inner;
  unsigned limbs;
  u8* out;
};

// A tile's rows by one panel.
struct SmallTile {
  const u8* a;  // as SmallRows makes them
  std::size_t inner;
  unsigned limbs;
  const u8* b;          // the panel, at the first of the inner steps
  const u8* shifts;     // of its columns
  u64* c;
  std::size_t ldc, rows, cols;
  bool accumulate;
  u64 mask;
};

struct SmallFns {
  unsigned bytes;     // of a limb
  std::size_t inner;  // most steps whose sum fits 32 bits: a multiple of 4
  void (*split)(const SmallRows&);
  void (*tile)(const SmallTile&);
};

extern const SmallFns small_portable;
#ifdef VEILFORM_X86
extern const SmallFns small_avx2, small_vnni;
#endif

struct SmallProduct {
  std::size_t m, k, n;
  const u64* a;
  const u8* b;       // panels
  const u8* shifts;  // n of them
  u64* c;
  bool accumulate;
  unsigned bits;
};

void run_small(const SmallFns& kernel, std::size_t threads, const SmallProduct& p);

}  // namespace veilform
