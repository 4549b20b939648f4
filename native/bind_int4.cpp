// Binding of the 4-bit product. As in bindings.cpp, every size is checked again here.
#include "bind_int4.hpp"

#include <nanobind/ndarray.h>

#include "cpu.hpp"
#include "int4.hpp"
#include "product.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

using Bytes = nb::ndarray<const u8, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Panels = nb::ndarray<const u8, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Sums = nb::ndarray<std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void int4_matmul(int path, std::size_t threads, Bytes a, Panels b, std::size_t k, Sums c) {
  const Int4Fn kernel = int4_fn(path);
  const std::size_t m = c.shape(0), n = c.shape(1), groups = int4_groups(k);
  if (kernel == nullptr || k == 0 || k > kInt4Most || a.shape(0) != m ||
      a.shape(1) != 4 * groups || b.size() != ceil_div(n, kInt4Panel) * kInt4Panel * groups * 4)
    throw nb::value_error("the shapes do not multiply");
  nb::gil_scoped_release unlocked;
  run_int4(kernel, threads, {m, k, n, a.data(), b.data(), c.data()});
}

}  // namespace

void bind_int4(nb::module_& m) { m.def("int4_matmul", &int4_matmul); }

}  // namespace veilform
