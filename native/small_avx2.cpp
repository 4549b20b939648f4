// Small weights with AVX2. vpmaddubsw would saturate: its sums of two products of bytes may pass 16
// bits. vpmaddwd multiplies signed halves of 16 bits and adds each two products in 32, so limbs are
// such halves, and weights are widened on their way.
#include <immintrin.h>

#include "small_tile.hpp"

namespace veilform {
namespace {

__m256i widened(const u8* b) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
}

__m256i four(const u8* a) {
  long long word;
  std::memcpy(&word, a, 8);
  return _mm256_set1_epi64x(word);
}

struct Avx2 {
  static constexpr unsigned kBytes = 2;
  static constexpr std::size_t kInner = 384;
  static constexpr std::size_t kMr = 4, kNv = 3;  // vectors of four columns, two sums each

  static void strip(const u8* a, std::size_t groups, const u8* b, std::int32_t* out) {
    __m256i sum[kMr][kNv];
    for (auto& row : sum)
      for (auto& s : row) s = _mm256_setzero_si256();
    for (std::size_t done = 0; done < groups; a += kSmallRows * kSmallBlock) {
      const std::size_t end = groups - done < kSmallBlock / 8 ? groups : done + kSmallBlock / 8;
      for (const u8* at = a; done < end; ++done, at += 8, b += 4 * kSmallPanel) {
        __m256i w[kNv];
        for (std::size_t v = 0; v < kNv; ++v) w[v] = widened(b + 16 * v);
        for (std::size_t r = 0; r < kMr; ++r) {
          const __m256i x = four(at + r * kSmallBlock);
          for (std::size_t v = 0; v < kNv; ++v)
            sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(x, w[v]));
        }
      }
    }
    for (std::size_t r = 0; r < kMr; ++r)
      for (std::size_t v = 0; v < kNv; ++v) {
        const __m256i pairs = _mm256_hadd_epi32(sum[r][v], sum[r][v]);  // 0 1 0 1, 2 3 2 3
        const __m128i columns = _mm_unpacklo_epi64(_mm256_castsi256_si128(pairs),
                                                   _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r * kSmallPanel + 4 * v), columns);
      }
  }

  static void limb(const u8* a, std::size_t groups, const u8* b, SmallSums& out) {
    for (std::size_t j = 0; j < kSmallPanel; j += 4 * kNv)
      for (std::size_t r = 0; r < kSmallRows; r += kMr)
        strip(a + r * kSmallBlock, groups, b + 4 * j, &out[r][j]);
  }
};

}  // namespace

const SmallFns small_avx2 = Small<Avx2>::fns(small_split<std::uint16_t>);

}  // namespace veilform
