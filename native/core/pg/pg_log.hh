// PgLog: the newest changes of a PG, in memory. The store holds the same entries durably. Numbers
// are contiguous: tail_number + 1 .. head_number. It does not know which entries are acked: the
// gate does.
//
// Dedup asks for each request. Nearly all are newer than all that their client has in the log,
// which takes one look at what is known of the client. For the others there is an index of all
// requests, made when one is asked for, and dropped when a trim has come and nobody had asked since
// the one before: thousands of nodes that are cold whenever they are touched.
#pragma once

#include <deque>
#include <unordered_map>
#include <vector>

#include "base/flat_map.hh"
#include "base/ids.hh"
#include "net/messages.hh"

namespace cairn::pg {

class PgLog {
 public:
  // number of the newest entry that was forgotten; 0: none yet
  std::uint64_t tail_number() const { return tail_number_; }
  std::uint64_t head_number() const { return tail_number_ + entries_.size(); }
  // Version of the newest entry; what set_base said when the log is empty.
  Version head() const { return entries_.empty() ? base_ : entries_.back().version; }
  std::size_t size() const { return entries_.size(); }

  // Asserts that the entry's number is the next one.
  void append(net::LogEntry entry);
  void trim(std::uint64_t up_to_number);
  void rewind(std::uint64_t to_number);
  // An empty log whose next entry is base.number + 1.
  void reset(Version base);
  // The entry of a number inside the log.
  const net::LogEntry& at(std::uint64_t number) const;
  // The entry that a request made, nullptr when the log does not reach it.
  const net::LogEntry* find(const RequestId& request) const;
  // Entries with a number above `after`, at most limit.
  std::vector<net::LogEntry> entries_after(std::uint64_t after, std::size_t limit) const;

 private:
  // Of a client with entries in the log.
  struct ClientEntries {
    std::uint64_t highest_sequence = 0;  // at least that of each of them
    std::uint64_t count = 0;
  };
  void forget_client_entry(const net::LogEntry& entry);
  void make_index() const;

  Version base_;  // version of the entry tail_number_
  std::uint64_t tail_number_ = 0;
  std::deque<net::LogEntry> entries_;
  FlatMap<ClientId, ClientEntries> clients_;
  mutable bool has_index_ = false;
  mutable bool index_is_used_ = false;  // since the last trim
  mutable std::unordered_map<RequestId, std::uint64_t, RequestIdHash> by_request_;
};

}  // namespace cairn::pg
