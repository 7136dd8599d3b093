// The list of probes: see probe.hh.
#include "base/probe.hh"

#include <algorithm>

namespace cairn {

namespace {
// A list of static objects, built before main(): a constant-initialised head needs no order.
Probe* first_probe = nullptr;
}  // namespace

Probe::Probe(const char* name) : name_(name), next_(first_probe) { first_probe = this; }

std::vector<std::pair<std::string, std::uint64_t>> Probe::all() {
  std::vector<std::pair<std::string, std::uint64_t>> result;
  for (const Probe* probe = first_probe; probe != nullptr; probe = probe->next_) {
    result.emplace_back(probe->name_, probe->hits_.load(std::memory_order_relaxed));
  }
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace cairn
