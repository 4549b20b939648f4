// Comparison with VAES on 512-bit vectors: four keys a vector.
#include <immintrin.h>

#include "compare.hpp"

namespace veilform {
namespace {

struct Wide {
  using V = __m512i;
  static constexpr std::size_t kLanes = 4;

  static V broadcast(__m128i block) { return _mm512_broadcast_i32x4(block); }
  static V ones() { return _mm512_set1_epi64(1); }
  static V load(const u8* p, std::size_t stride) {
    V a = _mm512_castsi128_si512(Narrow::load(p, 0));
    a = _mm512_inserti64x2(a, Narrow::load(p + stride, 0), 1);
    a = _mm512_inserti64x2(a, Narrow::load(p + 2 * stride, 0), 2);
    return _mm512_inserti64x2(a, Narrow::load(p + 3 * stride, 0), 3);
  }
  static void store(u8* p, std::size_t stride, V a) {
    Narrow::store(p, 0, _mm512_castsi512_si128(a));
    Narrow::store(p + stride, 0, _mm512_extracti64x2_epi64(a, 1));
    Narrow::store(p + 2 * stride, 0, _mm512_extracti64x2_epi64(a, 2));
    Narrow::store(p + 3 * stride, 0, _mm512_extracti64x2_epi64(a, 3));
  }
  static V words(const u64* p) {
    const V four = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_permutexvar_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), four);
  }
  static V exclusive_or(V a, V b) { return _mm512_xor_si512(a, b); }
  static V both(V a, V b) { return _mm512_and_si512(a, b); }
  static V either(V a, V b) { return _mm512_or_si512(a, b); }
  static V without(V a, V b) { return _mm512_andnot_si512(a, b); }
  static V right(V a, unsigned by) { return _mm512_srl_epi64(a, _mm_cvtsi32_si128(int(by))); }
  static V left(V a, unsigned by) { return _mm512_sll_epi64(a, _mm_cvtsi32_si128(int(by))); }
  static V negated(V a) { return _mm512_sub_epi64(_mm512_setzero_si512(), a); }
  static V low_halves(V a) { return _mm512_unpacklo_epi64(a, a); }
  static V round(V a, V key) { return _mm512_aesenc_epi128(a, key); }
  static V last_round(V a, V key) { return _mm512_aesenclast_epi128(a, key); }
};

}  // namespace

const CompareGenerateFn vaes_compare_generate = compare_generate<Wide, 2>;
const CompareEvaluateFn vaes_compare_evaluate = compare_evaluate<Wide, 4>;

}  // namespace veilform
