// A function of an index whose segments are short for how far from zero they start (tree_sums.hpp).
//
// A node is done if it is all outside the range, or all inside and short enough.
#pragma once

#include "tree_sums.hpp"

namespace veilform {
namespace {

struct SegmentRule {
  static constexpr std::size_t kOut = 4;  // intercept, slope, slope times payload, outside
  const DpfSegments& in;

  SegmentRule(const DpfSegments& function, u64) : in(function) {}

  struct Level {
    u64 mask, inside_from, inside_span, outside_from, outside_span;
    bool can_be_inside, can_be_outside;

    bool done(u64 start) const {
      const bool inside = can_be_inside & (start - inside_from <= inside_span);
      return inside | (can_be_outside & (((start - outside_from) & mask) <= outside_span));
    }
  };

  Level level(unsigned n, unsigned bits) const {
    Level at;
    at.mask = (u64{1} << n) - 1;
    const u64 length = u64{1} << bits, away = length << in.fine;
    at.inside_from = in.first_index > away ? in.first_index : away;
    at.can_be_inside = at.inside_from + length <= in.last_index + 1;
    at.inside_span = in.last_index + 1 - length - at.inside_from;
    const u64 outside = at.mask + 1 - (in.last_index + 1 - in.first_index);
    at.outside_from = in.last_index + 1;
    at.can_be_outside = outside >= length;
    at.outside_span = outside - length;
    return at;
  }

  void add(u64 start, u64 one, u64 second, u64* sums) const {
    if (start - in.first_index > in.last_index - in.first_index) {
      sums[3] += one;
      return;
    }
    // The row is chosen by the start's highest bit, and the `grid` bits below that.
    const unsigned top = 63u - static_cast<unsigned>(__builtin_clzll(start));
    const u64* row = in.rows + 2 * ((static_cast<std::size_t>(top - in.octave) << in.grid) +
                                    ((start >> (top - in.grid)) - (u64{1} << in.grid)));
    sums[0] += row[0] * one;
    sums[1] += row[1] * one;
    sums[2] += row[1] * second;
  }
};

}  // namespace
}  // namespace veilform
