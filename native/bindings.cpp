// The Python module veilform.kernels._native. Every size is checked again here, since a wrong one
// would be a write out of bounds; the callers in veilform/kernels give the readable messages.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "bind_words.hpp"
#include "cpu.hpp"
#include "pool.hpp"

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

// Scratch words of the calling thread. A task may not throw, so running out of memory ends it all,
// as an allocation in NumPy's own kernels would.
u64* scratch(std::size_t words) {
  void* data = scratch_bytes(words * sizeof(u64));
  if (data == nullptr) std::terminate();
  return static_cast<u64*>(data);
}

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

// Below this many multiply-adds (or words of elementwise work) a second thread does not pay.
constexpr std::size_t kGemmGrain = std::size_t{1} << 17;
constexpr std::size_t kWordGrain = std::size_t{1} << 14;

struct Product {
  std::size_t batch, m, k, n;
  const u64 *a, *b;
  u64* c;
  bool packed;
};

void run_product(const Ops& kernel, std::size_t threads, const Product& p) {
  if (p.batch * p.m * p.n == 0) return;
  if (p.k == 0) return std::fill(p.c, p.c + p.batch * p.m * p.n, u64{0});
  const std::size_t blocks = ceil_div(p.m, kernel.max_rows), panels = ceil_div(p.n, kernel.nr);
  // Rows are shared out evenly over the blocks; panels go in runs, so that A is packed seldom.
  const std::size_t rows = ceil_div(p.m, blocks);
  const std::size_t wanted = threads > 1 ? 4 * threads : 1;
  const std::size_t runs = std::min(panels, std::max<std::size_t>(1, ceil_div(wanted, p.batch * blocks)));
  const std::size_t columns = ceil_div(panels, runs) * kernel.nr;
  const std::size_t across = ceil_div(p.n, columns), tasks = p.batch * blocks * across;
  const std::size_t useful = std::max<std::size_t>(1, p.batch * p.m * p.n * p.k / kGemmGrain);
  parallel_for(tasks, std::min(threads, useful), [&](std::size_t task) {
    const std::size_t column = task % across * columns;
    const std::size_t row = task / across % blocks * rows, at = task / across / blocks;
    if (row >= p.m) return;
    GemmTask g{};
    g.a = p.a + at * p.m * p.k + row * p.k;
    g.lda = p.k;
    g.b = p.packed ? p.b + column * p.k : p.b + at * p.k * p.n + column;
    g.ldb = p.n;
    g.packed = p.packed;
    g.c = p.c + at * p.m * p.n + row * p.n + column;
    g.ldc = p.n;
    g.rows = std::min(rows, p.m - row);
    g.cols = std::min(columns, p.n - column);
    g.inner = p.k;
    kernel.gemm(g, scratch(kernel.scratch_words));
  });
}

void matmul(int path, std::size_t threads, In<u64, 3> a, In<u64, 3> b, Out<u64, 3> c) {
  const Ops& kernel = ops_of(path);
  require(a.shape(0) == b.shape(0) && a.shape(2) == b.shape(1) && c.shape(0) == a.shape(0) &&
              c.shape(1) == a.shape(1) && c.shape(2) == b.shape(2),
          "the shapes do not multiply");
  const Product p{a.shape(0), a.shape(1), a.shape(2), b.shape(2), a.data(), b.data(), c.data(), false};
  nb::gil_scoped_release unlocked;
  run_product(kernel, threads, p);
}

std::size_t packed_words(int path, std::size_t k, std::size_t n) {
  const Ops& kernel = ops_of(path);
  return ceil_div(n, kernel.nr) * kernel.nr * k;
}

void pack(int path, In<u64, 2> b, Out<u64, 1> out) {
  const Ops& kernel = ops_of(path);
  require(out.size() == packed_words(path, b.shape(0), b.shape(1)), "wrong size of the packed matrix");
  nb::gil_scoped_release unlocked;
  kernel.pack(b.data(), b.shape(0), b.shape(1), out.data());
}

