// Bodies of the data-path frames: what the client sends to a primary, a primary to its replicas,
// and what recovery moves. docs/protocol/data-path.md has the byte tables; all little-endian. Every
// decode checks every length and returns protocol_error; a decoded value obeys the limits below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.hh"
#include "base/status.hh"
#include "net/frame.hh"
#include "net/op_trace.hh"
#include "net/reservation.hh"

namespace cairn::net {

constexpr std::size_t kMaxStepsPerOp = 64;
constexpr std::size_t kMaxOmapKeyBytes = 1024;
constexpr std::size_t kMaxOmapValueBytes = std::size_t{1} << 20;
// Of an op's meta, and of the key-values of a reply: half of what a frame holds, so that the
// Replicate that an op becomes, or the reply with its other fields, always fits.
constexpr std::size_t kMaxOpMetaBytes = kMaxMetaBytes / 2;
constexpr std::size_t kPairOverheadBytes = 6;  // the lengths of a key and its value
constexpr std::size_t kMaxReplyOmapBytes = kMaxMetaBytes / 2;
constexpr std::size_t kMaxReplyMessageBytes = 1024;
constexpr std::uint8_t kMaxBlockState = 2;  // of object_store::BlockState
constexpr std::size_t kMaxContextSnaps = 512;
constexpr std::uint64_t kMaxListedObjects = 1024;  // by one list_objects or measure_objects
// A Replicate has the operation's own steps and what the primary adds for snapshots; a copyup or
// a sparsify may become a change of each other block.
constexpr std::size_t kMaxStepsPerEntry = 2 * kMaxStepsPerOp + kMaxObjectBytes / kBlockBytes / 2;
constexpr std::size_t kMaxSnapSetBytes = std::size_t{16} << 10;

// One step of an operation on one object. All steps of an operation happen atomically; a failed
// guard (assert_*, omap_compare) fails all of them.
enum class StepCode : std::uint8_t {
  read = 1,            // offset, length; the bytes are the reply's data (one read per operation)
  write = 2,           // offset; the bytes are the request's data (one write per operation)
  write_zeroes = 3,    // offset, length: explicit zeros
  punch = 4,           // offset, length: whole blocks become absent, partial blocks zero
  touch = 5,           // the object exists afterwards
  remove = 6,          // the object does not exist afterwards
  extents = 7,         // offset, length: the block states, as runs
  stat = 8,            // whether it exists
  assert_exists = 9,   // guard: not_found
  assert_absent = 10,  // guard: already_exists
  omap_get = 11,       // key: exact; the value, not_found when it has none
  omap_list = 12,      // key: prefix, value: after this key, length: at most so many
  omap_compare = 13,   // guard: value of key equals value (empty value: key has none)
  omap_set = 14,       // key, value
  omap_remove = 15,    // key
  // Watchers of an object (pg/watch.hh). They change no object and run in order with the guards.
  watch = 16,          // key: cookie, value: description, length: timeout in ms; again: renews
  unwatch = 17,        // key: cookie
  notify = 18,         // value: payload, length: timeout in ms; answered by all, or when it is over
  list_watchers = 19,  //
  // Snapshots and clones (docs/snapshots.md). "To" is the snapshot that the request names.
  sparse_read = 20,     // offset, length: extents, and as data the bytes of those in state data
  copyup = 21,          // offset; data as of a write, whole blocks: those that are absent get it;
                        // the only change of its operation
  assert_present = 22,  // offset, length: guard: precondition_failed when a block is absent
  diff = 23,            // offset: from this snapshot (0: from nothing); extents that differ at "to"
  list_objects = 24,    // key: prefix, value: after this name, length: limit, offset: as diff
  measure_objects = 25,  // as list_objects; counts the blocks that differ
  rollback = 26,         // offset: snapshot; the head becomes what it shows; the only change, too
  // What a primary makes of the changes above; only inside Replicate.
  clone_head = 27,    // offset: id of the new clone
  set_snapset = 28,   // value: the family's snap set (pg/snapset.hh)
  remove_clone = 29,  // offset: id of the clone
  restore_head = 30,  // offset: id of the clone that the head becomes a copy of
  // From clients again.
  sparsify = 31,  // offset: zeros before it stay explicit, length: of units; frees the blocks of
                  // data of units that hold nothing but zeros; the only change, too
  // Deep flattening. value: layers (pack_ids), ascending: snapshots, and kHead for the head.
  fill_layers = 32,  // offset; data as of a write, whole blocks: each layer gets those that are
                     // absent in it; the only change, too
  lacking = 33,      // offset, length: extents; absent where one of the layers lacks the block
  // What a primary makes of fill_layers; only inside Replicate.
  write_layer = 34,  // offset, data as of a write; value: the layer
  share_blocks =
      35,           // offset, length; value: the layer that has the blocks, the one that gets them
  copy_clone = 36,  // offset: id of the new clone, length: id of the clone that it is a copy of
};
constexpr std::uint8_t kMaxStepCode = 36;
// Ids of layers as the value of a step.
std::string pack_ids(const std::vector<std::uint64_t>& ids);
std::vector<std::uint64_t> unpack_ids(std::string_view value);
bool is_mutation(StepCode code);
// A step that no client may send.
bool is_internal(StepCode code);
// A step's code decides which fields follow: ranges carry offset and length, omap steps key and
// value.
bool has_key(StepCode code);
// Its offset and length are a range of the object.
bool has_range(StepCode code);
// It carries bytes of the frame's data.
bool has_data(StepCode code);

// Flags of a listed object.
constexpr std::uint8_t kListedExists = 1;  // at "to"
constexpr std::uint8_t kListedMayDiffer = 2;

constexpr std::size_t kMaxFenceKeyBytes = 64;
constexpr std::size_t kMaxCookieBytes = 64;
constexpr std::size_t kMaxWatchDescriptionBytes = 256;
constexpr std::size_t kMaxNotifyPayloadBytes = 4096;
constexpr std::uint64_t kMaxWatchTimeoutMs = 300'000;

// Whose lock an operation was sent under: an image's id, and the token that its exclusive lock
// handed out. Token 0: under none. docs/protocol/fencing.md
struct Fence {
  std::string key;
  std::uint64_t token = 0;
  bool operator==(const Fence&) const = default;
};

// The snapshots of the image that a change belongs to: the newest one that it ever had, and those
// that exist, newest first. seq 0: it has never had one.
struct SnapContext {
  std::uint64_t seq = 0;
  std::vector<std::uint64_t> snaps;
  bool operator==(const SnapContext&) const = default;
};

struct Step {
  StepCode code = StepCode::stat;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::string key;
  std::string value;
};

// client -> primary
struct OpRequest {
  RequestId id;
  std::uint64_t oldest_unacked = 0;  // every sequence below has been answered and forgotten
  Epoch map_epoch = 0;               // of the map that chose the primary
  bool resent = false;               // it has been sent before, maybe to another primary
  bool traced = false;               // the reply says where the time went
  PgId pg;
  std::string object;
  Fence fence;
  std::uint64_t snap = kHead;     // what its reads see; not kHead: it changes nothing
  SnapContext snap_context = {};  // of its changes
  Reservation reservation = {};
  std::vector<Step> steps;
  bool mutates() const;
};

// A run of blocks with one state (values of object_store::BlockState).
struct ExtentRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint8_t state = 0;
};

