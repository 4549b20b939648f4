// CRC-32C (Castagnoli), the checksum of a stock's blocks: one number, whatever computes it.
//
// On 64-bit x86 the CPU has an instruction for it. It takes three cycles and starts every cycle, so
// three neighbouring lanes are done at once, each from zero, and a lane's number is then moved over
// the bytes behind it: moving it over N bytes of zeros is linear, four look-ups.
#pragma once

#include <cstdint>

#include "kernels.hpp"

namespace veilform {

// `crc` is that of all bytes before, 0 for none.
using CrcFn = std::uint32_t (*)(std::uint32_t crc, const u8* data, std::size_t count);

std::uint32_t crc_portable(std::uint32_t crc, const u8* data, std::size_t count);
std::uint32_t crc_sse42(std::uint32_t crc, const u8* data, std::size_t count);

// Eight bytes a step: at[j][x] is what the byte x leaves once j more bytes have passed.
struct CrcTables {
  std::uint32_t at[8][256];
  CrcTables();
};
const CrcTables& crc_tables();

// A CRC's state moved over a fixed number of zero bytes.
class CrcShift {
 public:
  explicit CrcShift(std::size_t bytes);
  std::uint32_t operator()(std::uint32_t x) const {
    return at_[0][x & 255] ^ at_[1][x >> 8 & 255] ^ at_[2][x >> 16 & 255] ^ at_[3][x >> 24];
  }

 private:
  std::uint32_t at_[4][256];
};

}  // namespace veilform
