// Sums over a function that is given in segments, by an incremental point function.
//
// A key has a value word at every level of its tree (Boneh et al., Lightweight techniques for
// private heavy hitters, S&P 2021), so an inner node can stand for all leaves below it. The tree is
// expanded only down to nodes on which the function is one row: all outside its range, or inside
// and short for how far from zero they are. Which nodes these are follows from the public y.
#pragma once

#include "aes.hpp"

namespace veilform {
namespace {

// Which nodes of a level of leaves 2^bits apart are done, by the index that their segment starts
// at.
struct Level {
  u64 mask, length, inside_from, inside_span, outside_from, outside_span;
  bool can_be_inside, can_be_outside;

  Level(const DpfSegments& in, unsigned n, unsigned bits) {
    mask = (u64{1} << n) - 1;
    length = u64{1} << bits;
    const u64 away = length << in.fine;
    inside_from = in.first_index > away ? in.first_index : away;
    can_be_inside = inside_from + length <= in.last_index + 1;
    inside_span = in.last_index + 1 - length - inside_from;
    const u64 outside = mask + 1 - (in.last_index + 1 - in.first_index);
    outside_from = in.last_index + 1;
    can_be_outside = outside >= length;
    outside_span = outside - length;
  }
  bool inside(u64 start) const { return can_be_inside & (start - inside_from <= inside_span); }
  bool outside(u64 start) const {
    return can_be_outside & (((start - outside_from) & mask) <= outside_span);
  }
};

// The row of a segment inside: by the highest bit of its start, and the `grid` bits below that.
inline const u64* row_of(const DpfSegments& in, u64 start) {
  const unsigned top = 63u - static_cast<unsigned>(__builtin_clzll(start));
  return in.rows + 2 * ((static_cast<std::size_t>(top - in.octave) << in.grid) +
                        ((start >> (top - in.grid)) - (u64{1} << in.grid)));
}

// Nodes that one row serves, until there are enough of them to convert together.
struct Ended {
  __m128i* nodes;
  u64 *starts, *levels, *values;
  std::size_t count;
};

// Adds what the ended nodes are worth: intercept, slope, slope times payload, outside.
template <class E>
void add_up(const E& engine, const DpfSegments& in, const u64* words, Ended& ended, u64* sums) {
  for (std::size_t i = 0; i < ended.count; i += kDpfLeaves) {
    engine.convert(ended.nodes + i, _mm_setzero_si128(), ended.values);
    const std::size_t some = ended.count - i < kDpfLeaves ? ended.count - i : kDpfLeaves;
    for (std::size_t j = 0; j < some; ++j) {
      const u64 on = 0 - (static_cast<u64>(_mm_cvtsi128_si64(ended.nodes[i + j])) & 1);
      const u64* word = words + 2 * ended.levels[i + j];
      const u64 one = ended.values[2 * j] + (word[0] & on);
      const u64 start = ended.starts[i + j];
      if (start - in.first_index > in.last_index - in.first_index) {
        sums[3] += one;
        continue;
      }
      const u64* row = row_of(in, start);
      sums[0] += row[0] * one;
      sums[1] += row[1] * one;
      sums[2] += row[1] * (ended.values[2 * j + 1] + (word[1] & on));
    }
  }
  ended.count = 0;
}

// `E` as in aes.hpp.
template <class E>
void segments_with(const E& engine, const DpfKeys& keys, const DpfSegments& in, std::size_t first,
                   std::size_t end, u64* scratch) {
  const unsigned n = keys.n;
  const std::size_t room = dpf_segment_nodes(in.fine), most = 2 * room + kDpfEnded;
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
    const u64* words = keys.final_words + 2 * k * n;
    u64 sums[4] = {0, 0, 0, 0};
    open[0] = root(in.seeds + 16 * k, in.party);
    starts[0] = (in.y[k] + 1) & ((u64{1} << n) - 1);
    ended.count = 0;
    std::size_t count = 1;
    for (unsigned level = 0; level < n && count; ++level) {
      __m128i left, right;
      correction(keys, k, level, left, right);
      engine.expand(open, count, left, right, children);
      const Level at(in, n, n - 1 - level);
      std::size_t kept = 0;
      for (std::size_t i = 0; i < 2 * count; ++i) {
        // The lower child has the upper half of the segment: indices fall as points rise.
        const u64 start = (starts[i / 2] + (i & 1 ? 0 : at.length)) & at.mask;
        const bool done = at.inside(start) | at.outside(start);
        ended.nodes[ended.count] = children[i];
        ended.starts[ended.count] = start;
        ended.levels[ended.count] = level;
        ended.count += done;
        open[kept] = children[i];
        next[kept] = start;
        kept += !done;
      }
      if (ended.count >= kDpfEnded) add_up(engine, in, words, ended, sums);
      u64* other = starts;
      starts = next;
      next = other;
      count = kept;
    }
    add_up(engine, in, words, ended, sums);
    const u64 sign = in.party ? ~u64{0} : 1;
    for (std::size_t i = 0; i < 4; ++i) in.out[4 * k + i] = sign * sums[i];
  }
}

}  // namespace
}  // namespace veilform
