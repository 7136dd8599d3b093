// Clones on a simulated cluster: what shows of the parent, what a write costs, copyup against
// racing writers, zeros inside the overlap, chains, striping, and draining. The last test is random
// over a chain of three images with snapshots.
#include "image/clone_test.hh"
#include "../../test/budget.hh"
#include "../../test/memory_device.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kObject = std::uint64_t{32} << 10;
// The overlap ends inside a block.
constexpr std::uint64_t kOverlap = 5 * kObject + 2 * kBlockBytes + 700;
constexpr std::uint64_t kSize = 7 * kObject + 100;

// A parent in memory, every byte of it not zero but for some blocks; and a clone of it.
struct OneClone {
  explicit OneClone(std::uint64_t seed, net::SimNetworkConfig network = {})
      : rig(seed, network),
        parent(make_parent()),
        clone(rig, image_layout("c", kSize), parent, content(), kOverlap) {}
  std::shared_ptr<test::MemoryDevice> make_parent() {
    auto device = std::make_shared<test::MemoryDevice>(rig.cluster.executor, kOverlap + 300, true);
    io::Random random(5);
    for (std::byte& byte : device->bytes()) byte = static_cast<std::byte>(random.below(255) + 1);
    device->set_state(0, kOverlap + 300, ExtentState::data);
    std::memset(device->bytes().data() + kObject, 0, 2 * kBlockBytes);
    device->set_state(kObject, kBlockBytes, ExtentState::absent);
    device->set_state(kObject + kBlockBytes, kBlockBytes, ExtentState::zero);
    return device;
  }
  Bytes content() const { return Bytes(parent->bytes().begin(), parent->bytes().end()); }

  CloneRig rig;
  std::shared_ptr<test::MemoryDevice> parent;
  ModelImage clone;
};

}  // namespace

TEST_CASE("clone: absent blocks show the parent, up to the end of the overlap") {
  OneClone world(1);
  world.clone.check();
  world.rig.check(*world.clone.image, world.clone.model, kOverlap - 10, 20);
  CHECK(world.clone.write(2 * kObject, kBlockBytes, 7).is_ok());
  CHECK(world.clone.write(2 * kObject + 3 * kBlockBytes, 2 * kBlockBytes, 8).is_ok());
  world.clone.check();
  world.rig.check(*world.clone.image, world.clone.model, 2 * kObject - 5, 3 * kBlockBytes);
  CHECK(world.clone.image->clone_counters().copyups == 0);
}

TEST_CASE("clone: whole blocks are written at once; without a parent all costs what it did") {
  OneClone world(2);
  std::uint64_t before = world.rig.operations();
  CHECK(world.clone.write(kObject + kBlockBytes, 3 * kBlockBytes, 1).is_ok());
  CHECK(world.rig.operations() == before + 1);
  CHECK(world.clone.image->clone_counters().parent_reads == 0);
  // A partial block: the guarded write, the copyup, the write again; then it is there.
  before = world.rig.operations();
  CHECK(world.clone.write(5000, 100, 2).is_ok());
  CHECK(world.rig.operations() == before + 3);
  CHECK(world.clone.image->clone_counters().copyups == 1);
  before = world.rig.operations();
  CHECK(world.clone.write(6000, 100, 3).is_ok());
  CHECK(world.rig.operations() == before + 1);
  // Behind the overlap there is nothing to copy.
  before = world.rig.operations();
  CHECK(world.clone.write(6 * kObject + 5000, 100, 4).is_ok());
  CHECK(world.rig.operations() == before + 1);
  world.clone.check();

  world.clone.image->set_parent({});
  ModelImage plain(world.rig, image_layout("p", kSize));
  before = world.rig.operations();
  CHECK(plain.write(5000, 100, 2).is_ok());
  Buffer data;
  CHECK(world.rig.read(*plain.image, 4000, 3000, data).is_ok());
  CHECK(plain.discard(0, kObject).is_ok());
  CHECK(world.rig.operations() == before + 3);
  CHECK(world.rig.cluster.digest(0, "rbd_data.p.0000000000000000").starts_with("absent"));
}

TEST_CASE("clone: a parent is left when nothing that began with it goes on") {
  OneClone world(9);
  const auto other = world.make_parent();
  const auto left_after = [&](auto start) {
    bool left = false, done = false;
    start([&done] { done = true; });
    world.clone.image->set_parent({other, kOverlap}, [&] {
      CHECK(done);
      left = true;
    });
    CHECK_FALSE(left);
    world.rig.cluster.run_until([&] { return left; });
    CHECK(left);
  };
  const auto ignored = [](auto ended) { return [ended](const Status&, auto&&...) { ended(); }; };
  // Of a block that is absent, of one that is so in part, and of what is written in part.
  left_after([&](auto ended) { world.clone.image->read(0, kBlockBytes, ignored(ended)); });
  CHECK(world.clone.write(kObject, kBlockBytes, 7).is_ok());
  left_after(
      [&](auto ended) { world.clone.image->read(kObject, 3 * kBlockBytes, ignored(ended)); });
  left_after([&](auto ended) {
    world.clone.image->write(2 * kObject + 100, Buffer::zeroed(5), ignored(ended));
  });
  left_after([&](auto ended) { world.clone.image->extents(0, kSize, ignored(ended)); });
  // With nothing under way it is left at once.
  bool left = false;
  world.clone.image->set_parent({}, [&left] { left = true; });
  CHECK(left);
}

