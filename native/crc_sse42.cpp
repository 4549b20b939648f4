// CRC-32C by the instruction of SSE4.2.
#include <nmmintrin.h>

#include <cstring>

#include "crc.hpp"

namespace veilform {
namespace {

u64 load(const u8* from) {
  u64 word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// As many whole triples of lanes of Lane bytes as there are.
template <std::size_t Lane>
u64 triples(u64 state, const u8*& data, std::size_t& count) {
  static const CrcShift shift(Lane);
  for (; count >= 3 * Lane; count -= 3 * Lane, data += 3 * Lane) {
    u64 second = 0, third = 0;
    for (std::size_t i = 0; i < Lane; i += 8) {
      state = _mm_crc32_u64(state, load(data + i));
      second = _mm_crc32_u64(second, load(data + Lane + i));
      third = _mm_crc32_u64(third, load(data + 2 * Lane + i));
    }
    state = shift(static_cast<std::uint32_t>(state)) ^ second;
    state = shift(static_cast<std::uint32_t>(state)) ^ third;
  }
  return state;
}

}  // namespace

std::uint32_t crc_sse42(std::uint32_t crc, const u8* data, std::size_t count) {
  u64 state = static_cast<std::uint32_t>(~crc);
  state = triples<4096>(state, data, count);
  state = triples<256>(state, data, count);
  for (; count >= 8; count -= 8, data += 8) state = _mm_crc32_u64(state, load(data));
  for (; count > 0; --count) state = _mm_crc32_u8(static_cast<std::uint32_t>(state), *data++);
  return ~static_cast<std::uint32_t>(state);
}

}  // namespace veilform
