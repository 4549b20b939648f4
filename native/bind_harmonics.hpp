// Adds the functions on angles to the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_harmonics(nanobind::module_& m);

}  // namespace veilform
