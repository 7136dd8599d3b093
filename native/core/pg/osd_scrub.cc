// The scrub part of an OSD: dispatch of its frames, and the one scrub place; and trimming.
#include "pg/osd_core.hh"

#include <utility>

namespace cairn::pg {

namespace {
// A scrub leaves its places when it ends, and a new interval clears them: this is for the rest.
constexpr std::uint64_t kPlaceLimitNs = 600'000'000'000;
}  // namespace

Status OsdCore::dispatch_scrub(net::ConnectionId connection, OsdId from, const net::Frame& frame) {
  switch (frame.type) {
    case net::FrameType::scrub_request: {
      net::ScrubRequest request;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, request));
      if (Pg* pg = find(request.pg)) pg->on_scrub_request(connection, std::move(request));
      return Status::ok();
    }
    case net::FrameType::scrub_reply: {
      net::ScrubReply reply;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, reply));
      if (Pg* pg = find(reply.pg)) pg->on_scrub_reply(from, std::move(reply));
      return Status::ok();
    }
    case net::FrameType::mark_missing: {
      net::MarkMissing message;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, message));
      if (Pg* pg = find(message.pg)) pg->on_mark_missing(connection, message);
      return Status::ok();
    }
    case net::FrameType::mark_missing_ack: {
      net::MarkMissingAck ack;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, ack));
      if (Pg* pg = find(ack.pg)) pg->on_mark_missing_ack(from, ack);
      return Status::ok();
    }
    default:
      return Status(ErrorCode::protocol_error, "unexpected frame type");
  }
}

void OsdCore::start_scrub(PgId id, Epoch interval, ScrubSpec spec) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) return pg->start_scrub(std::move(spec));
  events_.on_scrub_done(id, interval, spec.id, Status(ErrorCode::stale_epoch, "new interval"));
}

void OsdCore::stop_scrub(PgId id, Epoch interval) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) pg->stop_scrub();
}

void OsdCore::set_scrub_record(PgId id, Epoch interval, std::string record) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) pg->set_scrub_record(std::move(record));
}

void OsdCore::start_snap_trim(PgId id, Epoch interval, SnapTrimSpec spec) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) return pg->start_snap_trim(std::move(spec));
  events_.on_snap_trim_done(id, interval, spec.id, Status(ErrorCode::stale_epoch, "new interval"));
}

void OsdCore::stop_snap_trim(PgId id, Epoch interval) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) pg->stop_snap_trim();
}

bool OsdCore::take_scrub_place(PgId pg) {
  const std::uint64_t now = executor_.now_ns();
  if (scrub_place_ && *scrub_place_ != pg && now < scrub_place_until_ns_) return false;
  scrub_place_ = pg;
  scrub_place_until_ns_ = now + kPlaceLimitNs;
  return true;
}

void OsdCore::leave_scrub_place(PgId pg) {
  if (scrub_place_ == pg) scrub_place_.reset();
}

}  // namespace cairn::pg
