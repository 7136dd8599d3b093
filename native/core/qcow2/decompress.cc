// zlib and zstd behind decompress.hh.
#include "qcow2/decompress.hh"

#include <zlib.h>
#include <zstd.h>

#include <string>

namespace cairn::qcow2 {

namespace {

// qcow2 writes raw deflate streams (hence negative) with a window of 4 KiB.
constexpr int kWindowBits = -12;
// No window is longer than a cluster (21 bits) in what the writers make; zstd takes that much
// memory on the input's word alone.
constexpr int kMaxWindowLog = 23;

}  // namespace

struct Decompressor::State {
  z_stream zlib{};
  bool zlib_ready = false;
  ZSTD_DCtx* zstd = nullptr;
};

Decompressor::Decompressor() : state_(std::make_unique<State>()) {}

Decompressor::~Decompressor() {
  if (state_->zlib_ready) inflateEnd(&state_->zlib);
  ZSTD_freeDCtx(state_->zstd);
}

Status Decompressor::decompress(Compression compression, ByteSpan from, MutableByteSpan into) {
  CAIRN_ASSERT(from.size() <= kMaxCompressedBytes && into.size() <= kMaxClusterBytes);
  switch (compression) {
    case Compression::zlib:
      return inflate(from, into);
    case Compression::zstd:
      return unzstd(from, into);
  }
  return {ErrorCode::unsupported_feature, "unknown compression type"};
}

Status Decompressor::inflate(ByteSpan from, MutableByteSpan into) {
  z_stream& stream = state_->zlib;
  const int ready = state_->zlib_ready ? inflateReset(&stream) : inflateInit2(&stream, kWindowBits);
  CAIRN_ASSERT(ready == Z_OK);
  state_->zlib_ready = true;
  // zlib's interface is not const, but it only reads.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(into.data());
  stream.avail_out = static_cast<uInt>(into.size());
  const int result = ::inflate(&stream, Z_FINISH);
  // A stream that could go on is no error: decompression stops when the cluster is full.
  const bool stopped_well = result == Z_STREAM_END || result == Z_BUF_ERROR || result == Z_OK;
  if (stopped_well && stream.avail_out == 0) return Status::ok();
  return {ErrorCode::corrupt,
          std::string("damaged zlib data: ") +
              (stream.msg != nullptr && !stopped_well ? stream.msg : "it ends too early")};
}

Status Decompressor::unzstd(ByteSpan from, MutableByteSpan into) {
  if (state_->zstd == nullptr) {
    state_->zstd = ZSTD_createDCtx();
    CAIRN_ASSERT(state_->zstd != nullptr);
    ZSTD_DCtx_setParameter(state_->zstd, ZSTD_d_windowLogMax, kMaxWindowLog);
  }
  ZSTD_DCtx_reset(state_->zstd, ZSTD_reset_session_only);
  ZSTD_inBuffer input{.src = from.data(), .size = from.size(), .pos = 0};
  ZSTD_outBuffer output{.dst = into.data(), .size = into.size(), .pos = 0};
  while (output.pos < output.size) {
    const std::size_t in_before = input.pos, out_before = output.pos;
    const std::size_t result = ZSTD_decompressStream(state_->zstd, &output, &input);
    if (ZSTD_isError(result))
      return {ErrorCode::corrupt, std::string("damaged zstd data: ") + ZSTD_getErrorName(result)};
    const bool frame_ended = result == 0;
    const bool stuck = input.pos == in_before && output.pos == out_before;
    if (output.pos < output.size && (frame_ended || stuck))
      return {ErrorCode::corrupt, "damaged zstd data: it ends too early"};
  }
  return Status::ok();
}

}  // namespace cairn::qcow2
