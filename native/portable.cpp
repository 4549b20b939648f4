// The kernels in plain C++, for any CPU.
#include "elementwise.hpp"
#include "gemm.hpp"

namespace veilform {
namespace {

struct Portable {
  static constexpr std::size_t kLanes = 4, kMr = 4, kNv = 2;

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t inner, const u64* a, const u64* b, std::size_t ldb, u64* out,
                   std::size_t ldo, bool accumulate) {
    constexpr std::size_t kCols = kLanes * NV;
    u64 sum[MR][kCols] = {};
    for (std::size_t k = 0; k < inner; ++k, a += kMr, b += ldb)
      for (std::size_t r = 0; r < MR; ++r)
        for (std::size_t j = 0; j < kCols; ++j) sum[r][j] += a[r] * b[j];
    for (std::size_t r = 0; r < MR; ++r, out += ldo)
      for (std::size_t j = 0; j < kCols; ++j) out[j] = sum[r][j] + (accumulate ? out[j] : 0);
  }
};

}  // namespace

const Ops portable_ops = {Gemm<Portable>::kNr, kRowBlock, Gemm<Portable>::kScratch,
                          Gemm<Portable>::run, Gemm<Portable>::pack, share, square, product};

}  // namespace veilform
