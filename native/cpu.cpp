#include "cpu.hpp"

#ifdef VEILFORM_X86
#include <cpuid.h>
#endif

namespace veilform {

Cpu detect_cpu() {
  Cpu cpu;
#ifdef VEILFORM_X86
  // These builtins also ask whether the operating system saves the wide registers.
  __builtin_cpu_init();
  cpu.sse42 = __builtin_cpu_supports("sse4.2");
  cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
             __builtin_cpu_supports("bmi2");
  cpu.avx512 = cpu.avx2 && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
  cpu.avx512_ifma = cpu.avx512 && __builtin_cpu_supports("avx512ifma");
  cpu.avx512_vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
  // Not every compiler's builtin knows these two.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) cpu.aes = (c & bit_AES) != 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) cpu.vaes = cpu.aes && (c & (1U << 9)) != 0;
#endif
  return cpu;
}

bool supported(int path) { return ops(path) != nullptr; }

const Ops* ops(int path) {
  static const Cpu cpu = detect_cpu();
  if (path == kPortable) return &portable_ops;
#ifdef VEILFORM_X86
  if (path == kAvx2 && cpu.avx2) return &avx2_ops;
  if (path == kAvx512 && cpu.avx512) return &avx512_ops;
#endif
  return nullptr;
}

GemmFn gemm_fn(int path, unsigned bits) {
#ifdef VEILFORM_X86
  static const Cpu cpu = detect_cpu();
  if (path == kAvx512 && supported(path) && cpu.avx512_ifma && bits <= 52) return ifma_gemm;
#endif
  (void)bits;
  return ops(path)->gemm;
}

#ifdef VEILFORM_X86
namespace {

// A kernel that needs AES instructions: the wide one, the narrow one, or null.
template <class Function>
Function with_aes(int path, Function vaes, Function aesni) {
  static const Cpu cpu = detect_cpu();
  if (path == kPortable || !supported(path)) return nullptr;
  if (path == kAvx512 && cpu.vaes) return vaes;
  return cpu.aes ? aesni : nullptr;
}

}  // namespace

DpfGenerateFn dpf_generate_fn(int path) { return with_aes(path, aesni_generate, aesni_generate); }
DpfLookupFn dpf_lookup_fn(int path) { return with_aes(path, vaes_lookup, aesni_lookup); }
DpfSegmentsFn dpf_segments_fn(int path) { return with_aes(path, vaes_segments, aesni_segments); }
DpfCurveFn dpf_curve_fn(int path) { return with_aes(path, vaes_curve, aesni_curve); }
CompareGenerateFn compare_generate_fn(int path) {
  return with_aes(path, vaes_compare_generate, aesni_compare_generate);
}
CompareEvaluateFn compare_evaluate_fn(int path) {
  return with_aes(path, vaes_compare_evaluate, aesni_compare_evaluate);
}
CtrFn ctr_fn(int path) { return with_aes(path, ctr_vaes, ctr_aesni); }
#else
DpfGenerateFn dpf_generate_fn(int) { return nullptr; }
DpfLookupFn dpf_lookup_fn(int) { return nullptr; }
DpfSegmentsFn dpf_segments_fn(int) { return nullptr; }
DpfCurveFn dpf_curve_fn(int) { return nullptr; }
CompareGenerateFn compare_generate_fn(int) { return nullptr; }
CompareEvaluateFn compare_evaluate_fn(int) { return nullptr; }
CtrFn ctr_fn(int) { return nullptr; }
#endif

Int4Fn int4_fn(int path) {
  if (!supported(path)) return nullptr;
#ifdef VEILFORM_X86
  static const Cpu cpu = detect_cpu();
  if (path == kAvx512 && cpu.avx512_vnni) return int4_vnni;
  if (path != kPortable) return int4_avx2;
#endif
  return int4_portable;
}

const SmallFns* small_fns(int path) {
  if (!supported(path)) return nullptr;
#ifdef VEILFORM_X86
  static const Cpu cpu = detect_cpu();
  if (path == kAvx512 && cpu.avx512_vnni) return &small_vnni;
  if (path != kPortable) return &small_avx2;
#endif
  return &small_portable;
}

CrcFn crc_fn(int path) {
#ifdef VEILFORM_X86
  static const Cpu cpu = detect_cpu();
  if (path != kPortable && cpu.sse42) return crc_sse42;
#endif
  (void)path;
  return crc_portable;
}

}  // namespace veilform
