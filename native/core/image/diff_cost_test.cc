// What differences and usage of large clones cost, on a simulated cluster: it follows what is
// there.
#include "image/clone_test.hh"
#include "image/diff_job.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kObject = std::uint64_t{4} << 20, kObjects = 1 << 18;  // 1 TiB

// Images whose models would not fit into memory.
struct Large {
  CloneRig rig{13};

  static ImageLayout layout(const char* id) {
    ImageLayout large = image_layout(id, kObjects * kObject, kObject);
    large.pool = pg::kTestPg.pool;
    return large;
  }
  std::shared_ptr<Image> open(const ImageLayout& of) {
    return std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, of);
  }
  std::shared_ptr<Image> at_snapshot(ImageLayout of, std::uint64_t snap) {
    of.snap = snap;
    return open(of);
  }
  // A block at the front of each of these parts of the image.
  void write(const ImageLayout& of, const std::vector<std::uint64_t>& parts) {
    const auto image = open(of);
    for (const std::uint64_t part : parts) {
      REQUIRE(rig.finish([&](WriteDone done) {
                   image->write(part * kObject, Buffer::zeroed(kBlockBytes), std::move(done));
                 })
                  .is_ok());
    }
  }
  std::vector<Extent> diff(Image& image) {
    std::vector<Extent> found;
    const auto take = [&found](const std::vector<Extent>& batch,
                               const std::function<void(const Status&)>& next) {
      found.insert(found.end(), batch.begin(), batch.end());
      next(Status::ok());
    };
    const Status status = rig.finish(
        [&](WriteDone done) { DiffJob::start(image.objects(), {}, take, std::move(done)); });
    CHECK(status.to_string() == "ok");
    return found;
  }
};

}  // namespace

TEST_CASE("diff: from nothing, of a clone, it costs what is there, not how large the image is") {
  for (const bool striped : {false, true}) {
    INFO("striped ", striped);
    Large world;
    const ImageLayout lowest = Large::layout("b");
    world.write(lowest, {99'999, kObjects - 1});
    ImageLayout middle = Large::layout("m");
    middle.parent = {world.at_snapshot(lowest, 1), middle.size_bytes};
    world.write(middle, {5, 250'000});
    ImageLayout top = Large::layout("c");
    // The last object of the parent shows no more.
    top.parent = {world.at_snapshot(middle, 2), top.size_bytes - kObject};
    if (striped) {
      top.stripe_unit_bytes = kObject / 4;
      top.stripe_count = 2;
    }
    world.write(top, {6, 7, 130'000});
    const auto clone = world.open(top);
    const std::uint64_t before = world.rig.operations();
    const std::vector<Extent> found = world.diff(*clone);
    CHECK(world.rig.operations() - before < 100);
    std::vector<Extent> expected;
    for (const std::uint64_t part : {5, 6, 7, 99'999, 130'000, 250'000})
      expected.push_back({part * kObject, kBlockBytes, ExtentState::data});
    CHECK(text_of(found) == text_of(expected));
  }
}

TEST_CASE("measure: of a clone, what it costs follows its own objects") {
  Large world;
  const ImageLayout base = Large::layout("b");
  world.write(base, {1, 2, 3});
  ImageLayout top = Large::layout("c");
  top.parent = {world.at_snapshot(base, 1), top.size_bytes};
  world.write(top, {7, 200'000});
  const auto clone = world.open(top);
  const std::uint64_t before = world.rig.operations();
  std::uint64_t used_bytes = 0;
  REQUIRE(world.rig
              .finish([&](WriteDone done) {
                MeasureJob::start(
                    clone->objects(), 0,
                    [&used_bytes, done = std::move(done)](Status status, ImageUsage usage) mutable {
                      used_bytes = usage.used_bytes;
                      done(std::move(status));
                    });
              })
              .is_ok());
  CHECK(used_bytes == 2 * kBlockBytes);
  CHECK(world.rig.operations() - before < 10);
}

}  // namespace cairn::image
