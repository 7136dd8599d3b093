// Life: one run of a store from its start to a power cut, recorded so that every other moment of
// it can be made the moment of the cut.
//
// A moment is a state of the disk after a write started or finished, a flush or a discard: between
// two moments nothing changes that a crash could show, so the moments are all the prefixes of the
// disk's write sequence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "explore/machine.hh"
#include "explore/model.hh"

namespace cairn::explore {

struct Moment {
  io::SimDiskImage image;
  std::uint64_t acked = 0;      // number of the last transaction that was acknowledged by then
  std::uint64_t submitted = 0;  // and of the last one that had been submitted
};

struct DiskWrite {
  std::size_t moment = 0;  // the first one at which it was pending
  io::PendingWrite write;
};

struct Life {
  std::vector<Model> models;  // [i]: after transaction i, from the first life on
  std::vector<Moment> moments;
  std::vector<DiskWrite> writes;
  std::string failure;  // the store did without any fault what it must not; empty: nothing
};

// Data that a model may hold before a transaction of so many ops that it must not fill the disk.
std::uint64_t most_data_blocks(const StoreGeometry& geometry, const Mix& mix);

// history: the models up to the one that the image holds. A crash is not part of a life: the last
// moment is its end.
Life live(const io::SimDiskImage& image, std::vector<Model> history, std::uint64_t seed,
          const StoreGeometry& geometry);

}  // namespace cairn::explore
