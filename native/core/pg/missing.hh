// What a copy lacks of an object: the state that it has to get. Kept with the copy (PG metadata
// "missing/<name>"), so that an interrupted recovery or backfill goes on with what is left.
//
// A version names one state of an object for good: whoever has that version, has that state, also a
// copy that is old in everything else. Without a known version only a copy with the authoritative
// log can be trusted.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.hh"
#include "base/ids.hh"
#include "base/status.hh"

namespace cairn::pg {

struct Missing {
  Version need;          // number 0: not known, as a copy with the authoritative log has it
  bool removed = false;  // the object is to be gone
  bool operator==(const Missing&) const = default;

  bool is_known() const { return need.number != 0; }
  // A copy in which the object exists in that version, or does not exist, is what is needed.
  bool is_met_by(bool exists, const Version& version) const {
    if (!is_known()) return true;
    return removed ? !exists : exists && version == need;
  }
};

struct MissingObject {
  std::string name;
  Missing missing;
};

inline std::string encode_missing(const Missing& missing) {
  Writer writer;
  writer.put(missing.need.epoch);
  writer.put(missing.need.number);
  writer.put(static_cast<std::uint8_t>(missing.removed ? 1 : 0));
  return std::string(as_text(writer.span()));
}

// An empty value: the version is not known.
inline Result<Missing> decode_missing(std::string_view value) {
  Missing missing;
  if (value.empty()) return missing;
  Reader reader(as_bytes(value));
  missing.need.epoch = reader.get<std::uint32_t>();
  missing.need.number = reader.get<std::uint64_t>();
  const auto removed = reader.get<std::uint8_t>();
  if (!reader.at_end() || removed > 1)
    return Status(ErrorCode::corrupt, "a missing object is malformed");
  missing.removed = removed == 1;
  return missing;
}

}  // namespace cairn::pg
