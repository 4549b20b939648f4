// Winograd's convolution of images by transformed kernels, tiles to tiles.
#pragma once

#include "kernels.hpp"

namespace veilform {

// One 3 x 3 convolution of images (N, H, W, C) to (N, H', W', K) modulo 2^bits. Kernel i of the
// (tile + 2)^2 is a packed matrix (C, K), `stride` bytes behind the one before.
struct Convolution {
  Tiling from, to;  // the images, and the results
  const u8* kernels;
  std::size_t stride;
  unsigned width, bits;
};

// On a supported path.
void run_winograd(int path, std::size_t threads, const Convolution& c);

}  // namespace veilform
