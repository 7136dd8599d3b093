// FlatMap: a hash table in one array, for small keys and values that are looked up with every
// operation: a lookup touches one or two lines of memory, and divides by nothing.
//
// Values move when the table grows or something is erased: pointers to them last until then. Keys
// are expected to differ in their hash's bits somewhere, not in the lower ones. It shrinks by
// clear() alone.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace cairn {

template <typename Key, typename Value, typename Hash = std::hash<Key>>
class FlatMap {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear() {
    slots_ = {};
    size_ = 0;
  }
  const Value* find(const Key& key) const {
    if (size_ == 0) return nullptr;
    const Slot& slot = slots_[place_of(key)];
    return slot.is_used ? &slot.value : nullptr;
  }
  Value* find(const Key& key) { return const_cast<Value*>(std::as_const(*this).find(key)); }
  // Makes one when there is none.
  Value& operator[](const Key& key) {
    if (4 * (size_ + 1) > 3 * slots_.size()) grow();
    Slot& slot = slots_[place_of(key)];
    if (!slot.is_used) {
      slot.is_used = true;
      slot.key = key;
      ++size_;
    }
    return slot.value;
  }
  bool erase(const Key& key) {
    if (size_ == 0) return false;
    std::size_t hole = place_of(key);
    if (!slots_[hole].is_used) return false;
    // Those behind it that could not have the place they wanted move up.
    for (std::size_t at = next(hole); slots_[at].is_used; at = next(at)) {
      const std::size_t wanted = first_place(slots_[at].key);
      const std::size_t mask = slots_.size() - 1;
      if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
      slots_[hole] = std::move(slots_[at]);
      hole = at;
    }
    slots_[hole] = {};
    --size_;
    return true;
  }
  // Calls visit(const Key&, Value&) for each, in no order; visit leaves the table as it is.
  template <typename Visit>
  void for_each(Visit visit) {
    for (Slot& slot : slots_)
      if (slot.is_used) visit(std::as_const(slot.key), slot.value);
  }

 private:
  struct Slot {
    Key key{};
    Value value{};
    bool is_used = false;
  };
  static constexpr std::size_t kFirstSlots = 4;

  std::size_t next(std::size_t at) const { return (at + 1) & (slots_.size() - 1); }
  std::size_t first_place(const Key& key) const {
    const std::uint64_t mixed = std::uint64_t{Hash{}(key)} * 0x9e3779b97f4a7c15ULL;
    return static_cast<std::size_t>(mixed >> (64 - std::countr_zero(slots_.size())));
  }
  // Where the key is, or would be: there is always a free slot.
  std::size_t place_of(const Key& key) const {
    std::size_t at = first_place(key);
    while (slots_[at].is_used && !(slots_[at].key == key)) at = next(at);
    return at;
  }
  void grow() {
    std::vector<Slot> old = std::exchange(slots_, {});
    slots_.resize(old.empty() ? kFirstSlots : 2 * old.size());
    for (Slot& slot : old) {
      if (slot.is_used) slots_[place_of(slot.key)] = std::move(slot);
    }
  }

  std::vector<Slot> slots_;  // a power of two, or none
  std::size_t size_ = 0;
};

}  // namespace cairn
