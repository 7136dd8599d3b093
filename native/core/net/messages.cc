// Encoding of the data-path messages. Field order here is the byte table of
// docs/protocol/data-path.md.
#include "net/messages.hh"

#include <algorithm>

#include "net/id_encoding.hh"
#include "net/op_limits.hh"

namespace cairn::net {

namespace {

Status bad(const char* what) {
  return Status(ErrorCode::protocol_error, std::string("malformed ") + what);
}

std::string get_object_name(Reader& reader) {
  const std::string_view name = reader.text16();
  if (name.size() > kMaxObjectNameBytes || name.empty()) reader.fail();
  return std::string(name);
}

bool get_bool(Reader& reader) {
  const auto value = reader.get<std::uint8_t>();
  if (value > 1) reader.fail();
  return value == 1;
}

ErrorCode get_code(Reader& reader) { return static_cast<ErrorCode>(reader.get<std::uint16_t>()); }

void put_pairs(Writer& writer, const std::vector<std::pair<std::string, std::string>>& pairs) {
  writer.put(static_cast<std::uint32_t>(pairs.size()));
  for (const auto& [key, value] : pairs) {
    writer.text16(key);
    writer.blob32(as_bytes(value));
  }
}
void get_pairs(Reader& reader, std::vector<std::pair<std::string, std::string>>& pairs) {
  const auto count = reader.get<std::uint32_t>();
  // A count of more than the bytes that are there can hold is a lie.
  if (count > reader.remaining() / kPairOverheadBytes) return reader.fail();
  pairs.reserve(count);
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
    std::string key(reader.text16());
    std::string value(as_text(reader.blob32()));
    if (key.size() > kMaxOmapKeyBytes || value.size() > kMaxOmapValueBytes) return reader.fail();
    pairs.emplace_back(std::move(key), std::move(value));
  }
}

// Count: its type in the message.
template <typename Count>
void put_steps(Writer& writer, const std::vector<Step>& steps, std::size_t most) {
  CAIRN_ASSERT(steps.size() <= most);
  writer.put(static_cast<Count>(steps.size()));
  for (const Step& step : steps) {
    writer.put(static_cast<std::uint8_t>(step.code));
    writer.put(step.offset);
    writer.put(step.length);
    if (!has_key(step.code)) continue;
    writer.text16(step.key);
    writer.blob32(as_bytes(step.value));
  }
}

// A token of 0 has no key, any other one has.
void put(Writer& writer, const Fence& fence) {
  writer.put(fence.token);
  if (fence.token != 0) writer.text16(fence.key);
}
Fence get_fence(Reader& reader) {
  Fence fence;
  fence.token = reader.get<std::uint64_t>();
  if (fence.token == 0) return fence;
  fence.key = reader.text16();
  if (fence.key.empty() || fence.key.size() > kMaxFenceKeyBytes) reader.fail();
  return fence;
}

template <typename Count>
void get_steps(Reader& reader, std::vector<Step>& steps, std::size_t most) {
  const auto count = reader.get<Count>();
  if (count == 0 || count > most || count > reader.remaining()) return reader.fail();
  steps.resize(count);
  for (Step& step : steps) {
    const auto code = reader.get<std::uint8_t>();
    if (code == 0 || code > kMaxStepCode) return reader.fail();
    step.code = static_cast<StepCode>(code);
    step.offset = reader.get<std::uint64_t>();
    step.length = reader.get<std::uint64_t>();
    if (has_key(step.code)) {
      step.key = reader.text16();
      step.value = as_text(reader.blob32());
    }
    if (!check_step(step)) return reader.fail();
  }
}

// The flags of an op, behind the epoch.
constexpr std::uint8_t kResent = 1;
constexpr std::uint8_t kHasSnap = 2;
constexpr std::uint8_t kHasSnapContext = 4;
constexpr std::uint8_t kTraced = 8;
constexpr std::uint8_t kHasReservation = 16;
// Of a reply, behind `exists`.
constexpr std::uint8_t kExists = 1;
constexpr std::uint8_t kHasTrace = 2;

void put(Writer& writer, const SnapContext& context) {
  CAIRN_ASSERT(context.snaps.size() <= kMaxContextSnaps);
  writer.put(context.seq);
  writer.put(static_cast<std::uint16_t>(context.snaps.size()));
  for (const std::uint64_t snap : context.snaps) writer.put(snap);
}
SnapContext get_snap_context(Reader& reader) {
  SnapContext context;
  context.seq = reader.get<std::uint64_t>();
  const auto count = reader.get<std::uint16_t>();
  if (context.seq == 0 || count > kMaxContextSnaps) reader.fail();
  for (std::uint16_t i = 0; i < count && reader.ok(); ++i) {
    context.snaps.push_back(reader.get<std::uint64_t>());
  }
  if (!check_snap_context(context)) reader.fail();
  return context;
}

Frame finish(FrameType type, Writer& writer, Buffer data = {}) {
  Frame frame;
  frame.type = type;
  frame.meta = writer.take();
  frame.data = std::move(data);
  return frame;
}

}  // namespace

