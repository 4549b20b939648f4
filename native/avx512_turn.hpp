// The transpose of 8 vectors of 8 words. Include in one translation unit per instruction set.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace veilform {
namespace {

// Three steps swap one bit each of the row's number and the column's.
inline void turn8(__m512i (&x)[8]) {
  __m512i y[8];
  for (std::size_t r = 0; r < 8; r += 2) {
    y[r] = _mm512_unpacklo_epi64(x[r], x[r + 1]);
    y[r + 1] = _mm512_unpackhi_epi64(x[r], x[r + 1]);
  }
  for (std::size_t r = 0; r < 8; ++r) {
    const std::size_t at = (r & 4) + (r & 1);  // y[at], y[at + 2] hold rows at .. at + 3
    x[r] = (r & 2) ? _mm512_shuffle_i64x2(y[at], y[at + 2], 0xDD)
                   : _mm512_shuffle_i64x2(y[at], y[at + 2], 0x88);
  }
  for (std::size_t r = 0; r < 4; ++r) {
    y[r] = _mm512_shuffle_i64x2(x[r], x[r + 4], 0x88);
    y[r + 4] = _mm512_shuffle_i64x2(x[r], x[r + 4], 0xDD);
  }
  for (std::size_t r = 0; r < 8; ++r) x[r] = y[r];
}

}  // namespace
}  // namespace veilform
