// The small store's sizes, and calls that wait.
#include "explore/machine.hh"

#include "object_store/kv/kv_store.hh"

namespace cairn::explore {

namespace {

object_store::Identity identity() {
  object_store::Identity identity;
  identity.cluster.fill(1);
  identity.osd = 3;
  identity.store.fill(2);
  return identity;
}

Status no_answer() { return {ErrorCode::timed_out, "the store did not answer"}; }

}  // namespace

object_store::Geometry StoreGeometry::parts() const {
  object_store::Geometry geometry;
  geometry.wal_bytes = wal_bytes;
  geometry.kv_unit_bytes = kBlockBytes;
  geometry.kv_bytes = kv::KvStore::minimum_region_bytes(kBlockBytes);
  return geometry;
}

std::uint64_t StoreGeometry::disk_bytes() const {
  constexpr std::uint64_t kSuperblocks = 2;
  return wal_bytes + parts().kv_bytes + (data_blocks + kSuperblocks) * kBlockBytes;
}

object_store::Options small_options() {
  object_store::Options options;
  options.large_write_bytes = std::uint64_t{16} << 10;
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

Result<io::SimDiskImage> formatted_image(const StoreGeometry& geometry) {
  io::SimExecutor executor;
  io::SimDisk disk(executor, io::SimDiskImage(geometry.disk_bytes()));
  CAIRN_RETURN_IF_ERROR(object_store::ObjectStore::format(disk, identity(), geometry.parts()));
  return disk.image();
}

Status Machine::open() {
  Result<std::unique_ptr<object_store::ObjectStore>> opened =
      object_store::ObjectStore::open(executor, disk, identity(), small_options());
  if (!opened) return opened.status();
  store = std::move(*opened);
  return {};
}

Status Machine::submit(object_store::Transaction transaction) {
  bool is_done = false;
  Status result;
  store->submit(std::move(transaction), [&](Status status) {
    result = std::move(status);
    is_done = true;
  });
  return run_until(is_done) ? result : no_answer();
}

Status Machine::checkpoint() {
  bool is_done = false;
  Status result;
  store->checkpoint([&](Status status) {
    result = std::move(status);
    is_done = true;
  });
  return run_until(is_done) ? result : no_answer();
}

}  // namespace cairn::explore