Frame encode(const OpRequest& request, Buffer data) {
  Writer writer;
  writer.reserve(96 + request.object.size() + 20 * request.steps.size());
  put_request_id(writer, request.id);
  writer.put(request.oldest_unacked);
  writer.put(request.map_epoch);
  const bool has_snap = request.snap != kHead;
  const bool has_context = request.snap_context.seq != 0;
  writer.put(static_cast<std::uint8_t>((request.resent ? kResent : 0) | (has_snap ? kHasSnap : 0) |
                                       (has_context ? kHasSnapContext : 0) |
                                       (request.traced ? kTraced : 0) |
                                       (request.reservation.iops != 0 ? kHasReservation : 0)));
  put_pg(writer, request.pg);
  writer.text16(request.object);
  put(writer, request.fence);
  if (has_snap) writer.put(request.snap);
  if (has_context) put(writer, request.snap_context);
  if (request.reservation.iops != 0) put(writer, request.reservation);
  put_steps<std::uint8_t>(writer, request.steps, kMaxStepsPerOp);
  return finish(FrameType::op, writer, std::move(data));
}

Status decode(const Frame& frame, OpRequest& into) {
  if (frame.meta.size() > kMaxOpMetaBytes) return bad("op: too many key-values");
  Reader reader(frame.meta);
  into.id = get_request_id(reader);
  into.oldest_unacked = reader.get<std::uint64_t>();
  into.map_epoch = reader.get<std::uint32_t>();
  const auto flags = reader.get<std::uint8_t>();
  if (flags > (kResent | kHasSnap | kHasSnapContext | kTraced | kHasReservation)) return bad("op");
  into.resent = (flags & kResent) != 0;
  into.traced = (flags & kTraced) != 0;
  into.pg = get_pg(reader);
  into.object = get_object_name(reader);
  into.fence = get_fence(reader);
  if ((flags & kHasSnap) != 0) {
    into.snap = reader.get<std::uint64_t>();
    if (into.snap == kHead) return bad("op");
  }
  if ((flags & kHasSnapContext) != 0) into.snap_context = get_snap_context(reader);
  if ((flags & kHasReservation) != 0) into.reservation = get_reservation(reader);
  get_steps<std::uint8_t>(reader, into.steps, kMaxStepsPerOp);
  return reader.at_end() && check_steps(into, frame.data.size()) ? Status::ok() : bad("op");
}

Frame encode(const OpReply& reply, Buffer data) {
  Writer writer;
  writer.reserve(32);
  writer.put(reply.sequence);
  writer.put(static_cast<std::uint16_t>(reply.code));
  writer.put(reply.epoch);
  writer.put(
      static_cast<std::uint8_t>((reply.exists ? kExists : 0) | (reply.trace ? kHasTrace : 0)));
  writer.put(static_cast<std::uint32_t>(reply.extents.size()));
  for (const ExtentRun& run : reply.extents) {
    writer.put(run.offset);
    writer.put(run.length);
    writer.put(run.state);
  }
  put_pairs(writer, reply.omap);
  writer.text16(std::string_view(reply.message).substr(0, kMaxReplyMessageBytes));
  if (reply.trace) put(writer, *reply.trace);
  return finish(FrameType::op_reply, writer, std::move(data));
}

