// Sums over all pixels of each channel, which batch normalisation is made of; see `batch_norm.py`.

#include <vector>

#include "vectors.h"

namespace jaxcnn::channel_sums {
namespace {

// Sums of many numbers are sums of sums of few: rounding errors grow with their depth, not length.
constexpr int64_t kRows = 256;
constexpr int kAtOnce = 4;  // rows with sums of their own: additions to one wait for each other

// Adds to sums those of rows [count, channels] of a, and of a * (b - shift), for the kLanes channels
// from `first` on.
void add_vector(const float* a, const float* b, const float* shift, int64_t count,
                int64_t channels, int64_t first, float* sums) {
  Vector own[kAtOnce] = {}, product[kAtOnce] = {}, shifted = load(shift + first);
  int64_t row = 0;
  a += first, b += first;
  for (; row + kAtOnce <= count; row += kAtOnce)
#pragma GCC unroll 4
    for (int i = 0; i < kAtOnce; ++i, a += channels, b += channels) {
      Vector value = load(a);
      own[i] += value;
      product[i] += value * (load(b) - shifted);
    }
  for (; row < count; ++row, a += channels, b += channels) {
    own[0] += load(a);
    product[0] += load(a) * (load(b) - shifted);
  }
  Vector own_sum = (own[0] + own[1]) + (own[2] + own[3]);
  Vector product_sum = (product[0] + product[1]) + (product[2] + product[3]);
  store(sums + first, load(sums + first) + own_sum);
  store(sums + channels + first, load(sums + channels + first) + product_sum);
}

// The same for one channel.
void add_channel(const float* a, const float* b, float shift, int64_t count, int64_t channels,
                 int64_t first, float* sums) {
  float own = 0, product = 0;
  for (int64_t row = 0; row < count; ++row) {
    float value = a[row * channels + first];
    own += value;
    product += value * (b[row * channels + first] - shift);
  }
  sums[first] += own;
  sums[channels + first] += product;
}

ffi::Error sums_of_channels(ffi::ThreadPool pool, Array a, Array b, Array shift, Output result) {
  int64_t channels = shift.dimensions()[0], size = 2 * channels;
  int64_t rows = a.element_count() / std::max<int64_t>(1, channels);
  int64_t parts = std::clamp<int64_t>(rows / kRows, 1, kMostParts);
  std::vector<float> sums(parts * size);
  in_parallel(pool, parts, [&, channels, size, rows, parts](int64_t part) {
    int64_t last = rows * (part + 1) / parts;
    for (int64_t row = rows * part / parts; row < last; row += kRows) {
      const float* of_a = a.typed_data() + row * channels;
      const float* of_b = b.typed_data() + row * channels;
      int64_t count = std::min(kRows, last - row), first = 0;
      float* own = sums.data() + part * size;
      for (; first + kLanes <= channels; first += kLanes)
        add_vector(of_a, of_b, shift.typed_data(), count, channels, first, own);
      for (; first < channels; ++first)
        add_channel(of_a, of_b, shift.typed_data()[first], count, channels, first, own);
    }
  });
  add_up(sums.data(), parts, size, result->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcnn::channel_sums

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcnn_channel_sums, jaxcnn::channel_sums::sums_of_channels,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<jaxcnn::Array>()
                                  .Arg<jaxcnn::Array>()
                                  .Arg<jaxcnn::Array>()
                                  .Ret<jaxcnn::Array>());
