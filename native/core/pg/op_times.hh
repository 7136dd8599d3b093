// OpTimes: when a traced operation came to its stations on its primary, by one clock. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/op_trace.hh"

namespace cairn::pg {

struct OpTimes {
  std::uint64_t executing_ns = 0;       // it began to be carried out, for the last time
  std::uint64_t reading_ns = 0;         // since when it waits for the store; 0: it does not
  std::uint64_t read_ns = 0;            // how long it has
  std::uint64_t committing_ns = 0;      // its transaction and its replicate went
  std::uint64_t own_commit_ns = 0;      // how long the own store took
  std::uint64_t replica_ns = 0;         // how long the replica that was last to acknowledge took
  std::uint64_t replica_commit_ns = 0;  // as that one told

  void reads(std::uint64_t now_ns) { reading_ns = now_ns; }
  void has_read(std::uint64_t now_ns) {
    if (reading_ns != 0) read_ns += now_ns - reading_ns;
    reading_ns = 0;
  }
  net::OpTrace trace(std::uint64_t arrived_ns, std::uint64_t now_ns) const {
    net::OpTrace trace;
    trace.total_ns = now_ns - arrived_ns;
    // One that is refused before it is carried out has only waited.
    trace.queue_ns = executing_ns == 0 ? trace.total_ns : executing_ns - arrived_ns;
    trace.disk_ns = read_ns + own_commit_ns;
    trace.replica_wait_ns = std::max(replica_ns, own_commit_ns) - own_commit_ns;
    trace.replica_ns = replica_ns;
    trace.replica_commit_ns = replica_commit_ns;
    return trace;
  }
};

}  // namespace cairn::pg
