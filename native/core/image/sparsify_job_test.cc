// Giving the space of zeros back, on a simulated cluster: of images and clones with snapshots,
// beside a writer.
#include "image/clone_test.hh"
#include "image/listing_job.hh"

namespace cairn::image {

namespace {

struct Freed {
  Status status;
  std::uint64_t bytes = 0;
};

// As clients do: by a device of its own, that has neither the snap context nor the parent.
Freed sparsify(CloneRig& rig, const ModelImage& image, const SparsifySpec& spec) {
  ImageLayout layout = image.layout;
  layout.snap_context = {};
  layout.parent = {};
  const auto device = std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, layout);
  Freed freed;
  freed.status = rig.finish([&](WriteDone done) {
    SparsifyJob::start(
        device->objects(), spec,
        [&freed, done = std::move(done)](Status status, std::uint64_t bytes) mutable {
          freed.bytes = bytes;
          done(std::move(status));
        });
  });
  return freed;
}

// Zeros in data blocks.
void write_zeros(ModelImage& image, std::uint64_t offset, std::uint64_t length) {
  const Status status = image.rig.finish(
      [&](WriteDone done) { image.image->write(offset, Buffer::zeroed(length), std::move(done)); });
  REQUIRE(status.to_string() == "ok");
  image.fill(offset, offset + length, 0);
}

void check_snapshots(ModelImage& image) {
  for (const auto& entry : image.snapshots) {
    INFO("snapshot ", entry.first);
    image.rig.check(*image.at_snapshot(entry.first), entry.second);
  }
}

std::uint64_t used_bytes(CloneRig& rig, Image& image) {
  std::uint64_t used = 0;
  const Status status = rig.finish([&](WriteDone done) {
    MeasureJob::start(image.objects(), 0,
                      [&used, done = std::move(done)](Status s, ImageUsage usage) mutable {
                        used = usage.used_bytes;
                        done(std::move(s));
                      });
  });
  CHECK(status.to_string() == "ok");
  return used;
}

}  // namespace

TEST_CASE("sparsify: a striped clone and its snapshots read as before, and use less") {
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    INFO("seed ", seed);
    CloneRig rig(seed);
    io::Random random(seed);
    constexpr std::uint64_t kSize = 40 * kBlockBytes + 1000;
    constexpr std::uint64_t kOverlap = 21 * kBlockBytes + 500;
    ModelImage parent(rig, image_layout("parent", kSize));
    REQUIRE(parent.write(0, kSize, 1).is_ok());
    const std::uint64_t golden = parent.snapshot();
    ModelImage clone(rig,
                     image_layout("clone", kSize, 8 * kBlockBytes, 2 * kBlockBytes, 2 + seed % 2),
                     parent.at_snapshot(golden), parent.model, kOverlap);
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 6; ++i) clone.step(random, 10 + i);
      const std::uint64_t block = random.below(30);
      write_zeros(clone, block * kBlockBytes, (1 + random.below(10)) * kBlockBytes);
      if (round % 2 == 0) clone.snapshot();
      const std::uint64_t before = used_bytes(rig, *clone.image);
      const std::uint64_t unit = kBlockBytes << random.below(3);
      const Freed freed = sparsify(rig, clone, {unit, kOverlap});
      REQUIRE(freed.status.to_string() == "ok");
      CHECK(used_bytes(rig, *clone.image) == before - freed.bytes);
      if (unit == kBlockBytes) CHECK(freed.bytes > 0);
      clone.check();
      check_snapshots(clone);
      CHECK(sparsify(rig, clone, {unit, kOverlap}).bytes == 0);
    }
  }
}

TEST_CASE("sparsify: a writer goes on meanwhile") {
  for (std::uint64_t seed = 11; seed < 16; ++seed) {
    CloneRig rig(seed);
    io::Random random(seed);
    constexpr std::uint64_t kBlocks = 256;
    ModelImage image(rig, image_layout("i", kBlocks * kBlockBytes));
    write_zeros(image, 0, kBlocks * kBlockBytes);
    image.snapshot();
    write_zeros(image, 0, kBlocks / 2 * kBlockBytes);
    const auto over = std::make_shared<bool>(false);
    SparsifyJob::start(image.image->objects(), {}, [over](const Status& status, std::uint64_t) {
      CHECK(status.to_string() == "ok");
      *over = true;
    });
    int writes = 0;
    for (; !*over; ++writes) {
      const std::uint64_t block = random.below(kBlocks);
      REQUIRE(image.write(block * kBlockBytes, kBlockBytes, 1 + writes % 200).is_ok());
    }
    CHECK(writes > 3);
    image.check();
    check_snapshots(image);
    CHECK(used_bytes(rig, *image.image) <= static_cast<std::uint64_t>(writes) * kBlockBytes);
  }
}

TEST_CASE("sparsify: units that do not divide an object are refused") {
  CloneRig rig(20);
  ModelImage image(rig, image_layout("i", 8 * kBlockBytes));
  for (const std::uint64_t unit : {std::uint64_t{512}, 3 * kBlockBytes, std::uint64_t{64} << 10})
    CHECK(sparsify(rig, image, {unit, 0}).status.code() == ErrorCode::invalid_argument);
}

}  // namespace cairn::image
