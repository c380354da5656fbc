// Convolutions of float32 images [B, H, W, C] with kernels [h, w, C, D] and the gradients of the
// kernels, for XLA:CPU; `convolution.py` says what each call is.
//
// In the frame of an image, see `frame.h`, the w * C numbers that a row of the kernel sees follow one
// another. So a convolution is, for each row of the kernel, a product of such rows with it, and the
// kernel's gradient one of their transpose with the output's. Both keep a tile of the result in
// vector registers: the outer products of Goto & van de Geijn (2008), without a copy of the image
// for each place of the kernel.
//
// Nothing depends on how many threads there are, sums neither: results are the same to the bit.

#include <cstring>

#include "frame.h"

namespace jaxcnn::convolution {
namespace {

// A tile is 1 to kWidest vectors wide. kPixels and kInputs: how many rows it has in registers, by
// its width, in a convolution and in a gradient.
#if defined(__AVX512F__) || defined(__ARM_NEON)  // 32 registers
constexpr int kWidest = 3, kPixels[] = {0, 16, 8, 8}, kInputs[] = {0, 16, 12, 8};
#else  // 16
constexpr int kWidest = 2, kPixels[] = {0, 8, 6}, kInputs[] = {0, 8, 6};
#endif

// What a task of a convolution, and a tile of a gradient, shall find in the core's caches.
constexpr int64_t kTaskBytes = 256 << 10, kTileBytes = 24 << 10;
constexpr int64_t kTilePixels = 64;  // no fewer a tile of a gradient, which is read and written
constexpr int64_t kPartsBytes = 4 << 20;  // of a gradient's sums

// The output's channels first ... first + count - 1, which a tile of `width` vectors computes.
struct Tile {
  int width;
  int64_t first, count;
};

std::vector<Tile> tiles_of(const Shape& s) {
  int widest = kWidest;
  while (widest > 1 && s.vectors() % widest) --widest;
  if (widest == 1) widest = kWidest;  // the last one is narrower
  std::vector<Tile> tiles;
  for (int64_t vector = 0; vector < s.vectors(); vector += tiles.back().width) {
    int width = std::min<int64_t>(widest, s.vectors() - vector);
    int64_t first = vector * kLanes;
    tiles.push_back({width, first, std::min<int64_t>(width * kLanes, s.outputs - first)});
  }
  return tiles;
}

// Where the packed kernel of a tile begins: for each input its numbers for the tile's channels.
int64_t packed_at(const Shape& s, const Tile& tile) {
  return tile.first * s.kernel_rows * s.inputs();
}

void pack(const Shape& s, const Tile& tile, const float* kernel, float* packed) {
  for (int64_t i = 0; i < s.kernel_rows * s.inputs(); ++i, packed += tile.width * kLanes) {
    std::copy_n(kernel + i * s.outputs + tile.first, tile.count, packed);
    std::fill_n(packed + tile.count, tile.width * kLanes - tile.count, 0.0f);
  }
}

// The tile's channels of the output of pixels first ... first + kPixels[Q] - 1, without those past
// the last. frame: what the pixels 0 ... pixels - 1 see; output: of these.
template <int Q>
void convolve_tile(const Shape& s, const Tile& tile, const float* frame, const float* packed,
                   int64_t first, int64_t pixels, float* output) {
  constexpr int P = kPixels[Q];
  int64_t line = s.line(), inputs = s.inputs();
  int64_t step = s.column_stride * s.channels, column = first % s.columns;
  const float* pixel[P];
  const float* at = frame + first / s.columns * s.row_stride * line + column * step;
  for (int p = 0; p < P; ++p) {  // those past the last stay at it
    pixel[p] = at;
    if (first + p + 1 < pixels) {
      bool ends = ++column == s.columns;
      at += ends ? s.row_stride * line - (s.columns - 1) * step : step;
      column = ends ? 0 : column;
    }
  }
  Vector sum[P][Q] = {};
  for (int64_t row = 0; row < s.kernel_rows; ++row)
    for (int64_t i = row * line; i < row * line + inputs; ++i, packed += Q * kLanes) {
      Vector weight[Q];
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) weight[q] = load(packed + q * kLanes);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        Vector value = all(pixel[p][i]);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) sum[p][q] += value * weight[q];
      }
    }
  output += first * s.outputs + tile.first;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p, output += s.outputs) {
    if (first + p >= pixels) return;
    if (tile.count == Q * kLanes) {
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) store(output + q * kLanes, sum[p][q]);
    } else {
      Vector row[Q];  // not the sums themselves: what has an address is not kept in registers
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) row[q] = sum[p][q];
      std::memcpy(output, row, tile.count * sizeof(float));
    }
  }
}

ffi::Error convolve(ffi::ThreadPool pool, Array x, Array kernel, Output y, Numbers strides,
                    Numbers before, Numbers apart) {
  const Shape s(x.dimensions(), kernel.dimensions(), y->dimensions(), strides, before, apart);
  if (s.is_empty()) return refused();
  const std::vector<Tile> tiles = tiles_of(s);
  std::vector<float> packed(s.kernel_rows * s.inputs() * s.vectors() * kLanes);
  in_parallel(pool, tiles.size(), [&](int64_t i) {
    pack(s, tiles[i], kernel.typed_data(), packed.data() + packed_at(s, tiles[i]));
  });
  int64_t most = s.rows_within(kTaskBytes), bands = (s.rows + most - 1) / most;
  in_parallel(pool, s.images * bands, [&, most, bands](int64_t task) {
    int64_t number = task / bands, first = task % bands * most;
    int64_t count = std::min(most, s.rows - first), pixels = count * s.columns;
    const float* frame = framed(s, s.image(x.typed_data(), number), first, count);
    float* output = y->typed_data() + (number * s.rows + first) * s.columns * s.outputs;
    for (const Tile& tile : tiles) {
      const float* weights = packed.data() + packed_at(s, tile);
      with_width<kWidest>(tile.width, [&](auto width) {
        for (int64_t p = 0; p < pixels; p += kPixels[width])
          convolve_tile<width>(s, tile, frame, weights, p, pixels, output);
      });
    }
  });
  return ffi::Error::Success();
}

