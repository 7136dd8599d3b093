// Encoding of the lease messages: see lease_messages.hh.
#include "net/lease_messages.hh"

#include "net/id_encoding.hh"

namespace cairn::net {

namespace {

constexpr std::size_t kLeasedPgBytes = 12;

Frame encode_as(FrameType type, const Lease& lease) {
  CAIRN_ASSERT(lease.pgs.size() <= kMaxLeasePgs);
  Writer writer;
  writer.reserve(12 + kLeasedPgBytes * lease.pgs.size());
  writer.put(lease.sent_ns);
  writer.put(static_cast<std::uint32_t>(lease.pgs.size()));
  for (const LeasedPg& leased : lease.pgs) {
    put_pg(writer, leased.pg);
    writer.put(leased.interval);
  }
  Frame frame;
  frame.type = type;
  frame.meta = writer.take();
  return frame;
}

}  // namespace

Frame encode_lease(const Lease& lease) { return encode_as(FrameType::lease, lease); }
Frame encode_lease_ack(const Lease& lease) { return encode_as(FrameType::lease_ack, lease); }

Status decode(const Frame& frame, Lease& into) {
  const Status malformed(ErrorCode::protocol_error, "malformed lease");
  Reader reader(frame.meta);
  into.sent_ns = reader.get<std::uint64_t>();
  const auto count = reader.get<std::uint32_t>();
  if (count > kMaxLeasePgs || count > reader.remaining() / kLeasedPgBytes) return malformed;
  into.pgs.resize(count);
  for (LeasedPg& leased : into.pgs) {
    leased.pg = get_pg(reader);
    leased.interval = reader.get<std::uint32_t>();
  }
  return reader.at_end() ? Status::ok() : malformed;
}

}  // namespace cairn::net
