// The binding of Winograd's convolution. As in bindings.cpp, every size is checked again here.
#include "bind_tiles.hpp"

#include <nanobind/ndarray.h>

#include "cpu.hpp"
#include "winograd.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

using Image = nb::ndarray<const u64, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using ImageOut = nb::ndarray<u64, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const u8, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool fits, const char* what) {
  if (!fits) throw nb::value_error(what);
}

template <class I>
Tiling sizes(const I& image, unsigned tile, unsigned bits) {
  Tiling g{};
  g.tile = tile, g.mask = ~u64{0} >> (64 - bits);
  g.images = image.shape(0), g.height = image.shape(1), g.width = image.shape(2);
  g.channels = image.shape(3);
  return g;
}

void winograd(int path, std::size_t threads, ImageOut out, Image image, Bytes kernels,
              std::size_t stride, unsigned width, unsigned tile, std::size_t padding,
              unsigned bits, bool accumulate) {
  const Ops* kernel = ops(path);
  require(kernel != nullptr, "there is no such kernel path");
  require((tile == 2 || tile == 4) && padding <= 2, "there is no such transform");
  require(bits >= 1 && bits <= 64, "a ring has 1 to 64 bits");
  require((width >= 1 && width <= 4) || width == 8, "a weight takes 1, 2, 3, 4 or 8 bytes");
  Convolution c{};
  c.from = sizes(image, tile, bits), c.to = sizes(out, tile, bits);
  require(c.from.channels > 0, "images have no channels");
  const bool fits = image.shape(0) == out.shape(0) && image.shape(1) + 2 * padding >= 3 &&
                    image.shape(2) + 2 * padding >= 3 &&
                    image.shape(1) + 2 * padding == out.shape(1) + 2 &&
                    image.shape(2) + 2 * padding == out.shape(2) + 2;
  require(fits, "images and results do not fit together");
  c.from.padding = padding;
  c.to.accumulate = accumulate;
  c.from.down = c.to.down = (out.shape(1) + tile - 1) / tile;
  c.from.across = c.to.across = (out.shape(2) + tile - 1) / tile;
  c.from.image = image.data(), c.to.image_out = out.data();
  c.kernels = kernels.data(), c.stride = stride, c.width = width, c.bits = bits;
  const std::size_t panels = (c.to.channels + kernel->nr - 1) / kernel->nr;
  const std::size_t each = panels * kernel->nr * (c.from.channels + c.from.channels % 2) * width;
  const std::size_t products = (tile + 2) * (tile + 2);
  require(stride >= each && kernels.shape(0) >= (products - 1) * stride + each,
          "kernels do not fit the channels");
  nb::gil_scoped_release unlocked;
  run_winograd(path, threads, c);
}

}  // namespace

void bind_tiles(nb::module_& m) { m.def("winograd", &winograd); }

}  // namespace veilform
