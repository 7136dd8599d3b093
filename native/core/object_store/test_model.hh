// For the tests of this folder: the explorer's model of a store, and its comparison as a check.
#pragma once

#include <doctest/doctest.h>

#include "explore/compare.hh"
#include "explore/model.hh"

namespace cairn::object_store::test {

using explore::fill_block;
using explore::Mix;
using explore::Model;
using explore::ModelBlock;
using explore::ModelObject;
using explore::ModelPg;
using explore::next_transaction;
using explore::Random;

// Compares the whole state; fails the running test where they differ. run: runs the executor until
// the flag is set.
inline void check_equal(ObjectStore& store, const Model& model,
                        const std::function<void(const bool&)>& run) {
  const explore::Comparison found = explore::compare(
      store, model,
      [&](const bool& flag) {
        run(flag);
        return flag;
      },
      explore::Tolerance::exact);
  REQUIRE_MESSAGE(found.difference.empty(), found.difference);
}

}  // namespace cairn::object_store::test
