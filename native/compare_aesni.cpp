// Comparison with AES-NI: the children of four nodes at a time.
#include <immintrin.h>

#include "compare.hpp"

namespace veilform {

const CompareGenerateFn aesni_compare_generate = compare_generate<Narrow, 4>;
const CompareEvaluateFn aesni_compare_evaluate = compare_evaluate<Narrow, 4>;

}  // namespace veilform
