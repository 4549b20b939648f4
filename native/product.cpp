#include "product.hpp"

#include <algorithm>
#include <exception>

#include "cpu.hpp"
#include "pool.hpp"

namespace veilform {
namespace {

// Below this many multiply-adds a second thread does not pay.
constexpr std::size_t kGrain = std::size_t{1} << 18;

}  // namespace

u64* scratch(std::size_t words) {
  void* data = scratch_bytes(words * sizeof(u64));
  if (data == nullptr) std::terminate();
  return static_cast<u64*>(data);
}

void run_product(int path, std::size_t threads, const Product& p) {
  const std::size_t size = p.batch * p.m * p.n;
  const u64 mask = ~u64{0} >> (64 - p.bits);
  if (size == 0) return;
  if (p.k == 0) {
    for (std::size_t i = 0; i < size; ++i) p.c[i] = p.accumulate ? p.c[i] & mask : 0;
    return;
  }
  const Ops& kernel = *ops(path);
  const GemmFn gemm = gemm_fn(path, p.bits);
  const std::size_t useful = std::max<std::size_t>(1, size * p.k / kGrain);
  threads = std::min(threads, useful);
  const std::size_t blocks = ceil_div(p.m, kernel.max_rows), panels = ceil_div(p.n, kernel.nr);
  // Rows are shared out evenly over the blocks, in whole register tiles; panels go in runs, so that
  // A is packed seldom.
  const std::size_t rows = ceil_div(ceil_div(p.m, blocks), 8) * 8;
  const std::size_t wanted = threads > 1 ? 4 * threads : 1;
  const std::size_t runs =
      std::min(panels, std::max<std::size_t>(1, ceil_div(wanted, p.batch * blocks)));
  const std::size_t columns = ceil_div(panels, runs) * kernel.nr;
  const std::size_t across = ceil_div(p.n, columns), tasks = p.batch * blocks * across;
  parallel_for(tasks, threads, [&](std::size_t task) {
    const std::size_t column = task % across * columns;
    const std::size_t row = task / across % blocks * rows, at = task / across / blocks;
    if (row >= p.m) return;
    GemmTask g{};
    g.a = p.a + at * p.m * p.k + row * p.k;
    g.lda = p.k;
    if (p.width == 0)
      g.b = static_cast<const u64*>(p.b) + at * p.k * p.n + column;
    else
      g.b = static_cast<const u8*>(p.b) + column * (p.k + p.k % 2) * p.width;
    g.ldb = p.n;
    g.width = p.width;
    g.c = p.c + at * p.m * p.n + row * p.n + column;
    g.ldc = p.n;
    g.rows = std::min(rows, p.m - row);
    g.cols = std::min(columns, p.n - column);
    g.inner = p.k;
    g.accumulate = p.accumulate;
    g.mask = mask;
    gemm(g, scratch(kernel.scratch_words));
  });
}

}  // namespace veilform
