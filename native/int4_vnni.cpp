// The tile of a 4-bit product for AVX-512 with VNNI: vpdpbusd multiplies 64 unsigned bytes by as
// many signed ones and adds each four products to a 32-bit sum.
#include <immintrin.h>

#include <cstring>

#include "int4.hpp"

namespace veilform {
namespace {

__m512i four(const std::int8_t* a) {
  int word;
  std::memcpy(&word, a, 4);
  return _mm512_set1_epi32(word);
}

template <std::size_t NV>
void tile(const Int4Tile& t) {
  const std::size_t panel = t.groups * kInt4Panel * 4;
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sum[kInt4Rows][NV];
  for (std::size_t r = 0; r < kInt4Rows; ++r)
    for (std::size_t p = 0; p < NV; ++p) sum[r][p] = _mm512_setzero_si512();
  const std::int8_t* a = t.a;
  const u8* b = t.b;
  for (std::size_t g = 0; g < t.groups; ++g, a += 8 * kInt4Rows, b += 4 * kInt4Panel) {
    __m512i pair[NV], half[NV];
    for (std::size_t p = 0; p < NV; ++p) {
      pair[p] = _mm512_loadu_si512(b + p * panel);
      half[p] = _mm512_and_si512(pair[p], low);
    }
    for (std::size_t r = 0; r < kInt4Rows; ++r) {
      const __m512i x = four(a + 4 * r);
      for (std::size_t p = 0; p < NV; ++p) sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], half[p], x);
    }
    for (std::size_t p = 0; p < NV; ++p)
      half[p] = _mm512_and_si512(_mm512_srli_epi16(pair[p], 4), low);
    for (std::size_t r = 0; r < kInt4Rows; ++r) {
      const __m512i x = four(a + 4 * (kInt4Rows + r));
      for (std::size_t p = 0; p < NV; ++p) sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], half[p], x);
    }
  }
  for (std::size_t r = 0; r < kInt4Rows; ++r)
    for (std::size_t p = 0; p < NV; ++p)
      _mm512_storeu_si512(t.c + (4 * r + p) * kInt4Panel,
                          _mm512_sub_epi32(sum[r][p], _mm512_set1_epi32(t.terms[r])));
}

void any_tile(const Int4Tile& t) {
  switch (t.panels) {
    case 1: return tile<1>(t);
    case 2: return tile<2>(t);
    case 3: return tile<3>(t);
    default: return tile<4>(t);
  }
}

}  // namespace

const Int4Fn int4_vnni = any_tile;

}  // namespace veilform
