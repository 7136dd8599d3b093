// The identifiers that cross folders. All are plain values, ordered and hashable.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace cairn {

using Epoch = std::uint32_t;  // version of the cluster map; 0: none
using OsdId = std::int32_t;   // -1: no OSD
using PoolId = std::uint32_t;
using ClientId = std::uint64_t;  // random, unique per client incarnation

constexpr OsdId kNoOsd = -1;
constexpr std::uint64_t kBlockBytes = 4096;  // allocation and checksum unit
constexpr std::uint64_t kMaxObjectBytes = std::uint64_t{32} << 20;
constexpr std::size_t kMaxObjectNameBytes = 255;

// A placement group: pool and seed in [0, pg_num).
struct PgId {
  PoolId pool = 0;
  std::uint32_t seed = 0;
  auto operator<=>(const PgId&) const = default;
};

// The version of a PG's log entry: the epoch of the interval that made it, then a counter that
// grows by one for each entry of the PG. Ordered by epoch first.
struct Version {
  Epoch epoch = 0;
  std::uint64_t number = 0;
  auto operator<=>(const Version&) const = default;
};

// One operation of one client; resent with the same id, so that it is applied once.
struct RequestId {
  ClientId client = 0;
  std::uint64_t sequence = 0;
  auto operator<=>(const RequestId&) const = default;
};

constexpr std::uint64_t kHead = ~std::uint64_t{0};  // the writable state, not a snapshot

// An object in a pool. snap: kHead, or the snapshot id of a clone.
struct ObjectId {
  PoolId pool = 0;
  std::string name;
  std::uint64_t snap = kHead;
  auto operator<=>(const ObjectId&) const = default;
};

struct PgIdHash {
  std::size_t operator()(const PgId& id) const {
    return (std::uint64_t{id.pool} << 32 | id.seed) * 0x9e3779b97f4a7c15ULL;
  }
};
struct RequestIdHash {
  std::size_t operator()(const RequestId& id) const {
    return (id.client ^ id.sequence * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;
  }
};
struct ObjectIdHash {
  std::size_t operator()(const ObjectId& id) const {
    return std::hash<std::string>{}(id.name) ^ (id.snap * 0x9e3779b97f4a7c15ULL) ^
           (std::uint64_t{id.pool} << 7);
  }
};

}  // namespace cairn
