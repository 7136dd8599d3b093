// The queues between the owner and the database: a worker thread for calls that keep their order,
// one for looks that need not wait for them, or none in stepped mode.
#include "object_store/kv/kv_store.hh"

#include <leveldb/write_batch.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <semaphore>
#include <thread>

#include "base/heap_cache.hh"
#include "io/scheduling.hh"
#include "object_store/kv/database.hh"

namespace cairn::kv {
namespace {

// Completions on their way to the owner. One delivery is under way at a time, and carries all that
// has come in until it runs. After close() it runs nothing, but keeps what comes in: completions
// are destroyed on the owner's thread.
class Mailbox {
 public:
  // True: the caller has to have deliver() called on the owner's thread.
  bool add(io::Task completion) {
    const std::lock_guard lock(mutex_);
    completions_.push_back(std::move(completion));
    return !closed_ && !std::exchange(under_way_, true);
  }
  void deliver() {
    while (io::Task completion = take()) completion();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }

 private:
  io::Task take() {
    const std::lock_guard lock(mutex_);
    if (closed_ || completions_.empty()) {
      under_way_ = false;
      return nullptr;
    }
    io::Task completion = std::move(completions_.front());
    completions_.pop_front();
    return completion;
  }

  std::mutex mutex_;
  std::deque<io::Task> completions_;
  bool under_way_ = false;
  bool closed_ = false;
};

// A thread that does what it is given, one after the other. Its end waits for all of it.
class Worker {
 public:
  using Job = UniqueFunction<void()>;

  // give_back: runs on the thread in a pause, for memory that is not in the heap cache.
  Worker(const char* name, std::uint64_t pause_ns, UniqueFunction<void()> give_back)
      : pause_(pause_ns), give_back_(std::move(give_back)), thread_([this, name] {
          io::name_this_thread(name);
          work_loop();
        }) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void submit(Job job) {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
  }

 private:
  void work_loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wait_for_job(lock);
      if (jobs_.empty()) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    }
  }

  // In a pause it gives back memory, what it has kept all the time since it last did so, until that
  // is all.
  void wait_for_job(std::unique_lock<std::mutex>& lock) {
    const auto has_job = [this] { return stopping_ || !jobs_.empty(); };
    for (std::size_t kept_before = ~std::size_t{0}, kept = 0; kept < kept_before;) {
      if (wake_.wait_for(lock, pause_, has_job)) return;
      lock.unlock();
      give_back_();
      kept_before = std::exchange(kept, (release_heap_cache(), heap_cache_bytes()));
      lock.lock();
    }
    wake_.wait(lock, has_job);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  const std::chrono::nanoseconds pause_;
  UniqueFunction<void()> give_back_;
  std::thread thread_;  // the last one: it uses the others
};

class QueuedKvStore : public KvStore {
 public:
  QueuedKvStore(std::unique_ptr<Database> database, io::Executor& executor, Options options)
      : database_(std::move(database)), executor_(executor), options_(std::move(options)) {
    if (!options_.threaded) return;
    in_order_ = std::make_unique<Worker>("cairn-apply", options_.pause_ns,
                                         [this] { database_->give_back(); });
    looks_ = std::make_unique<Worker>("cairn-lookup", options_.pause_ns, [] {});
  }

  ~QueuedKvStore() override { mailbox_->close(); }

  void get(std::vector<std::string> keys, GetDone done) override {
    submit([this, keys = std::move(keys), done = std::move(done)]() mutable {
      complete(database_->get(keys), std::move(done));
    });
  }

  void scan(std::string begin, std::string end, std::size_t limit, ScanDone done) override {
    submit([this, begin = std::move(begin), end = std::move(end), limit,
            done = std::move(done)]() mutable {
      complete(database_->scan(begin, end, limit), std::move(done));
    });
  }

  void apply(WriteBatch batch, bool sync, ApplyDone done) override {
    submit([this, batch = std::move(batch), sync, done = std::move(done)]() mutable {
      Status status = database_->apply(batch, sync);
      post([this, status = std::move(status), done = std::move(done)]() mutable {
        ++completed_applies_;
        done(std::move(status));
      });
    });
  }

  void get_settled(std::vector<std::string> keys, GetDone done) override {
    if (looks_ == nullptr) return get(std::move(keys), std::move(done));
    look([this, keys = std::move(keys)] { return database_->get(keys); }, std::move(done));
  }

  void scan_settled(std::string begin, std::string end, std::size_t limit, ScanDone done) override {
    if (looks_ == nullptr) return scan(std::move(begin), std::move(end), limit, std::move(done));
    look([this, begin = std::move(begin), end = std::move(end),
          limit] { return database_->scan(begin, end, limit); },
         std::move(done));
  }

  void find_settled(std::vector<std::string> keys, std::vector<KeyRange> ranges,
                    FindDone done) override {
    auto find = [this, keys = std::move(keys), ranges = std::move(ranges)] {
      return database_->find(keys, ranges);
    };
    if (looks_ != nullptr) return look(std::move(find), std::move(done));
    submit([this, find = std::move(find), done = std::move(done)]() mutable {
      complete(find(), std::move(done));
    });
  }

  Result<Found> find_now(const std::vector<std::string>& keys,
                         const std::vector<KeyRange>& ranges) override {
    std::optional<Result<Found>> result;
    run_and_wait([&] { result = database_->find(keys, ranges); });
    return std::move(*result);
  }

  Result<Values> get_now(const std::vector<std::string>& keys) override {
    std::optional<Result<Values>> result;
    run_and_wait([&] { result = database_->get(keys); });
    return std::move(*result);
  }

