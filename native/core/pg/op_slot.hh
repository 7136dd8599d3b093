// OpCount: how many operations of clients an OSD has under way. An operation holds an OpSlot until
// the own store is through with it. What waits for something else than this OSD's work (peering,
// recovery, leases, replicas, repairs, watchers) has given its slot back, so that it keeps nobody.
// What waits for another operation on its object keeps it: who crowds one object crowds himself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace cairn::pg {

class OpSlot;

class OpCount {
 public:
  std::uint64_t under_way() const { return under_way_; }
  // Called when a slot becomes free; maybe inside the end of an operation.
  void on_free(std::function<void()> handler) { handler_ = std::move(handler); }

 private:
  friend class OpSlot;
  std::uint64_t under_way_ = 0;
  std::function<void()> handler_;
};

// Held by an operation that is under way; given back at its end, whatever that is.
class OpSlot {
 public:
  OpSlot() = default;
  explicit OpSlot(std::shared_ptr<OpCount> count) : count_(std::move(count)) {
    ++count_->under_way_;
  }
  OpSlot(OpSlot&& other) noexcept : count_(std::move(other.count_)) {}
  OpSlot& operator=(OpSlot&& other) noexcept {
    if (this != &other) {
      release();
      count_ = std::move(other.count_);
    }
    return *this;
  }
  OpSlot(const OpSlot&) = delete;
  OpSlot& operator=(const OpSlot&) = delete;
  ~OpSlot() { release(); }
  void release() {
    if (const std::shared_ptr<OpCount> count = std::move(count_); count != nullptr) {
      --count->under_way_;
      if (count->handler_) count->handler_();
    }
  }

 private:
  std::shared_ptr<OpCount> count_;
};

}  // namespace cairn::pg
