// The in-memory PG log: see pg_log.hh for its invariants.
#include "pg/pg_log.hh"

#include <algorithm>
#include <utility>

namespace cairn::pg {

void PgLog::append(net::LogEntry entry) {
  CAIRN_ASSERT(entry.version.number == head_number() + 1);
  const RequestId& request = entry.request;
  if (request.client != 0) {
    ClientEntries& client = clients_[request.client];
    client.highest_sequence = std::max(client.highest_sequence, request.sequence);
    ++client.count;
    if (has_index_) by_request_[request] = entry.version.number;
  }
  entries_.push_back(std::move(entry));
}

void PgLog::forget_client_entry(const net::LogEntry& entry) {
  ClientEntries* const client = clients_.find(entry.request.client);
  if (client != nullptr && --client->count == 0) clients_.erase(entry.request.client);
}

void PgLog::trim(std::uint64_t up_to_number) {
  if (has_index_ && !std::exchange(index_is_used_, false)) {
    has_index_ = false;
    by_request_ = {};
  }
  while (tail_number_ < up_to_number && !entries_.empty()) {
    const net::LogEntry& oldest = entries_.front();
    const auto found = by_request_.find(oldest.request);
    if (found != by_request_.end() && found->second == oldest.version.number) {
      by_request_.erase(found);
    }
    forget_client_entry(oldest);
    base_ = oldest.version;
    entries_.pop_front();
    ++tail_number_;
  }
}

void PgLog::rewind(std::uint64_t to_number) {
  CAIRN_ASSERT(to_number >= tail_number_);
  while (head_number() > to_number) {
    by_request_.erase(entries_.back().request);
    forget_client_entry(entries_.back());
    entries_.pop_back();
  }
}

void PgLog::reset(Version base) {
  entries_.clear();
  clients_.clear();
  by_request_.clear();
  has_index_ = false;
  base_ = base;
  tail_number_ = base.number;
}

const net::LogEntry& PgLog::at(std::uint64_t number) const {
  CAIRN_ASSERT(number > tail_number_ && number <= head_number());
  return entries_[number - tail_number_ - 1];
}

const net::LogEntry* PgLog::find(const RequestId& request) const {
  const ClientEntries* const client = clients_.find(request.client);
  if (client == nullptr || request.sequence > client->highest_sequence) return nullptr;
  make_index();
  const auto found = by_request_.find(request);
  return found == by_request_.end() ? nullptr : &at(found->second);
}

void PgLog::make_index() const {
  index_is_used_ = true;
  if (std::exchange(has_index_, true)) return;
  for (const net::LogEntry& entry : entries_) {
    if (entry.request.client != 0) by_request_[entry.request] = entry.version.number;
  }
}

std::vector<net::LogEntry> PgLog::entries_after(std::uint64_t after, std::size_t limit) const {
  std::vector<net::LogEntry> result;
  const std::uint64_t first = std::max(after, tail_number_) + 1;
  for (std::uint64_t number = first; number <= head_number() && result.size() < limit; ++number) {
    result.push_back(at(number));
  }
  return result;
}

}  // namespace cairn::pg
