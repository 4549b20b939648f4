// A function of an index by equal segments of a window, and one row on either side (tree_sums.hpp).
//
// A node is done if it lies in the window and is short, or lies wholly on one side; never if it goes
// round from the highest index to 0. So all of a node's indices are above y, or none is. For a value
// z of w bits opened as y' = z + rho mod 2^w, indices being the upper bits, z = y' - rho + 2^w where
// the index is above that of y', else z = y' - rho: `wrap` is 2^w in the ring of the answer.
#pragma once

#include "tree_sums.hpp"

namespace veilform {
namespace {

struct CurveRule {
  static constexpr std::size_t kOut = 3;  // intercept, slope, slope times payload
  const DpfCurve& in;
  u64 y, before, width;

  CurveRule(const DpfCurve& function, u64 opened)
      : in(function), y(opened), before(function.first_index - 1),
        width(function.last_index + 1 - before) {}

  struct Level {
    u64 length, first, last, size;
    bool short_enough;

    bool done(u64 start) const {
      const u64 end = start + length;
      const bool inside = short_enough & (start >= first) & (end <= last + 1);
      return inside | (end <= first) | ((start > last) & (end <= size));
    }
  };

  Level level(unsigned n, unsigned bits) const {
    return {u64{1} << bits, in.first_index, in.last_index, u64{1} << n, bits <= in.cap};
  }

  void add(u64 start, u64 one, u64 second, u64* sums) const {
    const u64 inside = start < before ? 0 : start - before;
    const u64* row = in.rows + 2 * (inside < width ? inside : width);
    sums[0] += (row[0] + (start > y ? row[1] * in.wrap : 0)) * one;
    sums[1] += row[1] * one;
    sums[2] += row[1] * second;
  }
};

}  // namespace
}  // namespace veilform
