// Bilinear forms in opened values, in one pass over the operands. Plain loops on blocks that stay
// in L1: each translation unit that includes this file vectorises them for its instruction set.
//
// With s = bits - t and `on` = all ones where msb(y) = 0: g x = (x & on) << s. For t = 0 the terms
// in g are absent. Formulas: veilform/kernels/__init__.py.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace veilform {
namespace {

constexpr std::size_t kBlock = 256;

struct alignas(64) Block {
  u64 word[kBlock];
};

template <class Word>
void widen(const Word* in, std::size_t repeat, std::size_t first, std::size_t count, u64* out) {
  if (repeat == 1) {
    for (std::size_t i = 0; i < count; ++i) out[i] = in[first + i];
    return;
  }
  std::size_t at = first / repeat, left = repeat - first % repeat;
  for (std::size_t i = 0; i < count;) {
    const std::size_t run = left < count - i ? left : count - i;
    const u64 value = in[at++];
    for (std::size_t j = 0; j < run; ++j) out[i + j] = value;
    i += run;
    left = repeat;
  }
}

// Elements first .. first + count as 64-bit words: in place where they are, else in `room`.
const u64* load(const Operand& x, std::size_t first, std::size_t count, Block& room) {
  switch (x.width) {
    case 8:
      if (x.repeat == 1) return static_cast<const u64*>(x.data) + first;
      widen(static_cast<const u64*>(x.data), x.repeat, first, count, room.word);
      break;
    case 4:
      widen(static_cast<const std::uint32_t*>(x.data), x.repeat, first, count, room.word);
      break;
    case 2:
      widen(static_cast<const std::uint16_t*>(x.data), x.repeat, first, count, room.word);
      break;
    default:
      std::memset(room.word, 0, count * sizeof(u64));
  }
  return room.word;
}

u64 ring_mask(unsigned bits) { return ~u64{0} >> (64 - bits); }

// What one opening shows, element by element.
struct Shown {
  u64 mask, offset;
  unsigned t, top, shift;
  Shown(const Opened& y, unsigned bits)
      : mask(ring_mask(bits)),
        offset(y.t ? u64{1} << (bits - 2 - y.t) : 0),
        t(y.t),
        top(bits - 1),
        shift(y.t ? bits - y.t : 0) {}
  u64 p(u64 y) const { return ((y & mask) >> t) - offset; }
  u64 on(u64 y) const { return t ? ((y & mask) >> top) - 1 : 0; }
  u64 g(u64 x, u64 on) const { return (x & on) << shift; }
};

void share(u64* out, const Opened& opened, unsigned bits, bool lead, const Operand& q_,
           const Operand& h_, std::size_t first, std::size_t end) {
  Block ry, rq, rh;
  const Shown shown(opened, bits);
  const u64 ours = lead ? ~u64{0} : 0;
  for (std::size_t at = first; at < end; at += kBlock) {
    const std::size_t count = end - at < kBlock ? end - at : kBlock;
    const u64* y = load(opened.y, at, count, ry);
    const u64 *q = load(q_, at, count, rq), *h = load(h_, at, count, rh);
    u64* o = out + at;
    for (std::size_t i = 0; i < count; ++i)
      o[i] = ((shown.p(y[i]) & ours) - q[i] + shown.g(h[i], shown.on(y[i]))) & shown.mask;
  }
}

void square(u64* out, const Opened& opened, unsigned bits, bool lead, const SquareTerms& terms,
            std::size_t first, std::size_t end) {
  Block ry, rq, rh, rq2, rqh;
  const Shown shown(opened, bits);
  const u64 ours = lead ? ~u64{0} : 0;
  for (std::size_t at = first; at < end; at += kBlock) {
    const std::size_t count = end - at < kBlock ? end - at : kBlock;
    const u64* y = load(opened.y, at, count, ry);
    const u64 *q = load(terms.q, at, count, rq), *h = load(terms.h, at, count, rh);
    const u64 *q2 = load(terms.q2, at, count, rq2), *qh = load(terms.qh, at, count, rqh);
    u64* o = out + at;
    for (std::size_t i = 0; i < count; ++i) {
      const u64 p = shown.p(y[i]), on = shown.on(y[i]), gh = shown.g(h[i], on);
      const u64 sum = p * ((p & ours) - 2 * (q[i] - gh)) + q2[i] - 2 * shown.g(qh[i], on);
      o[i] = (sum + shown.g(gh, on)) & shown.mask;
    }
  }
}

void product(u64* out, const Opened& a, const Opened& b, unsigned bits, bool lead,
             const ProductTerms& terms, std::size_t first, std::size_t end) {
  Block rya, ryb, rqa, rha, rqb, rhb, rqq, rqh, rhq, rhh;
  const Shown sa(a, bits), sb(b, bits);
  const u64 ours = lead ? ~u64{0} : 0;
  for (std::size_t at = first; at < end; at += kBlock) {
    const std::size_t count = end - at < kBlock ? end - at : kBlock;
    const u64 *ya = load(a.y, at, count, rya), *yb = load(b.y, at, count, ryb);
    const u64 *qa = load(terms.qa, at, count, rqa), *ha = load(terms.ha, at, count, rha);
    const u64 *qb = load(terms.qb, at, count, rqb), *hb = load(terms.hb, at, count, rhb);
    const u64 *qq = load(terms.qaqb, at, count, rqq), *qh = load(terms.qahb, at, count, rqh);
    const u64 *hq = load(terms.haqb, at, count, rhq), *hh = load(terms.hahb, at, count, rhh);
    u64* o = out + at;
    for (std::size_t i = 0; i < count; ++i) {
      const u64 pa = sa.p(ya[i]), pb = sb.p(yb[i]), oa = sa.on(ya[i]), ob = sb.on(yb[i]);
      const u64 sum = pa * ((pb & ours) - qb[i] + sb.g(hb[i], ob)) -
                      pb * (qa[i] - sa.g(ha[i], oa)) + qq[i];
      const u64 carries = sa.g(sb.g(hh[i], ob) - hq[i], oa) - sb.g(qh[i], ob);
      o[i] = (sum + carries) & sa.mask;
    }
  }
}

template <bool B>
void mix_loop(u64* out, const Mix& m, u64 sign_a, u64 sign_b, std::size_t first,
              std::size_t end) {
  // -x = (x xor -1) + 1: the ones are in `plus`.
  const u64 mask = ring_mask(m.bits), plus = m.plus - sign_a - (B ? sign_b : 0);
  for (std::size_t i = first; i < end; ++i) {
    u64 word = (m.a[i] ^ sign_a) + plus;
    if (B) word += m.b[i] ^ sign_b;
    out[i] = (((word & mask) >> m.right) + m.then) << m.left;
  }
}

void mix(u64* out, const Mix& m, std::size_t first, std::size_t end) {
  const u64 sign_a = m.negate_a ? ~u64{0} : 0, sign_b = m.negate_b ? ~u64{0} : 0;
  if (m.b)
    mix_loop<true>(out, m, sign_a, sign_b, first, end);
  else
    mix_loop<false>(out, m, sign_a, sign_b, first, end);
}

void centre(u64* out, const u64* x, std::size_t d, std::size_t first, std::size_t end) {
  for (std::size_t row = first; row < end; ++row) {
    const u64* in = x + row * d;
    u64* to = out + row * d;
    u64 sum = 0;
    for (std::size_t i = 0; i < d; ++i) sum += in[i];
    for (std::size_t i = 0; i < d; ++i) to[i] = in[i] * d - sum;
  }
}

}  // namespace
}  // namespace veilform
