// The jobs over an image's objects, on a simulated cluster: differences against models, measuring,
// rolling back, flattening under load, removing; cancelling, locks, and closed images.
#include "image/image_job.hh"

#include "../../test/budget.hh"
#include "../../test/memory_device.hh"
#include "image/clone_test.hh"
#include "image/diff_job.hh"
#include "image/flatten_job.hh"
#include "image/range_diff.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kObject = std::uint64_t{32} << 10;

struct Difference {
  Status status;
  std::vector<Extent> extents;
  int batches = 0;
};

Difference diff(CloneRig& rig, Image& image, const DiffSpec& spec) {
  Difference difference;
  difference.status = rig.finish([&](WriteDone done) {
    DiffJob::start(
        image.objects(), spec,
        [&](const std::vector<Extent>& batch, const std::function<void(const Status&)>& next) {
          difference.extents.insert(difference.extents.end(), batch.begin(), batch.end());
          ++difference.batches;
          rig.cluster.executor.run_after(pg::kMillisecond, [next] { next(Status::ok()); });
        },
        std::move(done));
  });
  return difference;
}

// `from` with the difference, whose bytes the device has, is `to`; the extents are in order.
void check_applies(CloneRig& rig, const Difference& difference, BlockDevice& device, Bytes from,
                   const Bytes& to) {
  REQUIRE(difference.status.to_string() == "ok");
  from.resize(to.size());
  std::uint64_t next = 0;
  for (const Extent& extent : difference.extents) {
    REQUIRE(extent.offset >= next);
    next = extent.offset + extent.length_bytes;
    REQUIRE(next <= to.size());
    Buffer data = Buffer::zeroed(extent.length_bytes);
    if (extent.state == ExtentState::data)
      REQUIRE(rig.read(device, extent.offset, extent.length_bytes, data).is_ok());
    std::copy_n(data.span().begin(), data.size(),
                from.begin() + static_cast<std::ptrdiff_t>(extent.offset));
  }
  const bool same = from == to;
  CHECK(same);
}

// diff_range() of any range is the part of the whole difference that lies in it.
void check_ranges(CloneRig& rig, Image& image, std::uint64_t from_snap,
                  const std::vector<Extent>& whole, io::Random& random) {
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t offset = random.below(image.size_bytes());
    const std::uint64_t length = 1 + random.below(image.size_bytes() - offset);
    std::vector<Extent> expected, found;
    for (const Extent& extent : whole) {
      const std::uint64_t begin = std::max(offset, extent.offset);
      const std::uint64_t end = std::min(offset + length, extent.offset + extent.length_bytes);
      if (begin < end) expected.push_back({begin, end - begin, extent.state});
    }
    const Status status = rig.finish([&](WriteDone done) {
      diff_range(image.objects(), from_snap, offset, length,
                 [&found, done = std::move(done)](Status s, std::vector<Extent> extents) mutable {
                   found = std::move(extents);
                   done(std::move(s));
                 });
    });
    CHECK(status.to_string() == "ok");
    CHECK(text_of(found) == text_of(merged(expected)));
  }
}

ImageUsage measure(CloneRig& rig, Image& image, std::uint64_t from_snap) {
  ImageUsage usage;
  const Status status = rig.finish([&](WriteDone done) {
    MeasureJob::start(image.objects(), from_snap,
                      [&usage, done = std::move(done)](Status s, ImageUsage found) mutable {
                        usage = found;
                        done(std::move(s));
                      });
  });
  CHECK(status.to_string() == "ok");
  return usage;
}

}  // namespace

TEST_CASE("listed objects: names that are no object of the image are not taken for one") {
  const std::string prefix = "rbd_data.1";
  const auto number = [&prefix](const std::string& name) {
    const auto object = listed_object(prefix, {name, std::string(1, '\3')});
    return object ? std::to_string(object->number) : "none";
  };
  CHECK(number("rbd_data.1.00000000000000ff") == "255");
  CHECK(number("rbd_data.1.0000000000000ff") == "none");
  CHECK(number("rbd_data.1.00000000000000fg") == "none");
  CHECK(number("rbd_data.1.-0000000000000ff") == "none");
  CHECK_FALSE(listed_object(prefix, {"rbd_data.1.00000000000000ff", ""}).has_value());
  const auto measured =
      listed_object(prefix, {"rbd_data.1.0000000000000001", std::string("\1\5\0\0\0\7\0\0\0", 9)});
  REQUIRE(measured.has_value());
  CHECK(measured->exists);
  CHECK_FALSE(measured->may_differ);
  CHECK(measured->data_blocks == 5);
  CHECK(measured->zero_blocks == 7);
}

