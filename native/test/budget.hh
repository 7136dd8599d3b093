// How much of a long test runs: CAIRN_TEST_BUDGET is a factor (default 1) that
// scripts/cpp-tests.mjs makes small, because under a sanitizer everything takes many times as long.
// What is cut is the number of seeds or rounds, never what one of them does.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace cairn::test {

// least: what a check behind the loop needs to be sure of its statistics.
template <typename Count>
Count budgeted(Count count, Count least = 1) {
  const char* const text = std::getenv("CAIRN_TEST_BUDGET");
  const double factor = text == nullptr ? 1.0 : std::atof(text);
  const auto part = static_cast<Count>(static_cast<double>(count) * factor);
  return std::max(part, least);
}

}  // namespace cairn::test
