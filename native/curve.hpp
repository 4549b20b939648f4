// A function of an index by equal segments of a window, and one row on either side (tree_sums.hpp).
//
// A node is done if it lies in the window and is short, or lies wholly on one side; never if it goes
// round from the highest index to 0. So all of a node's indices are above y, or none is. For a value
// z of w bits opened as y' = z + rho mod 2^w, indices being the upper bits, z = y' - rho + 2^w where
// the index is above that of y', else z = y' - rho: there the intercepts are larger by 2^w slopes.
#pragma once

#include "tree_sums.hpp"

namespace veilform {
namespace {

struct CurveRule {
  static constexpr std::size_t kOut = 3;  // intercept, slope, slope times payload
  const DpfCurve* in = nullptr;
  u64 y = 0, before = 0, after = 0;

  CurveRule() = default;
  CurveRule(const DpfCurve& function, u64 opened)
      : in(&function), y(opened), before(function.first_index - 1),
        after(function.last_index + 1) {}

  Done<3> done(unsigned n, unsigned bits) const {
    Done<3> at(n, bits);
    at.within(0, 0, in->first_index);
    at.within(1, after, at.mask + 1);
    if (bits <= in->cap) at.within(2, in->first_index, after);
    return at;
  }

  const u64* row(u64 start) const {
    const u64 cell = start < before ? before : start < after ? start : after;
    return (start > y ? in->wrapped_rows : in->rows) + 2 * (cell - before);
  }
};

}  // namespace
}  // namespace veilform
