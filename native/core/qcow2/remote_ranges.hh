// RemoteRanges: which chunks of image files have come from where they are, and asking for those
// that are read and have not. Somebody else fetches them into the files (TypeScript, by HTTP).
//
// Invariants
//  - A chunk is asked for once, unless its fetch has failed or it was dropped since: then by the
//    next read of it.
//  - ensure() answers when the last chunk of its range has come, or the first one has failed. A
//    range that was answered stays until it is released.
//  - Of what nobody holds, the least recently used chunks are dropped while more than
//    max_kept_bytes are here.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn::qcow2 {

class RemoteRanges {
 public:
  using Done = UniqueFunction<void(Status)>;
  // A range of a source.
  using OnRange =
      std::function<void(std::uint32_t source, std::uint64_t offset, std::uint64_t length)>;
  struct Hooks {
    OnRange wanted;
    std::function<void()> closed;  // nobody reads any more
  };

  // chunk_bytes above 0.
  RemoteRanges(std::uint64_t chunk_bytes, std::vector<std::uint64_t> file_bytes,
               std::uint64_t max_kept_bytes, Hooks hooks);
  ~RemoteRanges();
  RemoteRanges(const RemoteRanges&) = delete;
  RemoteRanges& operator=(const RemoteRanges&) = delete;

  // Who gives the space of dropped chunks back; nullptr: nobody.
  void drop_with(OnRange dropped) { dropped_ = std::move(dropped); }
  // done may be called before this returns. What lies behind the file's end needs no fetch. When
  // done was told ok, release() of the same range follows.
  void ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length, Done done);
  void release(std::uint32_t source, std::uint64_t offset, std::uint64_t length);
  // The chunks of a range that was wanted are in the file, or why not.
  void fetched(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
               const Status& status);
  std::uint64_t kept_bytes() const { return kept_bytes_; }

 private:
  enum class State : std::uint8_t { missing, wanted, here };
  using Key = std::pair<std::uint32_t, std::uint64_t>;  // source, chunk
  struct Chunk {
    State state = State::missing;
    std::uint32_t holds = 0;
    std::list<Key>::iterator place;  // in used_, of one that is here
  };
  // Chunks.
  struct Span {
    std::uint64_t first = 0, end = 0;
  };
  struct Waiting {
    Span span;
    Done done;
  };
  struct File {
    std::uint64_t size_bytes = 0;
    std::map<std::uint64_t, Chunk> chunks;  // that are not missing, or held
    std::vector<Waiting> waiting;
  };
  Span span_of(const File& file, std::uint64_t offset, std::uint64_t length) const;
  std::uint64_t bytes_of(const Key& key) const;
  bool all_here(const File& file, Span span) const;
  void want_missing(std::uint32_t source, Span span);
  void let_go(std::uint32_t source, Span span);
  void keep(const Key& key, Chunk& chunk);
  void drop_unused();

  std::uint64_t chunk_bytes_;
  std::uint64_t max_kept_bytes_;
  std::vector<File> files_;
  Hooks hooks_;
  OnRange dropped_;
  std::list<Key> used_;  // chunks that are here, the least recently used one first
  std::uint64_t kept_bytes_ = 0;
};

}  // namespace cairn::qcow2
