// A whole matrix product, shared out over threads.
#pragma once

#include <cstddef>

#include "kernels.hpp"

namespace veilform {

// C = A B, or C + A B, for each of `batch` products (m, k) x (k, n), modulo 2^bits.
struct Product {
  std::size_t batch, m, k, n;
  const u64* a;
  const void* b;   // words, or if width > 0 one packed matrix (see Ops), the batch being 1
  unsigned width;
  u64* c;
  bool accumulate;
  unsigned bits;
};

// On a supported path.
void run_product(int path, std::size_t threads, const Product& p);

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

// Scratch words of the calling thread. A task may not throw, so running out of memory ends it all,
// as an allocation in NumPy's own kernels would.
u64* scratch(std::size_t words);

}  // namespace veilform