TEST_CASE("diff: between any two snapshots and the head, by blocks and by whole objects") {
  for (std::uint64_t seed = 1; seed <= test::budgeted<std::uint64_t>(3); ++seed) {
    INFO("seed ", seed);
    CloneRig rig(seed);
    io::Random random(seed);
    const bool striped = seed % 2 == 0;
    ModelImage image(
        rig, image_layout("a", 11 * kObject + 700, kObject, striped ? 8192 : 0, striped ? 4 : 1));
    std::vector<std::uint64_t> snaps = {0};
    for (int i = 0; i < 60; ++i) {
      image.step(random, i + 1);
      if (i % 15 == 14) snaps.push_back(image.snapshot());
    }
    image.step(random, 200);
    for (std::size_t to = 1; to <= snaps.size(); ++to) {
      const bool head = to == snaps.size();
      const auto device = head ? image.image : image.at_snapshot(snaps[to]);
      const Bytes& wanted = head ? image.model : image.snapshots[snaps[to]];
      for (std::size_t from = 0; from < to; ++from) {
        INFO("from ", from, " to ", to);
        const Bytes before = from == 0 ? Bytes(wanted.size()) : image.snapshots[snaps[from]];
        check_applies(rig, diff(rig, *device, {snaps[from], false}), *device, before, wanted);
        check_applies(rig, diff(rig, *device, {snaps[from], true}), *device, before, wanted);
      }
      if (!head) CHECK(diff(rig, *device, {snaps[to], false}).extents.empty());
      const std::uint64_t from = snaps[random.below(to)];
      check_ranges(rig, *device, from, diff(rig, *device, {from, false}).extents, random);
    }
  }
}

TEST_CASE("diff: is exact to the block, comes in batches, and ends when its receiver fails") {
  CloneRig rig(4);
  ModelImage image(rig, image_layout("a", 64 * kObject * 16, kObject * 16));
  REQUIRE(image.write(0, 64 * kObject * 16, 1).is_ok());
  const std::uint64_t snap = image.snapshot();
  REQUIRE(image.write(5 * kBlockBytes + 10, 20, 2).is_ok());
  REQUIRE(image.discard(40 * kObject * 16, kObject * 16).is_ok());
  REQUIRE(image.zero(7 * kBlockBytes, kBlockBytes, false).is_ok());
  CHECK(text_of(diff(rig, *image.image, {snap, false}).extents) ==
        "data 20480+4096; zero 28672+4096; absent 20971520+524288; ");
  // Every other block of all objects: 4096 runs and more make a batch.
  for (std::uint64_t block = 0; block < 64 * 128; block += 2) {
    Buffer data = Buffer::zeroed(kBlockBytes);
    image.image->write(block * kBlockBytes, data, [](const Status&) {});
  }
  rig.cluster.run_until([&] { return rig.cluster.client->counters().in_flight == 0; });
  const Difference large = diff(rig, *image.image, {snap, false});
  CHECK(large.status.is_ok());
  CHECK(large.batches >= 2);
  const Status failed = rig.finish([&](WriteDone done) {
    DiffJob::start(
        image.image->objects(), {snap, false},
        [](const std::vector<Extent>&, const std::function<void(const Status&)>& next) {
          next({ErrorCode::no_space, "the file is full"});
        },
        std::move(done));
  });
  CHECK(failed.code() == ErrorCode::no_space);
}

TEST_CASE("diff: from nothing, a clone has what its parent shows") {
  CloneRig rig(5);
  ModelImage base(rig, image_layout("b", 5 * kObject));
  REQUIRE(base.write(kObject, 2 * kObject, 1).is_ok());
  const std::uint64_t snap = base.snapshot();
  ModelImage clone(rig, image_layout("c", 6 * kObject), base.at_snapshot(snap), base.model,
                   4 * kObject + 100);
  REQUIRE(clone.write(0, kBlockBytes, 2).is_ok());
  REQUIRE(clone.discard(kObject, kBlockBytes).is_ok());
  const Difference all = diff(rig, *clone.image, {});
  CHECK(text_of(all.extents) == "data 0+4096; zero 32768+4096; data 36864+61440; ");
  check_applies(rig, all, *clone.image, Bytes(clone.model.size()), clone.model);
}

