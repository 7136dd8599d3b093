// A store on a simulated disk of about 1 MiB, small enough for thousands of crashes a second.
#pragma once

#include <memory>
#include <utility>

#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "object_store/object_store.hh"

namespace cairn::explore {

// What a run's stores look like. The key-value region has the least size that it takes.
struct StoreGeometry {
  std::uint64_t wal_bytes = std::uint64_t{128} << 10;
  std::uint32_t data_blocks = 96;

  object_store::Geometry parts() const;
  std::uint64_t disk_bytes() const;
};

object_store::Options small_options();

// A freshly formatted disk. Errors: those of ObjectStore::format().
Result<io::SimDiskImage> formatted_image(const StoreGeometry& geometry);

class Machine {
 public:
  Machine(io::SimDiskImage image, std::uint64_t seed)
      : executor({.seed = seed, .shuffle = true}),
        disk(executor, std::move(image), {.seed = seed}) {}
  // The power goes: what is in flight never completes.
  ~Machine() { store.reset(); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Status open();
  // False: nothing set the flag in a minute.
  bool run_until(const bool& flag) {
    return executor.run_until([&] { return flag; }, kAnswerLimitNs);
  }
  Status submit(object_store::Transaction transaction);
  Status checkpoint();

  static constexpr std::uint64_t kAnswerLimitNs = 60'000'000'000;

  io::SimExecutor executor;
  io::SimDisk disk;
  std::unique_ptr<object_store::ObjectStore> store;
};

}  // namespace cairn::explore
