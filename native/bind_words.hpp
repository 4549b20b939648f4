// Adds the functions on words and streams to the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace veilform {

void bind_words(nanobind::module_& m);

}  // namespace veilform
