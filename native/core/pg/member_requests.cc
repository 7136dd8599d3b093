// Questions of a scrub and their answers: see member_requests.hh.
#include "pg/member_requests.hh"

#include <utility>

#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(scrub_member_silent);

namespace {
constexpr std::uint64_t kAnswerLimitNs = 20'000'000'000;
}  // namespace

std::uint64_t MemberRequests::add(OsdId osd, std::uint64_t limit_ns, ReplyDone done) {
  const std::uint64_t id = next_id_++;
  Pending& pending = pending_[id];
  pending.osd = osd;
  pending.done = std::move(done);
  pending.timer = gate_.scrub_executor().run_after(limit_ns, [this, osd, id] {
    scrub_member_silent.hit();
    answer(osd, id, Status(ErrorCode::timed_out, "osd." + std::to_string(osd) + " is silent"), {});
  });
  return id;
}

void MemberRequests::ask(OsdId osd, net::ScrubRequest request, ReplyDone done) {
  std::uint64_t limit_ns = kAnswerLimitNs;
  if (request.bytes_per_second > 0) {
    limit_ns += 2 * kMaxObjectBytes * 1'000'000'000 / request.bytes_per_second;
  }
  request.pg = gate_.pg();
  request.interval = gate_.interval();
  request.id = add(osd, limit_ns, std::move(done));
  if (osd == gate_.own_id()) return ask_self(request.id, request);
  gate_.send_to_member(osd, net::encode(request));
}

void MemberRequests::ask_self(std::uint64_t id, const net::ScrubRequest& request) {
  const OsdId self = gate_.own_id();
  if (request.question == net::ScrubQuestion::list) {
    return reader_.list(
        request.name, request.end,
        [this, self, id](Status status, std::string end, std::vector<net::ScrubObject> objects) {
          net::ScrubReply reply;
          reply.end = std::move(end);
          reply.objects = std::move(objects);
          answer(self, id, std::move(status), std::move(reply));
        });
  }
  CAIRN_ASSERT(request.question == net::ScrubQuestion::verify);
  reader_.verify(request.name, request.bytes_per_second, [this, self, id](net::ScrubObject object) {
    net::ScrubReply reply;
    reply.objects.push_back(std::move(object));
    answer(self, id, Status::ok(), std::move(reply));
  });
}

void MemberRequests::mark_missing(OsdId osd, const std::string& object, const Version& version,
                                  object_store::Done done) {
  const std::uint64_t id = add(
      osd, kAnswerLimitNs, [done = std::move(done)](Status status, const net::ScrubReply&) mutable {
        done(std::move(status));
      });
  gate_.send_to_member(
      osd, net::encode(net::MarkMissing{gate_.pg(), gate_.interval(), id, object, version}));
}

void MemberRequests::on_reply(OsdId from, net::ScrubReply reply) {
  Status status;
  if (reply.code != ErrorCode::ok) {
    status = Status(reply.code, "osd." + std::to_string(from) + " can't be scrubbed");
  }
  const std::uint64_t id = reply.id;
  answer(from, id, std::move(status), std::move(reply));
}

void MemberRequests::on_mark_missing_ack(OsdId from, const net::MarkMissingAck& ack) {
  Status status;
  if (ack.code != ErrorCode::ok) status = Status(ack.code, "the member could not note the loss");
  answer(from, ack.id, std::move(status), {});
}

void MemberRequests::answer(OsdId from, std::uint64_t id, Status status, net::ScrubReply reply) {
  const auto found = pending_.find(id);
  if (found == pending_.end() || found->second.osd != from) return;
  gate_.scrub_executor().cancel(found->second.timer);
  ReplyDone done = std::move(found->second.done);
  pending_.erase(found);
  done(std::move(status), std::move(reply));
}

void MemberRequests::forget_all() {
  for (auto& [id, pending] : pending_) gate_.scrub_executor().cancel(pending.timer);
  pending_.clear();
}

}  // namespace cairn::pg