Status decode(const Frame& frame, OpReply& into) {
  Reader reader(frame.meta);
  into.sequence = reader.get<std::uint64_t>();
  into.code = get_code(reader);
  into.epoch = reader.get<std::uint32_t>();
  const auto flags = reader.get<std::uint8_t>();
  if (flags > (kExists | kHasTrace)) return bad("op_reply");
  into.exists = (flags & kExists) != 0;
  const auto extent_count = reader.get<std::uint32_t>();
  if (extent_count > reader.remaining() / 17) return bad("op_reply");
  into.extents.resize(extent_count);
  for (ExtentRun& run : into.extents) {
    run.offset = reader.get<std::uint64_t>();
    run.length = reader.get<std::uint64_t>();
    run.state = reader.get<std::uint8_t>();
    if (run.state > kMaxBlockState) return bad("op_reply");
  }
  get_pairs(reader, into.omap);
  into.message = reader.text16();
  if ((flags & kHasTrace) != 0) into.trace = get_op_trace(reader);
  return reader.at_end() ? Status::ok() : bad("op_reply");
}

void encode(const LogEntry& entry, Writer& writer) {
  put_version(writer, entry.version);
  put_request_id(writer, entry.request);
  writer.put(static_cast<std::uint8_t>(entry.removes ? 1 : 0));
  writer.text16(entry.object);
}

Status decode(Reader& reader, LogEntry& into) {
  into.version = get_version(reader);
  into.request = get_request_id(reader);
  into.removes = get_bool(reader);
  into.object = get_object_name(reader);
  return reader.ok() ? Status::ok() : bad("log entry");
}

Frame encode(const Replicate& message, Buffer data) {
  Writer writer;
  writer.reserve(96 + message.entry.object.size() + 20 * message.steps.size());
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.put(message.trim_to);
  writer.put(static_cast<std::uint8_t>(message.traced ? 1 : 0));
  encode(message.entry, writer);
  put_steps<std::uint16_t>(writer, message.steps, kMaxStepsPerEntry);
  return finish(FrameType::replicate, writer, std::move(data));
}

Status decode(const Frame& frame, Replicate& into) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.trim_to = reader.get<std::uint64_t>();
  into.traced = get_bool(reader);
  CAIRN_RETURN_IF_ERROR(decode(reader, into.entry));
  // The log's numbers start at 1, and an entry never trims itself.
  if (into.trim_to >= into.entry.version.number) return bad("replicate");
  get_steps<std::uint16_t>(reader, into.steps, kMaxStepsPerEntry);
  std::uint64_t written = 0;
  for (const Step& step : into.steps) {
    const bool whole = !has_range(step.code) || (step.offset | step.length) % kBlockBytes == 0;
    // The primary has made other steps of these.
    const bool is_open = step.code == StepCode::copyup || step.code == StepCode::rollback ||
                         step.code == StepCode::sparsify || step.code == StepCode::fill_layers;
    if (!(is_mutation(step.code) || is_internal(step.code)) || is_open || !whole)
      return bad("replicate");
    if (!has_data(step.code)) continue;
    if (step.length == 0) return bad("replicate");
    written += step.length;
  }
  if (written != frame.data.size()) return bad("replicate");
  return reader.at_end() ? Status::ok() : bad("replicate");
}

Frame encode(const ReplicateAck& message) {
  Writer writer;
  writer.reserve(24);
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.put(message.number);
  writer.put(static_cast<std::uint16_t>(message.code));
  writer.put(static_cast<std::uint8_t>(message.commit_ns ? 1 : 0));
  if (message.commit_ns) writer.put(*message.commit_ns);
  return finish(FrameType::replicate_ack, writer);
}

Status decode(const Frame& frame, ReplicateAck& into) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.number = reader.get<std::uint64_t>();
  into.code = get_code(reader);
  if (get_bool(reader)) into.commit_ns = reader.get<std::uint64_t>();
  return reader.at_end() ? Status::ok() : bad("replicate_ack");
}

Frame encode(const Pull& message) {
  Writer writer;
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.text16(message.object);
  return finish(FrameType::pull, writer);
}

Status decode(const Frame& frame, Pull& into) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.object = get_object_name(reader);
  return reader.at_end() ? Status::ok() : bad("pull");
}

