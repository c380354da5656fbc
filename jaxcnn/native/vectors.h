// The numbers that one instruction takes, and the threads of XLA.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace jaxcnn {

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;
using Output = ffi::Result<Array>;

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else  // NEON, SSE
constexpr int kLanes = 4;
#endif

// `may_alias`, and aligned as floats are: it is read from and written to arrays of those.
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector all(float value) { return value - Vector{}; }

// Calls work(0) ... work(count - 1), each once, on this thread and those of XLA that are free.
template <typename Work>
void in_parallel(ffi::ThreadPool& pool, int64_t count, Work work) noexcept {
  struct Shared {
    const int64_t count;
    const Work work;
    std::atomic<int64_t> next{0}, done{0};
    Shared(int64_t count, Work work) : count(count), work(work) {}
    void run() {
      for (int64_t i; (i = next.fetch_add(1)) < count; done.fetch_add(1)) work(i);
    }
  };
  // Kept by the helpers too: one that comes late finds nothing to do, but has to find that out.
  auto shared = std::make_shared<Shared>(count, work);
  int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([shared] { shared->run(); });
  shared->run();
  while (shared->done.load() < count) std::this_thread::yield();
}

// Calls call(std::integral_constant<int, width>), for a width from 1 to Width: the compiler knows it.
template <int Width, typename Call>
void with_width(int width, Call call) {
  if (width == Width) return call(std::integral_constant<int, Width>());
  if constexpr (Width > 1) with_width<Width - 1>(width, call);
}

// Sums are of this many parts at most. Not of as many as there are threads: so the result is the same
// to the bit on any machine.
constexpr int64_t kMostParts = 16;

// The sum of so many parts, one after the other.
inline void add_up(const float* parts, int64_t count, int64_t size, float* total) {
  std::copy_n(parts, size, total);
  for (int64_t part = 1; part < count; ++part)
    for (int64_t i = 0; i < size; ++i) total[i] += parts[part * size + i];
}

}  // namespace jaxcnn
