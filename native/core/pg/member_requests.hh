// MemberRequests: the questions of a scrub that the primary has asked members and that are not
// answered yet. A question to the own OSD is answered from the own store.
//
// Every question is answered once: by its reply, or with timed_out (a frame may be lost with its
// connection; whoever asked starts over). forget_all() ends them without an answer.
#pragma once

#include <map>

#include "net/scrub_messages.hh"
#include "pg/scrub_gate.hh"
#include "pg/scrub_reader.hh"

namespace cairn::pg {

class MemberRequests {
 public:
  using ReplyDone = UniqueFunction<void(Status, net::ScrubReply)>;

  MemberRequests(ScrubGate& gate, ScrubReader& reader) : gate_(gate), reader_(reader) {}

  // request: its pg, interval and id are filled in.
  void ask(OsdId osd, net::ScrubRequest request, ReplyDone done);
  // version: see net::MarkMissing.
  void mark_missing(OsdId osd, const std::string& object, const Version& version,
                    object_store::Done done);
  void on_reply(OsdId from, net::ScrubReply reply);
  void on_mark_missing_ack(OsdId from, const net::MarkMissingAck& ack);
  void forget_all();

 private:
  struct Pending {
    OsdId osd = kNoOsd;
    io::TimerId timer = 0;
    ReplyDone done;
  };
  std::uint64_t add(OsdId osd, std::uint64_t limit_ns, ReplyDone done);
  void answer(OsdId from, std::uint64_t id, Status status, net::ScrubReply reply);
  void ask_self(std::uint64_t id, const net::ScrubRequest& request);

  ScrubGate& gate_;
  ScrubReader& reader_;
  std::map<std::uint64_t, Pending> pending_;
  std::uint64_t next_id_ = 1;
};

}  // namespace cairn::pg