Frame encode(const Push& message, Buffer data) {
  Writer writer;
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.text16(message.object);
  const bool is_clone = message.layer != kHead;
  const bool has_attr = !message.attr.empty();
  const int flags = (message.exists ? 1 : 0) | (message.first ? 2 : 0) | (message.last ? 4 : 0) |
                    (message.is_pull_reply ? 8 : 0) | (is_clone ? 16 : 0) | (has_attr ? 32 : 0) |
                    (message.clears_omap ? 64 : 0);
  writer.put(static_cast<std::uint8_t>(flags));
  put_version(writer, message.version);
  if (is_clone) {
    writer.put(message.layer);
    writer.put(message.base);
  }
  if (has_attr) writer.text16(message.attr);
  writer.put(static_cast<std::uint32_t>(message.blocks.size()));
  for (const PushBlock& block : message.blocks) {
    writer.put(block.index);
    writer.put(block.state);
    writer.put(block.crc);
    put_version(writer, block.version);
  }
  put_pairs(writer, message.omap);
  return finish(FrameType::push, writer, std::move(data));
}

Status decode(const Frame& frame, Push& into) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.object = get_object_name(reader);
  const auto flags = reader.get<std::uint8_t>();
  if (flags > 127) return bad("push");
  into.exists = (flags & 1) != 0;
  into.first = (flags & 2) != 0;
  into.last = (flags & 4) != 0;
  into.is_pull_reply = (flags & 8) != 0;
  into.clears_omap = (flags & 64) != 0;
  into.version = get_version(reader);
  const bool is_clone = (flags & 16) != 0;
  if (is_clone) {
    into.layer = reader.get<std::uint64_t>();
    into.base = reader.get<std::uint64_t>();
    // A clone is made of a newer layer, behind the first part.
    const bool fits = into.layer != 0 && into.layer != kHead && into.exists && !into.first &&
                      (into.base == 0 || into.base > into.layer);
    if (!fits) return bad("push");
  }
  if ((flags & 32) != 0) {
    into.attr = reader.text16();
    if (into.attr.empty() || into.attr.size() > kMaxSnapSetBytes || !into.first || !into.exists)
      return bad("push");
  }
  if (into.clears_omap && !is_clone) return bad("push");
  const auto block_count = reader.get<std::uint32_t>();
  if (block_count > kMaxObjectBytes / kBlockBytes) return bad("push");
  into.blocks.resize(block_count);
  std::uint64_t data_bytes = 0;
  std::uint32_t next_index = 0;
  for (PushBlock& block : into.blocks) {
    block.index = reader.get<std::uint32_t>();
    block.state = reader.get<std::uint8_t>();
    block.crc = reader.get<std::uint32_t>();
    block.version = get_version(reader);
    // Ascending; absent blocks are left out, but where a clone differs by them.
    if (block.index < next_index || block.index >= kMaxObjectBytes / kBlockBytes ||
        (block.state == 0 && !is_clone) || block.state > kMaxBlockState) {
      return bad("push");
    }
    next_index = block.index + 1;
    if (block.state == 2) data_bytes += kBlockBytes;
  }
  get_pairs(reader, into.omap);
  if (data_bytes != frame.data.size()) return bad("push");
  return reader.at_end() ? Status::ok() : bad("push");
}

Frame encode(const PushAck& message) {
  Writer writer;
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.text16(message.object);
  writer.put(static_cast<std::uint16_t>(message.code));
  return finish(FrameType::push_ack, writer);
}

Status decode(const Frame& frame, PushAck& into) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.object = get_object_name(reader);
  into.code = get_code(reader);
  return reader.at_end() ? Status::ok() : bad("push_ack");
}

namespace {
Frame encode_heartbeat(FrameType type, const Ping& ping) {
  Writer writer;
  writer.put(ping.sent_ns);
  writer.put(ping.epoch);
  writer.put(ping.loop_age_ms);
  writer.put(ping.disk_age_ms);
  return finish(type, writer);
}
}  // namespace

Frame encode_ping(const Ping& ping) { return encode_heartbeat(FrameType::ping, ping); }
Frame encode_pong(const Ping& ping) { return encode_heartbeat(FrameType::pong, ping); }

Status decode(const Frame& frame, Ping& into) {
  Reader reader(frame.meta);
  into.sent_ns = reader.get<std::uint64_t>();
  into.epoch = reader.get<std::uint32_t>();
  into.loop_age_ms = reader.get<std::uint32_t>();
  into.disk_age_ms = reader.get<std::uint32_t>();
  return reader.at_end() ? Status::ok() : bad("ping");
}

}  // namespace cairn::net