void matmul_packed(int path, std::size_t threads, In<u64, 2> a, In<u64, 1> b, Out<u64, 2> c) {
  const Ops& kernel = ops_of(path);
  const std::size_t k = a.shape(1), n = c.shape(1);
  require(c.shape(0) == a.shape(0) && b.size() == packed_words(path, k, n), "the shapes do not multiply");
  const Product p{1, a.shape(0), k, n, a.data(), b.data(), c.data(), true};
  nb::gil_scoped_release unlocked;
  run_product(kernel, threads, p);
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

void check_dpf(nb::bytes aes, unsigned n) {
  require(aes.size() == 48, "three AES keys are needed");
  require(n >= 1 && n <= 20, "a DPF's domain has 1 to 20 bits");
}

void dpf_generate(int path, std::size_t threads, nb::bytes aes, In<u8, 2> seeds0, In<u8, 2> seeds1,
                  In<u64, 1> alpha, In<u64, 2> payload, unsigned n, Out<u8, 3> cw_seeds,
                  Out<u8, 2> cw_bits, Out<u64, 2> last) {
  check_dpf(aes, n);
  const DpfGenerateFn generate = dpf_generate_fn(path);
  require(generate != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = alpha.size();
  require(seeds0.size() == 16 * count && seeds1.size() == 16 * count && payload.size() == 2 * count &&
              cw_seeds.size() == 16 * n * count && cw_bits.size() == n * count &&
              last.size() == 2 * count,
          "the arrays of the point functions differ in size");
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n, cw_seeds.data(), cw_bits.data(),
                     last.data()};
  const std::size_t step = 64;
  nb::gil_scoped_release unlocked;
  parallel_for(ceil_div(count, step), threads, [&](std::size_t task) {
    generate(keys, seeds0.data(), seeds1.data(), alpha.data(), payload.data(), task * step,
             std::min(count, (task + 1) * step));
  });
}

// Column c of the result holds table[(-j) mod 2^n, c] for j = 0 .. 2^(n+1), then spare zeros.
std::vector<u64> reverse_twice(const u64* table, std::size_t size, std::size_t columns,
                               std::size_t stride) {
  std::vector<u64> out(stride * columns, 0);
  for (std::size_t c = 0; c < columns; ++c)
    for (std::size_t j = 0; j < 2 * size; ++j)
      out[c * stride + j] = table[((size - j) & (size - 1)) * columns + c];
  return out;
}

void dpf_lookup(int path, std::size_t threads, nb::bytes aes, int party, In<u8, 2> seeds,
                In<u8, 3> cw_seeds, In<u8, 2> cw_bits, In<u64, 2> last, unsigned n, In<u64, 1> y,
                In<u64, 2> table, Out<u64, 3> out) {
  check_dpf(aes, n);
  const DpfLookupFn lookup = dpf_lookup_fn(path);
  require(lookup != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = y.size(), size = std::size_t{1} << n, columns = table.shape(1);
  require((party == 0 || party == 1) && seeds.size() == 16 * count &&
              cw_seeds.size() == 16 * n * count && cw_bits.size() == n * count &&
              last.size() == 2 * count && table.shape(0) == size &&
              out.size() == 2 * columns * count,
          "the arrays of the lookup differ in size");
  nb::gil_scoped_release unlocked;
  const std::size_t stride = 2 * size + kDpfLeaves;
  const std::vector<u64> reversed = reverse_twice(table.data(), size, columns, stride);
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n, const_cast<u8*>(cw_seeds.data()),
                     const_cast<u8*>(cw_bits.data()), const_cast<u64*>(last.data())};
  const DpfLookup in{party, seeds.data(), y.data(), reversed.data(), stride, columns, out.data()};
  const std::size_t step = 8;
  parallel_for(ceil_div(count, step), threads, [&](std::size_t task) {
    lookup(keys, in, task * step, std::min(count, (task + 1) * step),
           scratch(dpf_scratch_words(n, columns)));
  });
}

nb::dict cpu_features() {
  const Cpu cpu = detect_cpu();
  nb::dict out;
  out["avx2"] = cpu.avx2;
  out["avx512"] = cpu.avx512;
  out["avx512_ifma"] = cpu.avx512_ifma;
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
  m.def("packed_words", &packed_words);
  m.def("pack", &pack);
  m.def("matmul_packed", &matmul_packed);
  // None is allowed where a term may be absent.
  m.def("opened_share", &opened_share, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  m.def("opened_square", &opened_square, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none());
  m.def("opened_product", &opened_product, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(),
        nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none(),
        nb::arg().none());
  m.def("dpf_generate", &dpf_generate);
  m.def("dpf_lookup", &dpf_lookup);
  bind_words(m);
}
