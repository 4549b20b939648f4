// The kernels for AVX-512 (F, DQ, BW, VL), whose vpmullq multiplies 64-bit words modulo 2^64.
#include "avx512_tile.hpp"
#include "elementwise.hpp"
#include "harmonics.hpp"
#include "tiles.hpp"

namespace veilform {
namespace {

struct Low64 {
  static __m512i add(__m512i sum, __m512i x, __m512i y) {
    return _mm512_add_epi64(sum, _mm512_mullo_epi64(x, y));
  }
};

using Product = Gemm<Avx512<Low64>>;

}  // namespace

const Ops avx512_ops = {Product::kNr, kRowBlock, Product::kScratch, Product::run, Product::pack,
                        share, square, mix, product, centre, phasor, harmonic,
                        tile_inputs, tile_outputs};

}  // namespace veilform