  Result<std::vector<KeyValue>> scan_now(std::string_view begin, std::string_view end,
                                         std::size_t limit) override {
    std::optional<Result<std::vector<KeyValue>>> result;
    run_and_wait([&] { result = database_->scan(begin, end, limit); });
    return std::move(*result);
  }

  Status apply_now(WriteBatch batch, bool sync) override {
    Status status;
    run_and_wait([&] { status = database_->apply(batch, sync); });
    return status;
  }

  std::uint64_t approximate_bytes() const override { return database_->used_bytes(); }
  std::uint64_t free_bytes() const override { return database_->free_bytes(); }
  Stats stats() const override { return database_->stats(); }

 private:
  void submit(Worker::Job job) {
    if (in_order_ == nullptr) return job();
    in_order_->submit(std::move(job));
  }

  // What a look has found is out of date when a batch has completed since it was asked for: who
  // waits for the answer may have let go of what the batch brought here. Then it looks again.
  template <typename Look, typename Done>
  void look(Look look_now, Done done) {
    looks_->submit([this, asked = completed_applies_, look_now = std::move(look_now),
                    done = std::move(done)]() mutable {
      auto result = look_now();
      post([this, asked, look_now = std::move(look_now), result = std::move(result),
            done = std::move(done)]() mutable {
        if (asked != completed_applies_) return look(std::move(look_now), std::move(done));
        answer(std::move(result), std::move(done));
      });
    });
  }

  template <typename Call>
  void run_and_wait(Call call) {
    std::binary_semaphore finished(0);
    submit([&] {
      call();
      finished.release();
    });
    finished.acquire();
  }

  template <typename T, typename Done>
  static void answer(Result<T> result, Done done) {
    if (result)
      done(Status::ok(), std::move(*result));
    else
      done(result.status(), {});
  }

  template <typename T, typename Done>
  void complete(Result<T> result, Done done) {
    post([result = std::move(result), done = std::move(done)]() mutable {
      answer(std::move(result), std::move(done));
    });
  }

  void post(io::Task completion) {
    if (!mailbox_->add(std::move(completion))) return;
    io::Task delivery = [mailbox = mailbox_] { mailbox->deliver(); };
    if (options_.threaded)
      options_.post_back(std::move(delivery));
    else
      executor_.post(std::move(delivery));
  }

  std::unique_ptr<Database> database_;
  io::Executor& executor_;
  const Options options_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::uint64_t completed_applies_ = 0;  // of the owner's thread
  // Null in stepped mode. They end before what their jobs use.
  std::unique_ptr<Worker> in_order_;
  std::unique_ptr<Worker> looks_;
};

Result<std::unique_ptr<KvStore>> start(Result<std::unique_ptr<RegionFs>> fs,
                                       std::uint64_t region_length, io::Executor& executor,
                                       Options options, bool create) {
  if (!fs) return fs.status();
  Result<std::unique_ptr<Database>> database =
      Database::open(std::move(*fs), options, region_length, create);
  if (!database) return database.status();
  return std::unique_ptr<KvStore>(
      new QueuedKvStore(std::move(*database), executor, std::move(options)));
}

Status check(const Options& options, std::uint64_t region_length) {
  if (options.threaded && !options.post_back)
    return {ErrorCode::invalid_argument, "a threaded key-value store needs post_back"};
  if (options.unit_bytes == 0 || options.unit_bytes % kBlockBytes != 0)
    return {ErrorCode::invalid_argument, "the unit is not a multiple of 4096 bytes"};
  const std::uint64_t minimum = KvStore::minimum_region_bytes(options.unit_bytes);
  if (region_length < minimum)
    return {ErrorCode::invalid_argument, "the key-value region needs at least " +
                                             std::to_string(minimum) + " bytes, not " +
                                             std::to_string(region_length)};
  return {};
}

Geometry geometry_of(std::uint64_t region_length, const Options& options) {
  return {.region_length = region_length, .unit_bytes = options.unit_bytes, .nonce = options.nonce};
}

}  // namespace

Options small_options() {
  Options options;
  options.write_buffer_bytes = std::size_t{64} << 10;
  options.block_cache_bytes = std::size_t{64} << 10;
  options.unit_bytes = kBlockBytes;
  return options;
}

std::uint64_t KvStore::minimum_region_bytes(std::uint64_t unit_bytes) {
  constexpr std::uint64_t kData = std::uint64_t{1} << 20;
  const Geometry geometry{.region_length = kData, .unit_bytes = unit_bytes};
  const std::uint64_t units = (kData + unit_bytes - 1) / unit_bytes + kReserveFiles;
  return units * unit_bytes + 5 * geometry.slot_bytes();
}

Result<std::unique_ptr<KvStore>> KvStore::format(io::BlockingDisk& disk,
                                                 std::uint64_t region_offset,
                                                 std::uint64_t region_length,
                                                 io::Executor& executor, Options options) {
  CAIRN_RETURN_IF_ERROR(check(options, region_length));
  return start(RegionFs::format(disk, region_offset, geometry_of(region_length, options)),
               region_length, executor, std::move(options), true);
}

Result<std::unique_ptr<KvStore>> KvStore::open(io::BlockingDisk& disk, std::uint64_t region_offset,
                                               std::uint64_t region_length, io::Executor& executor,
                                               Options options) {
  CAIRN_RETURN_IF_ERROR(check(options, region_length));
  return start(RegionFs::mount(disk, region_offset, geometry_of(region_length, options)),
               region_length, executor, std::move(options), false);
}

}  // namespace cairn::kv
