// ObjectNumbers: a set of object numbers, one bit each where they lie close together, and no array
// as long as the image is large.
#pragma once

#include <bitset>
#include <cstdint>
#include <unordered_map>

namespace cairn::image {

class ObjectNumbers {
 public:
  // Returns whether it was not there.
  bool insert(std::uint64_t number) {
    std::bitset<kRun>& run = runs_[number / kRun];
    if (run[number % kRun]) return false;
    run.set(number % kRun);
    return true;
  }

 private:
  static constexpr std::size_t kRun = 512;
  std::unordered_map<std::uint64_t, std::bitset<kRun>> runs_;
};

}  // namespace cairn::image
