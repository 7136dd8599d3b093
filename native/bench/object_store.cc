// CPU and latency of the object store alone: 4 KiB random overwrites with a PG log entry each, as a
// replica does them, on a file or block device through io_uring.
//
//   bench_object_store FILE [SECONDS [MIB]]
//
// Four parts: latency at queue depth 1, IOPS and CPU at queue depth 32 in the steady state
// (checkpoints included), the CPU of committing and of checkpointing the same operations apart, and
// the same of first writes after a snapshot (clone, one block, attribute), one at a time, to
// objects of one block and of 1024. FILE is made sparse, and removed afterwards; of a block device
// the content is lost.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "io/random.hh"
#include "io/reactor.hh"
#include "io/uring_disk.hh"
#include "object_store/object_store.hh"

using namespace cairn;
using object_store::ObjectStore;
using object_store::Transaction;

namespace {

constexpr std::uint64_t kObjectBlocks = 1024;
constexpr std::uint32_t kPgs = 64;
constexpr std::size_t kLogEntryBytes = 150;
constexpr std::uint64_t kLogKept = 500;
constexpr std::uint64_t kSeparateOperations = 8000;

[[noreturn]] void fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  std::exit(1);
}

double cpu_us(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto us = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

class Bench {
 public:
  Bench(io::Reactor& reactor, ObjectStore& store, std::uint64_t objects)
      : reactor_(reactor), store_(store), objects_(objects) {
    for (Buffer& data : data_) {
      data = Buffer::allocate(kBlockBytes);
      for (std::size_t i = 0; i < kBlockBytes; ++i)
        data.data()[i] = static_cast<std::byte>(random_.next());
    }
  }

  void fill() {
    for (std::uint64_t i = 0; i < objects_; ++i) {
      Transaction transaction;
      const PgId pg = pg_of(i);
      const std::uint64_t number = ++numbers_[pg.seed];
      transaction.write(pg, object(i), 0, Buffer::zeroed(kObjectBlocks * kBlockBytes), {1, number});
      transaction.log_append(pg, number, std::vector<std::byte>(kLogEntryBytes));
      submit(std::move(transaction));
    }
    checkpoint();
  }

  void checkpoint() {
    wait([&](object_store::Done done) { store_.checkpoint(std::move(done)); });
  }

  // Objects of one block, numbered behind the full ones.
  void fill_sparse(std::uint64_t count) {
    for (std::uint64_t i = objects_; i < objects_ + count; ++i) {
      Transaction transaction;
      transaction.write(pg_of(i), object(i), 0, data_[0], {1, 1});
      submit(std::move(transaction));
    }
    checkpoint();
  }

  // What the first write after a snapshot is to the store, for each of the objects.
  void write_after_snapshot(std::uint64_t first, std::uint64_t count, std::uint64_t snap) {
    constexpr std::size_t kAttrBytes = 12;
    for (std::uint64_t i = first; i < first + count; ++i) {
      const PgId pg = pg_of(i);
      const std::uint64_t number = ++numbers_[pg.seed];
      const ObjectId head = object(i);
      Transaction transaction;
      transaction.clone(pg, head, {head.pool, head.name, snap}, {1, number});
      transaction.write(pg, head, 0, data_[number % kBuffers], {1, number});
      transaction.set_attr(pg, head, std::string(kAttrBytes, 'a'), {1, number});
      transaction.log_append(pg, number, std::vector<std::byte>(kLogEntryBytes));
      submit(std::move(transaction));
    }
  }
  std::uint64_t objects() const { return objects_; }

  // Keeps depth writes under way until so many have been made or the time is over.
  std::uint64_t run(unsigned depth, std::uint64_t most, double seconds) {
    until_ns_ = reactor_.now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    left_ = most;
    finished_ = 0;
    for (unsigned i = 0; i < depth; ++i) start();
    reactor_.run();
    return finished_;
  }

 private:
  static PgId pg_of(std::uint64_t index) { return {1, static_cast<std::uint32_t>(index % kPgs)}; }
  static ObjectId object(std::uint64_t index) {
    char name[64];
    std::snprintf(name, sizeof name, "rbd_data.0123456789ab.%016lx", index);
    return {1, name, kHead};
  }

  void submit(Transaction transaction) {
    wait([&](object_store::Done done) { store_.submit(std::move(transaction), std::move(done)); });
  }

  template <typename Call>
  void wait(Call call) {
    call([this](Status status) {
      if (!status) fail(status);
      reactor_.stop();
    });
    reactor_.run();
  }

  void start() {
    if (left_ == 0 || reactor_.now_ns() >= until_ns_) {
      if (under_way_ == 0) reactor_.stop();
      return;
    }
    --left_;
    ++under_way_;
    const std::uint64_t index = random_.below(objects_);
    const PgId pg = pg_of(index);
    const std::uint64_t number = ++numbers_[pg.seed];
    Transaction transaction;
    transaction.write(pg, object(index), random_.below(kObjectBlocks) * kBlockBytes,
                      data_[number % kBuffers], {1, number});
    transaction.log_append(pg, number, std::vector<std::byte>(kLogEntryBytes));
    if (number % 64 == 0 && number > kLogKept) transaction.log_trim(pg, number - kLogKept);
    store_.submit(std::move(transaction), [this](Status status) {
      if (!status) fail(status);
      ++finished_;
      --under_way_;
      start();
    });
  }

  static constexpr std::size_t kBuffers = 64;
  io::Reactor& reactor_;
  ObjectStore& store_;
  const std::uint64_t objects_;
  io::Random random_{1};
  Buffer data_[kBuffers];
  std::uint64_t numbers_[kPgs] = {};
  std::uint64_t until_ns_ = 0;
  std::uint64_t left_ = 0;
  std::uint64_t under_way_ = 0;
  std::uint64_t finished_ = 0;
};

void report_steady_state(Bench& bench, ObjectStore& store, double seconds) {
  const double all_before = cpu_us(RUSAGE_SELF);
  const double thread_before = cpu_us(RUSAGE_THREAD);
  const object_store::Counters before = store.counters();
  const std::uint64_t finished = bench.run(32, ~std::uint64_t{0}, seconds);
  const object_store::Counters& after = store.counters();
  const auto per_op = [&](double value) { return value / static_cast<double>(finished); };
  const double all = per_op(cpu_us(RUSAGE_SELF) - all_before);
  const double thread = per_op(cpu_us(RUSAGE_THREAD) - thread_before);
  std::printf("QD32: %.0f IOPS, CPU %.1f us a write (reactor %.1f, key-value threads %.1f)\n",
              static_cast<double>(finished) / seconds, all, thread, all - thread);
  std::printf(
      "      %.1f writes a WAL record, %.0f WAL bytes a write, %lu checkpoints, "
      "%.2f blocks written in place a write\n",
      static_cast<double>(finished) / static_cast<double>(after.wal_groups - before.wal_groups),
      per_op(static_cast<double>(after.wal_bytes - before.wal_bytes)),
      after.checkpoints - before.checkpoints,
      per_op(static_cast<double>(after.data_written_bytes - before.data_written_bytes)) /
          static_cast<double>(kBlockBytes));
}

void report_apart(Bench& bench) {
  bench.checkpoint();
  const double start = cpu_us(RUSAGE_SELF);
  bench.run(32, kSeparateOperations, 60);
  const double committed = cpu_us(RUSAGE_SELF);
  const double thread_start = cpu_us(RUSAGE_THREAD);
  bench.checkpoint();
  const double all = cpu_us(RUSAGE_SELF) - committed;
  const double thread = cpu_us(RUSAGE_THREAD) - thread_start;
  const auto per_op = [](double us) { return us / static_cast<double>(kSeparateOperations); };
  std::printf("apart: commit %.1f us a write, checkpoint %.1f us (reactor %.1f, key-value %.1f)\n",
              per_op(committed - start), per_op(all), per_op(thread), per_op(all - thread));
}

void report_snapshots(Bench& bench, io::Reactor& reactor) {
  const std::uint64_t count = std::min<std::uint64_t>(bench.objects(), 64);
  bench.fill_sparse(count);
  std::uint64_t snap = 1;
  for (const bool is_full : {false, true}) {
    const std::uint64_t first = is_full ? 0 : bench.objects();
    // The second round has what the first one had to load.
    for (const char* const round : {"cold", "warm"}) {
      const double cpu_start = cpu_us(RUSAGE_THREAD);
      const std::uint64_t start_ns = reactor.now_ns();
      bench.write_after_snapshot(first, count, snap++);
      const double cpu = cpu_us(RUSAGE_THREAD) - cpu_start;
      const double taken_us = static_cast<double>(reactor.now_ns() - start_ns) / 1e3;
      const double checkpoint_start = cpu_us(RUSAGE_SELF);
      bench.checkpoint();
      const double checkpoint = cpu_us(RUSAGE_SELF) - checkpoint_start;
      const auto per_op = [count](double us) { return us / static_cast<double>(count); };
      std::printf(
          "first write after a snapshot, %s, %s: %.0f us, CPU %.1f us, checkpoint %.1f us\n",
          is_full ? "1024 blocks" : "1 block", round, per_op(taken_us), per_op(cpu),
          per_op(checkpoint));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: %s FILE [SECONDS [MIB]]\n", argv[0]);
    return 2;
  }
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  const std::uint64_t mib = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1024;
  Result<std::unique_ptr<io::Reactor>> reactor = io::Reactor::create();
  if (!reactor) fail(reactor.status());
  const std::uint64_t size = (2 * mib + 512) << 20;
  Result<std::unique_ptr<io::UringDisk>> disk =
      io::UringDisk::open(**reactor, argv[1], {.create = true, .size_bytes = size});
  if (!disk) fail(disk.status());
  object_store::Identity identity;
  identity.store.fill(7);
  if (Status status = ObjectStore::format(**disk, identity, {}); !status) fail(status);
  object_store::Options options;
  options.post_back = [&](io::Task task) { (*reactor)->post_from_any_thread(std::move(task)); };
  auto store = ObjectStore::open(**reactor, **disk, identity, std::move(options));
  if (!store) fail(store.status());
  {
    Bench bench(**reactor, **store, mib / 4);
    bench.fill();
    const std::uint64_t count = bench.run(1, ~std::uint64_t{0}, seconds / 2);
    const Histogram& latency = (*store)->counters().commit_ns;
    std::printf("QD1:  %.0f IOPS, commit p50 %.0f us, p99 %.0f us\n",
                static_cast<double>(count) / (seconds / 2),
                static_cast<double>(latency.percentile_ns(0.5)) / 1e3,
                static_cast<double>(latency.percentile_ns(0.99)) / 1e3);
    report_steady_state(bench, **store, seconds);
    report_apart(bench);
    report_snapshots(bench, **reactor);
  }
  store->reset();
  struct stat info {};
  if (::stat(argv[1], &info) == 0 && S_ISREG(info.st_mode)) ::unlink(argv[1]);
  return 0;
}
