// Point-function lookup with VAES on 512-bit vectors: four AES blocks an instruction.
#include <immintrin.h>

#include "aes.hpp"
#include "curve.hpp"
#include "segments.hpp"

namespace veilform {
namespace {

struct WideKey {
  __m512i round[11];
  explicit WideKey(const u8* bytes) {
    const AesKey key = aes_key(bytes);
    for (int r = 0; r < 11; ++r) round[r] = _mm512_broadcast_i32x4(key.round[r]);
  }
};

__m512i wide_bit() { return _mm512_broadcast_i32x4(control_bit()); }

__m512i wide_spread(__m512i blocks) {
  const __m512i bit = _mm512_sub_epi64(_mm512_setzero_si512(), _mm512_and_si512(blocks, wide_bit()));
  return _mm512_unpacklo_epi64(bit, bit);
}

struct Vaes {
  WideKey left, right, convert_key;

  explicit Vaes(const u8* keys) : left(keys), right(keys + 16), convert_key(keys + 32) {}

  void expand(const __m128i* parents, std::size_t count, __m128i cw_left, __m128i cw_right,
              __m128i* children) const {
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) expand<4>(parents + i, cw_left, cw_right, children + 2 * i);
    for (; i + 4 < count; i += 8) expand<2>(parents + i, cw_left, cw_right, children + 2 * i);
    if (i < count) expand<1>(parents + i, cw_left, cw_right, children + 2 * i);
  }

  // Of 4 V parents.
  template <std::size_t V>
  void expand(const __m128i* parents, __m128i cw_left, __m128i cw_right, __m128i* children) const {
    const __m512i cl = _mm512_broadcast_i32x4(cw_left), cr = _mm512_broadcast_i32x4(cw_right);
    const __m512i low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    const __m512i high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    __m512i seed[V], l[V], r[V];
    for (std::size_t j = 0; j < V; ++j) {
      seed[j] = _mm512_andnot_si512(wide_bit(), _mm512_loadu_si512(parents + 4 * j));
      l[j] = _mm512_xor_si512(seed[j], left.round[0]);
      r[j] = _mm512_xor_si512(seed[j], right.round[0]);
    }
    for (int round = 1; round < 10; ++round)
      for (std::size_t j = 0; j < V; ++j) {
        l[j] = _mm512_aesenc_epi128(l[j], left.round[round]);
        r[j] = _mm512_aesenc_epi128(r[j], right.round[round]);
      }
    for (std::size_t j = 0; j < V; ++j) {
      const __m512i on = wide_spread(_mm512_loadu_si512(parents + 4 * j));
      l[j] = _mm512_xor_si512(_mm512_aesenclast_epi128(l[j], left.round[10]), seed[j]);
      r[j] = _mm512_xor_si512(_mm512_aesenclast_epi128(r[j], right.round[10]), seed[j]);
      l[j] = _mm512_xor_si512(l[j], _mm512_and_si512(on, cl));
      r[j] = _mm512_xor_si512(r[j], _mm512_and_si512(on, cr));
      __m128i* out = children + 8 * j;
      _mm512_storeu_si512(out, _mm512_permutex2var_epi64(l[j], low, r[j]));
      _mm512_storeu_si512(out + 4, _mm512_permutex2var_epi64(l[j], high, r[j]));
    }
  }

  void convert(const __m128i* leaves, __m128i last, u64* values) const {
    const __m512i final_pair = _mm512_broadcast_i32x4(last);
    __m512i v[8];
    for (std::size_t j = 0; j < 8; ++j)
      v[j] = _mm512_xor_si512(
          _mm512_andnot_si512(wide_bit(), _mm512_loadu_si512(leaves + 4 * j)),
          convert_key.round[0]);
    for (int round = 1; round < 10; ++round)
      for (std::size_t j = 0; j < 8; ++j)
        v[j] = _mm512_aesenc_epi128(v[j], convert_key.round[round]);
    for (std::size_t j = 0; j < 8; ++j) {
      const __m512i leaf = _mm512_loadu_si512(leaves + 4 * j);
      v[j] = _mm512_xor_si512(_mm512_aesenclast_epi128(v[j], convert_key.round[10]),
                              _mm512_andnot_si512(wide_bit(), leaf));
      _mm512_storeu_si512(values + 8 * j, _mm512_add_epi64(
          v[j], _mm512_and_si512(wide_spread(leaf), final_pair)));
    }
  }

  void add(const u64* values, const u64* rows, u64* sum) const {
    const __m512i twice = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    __m512i total = _mm512_loadu_si512(sum);
    for (std::size_t i = 0; i < kDpfLeaves; i += 4) {
      const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + i));
      const __m512i row = _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(four));
      const __m512i v = _mm512_loadu_si512(values + 2 * i);
      total = _mm512_add_epi64(total, _mm512_mullo_epi64(v, row));
    }
    _mm512_storeu_si512(sum, total);
  }
};

void lookup(const DpfKeys& keys, const DpfLookup& in, std::size_t first, std::size_t end,
            u64* scratch) {
  lookup_with(Vaes(keys.aes), keys, in, first, end, scratch);
}

void segments(const DpfKeys& keys, const DpfSegments& in, std::size_t first, std::size_t end,
              std::size_t room, u64* scratch) {
  sums_with<SegmentRule>(Vaes(keys.aes), keys, in, first, end, room, scratch);
}

void curve(const DpfKeys& keys, const DpfCurve& in, std::size_t first, std::size_t end,
           std::size_t room, u64* scratch) {
  sums_with<CurveRule>(Vaes(keys.aes), keys, in, first, end, room, scratch);
}

}  // namespace

const DpfLookupFn vaes_lookup = lookup;
const DpfSegmentsFn vaes_segments = segments;
const DpfCurveFn vaes_curve = curve;

}  // namespace veilform
