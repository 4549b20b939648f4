#include "crc.hpp"

namespace veilform {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // bits reversed

std::uint32_t next(const CrcTables& t, std::uint32_t state, unsigned byte) {
  return t.at[0][(state ^ byte) & 255] ^ state >> 8;
}

}  // namespace

CrcTables::CrcTables() {
  for (std::uint32_t x = 0; x < 256; ++x) {
    std::uint32_t state = x;
    for (int bit = 0; bit < 8; ++bit) state = state >> 1 ^ (state & 1 ? kPolynomial : 0);
    at[0][x] = state;
  }
  for (int j = 1; j < 8; ++j)
    for (int x = 0; x < 256; ++x) at[j][x] = at[0][at[j - 1][x] & 255] ^ at[j - 1][x] >> 8;
}

const CrcTables& crc_tables() {
  static const CrcTables tables;
  return tables;
}

CrcShift::CrcShift(std::size_t bytes) {
  const CrcTables& t = crc_tables();
  for (unsigned j = 0; j < 4; ++j) {
    at_[j][0] = 0;
    for (unsigned x = 1; x < 256; ++x) {
      const unsigned rest = x & (x - 1);
      if (rest != 0) {
        at_[j][x] = at_[j][rest] ^ at_[j][x ^ rest];
        continue;
      }
      std::uint32_t state = static_cast<std::uint32_t>(x) << 8 * j;
      for (std::size_t i = 0; i < bytes; ++i) state = next(t, state, 0);
      at_[j][x] = state;
    }
  }
}

std::uint32_t crc_portable(std::uint32_t crc, const u8* data, std::size_t count) {
  const CrcTables& t = crc_tables();
  std::uint32_t state = ~crc;
  for (; count >= 8; count -= 8, data += 8) {
    const std::uint32_t low = state ^ (data[0] | data[1] << 8 | data[2] << 16 |
                                       static_cast<std::uint32_t>(data[3]) << 24);
    state = t.at[7][low & 255] ^ t.at[6][low >> 8 & 255] ^ t.at[5][low >> 16 & 255] ^
            t.at[4][low >> 24] ^ t.at[3][data[4]] ^ t.at[2][data[5]] ^ t.at[1][data[6]] ^
            t.at[0][data[7]];
  }
  for (; count > 0; --count) state = next(t, state, *data++);
  return ~state;
}

}  // namespace veilform
