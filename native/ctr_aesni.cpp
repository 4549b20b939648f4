// Counter mode with AES-NI: eight blocks at a time keep the pipeline full.
#include <immintrin.h>

#include "aes.hpp"
#include "ctr.hpp"

namespace veilform {
namespace {

__m128i counter(u64 block) {
  return _mm_set_epi64x(static_cast<long long>(__builtin_bswap64(block)), 0);
}

template <std::size_t N>
void encrypt(const AesKey& key, u64 block, u8* out) {
  __m128i s[N];
  for (std::size_t i = 0; i < N; ++i) s[i] = _mm_xor_si128(counter(block + i), key.round[0]);
  for (int r = 1; r < 10; ++r)
    for (std::size_t i = 0; i < N; ++i) s[i] = _mm_aesenc_si128(s[i], key.round[r]);
  for (std::size_t i = 0; i < N; ++i)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * i),
                     _mm_aesenclast_si128(s[i], key.round[10]));
}

}  // namespace

void ctr_aesni(const u8* bytes, u64 first, std::size_t count, u8* out) {
  const AesKey key = aes_key(bytes);
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) encrypt<8>(key, first + i, out + 16 * i);
  for (; i < count; ++i) encrypt<1>(key, first + i, out + 16 * i);
}

}  // namespace veilform
