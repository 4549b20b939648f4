// Register tiles of the ways to multiply matrices of words, on operands in the first cache: what
// each could reach at best. Prints one line a tile: name, rows x vectors, multiply-adds a second.
// Built and run by gemm_candidates.py.
#include <immintrin.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace {

using u64 = std::uint64_t;
constexpr std::size_t kSteps = 128;
alignas(64) u64 left[kSteps * 64], right[kSteps * 128], result[64 * 8];

// A vector type, its loads, and how a step of the inner axis adds to a sum.
struct Zmm {
  using V = __m512i;
  static constexpr std::size_t kWords = 8;
  static V zero() { return _mm512_setzero_si512(); }
  static V load(const u64* at) { return _mm512_load_si512(at); }
  static void store(u64* at, V x) { _mm512_store_si512(at, x); }
  static V word(const u64* at) { return _mm512_set1_epi64(static_cast<long long>(*at)); }
  static V half(const u64* at) {
    return _mm512_set1_epi32(*reinterpret_cast<const int*>(at));
  }
};

struct Ymm {
  using V = __m256i;
  static constexpr std::size_t kWords = 4;
  static V zero() { return _mm256_setzero_si256(); }
  static V load(const u64* at) { return _mm256_load_si256(reinterpret_cast<const V*>(at)); }
  static void store(u64* at, V x) { _mm256_store_si256(reinterpret_cast<V*>(at), x); }
  static V word(const u64* at) { return _mm256_set1_epi64x(static_cast<long long>(*at)); }
  static V half(const u64* at) { return _mm256_set1_epi32(*reinterpret_cast<const int*>(at)); }
};

// Each has: kMacs multiply-adds (of what it multiplies) a vector and step; `add`.
struct Mullq : Zmm {
  static constexpr const char* kName = "vpmullq, vpaddq";
  static constexpr std::size_t kMacs = 8;
  static V spread(const u64* at) { return word(at); }
  static V add(V s, V a, V b) { return _mm512_add_epi64(s, _mm512_mullo_epi64(a, b)); }
};
struct Ifma : Mullq {
  static constexpr const char* kName = "vpmadd52luq";
  static V add(V s, V a, V b) { return _mm512_madd52lo_epu64(s, a, b); }
};
struct Mulld : Zmm {
  static constexpr const char* kName = "vpmulld, vpaddd";
  static constexpr std::size_t kMacs = 16;
  static V spread(const u64* at) { return half(at); }
  static V add(V s, V a, V b) { return _mm512_add_epi32(s, _mm512_mullo_epi32(a, b)); }
};
struct Dpbusd : Mulld {
  static constexpr const char* kName = "vpdpbusd";
  static constexpr std::size_t kMacs = 64;
  static V add(V s, V a, V b) { return _mm512_dpbusd_epi32(s, a, b); }
};
struct Dpwssd : Mulld {
  static constexpr const char* kName = "vpdpwssd";
  static constexpr std::size_t kMacs = 32;
  static V add(V s, V a, V b) { return _mm512_dpwssd_epi32(s, a, b); }
};
struct Fma : Mullq {
  static constexpr const char* kName = "vfmadd231pd";
  static V add(V s, V a, V b) {
    return _mm512_castpd_si512(_mm512_fmadd_pd(_mm512_castsi512_pd(a), _mm512_castsi512_pd(b),
                                               _mm512_castsi512_pd(s)));
  }
};
struct Maddwd : Ymm {
  static constexpr const char* kName = "vpmaddwd, vpaddd (AVX2)";
  static constexpr std::size_t kMacs = 16;
  static V spread(const u64* at) { return half(at); }
  static V add(V s, V a, V b) { return _mm256_add_epi32(s, _mm256_madd_epi16(a, b)); }
};
struct Fma2 : Ymm {
  static constexpr const char* kName = "vfmadd231pd (AVX2)";
  static constexpr std::size_t kMacs = 4;
  static V spread(const u64* at) { return word(at); }
  static V add(V s, V a, V b) {
    return _mm256_castpd_si256(_mm256_fmadd_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b),
                                               _mm256_castsi256_pd(s)));
  }
};

template <class T, std::size_t MR, std::size_t NV>
[[gnu::noinline]] void plain() {
  typename T::V sum[MR][NV];
  for (auto& row : sum)
    for (auto& s : row) s = T::zero();
  const u64 *a = left, *b = right;
  for (std::size_t k = 0; k < kSteps; ++k, a += MR, b += NV * T::kWords) {
    typename T::V bv[NV];
    for (std::size_t v = 0; v < NV; ++v) bv[v] = T::load(b + v * T::kWords);
    for (std::size_t r = 0; r < MR; ++r) {
      const typename T::V av = T::spread(a + r);
      for (std::size_t v = 0; v < NV; ++v) sum[r][v] = T::add(sum[r][v], av, bv[v]);
    }
  }
  for (std::size_t r = 0; r < MR; ++r)
    for (std::size_t v = 0; v < NV; ++v) T::store(result + (r * NV + v) * T::kWords, sum[r][v]);
}

