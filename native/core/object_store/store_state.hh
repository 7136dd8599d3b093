// StoreState: the parts that make up an open store, as the loader, the mutator, the reader, the
// checkpoint and replay share them. Only data: who may change what stands with each part.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/disk.hh"
#include "io/executor.hh"
#include "object_store/allocator.hh"
#include "object_store/checkpoint_set.hh"
#include "object_store/kv/kv_store.hh"
#include "object_store/metadata_cache.hh"
#include "object_store/object_store.hh"
#include "object_store/overlay.hh"
#include "object_store/pg_table.hh"
#include "object_store/superblock.hh"

namespace cairn::object_store {

// Completions of a store that is gone must not touch it: they hold a weak reference to this.
using Lifetime = std::shared_ptr<char>;

struct StoreState {
  StoreState(io::Executor& executor_port, io::Disk& disk_port, const Superblock& found,
             Options given)
      : executor(executor_port),
        disk(disk_port),
        superblock(found),
        options(std::move(given)),
        cache(options.metadata_cache_bytes),
        allocator(found.layout.data_blocks, checkpoint_set) {}

  std::uint64_t disk_offset(std::uint32_t physical) const {
    return superblock.layout.data_offset + std::uint64_t{physical} * kBlockBytes;
  }
  void log(const char* level, const std::string& text) const {
    if (options.log) options.log(level, text);
  }

  io::Executor& executor;
  io::Disk& disk;
  Superblock superblock;
  Options options;
  std::unique_ptr<kv::KvStore> kv;
  CheckpointSet checkpoint_set;
  MetadataCache cache;
  Allocator allocator;
  Overlay overlay;
  PgTable pgs;
  std::uint64_t next_id = 1;
  std::uint64_t applied_sequence = 0;  // of the last durable checkpoint
  // Omaps that a clone is about to copy, by omap id: complete as of the moment of loading.
  std::map<std::uint64_t, CheckpointSet::PendingValues> loaded_omaps;
  // What the background has to reclaim: collections of removed PGs, and omaps without an object.
  std::set<keys::Collection> removed_collections;
  std::set<std::uint64_t> garbage_omaps;
  // Something is being loaded for a transaction: until that has it, nothing may leave the cache.
  bool is_loading = false;
  Counters counters;
  // ok until the first error of the disk or of the key-value region, which then stays here; after
  // it nothing is acknowledged.
  Status health;
  Lifetime lifetime = std::make_shared<char>();
};

}  // namespace cairn::object_store
