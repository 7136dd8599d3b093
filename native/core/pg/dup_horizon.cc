// Floors per client: see dup_horizon.hh.
#include "pg/dup_horizon.hh"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/probe.hh"
#include "base/status.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_dup_floor_given_up);

namespace {

constexpr std::string_view kFloorPrefix = "floor/";
constexpr std::string_view kGaveUpKey = "floors_given_up";
constexpr std::size_t kFloorBytes = 24;

std::string key_of(ClientId client) {
  char text[32];
  std::snprintf(text, sizeof text, "floor/%016llx", static_cast<unsigned long long>(client));
  return text;
}

}  // namespace

Result<bool> DupHorizon::load(const std::string& key, const std::string& value) {
  if (key == kGaveUpKey) {
    gave_up_ = true;
    return true;
  }
  if (!key.starts_with(kFloorPrefix)) return false;
  Reader reader(as_bytes(value));
  const auto client = reader.get<ClientId>();
  Floor floor;
  floor.sequence = reader.get<std::uint64_t>();
  floor.number = reader.get<std::uint64_t>();
  if (!reader.at_end()) return Status(ErrorCode::corrupt, "a floor of a PG is malformed");
  raise(client, floor);
  changed_.clear();
  return true;
}

void DupHorizon::store(PgId pg, object_store::Transaction& transaction) {
  for (const ClientId client : std::exchange(changed_, {})) {
    const auto found = floors_.find(client);
    if (found == floors_.end()) {
      transaction.pg_meta_remove(pg, key_of(client));
      transaction.pg_meta_set(pg, std::string(kGaveUpKey), {});
      continue;
    }
    Writer writer;
    writer.put(client);
    writer.put(found->second.sequence);
    writer.put(found->second.number);
    transaction.pg_meta_set(pg, key_of(client), std::string(as_text(writer.span())));
  }
}

void DupHorizon::trimmed(const net::LogEntry& entry) {
  if (entry.request.client == 0) return;
  raise(entry.request.client, {entry.request.sequence, entry.version.number});
}

void DupHorizon::merge(const DupHorizon& other) {
  for (const auto& [client, floor] : other.floors_) raise(client, floor);
  if (!other.gave_up_ || gave_up_) return;
  gave_up_ = true;
  changed_.insert(0);  // no client has this id: stores that floors were given up
}

void DupHorizon::raise(ClientId client, const Floor& floor) {
  Floor& own = floors_[client];
  by_number_.erase({own.number, client});
  own.sequence = std::max(own.sequence, floor.sequence);
  own.number = std::max(own.number, floor.number);
  by_number_.insert({own.number, client});
  changed_.insert(client);
  if (floors_.size() > kMaxClients) give_up_oldest();
}

void DupHorizon::give_up_oldest() {
  pg_dup_floor_given_up.hit();
  const ClientId client = by_number_.begin()->second;
  by_number_.erase(by_number_.begin());
  floors_.erase(client);
  changed_.insert(client);
  gave_up_ = true;
}

bool DupHorizon::may_have_been_applied(const RequestId& request, bool resent) const {
  const auto found = floors_.find(request.client);
  if (found != floors_.end()) return request.sequence <= found->second.sequence;
  return resent && gave_up_;
}

void DupHorizon::heard(ClientId client, std::uint64_t oldest_unacked) {
  // An approximation that forgets all at once keeps less of the log, and refuses more.
  if (oldest_unacked_.size() >= kMaxClients) oldest_unacked_.clear();
  std::uint64_t& oldest = oldest_unacked_[client];
  oldest = std::max(oldest, oldest_unacked);
}

bool DupHorizon::is_held(const RequestId& request) const {
  const std::uint64_t* const oldest = oldest_unacked_.find(request.client);
  return oldest != nullptr && request.sequence >= *oldest;
}

bool DupHorizon::was_answered(const RequestId& request) const {
  const std::uint64_t* const oldest = oldest_unacked_.find(request.client);
  return oldest != nullptr && request.sequence < *oldest;
}

std::vector<std::byte> DupHorizon::encode() const {
  Writer writer;
  writer.reserve(5 + kFloorBytes * floors_.size());
  writer.put(static_cast<std::uint8_t>(gave_up_ ? 1 : 0));
  writer.put(static_cast<std::uint32_t>(floors_.size()));
  for (const auto& [client, floor] : floors_) {
    writer.put(client);
    writer.put(floor.sequence);
    writer.put(floor.number);
  }
  return writer.take();
}

Result<DupHorizon> DupHorizon::decode(ByteSpan bytes) {
  const Status malformed(ErrorCode::protocol_error, "malformed dup horizon");
  DupHorizon horizon;
  Reader reader(bytes);
  const auto gave_up = reader.get<std::uint8_t>();
  const auto count = reader.get<std::uint32_t>();
  if (gave_up > 1 || count > kMaxClients || count > reader.remaining() / kFloorBytes) {
    return malformed;
  }
  horizon.gave_up_ = gave_up == 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto client = reader.get<ClientId>();
    const auto sequence = reader.get<std::uint64_t>();
    horizon.raise(client, {sequence, reader.get<std::uint64_t>()});
  }
  if (!reader.at_end() || horizon.floors_.size() != count) return malformed;
  return horizon;
}

}  // namespace cairn::pg
