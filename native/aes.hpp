// AES-128 with the CPU's instructions: key schedule and single blocks. x86 only.
//
// A node of the DPF's tree is one block: its seed, with the control bit in the lowest bit.
#pragma once

#include <wmmintrin.h>

#include "kernels.hpp"

namespace veilform {
namespace {

struct AesKey {
  __m128i round[11];
};

template <int RCON>
__m128i next_round_key(__m128i key) {
  const __m128i word = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, RCON), 0xFF);
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
  return _mm_xor_si128(key, word);
}

AesKey aes_key(const u8* bytes) {
  AesKey k;
  k.round[0] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  k.round[1] = next_round_key<0x01>(k.round[0]);
  k.round[2] = next_round_key<0x02>(k.round[1]);
  k.round[3] = next_round_key<0x04>(k.round[2]);
  k.round[4] = next_round_key<0x08>(k.round[3]);
  k.round[5] = next_round_key<0x10>(k.round[4]);
  k.round[6] = next_round_key<0x20>(k.round[5]);
  k.round[7] = next_round_key<0x40>(k.round[6]);
  k.round[8] = next_round_key<0x80>(k.round[7]);
  k.round[9] = next_round_key<0x1B>(k.round[8]);
  k.round[10] = next_round_key<0x36>(k.round[9]);
  return k;
}

// AES(s) xor s for N independent blocks, which keeps the pipeline full.
template <std::size_t N>
void mmo(const AesKey& key, const __m128i* in, __m128i* out) {
  for (std::size_t i = 0; i < N; ++i) out[i] = _mm_xor_si128(in[i], key.round[0]);
  for (int r = 1; r < 10; ++r)
    for (std::size_t i = 0; i < N; ++i) out[i] = _mm_aesenc_si128(out[i], key.round[r]);
  for (std::size_t i = 0; i < N; ++i)
    out[i] = _mm_xor_si128(_mm_aesenclast_si128(out[i], key.round[10]), in[i]);
}

__m128i control_bit() { return _mm_set_epi64x(0, 1); }

// All ones where the block's control bit is set, else zero.
__m128i spread(__m128i block) {
  const __m128i bit = _mm_sub_epi64(_mm_setzero_si128(), _mm_and_si128(block, control_bit()));
  return _mm_unpacklo_epi64(bit, bit);
}

// The correction words of one level, each with its control bit in place.
void correction(const DpfKeys& keys, std::size_t k, unsigned level, __m128i& left, __m128i& right) {
  const std::size_t at = k * keys.n + level;
  const __m128i seed = _mm_andnot_si128(
      control_bit(), _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys.cw_seeds + 16 * at)));
  const u64 bits = keys.cw_bits[at];
  left = _mm_or_si128(seed, _mm_set_epi64x(0, static_cast<long long>(bits & 1)));
  right = _mm_or_si128(seed, _mm_set_epi64x(0, static_cast<long long>(bits >> 1 & 1)));
}

// A party's root: the seed, and the control bit that tells the parties apart.
__m128i root(const u8* seed, int party) {
  const __m128i s = _mm_loadu_si128(reinterpret_cast<const __m128i*>(seed));
  return _mm_or_si128(_mm_andnot_si128(control_bit(), s), _mm_set_epi64x(0, party));
}

// Expand and add up one key after another. `E` gives
//   expand(parents, count, left, right, children): one level, for a padded count of parents;
//   convert(leaves, count, final, values): count <= kDpfLeaves padded blocks to value pairs;
//   add(values, rows, column, sum): sum[8] += values times rows of one column, by lanes.
template <class E>
void lookup_with(const E& engine, const DpfKeys& keys, const DpfLookup& in, std::size_t first,
                 std::size_t end, u64* scratch) {
  const unsigned n = keys.n, bottom = n < kDpfBottom ? n : kDpfBottom, top = n - bottom;
  const std::size_t roots = std::size_t{1} << top, size = std::size_t{1} << n;
  const std::size_t run = roots < kDpfRoots ? roots : kDpfRoots;
  auto* top_a = reinterpret_cast<__m128i*>(scratch);
  __m128i* top_b = top_a + dpf_top_blocks(n);
  __m128i* low_a = top_b + dpf_top_blocks(n);
  __m128i* low_b = low_a + (kDpfRoots << kDpfBottom);
  u64* values = reinterpret_cast<u64*>(low_b + (kDpfRoots << kDpfBottom));
  u64* sums = values + 2 * kDpfLeaves;

  for (std::size_t k = first; k < end; ++k) {
    __m128i left[32], right[32];
    for (unsigned level = 0; level < n; ++level)
      correction(keys, k, level, left[level], right[level]);
    const __m128i last =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys.final_words + 2 * k));
    const u64* rows = in.reversed + ((size - in.y[k]) & (size - 1));
    for (std::size_t c = 0; c < 8 * in.columns; ++c) sums[c] = 0;

    __m128i *from = top_a, *to = top_b, *other;
    from[0] = root(in.seeds + 16 * k, in.party);
    for (unsigned level = 0; level < top; ++level, other = from, from = to, to = other)
      engine.expand(from, std::size_t{1} << level, left[level], right[level], to);

    for (std::size_t chunk = 0; chunk < roots; chunk += run) {
      const __m128i* parents = from + chunk;
      for (unsigned level = 0; level < bottom; ++level) {
        __m128i* children = level & 1 ? low_b : low_a;
        engine.expand(parents, run << level, left[top + level], right[top + level], children);
        parents = children;
      }
      const std::size_t leaves = run << bottom, base = chunk << bottom;
      for (std::size_t i = 0; i < leaves; i += kDpfLeaves) {
        const std::size_t count = leaves - i < kDpfLeaves ? leaves - i : kDpfLeaves;
        engine.convert(parents + i, last, values);
        for (std::size_t j = 2 * count; j < 2 * kDpfLeaves; ++j) values[j] = 0;
        for (std::size_t c = 0; c < in.columns; ++c)
          engine.add(values, rows + c * in.stride + base + i, sums + 8 * c);
      }
    }
    u64* out = in.out + 2 * in.columns * k;
    const u64 sign = in.party ? ~u64{0} : 1;
    for (std::size_t c = 0; c < in.columns; ++c)
      for (std::size_t w = 0; w < 2; ++w) {
        const u64* s = sums + 8 * c + w;
        out[2 * c + w] = sign * (s[0] + s[2] + s[4] + s[6]);
      }
  }
}

}  // namespace
}  // namespace veilform
