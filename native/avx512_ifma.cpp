// The product for AVX-512 with IFMA, in rings of up to 52 bits: vpmadd52luq multiplies the low 52
// bits of its operands and adds the low 52 bits of the product, which is exact modulo 2^52 whatever
// the bits above, and spares the addition. It takes what avx512.cpp packs.
#include "avx512_tile.hpp"

namespace veilform {
namespace {

struct Low52 {
  static __m512i add(__m512i sum, __m512i x, __m512i y) {
    return _mm512_madd52lo_epu64(sum, x, y);
  }
};

}  // namespace

const GemmFn ifma_gemm = Gemm<Avx512<Low52>>::run;

}  // namespace veilform
