// Binding of the product by small weights. As in bindings.cpp, every size is checked again here.
#include "bind_small.hpp"

#include <nanobind/ndarray.h>

#include <algorithm>

#include "cpu.hpp"
#include "product.hpp"
#include "small.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

using Words = nb::ndarray<const u64, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const u8, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<u64, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void small_matmul(int path, std::size_t threads, Words a, Bytes b, Bytes shifts, unsigned bits,
                  Result c, bool accumulate) {
  const SmallFns* kernel = small_fns(path);
  const std::size_t m = c.shape(0), n = c.shape(1), k = a.shape(1);
  if (kernel == nullptr || a.shape(0) != m || shifts.size() != n ||
      b.size() != ceil_div(n, kSmallPanel) * kSmallPanel * small_groups(k) * 4)
    throw nb::value_error("the shapes do not multiply");
  if (bits < 1 || bits > 64 ||
      std::any_of(shifts.data(), shifts.data() + n, [](u8 s) { return s > 63; }))
    throw nb::value_error("bits or a shift is out of range");
  nb::gil_scoped_release unlocked;
  run_small(*kernel, threads, {m, k, n, a.data(), b.data(), shifts.data(), c.data(), accumulate, bits});
}

}  // namespace

void bind_small(nb::module_& m) { m.def("small_matmul", &small_matmul); }

}  // namespace veilform
