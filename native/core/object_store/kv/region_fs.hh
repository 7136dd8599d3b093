// RegionFs: a small crash-safe file system in a region of the OSD's disk, for LevelDB's files.
//
// Layout: two file table slots, the units, two file table slots. A unit is unit_bytes of 4 KiB
// blocks; a block holds 4092 bytes of a file and their CRC-32C, seeded with the store's nonce, the
// file's id and the block's index. Files are written once, front to back, then only read.
//
// Invariants
// - The state on disk is that of the last commit: commit() flushes the data, writes the whole file
//   table (generation g goes to slot g % 2 of both copies), and flushes again. All that any file
//   had on disk is part of it, so a commit never shows a later write without an earlier one. After
//   a crash in a commit the newest slot that decodes counts; either is a state that was asked for.
// - A block that a durable table speaks of is never written again: a file that is synced and goes
//   on growing keeps its last part in the table (FileEntry::tail) until the block is full. So a
//   torn write can hurt nothing durable, and bytes behind a durable size are never looked at.
// - Units of a removed file are used again only after a commit without the file, and after the
//   last reader has gone.
// - After a write or flush failed nothing is committed any more: what is on disk is then unknown.
//
// Damage
// - a block: its checksum, when it is read (bit flips, torn, lost and misdirected writes);
// - one copy of the file table: its checksum; healed from the other copy at the next mount;
// - both copies of the newest table: looks like a crash in that commit, so that the state before it
//   comes back, or damage is found where its units were used again. The owner must notice from
//   outside (the OSD: the applied sequence is older than the start of its WAL);
// - LevelDB's own checksums lie inside of these and are verified as well.
//
// Thread-safe; a FileWriter belongs to one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/buffer.hh"
#include "base/bytes.hh"
#include "base/status.hh"
#include "io/disk.hh"
#include "object_store/kv/file_table.hh"

namespace cairn::kv {

class FileReader;
class FileWriter;

class RegionFs {
 public:
  // Makes the region an empty file system. Errors: invalid_argument (misaligned, outside of the
  // disk, no room for a unit), io_error.
  static Result<std::unique_ptr<RegionFs>> format(io::BlockingDisk& disk, std::uint64_t offset,
                                                  const Geometry& geometry);
  // Errors: corrupt (no copy of the file table is good), incompatible_version, invalid_argument,
  // io_error. The nonce of geometry is not looked at.
  static Result<std::unique_ptr<RegionFs>> mount(io::BlockingDisk& disk, std::uint64_t offset,
                                                 const Geometry& geometry);

  // A new empty file; one of that name is removed. Errors: no_space (too many files),
  // invalid_argument (name longer than kMaxFileNameBytes).
  Result<std::unique_ptr<FileWriter>> create(const std::string& name);
  // The file as it is now. Errors: not_found.
  Result<std::unique_ptr<FileReader>> open_reader(const std::string& name);
  // Takes effect at the next commit. Errors: not_found.
  Status remove(const std::string& name);
  // Replaces the target; atomic and durable on return. Errors: not_found, those of commit().
  Status rename(const std::string& from, const std::string& to);
  bool exists(const std::string& name) const;
  Result<std::uint64_t> size_bytes(const std::string& name) const;
  std::vector<std::string> list() const;

  // Makes everything that the files have on disk durable; without changes it does nothing.
  // Errors: no_space (file table full), io_error; also what made an earlier commit fail.
  Status commit();

  std::uint64_t capacity_bytes() const;
  std::uint64_t used_bytes() const;
  // Units that are free now or will be with the next commit.
  std::uint64_t free_bytes() const;

  struct Counters {
    std::atomic<std::uint64_t> bytes_written{0};
    std::atomic<std::uint64_t> bytes_read{0};
    std::atomic<std::uint64_t> flushes{0};
    std::atomic<std::uint64_t> commits{0};
  };
  const Counters& counters() const { return counters_; }

