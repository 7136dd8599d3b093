// RequestDecoder: turns the client's bytes of the transmission phase into requests. Pure.
//
// Headers and short payloads arrive together in a small staging area, so that one receive can
// bring many requests; what is missing of a WRITE's payload is received directly into its aligned
// Buffer.
//
// Invariants
// - A payload's Buffer is allocated only after next() was given enough free memory for it.
// - After an error the stream has no known next request: the connection must end.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "nbd/nbd_protocol.hh"

namespace cairn::nbd {

struct Request {
  RequestHeader header;
  Buffer payload;  // of a WRITE
};

class RequestDecoder {
 public:
  // A header whole, and a few 4 KiB writes.
  static constexpr std::size_t kStagingBytes = 16U << 10;

  // Where received bytes are to go; not empty as long as next() was called until it had nothing
  // more and it does not wait for memory.
  MutableByteSpan next_target();
  // length bytes were placed at next_target().
  void filled(std::size_t length);
  // The next complete request, if there is one. free_bytes: memory that requests may still take; a
  // request that needs more stays, and waits_for_memory() is true until a later call has room.
  Result<std::optional<Request>> next(std::uint64_t free_bytes);
  bool waits_for_memory() const { return waits_for_memory_; }
  // Whether bytes of an unfinished request are held: a client that leaves now was cut off.
  bool in_request() const { return receiving_payload_ || begin_ != end_; }

 private:
  std::size_t staged() const { return end_ - begin_; }

  std::array<std::byte, kStagingBytes> staging_;
  std::size_t begin_ = 0, end_ = 0;  // of the bytes in staging_ that are not consumed yet
  Request current_;
  bool receiving_payload_ = false;
  std::size_t payload_filled_ = 0;  // bytes of current_.payload
  bool waits_for_memory_ = false;
};

}  // namespace cairn::nbd