TEST_CASE("clone: partial writes that race keep each other's bytes and the parent's") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    INFO("seed ", seed);
    OneClone world(10 + seed);
    io::Random random(seed);
    std::size_t answered = 0;
    std::size_t sent = 0;
    // Disjoint pieces of two blocks, some of whole blocks, all at once.
    for (std::uint64_t at = 0; at < 2 * kBlockBytes; at += 512) {
      if (random.chance(0.4)) continue;
      Buffer data = Buffer::allocate(512);
      std::memset(data.data(), static_cast<int>(at / 512 + 1), 512);
      world.clone.fill(at, at + 512, static_cast<int>(at / 512 + 1));
      ++sent;
      world.clone.image->write(at, data, [&](const Status& status) {
        CHECK(status.to_string() == "ok");
        ++answered;
      });
    }
    world.rig.cluster.run_until([&] { return answered == sent; });
    world.rig.check(*world.clone.image, world.clone.model, 0, 3 * kBlockBytes);
  }
}

TEST_CASE("clone: what was discarded or zeroed never shows the parent again") {
  OneClone world(3);
  ModelImage& clone = world.clone;
  CHECK(clone.discard(0, kObject).is_ok());  // a whole object
  CHECK(clone.discard(kObject + 100, 3 * kBlockBytes).is_ok());
  CHECK(clone.zero(2 * kObject + 100, 2 * kBlockBytes, true).is_ok());
  CHECK(clone.zero(3 * kObject + 10, 20, false).is_ok());
  CHECK(clone.discard(4 * kObject, kSize - 4 * kObject).is_ok());  // over the end of the overlap
  clone.check();
  CHECK(clone.write(4 * kObject + 10, 10, 9).is_ok());  // no copyup: the zeros are explicit
  CHECK(clone.image->clone_counters().copyups == 3);    // at the edges of the zeroed ranges
  clone.check();
  CHECK(text_of(world.rig.extents(*clone.image, 5 * kObject, kSize - 5 * kObject)) ==
        "zero 163840+12288; absent 176128+53348; ");
  // Behind the overlap whole objects still go.
  CHECK(clone.write(6 * kObject, kObject, 3).is_ok());
  CHECK(clone.discard(6 * kObject, kObject).is_ok());
  CHECK(world.rig.cluster.digest(0, "rbd_data.c.0000000000000006").starts_with("absent"));
}

TEST_CASE("clone: extents are those of the clone, and of the parent where it shows") {
  OneClone world(4);
  CHECK(world.clone.write(kObject - kBlockBytes, kBlockBytes, 1).is_ok());
  CHECK(world.clone.zero(kObject + 2 * kBlockBytes, kBlockBytes, false).is_ok());
  CHECK(text_of(world.rig.extents(*world.clone.image, 0, kSize)) ==
        "data 0+32768; absent 32768+4096; zero 36864+8192; data 45056+127676; "
        "absent 172732+56744; ");
}

TEST_CASE("clone: a failing parent fails what needs it, and nothing else") {
  OneClone world(5);
  world.parent->fail_with({ErrorCode::io_error, "broken"});
  Buffer data;
  CHECK(world.rig.read(*world.clone.image, 0, 10, data).code() == ErrorCode::io_error);
  CHECK(world.clone.write(100, 10, 1).code() == ErrorCode::io_error);
  CHECK(world.clone.write(0, kBlockBytes, 1).is_ok());
  CHECK(world.rig.read(*world.clone.image, 0, 10, data).is_ok());
  CHECK(world.clone.write(2 * kObject, kObject, 2).is_ok());
  const Status failed = world.rig.finish([&](WriteDone done) {
    world.clone.image->extents(
        0, kSize, [done = std::move(done)](Status status, const std::vector<Extent>& some) mutable {
          CHECK(some.empty());
          done(std::move(status));
        });
  });
  CHECK(failed.code() == ErrorCode::io_error);
  world.parent->fail_with({});
  world.clone.check();
}

