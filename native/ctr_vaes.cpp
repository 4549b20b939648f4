// Counter mode with VAES on 512-bit vectors: 32 blocks at a time.
#include <immintrin.h>

#include "aes.hpp"
#include "ctr.hpp"

namespace veilform {
namespace {

constexpr std::size_t kVectors = 8, kBlocks = 4 * kVectors;

// The four blocks from `block` on: numbers in the odd 64-bit lanes, bytes in reverse.
__m512i counters(u64 block) {
  const __m512i number = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(block)),
                                          _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0));
  const __m512i reverse = _mm512_broadcast_i32x4(
      _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1));
  return _mm512_shuffle_epi8(number, reverse);
}

}  // namespace

void ctr_vaes(const u8* bytes, u64 first, std::size_t count, u8* out) {
  const AesKey narrow = aes_key(bytes);
  __m512i key[11];
  for (int r = 0; r < 11; ++r) key[r] = _mm512_broadcast_i32x4(narrow.round[r]);
  for (std::size_t i = 0; i < count; i += kBlocks) {
    __m512i s[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v)
      s[v] = _mm512_xor_si512(counters(first + i + 4 * v), key[0]);
    for (int r = 1; r < 10; ++r)
      for (std::size_t v = 0; v < kVectors; ++v) s[v] = _mm512_aesenc_epi128(s[v], key[r]);
    for (std::size_t v = 0; v < kVectors; ++v) s[v] = _mm512_aesenclast_epi128(s[v], key[10]);
    const std::size_t left = count - i;
    for (std::size_t v = 0; v < kVectors && 4 * v < left; ++v) {
      const std::size_t live = left - 4 * v < 4 ? left - 4 * v : 4;
      _mm512_mask_storeu_epi64(out + 16 * (i + 4 * v), static_cast<__mmask8>((1U << 2 * live) - 1),
                               s[v]);
    }
  }
}

}  // namespace veilform
