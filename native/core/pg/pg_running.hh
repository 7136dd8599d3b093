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
  bool locked = false;
};

}  // namespace cairn::pg
