// For the tests of this folder: a disk in memory that remembers every write and flush, so that any
// crash can be built from one run; an executor whose tasks the test runs; a model of the store.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "io/disk.hh"
#include "io/executor.hh"
#include "object_store/kv/file_table.hh"
#include "object_store/kv/kv_store.hh"

namespace cairn::kv::test {

using Random = std::mt19937_64;
using Image = std::vector<std::byte>;

inline std::uint64_t below(Random& random, std::uint64_t limit) { return random() % limit; }

class RecordingDisk : public io::BlockingDisk {
 public:
  struct Operation {
    bool flush = false;
    std::uint64_t offset = 0;
    Image bytes;
    bool operator==(const Operation&) const = default;
  };

  explicit RecordingDisk(Image initial) : initial_(initial), image_(std::move(initial)) {}

  std::uint64_t size_bytes() const override { return image_.size(); }
  Result<io::DiskSpace> space() const override {
    return io::DiskSpace{image_.size(), image_.size(), image_.size()};
  }

  Status read_now(std::uint64_t offset, MutableByteSpan into) override {
    const std::lock_guard lock(mutex_);
    check(offset, into);
    std::copy_n(image_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  }

  Status write_now(std::uint64_t offset, ByteSpan from) override {
    const std::lock_guard lock(mutex_);
    check(offset, from);
    if (fails()) return {ErrorCode::io_error, "injected"};
    operations_.push_back({false, offset, Image(from.begin(), from.end())});
    std::copy(from.begin(), from.end(), image_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }

  Status flush_now() override {
    const std::lock_guard lock(mutex_);
    if (fails()) return {ErrorCode::io_error, "injected"};
    operations_.push_back({true, 0, {}});
    return {};
  }

  // Of the writes and flushes from now on, those from first to the one before last fail.
  void fail_between(std::size_t first, std::size_t last) {
    fail_first_ = attempts_ + first;
    fail_last_ = attempts_ + last;
  }
  // Not while a threaded store works on the disk; operation_count() may be asked for then too.
  const std::vector<Operation>& operations() const { return operations_; }
  std::size_t operation_count() {
    const std::lock_guard lock(mutex_);
    return operations_.size();
  }
  const Image& image() const { return image_; }

  // What a power cut after the first cut operations may leave: all that was flushed, and of the
  // rest a random subset, some of it torn at 512 bytes.
  Image crash(std::size_t cut, Random& random) const {
    std::size_t flushed = 0;
    for (std::size_t i = 0; i < cut; ++i)
      if (operations_[i].flush) flushed = i;
    Image image = initial_;
    const std::uint64_t survive_percent = below(random, 101);
    for (std::size_t i = 0; i < cut; ++i) {
      const Operation& operation = operations_[i];
      const bool torn = below(random, 4) == 0;
      const bool survives = below(random, 100) < survive_percent;
      for (std::size_t at = 0; at < operation.bytes.size(); at += 512)
        if (i < flushed || (torn ? below(random, 2) == 0 : survives))
          std::copy_n(operation.bytes.begin() + static_cast<std::ptrdiff_t>(at), 512,
                      image.begin() + static_cast<std::ptrdiff_t>(operation.offset + at));
    }
    return image;
  }

 private:
  void check(std::uint64_t offset, ByteSpan bytes) const {
    CAIRN_ASSERT(offset % 4096 == 0 && bytes.size() % 4096 == 0);
    CAIRN_ASSERT(reinterpret_cast<std::uintptr_t>(bytes.data()) % 4096 == 0);
    CAIRN_ASSERT(offset + bytes.size() <= image_.size());
  }
  bool fails() {
    const std::size_t attempt = attempts_++;
    return attempt >= fail_first_ && attempt < fail_last_;
  }

  const Image initial_;
  std::mutex mutex_;
  Image image_;
  std::vector<Operation> operations_;
  std::size_t attempts_ = 0;
  std::size_t fail_first_ = 0;
  std::size_t fail_last_ = 0;
};

class QueueExecutor : public io::Executor {
 public:
  std::uint64_t now_ns() const override { return 0; }
  void post(io::Task task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  io::TimerId run_after(std::uint64_t, io::Task) override { return 0; }
  void cancel(io::TimerId) override {}
  // False: there was nothing to run.
  bool run_one() {
    io::Task task;
    {
      const std::lock_guard lock(mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<io::Task> tasks_;
};

using Model = std::map<std::string, std::string>;
constexpr const char* kSequenceKey = "~sequence";  // put by each batch: its number

// Batch number of a random history; the same for the same seed and number. keys: of the key space.
struct Operations {
  std::vector<std::pair<std::string, std::optional<std::string>>> list;

  static Operations random(std::uint64_t seed, std::uint64_t number, std::uint64_t keys,
                           std::size_t max_value) {
    Random random(seed * 1'000'003 + number);
    Operations operations;
    const std::uint64_t count = below(random, 8);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::string key = "key" + std::to_string(below(random, keys));
      if (below(random, 4) == 0)
        operations.list.emplace_back(std::move(key), std::nullopt);
      else
        operations.list.emplace_back(
            std::move(key), std::string(below(random, max_value), static_cast<char>(random())));
    }
    operations.list.emplace_back(kSequenceKey, std::to_string(number));
    return operations;
  }
  WriteBatch batch() const {
    WriteBatch batch;
    for (const auto& [key, value] : list)
      if (value)
        batch.put(key, *value);
      else
        batch.erase(key);
    return batch;
  }
  void apply_to(Model& model) const {
    for (const auto& [key, value] : list)
      if (value)
        model[key] = *value;
      else
        model.erase(key);
  }
};

// The newest file table of a region at the start of the image; generation 0: none is good.
inline FileTable newest_table(const Image& image, const Geometry& geometry) {
  FileTable newest;
  for (unsigned copy = 0; copy < 2; ++copy)
    for (unsigned parity = 0; parity < 2; ++parity) {
      const ByteSpan slot(image.data() + geometry.slot_offset(parity, copy), geometry.slot_bytes());
      auto table = FileTable::decode(slot, geometry);
      if (table && table->generation > newest.generation) newest = *table;
    }
  return newest;
}

inline Model model_of(const std::vector<KeyValue>& pairs) { return {pairs.begin(), pairs.end()}; }

}  // namespace cairn::kv::test
