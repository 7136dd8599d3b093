// Who flushes for UringDisk, and what becomes of the answer. The reactor is the real one but for
// its flushes, which do what the test says: a device does not fail, or take long, when asked to.
#include <cerrno>
#include <vector>

#include "io/flush_place.hh"
#include "io/uring_test_support.hh"

namespace cairn::io {

namespace {

class ScriptedFlushes final : public Reactor {
 public:
  explicit ScriptedFlushes(Reactor& real) : real_(real) {}

  int result = 0;               // of all flushes that are not held
  std::vector<IoDone> workers;  // flushes that workers make, if they are held
  bool holds_workers = false;
  std::uint64_t clock_ns = 1'000'000'000'000;

  void fdatasync(int, IoDone done) override {
    if (holds_workers) return workers.push_back(std::move(done));
    real_.post([this, done = std::move(done)]() mutable { done(result); });
  }
  int fdatasync_here(int) override { return result; }

  std::uint64_t now_ns() const override { return clock_ns; }
  void post(Task task) override { real_.post(std::move(task)); }
  TimerId run_after(std::uint64_t delay_ns, Task task) override {
    return real_.run_after(delay_ns, std::move(task));
  }
  void cancel(TimerId id) override { real_.cancel(id); }
  void run() override { real_.run(); }
  void stop() override { real_.stop(); }
  void post_from_any_thread(Task task) override { real_.post_from_any_thread(std::move(task)); }
  WatchId watch_readable(int fd, UniqueFunction<void()> ready) override {
    return real_.watch_readable(fd, std::move(ready));
  }
  void unwatch(WatchId id) override { real_.unwatch(id); }
  void recv(int fd, MutableByteSpan into, IoDone done) override {
    real_.recv(fd, into, std::move(done));
  }
  void sendmsg(int fd, const msghdr* message, IoDone done) override {
    real_.sendmsg(fd, message, std::move(done));
  }
  void accept(int fd, IoDone done) override { real_.accept(fd, std::move(done)); }
  void connect(int fd, const sockaddr* address, socklen_t length, IoDone done) override {
    real_.connect(fd, address, length, std::move(done));
  }
  void readv(int fd, std::span<const iovec> into, std::uint64_t offset, IoDone done) override {
    real_.readv(fd, into, offset, std::move(done));
  }
  void writev(int fd, std::span<const iovec> from, std::uint64_t offset, int flags,
              IoDone done) override {
    real_.writev(fd, from, offset, flags, std::move(done));
  }
  void fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
                 IoDone done) override {
    real_.fallocate(fd, mode, offset, length, std::move(done));
  }
  void cancel_fd(int fd) override { real_.cancel_fd(fd); }
  WatchId add_poller(std::uint64_t spin_ns, UniqueFunction<bool()> poll,
                     UniqueFunction<bool()> before_sleep) override {
    return real_.add_poller(spin_ns, std::move(poll), std::move(before_sleep));
  }
  void remove_poller(WatchId id) override { real_.remove_poller(id); }

 private:
  Reactor& real_;
};

// A disk on a file whose durable writes need a flush.
struct FlushedDisk {
  explicit FlushedDisk(const char* name) : file(name) {
    UringDisk::Options options = new_file(kMiB);
    options.writes_through = false;
    disk = open_disk(reactor, file.path, options);
  }
  Status write(int value = 0) {
    return wait_for(reactor, [&](DiskDone done) {
      disk->write(0, {filled(4096, value)}, true, std::move(done));
    });
  }
  Status read() {
    return wait_for(reactor,
                    [&](DiskDone done) { disk->read(0, Buffer::allocate(4096), std::move(done)); });
  }
  // Until the thread makes the flushes. They take no time here.
  void settle() {
    for (int i = 0; i < 100 && disk->flush_counts().own_thread == 0; ++i) CHECK(write());
    REQUIRE(disk->flush_counts().own_thread > 0);
  }

  TemporaryPath file;
  std::unique_ptr<UringReactor> real = make_reactor();
  ScriptedFlushes reactor{*real};
  std::unique_ptr<UringDisk> disk;
};

}  // namespace

