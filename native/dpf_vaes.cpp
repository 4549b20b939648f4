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

  template <int R>
  std::size_t split(const __m128i* children, const Open& open, std::size_t count,
                    const Done<R>& done, __m128i word, Ended& ended) const {
    const __m512i twice = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    // The lower child has the upper half of the segment: indices fall as points rise.
    const auto length = static_cast<long long>(done.length);
    const __m512i upper = _mm512_set_epi64(0, length, 0, length, 0, length, 0, length);
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(done.mask));
    const __m512i words = _mm512_broadcast_i32x4(word);
    __m512i from[R], span[R];
    for (int r = 0; r < R; ++r) {
      from[r] = _mm512_set1_epi64(static_cast<long long>(done.from[r]));
      span[r] = _mm512_set1_epi64(static_cast<long long>(done.count[r]));
    }
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; i += 4) {
      const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(open.starts + i));
      const __m512i parents = _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(four));
      const __m512i start = _mm512_and_si512(_mm512_add_epi64(parents, upper), mask);
      unsigned ends = 0;
      for (int r = 0; r < R; ++r)
        ends |= _mm512_cmplt_epu64_mask(
            _mm512_and_si512(_mm512_sub_epi64(start, from[r]), mask), span[r]);
      const unsigned real = count - i < 4 ? (1u << 2 * (count - i)) - 1 : 0xFF;
      const unsigned stays = ~ends & real;
      ends &= real;
      _mm512_storeu_si512(open.next + kept, _mm512_maskz_compress_epi64(
          static_cast<__mmask8>(stays), start));
      _mm512_storeu_si512(ended.starts + ended.count, _mm512_maskz_compress_epi64(
          static_cast<__mmask8>(ends), start));
      for (unsigned half = 0; half < 2; ++half) {
        const __m512i nodes = _mm512_loadu_si512(children + 2 * i + 4 * half);
        const unsigned here = stays >> 4 * half & 15, there = ends >> 4 * half & 15;
        _mm512_storeu_si512(open.nodes + kept, _mm512_maskz_compress_epi64(pairs(here), nodes));
        kept += static_cast<std::size_t>(__builtin_popcount(here));
        const __mmask8 both = pairs(there);
        _mm512_storeu_si512(ended.nodes + ended.count, _mm512_maskz_compress_epi64(both, nodes));
        _mm512_storeu_si512(ended.words + ended.count, _mm512_maskz_compress_epi64(
            both, _mm512_and_si512(wide_spread(nodes), words)));
        ended.count += static_cast<std::size_t>(__builtin_popcount(there));
      }
    }
    return kept;
  }

  // Each of four bits twice.
  static __mmask8 pairs(unsigned bits) {
    return static_cast<__mmask8>(_pdep_u32(bits, 0x55) * 3);
  }

  void add_rows(const u64* values, const __m128i* words, const u64* const* rows, u64* sums) const {
    const auto load = [](const u64* row) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
    };
    __m512i straight = _mm512_setzero_si512(), crossed = straight;
    for (std::size_t j = 0; j < kDpfLeaves; j += 4) {
      __m512i row = _mm512_castsi128_si512(load(rows[j]));
      row = _mm512_inserti64x2(row, load(rows[j + 1]), 1);
      row = _mm512_inserti64x2(row, load(rows[j + 2]), 2);
      row = _mm512_inserti64x2(row, load(rows[j + 3]), 3);
      const __m512i pair = _mm512_add_epi64(_mm512_loadu_si512(values + 2 * j),
                                            _mm512_loadu_si512(words + j));
      straight = _mm512_add_epi64(straight, _mm512_mullo_epi64(row, pair));
      const __m512i slopes = _mm512_unpackhi_epi64(row, row);
      crossed = _mm512_add_epi64(crossed, _mm512_mullo_epi64(slopes, pair));
    }
    alignas(64) u64 s[8], c[8];
    _mm512_store_si512(s, straight);
    _mm512_store_si512(c, crossed);
    sums[0] += s[0] + s[2] + s[4] + s[6];
    sums[1] += c[0] + c[2] + c[4] + c[6];
    sums[2] += c[1] + c[3] + c[5] + c[7];
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
