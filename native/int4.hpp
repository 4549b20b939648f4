// The product of two matrices of 4-bit integers, -8 to 7, two in each byte: exact, in 32 bits.
//
// A row of k integers is ceil(k / 8) groups of 4 bytes: byte t of group g holds x[8g + t] + 8 in its
// low half and x[8g + 4 + t] + 8 in its high half; what lies beyond k is 0. The left operand is
// (m, groups, 4) bytes. The right one, transposed, comes in panels of kInt4Panel rows:
// (panels, groups, kInt4Panel, 4), so that a vector of bytes holds a group of each of its columns.
//
// Bytes of B stay unsigned, those of A are made signed:  sum a b = sum a (b + 8) - 8 sum a.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

namespace veilform {

constexpr std::size_t kInt4Panel = 16;
constexpr std::size_t kInt4Rows = 6;   // of A at a time
constexpr std::size_t kInt4Most = std::size_t{1} << 24;  // of k: 120 k must fit in 31 bits

constexpr std::size_t int4_groups(std::size_t k) { return (k + 7) / 8; }

// kInt4Rows rows of A, [2 groups][kInt4Rows][4] signed bytes, and 8 times the sum of each.
struct Int4Tile {
  const std::int8_t* a;
  const std::int32_t* terms;
  std::size_t groups;
  const u8* b;         // the first panel
  std::size_t panels;  // 1 to 4
  std::int32_t* c;     // (kInt4Rows, 4 kInt4Panel)
};

using Int4Fn = void (*)(const Int4Tile&);

extern const Int4Fn int4_portable;
#ifdef VEILFORM_X86
extern const Int4Fn int4_avx2, int4_vnni;
#endif

struct Int4Product {
  std::size_t m, k, n;
  const u8 *a, *b;
  std::int32_t* c;
};

void run_int4(Int4Fn kernel, std::size_t threads, const Int4Product& p);

}  // namespace veilform