// primary -> client
struct OpReply {
  std::uint64_t sequence = 0;
  ErrorCode code = ErrorCode::ok;
  Epoch epoch =
      0;  // the OSD's map epoch; with stale_epoch and not_primary: at least this one is needed
  bool exists = false;
  std::vector<ExtentRun> extents;
  std::vector<std::pair<std::string, std::string>> omap;
  std::string message;
  std::optional<OpTrace> trace = std::nullopt;  // of a traced operation
};

// What happened to one object of a PG; the PG log is a list of these.
struct LogEntry {
  Version version;
  RequestId request;
  std::string object;
  bool removes = false;
};

// primary -> replica: apply these steps as this log entry. Data: the bytes of the writes, whole
// blocks, in the order of the steps.
struct Replicate {
  PgId pg;
  Epoch interval = 0;
  LogEntry entry;
  std::uint64_t trim_to = 0;  // log entries up to this number may go
  std::vector<Step> steps;    // mutations and internal steps only, whole blocks only
  bool traced = false;        // the acknowledgement says how long the commit took
};

struct ReplicateAck {
  PgId pg;
  Epoch interval = 0;
  std::uint64_t number = 0;
  ErrorCode code = ErrorCode::ok;
  std::optional<std::uint64_t> commit_ns = std::nullopt;  // of a traced one
};

// Recovery. A pull asks for an object; the answer is a series of pushes on the same connection, or
// one push with exists = false. A push is answered by push_ack once it is durable. The layers of
// the object come one after the other: the head, then its clones from the newest to the oldest.
struct Pull {
  PgId pg;
  Epoch interval = 0;
  std::string object;
};

struct PushBlock {
  std::uint32_t index = 0;
  std::uint8_t state = 0;  // object_store::BlockState; absent only where a clone's base has a block
  std::uint32_t crc = 0;
  Version version;
};

struct Push {
  PgId pg;
  Epoch interval = 0;
  std::string object;
  bool exists = false;
  bool first = false;  // the target drops all layers that it has before it applies this part
  bool last = false;   // the object is whole after this part, with all its layers
  bool is_pull_reply = false;
  bool clears_omap = false;       // of a clone: it has no key-values before those of this part
  Version version;                // of the layer
  std::uint64_t layer = kHead;    // or the id of a clone
  std::uint64_t base = 0;         // the clone begins as a copy of this layer; 0: it has begun
  std::string attr = {};          // of the head, with the first part
  std::vector<PushBlock> blocks;  // data blocks' bytes follow in order as the frame's data
  std::vector<std::pair<std::string, std::string>> omap;
};

struct PushAck {
  PgId pg;
  Epoch interval = 0;
  std::string object;
  ErrorCode code = ErrorCode::ok;
};

struct Ping {
  std::uint64_t sent_ns = 0;  // the sender's clock, returned in the pong
  Epoch epoch = 0;
  std::uint32_t loop_age_ms = 0;  // since the sender's TypeScript loop last ticked
  std::uint32_t disk_age_ms = 0;  // of the oldest transaction that is not durable
};

// Each encode gives a frame of the matching type; data goes by reference.
Frame encode(const OpRequest& request, Buffer data);
Frame encode(const OpReply& reply, Buffer data);
Frame encode(const Replicate& message, Buffer data);
Frame encode(const ReplicateAck& message);
Frame encode(const Pull& message);
Frame encode(const Push& message, Buffer data);
Frame encode(const PushAck& message);
Frame encode_ping(const Ping& ping);
Frame encode_pong(const Ping& ping);

Status decode(const Frame& frame, OpRequest& into);
Status decode(const Frame& frame, OpReply& into);
Status decode(const Frame& frame, Replicate& into);
Status decode(const Frame& frame, ReplicateAck& into);
Status decode(const Frame& frame, Pull& into);
Status decode(const Frame& frame, Push& into);
Status decode(const Frame& frame, PushAck& into);
Status decode(const Frame& frame, Ping& into);

// The PG log entry as stored, also inside Replicate.
void encode(const LogEntry& entry, Writer& writer);
Status decode(Reader& reader, LogEntry& into);

}  // namespace cairn::net