TEST_CASE("clone: draining the gate waits for all steps of an operation") {
  OneClone world(6);
  AccessGate& gate = world.clone.image->gate();
  world.parent->hold(true);
  bool written = false, drained = false;
  world.clone.image->write(100, Buffer::zeroed(10), [&](const Status& status) {
    CHECK(status.is_ok());
    written = true;
  });
  gate.close([&] { drained = true; });
  world.rig.cluster.executor.run_for(pg::kSecond);
  CHECK_FALSE(written);
  CHECK_FALSE(drained);  // the write waits for the parent
  world.parent->hold(false);
  world.rig.cluster.run_until([&] { return drained; });
  CHECK(written);
  gate.open({});
  world.clone.fill(100, 110, 0);
  world.clone.check();
}

TEST_CASE("clone: an image that is closed answers nothing that waits for its parent") {
  OneClone world(7);
  world.parent->hold(true);
  bool answered = false;
  world.clone.image->read(0, 10, [&](const Status&, const Buffer&) { answered = true; });
  world.rig.cluster.executor.run_for(pg::kSecond);
  world.clone.image.reset();
  world.parent->hold(false);
  world.rig.cluster.executor.run_for(pg::kSecond);
  CHECK_FALSE(answered);
}

TEST_CASE("clone: a chain of 16 clones, each of which has a block of its own") {
  CloneRig rig(8);
  constexpr int kDepth = 16;
  const std::uint64_t size = kObject;
  ModelImage base(rig, image_layout("b", size));
  REQUIRE(base.write(0, size, 200).is_ok());
  Bytes model = base.model;
  std::shared_ptr<BlockDevice> parent = base.at_snapshot(base.snapshot());
  std::vector<std::unique_ptr<ModelImage>> chain;
  for (int depth = 0; depth < kDepth; ++depth) {
    chain.push_back(std::make_unique<ModelImage>(
        rig, image_layout("d" + std::to_string(depth), size), parent, model, size));
    ModelImage& clone = *chain.back();
    const auto at = static_cast<std::uint64_t>(depth) * 2000;
    REQUIRE(clone.write(at, 1500, depth + 1).is_ok());
    clone.check();
    model = clone.model;
    parent = clone.at_snapshot(clone.snapshot());
  }
  rig.check(*parent, model);
  chain.clear();  // the handles of those above; the chain is held by its last snapshot
  base.image.reset();
  rig.check(*parent, model);
}

TEST_CASE("clone: other stripes than the parent's, and an overlap that ends inside a stripe") {
  CloneRig rig(9);
  ModelImage base(rig, image_layout("b", 300'000, kObject, kBlockBytes, 3));
  io::Random random(1);
  for (int i = 0; i < 30; ++i) base.step(random, i + 1);
  const std::uint64_t snap = base.snapshot();
  base.check();
  for (const std::uint64_t overlap : {std::uint64_t{300'000}, std::uint64_t{100'001}}) {
    ModelImage clone(rig, image_layout("c" + std::to_string(overlap), 400'000, kObject, 8192, 5),
                     base.at_snapshot(snap), base.snapshots[snap], overlap);
    clone.check();
    for (int i = 0; i < 60; ++i) clone.step(random, 100 + i);
    clone.check();
  }
}

TEST_CASE("clone: random operations, snapshots and clones in a chain of three, to the models") {
  for (std::uint64_t seed = 1; seed <= test::budgeted<std::uint64_t>(4); ++seed) {
    INFO("seed ", seed);
    net::SimNetworkConfig network;
    network.resets_per_million = seed % 2 == 0 ? 10'000 : 0;
    CloneRig rig(100 + seed, network);
    io::Random random(seed);
    const std::uint64_t sizes[] = {5 * kObject + 512, 6 * kObject + 4096, 4 * kObject + 1};
    std::vector<std::unique_ptr<ModelImage>> chain;
    int value = 1;
    for (int depth = 0; depth < 3; ++depth) {
      const std::uint64_t size = sizes[depth];
      const bool striped = random.chance(0.5);
      ImageLayout layout = image_layout("i" + std::to_string(depth), size, kObject,
                                        striped ? kBlockBytes : 0, striped ? 3 : 1);
      if (depth == 0) {
        chain.push_back(std::make_unique<ModelImage>(rig, layout));
      } else {
        ModelImage& parent = *chain.back();
        const std::uint64_t snap = parent.layout.snap_context.snaps.front();
        const std::uint64_t overlap = std::min(size, parent.model.size()) - random.below(3000);
        chain.push_back(std::make_unique<ModelImage>(rig, layout, parent.at_snapshot(snap),
                                                     parent.snapshots[snap], overlap));
      }
      for (int i = 0; i < 60; ++i) {
        // Also the images above go on changing, and have more snapshots.
        ModelImage& image = *chain[random.below(chain.size())];
        if (random.chance(0.08)) image.snapshot();
        image.step(random, value = value % 250 + 1);
      }
      chain.back()->snapshot();
    }
    for (const auto& image : chain) {
      image->check();
      for (const auto& entry : image->snapshots) {
        INFO(image->layout.object_prefix, " at ", entry.first);
        rig.check(*image->at_snapshot(entry.first), entry.second);
      }
    }
  }
}

}  // namespace cairn::image
