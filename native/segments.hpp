// A function of an index whose segments are short for how far from zero they start (tree_sums.hpp).
//
// A node is done if it is all outside the range, or all inside and short enough.
#pragma once

#include "tree_sums.hpp"

namespace veilform {
namespace {

struct SegmentRule {
  static constexpr std::size_t kOut = 4;  // intercept, slope, slope times payload, outside
  const DpfSegments* in = nullptr;

  SegmentRule() = default;
  SegmentRule(const DpfSegments& function, u64) : in(&function) {}

  Done<2> done(unsigned n, unsigned bits) const {
    Done<2> at(n, bits);
    const u64 away = at.length << in->fine, after = in->last_index + 1;
    at.within(0, in->first_index > away ? in->first_index : away, after);
    at.within(1, after, at.mask + 1 + in->first_index);  // round from the highest index to 0
    return at;
  }

  bool outside(u64 start) const {
    return start - in->first_index > in->last_index - in->first_index;
  }

  const u64* row(u64 start) const {
    if (outside(start)) return kNoRow;
    // By the start's highest bit, and the `grid` bits below that.
    const unsigned top = 63u - static_cast<unsigned>(__builtin_clzll(start));
    return in->rows + 2 * ((static_cast<std::size_t>(top - in->octave) << in->grid) +
                          ((start >> (top - in->grid)) - (u64{1} << in->grid)));
  }
};

}  // namespace
}  // namespace veilform