TEST_CASE("flushes beside a reader, and those asked for, are made by a worker") {
  FlushedDisk flushed("reader");
  flushed.settle();
  const UringDisk::FlushCounts alone = flushed.disk->flush_counts();
  for (int i = 0; i < 20; ++i) {
    CHECK(flushed.read());
    CHECK(flushed.write(i));
    flushed.reactor.clock_ns += FlushPlace::kReaderNs;
    CHECK(wait_for(flushed.reactor, [&](DiskDone done) { flushed.disk->flush(std::move(done)); }));
  }
  CHECK(flushed.disk->flush_counts().worker == alone.worker + 40);
  CHECK(flushed.disk->flush_counts().own_thread == alone.own_thread);
  CHECK(flushed.write(19));  // the last read is long ago
  CHECK(flushed.disk->flush_counts().own_thread == alone.own_thread + 1);
  Buffer last = Buffer::allocate(4096);
  REQUIRE(flushed.disk->read_now(0, {last.data(), last.size()}));
  CHECK(all_are({last.data(), last.size()}, 19));
}

TEST_CASE("an error of the thread's own flush reaches every write that waited for it") {
  FlushedDisk flushed("error");
  flushed.settle();
  flushed.reactor.result = -EIO;
  const std::uint64_t before = flushed.disk->flush_counts().own_thread;
  std::vector<Status> answers;
  flushed.reactor.post([&] {
    for (int i = 0; i < 8; ++i)
      flushed.disk->write(4096U * static_cast<unsigned>(i), {filled(4096, i)}, true,
                          [&](Status status) {
                            answers.push_back(std::move(status));
                            if (answers.size() == 8) flushed.reactor.stop();
                          });
  });
  flushed.reactor.run();
  REQUIRE(answers.size() == 8);
  for (const Status& answer : answers) CHECK(answer.code() == ErrorCode::io_error);
  CHECK(flushed.disk->flush_counts().own_thread > before);
}

TEST_CASE("after a flush that failed no later one succeeds, of either half") {
  FlushedDisk flushed("sticky");
  flushed.settle();
  CHECK(flushed.disk->flush_now());
  flushed.reactor.result = -EIO;
  CHECK(!flushed.write(1));
  flushed.reactor.result = 0;
  for (int i = 0; i < 3; ++i) CHECK(!flushed.write(2));
  const Status asked =
      wait_for(flushed.reactor, [&](DiskDone done) { flushed.disk->flush(std::move(done)); });
  CHECK(asked.code() == ErrorCode::io_error);
  CHECK(asked.to_string().find("an earlier one has failed") != std::string::npos);
  CHECK(flushed.disk->flush_now().code() == ErrorCode::io_error);
  CHECK(flushed.read());
}

TEST_CASE("a flush that was cancelled has lost nothing") {
  FlushedDisk flushed("cancelled");
  flushed.settle();
  flushed.reactor.result = -ECANCELED;
  CHECK(!flushed.write(1));
  flushed.reactor.result = 0;
  CHECK(flushed.write(2));
}

TEST_CASE("while a worker makes a flush, the thread does not") {
  FlushedDisk flushed("beside");
  flushed.settle();
  const std::uint64_t before = flushed.disk->flush_counts().own_thread;
  flushed.reactor.holds_workers = true;
  std::vector<Status> answers;
  const auto answered = [&](Status status) {
    answers.push_back(std::move(status));
    if (answers.size() == 2) flushed.reactor.stop();
  };
  flushed.reactor.post([&] { flushed.disk->flush(answered); });
  // Later than that flush has begun: were the thread to make this one, it would be done at once.
  flushed.reactor.run_after(kMillisecond,
                            [&] { flushed.disk->write(0, {filled(4096, 1)}, true, answered); });
  int tries = 0;
  UniqueFunction<void()> release;
  release = [&] {
    if (++tries == 10'000) return flushed.reactor.stop();
    if (flushed.reactor.workers.size() < 2)
      return static_cast<void>(flushed.reactor.run_after(kMillisecond, [&] { release(); }));
    for (IoDone& done : std::exchange(flushed.reactor.workers, {})) done(-EIO);
  };
  release();
  flushed.reactor.run();
  REQUIRE(answers.size() == 2);
  for (const Status& answer : answers) CHECK(answer.code() == ErrorCode::io_error);
  CHECK(flushed.disk->flush_counts().own_thread == before);
}

TEST_CASE("a disk may go away in the answer to a flush of the thread") {
  FlushedDisk flushed("gone");
  flushed.settle();
  int answers = 0;
  flushed.reactor.post([&] {
    for (unsigned i = 0; i < 4; ++i)
      flushed.disk->write(4096U * i, {filled(4096, 1)}, true, [&](Status status) {
        CHECK(status);
        ++answers;
        flushed.disk.reset();
        flushed.reactor.run_after(kMillisecond, [&] { flushed.reactor.stop(); });
      });
  });
  flushed.reactor.run();
  CHECK(answers == 1);
}

}  // namespace cairn::io
