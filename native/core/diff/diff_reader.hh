// DiffReader: the events of a diff that comes from a descriptor: a file from its current position
// on, or a pipe. One at a time uses it: who reads headers, then the job that applies what follows.
//
// Invariants
// - Memory: one chunk of kChunkBytes.
// - A payload is valid until the next fill().
#pragma once

#include <memory>

#include "base/buffer.hh"
#include "diff/diff_parser.hh"
#include "io/reactor.hh"

namespace cairn::diff {

class DiffReader : public std::enable_shared_from_this<DiffReader> {
 public:
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
  using Done = UniqueFunction<void(Status)>;

  // The descriptor stays the caller's, and open. io_error.
  static Result<std::shared_ptr<DiffReader>> open(io::Reactor& reactor, int fd);

  // As DiffParser::next(); after need_bytes, fill() comes first.
  Result<DiffEvent> next() { return parser_.next(rest_); }
  const DiffParser& parser() const { return parser_; }
  // corrupt: the input ends before the diff does.
  void fill(Done done);
  // Whether the whole stream is well formed and complete, without reading payload. Only a regular
  // file can be asked before it is used; of others it is ok at once. Then reading starts over.
  void check(Done done);
  // Ends a fill() that waits for bytes that may never come.
  void cancel() { reactor_.cancel_fd(fd_); }

 private:
  DiffReader(io::Reactor& reactor, int fd);
  void check_on();
  Status skip_payload();
  void checked(Status status);

  io::Reactor& reactor_;
  int fd_;
  std::uint64_t start_ = 0;       // of a regular file: where the stream begins
  std::uint64_t file_bytes_ = 0;  // of a regular file
  bool is_regular_ = false;
  DiffParser parser_;
  Buffer chunk_;
  ByteSpan rest_;  // of the chunk
  iovec target_{};
  Done check_done_;
};

}  // namespace cairn::diff
