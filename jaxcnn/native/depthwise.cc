// Convolutions of each channel by itself, float32 images [B, H, W, C] with kernels [h, w, 1, C], and
// the gradients of the kernels; see `convolution.py`.

#include <cstring>

#include "frame.h"

namespace jaxcnn::depthwise {
namespace {

constexpr int kPixels = 8;  // of the output that are in registers at once
constexpr int kWidest = 7;  // part of a row of a kernel's gradient
constexpr int64_t kTaskBytes = 512 << 10;

// Calls call(first, width) for vectors of the channels: kLanes of them, then one by one.
template <typename Call>
void for_vectors(int64_t channels, Call call) {
  int64_t first = 0;
  for (; first + kLanes <= channels; first += kLanes) call(first, Vector{});
  for (; first < channels; ++first) call(first, 0.0f);
}

template <typename Number>
Number load_as(const float* from) {
  Number value;
  std::memcpy(&value, from, sizeof(Number));
  return value;
}

// A row of the output, in the channels that a Number holds.
template <typename Number>
void convolve_row(const Shape& s, const float* frame, const float* kernel, float* output) {
  int64_t C = s.channels, step = s.column_stride * C;
  for (int64_t first = 0; first < s.columns; first += kPixels) {
    int64_t count = std::min<int64_t>(kPixels, s.columns - first);
    Number sum[kPixels] = {};
    for (int64_t row = 0; row < s.kernel_rows; ++row)
      for (int64_t column = 0; column < s.kernel_columns; ++column) {
        Number weight = load_as<Number>(kernel + (row * s.kernel_columns + column) * C);
        const float* seen = frame + row * s.line() + column * C + first * step;
        if (count == kPixels) {
#pragma GCC unroll 8
          for (int p = 0; p < kPixels; ++p) sum[p] += load_as<Number>(seen + p * step) * weight;
        } else {
          for (int p = 0; p < count; ++p) sum[p] += load_as<Number>(seen + p * step) * weight;
        }
      }
    for (int p = 0; p < count; ++p)
      std::memcpy(output + (first + p) * C, &sum[p], sizeof(Number));
  }
}

ffi::Error convolve(ffi::ThreadPool pool, Array x, Array kernel, Output y, Numbers strides,
                    Numbers before, Numbers apart) {
  const Shape s(x.dimensions(), kernel.dimensions(), y->dimensions(), strides, before, apart);
  if (s.is_empty()) return refused();
  int64_t most = s.rows_within(kTaskBytes), bands = (s.rows + most - 1) / most;
  in_parallel(pool, s.images * bands, [&, most, bands](int64_t task) {
    int64_t number = task / bands, first = task % bands * most;
    int64_t count = std::min(most, s.rows - first);
    const float* frame = framed(s, s.image(x.typed_data(), number), first, count);
    float* output = y->typed_data() + (number * s.rows + first) * s.columns * s.channels;
    for (int64_t row = 0; row < count; ++row)
      for_vectors(s.channels, [&](int64_t channel, auto number) {
        convolve_row<decltype(number)>(s, frame + row * s.row_stride * s.line() + channel,
                                       kernel.typed_data() + channel,
                                       output + row * s.columns * s.channels + channel);
      });
  });
  return ffi::Error::Success();
}

// Adds to sums [W, C], of a row of a kernel W wide, what a row of the output gives.
template <typename Number, int W>
void slope_row(const Shape& s, const float* frame, const float* slopes, float* sums) {
  int64_t C = s.channels, step = s.column_stride * C;
  Number sum[W] = {};
  for (int64_t column = 0; column < s.columns; ++column, frame += step, slopes += C) {
    Number slope = load_as<Number>(slopes);
#pragma GCC unroll 7
    for (int w = 0; w < W; ++w) sum[w] += load_as<Number>(frame + w * C) * slope;
  }
#pragma GCC unroll 7
  for (int w = 0; w < W; ++w) {
    Number total = load_as<Number>(sums + w * C) + sum[w];
    std::memcpy(sums + w * C, &total, sizeof(Number));
  }
}

template <typename Number>
void slope_rows(const Shape& s, const float* frame, const float* slopes, float* sums) {
  for (int64_t row = 0; row < s.kernel_rows; ++row, frame += s.line())
    for (int64_t first = 0; first < s.kernel_columns; first += kWidest)
      with_width<kWidest>(std::min<int64_t>(kWidest, s.kernel_columns - first), [&](auto width) {
        int64_t at = first * s.channels;
        float* own = sums + row * s.inputs() + at;
        slope_row<Number, width>(s, frame + at, slopes, own);
      });
}

ffi::Error kernel_gradient(ffi::ThreadPool pool, Array x, Array gradient, Output kernel,
                           Numbers strides, Numbers before, Numbers apart) {
  const Shape s(x.dimensions(), kernel->dimensions(), gradient.dimensions(), strides, before,
                apart);
  if (s.is_empty()) return refused();
  int64_t size = s.kernel_rows * s.inputs(), parts = std::min(s.images, kMostParts);
  int64_t most = s.rows_within(kTaskBytes);
  std::vector<float> sums(parts * size);
  in_parallel(pool, parts, [&, size, parts, most](int64_t part) {
    float* own = sums.data() + part * size;
    for (int64_t number = s.images * part / parts; number < s.images * (part + 1) / parts; ++number)
      for (int64_t first = 0; first < s.rows; first += most) {
        int64_t count = std::min(most, s.rows - first);
        const float* frame = framed(s, s.image(x.typed_data(), number), first, count);
        const float* slopes =
            gradient.typed_data() + (number * s.rows + first) * s.columns * s.channels;
        for (int64_t row = 0; row < count; ++row)
          for_vectors(s.channels, [&](int64_t channel, auto number) {
            slope_rows<decltype(number)>(s, frame + row * s.row_stride * s.line() + channel,
                                         slopes + row * s.columns * s.channels + channel,
                                         own + channel);
          });
      }
  });
  add_up(sums.data(), parts, size, kernel->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcnn::depthwise

JAXCNN_CALL(jaxcnn_depthwise, jaxcnn::depthwise::convolve);
JAXCNN_CALL(jaxcnn_depthwise_gradient, jaxcnn::depthwise::kernel_gradient);
