// Parts of a Pg that more than one of its files works with.
#pragma once

#include "pg/pg.hh"

namespace cairn::pg {

// An operation whose reading steps and guards are being carried out.
struct Pg::Running {
  ClientOp op;
  net::OpReply reply;
  Buffer data;                 // of a read step
  std::size_t omap_bytes = 0;  // of the reply's key-values
  std::size_t next_step = 0;
  Epoch interval = 0;
  std::uint64_t began_after = 0;  // the newest log entry when it began
  bool locked = false;
};

// A read of the layer that a snapshot shows.
struct Pg::LayerRead {
  std::string object;
  std::uint64_t snap = kHead;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool with_blocks = false;
  object_store::ReadDone done;  // exists: for clients
  void answer_absent();
};

// The blocks of an object at two moments, as of one.
struct Pg::LayerPair {
  bool exists = false;                            // at the newer one
  std::vector<object_store::BlockInfo> from, to;  // both empty when one layer serves both
  // The runs of blocks that are not the same, with their newer state.
  std::vector<net::ExtentRun> differences() const;
};

}  // namespace cairn::pg
