// The blocks of a 4-bit product, shared out over threads, and its tile in plain C++.
#include "int4.hpp"

#include <algorithm>
#include <cstring>

#include "pool.hpp"
#include "product.hpp"

namespace veilform {
namespace {

constexpr std::size_t kTogether = 4;               // panels of a tile
constexpr std::size_t kBlock = 16 * kInt4Rows;     // rows of A that one task makes signed
constexpr std::size_t kRunPanels = 3 * kTogether;  // panels of a task

void tile(const Int4Tile& t) {
  for (std::size_t p = 0; p < t.panels; ++p) {
    const u8* b = t.b + p * t.groups * kInt4Panel * 4;
    std::int32_t sum[kInt4Rows][kInt4Panel] = {};
    const std::int8_t* a = t.a;
    for (std::size_t g = 0; g < t.groups; ++g, a += 8 * kInt4Rows, b += 4 * kInt4Panel)
      for (std::size_t r = 0; r < kInt4Rows; ++r)
        for (std::size_t j = 0; j < kInt4Panel; ++j)
          for (std::size_t i = 0; i < 4; ++i)
            sum[r][j] += a[4 * r + i] * (b[4 * j + i] & 15) +
                         a[4 * (kInt4Rows + r) + i] * (b[4 * j + i] >> 4);
    for (std::size_t r = 0; r < kInt4Rows; ++r)
      for (std::size_t j = 0; j < kInt4Panel; ++j)
        t.c[(r * kTogether + p) * kInt4Panel + j] = sum[r][j] - t.terms[r];
  }
}

// Four bytes of 0 to 15, each less 8.
std::uint32_t less_eight(std::uint32_t x) {
  const std::uint32_t negative = ~x & 0x08080808U;
  return (x & 0x07070707U) | negative * 31;
}

// Rows of A as a tile wants them; rows that are not there are zero.
void make_signed(const u8* a, std::size_t live, std::size_t groups, std::int8_t* out,
                 std::int32_t* terms) {
  if (live < kInt4Rows) std::memset(out, 0, 8 * groups * kInt4Rows);
  for (std::size_t r = 0; r < kInt4Rows; ++r) {
    std::int32_t sum = 0;
    for (std::size_t g = 0; r < live && g < groups; ++g, a += 4) {
      std::uint32_t word;
      std::memcpy(&word, a, 4);
      for (std::size_t half = 0; half < 2; ++half, word >>= 4) {
        const std::uint32_t x = word & 0x0f0f0f0fU, y = less_eight(x);
        std::memcpy(out + 4 * ((2 * g + half) * kInt4Rows + r), &y, 4);
        sum += static_cast<std::int32_t>(x * 0x01010101U >> 24) - 4 * 8;  // of the four bytes
      }
    }
    terms[r] = 8 * sum;
  }
}

}  // namespace

const Int4Fn int4_portable = tile;

void run_int4(Int4Fn kernel, std::size_t threads, const Int4Product& p) {
  const std::size_t groups = int4_groups(p.k), panels = ceil_div(p.n, kInt4Panel);
  const std::size_t blocks = ceil_div(p.m, kBlock), runs = ceil_div(panels, kRunPanels);
  const std::size_t tile_bytes = 8 * groups * kInt4Rows;
  parallel_for(blocks * runs, threads, [&](std::size_t task) {
    const std::size_t first = task / runs * kBlock, rows = std::min(kBlock, p.m - first);
    const std::size_t tiles = ceil_div(rows, kInt4Rows);
    const std::size_t run = task % runs * kRunPanels, end = std::min(panels, run + kRunPanels);
    // Tiles of signed rows, then their terms.
    u64* room = scratch(ceil_div(tiles * tile_bytes, 8) + ceil_div(4 * kBlock, 8));
    auto* a = reinterpret_cast<std::int8_t*>(room);
    auto* terms = reinterpret_cast<std::int32_t*>(room + ceil_div(tiles * tile_bytes, 8));
    for (std::size_t i = 0; i < tiles; ++i)
      make_signed(p.a + (first + i * kInt4Rows) * groups * 4,
                  std::min(kInt4Rows, rows - i * kInt4Rows), groups, a + i * tile_bytes,
                  terms + i * kInt4Rows);
    alignas(64) std::int32_t c[kInt4Rows * kTogether * kInt4Panel];
    for (std::size_t panel = run; panel < end; panel += kTogether) {
      const std::size_t count = std::min(kTogether, end - panel), column = panel * kInt4Panel;
      const std::size_t width = std::min(count * kInt4Panel, p.n - column);
      for (std::size_t i = 0; i < tiles; ++i) {
        kernel({a + i * tile_bytes, terms + i * kInt4Rows, groups,
                p.b + panel * groups * kInt4Panel * 4, count, c});
        const std::size_t row = i * kInt4Rows, live = std::min(kInt4Rows, rows - row);
        for (std::size_t r = 0; r < live; ++r)
          std::memcpy(p.c + (first + row + r) * p.n + column, c + r * kTogether * kInt4Panel,
                      width * sizeof *c);
      }
    }
  });
}

}  // namespace veilform
