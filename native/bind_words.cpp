// Bindings of words as bytes, of words drawn from AES-CTR, and of checksums. As in bindings.cpp,
// every size is checked again here.
#include "bind_words.hpp"

#include <nanobind/ndarray.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>

#include "cpu.hpp"
#include "ctr.hpp"
#include "pool.hpp"

namespace nb = nanobind;

namespace veilform {
namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void check(std::size_t words, std::size_t bytes, unsigned bits) {
  if (bits < 1 || bits > 64 || bytes != bytes_of_words(words, bits))
    throw nb::value_error("words and bytes differ in size");
}

// Fewer pieces for a thread do not pay for waking it.
constexpr std::size_t kPiecesEach = 4;

// function(first, end) for each piece of `count` words.
template <class Function>
void pieces(std::size_t threads, std::size_t count, const Function& function) {
  nb::gil_scoped_release unlocked;
  const std::size_t each = kPiecesEach * kWordPiece, useful = (count + each - 1) / each;
  parallel_for((count + kWordPiece - 1) / kWordPiece, std::min(threads, useful),
               [&](std::size_t piece) {
                 function(piece * kWordPiece, std::min(count, (piece + 1) * kWordPiece));
               });
}

void to_bytes(std::size_t threads, In<u64> words, unsigned bits, Out<u8> out) {
  check(words.size(), out.size(), bits);
  const u64* from = words.data();
  u8* to = out.data();
  pieces(threads, words.size(), [=](std::size_t first, std::size_t end) {
    words_to_bytes(from + first, end - first, bits, to + bytes_of_words(first, bits));
  });
}

bool from_bytes(std::size_t threads, In<u8> bytes, unsigned bits, Out<u64> out) {
  check(out.size(), bytes.size(), bits);
  const u8* from = bytes.data();
  u64* to = out.data();
  std::atomic<u64> seen{0};
  pieces(threads, out.size(), [&](std::size_t first, std::size_t end) {
    seen |= bytes_to_words(from + bytes_of_words(first, bits), end - first, bits, to + first);
  });
  return (seen & ~mask_of(bits)) == 0;
}

void draw(int path, std::size_t threads, nb::bytes key, unsigned bits, Out<u64> out) {
  const CtrFn ctr = ctr_fn(path);
  if (ctr == nullptr) throw nb::value_error("this kernel path has no AES instructions");
  if (key.size() != 16 || bits < 1 || bits > 64) throw nb::value_error("a wrong key or width");
  const u8* secret = reinterpret_cast<const u8*>(key.c_str());
  u64* to = out.data();
  pieces(threads, out.size(), [=](std::size_t first, std::size_t end) {
    u8* scratch = static_cast<u8*>(scratch_bytes(kDrawScratch));
    if (scratch == nullptr) std::terminate();
    draw_words(ctr, secret, bits, first, end, to, scratch);
  });
}

std::uint32_t crc32c(int path, In<u8> data, std::uint32_t before) {
  const CrcFn crc = crc_fn(path);
  nb::gil_scoped_release unlocked;
  return crc(before, data.data(), data.size());
}

// Has the pages of mapped bytes in memory, so that touching them cannot end the process. Returns 0,
// or the error's number; 0 too where the system cannot do it.
int bring_in(In<u8> data) {
#ifdef __linux__
#ifndef MADV_POPULATE_READ
  constexpr int MADV_POPULATE_READ = 22;  // since Linux 5.14
#endif
  nb::gil_scoped_release unlocked;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(data.data());
  const std::uintptr_t first = start / page * page;
  int result = 0;
  do {
    result =
        madvise(reinterpret_cast<void*>(first), start + data.size() - first, MADV_POPULATE_READ);
  } while (result != 0 && errno == EINTR);
  return result == 0 || errno == EINVAL ? 0 : errno;
#else
  (void)data;
  return 0;
#endif
}

}  // namespace

void bind_words(nb::module_& m) {
  m.def("to_bytes", &to_bytes);
  m.def("from_bytes", &from_bytes);
  m.def("draw", &draw);
  m.def("crc32c", &crc32c);
  m.def("bring_in", &bring_in);
}

}  // namespace veilform
