// ClientOp: an operation on its way through the gate. It is handed on by reference, and moved where
// it stays: in a queue, or with the write that it becomes.
#pragma once

#include <cstdint>
#include <memory>

#include "base/buffer.hh"
#include "base/unique_function.hh"
#include "net/messages.hh"
#include "net/messenger.hh"
#include "pg/op_slot.hh"
#include "pg/op_times.hh"
#include "pg/zero_blocks.hh"

namespace cairn::pg {

// An operation as it came from a client, with its way back.
struct ClientOp {
  net::ConnectionId connection = 0;
  net::OpRequest request;
  Buffer data;
  std::uint64_t arrived_ns = 0;
  bool repaired = false;  // it met a bad block before: no second repair
  // Of the PG itself, without steps: takes what is left of removed snapshots out of the object.
  bool trims = false;
  bool trims_more = false;  // it had to leave some
  bool changes() const { return trims || request.mutates(); }
  std::unique_ptr<OpTimes> times = nullptr;     // of a traced one
  std::unique_ptr<ZeroBlocks> zeros = nullptr;  // of a sparsify: what it has found
  OpSlot slot = {};
  // Of a change that the PG makes by itself: called when it is durable, in place of a reply.
  UniqueFunction<void()> committed;
};

}  // namespace cairn::pg
