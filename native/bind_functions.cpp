// Bindings of point functions and comparisons. As in bindings.cpp, every size is checked again here.
#include "bind_functions.hpp"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <vector>

#include "cpu.hpp"
#include "pool.hpp"
#include "product.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

template <class T, std::size_t N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, std::size_t N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* what) {
  if (!condition) throw nb::value_error(what);
}

void check_dpf(nb::bytes aes, unsigned n, unsigned most) {
  require(aes.size() == 48, "three AES keys are needed");
  require(n >= 1 && n <= most, "a point function's domain has too many bits");
}

void dpf_generate(int path, std::size_t threads, nb::bytes aes, In<u8, 2> seeds0, In<u8, 2> seeds1,
                  In<u64, 1> alpha, In<u64, 2> payload, unsigned n, Out<u8, 3> cw_seeds,
                  Out<u8, 2> cw_bits, Out<u64, 3> words) {
  check_dpf(aes, n, 40);
  const DpfGenerateFn generate = dpf_generate_fn(path);
  require(generate != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = alpha.size();
  require(seeds0.size() == 16 * count && seeds1.size() == 16 * count && payload.size() == 2 * count &&
              cw_seeds.size() == 16 * n * count && cw_bits.size() == n * count &&
              words.shape(0) == count && words.shape(1) >= 1 && words.shape(1) <= n &&
              words.shape(2) == 2,
          "the arrays of the point functions differ in size");
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n,
                     static_cast<unsigned>(words.shape(1)), cw_seeds.data(), cw_bits.data(),
                     words.data()};
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
  check_dpf(aes, n, 20);
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
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n, 1,
                     const_cast<u8*>(cw_seeds.data()), const_cast<u8*>(cw_bits.data()),
                     const_cast<u64*>(last.data())};
  const DpfLookup in{party, seeds.data(), y.data(), reversed.data(), stride, columns, out.data()};
  const std::size_t step = 8;
  parallel_for(ceil_div(count, step), threads, [&](std::size_t task) {
    lookup(keys, in, task * step, std::min(count, (task + 1) * step),
           scratch(dpf_scratch_words(n, columns)));
  });
}

void dpf_segments(int path, std::size_t threads, nb::bytes aes, int party, In<u8, 2> seeds,
                  In<u8, 3> cw_seeds, In<u8, 2> cw_bits, In<u64, 3> words, unsigned n,
                  In<u64, 1> y, u64 first_index, u64 last_index, unsigned fine, unsigned grid,
                  In<u64, 2> rows, Out<u64, 2> out) {
  check_dpf(aes, n, 40);
  const DpfSegmentsFn segments = dpf_segments_fn(path);
  require(segments != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = y.size();
  require((party == 0 || party == 1) && seeds.size() == 16 * count &&
              cw_seeds.size() == 16 * n * count && cw_bits.size() == n * count &&
              words.size() == 2 * n * count && out.size() == 4 * count && rows.shape(1) == 2,
          "the arrays of the lookup differ in size");
  require(fine <= 12 && grid <= 13 && (first_index >> (fine > grid ? fine : grid)) > 0 &&
              first_index <= last_index && last_index >> n == 0,
          "the range of the segments does not fit");
  const unsigned octave = 63u - static_cast<unsigned>(__builtin_clzll(first_index));
  const unsigned octaves = 64u - static_cast<unsigned>(__builtin_clzll(last_index)) - octave;
  require(rows.shape(0) == std::size_t{octaves} << grid, "the segments have other rows");
  nb::gil_scoped_release unlocked;
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n, n,
                     const_cast<u8*>(cw_seeds.data()), const_cast<u8*>(cw_bits.data()),
                     const_cast<u64*>(words.data())};
  const DpfSegments in{party, seeds.data(), y.data(), first_index, last_index, fine,
                       grid,  octave,       rows.data(), out.data()};
  const std::size_t step = 16, room = dpf_segment_nodes(fine);
  parallel_for(ceil_div(count, step), threads, [&](std::size_t task) {
    segments(keys, in, task * step, std::min(count, (task + 1) * step), room,
             scratch(kDpfTogether * dpf_tree_words(room)));
  });
}

