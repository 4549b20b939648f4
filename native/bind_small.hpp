#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_small(nanobind::module_& m);

}  // namespace veilform
