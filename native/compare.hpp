// Comparison with a hidden number by a distributed comparison function: shares of [t < alpha].
//
// The tree is that of a point function at alpha (aes.hpp), seven levels shorter. Walking down the
// path of a public t, the right sibling lies on alpha's path at one level at most: where t turns
// left and alpha right, after equal bits. So the right siblings' control bits, wherever t turns
// left, add up to whether the upper bits of t are below alpha's. If the upper bits are equal, the
// 128 bits of the last node say which of the lower seven bits are below alpha's.
#pragma once

#include "aes.hpp"
#include "kernels.hpp"

namespace veilform {
namespace {

// One block a vector: what CPUs without wide AES have, and what remains of a batch elsewhere.
struct Narrow {
  using V = __m128i;
  static constexpr std::size_t kLanes = 1;

  static V broadcast(__m128i block) { return block; }
  static V ones() { return _mm_set1_epi64x(1); }
  // Lane i from p + i stride, and back.
  static V load(const u8* p, std::size_t) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static void store(u8* p, std::size_t, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a);
  }
  // Word i in both halves of lane i.
  static V words(const u64* p) { return _mm_set1_epi64x(static_cast<long long>(*p)); }
  static V exclusive_or(V a, V b) { return _mm_xor_si128(a, b); }
  static V both(V a, V b) { return _mm_and_si128(a, b); }
  static V either(V a, V b) { return _mm_or_si128(a, b); }
  static V without(V a, V b) { return _mm_andnot_si128(a, b); }  // b where a is 0
  static V right(V a, unsigned by) { return _mm_srl_epi64(a, _mm_cvtsi32_si128(int(by))); }
  static V left(V a, unsigned by) { return _mm_sll_epi64(a, _mm_cvtsi32_si128(int(by))); }
  static V negated(V a) { return _mm_sub_epi64(_mm_setzero_si128(), a); }
  static V low_halves(V a) { return _mm_unpacklo_epi64(a, a); }
  static V round(V a, V key) { return _mm_aesenc_si128(a, key); }
  static V last_round(V a, V key) { return _mm_aesenclast_si128(a, key); }
};

template <class W>
struct RoundKeys {
  typename W::V round[11];
  explicit RoundKeys(const u8* bytes) {
    const AesKey key = aes_key(bytes);
    for (int r = 0; r < 11; ++r) round[r] = W::broadcast(key.round[r]);
  }
};

// The walk of G vectors of keys at a time, which keeps the pipeline full.
template <class W, std::size_t G>
struct Comparison {
  using V = typename W::V;
  static constexpr std::size_t kKeys = G * W::kLanes;

  RoundKeys<W> left, right, convert;
  V one, ones;  // a node's control bit; a 1 in each half

  explicit Comparison(const u8* aes)
      : left(aes), right(aes + 16), convert(aes + 32),
        one(W::broadcast(control_bit())), ones(W::ones()) {}

  void children(const V* seed, V* l, V* r) const {
    for (std::size_t j = 0; j < G; ++j) {
      l[j] = W::exclusive_or(seed[j], left.round[0]);
      r[j] = W::exclusive_or(seed[j], right.round[0]);
    }
#pragma GCC unroll 1  // else the compiler hoists round keys and spills blocks
    for (int i = 1; i < 10; ++i)
      for (std::size_t j = 0; j < G; ++j) {
        l[j] = W::round(l[j], left.round[i]);
        r[j] = W::round(r[j], right.round[i]);
      }
    for (std::size_t j = 0; j < G; ++j) {
      l[j] = W::exclusive_or(W::last_round(l[j], left.round[10]), seed[j]);
      r[j] = W::exclusive_or(W::last_round(r[j], right.round[10]), seed[j]);
    }
  }

  void last_blocks(const V* seed, V* out) const {
    for (std::size_t j = 0; j < G; ++j) out[j] = W::exclusive_or(seed[j], convert.round[0]);
#pragma GCC unroll 1
    for (int i = 1; i < 10; ++i)
      for (std::size_t j = 0; j < G; ++j) out[j] = W::round(out[j], convert.round[i]);
    for (std::size_t j = 0; j < G; ++j)
      out[j] = W::exclusive_or(W::last_round(out[j], convert.round[10]), seed[j]);
  }

