// Bindings of Winograd's transforms.
#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_tiles(nanobind::module_& m);

}  // namespace veilform
