// The blocked product, for an instruction set given as a class. Include in one translation unit
// per instruction set, where everything stays in an unnamed namespace: code that is compiled for
// one set must never be merged by the linker with the same code compiled for another.
//
// An instruction set `I` has: kLanes (words a vector), kMr rows and kNv vectors of the register
// tile, and  template <MR, NV> static void tile(inner, a, b, ldb, out, ldo, accumulate)  that adds
// MR rows of A, packed as [inner][kMr], times NV vectors of columns of B, to `out`.
//
// Goto and van de Geijn: Anatomy of High-Performance Matrix Multiplication (TOMS 2008).
#pragma once

#include "kernels.hpp"

namespace veilform {
namespace {

constexpr std::size_t kInner = 128;    // B's panel block, kInner x nr words, stays in L1
constexpr std::size_t kRowBlock = 96;  // A's block, kRowBlock x kInner words, stays in L2

template <class I>
struct Gemm {
  static constexpr std::size_t kNr = I::kLanes * I::kNv;
  static constexpr std::size_t kScratch = kRowBlock * kInner + kInner * kNr;
  static_assert(kRowBlock % I::kMr == 0, "a row block holds whole register tiles");

  static void pack_a(const u64* a, std::size_t lda, std::size_t rows, std::size_t inner, u64* out) {
    for (std::size_t i = 0; i < rows; i += I::kMr, out += I::kMr * inner) {
      const std::size_t live = rows - i < I::kMr ? rows - i : I::kMr;
      for (std::size_t r = 0; r < live; ++r) {
        const u64* row = a + (i + r) * lda;
        for (std::size_t k = 0; k < inner; ++k) out[k * I::kMr + r] = row[k];
      }
    }
  }

  static void pack_b(const u64* b, std::size_t ldb, std::size_t cols, std::size_t inner, u64* out) {
    for (std::size_t k = 0; k < inner; ++k, b += ldb, out += kNr) {
      std::size_t j = 0;
      for (; j < cols; ++j) out[j] = b[j];
      for (; j < kNr; ++j) out[j] = 0;
    }
  }

  static void pack(const u64* b, std::size_t k, std::size_t n, u64* out) {
    for (std::size_t j = 0; j < n; j += kNr, out += k * kNr)
      pack_b(b + j, n, n - j < kNr ? n - j : kNr, k, out);
  }

  template <std::size_t MR, std::size_t NV>
  static void call(std::size_t mr, std::size_t nv, std::size_t inner, const u64* a, const u64* b,
                   u64* out, std::size_t ldo, bool accumulate) {
    if constexpr (MR > 1) {
      if (mr < MR) return call<MR - 1, NV>(mr, nv, inner, a, b, out, ldo, accumulate);
    }
    if constexpr (NV > 1) {
      if (nv < NV) return call<MR, NV - 1>(mr, nv, inner, a, b, out, ldo, accumulate);
    }
    I::template tile<MR, NV>(inner, a, b, kNr, out, ldo, accumulate);
  }

  // One register tile, of `mr` rows and `cols` columns, which need not fill whole vectors.
  static void tile(std::size_t mr, std::size_t cols, std::size_t inner, const u64* a, const u64* b,
                   u64* c, std::size_t ldc, bool accumulate) {
    const std::size_t nv = (cols + I::kLanes - 1) / I::kLanes;
    if (nv * I::kLanes == cols)
      return call<I::kMr, I::kNv>(mr, nv, inner, a, b, c, ldc, accumulate);
    u64 edge[I::kMr * kNr];
    call<I::kMr, I::kNv>(mr, nv, inner, a, b, edge, kNr, false);
    for (std::size_t r = 0; r < mr; ++r)
      for (std::size_t j = 0; j < cols; ++j)
        c[r * ldc + j] = edge[r * kNr + j] + (accumulate ? c[r * ldc + j] : 0);
  }

  static void run(const GemmTask& g, u64* scratch) {
    u64* const a_block = scratch;
    u64* const b_block = scratch + kRowBlock * kInner;
    for (std::size_t k = 0; k < g.inner; k += kInner) {
      const std::size_t inner = g.inner - k < kInner ? g.inner - k : kInner;
      pack_a(g.a + k, g.lda, g.rows, inner, a_block);
      for (std::size_t j = 0; j < g.cols; j += kNr) {
        const std::size_t cols = g.cols - j < kNr ? g.cols - j : kNr;
        const u64* b = b_block;
        if (g.packed)
          b = g.b + j * g.inner + k * kNr;
        else
          pack_b(g.b + k * g.ldb + j, g.ldb, cols, inner, b_block);
        for (std::size_t i = 0; i < g.rows; i += I::kMr)
          tile(g.rows - i < I::kMr ? g.rows - i : I::kMr, cols, inner, a_block + i * inner, b,
               g.c + i * g.ldc + j, g.ldc, k > 0);
      }
    }
  }
};

}  // namespace
}  // namespace veilform