// Two steps by one multiplication: native/gemm.hpp.
template <class T, std::size_t MR, std::size_t NV>
[[gnu::noinline]] void paired() {
  __m512i sum[MR][NV];
  for (auto& row : sum)
    for (auto& s : row) s = T::zero();
  const u64 *a = left, *b = right;
  for (std::size_t k = 0; k < kSteps; k += 2, a += 2 * MR, b += 2 * NV * T::kWords) {
    __m512i b0[NV], b1[NV];
    for (std::size_t v = 0; v < NV; ++v) b0[v] = T::load(b + v * T::kWords);
    for (std::size_t v = 0; v < NV; ++v) b1[v] = T::load(b + (NV + v) * T::kWords);
    for (std::size_t r = 0; r < MR; ++r) {
      const __m512i a0 = T::spread(a + r), a1 = T::spread(a + MR + r);
      for (std::size_t v = 0; v < NV; ++v)
        if constexpr (T::kMacs == 16)
          sum[r][v] = T::add(sum[r][v], _mm512_add_epi32(a0, b1[v]), _mm512_add_epi32(a1, b0[v]));
        else
          sum[r][v] = T::add(sum[r][v], _mm512_add_epi64(a0, b1[v]), _mm512_add_epi64(a1, b0[v]));
    }
  }
  for (std::size_t r = 0; r < MR; ++r)
    for (std::size_t v = 0; v < NV; ++v) T::store(result + (r * NV + v) * T::kWords, sum[r][v]);
}

// The 64-bit product from 32-bit words, one or two steps to a multiplication: native/avx2.cpp.
template <std::size_t MR, bool Paired>
[[gnu::noinline]] void halves() {
  __m256i whole[MR], cross[MR];
  for (std::size_t r = 0; r < MR; ++r) whole[r] = cross[r] = _mm256_setzero_si256();
  const u64 *a = left, *b = right;
  for (std::size_t k = 0; k < kSteps; k += 1 + Paired, a += (1 + Paired) * MR, b += 4 + 4 * Paired) {
    const __m256i b0 = Ymm::load(b), b1 = Ymm::load(b + 4), turned = _mm256_shuffle_epi32(b0, 0xB1);
    for (std::size_t r = 0; r < MR; ++r) {
      __m256i x = Ymm::word(a + r), y = b0, z = turned;
      if (Paired) {
        x = _mm256_add_epi64(x, b1);
        y = _mm256_add_epi64(Ymm::word(a + MR + r), b0);
        z = _mm256_shuffle_epi32(y, 0xB1);
      }
      whole[r] = _mm256_add_epi64(whole[r], _mm256_mul_epu32(x, y));
      cross[r] = _mm256_add_epi32(cross[r], _mm256_mullo_epi32(x, z));
    }
  }
  for (std::size_t r = 0; r < MR; ++r)
    Ymm::store(result + 4 * r, _mm256_xor_si256(whole[r], cross[r]));
}

void time(const char* name, const char* pairs, std::size_t mr, std::size_t nv, std::size_t macs,
          void (*tile)()) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int round = 0; round < 300; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < 20; ++i) tile();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / 20;
    if (seconds < best) best = seconds;
  }
  std::printf("%s%s\t%zux%zu\t%.4g\n", name, pairs, mr, nv,
              static_cast<double>(kSteps * mr * nv * macs) / best);
}

template <class T, std::size_t MR, std::size_t NV>
void time_plain() {
  time(T::kName, "", MR, NV, T::kMacs, plain<T, MR, NV>);
}
template <class T, std::size_t MR, std::size_t NV>
void time_paired() {
  time(T::kName, ", paired", MR, NV, T::kMacs, paired<T, MR, NV>);
}
template <class T>
void time_shapes() {
  time_plain<T, 8, 3>();
  time_plain<T, 12, 2>();
  time_plain<T, 6, 4>();
  time_plain<T, 5, 4>();
  time_plain<T, 4, 4>();
}
template <class T>
void time_paired_shapes() {
  time_paired<T, 8, 2>();
  time_paired<T, 10, 2>();
  time_paired<T, 12, 2>();
  time_paired<T, 7, 3>();
}

}  // namespace

int main() {
  // Also numbers, neither tiny nor infinite, when read as doubles.
  for (std::size_t i = 0; i < kSteps * 64; ++i) left[i] = 0x3ff0000000000000 | (i * 12345678901);
  for (std::size_t i = 0; i < kSteps * 128; ++i) right[i] = 0x3ff0000000000000 | (i * 2345678901);
  time_shapes<Mullq>();
  time_shapes<Ifma>();
  time_shapes<Mulld>();
  time_shapes<Dpbusd>();
  time_shapes<Dpwssd>();
  time_shapes<Fma>();
  time_paired_shapes<Mullq>();
  time_paired_shapes<Ifma>();
  time_paired_shapes<Mulld>();
  time("vpmuludq, vpmulld (AVX2)", "", 4, 1, 4, halves<4, false>);
  time("vpmuludq, vpmulld (AVX2)", ", paired", 4, 1, 4, halves<4, true>);
  time("vpmuludq, vpmulld (AVX2)", ", paired", 5, 1, 4, halves<5, true>);
  time_plain<Maddwd, 4, 3>();
  time_plain<Maddwd, 6, 2>();
  time_plain<Fma2, 4, 3>();
  time_plain<Fma2, 6, 2>();
}
