// A word is written and read as 8 bytes at its place, wherever 8 bytes are left: what a store
// writes too much the next one overwrites. That runs at the speed of memory on a plain 64-bit CPU.
#include "words.hpp"

namespace veilform {
namespace {

u64 little_endian(u64 x) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return __builtin_bswap64(x);
#else
  return x;
#endif
}

u64 load(const u8* from, std::size_t bytes = 8) {
  u64 word = 0;
  std::memcpy(&word, from, bytes);
  return little_endian(word);
}

void store(u64 word, u8* to, std::size_t bytes = 8) {
  word = little_endian(word);
  std::memcpy(to, &word, bytes);
}

// How many of `count` words of W bytes have 8 bytes from their first one on.
template <unsigned W>
constexpr std::size_t wide(std::size_t count) {
  constexpr std::size_t last = (8 - W + W - 1) / W;
  return count > last ? count - last : 0;
}

template <unsigned W>
void narrow(const u64* in, std::size_t count, u64 mask, u8* out) {
  const std::size_t whole = wide<W>(count);
  std::size_t i = 0;
  for (; i < whole; ++i) store(in[i] & mask, out + W * i);
  for (; i < count; ++i) store(in[i] & mask, out + W * i, W);
}

template <unsigned W>
u64 widen(const u8* in, std::size_t count, u64 mask, u64* out) {
  const std::size_t whole = wide<W>(count);
  const u64 here = mask_of(8 * W);
  u64 seen = 0;
  std::size_t i = 0;
  for (; i < whole; ++i) {
    const u64 word = load(in + W * i) & here;
    seen |= word;
    out[i] = word & mask;
  }
  for (; i < count; ++i) {
    const u64 word = load(in + W * i, W);
    seen |= word;
    out[i] = word & mask;
  }
  return seen;
}

// Eight bits a byte, the first word's bit highest.
void bits_of(const u64* in, std::size_t count, u8* out) {
  for (std::size_t i = 0; i < count; i += 8) {
    const std::size_t live = count - i < 8 ? count - i : 8;
    unsigned byte = 0;
    for (std::size_t j = 0; j < live; ++j) byte |= static_cast<unsigned>(in[i + j] & 1) << (7 - j);
    *out++ = static_cast<u8>(byte);
  }
}

void of_bits(const u8* in, std::size_t count, u64* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8, ++in)
    for (unsigned j = 0; j < 8; ++j) out[i + j] = *in >> (7 - j) & 1;
  for (unsigned j = 0; i < count; ++i, ++j) out[i] = *in >> (7 - j) & 1;
}

}  // namespace

void words_to_bytes(const u64* in, std::size_t count, unsigned bits, u8* out) {
  if (bits == 1) return bits_of(in, count, out);
  const u64 mask = mask_of(bits);
  switch (width_of(bits)) {
    case 1: return narrow<1>(in, count, mask, out);
    case 2: return narrow<2>(in, count, mask, out);
    case 3: return narrow<3>(in, count, mask, out);
    case 4: return narrow<4>(in, count, mask, out);
    case 5: return narrow<5>(in, count, mask, out);
    case 6: return narrow<6>(in, count, mask, out);
    case 7: return narrow<7>(in, count, mask, out);
    default: return narrow<8>(in, count, mask, out);
  }
}

u64 bytes_to_words(const u8* in, std::size_t count, unsigned bits, u64* out) {
  if (bits == 1) return of_bits(in, count, out), 0;
  const u64 mask = mask_of(bits);
  switch (width_of(bits)) {
    case 1: return widen<1>(in, count, mask, out);
    case 2: return widen<2>(in, count, mask, out);
    case 3: return widen<3>(in, count, mask, out);
    case 4: return widen<4>(in, count, mask, out);
    case 5: return widen<5>(in, count, mask, out);
    case 6: return widen<6>(in, count, mask, out);
    case 7: return widen<7>(in, count, mask, out);
    default: return widen<8>(in, count, mask, out);
  }
}

}  // namespace veilform
