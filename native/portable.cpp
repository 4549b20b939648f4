// The kernels in plain C++, for any CPU.
#include "elementwise.hpp"
#include "gemm.hpp"
#include "harmonics.hpp"
#include "tiles.hpp"

namespace veilform {
namespace {

struct Portable {
  static constexpr std::size_t kLanes = 4, kMr = 4, kNv = 2, kTurn = 1;

  static void turn(const u64* a, std::size_t lda, u64* out) {
    for (std::size_t r = 0; r < kMr; ++r) out[r] = a[r * lda];
  }

  template <std::size_t MR, std::size_t NV>
  static void tile(std::size_t pairs, const u64* a, const u64* b, const Result& out) {
    constexpr std::size_t kNr = kLanes * kNv, kCols = kLanes * NV;
    u64 sum[MR][kCols] = {};
    for (std::size_t p = 0; p < pairs; ++p, a += 2 * kMr, b += 2 * kNr)
      for (std::size_t r = 0; r < MR; ++r)
        for (std::size_t j = 0; j < kCols; ++j)
          sum[r][j] += (a[r] + b[kNr + j]) * (a[kMr + r] + b[j]);
    for (std::size_t r = 0; r < MR; ++r)
      for (std::size_t j = 0; j < kCols; ++j) {
        u64& at = out.at[r * out.ld + j];
        at = (sum[r][j] - out.row[r] - out.col[j] + (out.accumulate ? at : 0)) & out.mask;
      }
  }
};

}  // namespace

const Ops portable_ops = {Gemm<Portable>::kNr, kRowBlock, Gemm<Portable>::kScratch,
                          Gemm<Portable>::run, Gemm<Portable>::pack, share, square, mix,
                          product, centre, phasor, harmonic,
                        tile_inputs, tile_outputs};

}  // namespace veilform
