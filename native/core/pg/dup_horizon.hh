// DupHorizon: what a PG still knows of requests whose log entries have been trimmed: per client the
// highest sequence among them, its floor. A resent mutation that the log does not have any more, at
// or below its client's floor, may have been applied: it is refused, never applied.
//
// Invariants
//  - Each request that was ever applied to the copy's history is in its log, or at or below a
//  floor,
//    or its client's floor was given up; in that case has_given_up() is true for good, and resends
//    of clients without a floor are refused too.
//  - Floors only grow, and are stored with the trim that made them: they survive restarts, changes
//    of the primary (each member has its own) and backfill (encode() travels with the log).
//
// Log entries stay while their client may resend them (is_held), within the gate's limit. That is
// known of the clients that were heard in this interval only, and not stored.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/flat_map.hh"
#include "base/ids.hh"
#include "net/messages.hh"
#include "object_store/object_store.hh"

namespace cairn::pg {

class DupHorizon {
 public:
  // 24 bytes each in a message, and about 150 in memory.
  static constexpr std::size_t kMaxClients = 16384;

  // True when the key is one of ours. corrupt: its value is malformed.
  Result<bool> load(const std::string& key, const std::string& value);
  // Puts what has changed since the last call into the transaction.
  void store(PgId pg, object_store::Transaction& transaction);

  void trimmed(const net::LogEntry& entry);
  // Of an authoritative copy, when its log replaces ours.
  void merge(const DupHorizon& other);
  // resent: the client says that it has sent the request before.
  bool may_have_been_applied(const RequestId& request, bool resent) const;
  bool has_given_up() const { return gave_up_; }

  void start_interval() { oldest_unacked_.clear(); }
  void heard(ClientId client, std::uint64_t oldest_unacked);
  bool is_held(const RequestId& request) const;
  // Its client has said, in this interval, that it waits for no answer to the request any more.
  bool was_answered(const RequestId& request) const;

  // For peering: opaque to TypeScript. protocol_error when the bytes are malformed.
  std::vector<std::byte> encode() const;
  static Result<DupHorizon> decode(ByteSpan bytes);

 private:
  struct Floor {
    std::uint64_t sequence = 0;
    std::uint64_t number = 0;  // of the newest trimmed entry: the oldest client is given up first
  };
  void raise(ClientId client, const Floor& floor);
  void give_up_oldest();

  std::map<ClientId, Floor> floors_;
  std::set<std::pair<std::uint64_t, ClientId>> by_number_;
  bool gave_up_ = false;
  std::set<ClientId> changed_;
  FlatMap<ClientId, std::uint64_t> oldest_unacked_;
};

}  // namespace cairn::pg
