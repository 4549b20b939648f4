// Bindings of cos and sin of angles. As in bindings.cpp, every size is checked again here.
#include "bind_harmonics.hpp"

#include <nanobind/ndarray.h>

#include <algorithm>

#include "cpu.hpp"
#include "pool.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

using In = nb::ndarray<const u64, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<u64, nb::c_contig, nb::device::cpu>;

constexpr std::size_t kGrain = std::size_t{1} << 13;

void require(bool condition) {
  if (!condition) throw nb::value_error("the angles, or what goes with them, do not fit");
}

const Ops& ops_of(int path) {
  const Ops* found = ops(path);
  require(found != nullptr);
  return *found;
}

// x counts turns of 2^period units.
Angles angles(const In& x, unsigned period, u64 order) {
  require(period >= 1 && period <= 32);
  return {x.data(), order, 32 - period};
}

template <class Function>
void pieces(std::size_t threads, std::size_t size, const Function& function) {
  nb::gil_scoped_release unlocked;
  parallel_for((size + kGrain - 1) / kGrain, threads, [&](std::size_t piece) {
    function(piece * kGrain, std::min(size, (piece + 1) * kGrain));
  });
}

void phasor(int path, std::size_t threads, Out cos, Out sin, In x, unsigned period, u64 order,
            unsigned scale) {
  require(cos.size() == x.size() && sin.size() == x.size() && scale >= 2 && scale <= 30);
  const Ops& kernel = ops_of(path);
  const Angles at = angles(x, period, order);
  pieces(threads, x.size(), [&](std::size_t first, std::size_t end) {
    kernel.phasor(cos.data(), sin.data(), at, scale, first, end);
  });
}

void harmonic(int path, std::size_t threads, Out onto, In x, unsigned period, u64 order, i64 a,
              i64 b, In cos, In sin) {
  const i64 most = i64{1} << 30;
  require(onto.size() == x.size() && cos.size() == x.size() && sin.size() == x.size() &&
          a <= most && a >= -most && b <= most && b >= -most);
  const Ops& kernel = ops_of(path);
  const Angles at = angles(x, period, order);
  pieces(threads, x.size(), [&](std::size_t first, std::size_t end) {
    kernel.harmonic(onto.data(), at, static_cast<u64>(a), static_cast<u64>(b), cos.data(),
                    sin.data(), first, end);
  });
}

}  // namespace

void bind_harmonics(nb::module_& m) {
  m.def("phasor", &phasor);
  m.def("harmonic", &harmonic);
}

}  // namespace veilform
