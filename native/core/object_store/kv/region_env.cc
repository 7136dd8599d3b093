// The adapters between LevelDB's file interfaces and the region file system.
#include "object_store/kv/region_env.hh"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "base/assert.hh"
#include "io/scheduling.hh"

namespace cairn::kv {
namespace {

constexpr std::string_view kIoErrorPrefix = "IO error: ";  // of leveldb::Status::ToString()

std::string base_name(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

bool commits_on_sync(std::string_view name) {
  return name.starts_with("MANIFEST-") || name.ends_with(".log");
}

MutableByteSpan span_of(char* scratch, std::size_t length) {
  return {reinterpret_cast<std::byte*>(scratch), length};
}

class SequentialFile : public leveldb::SequentialFile {
 public:
  explicit SequentialFile(std::unique_ptr<FileReader> reader) : reader_(std::move(reader)) {}
  leveldb::Status Read(std::size_t length, leveldb::Slice* result, char* scratch) override {
    const Result<std::size_t> read = reader_->read(position_, span_of(scratch, length));
    *result = leveldb::Slice(scratch, read ? read.value() : 0);
    position_ += result->size();
    return to_leveldb(read.status());
  }
  leveldb::Status Skip(std::uint64_t length) override {
    position_ = std::min(position_ + length, reader_->size_bytes());
    return {};
  }

 private:
  std::unique_ptr<FileReader> reader_;
  std::uint64_t position_ = 0;
};

class RandomAccessFile : public leveldb::RandomAccessFile {
 public:
  RandomAccessFile(std::unique_ptr<FileReader> reader, ReadAhead& read_ahead)
      : reader_(std::move(reader)), read_ahead_(read_ahead) {}
  ~RandomAccessFile() override { read_ahead_.forget(*reader_); }
  leveldb::Status Read(std::uint64_t offset, std::size_t length, leveldb::Slice* result,
                       char* scratch) const override {
    const Result<std::size_t> read =
        read_ahead_.read(*reader_, cursor_, offset, span_of(scratch, length));
    *result = leveldb::Slice(scratch, read ? read.value() : 0);
    return to_leveldb(read.status());
  }

 private:
  const std::unique_ptr<FileReader> reader_;
  ReadAhead& read_ahead_;
  mutable ReadAhead::Cursor cursor_;
};

class WritableFile : public leveldb::WritableFile {
 public:
  WritableFile(std::unique_ptr<FileWriter> writer, bool commits)
      : writer_(std::move(writer)), commits_(commits) {}
  leveldb::Status Append(const leveldb::Slice& data) override {
    return to_leveldb(writer_->append(as_bytes({data.data(), data.size()})));
  }
  leveldb::Status Close() override { return to_leveldb(writer_->close()); }
  // LevelDB flushes each record so that it outlives the process; ours outlives it in the OSD's WAL.
  leveldb::Status Flush() override { return {}; }
  leveldb::Status Sync() override {
    return commits_ ? to_leveldb(writer_->sync()) : leveldb::Status();
  }

 private:
  std::unique_ptr<FileWriter> writer_;
  const bool commits_;
};

// LevelDB's info log is only chatter, but it wants one.
class NullLogger : public leveldb::Logger {
 public:
  void Logv(const char*, std::va_list) override {}
};

// The OSD locks its data file; there is nothing to lock inside of it.
class NullLock : public leveldb::FileLock {};

}  // namespace

leveldb::Status to_leveldb(const Status& status) {
  switch (status.code()) {
    case ErrorCode::ok:
      return {};
    case ErrorCode::corrupt:
      return leveldb::Status::Corruption(status.message());
    case ErrorCode::not_found:
      return leveldb::Status::NotFound(status.message());
    default:
      return leveldb::Status::IOError(std::string(error_name(status.code())), status.message());
  }
}

Status from_leveldb(const leveldb::Status& status) {
  if (status.ok()) return {};
  const std::string text = status.ToString();
  if (status.IsNotFound()) return {ErrorCode::not_found, text};
  if (!status.IsIOError()) return {ErrorCode::corrupt, text};
  const std::string_view detail = std::string_view(text).substr(kIoErrorPrefix.size());
  const bool full = detail.starts_with(error_name(ErrorCode::no_space));
  return {full ? ErrorCode::no_space : ErrorCode::io_error, text};
}

RegionEnv::~RegionEnv() {
  CAIRN_ASSERT(scheduled_.empty());
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void RegionEnv::run_scheduled() {
  CAIRN_ASSERT(!threaded_);
  const bool stop = true;
  run_until(stop);
}

void RegionEnv::run_waiting(const std::function<void()>& call) {
  CAIRN_ASSERT(!threaded_);
  bool returned = false;
  std::thread caller([&] {
    call();
    const std::lock_guard lock(mutex_);
    returned = true;
    wake_.notify_one();
  });
  run_until(returned);
  caller.join();
}

void RegionEnv::run_until(const bool& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop || !scheduled_.empty(); });
    if (scheduled_.empty()) return;
    const Work work = scheduled_.front();
    scheduled_.pop_front();
    lock.unlock();
    work.function(work.argument);
    lock.lock();
  }
}

