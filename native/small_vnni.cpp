// Small weights with AVX-512 and VNNI: vpdpbusd multiplies 64 unsigned bytes by as many signed ones
// and adds each four products to a 32-bit sum. 24 sums, three vectors of weights and the broadcast
// limbs fit the 32 registers.
#include <immintrin.h>

#include "avx512_turn.hpp"
#include "small_tile.hpp"

namespace veilform {
namespace {

// Given as an instruction: from the intrinsic GCC 12 makes moves, and spills the sums.
inline void add(__m512i& sum, __m512i a, __m512i b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

inline __m512i four(const u8* a) {
  int word;
  std::memcpy(&word, a, 4);
  return _mm512_set1_epi32(word);
}

struct Vnni {
  static constexpr unsigned kBytes = 1;
  static constexpr std::size_t kInner = 1536;
  static constexpr std::size_t kNv = kSmallPanel / 16;

  static void limb(const u8* a, std::size_t groups, const u8* b, SmallSums& out) {
    __m512i sum[kSmallRows][kNv];
    for (auto& row : sum)
      for (auto& s : row) s = _mm512_setzero_si512();
    for (std::size_t done = 0; done < groups; a += kSmallRows * kSmallBlock) {
      const std::size_t end = groups - done < kSmallBlock / 4 ? groups : done + kSmallBlock / 4;
      for (const u8* at = a; done < end; ++done, at += 4, b += 4 * kSmallPanel) {
        __m512i w[kNv];
        for (std::size_t v = 0; v < kNv; ++v) w[v] = _mm512_loadu_si512(b + 64 * v);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kSmallRows; ++r) {
          const __m512i x = four(at + r * kSmallBlock);
          for (std::size_t v = 0; v < kNv; ++v) add(sum[r][v], x, w[v]);
        }
      }
    }
    for (std::size_t r = 0; r < kSmallRows; ++r)
      for (std::size_t v = 0; v < kNv; ++v) _mm512_store_si512(&out[r][16 * v], sum[r][v]);
  }
};

// The bytes of 8 words, byte 0 of each first: within each 16 bytes, then across.
__m512i by_byte(__m512i words) {
  const __m512i within = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  alignas(64) static constexpr std::uint16_t kAcross[32] = {
      0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
      4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kAcross), _mm512_shuffle_epi8(words, within));
}

void split(const SmallRows& s) {
  const std::size_t limb = small_limb_bytes(s.inner);
  for (std::size_t r = 0; r < kSmallRows; ++r) {
    const u64* row = s.a + (r < s.rows ? r : 0) * s.lda;
    for (std::size_t k = 0; k < s.inner; k += 64) {
      __m512i x[8];
      for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t at = k + 8 * i;
        const std::size_t live = r >= s.rows || at >= s.inner ? 0 : s.inner - at;
        const auto there = static_cast<__mmask8>(live < 8 ? (1U << live) - 1 : 255);
        x[i] = by_byte(_mm512_maskz_loadu_epi64(there, row + (live ? at : 0)));
      }
      turn8(x);
      u8* out = s.out + (k / kSmallBlock * kSmallRows + r) * kSmallBlock + k % kSmallBlock;
      for (unsigned l = 0; l < s.limbs; ++l) _mm512_storeu_si512(out + l * limb, x[l]);
    }
  }
}

}  // namespace

const SmallFns small_vnni = Small<Vnni>::fns(split);

}  // namespace veilform
