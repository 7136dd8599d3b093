// An operation whose reading steps and guards are being carried out. Private to Pg: execute.cc and
// watch_steps.cc.
#pragma once

#include "pg/pg.hh"

namespace cairn::pg {

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
