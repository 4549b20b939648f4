// Bindings of Winograd's transforms. As in bindings.cpp, every size is checked again here.
#include "bind_tiles.hpp"

#include <nanobind/ndarray.h>

#include "cpu.hpp"
#include "pool.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

// (N, H, W, C), and (T, N, tiles down, tiles across, C).
using Image = nb::ndarray<const u64, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using ImageOut = nb::ndarray<u64, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Tiles = nb::ndarray<const u64, nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using TilesOut = nb::ndarray<u64, nb::ndim<5>, nb::c_contig, nb::device::cpu>;

// Below this many words a second thread does not pay.
constexpr std::size_t kGrain = std::size_t{1} << 15;

template <class I, class T>
Tiling sizes(const I& image, const T& tiles, unsigned tile) {
  const std::size_t size = tile + 2;
  const bool fits = (tile == 2 || tile == 4) && tiles.shape(0) == size * size &&
                    tiles.shape(1) == image.shape(0) && tiles.shape(4) == image.shape(3);
  if (!fits) throw nb::value_error("images and tiles do not fit together");
  Tiling g{};
  g.tile = tile;
  g.images = image.shape(0), g.height = image.shape(1), g.width = image.shape(2);
  g.channels = image.shape(3), g.down = tiles.shape(2), g.across = tiles.shape(3);
  return g;
}

template <class Function>
void share_out(std::size_t threads, const Tiling& g, const Function& function) {
  const std::size_t rows = g.images * g.down;
  const std::size_t words = rows * g.across * g.channels * (g.tile + 2) * (g.tile + 2);
  const std::size_t useful = words / kGrain + 1;
  nb::gil_scoped_release unlocked;
  parallel_for(rows, threads < useful ? threads : useful,
               [&](std::size_t row) { function(g, row, row + 1); });
}

const Ops& ops_of(int path) {
  const Ops* found = ops(path);
  if (found == nullptr) throw nb::value_error("there is no such kernel path");
  return *found;
}

void tile_inputs(int path, std::size_t threads, TilesOut out, Image image, unsigned tile,
                 std::size_t padding) {
  if (padding > 2) throw nb::value_error("the padding is larger than the kernel");
  Tiling g = sizes(image, out, tile);
  g.image = image.data(), g.tiles_out = out.data(), g.padding = padding;
  share_out(threads, g, ops_of(path).tile_inputs);
}

void tile_outputs(int path, std::size_t threads, ImageOut out, Tiles tiles, unsigned tile) {
  Tiling g = sizes(out, tiles, tile);
  if (g.down * tile < g.height || g.across * tile < g.width)
    throw nb::value_error("images and tiles do not fit together");
  g.tiles = tiles.data(), g.image_out = out.data();
  share_out(threads, g, ops_of(path).tile_outputs);
}

}  // namespace

void bind_tiles(nb::module_& m) {
  m.def("tile_inputs", &tile_inputs);
  m.def("tile_outputs", &tile_outputs);
}

}  // namespace veilform
