// Point functions with AES-NI and AVX2: generation, and the lookup for CPUs without VAES.
#include <immintrin.h>

#include "aes.hpp"
#include "curve.hpp"
#include "segments.hpp"

namespace veilform {
namespace {

struct AesNi {
  AesKey left, right, convert_key;

  explicit AesNi(const u8* keys)
      : left(aes_key(keys)), right(aes_key(keys + 16)), convert_key(aes_key(keys + 32)) {}

  void expand(const __m128i* parents, std::size_t count, __m128i cw_left, __m128i cw_right,
              __m128i* children) const {
    for (std::size_t i = 0; i < count; i += 4) {
      // Seeds are read again at the end rather than kept: eight blocks and a key fill the
      // registers.
      __m128i l[4], r[4];
      for (std::size_t j = 0; j < 4; ++j) {
        const __m128i seed = _mm_andnot_si128(control_bit(), parents[i + j]);
        l[j] = _mm_xor_si128(seed, left.round[0]);
        r[j] = _mm_xor_si128(seed, right.round[0]);
      }
#pragma GCC unroll 1  // else the compiler hoists round keys and spills blocks
      for (int round = 1; round < 10; ++round)
        for (std::size_t j = 0; j < 4; ++j) {
          l[j] = _mm_aesenc_si128(l[j], left.round[round]);
          r[j] = _mm_aesenc_si128(r[j], right.round[round]);
        }
      for (std::size_t j = 0; j < 4; ++j) {
        const __m128i seed = _mm_andnot_si128(control_bit(), parents[i + j]);
        const __m128i on = spread(parents[i + j]);
        l[j] = _mm_aesenclast_si128(l[j], _mm_xor_si128(left.round[10], seed));
        r[j] = _mm_aesenclast_si128(r[j], _mm_xor_si128(right.round[10], seed));
        _mm_store_si128(children + 2 * (i + j), _mm_xor_si128(l[j], _mm_and_si128(on, cw_left)));
        _mm_store_si128(children + 2 * (i + j) + 1,
                        _mm_xor_si128(r[j], _mm_and_si128(on, cw_right)));
      }
    }
  }

  void convert(const __m128i* leaves, __m128i last, u64* values) const {
    auto* out = reinterpret_cast<__m128i*>(values);
    for (std::size_t i = 0; i < kDpfLeaves; i += 8) {
      __m128i v[8];
      for (std::size_t j = 0; j < 8; ++j)
        v[j] = _mm_xor_si128(_mm_andnot_si128(control_bit(), leaves[i + j]), convert_key.round[0]);
#pragma GCC unroll 1
      for (int round = 1; round < 10; ++round)
        for (std::size_t j = 0; j < 8; ++j)
          v[j] = _mm_aesenc_si128(v[j], convert_key.round[round]);
      for (std::size_t j = 0; j < 8; ++j) {
        const __m128i seed = _mm_andnot_si128(control_bit(), leaves[i + j]);
        v[j] = _mm_aesenclast_si128(v[j], _mm_xor_si128(seed, convert_key.round[10]));
        out[i + j] = _mm_add_epi64(v[j], _mm_and_si128(spread(leaves[i + j]), last));
      }
    }
  }

  void add(const u64* values, const u64* rows, u64* sum) const {
    auto* at = reinterpret_cast<__m256i*>(sum);
    __m256i whole = _mm256_load_si256(at), cross = _mm256_setzero_si256();
    for (std::size_t i = 0; i < kDpfLeaves; i += 2) {
      const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(values + 2 * i));
      const __m128i two = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + i));
      const __m256i row = _mm256_permute4x64_epi64(_mm256_castsi128_si256(two), 0x50);
      const __m256i swapped = _mm256_shuffle_epi32(row, 0xB1);
      whole = _mm256_add_epi64(whole, _mm256_mul_epu32(v, row));
      cross = _mm256_add_epi32(cross, _mm256_mullo_epi32(v, swapped));
    }
    const __m256i high = _mm256_blend_epi32(_mm256_setzero_si256(), cross, 0xAA);
    whole = _mm256_add_epi64(_mm256_add_epi64(whole, high), _mm256_slli_epi64(cross, 32));
    _mm256_store_si256(at, whole);
  }

  template <int R>
  std::size_t split(const __m128i* children, const Open& open, std::size_t count,
                    const Done<R>& done, __m128i word, Ended& ended) const {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < 2 * count; ++i) {
      // The lower child has the upper half of the segment: indices fall as points rise.
      const u64 start = (open.starts[i / 2] + (i & 1 ? 0 : done.length)) & done.mask;
      const bool ends = done(start);
      ended.nodes[ended.count] = children[i];
      ended.words[ended.count] = _mm_and_si128(spread(children[i]), word);
      ended.starts[ended.count] = start;
      ended.count += ends;
      open.nodes[kept] = children[i];
      open.next[kept] = start;
      kept += !ends;
    }
    return kept;
  }

  void add_rows(const u64* values, const __m128i* words, const u64* const* rows, u64* sums) const {
    const auto* pairs = reinterpret_cast<const u64*>(words);
    for (std::size_t j = 0; j < kDpfLeaves; ++j) {
      const u64 one = values[2 * j] + pairs[2 * j];
      sums[0] += rows[j][0] * one;
      sums[1] += rows[j][1] * one;
      sums[2] += rows[j][1] * (values[2 * j + 1] + pairs[2 * j + 1]);
    }
  }
};

