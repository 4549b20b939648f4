// The blocks of a product by small weights, shared out over threads, and its tile in plain C++.
#include "small.hpp"

#include <algorithm>

#include "pool.hpp"
#include "product.hpp"
#include "small_tile.hpp"

namespace veilform {
namespace {

constexpr std::size_t kRowBlock = 128;               // whose limbs are kept at a time
constexpr std::size_t kGrain = std::size_t{1} << 18;  // multiply-adds below which a thread is idle

struct Plain {
  static constexpr unsigned kBytes = 1;
  static constexpr std::size_t kInner = 1536;

  static void limb(const u8* a, std::size_t groups, const u8* b, SmallSums& sum) {
    for (auto& row : sum)
      for (auto& s : row) s = 0;
    for (std::size_t g = 0; g < groups; ++g, b += 4 * kSmallPanel) {
      const std::size_t at = 4 * g / kSmallBlock * kSmallRows * kSmallBlock + 4 * g % kSmallBlock;
      for (std::size_t r = 0; r < kSmallRows; ++r)
        for (std::size_t t = 0; t < 4; ++t) {
          const std::int32_t x = a[at + r * kSmallBlock + t];
          for (std::size_t j = 0; j < kSmallPanel; ++j)
            sum[r][j] += x * static_cast<std::int8_t>(b[4 * j + t]);
        }
    }
  }
};

}  // namespace

const SmallFns small_portable = Small<Plain>::fns(small_split<u8>);

void run_small(const SmallFns& kernel, std::size_t threads, const SmallProduct& p) {
  if (p.m == 0 || p.n == 0) return;
  const u64 mask = ~u64{0} >> (64 - p.bits);
  threads = std::min(threads, std::max<std::size_t>(1, p.m * p.k * p.n / kGrain));
  const auto limbs = static_cast<unsigned>(ceil_div(p.bits, 8 * kernel.bytes));
  const std::size_t panels = ceil_div(p.n, kSmallPanel);
  const std::size_t panel_bytes = small_groups(p.k) * 4 * kSmallPanel;
  for (std::size_t top = 0; top < p.m; top += kRowBlock) {
    const std::size_t rows = std::min(kRowBlock, p.m - top), tiles = ceil_div(rows, kSmallRows);
    // At least once, so that an empty inner axis gives zeros.
    for (std::size_t deep = 0; deep == 0 || deep < p.k; deep += kernel.inner) {
      const std::size_t inner = std::min(kernel.inner, p.k - deep);
      const std::size_t tile_bytes = limbs * small_limb_bytes(kernel.bytes * inner);
      u8* const a = reinterpret_cast<u8*>(scratch(ceil_div(tiles * tile_bytes, 8) + 1));
      parallel_for(tiles, threads, [&](std::size_t i) {
        const std::size_t row = i * kSmallRows;
        kernel.split({p.a + (top + row) * p.k + deep, p.k, std::min(kSmallRows, rows - row), inner,
                      limbs, a + i * tile_bytes});
      });
      parallel_for(panels, threads, [&](std::size_t panel) {
        const std::size_t column = panel * kSmallPanel, cols = std::min(kSmallPanel, p.n - column);
        for (std::size_t i = 0; i < tiles; ++i) {
          const std::size_t row = i * kSmallRows;
          kernel.tile({a + i * tile_bytes, inner, limbs,
                       p.b + panel * panel_bytes + deep * kSmallPanel, p.shifts + column,
                       p.c + (top + row) * p.n + column, p.n, std::min(kSmallRows, rows - row),
                       cols, p.accumulate || deep > 0, mask});
        }
      });
    }
  }
}

}  // namespace veilform