 private:
  friend class FileReader;
  friend class FileWriter;
  // A file's entry is guarded by mutex_; the file lives as long as it is listed or open.
  struct File {
    FileEntry entry;
  };
  using FilePtr = std::shared_ptr<File>;

  RegionFs(io::BlockingDisk& disk, std::uint64_t offset, FileTable table);

  Status read_at(std::uint64_t offset, MutableByteSpan into);
  Status write_at(std::uint64_t offset, ByteSpan from);
  Status flush();
  static Status read_slots(io::BlockingDisk& disk, std::uint64_t offset, const Geometry& geometry,
                           FileTable& newest, bool (&copy_good)[2]);
  Status write_table(const FileTable& table, unsigned copy);
  Status settle_tails();

  // With mutex_ held:
  FileTable snapshot() const;
  std::uint32_t removed_units() const;  // part of used_units_
  bool allocate_unit(FileEntry& entry);
  void release_removed(std::size_t candidate_count);

  // Gives the file units for size_bytes. Errors: no_space.
  Status reserve(const FilePtr& file, std::uint64_t size_bytes);
  // Writes whole blocks that the file has units for, and counts them as its contents up to
  // size_bytes.
  Status write_blocks(const FilePtr& file, std::uint64_t first_block, ByteSpan blocks,
                      std::uint64_t size_bytes);
  void set_tail(const FilePtr& file, std::uint64_t size_bytes, std::string tail);
  // Something that was to be written cannot be: no commit any more.
  void fail(Status status);

  io::BlockingDisk& disk_;
  const std::uint64_t offset_;
  const Geometry geometry_;

  std::mutex commit_mutex_;  // one commit at a time; taken before mutex_
  mutable std::mutex mutex_;
  std::map<std::string, FilePtr> files_;
  std::vector<FilePtr> removed_;
  std::vector<bool> unit_used_;
  std::uint32_t used_units_ = 0;
  std::uint32_t next_unit_ = 0;  // where the search for a free one starts
  std::uint64_t generation_ = 0;
  std::uint64_t next_file_id_ = 1;
  bool dirty_ = false;           // the table differs from the durable one
  bool unflushed_data_ = false;  // blocks were written since the last flush
  Status failure_;
  Counters counters_;
};

// Reads the file as it was when it was opened. Thread-safe.
class FileReader {
 public:
  std::uint64_t size_bytes() const { return entry_.size_bytes; }
  // Reads up to the end of the file at most; the number of bytes read. Errors: corrupt (a block's
  // checksum), io_error.
  Result<std::size_t> read(std::uint64_t offset, MutableByteSpan into) const;

 private:
  friend class RegionFs;
  FileReader(RegionFs& fs, RegionFs::FilePtr file, FileEntry entry);
  RegionFs& fs_;
  const RegionFs::FilePtr file_;  // keeps the units
  const FileEntry entry_;
  const std::uint32_t crc_seed_;
};

// Writes a new file. The first failure stays: everything after it fails in the same way.
class FileWriter {
 public:
  ~FileWriter();  // closes; a failure then stops the file system's commits
  // Errors: no_space, io_error.
  Status append(ByteSpan bytes);
  // Durable on return, with everything that any file has on disk. Errors: those of commit() too.
  Status sync();
  // Puts the rest on disk; durable with the next commit.
  Status close();

 private:
  friend class RegionFs;
  FileWriter(RegionFs& fs, RegionFs::FilePtr file, std::uint32_t crc_seed);
  std::uint64_t size_bytes() const;
  std::size_t tail_length() const { return used_ % kBlockBytes; }
  Status write_whole_blocks();

  RegionFs& fs_;
  const RegionFs::FilePtr file_;
  const std::uint32_t crc_seed_;
  // Blocks not written yet, the first of them number written_blocks_ of the file. used_ counts
  // bytes of the buffer; a full block counts with its checksum.
  Buffer buffer_;
  std::size_t used_ = 0;
  std::uint64_t written_blocks_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  bool closed_ = false;
  Status status_;
};

}  // namespace cairn::kv