void RegionEnv::Schedule(void (*function)(void*), void* argument) {
  const std::lock_guard lock(mutex_);
  scheduled_.push_back({function, argument});
  if (threaded_ && !thread_.joinable())
    thread_ = std::thread([this] {
      io::name_this_thread("cairn-compact");
      io::give_short_turns_back();  // of the reactor's thread, which is here
      run_until(stopping_);
    });
  wake_.notify_one();
}

void RegionEnv::StartThread(void (*)(void*), void*) {
  CAIRN_ASSERT(!"LevelDB starts no threads itself");
}

leveldb::Status RegionEnv::NewSequentialFile(const std::string& name,
                                             leveldb::SequentialFile** result) {
  *result = nullptr;
  Result<std::unique_ptr<FileReader>> reader = fs_.open_reader(base_name(name));
  if (!reader) return to_leveldb(reader.status());
  *result = new SequentialFile(std::move(*reader));
  return {};
}

leveldb::Status RegionEnv::NewRandomAccessFile(const std::string& name,
                                               leveldb::RandomAccessFile** result) {
  *result = nullptr;
  Result<std::unique_ptr<FileReader>> reader = fs_.open_reader(base_name(name));
  // A table that is named and not there is damage; LevelDB would take NotFound for an absent key.
  if (!reader) return leveldb::Status::Corruption("no such table", reader.status().message());
  *result = new RandomAccessFile(std::move(*reader), read_ahead_);
  return {};
}

leveldb::Status RegionEnv::NewWritableFile(const std::string& name,
                                           leveldb::WritableFile** result) {
  *result = nullptr;
  const std::string base = base_name(name);
  Result<std::unique_ptr<FileWriter>> writer = fs_.create(base);
  if (!writer) return to_leveldb(writer.status());
  *result = new WritableFile(std::move(*writer), commits_on_sync(base));
  return {};
}

bool RegionEnv::FileExists(const std::string& name) { return fs_.exists(base_name(name)); }

leveldb::Status RegionEnv::GetChildren(const std::string&, std::vector<std::string>* result) {
  *result = fs_.list();
  return {};
}

leveldb::Status RegionEnv::RemoveFile(const std::string& name) {
  return to_leveldb(fs_.remove(base_name(name)));
}

leveldb::Status RegionEnv::CreateDir(const std::string&) { return {}; }

leveldb::Status RegionEnv::RemoveDir(const std::string&) { return {}; }

leveldb::Status RegionEnv::GetFileSize(const std::string& name, std::uint64_t* size) {
  const Result<std::uint64_t> found = fs_.size_bytes(base_name(name));
  *size = found ? found.value() : 0;
  return to_leveldb(found.status());
}

leveldb::Status RegionEnv::RenameFile(const std::string& from, const std::string& to) {
  return to_leveldb(fs_.rename(base_name(from), base_name(to)));
}

leveldb::Status RegionEnv::LockFile(const std::string&, leveldb::FileLock** lock) {
  *lock = new NullLock;
  return {};
}

leveldb::Status RegionEnv::UnlockFile(leveldb::FileLock* lock) {
  delete lock;
  return {};
}

leveldb::Status RegionEnv::GetTestDirectory(std::string*) {
  return leveldb::Status::NotSupported("no test directory in a region");
}

leveldb::Status RegionEnv::NewLogger(const std::string&, leveldb::Logger** result) {
  *result = new NullLogger;
  return {};
}

std::uint64_t RegionEnv::NowMicros() {
  if (!threaded_) return 0;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

void RegionEnv::SleepForMicroseconds(int micros) {
  if (threaded_) std::this_thread::sleep_for(std::chrono::microseconds(micros));
}

}  // namespace cairn::kv
