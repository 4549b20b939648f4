// Adds point functions and comparisons to the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_functions(nanobind::module_& m);

}  // namespace veilform
