// What traces and reservations add to messages.
#include "net/op_trace.hh"

#include <doctest/doctest.h>

#include "net/sample_messages.hh"

namespace cairn::net {

using namespace sample;

TEST_CASE("messages: what a trace and a reservation carry comes back, and costs else nothing") {
  OpRequest request;
  REQUIRE(decode(encode(traced_request(), one_block()), request).is_ok());
  CHECK(request.traced);
  CHECK(encode(traced_request(), {}).meta.size() == encode(write_request(), {}).meta.size());
  OpReply reply;
  REQUIRE(decode(encode(traced_reply(), {}), reply).is_ok());
  CHECK(reply.trace == std::optional(kTrace));
  CHECK(encode(traced_reply(), {}).meta.size() ==
        encode(full_reply(), {}).meta.size() + kOpTraceBytes);
  OpReply untraced;
  REQUIRE(decode(encode(full_reply(), {}), untraced).is_ok());
  CHECK_FALSE(untraced.trace);
  OpRequest reserved;
  REQUIRE(decode(encode(reserved_request(), one_block()), reserved).is_ok());
  CHECK(reserved.reservation == Reservation{500, 3, 2});
  OpRequest serves_nothing = reserved_request();
  serves_nothing.reservation.served = 0;
  const Status refused = decode(encode(serves_nothing, one_block()), reserved);
  CHECK(refused.code() == ErrorCode::protocol_error);
  ReplicateAck ack;
  REQUIRE(decode(encode(ReplicateAck{kPg, 7, 1, ErrorCode::ok, 5}), ack).is_ok());
  CHECK(ack.commit_ns == std::optional<std::uint64_t>(5));
  Replicate replicate;
  REQUIRE(decode(encode(traced_replicate(), one_block()), replicate).is_ok());
  CHECK(replicate.traced);
}

}  // namespace cairn::net
