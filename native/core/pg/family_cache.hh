// FamilyCache: the families of recently changed objects, so that a change of an object of an image
// with snapshots asks the store for nothing. What it holds is what the store will have when all
// that has been submitted is applied; who changes a head or its snap set keeps it so.
//
// Memory: at most kMaxBytes beside the newest entry; the least recently used entries go.
#pragma once

#include <list>
#include <string>
#include <unordered_map>

#include "pg/family.hh"

namespace cairn::pg {

class FamilyCache {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 10;

  // Null when it is not known.
  const Family* find(const std::string& object);
  void put(const std::string& object, Family family);
  // The head of the object, if that is known, exists from now on.
  void head_written(const std::string& object);
  void forget(const std::string& object);
  void clear();
  std::size_t used_bytes() const { return used_bytes_; }

 private:
  struct Entry {
    std::string object;
    Family family;
    std::size_t bytes = 0;
  };
  using Entries = std::list<Entry>;  // most recently used first
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_object_;
  std::size_t used_bytes_ = 0;
};

}  // namespace cairn::pg
