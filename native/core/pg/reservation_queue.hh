// ReservationQueue: the order of operations that wait for an OSD which has enough under way: those
// of streams with a reservation that is due first, by their tags; else all in order of arrival.
// After dmClock (Gulati, Merchant, Varman: mClock, OSDI 2010), with reservations alone. Pure: the
// time is given.
//
// A stream's tag is when its next operation is due. An operation that goes because it is due moves
// the tag on by what it stands for (net::Reservation::served), so that an image spread over many
// OSDs gets its reservation once, not from each. One that goes in order of arrival moves nothing:
// what an image gets beside its reservation does not count against it.
//
// Invariants: the operations of a stream go in order of arrival. It gives whenever it has some.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "base/ids.hh"
#include "net/reservation.hh"

namespace cairn::pg {

// An image of a client.
struct StreamId {
  ClientId client = 0;
  std::uint64_t stream = 0;
  auto operator<=>(const StreamId&) const = default;
};

template <typename Item>
class ReservationQueue {
 public:
  // A reservation of nobody who came for so long is forgotten.
  static constexpr std::uint64_t kForgottenAfterNs = 10'000'000'000;
  // So far ahead a tag goes at most, whatever a client says that it was served elsewhere.
  static constexpr std::uint64_t kMaxAheadNs = 1'000'000'000;

  // Reserves: somebody has a reservation. Else nobody needs to wait here.
  bool reserves() const { return !streams_.empty(); }
  std::size_t size() const { return size_; }

  // An operation with this reservation came, to wait here or not.
  void heard(const StreamId& id, const net::Reservation& reservation, std::uint64_t now_ns) {
    if (reservation.iops == 0) return;
    Stream& stream = streams_[id];
    stream.ns_per_operation = kNsPerS / reservation.iops;
    stream.heard_ns = now_ns;
  }
  void push(const StreamId& id, const net::Reservation& reservation, Item item,
            std::uint64_t now_ns) {
    const std::uint64_t order = next_order_++;
    ++size_;
    if (reservation.iops == 0) {
      plain_.push_back({order, now_ns, 0, std::move(item)});
      return;
    }
    heard(id, reservation, now_ns);
    streams_[id].waiting.push_back({order, now_ns, reservation.served, std::move(item)});
  }
  std::optional<Item> pop(std::uint64_t now_ns) {
    if (size_ == 0) return std::nullopt;
    Stream* due = nullptr;
    Stream* oldest = nullptr;
    std::uint64_t due_tag_ns = now_ns;
    for (auto& [id, stream] : streams_) {
      if (stream.waiting.empty()) continue;
      const Waiting& head = stream.waiting.front();
      const std::uint64_t tag_ns = std::max(stream.next_tag_ns, head.since_ns);
      if (tag_ns <= now_ns && (due == nullptr || tag_ns < due_tag_ns)) {
        due = &stream;
        due_tag_ns = tag_ns;
      }
      if (oldest == nullptr || head.order < oldest->waiting.front().order) oldest = &stream;
    }
    if (due != nullptr) {
      const std::uint64_t stands_for = due->waiting.front().served;
      due->next_tag_ns =
          std::min(due_tag_ns + stands_for * due->ns_per_operation, now_ns + kMaxAheadNs);
      return take(due->waiting);
    }
    const bool is_plain_first =
        !plain_.empty() &&
        (oldest == nullptr || plain_.front().order < oldest->waiting.front().order);
    return take(is_plain_first ? plain_ : oldest->waiting);
  }
  void forget_silent(std::uint64_t now_ns) {
    std::erase_if(streams_, [now_ns](const auto& entry) {
      const Stream& stream = entry.second;
      return stream.waiting.empty() && now_ns - stream.heard_ns > kForgottenAfterNs;
    });
  }

 private:
  static constexpr std::uint64_t kNsPerS = 1'000'000'000;
  struct Waiting {
    std::uint64_t order = 0;
    std::uint64_t since_ns = 0;
    std::uint32_t served = 0;
    Item item;
  };
  struct Stream {
    std::uint64_t ns_per_operation = 0;
    std::uint64_t next_tag_ns = 0;
    std::uint64_t heard_ns = 0;
    std::deque<Waiting> waiting;
  };
  Item take(std::deque<Waiting>& queue) {
    Item item = std::move(queue.front().item);
    queue.pop_front();
    --size_;
    return item;
  }

  std::map<StreamId, Stream> streams_;  // those with a reservation
  std::deque<Waiting> plain_;
  std::uint64_t next_order_ = 0;
  std::size_t size_ = 0;
};

}  // namespace cairn::pg