void dpf_curve(int path, std::size_t threads, nb::bytes aes, int party, In<u8, 2> seeds,
               In<u8, 3> cw_seeds, In<u8, 2> cw_bits, In<u64, 3> words, unsigned n, In<u64, 1> y,
               u64 first_index, u64 last_index, unsigned cap, u64 wrap, In<u64, 2> rows,
               Out<u64, 2> out) {
  check_dpf(aes, n, 40);
  const DpfCurveFn curve = dpf_curve_fn(path);
  require(curve != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = y.size();
  require((party == 0 || party == 1) && seeds.size() == 16 * count &&
              cw_seeds.size() == 16 * n * count && cw_bits.size() == n * count &&
              words.size() == 2 * n * count && out.size() == 3 * count,
          "the arrays of the lookup differ in size");
  require(cap <= 12 && first_index >= 1 && first_index <= last_index &&
              (last_index + 1) >> n == 0 && rows.shape(1) == 2 &&
              rows.shape(0) == last_index - first_index + 3,
          "the window of the curve does not fit");
  nb::gil_scoped_release unlocked;
  const DpfKeys keys{reinterpret_cast<const u8*>(aes.c_str()), n, n,
                     const_cast<u8*>(cw_seeds.data()), const_cast<u8*>(cw_bits.data()),
                     const_cast<u64*>(words.data())};
  std::vector<u64> wrapped(rows.data(), rows.data() + rows.size());
  for (std::size_t i = 0; i < wrapped.size(); i += 2) wrapped[i] += wrap * wrapped[i + 1];
  const DpfCurve in{party, seeds.data(), y.data(),       first_index, last_index,
                    cap,   rows.data(),  wrapped.data(), out.data()};
  const std::size_t step = 16, room = dpf_curve_nodes(last_index - first_index + 1, cap);
  parallel_for(ceil_div(count, step), threads, [&](std::size_t task) {
    curve(keys, in, task * step, std::min(count, (task + 1) * step), room,
          scratch(kDpfTogether * dpf_tree_words(room)));
  });
}

// Keys of a task: a multiple of those that are walked together.
constexpr std::size_t kCompareGrain = 256;

void check_compare(nb::bytes aes, unsigned n, std::size_t count, std::size_t seeds,
                   std::size_t blocks) {
  require(aes.size() == 48, "three AES keys are needed");
  require(n >= 1 && n <= 64, "a comparison's domain has too many bits");
  require(seeds == 16 * count && blocks == 16 * count * (compare_levels(n) + std::size_t{1}),
          "the arrays of the comparisons differ in size");
}

void compare_generate(int path, std::size_t threads, nb::bytes aes, In<u8, 2> seeds0,
                      In<u8, 2> seeds1, In<u64, 1> alpha, unsigned n, Out<u8, 3> blocks,
                      Out<u64, 1> right_bits) {
  const CompareGenerateFn generate = compare_generate_fn(path);
  require(generate != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = alpha.size();
  check_compare(aes, n, count, seeds0.size(), blocks.size());
  require(seeds1.size() == 16 * count && right_bits.size() == count,
          "the arrays of the comparisons differ in size");
  const CompareKeys keys{reinterpret_cast<const u8*>(aes.c_str()), count, n, compare_levels(n),
                         blocks.data(), right_bits.data()};
  nb::gil_scoped_release unlocked;
  parallel_for(ceil_div(count, kCompareGrain), threads, [&](std::size_t task) {
    generate(keys, seeds0.data(), seeds1.data(), alpha.data(), task * kCompareGrain,
             std::min(count, (task + 1) * kCompareGrain));
  });
}

void compare_evaluate(int path, std::size_t threads, nb::bytes aes, int party, In<u8, 2> seeds,
                      In<u8, 3> blocks, In<u64, 1> right_bits, unsigned n, In<u64, 2> points,
                      Out<u64, 2> out) {
  const CompareEvaluateFn evaluate = compare_evaluate_fn(path);
  require(evaluate != nullptr, "this kernel path has no AES instructions");
  const std::size_t count = right_bits.size();
  check_compare(aes, n, count, seeds.size(), blocks.size());
  require((party == 0 || party == 1) && points.shape(1) == count && out.shape(1) == count &&
              out.shape(0) == points.shape(0),
          "the arrays of the comparisons differ in size");
  const CompareKeys keys{reinterpret_cast<const u8*>(aes.c_str()), count, n, compare_levels(n),
                         const_cast<u8*>(blocks.data()), const_cast<u64*>(right_bits.data())};
  const ComparePoints in{party, seeds.data(), points.data(), points.shape(0), out.data()};
  nb::gil_scoped_release unlocked;
  parallel_for(ceil_div(count, kCompareGrain), threads, [&](std::size_t task) {
    evaluate(keys, in, task * kCompareGrain, std::min(count, (task + 1) * kCompareGrain));
  });
}

}  // namespace

void bind_functions(nb::module_& m) {
  m.def("dpf_generate", &dpf_generate);
  m.def("dpf_lookup", &dpf_lookup);
  m.def("dpf_segments", &dpf_segments);
  m.def("dpf_curve", &dpf_curve);
  m.def("compare_generate", &compare_generate);
  m.def("compare_evaluate", &compare_evaluate);
}

}  // namespace veilform
