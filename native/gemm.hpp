// The blocked product, for an instruction set given as a class. Include in one translation unit
// per instruction set, where everything stays in an unnamed namespace: code that is compiled for
// one set must never be merged by the linker with the same code compiled for another.
//
// Two steps of the inner axis cost one multiplication, since in any commutative ring
//   a0 b0 + a1 b1 = (a0 + b1)(a1 + b0) - a0 a1 - b0 b1,
// where the last two terms, summed along a row of A and a column of B, are subtracted once from
// each word of the result. Winograd: A New Algorithm for Inner Product (IEEE ToC 1968).
// Additions run on more pipes than multiplications do, so this is the faster way.
//
// An instruction set `I` has: kLanes (words a vector), kMr rows and kNv vectors of the register
// tile, and  template <MR, NV> static void tile(pairs, a, b, out)  that computes the sum of the
// products above for MR rows of A, packed as [2 pairs][kMr], and NV vectors of columns of B, packed
// as [2 pairs][kNv kLanes], and hands each vector to `out` (see Result). Its
// static void turn(a, lda, out)  transposes kMr rows of kTurn words.
//
// Blocking as by Goto and van de Geijn: Anatomy of High-Performance Matrix Multiplication (TOMS
// 2008). A column panel of B is expanded to 64-bit words, kInner rows at a time, into the first
// cache, and meets all rows of A's packed block, which streams from the second.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace veilform {
namespace {

constexpr std::size_t kInner = 256;     // B's panel block: kInner x nr words
constexpr std::size_t kDeep = 768;      // A's block: kRowBlock x kDeep words
constexpr std::size_t kRowBlock = 128;

// Where a register tile's sums go: each word less its row's and its column's term, plus what is
// there already if `accumulate`, under `mask`.
struct Result {
  const u64 *row, *col;
  u64* at;
  std::size_t ld;
  bool accumulate;
  u64 mask;
};

constexpr std::size_t even(std::size_t k) { return (k + 1) / 2 * 2; }

template <class I>
struct Gemm {
  static constexpr std::size_t kMr = I::kMr, kNr = I::kLanes * I::kNv;
  static constexpr std::size_t kScratch =
      kRowBlock * kDeep + kRowBlock * (kDeep / kInner) + kInner * kNr + kNr;
  static_assert(kRowBlock % kMr == 0, "a row block holds whole register tiles");
  static_assert(kDeep % kInner == 0 && kInner % 2 == 0, "blocks hold whole pairs");

  // Rows of A, [rows / kMr][even(inner)][kMr] with zeros at the edges, and their terms.
  static void pack_a(const u64* a, std::size_t lda, std::size_t rows, std::size_t inner, u64* out,
                     u64* terms) {
    const std::size_t padded = even(inner);
    for (std::size_t i = 0; i < rows; i += kMr, out += kMr * padded, terms += kMr) {
      const std::size_t live = rows - i < kMr ? rows - i : kMr;
      if (live < kMr || inner < padded) std::memset(out, 0, kMr * padded * sizeof(u64));
      std::size_t k = 0;
      if (live == kMr)
        for (; k + I::kTurn <= inner; k += I::kTurn) I::turn(a + i * lda + k, lda, out + k * kMr);
      for (std::size_t r = 0; r < live; ++r) {
        const u64* row = a + (i + r) * lda;
        for (std::size_t c = k; c < inner; ++c) out[c * kMr + r] = row[c];
      }
      pair_terms<kMr>(out, padded, terms);
    }
  }

  // The sums of the products of each two rows of W words.
  template <std::size_t W>
  static void pair_terms(const u64* x, std::size_t rows, u64* out) {
    u64 sum[W] = {};
    for (std::size_t k = 0; k < rows; k += 2, x += 2 * W)
      for (std::size_t j = 0; j < W; ++j) sum[j] += x[j] * x[W + j];
    for (std::size_t j = 0; j < W; ++j) out[j] = sum[j];
  }

  // Columns of a plain B.
  static void copy_b(const u64* b, std::size_t ldb, std::size_t cols, std::size_t inner, u64* out) {
    for (std::size_t k = 0; k < inner; ++k, b += ldb, out += kNr) {
      // Rows of a wide B lie in pages of their own, where no hardware looks ahead for the next
      // panel.
      __builtin_prefetch(b + kNr, 0, 2);
      __builtin_prefetch(b + kNr + 8, 0, 2);
      std::size_t j = 0;
      if (cols == kNr)
        for (; j < kNr; ++j) out[j] = b[j];
      for (; j < cols; ++j) out[j] = b[j];
      for (; j < kNr; ++j) out[j] = 0;
    }
    if (inner % 2)
      for (std::size_t j = 0; j < kNr; ++j) out[j] = 0;
  }