TEST_CASE("measure: counts the blocks of an image, and of what changed since a snapshot") {
  CloneRig rig(6);
  ModelImage image(rig, image_layout("a", 8 * kObject));
  REQUIRE(image.write(0, 2 * kObject, 1).is_ok());
  const std::uint64_t snap = image.snapshot();
  REQUIRE(image.write(5 * kObject, 2 * kBlockBytes, 1).is_ok());
  REQUIRE(image.zero(0, kBlockBytes, false).is_ok());
  CHECK(measure(rig, *image.image, 0).used_bytes == 2 * kObject + kBlockBytes);
  CHECK(measure(rig, *image.image, 0).objects == 3);
  CHECK(measure(rig, *image.image, snap).used_bytes == 2 * kBlockBytes);
  CHECK(measure(rig, *image.at_snapshot(snap), 0).used_bytes == 2 * kObject);
  CHECK(measure(rig, *image.at_snapshot(snap), 0).objects == 2);
}

TEST_CASE("rollback: the head is what the snapshot was, later snapshots stay, also of a clone") {
  CloneRig rig(7);
  io::Random random(1);
  ModelImage base(rig, image_layout("b", 4 * kObject));
  for (int i = 0; i < 15; ++i) base.step(random, i + 1);
  const std::uint64_t origin = base.snapshot();
  ModelImage clone(rig, image_layout("c", 6 * kObject), base.at_snapshot(origin), base.model,
                   4 * kObject);
  for (int i = 0; i < 20; ++i) clone.step(random, i + 50);
  const std::uint64_t early = clone.snapshot();
  for (int i = 0; i < 20; ++i) clone.step(random, i + 100);
  const std::uint64_t late = clone.snapshot();
  for (int i = 0; i < 10; ++i) clone.step(random, i + 150);
  const std::uint64_t newest = clone.snapshot();
  CHECK(rig.finish([&](WriteDone done) {
             ChangeJob::rollback(clone.image->objects(), early, std::move(done));
           })
            .is_ok());
  clone.model = clone.snapshots[early];
  clone.check();
  for (int i = 0; i < 20; ++i) clone.step(random, i + 200);
  for (const std::uint64_t snap : {early, late, newest})
    rig.check(*clone.at_snapshot(snap), clone.snapshots[snap]);
  const auto fixed = clone.at_snapshot(early);
  CHECK(rig.finish([&](WriteDone done) {
             ChangeJob::rollback(fixed->objects(), early, std::move(done));
           })
            .code() == ErrorCode::read_only);
}

TEST_CASE("flatten: under load all stays right, and afterwards the parent is not needed") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed ", seed);
    CloneRig rig(20 + seed);
    io::Random random(seed);
    ModelImage base(rig, image_layout("b", 9 * kObject + 100));
    for (int i = 0; i < 40; ++i) base.step(random, i + 1);
    REQUIRE(base.zero(3 * kObject, kObject, false).is_ok());
    const std::uint64_t snap = base.snapshot();
    const bool striped = seed % 2 == 0;
    ModelImage clone(
        rig, image_layout("c", 8 * kObject + 100, kObject, striped ? 4096 : 0, striped ? 2 : 1),
        base.at_snapshot(snap), base.model, 8 * kObject + 7);
    for (int i = 0; i < 10; ++i) clone.step(random, i + 50);
    bool flattened = false;
    const auto job = FlattenJob::start(clone.image->objects(), [&](const Status& status) {
      CHECK(status.to_string() == "ok");
      flattened = true;
    });
    for (int i = 0; i < 30 && !flattened; ++i) clone.step(random, i + 100);
    rig.cluster.run_until([&] { return flattened; });
    CHECK(job->progress().done == job->progress().total);
    CHECK(job->progress().total == object_count(clone.layout.striping(), 8 * kObject + 7));
    clone.check();
    clone.image->set_parent({});
    clone.check();
    const std::uint64_t reads = clone.image->clone_counters().parent_reads;
    for (int i = 0; i < 20; ++i) clone.step(random, i + 150);
    clone.check();
    CHECK(clone.image->clone_counters().parent_reads == reads);
  }
}

