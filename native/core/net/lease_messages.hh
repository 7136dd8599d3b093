// Bodies of the frames lease and lease_ack (docs/protocol/data-path.md): a primary asks a replica
// for the read leases of the PGs that the two share; the replica names those that it grants. A
// decoder checks every length and returns protocol_error.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.hh"
#include "base/status.hh"
#include "net/frame.hh"

namespace cairn::net {

constexpr std::size_t kMaxLeasePgs = 65536;

// A PG in the interval that the primary serves it in.
struct LeasedPg {
  PgId pg;
  Epoch interval = 0;
  bool operator==(const LeasedPg&) const = default;
};

// Both directions have the same fields; the frame's type tells them apart.
struct Lease {
  std::uint64_t sent_ns = 0;  // the primary's clock when it asked; returned in the answer
  std::vector<LeasedPg> pgs;
};

Frame encode_lease(const Lease& lease);
Frame encode_lease_ack(const Lease& lease);
Status decode(const Frame& frame, Lease& into);

}  // namespace cairn::net
