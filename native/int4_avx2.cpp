// The tile of a 4-bit product for AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds each
// two products in 16 bits. Such a sum is at least -240, so 136 of them fit before 32 bits are needed.
#include <immintrin.h>

#include <cstring>

#include "int4.hpp"

namespace veilform {
namespace {

constexpr std::size_t kShort = 64;  // groups, two sums each, that are added in 16 bits

__m256i four(const std::int8_t* a) {
  int word;
  std::memcpy(&word, a, 4);
  return _mm256_set1_epi32(word);
}

// R rows of A by one panel, whose columns are two vectors.
template <std::size_t R>
void strip(const std::int8_t* a, const std::int32_t* terms, std::size_t groups, const u8* b,
           std::int32_t* c) {
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sum[R][2];
  for (std::size_t r = 0; r < R; ++r)
    sum[r][0] = sum[r][1] = _mm256_set1_epi32(-terms[r]);
  for (std::size_t g = 0; g < groups;) {
    const std::size_t end = groups - g < kShort ? groups : g + kShort;
    __m256i part[R][2];
    for (std::size_t r = 0; r < R; ++r) part[r][0] = part[r][1] = _mm256_setzero_si256();
    for (; g < end; ++g, a += 8 * kInt4Rows, b += 4 * kInt4Panel)
      for (std::size_t v = 0; v < 2; ++v) {
        const __m256i pair = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 32 * v));
        const __m256i first = _mm256_and_si256(pair, low);
        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
        for (std::size_t r = 0; r < R; ++r) {
          const __m256i x = _mm256_maddubs_epi16(first, four(a + 4 * r));
          const __m256i y = _mm256_maddubs_epi16(second, four(a + 4 * (kInt4Rows + r)));
          part[r][v] = _mm256_add_epi16(part[r][v], _mm256_add_epi16(x, y));
        }
      }
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t v = 0; v < 2; ++v)
        sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(part[r][v], ones));
  }
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t v = 0; v < 2; ++v)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + 4 * r * kInt4Panel + 8 * v), sum[r][v]);
}

void tile(const Int4Tile& t) {
  constexpr std::size_t kHalf = kInt4Rows / 2;  // sixteen registers hold no more
  for (std::size_t p = 0; p < t.panels; ++p)
    for (std::size_t r = 0; r < kInt4Rows; r += kHalf)
      strip<kHalf>(t.a + 4 * r, t.terms + r, t.groups, t.b + p * t.groups * kInt4Panel * 4,
                   t.c + (4 * r + p) * kInt4Panel);
}

}  // namespace

const Int4Fn int4_avx2 = tile;

}  // namespace veilform
