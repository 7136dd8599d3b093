// The log as a port: the core hands over finished lines, the daemon decides where they go. For what
// an operator should read, never for an event of the data path.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/unique_function.hh"

namespace cairn {

enum class LogLevel : std::uint8_t { debug = 1, info = 2, warn = 3, error = 4 };
// text: one line without its end
using LogFunction = UniqueFunction<void(LogLevel level, std::string_view text)>;

}  // namespace cairn
