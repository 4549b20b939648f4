// What this CPU can do, and the kernels for it.
#pragma once

#include "crc.hpp"
#include "ctr.hpp"
#include "int4.hpp"
#include "kernels.hpp"
#include "small.hpp"

namespace veilform {

struct Cpu {
  bool sse42 = false;
  bool avx2 = false;         // AVX2, BMI, BMI2
  bool avx512 = false;       // AVX-512 F, DQ, BW, VL, and all of avx2
  bool avx512_ifma = false;
  bool avx512_vnni = false;
  bool aes = false;
  bool vaes = false;
};

Cpu detect_cpu();

// Codes of the compiled paths, as in veilform/kernels/_dispatch.py.
enum Path { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

bool supported(int path);
// Null if not supported here.
const Ops* ops(int path);
// The fastest product of a supported path for results of that many bits.
GemmFn gemm_fn(int path, unsigned bits);
DpfGenerateFn dpf_generate_fn(int path);
DpfLookupFn dpf_lookup_fn(int path);
DpfSegmentsFn dpf_segments_fn(int path);
DpfCurveFn dpf_curve_fn(int path);
CompareGenerateFn compare_generate_fn(int path);
CompareEvaluateFn compare_evaluate_fn(int path);
CtrFn ctr_fn(int path);
CrcFn crc_fn(int path);
// Null if the path is not supported here.
Int4Fn int4_fn(int path);
const SmallFns* small_fns(int path);

}  // namespace veilform