  template <class T>
  static T load(const u8* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  template <class T>
  static void widen(const u8* b, std::size_t rows, u64* out) {
    for (std::size_t i = 0; i < rows * kNr; ++i)
      out[i] = static_cast<u64>(static_cast<i64>(load<T>(b + i * sizeof(T))));
  }

  static void widen3(const u8* b, std::size_t rows, u64* out) {
    for (std::size_t k = 0; k < rows; ++k, b += 3 * kNr, out += kNr)
      for (std::size_t j = 0; j < kNr; ++j) {
        const i64 low = load<std::uint16_t>(b + 2 * j), high = load<std::int8_t>(b + 2 * kNr + j);
        out[j] = static_cast<u64>(high * 65536 + low);
      }
  }

  static void widen(const u8* b, unsigned width, std::size_t rows, u64* out) {
    if (width == 1) return widen<std::int8_t>(b, rows, out);
    if (width == 2) return widen<std::int16_t>(b, rows, out);
    if (width == 3) return widen3(b, rows, out);
    if (width == 4) return widen<std::int32_t>(b, rows, out);
    std::memcpy(out, b, rows * kNr * sizeof(u64));
  }

  static void narrow(u64 word, unsigned width, std::size_t j, u8* row) {
    const auto low = static_cast<std::uint32_t>(word);
    const auto half = static_cast<std::uint16_t>(word);
    if (width == 1) row[j] = static_cast<u8>(word);
    if (width == 2 || width == 3) std::memcpy(row + 2 * j, &half, 2);
    if (width == 3) row[2 * kNr + j] = static_cast<u8>(word >> 16);
    if (width == 4) std::memcpy(row + 4 * j, &low, 4);
    if (width == 8) std::memcpy(row + 8 * j, &word, 8);
  }

  static void pack(const u64* b, std::size_t k, std::size_t n, unsigned width, u8* out) {
    for (std::size_t j = 0; j < n; j += kNr)
      for (std::size_t i = 0; i < even(k); ++i, out += width * kNr)
        for (std::size_t c = 0; c < kNr; ++c)
          narrow(i < k && j + c < n ? b[i * n + j + c] : 0, width, c, out);
  }

  template <std::size_t MR, std::size_t NV>
  static void call(std::size_t mr, std::size_t nv, std::size_t pairs, const u64* a, const u64* b,
                   const Result& out) {
    if constexpr (MR > 1) {
      if (mr < MR) return call<MR - 1, NV>(mr, nv, pairs, a, b, out);
    }
    if constexpr (NV > 1) {
      if (nv < NV) return call<MR, NV - 1>(mr, nv, pairs, a, b, out);
    }
    I::template tile<MR, NV>(pairs, a, b, out);
  }

  // One register tile, of `mr` rows and `cols` columns, which need not fill whole vectors.
  static void tile(std::size_t mr, std::size_t cols, std::size_t pairs, const u64* a, const u64* b,
                   const Result& out) {
    const std::size_t nv = (cols + I::kLanes - 1) / I::kLanes;
    if (nv * I::kLanes == cols) return call<I::kMr, I::kNv>(mr, nv, pairs, a, b, out);
    u64 edge[kMr * kNr];
    call<I::kMr, I::kNv>(mr, nv, pairs, a, b, {out.row, out.col, edge, kNr, false, out.mask});
    for (std::size_t r = 0; r < mr; ++r)
      for (std::size_t j = 0; j < cols; ++j) {
        u64& at = out.at[r * out.ld + j];
        at = (edge[r * kNr + j] + (out.accumulate ? at : 0)) & out.mask;
      }
  }

  static void run(const GemmTask& g, u64* scratch) {
    u64* const a_block = scratch;
    u64* const row_terms = a_block + kRowBlock * kDeep;
    u64* const b_block = row_terms + kRowBlock * (kDeep / kInner);
    u64* const col_terms = b_block + kInner * kNr;
    const std::size_t rows = (g.rows + kMr - 1) / kMr * kMr;  // as packed
    for (std::size_t deep = 0; deep < g.inner; deep += kDeep) {
      const std::size_t end = g.inner - deep < kDeep ? g.inner : deep + kDeep;
      for (std::size_t k = deep; k < end; k += kInner)
        pack_a(g.a + k, g.lda, g.rows, end - k < kInner ? end - k : kInner,
               a_block + (k - deep) * rows, row_terms + (k - deep) / kInner * rows);
      for (std::size_t j = 0; j < g.cols; j += kNr) {
        const std::size_t cols = g.cols - j < kNr ? g.cols - j : kNr;
        for (std::size_t k = deep; k < end; k += kInner) {
          const std::size_t inner = end - k < kInner ? end - k : kInner, padded = even(inner);
          if (g.width == 0)
            copy_b(static_cast<const u64*>(g.b) + k * g.ldb + j, g.ldb, cols, inner, b_block);
          else
            widen(static_cast<const u8*>(g.b) + (j * even(g.inner) + k * kNr) * g.width, g.width,
                  padded, b_block);
          pair_terms<kNr>(b_block, padded, col_terms);
          const u64* const a = a_block + (k - deep) * rows;
          const u64* const terms = row_terms + (k - deep) / kInner * rows;
          for (std::size_t i = 0; i < g.rows; i += kMr)
            tile(g.rows - i < kMr ? g.rows - i : kMr, cols, padded / 2, a + i * padded, b_block,
                 {terms + i, col_terms, g.c + i * g.ldc + j, g.ldc, g.accumulate || k > 0, g.mask});
        }
      }
    }
  }
};

}  // namespace
}  // namespace veilform
