// The Python module veilform.kernels._native. Every size is checked again here, since a wrong one
// would be a write out of bounds; the callers in veilform/kernels give the readable messages.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bind_functions.hpp"
#include "bind_harmonics.hpp"
#include "bind_tiles.hpp"
#include "bind_int4.hpp"
#include "bind_small.hpp"
#include "bind_words.hpp"
#include "cpu.hpp"
#include "pool.hpp"
#include "product.hpp"

namespace nb = nanobind;
using namespace veilform;

namespace {

template <class T, std::size_t N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, std::size_t N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Any = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Flat = nb::ndarray<u64, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* what) {
  if (!condition) throw nb::value_error(what);
}

const Ops& ops_of(int path) {
  const Ops* found = ops(path);
  require(found != nullptr, "this CPU cannot run that kernel path");
  return *found;
}

// Words of elementwise work in one task.
constexpr std::size_t kWordGrain = std::size_t{1} << 14;

void check_ring(unsigned bits) { require(bits >= 1 && bits <= 64, "bits is out of range"); }

void matmul(int path, std::size_t threads, In<u64, 3> a, In<u64, 3> b, unsigned bits,
            Out<u64, 3> c, bool accumulate) {
  check_ring(bits);
  require(supported(path), "this CPU cannot run that kernel path");
  require(a.shape(0) == b.shape(0) && a.shape(2) == b.shape(1) && c.shape(0) == a.shape(0) &&
              c.shape(1) == a.shape(1) && c.shape(2) == b.shape(2),
          "the shapes do not multiply");
  const Product p{a.shape(0), a.shape(1), a.shape(2), b.shape(2), a.data(), b.data(), 0,
                  c.data(),   accumulate, bits};
  nb::gil_scoped_release unlocked;
  run_product(path, threads, p);
}

std::size_t packed_bytes(int path, std::size_t k, std::size_t n, unsigned width) {
  require((width >= 1 && width <= 4) || width == 8, "a weight has 1, 2, 3, 4 or 8 bytes");
  const std::size_t nr = ops_of(path).nr;
  return ceil_div(n, nr) * nr * (k + k % 2) * width;
}

void pack(int path, In<u64, 2> b, unsigned width, Out<u8, 1> out) {
  require(out.size() == packed_bytes(path, b.shape(0), b.shape(1), width),
          "wrong size of the packed matrix");
  nb::gil_scoped_release unlocked;
  ops_of(path).pack(b.data(), b.shape(0), b.shape(1), width, out.data());
}

void matmul_packed(int path, std::size_t threads, In<u64, 2> a, In<u8, 1> b, unsigned width,
                   unsigned bits, Out<u64, 2> c, bool accumulate) {
  check_ring(bits);
  const std::size_t k = a.shape(1), n = c.shape(1);
  require(c.shape(0) == a.shape(0) && b.size() == packed_bytes(path, k, n, width),
          "the shapes do not multiply");
  const Product p{1, a.shape(0), k, n, a.data(), b.data(), width, c.data(), accumulate, bits};
  nb::gil_scoped_release unlocked;
  run_product(path, threads, p);
}

// An array of `size` unsigned words of 2, 4 or 8 bytes; None is zero everywhere.
Operand operand(const Any& x, std::size_t size, std::size_t repeat = 1, bool narrow = false) {
  if (!x.is_valid()) return {};
  const auto width = static_cast<unsigned>(x.itemsize());
  require(x.dtype().code == static_cast<u8>(nb::dlpack::dtype_code::UInt) &&
              (width == 8 || (narrow && (width == 2 || width == 4))),
          "an operand has the wrong dtype");
  require(x.size() * repeat == size, "an operand has the wrong size");
  return {x.data(), width, repeat};
}

void check_opened(unsigned t, unsigned bits) {
  require(bits >= 1 && bits <= 64 && (t == 0 || t + 2 <= bits), "t or bits is out of range");
}

template <class Function>
void elementwise(std::size_t threads, std::size_t size, const Function& function) {
  const std::size_t tasks = ceil_div(size, kWordGrain);
  nb::gil_scoped_release unlocked;
  parallel_for(tasks, threads, [&](std::size_t task) {
    function(task * kWordGrain, std::min(size, (task + 1) * kWordGrain));
  });
}

