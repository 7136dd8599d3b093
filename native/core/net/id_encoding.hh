// The ids that several messages have, as bytes: pg, version and request of
// docs/protocol/data-path.md.
#pragma once

#include "base/bytes.hh"
#include "base/ids.hh"

namespace cairn::net {

inline void put_pg(Writer& writer, const PgId& pg) {
  writer.put(pg.pool);
  writer.put(pg.seed);
}
inline PgId get_pg(Reader& reader) {
  PgId pg;
  pg.pool = reader.get<std::uint32_t>();
  pg.seed = reader.get<std::uint32_t>();
  return pg;
}

inline void put_version(Writer& writer, const Version& version) {
  writer.put(version.epoch);
  writer.put(version.number);
}
inline Version get_version(Reader& reader) {
  Version version;
  version.epoch = reader.get<std::uint32_t>();
  version.number = reader.get<std::uint64_t>();
  return version;
}

inline void put_request_id(Writer& writer, const RequestId& id) {
  writer.put(id.client);
  writer.put(id.sequence);
}
inline RequestId get_request_id(Reader& reader) {
  RequestId id;
  id.client = reader.get<std::uint64_t>();
  id.sequence = reader.get<std::uint64_t>();
  return id;
}

}  // namespace cairn::net
