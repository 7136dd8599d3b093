// Bodies of the frames by which a primary scrubs and repairs the copies of a PG: it asks a member
// what it has, compares, and tells a member that an object of its is no good.
// docs/protocol/data-path.md has the byte tables; decoding is as strict as that of messages.hh.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/messages.hh"

namespace cairn::net {

constexpr std::uint32_t kMaxScrubObjects = 64;  // of one reply
constexpr std::size_t kMaxScrubRecordBytes = std::size_t{256} << 10;

enum class ScrubQuestion : std::uint8_t {
  list = 1,     // the objects behind `name` up to `end`, without reading their data
  verify = 2,   // the object `name`, with every data block read and checked
  record = 3,   // keep `record` as what is known of the PG's scrubs; empty reply
  reserve = 4,  // take part in the PG's scrub, and in no other one; empty reply, or busy
  leave = 5,    // the scrub is over; empty reply
};

// primary -> member
struct ScrubRequest {
  PgId pg;
  Epoch interval = 0;
  std::uint64_t id = 0;  // repeated in the reply
  ScrubQuestion question = ScrubQuestion::list;
  std::string name;                    // may be empty with list: from the start; with record
  std::string end;                     // list: empty is the end of the PG
  std::uint64_t bytes_per_second = 0;  // verify: not faster; 0: as fast as it goes
  std::string record;
};

// One object as one member has it.
struct ScrubObject {
  std::string name;
  ErrorCode code = ErrorCode::ok;  // its metadata, or some of its data, can't be read
  bool exists = false;
  Version version;
  std::uint32_t data_blocks = 0;    // blocks in state data
  std::uint32_t blocks_digest = 0;  // over state, checksum and version of each block
  std::uint32_t omap_digest = 0;
  std::vector<std::uint32_t> bad_blocks;  // verify: those that don't match their checksums
};

// member -> primary
struct ScrubReply {
  PgId pg;
  Epoch interval = 0;
  std::uint64_t id = 0;
  ErrorCode code = ErrorCode::ok;  // busy: this OSD scrubs another PG
  std::string end;                 // list: all objects up to this name are there; empty: all
  std::vector<ScrubObject> objects;
};

// primary -> member: what you have of this object is no good. From the acknowledgement on it is
// durably missing there, and the member takes pushes of it.
struct MarkMissing {
  PgId pg;
  Epoch interval = 0;
  std::uint64_t id = 0;
  std::string object;
  Version version;  // that the good copies have; number 0: they have no such object
};

struct MarkMissingAck {
  PgId pg;
  Epoch interval = 0;
  std::uint64_t id = 0;
  ErrorCode code = ErrorCode::ok;
};

Frame encode(const ScrubRequest& message);
Frame encode(const ScrubReply& message);
Frame encode(const MarkMissing& message);
Frame encode(const MarkMissingAck& message);

Status decode(const Frame& frame, ScrubRequest& into);
Status decode(const Frame& frame, ScrubReply& into);
Status decode(const Frame& frame, MarkMissing& into);
Status decode(const Frame& frame, MarkMissingAck& into);

}  // namespace cairn::net
