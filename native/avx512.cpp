// The kernels for AVX-512 (F, DQ, BW, VL), whose vpmullq multiplies 64-bit words modulo 2^64: one
// or three micro-operations, where 52-bit limbs (IFMA) would take four instructions.
#include <immintrin.h>

#include "elementwise.hpp"
#include "gemm.hpp"

namespace veilform {
namespace {

struct Avx512 {
  static constexpr std::size_t kLanes = 8, kMr = 8, kNv = 3;

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t inner, const u64* a, const u64* b, std::size_t ldb, u64* out,
                   std::size_t ldo, bool accumulate) {
    __m512i sum[MR][NV];
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t v = 0; v < NV; ++v) sum[r][v] = _mm512_setzero_si512();
    for (std::size_t k = 0; k < inner; ++k, a += kMr, b += ldb) {
      __m512i bv[NV];
      for (std::size_t v = 0; v < NV; ++v) bv[v] = _mm512_loadu_si512(b + v * kLanes);
      for (std::size_t r = 0; r < MR; ++r) {
        const __m512i av = _mm512_set1_epi64(static_cast<long long>(a[r]));
        for (std::size_t v = 0; v < NV; ++v)
          sum[r][v] = _mm512_add_epi64(sum[r][v], _mm512_mullo_epi64(av, bv[v]));
      }
    }
    for (std::size_t r = 0; r < MR; ++r, out += ldo)
      for (std::size_t v = 0; v < NV; ++v) {
        u64* at = out + v * kLanes;
        const __m512i old = accumulate ? _mm512_loadu_si512(at) : _mm512_setzero_si512();
        _mm512_storeu_si512(at, _mm512_add_epi64(sum[r][v], old));
      }
  }
};

}  // namespace

const Ops avx512_ops = {Gemm<Avx512>::kNr, kRowBlock, Gemm<Avx512>::kScratch,
                               Gemm<Avx512>::run, Gemm<Avx512>::pack, share, square, product};

}  // namespace veilform