  // All ones in each lane whose node has its control bit set.
  V on(V node) const { return W::low_halves(W::negated(W::both(node, one))); }
  // All ones in each lane whose number has the bit.
  V bit(V number, unsigned at) const {
    return W::negated(W::both(W::right(number, at), ones));
  }
  static V pick(V mask, V yes, V no) {
    return W::either(W::both(mask, yes), W::without(mask, no));
  }
  V root(const u8* seeds, int party) const {
    const V seed = W::without(one, W::load(seeds, 16));
    return party ? W::either(seed, one) : seed;
  }

  // Shares for keys k .. k + kKeys - 1 at row c of the points.
  void evaluate(const CompareKeys& keys, const ComparePoints& in, std::size_t c,
                std::size_t k) const {
    const std::size_t stride = 16 * (keys.levels + std::size_t{1});
    const u64* points = in.points + c * keys.count + k;
    V node[G], seed[G], l[G], r[G], at[G], turns[G], sum[G];
    for (std::size_t j = 0; j < G; ++j) {
      const std::size_t first = j * W::kLanes;
      node[j] = root(in.seeds + 16 * (k + first), in.party);
      at[j] = W::words(points + first);
      turns[j] = W::words(keys.right_bits + k + first);
      sum[j] = W::exclusive_or(node[j], node[j]);
    }
    for (unsigned level = 0; level < keys.levels; ++level) {
      for (std::size_t j = 0; j < G; ++j) seed[j] = W::without(one, node[j]);
      children(seed, l, r);
      for (std::size_t j = 0; j < G; ++j) {
        const u8* block = keys.blocks + stride * (k + j * W::kLanes) + 16 * level;
        const V cw = W::load(block, stride), set = on(node[j]);
        const V cw_right = W::either(W::without(one, cw),
                                     W::both(one, W::right(turns[j], level)));
        l[j] = W::exclusive_or(l[j], W::both(set, cw));
        r[j] = W::exclusive_or(r[j], W::both(set, cw_right));
        const V go_right = bit(at[j], keys.n - 1 - level);
        sum[j] = W::exclusive_or(sum[j], W::without(go_right, r[j]));
        node[j] = pick(go_right, r[j], l[j]);
      }
    }
    for (std::size_t j = 0; j < G; ++j) seed[j] = W::without(one, node[j]);
    last_blocks(seed, l);
    alignas(64) u64 ends[2 * kKeys], sums[2 * kKeys];
    for (std::size_t j = 0; j < G; ++j) {
      const std::size_t first = j * W::kLanes;
      const V cw = W::load(keys.blocks + stride * (k + first + 1) - 16, stride);
      l[j] = W::exclusive_or(l[j], W::both(on(node[j]), cw));
      W::store(reinterpret_cast<u8*>(ends + 2 * first), 16, l[j]);
      W::store(reinterpret_cast<u8*>(sums + 2 * first), 16, sum[j]);
    }
    u64* out = in.out + c * keys.count + k;
    for (std::size_t i = 0; i < kKeys; ++i)
      out[i] = (sums[2 * i] ^ ends[2 * i + (points[i] >> 6 & 1)] >> (points[i] & 63)) & 1;
  }

