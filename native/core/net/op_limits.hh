// What an operation may hold, for the border of a client: what this refuses, an OSD would answer by
// closing the connection, and the client would send it again for ever.
#pragma once

#include "net/messages.hh"

namespace cairn::net {

// Of a step that has them: within what its code allows.
bool key_and_value_fit(const Step& step);
// ok exactly when the encoded request decodes. invalid_argument: object name, number of steps, two
// reads or writes, data that fits no write; out_of_range: behind the largest object; too_large: a
// key, a value, the data, or everything together.
Status check_limits(const OpRequest& request, std::size_t data_bytes);

}  // namespace cairn::net
