// Arrays of 64-bit words as bytes: 1 to 8 little-endian bytes a word, or eight single bits a byte.
//
// Both directions work on one piece of an array, in one pass, and touch no byte beyond it, so that
// pieces can be shared out over threads. A piece of single bits holds whole bytes of them, but for
// the last piece.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace veilform {

// Words of a piece: 128 KiB of them, and a whole number of AES blocks in bytes of any width.
constexpr std::size_t kWordPiece = std::size_t{1} << 14;

constexpr unsigned width_of(unsigned bits) { return (bits + 7) / 8; }

constexpr u64 mask_of(unsigned bits) { return bits == 64 ? ~u64{0} : (u64{1} << bits) - 1; }

// Bytes of `count` words of `bits` bits.
constexpr std::size_t bytes_of_words(std::size_t count, unsigned bits) {
  return bits == 1 ? (count + 7) / 8 : count * width_of(bits);
}

// The lowest `bits` bits of each word. `out` has bytes_of_words(count, bits) bytes.
void words_to_bytes(const u64* in, std::size_t count, unsigned bits, u8* out);

// Each word & mask_of(bits). Returns all words or'ed, before the mask: what lies beyond shows in
// it.
u64 bytes_to_words(const u8* in, std::size_t count, unsigned bits, u64* out);

}  // namespace veilform