TEST_CASE("flatten: what it costs follows what the parents have, not how large they are") {
  constexpr std::uint64_t kObjects = 5000;
  for (const bool striped : {false, true}) {
    CloneRig rig(31);
    ModelImage base(rig, image_layout("b", kObjects * kObject));
    REQUIRE(base.write(700 * kObject, kBlockBytes, 1).is_ok());
    ModelImage middle(rig, image_layout("m", kObjects * kObject), base.at_snapshot(base.snapshot()),
                      base.model, kObjects * kObject);
    REQUIRE(middle.write(4000 * kObject + 100, 2 * kObject, 2).is_ok());
    ModelImage clone(
        rig, image_layout("c", kObjects * kObject, kObject, striped ? 4096 : 0, striped ? 2 : 1),
        middle.at_snapshot(middle.snapshot()), middle.model, kObjects * kObject);
    const std::uint64_t before = rig.operations();
    CHECK(rig.finish([&](WriteDone done) {
               FlattenJob::start(clone.image->objects(), std::move(done));
             })
              .is_ok());
    CHECK(rig.operations() - before < 200);
    clone.image->set_parent({});
    rig.check(*clone.image, clone.model, 699 * kObject, 3 * kObject);
    rig.check(*clone.image, clone.model, 3999 * kObject, 5 * kObject);
  }
}

TEST_CASE("flatten: with its snapshots, under load; afterwards none of them needs the parent") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed ", seed);
    CloneRig rig(40 + seed);
    io::Random random(seed);
    const std::uint64_t overlap = 8 * kObject + 7, lower = 5 * kObject;
    ModelImage base(rig, image_layout("b", 9 * kObject + 100));
    for (int i = 0; i < 40; ++i) base.step(random, i + 1);
    const std::uint64_t origin = base.snapshot();
    const bool striped = seed % 2 == 0;
    ModelImage clone(
        rig, image_layout("c", 8 * kObject + 100, kObject, striped ? 4096 : 0, striped ? 2 : 1),
        base.at_snapshot(origin), base.model, overlap);
    std::vector<std::uint64_t> snaps{clone.snapshot()};
    for (int i = 0; i < 8; ++i) clone.step(random, i + 50);
    snaps.push_back(clone.snapshot());
    for (int i = 0; i < 4; ++i) clone.step(random, i + 60);
    // It was smaller for a while: from here on the parent shows in its front only.
    REQUIRE(clone.zero(lower, clone.model.size() - lower, true).is_ok());
    clone.layout.parent.overlap_bytes = lower;
    clone.image->set_parent(clone.layout.parent);
    const std::uint64_t late = clone.snapshot();
    const std::vector<FlattenScope> scopes = {{{snaps[0], snaps[1], late, kHead}, 0, lower},
                                              {{snaps[0], snaps[1]}, lower, overlap}};
    for (const FlattenScope& scope : scopes) {
      bool flattened = false;
      const auto job = FlattenJob::start(clone.image->objects(), scope, [&](const Status& status) {
        CHECK(status.to_string() == "ok");
        flattened = true;
      });
      for (int i = 0; i < 20 && !flattened; ++i) clone.step(random, i + 100);
      rig.cluster.run_until([&] { return flattened; });
      CHECK(job->progress().done == job->progress().total);
    }
    clone.layout.parent = {};
    clone.image->set_parent({});
    clone.check();
    for (const std::uint64_t snap : {snaps[0], snaps[1], late})
      rig.check(*clone.at_snapshot(snap), clone.snapshots[snap]);
    for (int i = 0; i < 20; ++i) clone.step(random, i + 150);
    rig.check(*clone.at_snapshot(late), clone.snapshots[late]);
  }
}

TEST_CASE("flatten: nothing is sent while the gate is closed; canceling and closing end it") {
  CloneRig rig(8);
  auto parent = std::make_shared<test::MemoryDevice>(rig.cluster.executor, 8 * kObject, true);
  std::memset(parent->bytes().data(), 1, 8 * kObject);
  parent->set_state(0, 8 * kObject, ExtentState::data);
  const Bytes content(parent->bytes().begin(), parent->bytes().end());
  ModelImage clone(rig, image_layout("c", 8 * kObject), parent, content, 8 * kObject);
  bool drained = false;
  clone.image->gate().close([&] { drained = true; });
  CHECK(drained);
  std::string outcome;
  const auto end = [&outcome](const Status& status) { outcome += status.to_string() + "; "; };
  const std::uint64_t before = rig.operations();
  FlattenJob::start(clone.image->objects(), end);
  rig.cluster.executor.run_for(pg::kSecond);
  CHECK(rig.operations() == before);
  clone.image->gate().open({});
  rig.cluster.run_until([&] { return outcome == "ok; "; });
  clone.image->set_parent({});
  clone.check();

  outcome = {};
  ModelImage other(rig, image_layout("d", 8 * kObject), parent, content, 8 * kObject);
  const auto canceled = FlattenJob::start(other.image->objects(), end);
  rig.cluster.executor.run_for(pg::kMillisecond);
  canceled->cancel();
  rig.cluster.run_until([&] { return !outcome.empty(); });
  CHECK(outcome == "canceled: the job was canceled; ");
  other.check();

  outcome = {};
  parent->hold(true);
  ModelImage gone(rig, image_layout("e", 8 * kObject), parent, content, 8 * kObject);
  const auto closed = FlattenJob::start(gone.image->objects(), end);
  rig.cluster.executor.run_for(pg::kSecond);
  gone.image.reset();
  closed->cancel();
  rig.cluster.executor.run_for(pg::kMillisecond);
  CHECK(outcome == "canceled: the job was canceled; ");
  parent->hold(false);
  rig.cluster.executor.run_for(pg::kSecond);
  CHECK(outcome == "canceled: the job was canceled; ");
}

