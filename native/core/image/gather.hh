// Gather: one completion for several parts; the first error wins.
#pragma once

#include <cstddef>
#include <memory>

#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn::image {

class Gather {
 public:
  using Done = UniqueFunction<void(Status)>;
  // done runs after `count` (at least 1) calls of part_done.
  static std::shared_ptr<Gather> of(std::size_t count, Done done) {
    auto gather = std::make_shared<Gather>();
    gather->left_ = count;
    gather->done_ = std::move(done);
    return gather;
  }
  void part_done(Status status) {
    if (status_ && !status) status_ = std::move(status);
    if (--left_ == 0) done_(std::move(status_));
  }

 private:
  std::size_t left_ = 0;
  Status status_;
  Done done_;
};

}  // namespace cairn::image
