// Tiles go from the images through the products to the results a few rows at a time, so that what
// lies between stays in a core's second cache: whole images of tiles are 4 or 2.25 times as many
// words as the images, each way.
#include "winograd.hpp"

#include <algorithm>

#include "cpu.hpp"
#include "pool.hpp"
#include "product.hpp"

namespace veilform {
namespace {

constexpr std::size_t kCached = std::size_t{1} << 16;  // words of tiles and products together
constexpr std::size_t kFewest = 64;                    // tiles: each block expands all kernels
constexpr std::size_t kGrain = std::size_t{1} << 18;   // multiply-adds that a thread is worth

struct Blocks {
  std::size_t rows, step;  // of tiles: all, and of a block

  std::size_t count() const { return ceil_div(rows, step); }
};

// As many rows of tiles as stay in the cache, at least kFewest tiles; fewer, if threads had none.
Blocks blocks_of(const Convolution& c, std::size_t products, std::size_t threads) {
  const std::size_t rows = c.from.images * c.from.down, across = c.from.across;
  const std::size_t depth = c.from.channels + c.to.channels;
  const std::size_t tiles = std::max(kFewest, kCached / (products * depth));
  std::size_t step = std::max<std::size_t>(1, tiles / across);
  return {rows, std::min(step, ceil_div(rows, threads))};
}

}  // namespace

void run_winograd(int path, std::size_t threads, const Convolution& c) {
  const Ops& kernel = *ops(path);
  const GemmFn gemm = gemm_fn(path, c.bits);
  const std::size_t products = (c.from.tile + 2) * (c.from.tile + 2);
  const std::size_t work = c.from.images * c.from.down * c.from.across * products *
                           c.from.channels * c.to.channels;
  threads = std::min(threads, work / kGrain + 1);
  const Blocks blocks = blocks_of(c, products, threads);
  if (blocks.rows == 0 || c.to.channels == 0) return;
  parallel_for(blocks.count(), threads, [&](std::size_t block) {
    const std::size_t first = block * blocks.step;
    const std::size_t end = std::min(first + blocks.step, blocks.rows);
    const std::size_t tiles = (end - first) * c.from.across;
    const std::size_t in = tiles * c.from.channels, out = tiles * c.to.channels;
    const std::size_t held = ceil_div(products * (in + out), 8) * 8;  // whole cache lines
    u64* const before = scratch(held + kernel.scratch_words);
    u64* const after = before + products * in;
    Tiling from = c.from, to = c.to;
    from.tiles_out = before, to.tiles = after;
    kernel.tile_inputs(from, first, end);
    for (std::size_t i = 0; i < products; ++i)
      // A block of the product takes max_rows rows.
      for (std::size_t row = 0; row < tiles; row += kernel.max_rows) {
        GemmTask g{};
        g.a = before + i * in + row * c.from.channels, g.lda = g.inner = c.from.channels;
        g.b = c.kernels + i * c.stride, g.width = c.width;
        g.c = after + i * out + row * c.to.channels, g.ldb = g.ldc = g.cols = c.to.channels;
        g.rows = std::min(kernel.max_rows, tiles - row);
        g.mask = c.from.mask;
        gemm(g, before + held);
      }
    kernel.tile_outputs(to, first, end);
  });
}

}  // namespace veilform
