// The kernels for AVX2. There is no 64-bit multiply; with a = a1 2^32 + a0, modulo 2^64,
//   a b = a0 b0 + 2^32 (a1 b0 + a0 b1),
// the first term a 64-bit product of 32-bit words, the others products modulo 2^32 of the words of
// a with those of b, swapped. The two kinds are summed apart and joined once at the end: two
// multiplications and two additions for four lanes. A larger register tile would spill.
#include <immintrin.h>

#include "elementwise.hpp"
#include "gemm.hpp"

namespace veilform {
namespace {

struct Avx2 {
  static constexpr std::size_t kLanes = 4, kMr = 4, kNv = 1;

  static __m256i join(__m256i whole, __m256i cross) {
    const __m256i high = _mm256_blend_epi32(_mm256_setzero_si256(), cross, 0xAA);
    return _mm256_add_epi64(_mm256_add_epi64(whole, high), _mm256_slli_epi64(cross, 32));
  }

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t inner, const u64* a, const u64* b, std::size_t ldb, u64* out,
                   std::size_t ldo, bool accumulate) {
    __m256i whole[MR][NV], cross[MR][NV];
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t v = 0; v < NV; ++v)
        whole[r][v] = cross[r][v] = _mm256_setzero_si256();
    for (std::size_t k = 0; k < inner; ++k, a += kMr, b += ldb) {
      __m256i bv[NV], sv[NV];
      for (std::size_t v = 0; v < NV; ++v) {
        bv[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + v * kLanes));
        sv[v] = _mm256_shuffle_epi32(bv[v], 0xB1);
      }
      for (std::size_t r = 0; r < MR; ++r) {
        const __m256i av = _mm256_set1_epi64x(static_cast<long long>(a[r]));
        for (std::size_t v = 0; v < NV; ++v) {
          whole[r][v] = _mm256_add_epi64(whole[r][v], _mm256_mul_epu32(av, bv[v]));
          cross[r][v] = _mm256_add_epi32(cross[r][v], _mm256_mullo_epi32(av, sv[v]));
        }
      }
    }
    for (std::size_t r = 0; r < MR; ++r, out += ldo)
      for (std::size_t v = 0; v < NV; ++v) {
        auto* at = reinterpret_cast<__m256i*>(out + v * kLanes);
        __m256i sum = join(whole[r][v], cross[r][v]);
        if (accumulate) sum = _mm256_add_epi64(sum, _mm256_loadu_si256(at));
        _mm256_storeu_si256(at, sum);
      }
  }
};

}  // namespace

const Ops avx2_ops = {Gemm<Avx2>::kNr, kRowBlock, Gemm<Avx2>::kScratch, Gemm<Avx2>::run,
                             Gemm<Avx2>::pack, share, square, product};

}  // namespace veilform
