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

// Where segments of one length may start to be done: in one of R ranges of indices, which may go
// round from the highest to 0.
template <int R>
struct Done {
  u64 mask;      // of indices
  u64 length;    // of a segment
  u64 from[R] = {};
  u64 count[R] = {};  // 0 for a range that is empty

  Done(unsigned n, unsigned bits) : mask((u64{1} << n) - 1), length(u64{1} << bits) {}

  // Range i: segments within first .. end - 1.
  void within(int i, u64 first, u64 end) {
    from[i] = first;
    count[i] = end >= first + length ? end - first - length + 1 : 0;
  }
  bool operator()(u64 start) const {
    bool done = false;
    for (int i = 0; i < R; ++i) done |= ((start - from[i]) & mask) < count[i];
    return done;
  }
};

// Nodes to expand, and where their segments start; `next` has room for those of the next level.
struct Open {
  __m128i* nodes;
  u64 *starts, *next;
};

// Nodes that are done, until there are enough of them to convert together. `words` are their
// levels' value words where the control bit is set, else 0.
struct Ended {
  __m128i *nodes, *words;
  u64* starts;
  std::size_t count;
};

constexpr u64 kNoRow[2] = {0, 0};

// Adds what the ended nodes are worth.
template <class Rule, class E>
void add_up(const E& engine, const Rule& rule, Ended& ended, u64* values, u64* sums) {
  const u64* rows[kDpfLeaves];
  for (std::size_t i = 0; i < ended.count; i += kDpfLeaves) {
    engine.convert(ended.nodes + i, _mm_setzero_si128(), values);
    for (std::size_t j = 0; j < kDpfLeaves; ++j)
      rows[j] = i + j < ended.count ? rule.row(ended.starts[i + j]) : kNoRow;
    engine.add_rows(values, ended.words + i, rows, sums);
    if constexpr (Rule::kOut == 4)
      for (std::size_t j = 0; j < kDpfLeaves && i + j < ended.count; ++j)
        if (rule.outside(ended.starts[i + j]))
          sums[3] += values[2 * j] + static_cast<u64>(_mm_cvtsi128_si64(ended.words[i + j]));
  }
  ended.count = 0;
}

// One key's walk down the tree, in a part of the scratch memory.
template <class Rule>
struct Walk {
  Rule rule;
  Open open;
  Ended ended;
  __m128i* children;  // two for each open node
  u64* values;
  std::size_t count;  // of open nodes
  u64 sums[4];

  void place(u64* scratch, std::size_t room) {
    const std::size_t most = 2 * room + kDpfEnded;
    children = reinterpret_cast<__m128i*>(scratch);
    ended.nodes = children + 2 * room;
    ended.words = ended.nodes + most;
    open.nodes = ended.words + most;
    values = reinterpret_cast<u64*>(open.nodes + room);
    ended.starts = values + 2 * kDpfLeaves;
    open.starts = ended.starts + most;
    open.next = open.starts + room;
  }

  template <class Function>
  void start(const Function& in, std::size_t k, unsigned n) {
    rule = Rule(in, in.y[k]);
    for (u64& sum : sums) sum = 0;
    open.nodes[0] = root(in.seeds + 16 * k, in.party);
    open.starts[0] = (in.y[k] + 1) & ((u64{1} << n) - 1);
    ended.count = 0;
    count = 1;
  }
};

// `E` as in aes.hpp, and
//   split(children, open, count, done, word, ended): children of `count` open nodes, sorted; the
//     new count of open nodes;
//   add_rows(values, words, rows, sums): to sums[0 .. 2], (value + word) pairs times rows, as the
//     intercept, the slope, and the slope times the second of the pair.
// `Rule` is made from the function and y for each key; it has
//   kOut: how many sums;
//   done(n, bits): which segments of 2^bits indices one row serves;
//   row(start): that row, intercept and slope; and outside(start), if there is a fourth sum.
template <class Rule, class E, class Function>
void sums_with(const E& engine, const DpfKeys& keys, const Function& in, std::size_t first,
               std::size_t end, std::size_t room, u64* scratch) {
  Walk<Rule> walks[kDpfTogether];
  for (Walk<Rule>& walk : walks) {
    walk.place(scratch, room);
    scratch += dpf_tree_words(room);
  }
  const unsigned n = keys.n;
  for (; first < end; first += kDpfTogether) {
    const std::size_t some = end - first < kDpfTogether ? end - first : kDpfTogether;
    for (std::size_t i = 0; i < some; ++i)
      walks[i].start(in, first + i, n);
    // Several walks level by level: near the root, each alone would wait for its few blocks.
    for (unsigned level = 0; level < n; ++level) {
      for (std::size_t i = 0; i < some; ++i) {
        __m128i left, right;
        correction(keys, first + i, level, left, right);
        engine.expand(walks[i].open.nodes, walks[i].count, left, right, walks[i].children);
      }
      for (std::size_t i = 0; i < some; ++i) {
        Walk<Rule>& walk = walks[i];
        const u64* words = keys.final_words + 2 * ((first + i) * n + level);
        const __m128i word = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
        walk.count = engine.split(walk.children, walk.open, walk.count,
                                  walk.rule.done(n, n - 1 - level), word, walk.ended);
        u64* other = walk.open.starts;
        walk.open.starts = walk.open.next;
        walk.open.next = other;
        if (walk.ended.count >= kDpfEnded)
          add_up(engine, walk.rule, walk.ended, walk.values, walk.sums);
      }
    }
    const u64 sign = in.party ? ~u64{0} : 1;
    for (std::size_t i = 0; i < some; ++i) {
      Walk<Rule>& walk = walks[i];
      add_up(engine, walk.rule, walk.ended, walk.values, walk.sums);
      u64* out = in.out + Rule::kOut * (first + i);
      for (std::size_t c = 0; c < Rule::kOut; ++c) out[c] = sign * walk.sums[c];
    }
  }
}

}  // namespace
}  // namespace veilform