void mix(int path, std::size_t threads, Flat out, Any a, Any b, bool negate_a, bool negate_b,
         u64 plus, unsigned bits, unsigned right, u64 then, unsigned left) {
  require(bits >= 1 && bits <= 64 && right < 64 && left < 64, "a ring or shift is out of range");
  const Ops& kernel = ops_of(path);
  const std::size_t size = out.size();
  const Operand oa = operand(a, size), ob = operand(b, size, 1, true);
  require(oa.width == 8 && (ob.width == 8 || ob.width == 0), "an operand has another type");
  const Mix mix{static_cast<const u64*>(oa.data),
                ob.width ? static_cast<const u64*>(ob.data) : nullptr,
                negate_a,
                negate_b,
                plus,
                bits,
                right,
                then,
                left};
  elementwise(threads, size, [&](std::size_t first, std::size_t end) {
    kernel.mix(out.data(), mix, first, end);
  });
}

void centre(int path, std::size_t threads, Out<u64, 2> out, In<u64, 2> x) {
  require(out.shape(0) == x.shape(0) && out.shape(1) == x.shape(1), "centre keeps the shape");
  const Ops& kernel = ops_of(path);
  const std::size_t rows = x.shape(0), d = x.shape(1), step = kWordGrain / (d + 1) + 1;
  nb::gil_scoped_release unlocked;
  parallel_for(ceil_div(rows, step), threads, [&](std::size_t task) {
    kernel.centre(out.data(), x.data(), d, task * step, std::min(rows, (task + 1) * step));
  });
}

void opened_share(int path, std::size_t threads, Flat out, Any y, unsigned t, unsigned bits,
                  bool lead, Any q, Any h) {
  check_opened(t, bits);
  const Ops& kernel = ops_of(path);
  const std::size_t size = out.size();
  const Opened opened{operand(y, size), t};
  const Operand oq = operand(q, size), oh = operand(h, size, 1, true);
  elementwise(threads, size, [&](std::size_t first, std::size_t end) {
    kernel.share(out.data(), opened, bits, lead, oq, oh, first, end);
  });
}

void opened_square(int path, std::size_t threads, Flat out, Any y, unsigned t, unsigned bits,
                   bool lead, Any q, Any h, Any q2, Any qh) {
  check_opened(t, bits);
  const Ops& kernel = ops_of(path);
  const std::size_t size = out.size();
  const Opened opened{operand(y, size), t};
  const SquareTerms terms{operand(q, size), operand(h, size, 1, true), operand(q2, size),
                          operand(qh, size, 1, true)};
  elementwise(threads, size, [&](std::size_t first, std::size_t end) {
    kernel.square(out.data(), opened, bits, lead, terms, first, end);
  });
}

void opened_product(int path, std::size_t threads, Flat out, std::size_t repeat, Any ya,
                    unsigned ta, Any yb, unsigned tb, unsigned bits, bool lead, Any qa, Any ha,
                    Any qb, Any hb, Any qaqb, Any qahb, Any haqb, Any hahb) {
  check_opened(ta, bits);
  check_opened(tb, bits);
  const Ops& kernel = ops_of(path);
  const std::size_t size = out.size();
  if (size == 0) return;
  require(repeat >= 1, "an operand has the wrong size");
  const Opened a{operand(ya, size), ta}, b{operand(yb, size, repeat), tb};
  const ProductTerms terms{
      operand(qa, size),   operand(ha, size, 1, true),   operand(qb, size, repeat),
      operand(hb, size, repeat, true), operand(qaqb, size), operand(qahb, size, 1, true),
      operand(haqb, size, 1, true),    operand(hahb, size, 1, true)};
  elementwise(threads, size, [&](std::size_t first, std::size_t end) {
    kernel.product(out.data(), a, b, bits, lead, terms, first, end);
  });
}

nb::dict cpu_features() {
  const Cpu cpu = detect_cpu();
  nb::dict out;
  out["avx2"] = cpu.avx2;
  out["avx512"] = cpu.avx512;
  out["avx512_ifma"] = cpu.avx512_ifma;
  out["avx512_vnni"] = cpu.avx512_vnni;
  out["aes"] = cpu.aes;
  out["vaes"] = cpu.vaes;
  return out;
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels; use veilform.kernels.";
  m.def("supported", &supported);
  m.def("has_aes", [](int path) { return dpf_lookup_fn(path) != nullptr; });
  m.def("cpu_features", &cpu_features);
  m.def("matmul", &matmul);
  m.def("packed_bytes", &packed_bytes);
  m.def("pack", &pack);
  m.def("matmul_packed", &matmul_packed);
  // None is allowed where a term may be absent.
  m.def("mix", &mix, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg());
  m.def("centre", &centre);
  m.def("opened_share", &opened_share, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  m.def("opened_square", &opened_square, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none());
  m.def("opened_product", &opened_product, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(),
        nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none(),
        nb::arg().none());
  bind_functions(m);
  bind_harmonics(m);
  bind_tiles(m);
  bind_int4(m);
  bind_small(m);
  bind_words(m);
}
