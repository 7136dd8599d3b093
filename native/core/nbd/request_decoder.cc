// The bookkeeping behind request_decoder.hh.
#include "nbd/request_decoder.hh"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cairn::nbd {

MutableByteSpan RequestDecoder::next_target() {
  if (receiving_payload_) return current_.payload.span().subspan(payload_filled_);
  if (begin_ != 0) {
    std::memmove(staging_.data(), staging_.data() + begin_, staged());
    end_ -= begin_;
    begin_ = 0;
  }
  return MutableByteSpan(staging_).subspan(end_);
}

void RequestDecoder::filled(std::size_t length) {
  if (receiving_payload_) {
    payload_filled_ += length;
    CAIRN_ASSERT(payload_filled_ <= current_.payload.size());
  } else {
    end_ += length;
    CAIRN_ASSERT(end_ <= staging_.size());
  }
}

Result<std::optional<Request>> RequestDecoder::next(std::uint64_t free_bytes) {
  using Next = std::optional<Request>;
  if (!receiving_payload_) {
    if (staged() < kRequestBytes) return Next{};
    Result<RequestHeader> header = decode_request(
        std::span<const std::byte, kRequestBytes>(staging_.data() + begin_, kRequestBytes));
    if (!header) return header.status();
    waits_for_memory_ = request_memory_bytes(*header) > free_bytes;
    if (waits_for_memory_) return Next{};
    begin_ += kRequestBytes;
    current_.header = *header;
    if (header->command != static_cast<std::uint16_t>(Command::write))
      return Next{std::exchange(current_, {})};
    current_.payload = Buffer::allocate(header->length_bytes);
    const std::size_t here = std::min<std::size_t>(staged(), header->length_bytes);
    if (here != 0) std::memcpy(current_.payload.data(), staging_.data() + begin_, here);
    begin_ += here;
    payload_filled_ = here;
    receiving_payload_ = true;
  }
  if (payload_filled_ < current_.payload.size()) return Next{};
  receiving_payload_ = false;
  payload_filled_ = 0;
  return Next{std::exchange(current_, {})};
}

}  // namespace cairn::nbd
