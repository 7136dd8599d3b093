// For the tests of this folder: a store on a simulated disk, small enough for thousands of them.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>

#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "object_store/kv/kv_store.hh"
#include "object_store/object_store.hh"
#include "object_store/test_model.hh"

namespace cairn::object_store::test {

constexpr std::uint64_t kWalBytes = std::uint64_t{256} << 10;

inline Geometry small_geometry() {
  Geometry geometry;
  geometry.wal_bytes = kWalBytes;
  geometry.kv_unit_bytes = kBlockBytes;
  geometry.kv_bytes =
      (kv::KvStore::minimum_region_bytes(kBlockBytes) / kBlockBytes + 256) * kBlockBytes;
  return geometry;
}

inline std::uint64_t disk_bytes(std::uint32_t data_blocks) {
  const Geometry geometry = small_geometry();
  return geometry.wal_bytes + geometry.kv_bytes + (data_blocks + 2) * kBlockBytes;
}

inline Options small_options() {
  Options options;
  options.large_write_bytes = std::uint64_t{32} << 10;
  options.pending_data_bytes = std::uint64_t{96} << 10;
  options.redirect_run_blocks = 2;
  options.discard_piece_blocks = 4;
  options.discard_rest_ns = 1'000'000;
  options.released_bytes = std::uint64_t{256} << 10;
  options.metadata_cache_bytes = std::uint64_t{12} << 10;
  options.kv_write_buffer_bytes = std::uint64_t{64} << 10;
  options.kv_block_cache_bytes = std::uint64_t{64} << 10;
  options.threaded_kv = false;
  return options;
}

inline Identity test_identity() {
  Identity identity;
  identity.cluster.fill(1);
  identity.osd = 3;
  identity.store.fill(2);
  return identity;
}

// A freshly formatted disk; made once for each size.
inline io::SimDiskImage formatted_image(std::uint32_t data_blocks) {
  io::SimExecutor executor;
  io::SimDisk disk(executor, io::SimDiskImage(disk_bytes(data_blocks)));
  const Status status = ObjectStore::format(disk, test_identity(), small_geometry());
  REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  return disk.image();
}

struct Machine {
  explicit Machine(io::SimDiskImage image, std::uint64_t seed = 1)
      : executor({.seed = seed, .shuffle = true}),
        disk(executor, std::move(image), {.seed = seed}) {}
  ~Machine() { store.reset(); }

  Status open(Options options = small_options(), Identity expected = {}) {
    Result<std::unique_ptr<ObjectStore>> opened =
        ObjectStore::open(executor, disk, expected, std::move(options));
    if (!opened) return opened.status();
    store = std::move(*opened);
    return {};
  }
  void must_open() {
    const Status status = open();
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  void run_until(const bool& flag) {
    const bool came = executor.run_until([&] { return flag; }, 60'000'000'000);
    REQUIRE(came);
  }
  Status submit(Transaction transaction) {
    bool is_done = false;
    Status result;
    store->submit(std::move(transaction), [&](Status status) {
      result = std::move(status);
      is_done = true;
    });
    CHECK(!is_done);
    run_until(is_done);
    return result;
  }
  Status checkpoint() {
    bool is_done = false;
    Status result;
    store->checkpoint([&](Status status) {
      result = std::move(status);
      is_done = true;
    });
    run_until(is_done);
    return result;
  }
  Status close() {
    bool is_done = false;
    Status result;
    store->close([&](Status status) {
      result = std::move(status);
      is_done = true;
    });
    run_until(is_done);
    store.reset();
    return result;
  }
  std::pair<Status, ReadResult> read(PgId pg, const ObjectId& object, std::uint64_t offset,
                                     std::uint64_t length) {
    bool is_done = false;
    std::pair<Status, ReadResult> result;
    store->read(pg, object, offset, length, false, [&](Status status, ReadResult found) {
      result = {std::move(status), std::move(found)};
      is_done = true;
    });
    CHECK(!is_done);
    run_until(is_done);
    return result;
  }
  void check(const Model& model) {
    // load_pgs() does not wait for what is submitted; a read does.
    read({}, {0, "none", kHead}, 0, 0);
    check_equal(*store, model, [this](const bool& flag) { run_until(flag); });
  }

  io::SimExecutor executor;
  io::SimDisk disk;
  std::unique_ptr<ObjectStore> store;
};

}  // namespace cairn::object_store::test
