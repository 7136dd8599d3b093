// What an operation may hold, for the border of a client: what this refuses, an OSD would answer by
// closing the connection, and the client would send it again for ever.
#pragma once

#include "net/messages.hh"

namespace cairn::net {

// A step by itself: its range or its key and value are what its code allows.
Status check_step(const Step& step);
// The steps of an operation of a client, each of them good, with each other and with the rest.
Status check_steps(const OpRequest& request, std::size_t data_bytes);
// Snapshots newest first, none of them newer than seq, at most kMaxContextSnaps.
Status check_snap_context(const SnapContext& context);
// ok exactly when the encoded request decodes. invalid_argument: object name, number of steps, two
// steps that want the reply's or the request's data, data that fits no write, a change of what is
// no head, a snap context out of order, an internal step; out_of_range: behind the largest object;
// too_large: a key, a value, the data, or everything together.
Status check_limits(const OpRequest& request, std::size_t data_bytes);

}  // namespace cairn::net