void lookup(const DpfKeys& keys, const DpfLookup& in, std::size_t first, std::size_t end,
            u64* scratch) {
  lookup_with(AesNi(keys.aes), keys, in, first, end, scratch);
}

void segments(const DpfKeys& keys, const DpfSegments& in, std::size_t first, std::size_t end,
              std::size_t room, u64* scratch) {
  sums_with<SegmentRule>(AesNi(keys.aes), keys, in, first, end, room, scratch);
}

void curve(const DpfKeys& keys, const DpfCurve& in, std::size_t first, std::size_t end,
           std::size_t room, u64* scratch) {
  sums_with<CurveRule>(AesNi(keys.aes), keys, in, first, end, room, scratch);
}

__m128i select(__m128i mask, __m128i yes, __m128i no) {
  return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

// What makes the nodes' values on the path add up to the payload.
void value_word(const AesNi& aes, const __m128i* node, const u64* payload, u64* out) {
  const __m128i seed[2] = {_mm_andnot_si128(control_bit(), node[0]),
                           _mm_andnot_si128(control_bit(), node[1])};
  __m128i value[2];
  mmo<2>(aes.convert_key, seed, value);
  const __m128i beta = _mm_loadu_si128(reinterpret_cast<const __m128i*>(payload));
  const __m128i sum = _mm_add_epi64(_mm_sub_epi64(beta, value[0]), value[1]);
  const __m128i negate = spread(node[1]);  // -x = (x xor -1) - (-1)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_sub_epi64(_mm_xor_si128(sum, negate), negate));
}

// Figure 1 of Boyle, Gilboa and Ishai. The path alpha enters through masks only.
void generate(const DpfKeys& keys, const u8* seeds0, const u8* seeds1, const u64* alpha,
              const u64* payload, std::size_t first, std::size_t end) {
  const AesNi aes(keys.aes);
  const __m128i one = control_bit();
  for (std::size_t k = first; k < end; ++k) {
    __m128i node[2] = {root(seeds0 + 16 * k, 0), root(seeds1 + 16 * k, 1)};
    for (unsigned level = 0; level < keys.n; ++level) {
      const u64 bit = alpha[k] >> (keys.n - 1 - level) & 1;
      const __m128i go_right = _mm_set1_epi64x(-static_cast<long long>(bit));
      const __m128i seed[2] = {_mm_andnot_si128(one, node[0]), _mm_andnot_si128(one, node[1])};
      __m128i l[2], r[2];
      mmo<2>(aes.left, seed, l);
      mmo<2>(aes.right, seed, r);
      // Each difference holds the seeds' in the upper bits and the control bits' in the lowest.
      const __m128i left = _mm_xor_si128(l[0], l[1]), right = _mm_xor_si128(r[0], r[1]);
      const __m128i cw = _mm_andnot_si128(one, select(go_right, left, right));
      const u64 bit_left = (static_cast<u64>(_mm_cvtsi128_si64(left)) & 1) ^ bit ^ 1;
      const u64 bit_right = (static_cast<u64>(_mm_cvtsi128_si64(right)) & 1) ^ bit;
      const std::size_t at = k * keys.n + level;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(keys.cw_seeds + 16 * at), cw);
      keys.cw_bits[at] = static_cast<u8>(bit_left | bit_right << 1);
      const u64 bit_keep = (bit_right & (0 - bit)) | (bit_left & (bit - 1));
      const __m128i keep = _mm_or_si128(cw, _mm_set_epi64x(0, static_cast<long long>(bit_keep)));
      for (int b = 0; b < 2; ++b)
        node[b] = _mm_xor_si128(select(go_right, r[b], l[b]), _mm_and_si128(spread(node[b]), keep));
      if (level + keys.levels >= keys.n)
        value_word(aes, node, payload + 2 * k,
                   keys.final_words + 2 * (k * keys.levels + level + keys.levels - keys.n));
    }
  }
}

}  // namespace

const DpfGenerateFn aesni_generate = generate;
const DpfLookupFn aesni_lookup = lookup;
const DpfSegmentsFn aesni_segments = segments;
const DpfCurveFn aesni_curve = curve;

}  // namespace veilform