TEST_CASE("diff: what lies behind the end of an image that has shrunk is no part of it") {
  CloneRig rig(10);
  ModelImage image(rig, image_layout("a", 3 * kObject, kObject, 8192, 2));
  const std::uint64_t snap = image.snapshot();
  // With a hole, so that blocks of the first object lie behind the end by themselves.
  REQUIRE(image.write(0, 8192 + 4096, 1).is_ok());
  REQUIRE(image.write(21'000, 50'000, 1).is_ok());
  for (const std::uint64_t size : {std::uint64_t{100}, std::uint64_t{8192 + 4096}}) {
    image.image->set_size(size);
    CHECK(text_of(diff(rig, *image.image, {snap, false}).extents) ==
          "data 0+" + std::to_string(size) + "; ");
    CHECK(text_of(diff(rig, *image.image, {snap, true}).extents) ==
          "data 0+" + std::to_string(size) + "; ");
  }
}

TEST_CASE("listing jobs: a PG lists more objects than one page has") {
  CloneRig rig(11);
  constexpr std::uint64_t kCount = net::kMaxListedObjects + 100;
  ModelImage image(rig, image_layout("a", kCount * kBlockBytes, kBlockBytes));
  REQUIRE(image.write(0, image.model.size(), 1).is_ok());
  CHECK(measure(rig, *image.image, 0).objects == kCount);
  CHECK(text_of(diff(rig, *image.image, {}).extents) ==
        "data 0+" + std::to_string(kCount * kBlockBytes) + "; ");
  CHECK(rig.finish([&](WriteDone done) {
             ChangeJob::remove(image.image->objects(), 0, std::move(done));
           })
            .is_ok());
  CHECK(measure(rig, *image.image, 0).objects == 0);
}

TEST_CASE("remove: from an object on; snapshots keep what they show, however large the image is") {
  CloneRig rig(12);
  ModelImage image(rig, image_layout("a", 8 * kObject));
  for (int object = 0; object < 8; ++object)
    REQUIRE(image.write(static_cast<std::uint64_t>(object) * kObject, 100, object + 1).is_ok());
  const std::uint64_t snap = image.snapshot();
  // The device is told of a size that would take months to go through.
  image.image->set_size(std::uint64_t{1} << 46);
  const std::uint64_t before = rig.operations();
  CHECK(rig.finish([&](WriteDone done) {
             ChangeJob::remove(image.image->objects(), 3, std::move(done));
           })
            .is_ok());
  CHECK(rig.operations() - before < 30);
  image.image->set_size(8 * kObject);
  std::fill(image.model.begin() + 3 * kObject, image.model.end(), std::byte{});
  image.check();
  rig.check(*image.at_snapshot(snap), image.snapshots[snap]);
  CHECK(measure(rig, *image.image, 0).objects == 3);
}

TEST_CASE("remove: all objects of the image go, and none of another") {
  CloneRig rig(9);
  ModelImage image(rig, image_layout("a", 40 * kObject)), other(rig, image_layout("a1", kObject));
  for (std::uint64_t object = 0; object < 40; object += 3)
    REQUIRE(image.write(object * kObject, 100, 1).is_ok());
  REQUIRE(other.write(0, 100, 1).is_ok());
  image.image->set_size(kObject);  // what lies behind the end goes too
  CHECK(rig.finish([&](WriteDone done) {
             ChangeJob::remove(image.image->objects(), 0, std::move(done));
           })
            .is_ok());
  CHECK(measure(rig, *image.image, 0).objects == 0);
  CHECK(rig.cluster.digest(0, "rbd_data.a.000000000000001b").starts_with("absent"));
  other.check();
}

}  // namespace cairn::image
