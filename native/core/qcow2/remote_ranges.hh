// RemoteRanges: which chunks of image files have come from where they are, and asking for those
// that are read and have not. Somebody else fetches them into the files (TypeScript, by HTTP).
//
// Invariants
//  - A chunk is asked for once, unless its fetch has failed: then by the next read of it.
//  - ensure() answers when the last chunk of its range has come, or the first one has failed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn::qcow2 {

class RemoteRanges {
 public:
  using Done = UniqueFunction<void(Status)>;
  struct Hooks {
    std::function<void(std::uint32_t source, std::uint64_t offset, std::uint64_t length)> wanted;
    std::function<void()> closed;  // nobody reads any more
  };
  static constexpr std::uint64_t kMaxChunks = std::uint64_t{1} << 28;

  // chunk_bytes above 0.
  RemoteRanges(std::uint64_t chunk_bytes, std::vector<std::uint64_t> file_bytes, Hooks hooks);
  ~RemoteRanges();
  RemoteRanges(const RemoteRanges&) = delete;
  RemoteRanges& operator=(const RemoteRanges&) = delete;

  // done may be called before this returns. What lies behind the file's end needs no fetch.
  void ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length, Done done);
  // The chunks of a range that was wanted are in the file, or why not.
  void fetched(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
               const Status& status);

 private:
  enum class State : std::uint8_t { missing, wanted, here };
  struct Waiting {
    std::uint64_t first = 0, end = 0;  // chunks
    Done done;
  };
  struct File {
    std::uint64_t size_bytes = 0;
    std::vector<State> chunks;
    std::vector<Waiting> waiting;
  };
  void want_missing(std::uint32_t source, std::uint64_t first, std::uint64_t end);

  std::uint64_t chunk_bytes_;
  std::vector<File> files_;
  Hooks hooks_;
};

}  // namespace cairn::qcow2
