// RegionEnv: the leveldb::Env over a RegionFs. Directories in names are ignored: the region is the
// database's folder.
//
// Syncing: a table or a temporary file is not committed by Sync, since a commit is one of the whole
// file system: the MANIFEST entry or the rename that makes the file count commits it too. Sync of
// the log and of the MANIFEST commits; so every record before it, also in an older log, is durable.
//
// Background work (Schedule): in threaded mode a thread of this Env runs it. In stepped mode it
// waits in a queue until run_scheduled(), which the owner calls after each LevelDB call, with no
// LevelDB lock held. Then LevelDB never waits for work that only its waiter could run: a write
// switches memtables at most once, and the queue was empty before it, so that there was no
// immutable memtable and no pile of level-0 tables to wait for. A call that does wait
// (DB::CompactRange) goes through run_waiting().
#pragma once

#include <leveldb/env.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.hh"
#include "object_store/kv/read_ahead.hh"
#include "object_store/kv/region_fs.hh"

namespace cairn::kv {

// corrupt is Corruption, not_found is NotFound, all else IOError with the code in its text.
leveldb::Status to_leveldb(const Status& status);
// The way back; what LevelDB says itself is corrupt, or io_error.
Status from_leveldb(const leveldb::Status& status);

class RegionEnv : public leveldb::Env {
 public:
  RegionEnv(RegionFs& fs, bool threaded) : fs_(fs), threaded_(threaded) {}
  // Nothing may be scheduled any more.
  ~RegionEnv() override;

  // Stepped mode: runs what is scheduled, and what that schedules, until there is nothing.
  void run_scheduled();
  // Stepped mode: makes a call that waits for background work, on a thread of its own, and runs
  // that work here meanwhile. Each side sleeps while the other one runs, as long as the work
  // schedules no more work by itself.
  void run_waiting(const std::function<void()>& call);

  leveldb::Status NewSequentialFile(const std::string& name,
                                    leveldb::SequentialFile** result) override;
  leveldb::Status NewRandomAccessFile(const std::string& name,
                                      leveldb::RandomAccessFile** result) override;
  leveldb::Status NewWritableFile(const std::string& name, leveldb::WritableFile** result) override;
  bool FileExists(const std::string& name) override;
  leveldb::Status GetChildren(const std::string& dir, std::vector<std::string>* result) override;
  leveldb::Status RemoveFile(const std::string& name) override;
  leveldb::Status CreateDir(const std::string& dir) override;
  leveldb::Status RemoveDir(const std::string& dir) override;
  leveldb::Status GetFileSize(const std::string& name, std::uint64_t* size) override;
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override;
  leveldb::Status LockFile(const std::string& name, leveldb::FileLock** lock) override;
  leveldb::Status UnlockFile(leveldb::FileLock* lock) override;
  void Schedule(void (*function)(void*), void* argument) override;
  void StartThread(void (*function)(void*), void* argument) override;
  leveldb::Status GetTestDirectory(std::string* path) override;
  leveldb::Status NewLogger(const std::string& name, leveldb::Logger** result) override;
  // 0 in stepped mode, where nothing may depend on the time.
  std::uint64_t NowMicros() override;
  void SleepForMicroseconds(int micros) override;

 private:
  struct Work {
    void (*function)(void*);
    void* argument;
  };
  // Runs what is scheduled until stop is set (under mutex_) and there is nothing left.
  void run_until(const bool& stop);

  RegionFs& fs_;
  ReadAhead read_ahead_;
  const bool threaded_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Work> scheduled_;
  bool stopping_ = false;
  std::thread thread_;  // started by the first Schedule()
};

}  // namespace cairn::kv
