// Sums over a function that is one row on each of a few segments, by an incremental point function.
//
// A key has a value word at every level of its tree (Boneh et al., Lightweight techniques for
// private heavy hitters, S&P 2021), so an inner node can stand for all leaves below it. The tree is
// expanded only down to nodes that are done: one row serves their segment of indices. Which nodes
// these are follows from the public y.
#pragma once

#include "aes.hpp"

namespace veilform {
namespace {

// Nodes that are done, until there are enough of them to convert together.
struct Ended {
  __m128i* nodes;
  u64 *starts, *levels, *values;
  std::size_t count;
};

// Adds what the ended nodes are worth. `rule.add(start, one, second, sums)` adds one node's, by its
// pair of values.
template <class E, class Rule>
void add_up(const E& engine, const Rule& rule, const u64* words, Ended& ended, u64* sums) {
  for (std::size_t i = 0; i < ended.count; i += kDpfLeaves) {
    engine.convert(ended.nodes + i, _mm_setzero_si128(), ended.values);
    const std::size_t some = ended.count - i < kDpfLeaves ? ended.count - i : kDpfLeaves;
    for (std::size_t j = 0; j < some; ++j) {
      const u64 on = 0 - (static_cast<u64>(_mm_cvtsi128_si64(ended.nodes[i + j])) & 1);
      const u64* word = words + 2 * ended.levels[i + j];
      rule.add(ended.starts[i + j], ended.values[2 * j] + (word[0] & on),
               ended.values[2 * j + 1] + (word[1] & on), sums);
    }
  }
  ended.count = 0;
}

// `E` as in aes.hpp. `Rule` is made from the function and y for each key; it has
//   kOut: how many sums;
//   level(n, bits): done(start) of segments of 2^bits indices from `start` on;
//   add: as above.
template <class Rule, class E, class Function>
void sums_with(const E& engine, const DpfKeys& keys, const Function& in, std::size_t first,
               std::size_t end, std::size_t room, u64* scratch) {
  const unsigned n = keys.n;
  const std::size_t most = 2 * room + kDpfEnded;
  auto* open = reinterpret_cast<__m128i*>(scratch);  // nodes to expand
  __m128i* children = open + room;                   // two for each
  Ended ended;
  ended.nodes = children + 2 * room;
  ended.values = reinterpret_cast<u64*>(ended.nodes + most);
  ended.starts = ended.values + 2 * kDpfLeaves;
  ended.levels = ended.starts + most;
  u64* starts = ended.levels + most;
  u64* next = starts + 2 * room;

  for (std::size_t k = first; k < end; ++k) {
    const Rule rule(in, in.y[k]);
    const u64* words = keys.final_words + 2 * k * n;
    u64 sums[Rule::kOut] = {};
    open[0] = root(in.seeds + 16 * k, in.party);
    starts[0] = (in.y[k] + 1) & ((u64{1} << n) - 1);
    ended.count = 0;
    std::size_t count = 1;
    for (unsigned level = 0; level < n && count; ++level) {
      __m128i left, right;
      correction(keys, k, level, left, right);
      engine.expand(open, count, left, right, children);
      const unsigned bits = n - 1 - level;
      const u64 mask = (u64{1} << n) - 1, length = u64{1} << bits;
      const auto at = rule.level(n, bits);
      std::size_t kept = 0;
      for (std::size_t i = 0; i < 2 * count; ++i) {
        // The lower child has the upper half of the segment: indices fall as points rise.
        const u64 start = (starts[i / 2] + (i & 1 ? 0 : length)) & mask;
        const bool done = at.done(start);
        ended.nodes[ended.count] = children[i];
        ended.starts[ended.count] = start;
        ended.levels[ended.count] = level;
        ended.count += done;
        open[kept] = children[i];
        next[kept] = start;
        kept += !done;
      }
      if (ended.count >= kDpfEnded) add_up(engine, rule, words, ended, sums);
      u64* other = starts;
      starts = next;
      next = other;
      count = kept;
    }
    add_up(engine, rule, words, ended, sums);
    const u64 sign = in.party ? ~u64{0} : 1;
    for (std::size_t i = 0; i < Rule::kOut; ++i) in.out[Rule::kOut * k + i] = sign * sums[i];
  }
}

}  // namespace
}  // namespace veilform
