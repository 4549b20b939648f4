// The kernels for AVX2. There is no 64-bit multiply; with a = a1 2^32 + a0, modulo 2^64,
//   a b = a0 b0 + 2^32 (a1 b0 + a0 b1),
// the first term a 64-bit product of 32-bit words, the others products modulo 2^32 of the words of
// a with those of b, swapped. The two kinds are summed apart and joined once at the end: two
// multiplications, two additions and a shuffle for four lanes. A larger register tile would spill.
#include <immintrin.h>

#include "elementwise.hpp"
#include "gemm.hpp"
#include "harmonics.hpp"
#include "tiles.hpp"

namespace veilform {
namespace {

struct Avx2 {
  static constexpr std::size_t kLanes = 4, kMr = 4, kNv = 1, kTurn = 4;

  static __m256i load(const u64* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static void store(u64* at, __m256i words) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), words);
  }
  static __m256i broadcast(u64 word) { return _mm256_set1_epi64x(static_cast<long long>(word)); }

  static __m256i join(__m256i whole, __m256i cross) {
    const __m256i high = _mm256_blend_epi32(_mm256_setzero_si256(), cross, 0xAA);
    return _mm256_add_epi64(_mm256_add_epi64(whole, high), _mm256_slli_epi64(cross, 32));
  }

  static void turn(const u64* a, std::size_t lda, u64* out) {
    const __m256i r0 = load(a), r1 = load(a + lda), r2 = load(a + 2 * lda), r3 = load(a + 3 * lda);
    const __m256i e01 = _mm256_unpacklo_epi64(r0, r1), o01 = _mm256_unpackhi_epi64(r0, r1);
    const __m256i e23 = _mm256_unpacklo_epi64(r2, r3), o23 = _mm256_unpackhi_epi64(r2, r3);
    store(out, _mm256_permute2x128_si256(e01, e23, 0x20));
    store(out + kMr, _mm256_permute2x128_si256(o01, o23, 0x20));
    store(out + 2 * kMr, _mm256_permute2x128_si256(e01, e23, 0x31));
    store(out + 3 * kMr, _mm256_permute2x128_si256(o01, o23, 0x31));
  }

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t pairs, const u64* a, const u64* b, const Result& out) {
    constexpr std::size_t kNr = kLanes * kNv;
    __m256i whole[MR][NV], cross[MR][NV];
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t v = 0; v < NV; ++v) whole[r][v] = cross[r][v] = _mm256_setzero_si256();
    for (std::size_t p = 0; p < pairs; ++p, a += 2 * kMr, b += 2 * kNr) {
      __m256i b0[NV], b1[NV];
      for (std::size_t v = 0; v < NV; ++v) b0[v] = load(b + v * kLanes);
      for (std::size_t v = 0; v < NV; ++v) b1[v] = load(b + kNr + v * kLanes);
      for (std::size_t r = 0; r < MR; ++r) {
        const __m256i a0 = broadcast(a[r]), a1 = broadcast(a[kMr + r]);
        for (std::size_t v = 0; v < NV; ++v) {
          const __m256i x = _mm256_add_epi64(a0, b1[v]), y = _mm256_add_epi64(a1, b0[v]);
          whole[r][v] = _mm256_add_epi64(whole[r][v], _mm256_mul_epu32(x, y));
          cross[r][v] = _mm256_add_epi32(
              cross[r][v], _mm256_mullo_epi32(x, _mm256_shuffle_epi32(y, 0xB1)));
        }
      }
    }
    const __m256i mask = broadcast(out.mask);
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t v = 0; v < NV; ++v) {
        u64* at = out.at + r * out.ld + v * kLanes;
        const __m256i term = _mm256_add_epi64(load(out.col + v * kLanes), broadcast(out.row[r]));
        __m256i word = _mm256_sub_epi64(join(whole[r][v], cross[r][v]), term);
        if (out.accumulate) word = _mm256_add_epi64(word, load(at));
        store(at, _mm256_and_si256(word, mask));
      }
  }
};

}  // namespace

const Ops avx2_ops = {Gemm<Avx2>::kNr, kRowBlock, Gemm<Avx2>::kScratch, Gemm<Avx2>::run,
                      Gemm<Avx2>::pack, share, square, mix, product, centre, phasor, harmonic,
                        tile_inputs, tile_outputs};

}  // namespace veilform
