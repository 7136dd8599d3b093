// TimerQueue: tasks ordered by due time, for the executors. An indexed binary heap, so that a
// cancelled timer leaves at once: most timers are time-outs that never fire, and a lazily deleted
// one would keep its buffers alive until it was due. Ids carry a generation: an old id never
// names a newer timer. Knows no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.hh"
#include "io/executor.hh"

namespace cairn::io {

class TimerQueue {
 public:
  // Adds a task. Equal due times (nanoseconds) leave in the order of rank.
  TimerId add(std::uint64_t due_ns, std::uint64_t rank, Task task) {
    if (free_slots_.empty()) {
      free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot].task = std::move(task);
    heap_.push_back({due_ns, rank, slot});
    sift_up(heap_.size() - 1);
    return std::uint64_t{slots_[slot].generation} << 32 | (slot + 1);
  }

  // Removes and destroys the task; nothing when the id is 0 or has left already.
  void cancel(TimerId id) {
    const auto slot = static_cast<std::uint32_t>(id) - 1;
    if (id == 0 || slot >= slots_.size()) return;
    if (slots_[slot].generation != id >> 32 || !slots_[slot].task) return;
    const Task dead = remove(slots_[slot].heap_position);  // destroyed last: it may cancel too
  }

  bool empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }
  // The due time of the earliest timer; the queue must not be empty.
  std::uint64_t next_due_ns() const {
    CAIRN_ASSERT(!heap_.empty());
    return heap_.front().due_ns;
  }
  // Takes the earliest task out; the queue must not be empty.
  Task pop() {
    CAIRN_ASSERT(!heap_.empty());
    return remove(0);
  }

 private:
  struct Node {
    std::uint64_t due_ns;
    std::uint64_t rank;
    std::uint32_t slot;
  };
  struct Slot {
    Task task;
    std::uint32_t generation = 1;
    std::size_t heap_position = 0;
  };

  static bool before(const Node& a, const Node& b) {
    return a.due_ns != b.due_ns ? a.due_ns < b.due_ns : a.rank < b.rank;
  }

  void place(std::size_t position, const Node& node) {
    heap_[position] = node;
    slots_[node.slot].heap_position = position;
  }

  void sift_up(std::size_t position) {
    const Node node = heap_[position];
    while (position > 0) {
      const std::size_t parent = (position - 1) / 2;
      if (!before(node, heap_[parent])) break;
      place(position, heap_[parent]);
      position = parent;
    }
    place(position, node);
  }

  void sift_down(std::size_t position) {
    const Node node = heap_[position];
    while (true) {
      std::size_t child = 2 * position + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
      if (!before(heap_[child], node)) break;
      place(position, heap_[child]);
      position = child;
    }
    place(position, node);
  }

  Task remove(std::size_t position) {
    const std::uint32_t slot = heap_[position].slot;
    Task task = std::move(slots_[slot].task);
    ++slots_[slot].generation;
    free_slots_.push_back(slot);
    const Node last = heap_.back();
    heap_.pop_back();
    if (position < heap_.size()) {
      place(position, last);
      sift_up(position);
      sift_down(slots_[last.slot].heap_position);
    }
    return task;
  }

  std::vector<Node> heap_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
};

}  // namespace cairn::io
