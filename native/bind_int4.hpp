// Adds the product of 4-bit integers to the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_int4(nanobind::module_& m);

}  // namespace veilform
