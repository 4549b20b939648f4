// AES-128 in counter mode, and words of any width drawn from it.
#pragma once

#include "words.hpp"

namespace veilform {

// Write `count` blocks of the stream from block `first` on. The counter is the block's number, 128
// bits big-endian.
using CtrFn = void (*)(const u8* key, u64 first, std::size_t count, u8* out);

#ifdef VEILFORM_X86
void ctr_aesni(const u8* key, u64 first, std::size_t count, u8* out);
void ctr_vaes(const u8* key, u64 first, std::size_t count, u8* out);
#endif

// Bytes of scratch that draw_words works in.
constexpr std::size_t kDrawScratch = 8 * kWordPiece + 16;

// Words first .. end of a stream read as words of `bits` bits; `first` is a multiple of kWordPiece
// and there are at most that many. The stream goes through the cache only.
inline void draw_words(CtrFn ctr, const u8* key, unsigned bits, std::size_t first, std::size_t end,
                       u64* out, u8* scratch) {
  const std::size_t at = bytes_of_words(first, bits), size = bytes_of_words(end - first, bits);
  ctr(key, at / 16, (size + 15) / 16, scratch);
  bytes_to_words(scratch, end - first, bits, out + first);
}

}  // namespace veilform
