// cos and sin of multiples of an angle, in integers: the same bits on every machine. Plain loops, as
// in elementwise.hpp, and no address or branch that depends on the angle.
//
// An angle is a fraction of a turn in 32 bits, so a multiple of it is exact modulo the turn. It is
// reduced to an eighth of a turn either way, of magnitude m 2^-30 pi/4, and u = m^2 goes through two
// polynomials with 30 fraction bits whose terms alternate in sign, so no step is negative.
#pragma once

#include "kernels.hpp"

namespace veilform {
namespace {

constexpr unsigned kUnit = 30;  // fraction bits of cos and sin
constexpr u64 kLow32 = 0xFFFFFFFF;

// A product of words below 2^32.
inline u64 times(u64 a, u64 b) { return (a & kLow32) * (b & kLow32); }

struct Phasor {
  u64 cos, sin;  // two's complement, kUnit fraction bits
};

// The turn is `angle` modulo 2^32 of 2^32.
inline Phasor phasor_of(u64 angle) {
  const u64 eighth = u64{1} << 29;
  const u64 moved = (angle + eighth) & kLow32, quadrant = moved >> 30;
  const u64 rest = (moved & (2 * eighth - 1)) - eighth;  // signed
  const u64 minus = 0 - (rest >> 63), m = ((rest ^ minus) - minus) << 1;
  const u64 u = times(m, m) >> kUnit;
  u64 c = 349974 - (times(3790, u) >> kUnit);
  c = 17023452 - (times(c, u) >> kUnit);
  c = 331168967 - (times(c, u) >> kUnit);
  c = 1073741824 - (times(c, u) >> kUnit);
  u64 s = 39269 - (times(332, u) >> kUnit);
  s = 2674039 - (times(s, u) >> kUnit);
  s = 86699833 - (times(s, u) >> kUnit);
  s = 843314857 - (times(s, u) >> kUnit);
  s = times(s, m) >> kUnit;
  s = (s ^ minus) - minus;
  const u64 swap = (c ^ s) & (0 - (quadrant & 1));
  const u64 not_cos = 0 - (((quadrant + 1) >> 1) & 1), not_sin = 0 - (quadrant >> 1);
  return {((c ^ swap) ^ not_cos) - not_cos, ((s ^ swap) ^ not_sin) - not_sin};
}

// x / 2^right, rounded, for |x| < 2^62 and right from 1 to 30: the arithmetic shift that AVX2 lacks.
inline u64 rounded(u64 x, unsigned right) {
  const u64 lift = u64{1} << 62;
  return ((x + lift + (u64{1} << (right - 1))) >> right) - (lift >> right);
}

void phasor(u64* cos, u64* sin, const Angles& at, unsigned scale, std::size_t first,
            std::size_t end) {
  // Two bits to spare, so that even 30 fraction bits are a shift.
  const unsigned right = kUnit + 2 - scale;
  for (std::size_t i = first; i < end; ++i) {
    const Phasor p = phasor_of((at.x[i] * at.order) << at.shift);
    cos[i] = rounded(p.cos << 2, right);
    sin[i] = rounded(p.sin << 2, right);
  }
}

void harmonic(u64* onto, const Angles& at, u64 a, u64 b, const u64* cos, const u64* sin,
              std::size_t first, std::size_t end) {
  for (std::size_t i = first; i < end; ++i) {
    const Phasor p = phasor_of((at.x[i] * at.order) << at.shift);
    onto[i] += rounded(a * p.cos + b * p.sin, kUnit) * cos[i] +
               rounded(a * p.sin - b * p.cos, kUnit) * sin[i];
  }
}

}  // namespace
}  // namespace veilform
