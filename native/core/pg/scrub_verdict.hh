// Which copies of an object are good, from what each member says of its own. Pure.
//
// The copy that counts is the one that the newest log entry of the object speaks of. Where the log
// does not reach back to it: what most members say of its existence, then the newest version, then
// what most members have. Copies that can't be told apart by this are all called bad, and nothing
// is repaired from them. A bad block never makes a copy's metadata doubtful: they lie apart.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "net/scrub_messages.hh"

namespace cairn::pg {

enum class CopyProblem : std::uint8_t {
  none = 0,        // but it may have bad blocks
  missing = 1,     // the object exists, this copy doesn't
  extra = 2,       // the object does not exist, this copy does
  differs = 3,     // blocks, key-values or version are not those of the copy that counts
  unreadable = 4,  // its metadata can't be read
};
std::string_view name_of(CopyProblem problem);

struct BadCopy {
  OsdId osd = kNoOsd;
  CopyProblem problem = CopyProblem::none;
  std::vector<std::uint32_t> bad_blocks;
};

struct ObjectVerdict {
  std::string object;
  std::vector<OsdId> good;  // sources of a repair; empty with bad copies: nothing to repair from
  std::vector<BadCopy> bad;
  // Each bad block and each copy with a problem is one.
  std::uint64_t error_count() const;
};

// newest: the newest log entry of the object, nullptr when the log has none.
ObjectVerdict judge(const std::string& object, const std::map<OsdId, net::ScrubObject>& copies,
                    const net::LogEntry* newest);

}  // namespace cairn::pg
