// A panel's tile from the products of its limbs, for an instruction set given as a class. Include in
// one translation unit per instruction set, as gemm.hpp.
//
// An instruction set `I` has  static void limb(a, groups, b, sum)  that multiplies kSmallRows rows of
// one limb by a panel.
#pragma once

#include <cstring>

#include "small.hpp"

namespace veilform {
namespace {

using SmallSums = std::int32_t[kSmallRows][kSmallPanel];

template <class I>
struct Small {
  static void tile(const SmallTile& t) {
    alignas(64) SmallSums sum;
    alignas(64) u64 word[kSmallRows][kSmallPanel] = {};
    const std::size_t limb = small_limb_bytes(t.inner), groups = small_groups(t.inner);
    for (unsigned l = t.limbs; l-- > 0;) {  // from the highest
      I::limb(t.a + l * limb, groups, t.b, sum);
      for (std::size_t r = 0; r < kSmallRows; ++r)
        for (std::size_t j = 0; j < kSmallPanel; ++j)
          word[r][j] = (word[r][j] << 8) + static_cast<u64>(static_cast<i64>(sum[r][j]));
    }
    u64 shift[kSmallPanel] = {};
    for (std::size_t j = 0; j < t.cols; ++j) shift[j] = t.shifts[j];
    for (std::size_t r = 0; r < t.rows; ++r) {
      u64* out = t.c + r * t.ldc;
      for (std::size_t j = 0; j < t.cols; ++j)
        out[j] = ((word[r][j] << shift[j]) + (t.accumulate ? out[j] : 0)) & t.mask;
    }
  }
};

// Word by word.
inline void small_split(const SmallRows& s, std::size_t from) {
  const std::size_t limb = small_limb_bytes(s.inner);
  for (std::size_t r = 0; r < kSmallRows; ++r)
    for (std::size_t k = from; k < s.inner; ++k) {
      const u64 word = r < s.rows ? s.a[r * s.lda + k] : 0;
      u8* at = s.out + (k / kSmallBlock * kSmallRows + r) * kSmallBlock + k % kSmallBlock;
      for (unsigned l = 0; l < s.limbs; ++l) at[l * limb] = static_cast<u8>(word >> (8 * l));
    }
  for (std::size_t k = s.inner; k % 4; ++k)
    for (std::size_t r = 0; r < kSmallRows; ++r)
      for (unsigned l = 0; l < s.limbs; ++l)
        s.out[l * limb + (k / kSmallBlock * kSmallRows + r) * kSmallBlock + k % kSmallBlock] = 0;
}

inline void small_split_all(const SmallRows& s) { small_split(s, 0); }

}  // namespace
}  // namespace veilform