  // Keys k .. k + kKeys - 1. The path alpha enters through masks only.
  void generate(const CompareKeys& keys, const u8* seeds0, const u8* seeds1, const u64* alpha,
                std::size_t k) const {
    const std::size_t stride = 16 * (keys.levels + std::size_t{1});
    V node[2][G], seed[2][G], l[2][G], r[2][G], path[G], turns[G];
    for (std::size_t j = 0; j < G; ++j) {
      const std::size_t first = k + j * W::kLanes;
      node[0][j] = root(seeds0 + 16 * first, 0);
      node[1][j] = root(seeds1 + 16 * first, 1);
      path[j] = W::words(alpha + first);
      turns[j] = W::exclusive_or(path[j], path[j]);
    }
    for (unsigned level = 0; level < keys.levels; ++level) {
      for (int b = 0; b < 2; ++b) {
        for (std::size_t j = 0; j < G; ++j) seed[b][j] = W::without(one, node[b][j]);
        children(seed[b], l[b], r[b]);
      }
      for (std::size_t j = 0; j < G; ++j) {
        const V go_right = bit(path[j], keys.n - 1 - level);
        const V lefts = W::exclusive_or(l[0][j], l[1][j]);
        const V rights = W::exclusive_or(r[0][j], r[1][j]);
        const V cw = W::without(one, pick(go_right, lefts, rights));
        // The control bits shall differ on alpha's path, and be the same beside it.
        const V cw_left = W::either(cw, W::without(W::exclusive_or(lefts, go_right), one));
        const V turn = W::both(W::exclusive_or(rights, go_right), one);
        const V keep = pick(go_right, W::either(cw, turn), cw_left);
        turns[j] = W::either(turns[j], W::left(turn, level));
        W::store(keys.blocks + stride * (k + j * W::kLanes) + 16 * level, stride, cw_left);
        for (int b = 0; b < 2; ++b)
          node[b][j] = W::exclusive_or(pick(go_right, r[b][j], l[b][j]),
                                       W::both(on(node[b][j]), keep));
      }
    }
    for (int b = 0; b < 2; ++b) {
      for (std::size_t j = 0; j < G; ++j) seed[b][j] = W::without(one, node[b][j]);
      last_blocks(seed[b], l[b]);
    }
    alignas(64) u64 words[2 * kKeys];
    for (std::size_t i = 0; i < kKeys; ++i) {
      // Bit j of 128: whether j is below alpha's lower seven bits, of which the first picks a half.
      const u64 upper = 0 - (alpha[k + i] >> 6 & 1), part = (u64{1} << (alpha[k + i] & 63)) - 1;
      words[2 * i] = part | upper;
      words[2 * i + 1] = part & upper;
    }
    for (std::size_t j = 0; j < G; ++j) {
      const V below = W::load(reinterpret_cast<const u8*>(words + 2 * j * W::kLanes), 16);
      const V last = W::exclusive_or(W::exclusive_or(l[0][j], l[1][j]), below);
      W::store(keys.blocks + stride * (k + j * W::kLanes + 1) - 16, stride, last);
    }
    for (std::size_t j = 0; j < G; ++j)
      W::store(reinterpret_cast<u8*>(words + 2 * j * W::kLanes), 16, turns[j]);
    for (std::size_t i = 0; i < kKeys; ++i) keys.right_bits[k + i] = words[2 * i];
  }
};

// Keys first .. end by groups of W, then one by one.
template <class W, std::size_t G, class Work>
void in_groups(const u8* aes, std::size_t first, std::size_t end, const Work& work) {
  const Comparison<W, G> many(aes);
  for (; first + many.kKeys <= end; first += many.kKeys) work(many, first);
  const Comparison<Narrow, 1> single(aes);
  for (; first < end; ++first) work(single, first);
}

template <class W, std::size_t G>
void compare_generate(const CompareKeys& keys, const u8* seeds0, const u8* seeds1,
                      const u64* alpha, std::size_t first, std::size_t end) {
  in_groups<W, G>(keys.aes, first, end, [&](const auto& some, std::size_t k) {
    some.generate(keys, seeds0, seeds1, alpha, k);
  });
}

template <class W, std::size_t G>
void compare_evaluate(const CompareKeys& keys, const ComparePoints& in, std::size_t first,
                      std::size_t end) {
  for (std::size_t c = 0; c < in.rows; ++c)
    in_groups<W, G>(keys.aes, first, end, [&](const auto& some, std::size_t k) {
      some.evaluate(keys, in, c, k);
    });
}

}  // namespace
}  // namespace veilform
