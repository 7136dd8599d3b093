// ReadAhead: reads that go through a file front to back (compactions, scans) get 64 KiB at a time
// from the disk. There is no page cache below, and a LevelDB block of 4 KiB lies across two of
// ours. A fixed number of windows, the least recently used one is given up: 1 MiB in all, enough
// for the merge of all level-0 tables and one more level. Thread-safe; no lock is held while the
// disk is read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/buffer.hh"
#include "object_store/kv/region_fs.hh"

namespace cairn::kv {

class ReadAhead {
 public:
  static constexpr std::size_t kWindowBytes = std::size_t{64} << 10;
  static constexpr std::size_t kWindows = 16;

  // What is remembered of one open file; the caller keeps it as long as it reads the file.
  struct Cursor {
    std::atomic<std::uint64_t> end{0};  // of the last read
  };

  // As reader.read().
  Result<std::size_t> read(const FileReader& reader, Cursor& cursor, std::uint64_t offset,
                           MutableByteSpan into);
  // The file is closed.
  void forget(const FileReader& reader);

 private:
  struct Window {
    const FileReader* reader = nullptr;  // null: free
    std::uint64_t offset = 0;
    Buffer bytes;
    std::uint64_t last_use = 0;
  };
  bool copy_from_window(const FileReader& reader, std::uint64_t offset, MutableByteSpan into);
  void keep(const FileReader& reader, std::uint64_t offset, Buffer bytes);

  std::mutex mutex_;
  std::array<Window, kWindows> windows_;
  std::uint64_t uses_ = 0;
};

}  // namespace cairn::kv
