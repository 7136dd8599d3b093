// OpTrace: where a traced operation's time went at its primary. Durations only, each measured by
// one clock: nobody's clock is compared with another's.
#pragma once

#include <cstdint>

#include "base/bytes.hh"

namespace cairn::net {

struct OpTrace {
  std::uint64_t total_ns = 0;           // from its arrival to the answer
  std::uint64_t queue_ns = 0;           // of it, until it was carried out
  std::uint64_t disk_ns = 0;            // of it, reading from the store, or its own commit
  std::uint64_t replica_wait_ns = 0;    // of it, after the own commit, until the last replica's
  std::uint64_t replica_ns = 0;         // until the slowest replica acknowledged, since it was sent
  std::uint64_t replica_commit_ns = 0;  // of that, as the replica told: its commit
  bool operator==(const OpTrace&) const = default;
};
constexpr std::size_t kOpTraceBytes = 6 * sizeof(std::uint64_t);

void put(Writer& writer, const OpTrace& trace);
OpTrace get_op_trace(Reader& reader);

}  // namespace cairn::net
