// The register tile for AVX-512, given how two vectors of words are multiplied and added to a sum.
// Include in one translation unit per instruction set, as gemm.hpp.
//
// 16 sums, 4 vectors of B and the broadcast words of A fit the 32 registers, and 8 x 16 divides the
// usual sizes. On a Zen 4 core at 3.7 GHz, in G multiply-adds/s (bench/gemm_candidates.py):
//   vpmullq and vpaddq 27, paired as here 29; vpmadd52luq 29, paired 39;
//   16-bit weights by vpdpbusd in a ring of 64 bits 12, 48 bits 16; by vpdpwssd 15 and 22;
//   doubles by FMA 8 and 12.
// So weights of 16 bits are multiplied as 64-bit words, and only kept small. For 8: small.hpp.
#pragma once

#include <immintrin.h>

#include "avx512_turn.hpp"
#include "gemm.hpp"

namespace veilform {
namespace {

template <class Multiply>
struct Avx512 {
  static constexpr std::size_t kLanes = 8, kMr = 8, kNv = 2, kTurn = 8;

  static void turn(const u64* a, std::size_t lda, u64* out) {
    __m512i x[8];
    for (std::size_t r = 0; r < 8; ++r) x[r] = _mm512_loadu_si512(a + r * lda);
    turn8(x);
    for (std::size_t r = 0; r < 8; ++r) _mm512_storeu_si512(out + r * kMr, x[r]);
  }

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t pairs, const u64* a, const u64* b, const Result& out) {
    constexpr std::size_t kNr = kLanes * kNv;
    __m512i sum[MR][NV];
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t v = 0; v < NV; ++v) sum[r][v] = _mm512_setzero_si512();
    for (std::size_t p = 0; p < pairs; ++p, a += 2 * kMr, b += 2 * kNr) {
      __m512i b0[NV], b1[NV];
      for (std::size_t v = 0; v < NV; ++v) {
        b0[v] = _mm512_loadu_si512(b + v * kLanes);
        b1[v] = _mm512_loadu_si512(b + kNr + v * kLanes);
      }
      for (std::size_t r = 0; r < MR; ++r) {
        const __m512i a0 = _mm512_set1_epi64(static_cast<long long>(a[r]));
        const __m512i a1 = _mm512_set1_epi64(static_cast<long long>(a[kMr + r]));
        for (std::size_t v = 0; v < NV; ++v)
          sum[r][v] = Multiply::add(sum[r][v], _mm512_add_epi64(a0, b1[v]),
                                    _mm512_add_epi64(a1, b0[v]));
      }
    }
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(out.mask));
    for (std::size_t v = 0; v < NV; ++v) {
      const __m512i col = _mm512_loadu_si512(out.col + v * kLanes);
      for (std::size_t r = 0; r < MR; ++r) {
        u64* at = out.at + r * out.ld + v * kLanes;
        const __m512i term =
            _mm512_add_epi64(col, _mm512_set1_epi64(static_cast<long long>(out.row[r])));
        __m512i word = _mm512_sub_epi64(sum[r][v], term);
        if (out.accumulate) word = _mm512_add_epi64(word, _mm512_loadu_si512(at));
        _mm512_storeu_si512(at, _mm512_and_si512(word, mask));
      }
    }
  }
};

}  // namespace
}  // namespace veilform
