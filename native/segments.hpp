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

// Where node `prefix` of a level with leaves of `bits` bits below each lies: indices start ..
// start + 2^bits - 1, modulo 2^n.
struct Segment {
  u64 start, length;
  bool wraps;

  Segment(u64 y, u64 prefix, unsigned bits, unsigned n) {
    const u64 size = u64{1} << n;
    length = u64{1} << bits;
    start = (y - ((prefix + 1) << bits) + 1) & (size - 1);
    wraps = start + length > size;
  }
  u64 end(unsigned n) const { return start + length - 1 - (wraps ? u64{1} << n : 0); }
  bool outside(const DpfSegments& in, unsigned n) const {
    return start > in.last_index ? (!wraps || end(n) < in.first_index)
                                 : (!wraps && end(n) < in.first_index);
  }
  bool inside(const DpfSegments& in, unsigned n) const {
    return !wraps && start >= in.first_index && end(n) <= in.last_index &&
           length << in.fine <= start;
  }
};

// The row of a segment inside: by the highest bit of its start, and the `grid` bits below that.
inline std::size_t row_of(const DpfSegments& in, u64 start) {
  const unsigned top = 63u - static_cast<unsigned>(__builtin_clzll(start));
  return (static_cast<std::size_t>(top - in.octave) << in.grid) +
         ((start >> (top - in.grid)) - (u64{1} << in.grid));
}

constexpr u64 kOutside = ~u64{0};

// `E` as in aes.hpp.
template <class E>
void segments_with(const E& engine, const DpfKeys& keys, const DpfSegments& in, std::size_t first,
                   std::size_t end, u64* scratch) {
  const unsigned n = keys.n;
  const std::size_t room = dpf_segment_nodes(in.fine);
  auto* open = reinterpret_cast<__m128i*>(scratch);       // nodes to expand
  __m128i* children = open + room;                        // two for each
  __m128i* ended = children + 2 * room;                   // nodes that one row serves
  u64* values = reinterpret_cast<u64*>(ended + 2 * room);
  u64* prefixes = values + 2 * kDpfLeaves;
  u64* next = prefixes + room;
  u64* rows = next + room;

  for (std::size_t k = first; k < end; ++k) {
    const u64 y = in.y[k];
    u64 sums[4] = {0, 0, 0, 0};  // intercept, slope, slope times payload, outside
    open[0] = root(in.seeds + 16 * k, in.party);
    prefixes[0] = 0;
    std::size_t count = 1;
    for (unsigned level = 0; level < n && count; ++level) {
      __m128i left, right;
      correction(keys, k, level, left, right);
      engine.expand(open, count, left, right, children);
      const unsigned bits = n - 1 - level;
      std::size_t kept = 0, done = 0;
      for (std::size_t i = 0; i < 2 * count; ++i) {
        const u64 prefix = 2 * prefixes[i / 2] + (i & 1);
        const Segment at(y, prefix, bits, n);
        const bool outside = at.outside(in, n);
        if (outside || at.inside(in, n)) {
          ended[done] = children[i];
          rows[done++] = outside ? kOutside : 2 * row_of(in, at.start);
        } else {
          open[kept] = children[i];
          next[kept++] = prefix;
        }
      }
      const __m128i word = _mm_loadu_si128(
          reinterpret_cast<const __m128i*>(keys.final_words + 2 * (k * keys.levels + level)));
      for (std::size_t i = 0; i < done; i += kDpfLeaves) {
        engine.convert(ended + i, word, values);
        const std::size_t some = done - i < kDpfLeaves ? done - i : kDpfLeaves;
        for (std::size_t j = 0; j < some; ++j) {
          const u64 one = values[2 * j], payload = values[2 * j + 1];
          if (rows[i + j] == kOutside) {
            sums[3] += one;
          } else {
            const u64* row = in.rows + rows[i + j];
            sums[0] += row[0] * one;
            sums[1] += row[1] * one;
            sums[2] += row[1] * payload;
          }
        }
      }
      u64* other = prefixes;
      prefixes = next;
      next = other;
      count = kept;
    }
    const u64 sign = in.party ? ~u64{0} : 1;
    for (std::size_t i = 0; i < 4; ++i) in.out[4 * k + i] = sign * sums[i];
  }
}

}  // namespace
}  // namespace veilform
