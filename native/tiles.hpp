// Winograd's transforms of tiles, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), modulo 2^64: see
// veilform/winograd.py, whose matrices these are. Include in one translation unit per instruction
// set. Eight channels of a tile are worked on at a time, in registers.
#pragma once

#include <cstring>
#include <utility>

#include "kernels.hpp"

namespace veilform {
namespace {

struct F23 {
  static constexpr std::size_t kSize = 4, kTile = 2;
  static constexpr int kIn[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
  static constexpr int kOut[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
};

struct F43 {
  static constexpr std::size_t kSize = 6, kTile = 4;
  static constexpr int kIn[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0},
                                    {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0},
                                    {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  static constexpr int kOut[4][6] = {
      {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
};

// Eight channels: a vector of AVX-512, two of AVX2.
typedef u64 Lanes __attribute__((vector_size(64)));
constexpr std::size_t kTogether = sizeof(Lanes) / sizeof(u64);

// C x, by shifts: few instruction sets multiply 64-bit words.
template <int C>
Lanes times(Lanes x) {
  if constexpr (C < 0) return -times<-C>(x);
  else if constexpr (C == 0) return Lanes{};
  else if constexpr (C % 2) return C == 1 ? x : x + times<C - 1>(x);
  else return times<C / 2>(x) << 1;
}

template <class F, bool kInputs, std::size_t I, std::size_t K>
constexpr int entry() {
  if constexpr (kInputs) return F::kIn[I][K];
  else return F::kOut[I][K];
}

// The sum over K of the matrix's row I times x[K], words `step` lanes apart.
template <class F, bool kInputs, std::size_t I, std::size_t... K>
Lanes row(const Lanes* x, std::size_t step, std::index_sequence<K...>) {
  return (Lanes{} + ... + times<entry<F, kInputs, I, K>()>(x[K * step]));
}

template <class F, bool kInputs, std::size_t... I>
void rows(const Lanes* x, std::size_t step, Lanes* y, std::size_t y_step,
          std::index_sequence<I...>) {
  ((y[I * y_step] = row<F, kInputs, I>(x, step, std::make_index_sequence<F::kSize>())), ...);
}

// M d M^T for a block of lanes: down, then across. M has R rows.
template <class F, bool kInputs, std::size_t R>
void both_ways(const Lanes (&d)[F::kSize][F::kSize], Lanes (&out)[R][R]) {
  Lanes half[R][F::kSize];
  constexpr auto all = std::make_index_sequence<R>();
  for (std::size_t j = 0; j < F::kSize; ++j)
    rows<F, kInputs>(&d[0][j], F::kSize, &half[0][j], F::kSize, all);
  for (std::size_t i = 0; i < R; ++i) rows<F, kInputs>(half[i], 1, out[i], 1, all);
}

// `live` words; a vector, if all of them are.
inline Lanes load(const u64* from, std::size_t live) {
  Lanes x{};
  if (live == kTogether) std::memcpy(&x, from, sizeof x);
  else std::memcpy(&x, from, live * sizeof(u64));
  return x;
}

inline void store(u64* to, const Lanes& x, std::size_t live) {
  if (live == kTogether) std::memcpy(to, &x, sizeof x);
  else std::memcpy(to, &x, live * sizeof(u64));
}

// Row `at` of tiles, of all images' rows of tiles, to planes that begin with row `first`.
template <class F>
void inputs_of(const Tiling& g, std::size_t at, std::size_t first, std::size_t plane) {
  const std::size_t image = at / g.down, top = at % g.down * F::kTile;
  const u64* const pixels = g.image + image * g.height * g.width * g.channels;
  for (std::size_t tile = 0; tile < g.across; ++tile)
    for (std::size_t c = 0; c < g.channels; c += kTogether) {
      const std::size_t live = g.channels - c < kTogether ? g.channels - c : kTogether;
      Lanes d[F::kSize][F::kSize], out[F::kSize][F::kSize];
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j) {
          // Before the first row or column, these wrap round and are larger than any.
          const std::size_t y = top + i - g.padding, x = tile * F::kTile + j - g.padding;
          d[i][j] = y < g.height && x < g.width
                        ? load(pixels + (y * g.width + x) * g.channels + c, live)
                        : Lanes{};
        }
      both_ways<F, true, F::kSize>(d, out);
      u64* to = g.tiles_out + ((at - first) * g.across + tile) * g.channels + c;
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j, to += plane) store(to, out[i][j], live);
    }
}

// The same way back, under a mask, and onto what is there if the tiling says so.
template <class F>
void outputs_of(const Tiling& g, std::size_t at, std::size_t first, std::size_t plane) {
  const std::size_t image = at / g.down, top = at % g.down * F::kTile;
  u64* const pixels = g.image_out + image * g.height * g.width * g.channels;
  for (std::size_t tile = 0; tile < g.across; ++tile)
    for (std::size_t c = 0; c < g.channels; c += kTogether) {
      const std::size_t live = g.channels - c < kTogether ? g.channels - c : kTogether;
      Lanes d[F::kSize][F::kSize], out[F::kTile][F::kTile];
      const u64* from = g.tiles + ((at - first) * g.across + tile) * g.channels + c;
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j, from += plane) d[i][j] = load(from, live);
      both_ways<F, false, F::kTile>(d, out);
      for (std::size_t i = 0; i < F::kTile; ++i)
        for (std::size_t j = 0; j < F::kTile; ++j) {
          const std::size_t y = top + i, x = tile * F::kTile + j;
          if (y >= g.height || x >= g.width) continue;
          u64* const pixel = pixels + (y * g.width + x) * g.channels + c;
          if (g.accumulate) out[i][j] += load(pixel, live);
          store(pixel, out[i][j] & g.mask, live);
        }
    }
}

void tile_inputs(const Tiling& g, std::size_t first, std::size_t end) {
  const std::size_t plane = (end - first) * g.across * g.channels;
  for (std::size_t at = first; at < end; ++at)
    g.tile == 2 ? inputs_of<F23>(g, at, first, plane) : inputs_of<F43>(g, at, first, plane);
}

void tile_outputs(const Tiling& g, std::size_t first, std::size_t end) {
  const std::size_t plane = (end - first) * g.across * g.channels;
  for (std::size_t at = first; at < end; ++at)
    g.tile == 2 ? outputs_of<F23>(g, at, first, plane) : outputs_of<F43>(g, at, first, plane);
}

}  // namespace
}  // namespace veilform
