// What convolutions share: their shapes, and the part of an image that a task needs, copied into a
// frame of zeros that stays in the cache of its core.

#pragma once

#include <vector>

#include "vectors.h"

namespace jaxcnn {

using Numbers = ffi::Span<const int64_t>;

struct Shape {
  int64_t images, height, width, channels;  // of the input
  int64_t rows, columns, outputs;           // of the output
  int64_t kernel_rows, kernel_columns;
  int64_t row_stride, column_stride;
  int64_t above, left;               // zeros above and left of the image
  int64_t row_apart, column_apart;   // from one of the image to the next, with zeros between

  Shape(ffi::AnyBuffer::Dimensions x, ffi::AnyBuffer::Dimensions kernel,
        ffi::AnyBuffer::Dimensions y, Numbers strides, Numbers before, Numbers apart)
      : images(x[0]), height(x[1]), width(x[2]), channels(x[3]),
        rows(y[1]), columns(y[2]), outputs(y[3]),
        kernel_rows(kernel[0]), kernel_columns(kernel[1]),
        row_stride(strides[0]), column_stride(strides[1]),
        above(before[0]), left(before[1]), row_apart(apart[0]), column_apart(apart[1]) {}

  bool is_empty() const { return std::min({images, rows, columns, channels, outputs}) < 1; }
  int64_t inputs() const { return kernel_columns * channels; }  // that a row of the kernel sees
  int64_t vectors() const { return (outputs + kLanes - 1) / kLanes; }
  int64_t framed_rows(int64_t count) const { return (count - 1) * row_stride + kernel_rows; }
  int64_t framed_width() const { return (columns - 1) * column_stride + kernel_columns; }
  int64_t line() const { return framed_width() * channels; }  // the numbers of a frame's row
  const float* image(const float* images, int64_t number) const {
    return images + number * height * width * channels;
  }
  // How many rows of the output need no more memory than this for all that they see and are.
  int64_t rows_within(int64_t bytes) const {
    int64_t of_row = (line() * row_stride + columns * outputs) * sizeof(float);
    return std::clamp<int64_t>(bytes / of_row, 1, rows);
  }
};

// This thread's memory for so many numbers; which: two can be in use at once.
inline float* scratch(int which, int64_t size) {
  thread_local std::vector<float> kept[2];
  if (kept[which].size() < static_cast<size_t>(size)) kept[which].resize(size);
  return kept[which].data();
}

// What the output's rows first ... first + count - 1 see of an image, with zeros around it.
inline const float* framed(const Shape& s, const float* image, int64_t first, int64_t count) {
  int64_t rows = s.framed_rows(count), line = s.line(), C = s.channels;
  int64_t apart = s.column_apart;
  int64_t columns = std::min((s.framed_width() - s.left + apart - 1) / apart, s.width);
  float* frame = scratch(0, rows * line);
  for (int64_t i = 0; i < rows; ++i) {
    float* to = frame + i * line;
    int64_t at = first * s.row_stride + i - s.above, row = at / s.row_apart;
    if (at < 0 || at % s.row_apart || row >= s.height) {
      std::fill_n(to, line, 0.0f);
      continue;
    }
    const float* from = image + row * s.width * C;
    if (apart == 1) {
      std::fill_n(to, s.left * C, 0.0f);
      std::copy_n(from, columns * C, to + s.left * C);
      std::fill_n(to + (s.left + columns) * C, line - (s.left + columns) * C, 0.0f);
    } else {
      std::fill_n(to, line, 0.0f);
      for (int64_t k = 0; k < columns; ++k)
        std::copy_n(from + k * C, C, to + (s.left + k * apart) * C);
    }
  }
  return frame;
}

// Zero pixels are XLA's business; here they would divide by zero.
inline ffi::Error refused() { return ffi::Error::InvalidArgument("jaxcnn: an array is empty"); }

}  // namespace jaxcnn

// Defines the call `name` of XLA: function(pool, array, array, result, strides, before, apart).
#define JAXCNN_CALL(name, function)                                   \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                       \
                                xla::ffi::Ffi::Bind()                 \
                                    .Ctx<xla::ffi::ThreadPool>()      \
                                    .Arg<jaxcnn::Array>()             \
                                    .Arg<jaxcnn::Array>()             \
                                    .Ret<jaxcnn::Array>()             \
                                    .Attr<jaxcnn::Numbers>("strides") \
                                    .Attr<jaxcnn::Numbers>("before")  \
                                    .Attr<jaxcnn::Numbers>("apart"))
