// Probes: marks on rare branches. A simulation that never reaches one has not tested it, so
// `npm run sim` fails when a probe stays at zero over its default seeds.
//
// A probe is one static counter; it registers itself when the program is loaded into memory, so a
// branch that is never taken is listed with zero. Hits are relaxed: exact in a simulation (one
// thread), good enough elsewhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

class Probe {
 public:
  explicit Probe(const char* name);
  void hit() { hits_.fetch_add(1, std::memory_order_relaxed); }
  // Name and hits of every probe, in name order.
  static std::vector<std::pair<std::string, std::uint64_t>> all();

 private:
  const char* name_;
  std::atomic<std::uint64_t> hits_{0};
  Probe* next_;
};

}  // namespace cairn

// At namespace scope of the .cc: CAIRN_DEFINE_PROBE(pg_duplicate_answered);
// in the branch: pg_duplicate_answered.hit();
#define CAIRN_DEFINE_PROBE(name) \
  static ::cairn::Probe name { #name }