// Adds to P rows of sums, of as many inputs that follow one another in the frame, what count rows of
// the output give for the tile's channels. stride: the numbers of a row of sums and of slopes.
template <int Q, int P>
void slope_tile(const Shape& s, const float* frame, const float* slopes, int64_t count,
                float* sums, int64_t stride) {
  int64_t step = s.column_stride * s.channels;
  Vector sum[P][Q];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) sum[p][q] = load(sums + p * stride + q * kLanes);
  for (int64_t row = 0; row < count; ++row, frame += s.row_stride * s.line()) {
    const float* value = frame;
    for (int64_t column = 0; column < s.columns; ++column, value += step, slopes += stride) {
      Vector slope[Q];
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) slope[q] = load(slopes + q * kLanes);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        Vector seen = all(value[p]);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) sum[p][q] += seen * slope[q];
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) store(sums + p * stride + q * kLanes, sum[p][q]);
}

// The same for all inputs of all rows of the kernel.
template <int Q>
void slope_tiles(const Shape& s, const float* frame, const float* slopes, int64_t count,
                 float* sums, int64_t stride) {
  constexpr int P = kInputs[Q];
  for (int64_t row = 0; row < s.kernel_rows; ++row, frame += s.line()) {
    int64_t i = 0;
    for (; i + P <= s.inputs(); i += P, sums += P * stride)
      slope_tile<Q, P>(s, frame + i, slopes, count, sums, stride);
    for (; i + 4 <= s.inputs(); i += 4, sums += 4 * stride)
      slope_tile<Q, 4>(s, frame + i, slopes, count, sums, stride);
    for (; i < s.inputs(); ++i, sums += stride)
      slope_tile<Q, 1>(s, frame + i, slopes, count, sums, stride);
  }
}

// Rows of `length` numbers as rows of whole vectors; the same where they are that already.
const float* whole_vectors(const float* rows, int64_t count, int64_t length, int64_t stride) {
  if (length == stride) return rows;
  float* wide = scratch(1, count * stride);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(rows + i * length, length, wide + i * stride);
    std::fill_n(wide + i * stride + length, stride - length, 0.0f);
  }
  return wide;
}

ffi::Error kernel_gradient(ffi::ThreadPool pool, Array x, Array gradient, Output kernel,
                           Numbers strides, Numbers before, Numbers apart) {
  const Shape s(x.dimensions(), kernel->dimensions(), gradient.dimensions(), strides, before,
                apart);
  if (s.is_empty()) return refused();
  const std::vector<Tile> tiles = tiles_of(s);
  int64_t inputs = s.kernel_rows * s.inputs(), stride = s.vectors() * kLanes;
  int64_t size = inputs * stride;
  // Each part of the batch has sums of its own. Few parts, of large kernels, are shared out further.
  int64_t parts = std::clamp<int64_t>(kPartsBytes / (size * sizeof(float)), 1,
                                      std::min(s.images, kMostParts));
  int64_t shares = std::min<int64_t>(tiles.size(), (kMostParts + parts - 1) / parts);
  int64_t most = std::max(s.rows_within(kTileBytes),
                          std::min(s.rows, (kTilePixels + s.columns - 1) / s.columns));
  std::vector<float> sums(parts * size);
  in_parallel(pool, parts * shares, [&, parts, shares, most, stride, size](int64_t task) {
    int64_t part = task / shares, share = task % shares;
    for (int64_t number = s.images * part / parts; number < s.images * (part + 1) / parts; ++number)
      for (int64_t first = 0; first < s.rows; first += most) {
        int64_t count = std::min(most, s.rows - first);
        const float* frame = framed(s, s.image(x.typed_data(), number), first, count);
        const float* slopes = whole_vectors(
            gradient.typed_data() + (number * s.rows + first) * s.columns * s.outputs,
            count * s.columns, s.outputs, stride);
        for (size_t i = share; i < tiles.size(); i += shares)
          with_width<kWidest>(tiles[i].width, [&](auto width) {
            float* own = sums.data() + part * size + tiles[i].first;
            slope_tiles<width>(s, frame, slopes + tiles[i].first, count, own, stride);
          });
      }
  });
  in_parallel(pool, s.kernel_rows, [&, parts, size, stride](int64_t row) {
    for (int64_t i = row * s.inputs(); i < (row + 1) * s.inputs(); ++i) {
      float* total = sums.data() + i * stride;
      for (int64_t part = 1; part < parts; ++part)
        for (int64_t j = 0; j < s.outputs; ++j) total[j] += total[part * size + j];
      std::copy_n(total, s.outputs, kernel->typed_data() + i * s.outputs);
    }
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcnn::convolution

JAXCNN_CALL(jaxcnn_convolve, jaxcnn::convolution::convolve);
JAXCNN_CALL(jaxcnn_kernel_gradient, jaxcnn::convolution::kernel_gradient);
