// Winograd's transforms of tiles, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), modulo 2^64: see
// veilform/winograd.py, whose matrices these are. Include in one translation unit per instruction
// set. Sixteen channels of a tile are worked on at a time, in the first cache.
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

constexpr std::size_t kTogether = 16;  // channels

using Lanes = u64[kTogether];

// C x, by shifts: few instruction sets multiply 64-bit words.
template <int C>
u64 times(u64 x) {
  if constexpr (C < 0) return 0 - times<-C>(x);
  else if constexpr (C == 0) return 0;
  else if constexpr (C % 2) return C == 1 ? x : x + times<C - 1>(x);
  else return times<C / 2>(x) << 1;
}

template <class F, bool kInputs, std::size_t I, std::size_t K>
constexpr int entry() {
  if constexpr (kInputs) return F::kIn[I][K];
  else return F::kOut[I][K];
}

// y[I] = the sum over K of the matrix's entries times x[K], words `step` lanes apart.
template <class F, bool kInputs, std::size_t I, std::size_t... K>
void row(const Lanes* x, std::size_t step, u64* y, std::index_sequence<K...>) {
  for (std::size_t b = 0; b < kTogether; ++b)
    y[b] = (u64{0} + ... + times<entry<F, kInputs, I, K>()>(x[K * step][b]));
}

template <class F, bool kInputs, std::size_t... I>
void rows(const Lanes* x, std::size_t step, Lanes* y, std::size_t y_step,
          std::index_sequence<I...>) {
  (row<F, kInputs, I>(x, step, y[I * y_step], std::make_index_sequence<F::kSize>()), ...);
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

// Row `at` of tiles, of all images' rows of tiles.
template <class F>
void inputs_of(const Tiling& g, std::size_t at) {
  const std::size_t image = at / g.down, top = at % g.down * F::kTile;
  const std::size_t plane = g.images * g.down * g.across * g.channels;
  for (std::size_t tile = 0; tile < g.across; ++tile)
    for (std::size_t c = 0; c < g.channels; c += kTogether) {
      const std::size_t live = g.channels - c < kTogether ? g.channels - c : kTogether;
      Lanes d[F::kSize][F::kSize] = {}, out[F::kSize][F::kSize];
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j) {
          // Before the first row or column, these wrap round and are larger than any.
          const std::size_t y = top + i - g.padding, x = tile * F::kTile + j - g.padding;
          if (y < g.height && x < g.width)
            std::memcpy(d[i][j], g.image + ((image * g.height + y) * g.width + x) * g.channels + c,
                        live * sizeof(u64));
        }
      both_ways<F, true, F::kSize>(d, out);
      u64* to = g.tiles_out + (at * g.across + tile) * g.channels + c;
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j, to += plane)
          std::memcpy(to, out[i][j], live * sizeof(u64));
    }
}

template <class F>
void outputs_of(const Tiling& g, std::size_t at) {
  const std::size_t image = at / g.down, top = at % g.down * F::kTile;
  const std::size_t plane = g.images * g.down * g.across * g.channels;
  for (std::size_t tile = 0; tile < g.across; ++tile)
    for (std::size_t c = 0; c < g.channels; c += kTogether) {
      const std::size_t live = g.channels - c < kTogether ? g.channels - c : kTogether;
      Lanes d[F::kSize][F::kSize] = {}, out[F::kTile][F::kTile];
      const u64* from = g.tiles + (at * g.across + tile) * g.channels + c;
      for (std::size_t i = 0; i < F::kSize; ++i)
        for (std::size_t j = 0; j < F::kSize; ++j, from += plane)
          std::memcpy(d[i][j], from, live * sizeof(u64));
      both_ways<F, false, F::kTile>(d, out);
      for (std::size_t i = 0; i < F::kTile; ++i)
        for (std::size_t j = 0; j < F::kTile; ++j) {
          const std::size_t y = top + i, x = tile * F::kTile + j;
          if (y < g.height && x < g.width)
            std::memcpy(g.image_out + ((image * g.height + y) * g.width + x) * g.channels + c,
                        out[i][j], live * sizeof(u64));
        }
    }
}

void tile_inputs(const Tiling& g, std::size_t first, std::size_t end) {
  for (; first < end; ++first) g.tile == 2 ? inputs_of<F23>(g, first) : inputs_of<F43>(g, first);
}

void tile_outputs(const Tiling& g, std::size_t first, std::size_t end) {
  for (; first < end; ++first) g.tile == 2 ? outputs_of<F23>(g, first) : outputs_of<F43>(g, first);
}

}  // namespace
}  // namespace veilform
