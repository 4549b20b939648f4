// A panel's tile from the products of its limbs, for an instruction set given as a class. Include in
// one translation unit per instruction set, as gemm.hpp.
//
// An instruction set `I` has kBytes, of a limb, kInner, the steps of which a sum fits 32 bits, and
// static void limb(a, groups, b, sum)  that multiplies kSmallRows rows of one limb by a panel.
#pragma once

#include <cstring>

#include "small.hpp"

namespace veilform {
namespace {

using SmallSums = std::int32_t[kSmallRows][kSmallPanel];

template <class I>
struct Small {
  static constexpr std::size_t kLargest = I::kBytes == 1 ? 255 : 1 << 15;
  static_assert(kLargest * 128 * I::kInner < (std::size_t{1} << 31), "a sum fits 32 bits");
  static_assert(I::kInner % 4 == 0, "whole groups");

  static constexpr SmallFns fns(void (*split)(const SmallRows&)) {
    return {I::kBytes, I::kInner, split, tile};
  }

  static void tile(const SmallTile& t) {
    alignas(64) SmallSums sum;
    alignas(64) u64 word[kSmallRows][kSmallPanel] = {};
    const std::size_t limb = small_limb_bytes(I::kBytes * t.inner), groups = small_groups(t.inner);
    for (unsigned l = t.limbs; l-- > 0;) {  // from the highest
      I::limb(t.a + l * limb, groups, t.b, sum);
      for (std::size_t r = 0; r < kSmallRows; ++r)
        for (std::size_t j = 0; j < kSmallPanel; ++j)
          word[r][j] = (word[r][j] << (8 * I::kBytes)) + static_cast<u64>(static_cast<i64>(sum[r][j]));
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

// Word by word, for limbs of type T.
template <class T>
void small_split(const SmallRows& s) {
  constexpr std::size_t kTogether = kSmallBlock / sizeof(T);
  constexpr u64 kHalves = sizeof(T) == 2 ? 0x8000800080008000 : 0;
  const std::size_t limb = small_limb_bytes(sizeof(T) * s.inner);
  for (std::size_t r = 0; r < kSmallRows; ++r)
    for (std::size_t k = 0; k < small_groups(s.inner) * 4; ++k) {
      const u64 given = r < s.rows && k < s.inner ? s.a[r * s.lda + k] : 0;
      const u64 word = (given + kHalves) ^ kHalves;
      u8* at = s.out + (k / kTogether * kSmallRows + r) * kSmallBlock + k % kTogether * sizeof(T);
      for (unsigned l = 0; l < s.limbs; ++l) {
        const T part = static_cast<T>(word >> (8 * sizeof(T) * l));
        std::memcpy(at + l * limb, &part, sizeof part);
      }
    }
}

}  // namespace
}  // namespace veilform
