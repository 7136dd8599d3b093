// What the tests of clones and jobs share: a simulated cluster, and images on it that know what
// they should hold. Several images, their snapshots and clones live on one cluster.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "image/image.hh"
#include "image/image_job.hh"
#include "io/random.hh"
#include "pg/sim_osds.hh"

namespace cairn::image {

using Bytes = std::vector<std::byte>;

struct CloneRig {
  explicit CloneRig(std::uint64_t seed, net::SimNetworkConfig network = {})
      : cluster(seed, network) {
    cluster.new_interval({0, 1, 2});
  }

  // Runs call(done) to its end.
  template <typename Call>
  Status finish(Call call) {
    auto outcome = std::make_shared<std::optional<Status>>();
    call([outcome](Status status) { *outcome = std::move(status); });
    cluster.run_until([outcome] { return outcome->has_value(); });
    return std::move(**outcome);
  }
  Status read(BlockDevice& device, std::uint64_t offset, std::uint64_t length, Buffer& into) {
    return finish([&](WriteDone done) {
      device.read(offset, length,
                  [&into, done = std::move(done)](Status status, Buffer data) mutable {
                    into = std::move(data);
                    done(std::move(status));
                  });
    });
  }
  std::vector<Extent> extents(BlockDevice& device, std::uint64_t offset, std::uint64_t length) {
    std::vector<Extent> found;
    const Status status = finish([&](WriteDone done) {
      device.extents(offset, length,
                     [&found, done = std::move(done)](Status s, std::vector<Extent> list) mutable {
                       found = std::move(list);
                       done(std::move(s));
                     });
    });
    CHECK(status.to_string() == "ok");
    return found;
  }
  void check(BlockDevice& device, const Bytes& model, std::uint64_t offset, std::uint64_t length) {
    Buffer data;
    const Status status = read(device, offset, length, data);
    REQUIRE(status.to_string() == "ok");
    REQUIRE(data.size() == length);
    const auto expected = model.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto differs = std::mismatch(data.span().begin(), data.span().end(), expected);
    const auto at = static_cast<std::uint64_t>(differs.first - data.span().begin());
    REQUIRE_MESSAGE(at == length, "differs at ", offset + at);
  }
  void check(BlockDevice& device, const Bytes& model) { check(device, model, 0, model.size()); }
  std::uint64_t operations() const { return cluster.client->counters().operations; }

  pg::SimOsds cluster;
  std::uint64_t next_snap = 1;
};

// An image or clone, its model, and the models of its snapshots.
struct ModelImage {
  ModelImage(CloneRig& owner, ImageLayout image_layout)
      : rig(owner), layout(std::move(image_layout)), model(layout.size_bytes) {
    layout.pool = pg::kTestPg.pool;
    image = std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, layout);
  }
  // A clone of a snapshot: shows its first overlap bytes.
  ModelImage(CloneRig& owner, ImageLayout image_layout, std::shared_ptr<BlockDevice> parent,
             const Bytes& parent_model, std::uint64_t overlap)
      : ModelImage(owner, with_parent(std::move(image_layout), std::move(parent), overlap)) {
    std::copy_n(parent_model.begin(), std::min(overlap, model.size()), model.begin());
  }
  static ImageLayout with_parent(ImageLayout layout, std::shared_ptr<BlockDevice> parent,
                                 std::uint64_t overlap) {
    layout.parent = {std::move(parent), overlap};
    return layout;
  }

  Status write(std::uint64_t offset, std::uint64_t length, int value) {
    // Of value, but no two sectors beside each other alike.
    Buffer data = Buffer::allocate(length);
    for (std::uint64_t i = 0; i < length; ++i)
      data.data()[i] =
          static_cast<std::byte>(static_cast<std::uint64_t>(value) + (offset + i) / 512);
    const Status status =
        rig.finish([&](WriteDone done) { image->write(offset, data, std::move(done)); });
    if (status) {
      std::copy_n(data.data(), length, model.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    return status;
  }
  Status zero(std::uint64_t offset, std::uint64_t length, bool may_unmap) {
    const Status status = rig.finish(
        [&](WriteDone done) { image->write_zeroes(offset, length, may_unmap, std::move(done)); });
    if (status) fill(offset, offset + length, 0);
    return status;
  }
  Status discard(std::uint64_t offset, std::uint64_t length) {
    const Status status =
        rig.finish([&](WriteDone done) { image->discard(offset, length, std::move(done)); });
    const std::uint64_t begin = (offset + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    const std::uint64_t end = (offset + length) / kBlockBytes * kBlockBytes;
    if (status && begin < end) fill(begin, end, 0);
    return status;
  }
  void fill(std::uint64_t begin, std::uint64_t end, int value) {
    std::fill(model.begin() + static_cast<std::ptrdiff_t>(begin),
              model.begin() + static_cast<std::ptrdiff_t>(end), static_cast<std::byte>(value));
  }
  // Writes, zeroes, discards or reads somewhere, at any alignment.
  void step(io::Random& random, int value) {
    const std::uint64_t offset = random.below(model.size());
    const std::uint64_t longest = random.chance(0.3)
                                      ? model.size() - offset
                                      : std::min<std::uint64_t>(model.size() - offset, 9000);
    std::uint64_t length = 1 + random.below(longest), at = offset;
    if (random.chance(0.3)) {  // whole blocks
      at = offset / kBlockBytes * kBlockBytes;
      length = std::min(length / kBlockBytes * kBlockBytes + kBlockBytes, model.size() - at);
    }
    Status status;
    switch (random.below(6)) {
      case 0:
      case 1:
      case 2:
        status = write(at, length, value);
        break;
      case 3:
        status = zero(at, length, random.chance(0.5));
        break;
      case 4:
        status = discard(at, length);
        break;
      default:
        rig.check(*image, model, at, length);
    }
    REQUIRE(status.to_string() == "ok");
  }
  void check() { rig.check(*image, model); }

  // Takes a snapshot; its id.
  std::uint64_t snapshot() {
    const std::uint64_t snap = rig.next_snap++;
    layout.snap_context.seq = snap;
    layout.snap_context.snaps.insert(layout.snap_context.snaps.begin(), snap);
    image->set_snap_context(layout.snap_context);
    snapshots[snap] = model;
    return snap;
  }
  std::shared_ptr<Image> at_snapshot(std::uint64_t snap) const {
    ImageLayout fixed = layout;
    fixed.snap = snap;
    return std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, fixed);
  }

  CloneRig& rig;
  ImageLayout layout;
  Bytes model;
  std::map<std::uint64_t, Bytes> snapshots;
  std::shared_ptr<Image> image;
};

inline ImageLayout image_layout(const std::string& id, std::uint64_t size_bytes,
                                std::uint64_t object_bytes = std::uint64_t{32} << 10,
                                std::uint64_t unit_bytes = 0, std::uint64_t count = 1) {
  ImageLayout layout;
  layout.object_prefix = "rbd_data." + id;
  layout.size_bytes = size_bytes;
  layout.object_bytes = object_bytes;
  layout.stripe_unit_bytes = unit_bytes;
  layout.stripe_count = count;
  return layout;
}

inline std::string text_of(const std::vector<Extent>& extents) {
  std::string text;
  for (const Extent& extent : extents) {
    const char* state = extent.state == ExtentState::data   ? "data"
                        : extent.state == ExtentState::zero ? "zero"
                                                            : "absent";
    text += state + (" " + std::to_string(extent.offset)) + "+" +
            std::to_string(extent.length_bytes) + "; ";
  }
  return text;
}

}  // namespace cairn::image
