// A clone of a clone, whose parents nobody has open but it, gets another parent at every moment of
// its operations: each is answered, and the gate waits for it. A commit of a migration, and a
// flatten further down, do so under readers.
#include "image/clone_test.hh"
#include "image/null_device.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kObject = std::uint64_t{32} << 10;
constexpr std::uint64_t kSize = 7 * kObject;

using Answered = std::function<void(const Status&)>;
// A completion that passes the status on, whatever comes with it.
auto status_to(Answered answered) {
  return [answered = std::move(answered)](const Status& status, auto&&) { answered(status); };
}
// Starts one operation.
using Start = void (*)(Image&, Answered);

struct TwoParents {
  TwoParents() {
    REQUIRE(base.write(kObject, kObject, 3).is_ok());
    base_snap = base.snapshot();
    REQUIRE(middle.write(2 * kObject, kBlockBytes, 4).is_ok());
    middle_snap = middle.snapshot();
  }

  std::shared_ptr<Image> make_clone(bool is_locked) {
    ImageLayout lower = middle.layout;
    lower.snap = middle_snap;
    lower.parent = {base.at_snapshot(base_snap), kSize};
    ImageLayout layout = image_layout("c" + std::to_string(rig.next_snap++), kSize);
    layout.pool = lower.pool;
    layout.locked = is_locked;
    layout.parent = {image_of(std::move(lower)), kSize};
    std::shared_ptr<Image> clone = image_of(std::move(layout));
    if (is_locked) clone->gate().open({});
    return clone;
  }
  std::shared_ptr<Image> image_of(ImageLayout layout) {
    return std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, std::move(layout));
  }

  // Sets another parent, and drains a locked gate, so long after the start. Returns how long the
  // answer took.
  std::uint64_t run(Start start, std::uint64_t change_after_ns, bool is_locked) {
    io::SimExecutor& executor = rig.cluster.executor;
    const std::shared_ptr<Image> clone = make_clone(is_locked);
    const std::uint64_t began_ns = executor.now_ns();
    std::optional<std::uint64_t> answered_ns, drained_ns;
    bool left = false;
    start(*clone, [&](const Status& status) {
      CHECK(status.to_string() == "ok");
      answered_ns = executor.now_ns();
    });
    executor.run_for(change_after_ns);
    clone->set_parent({std::make_shared<NullDevice>(kSize), kSize}, [&left] { left = true; });
    if (is_locked) clone->gate().close([&] { drained_ns = executor.now_ns(); });
    rig.cluster.run_until(
        [&] { return answered_ns.has_value() && left && (drained_ns || !is_locked); });
    if (drained_ns) CHECK(*drained_ns >= *answered_ns);
    return *answered_ns - began_ns;
  }

  void run_at_any_moment(Start start, bool is_locked) {
    constexpr std::uint64_t kMoments = 25;
    const std::uint64_t whole_ns = run(start, 0, is_locked);
    for (std::uint64_t moment = 1; moment <= kMoments; ++moment)
      run(start, 2 * whole_ns * moment / kMoments, is_locked);
  }

  CloneRig rig{12};
  ModelImage base{rig, image_layout("b", kSize)};
  ModelImage middle{rig, image_layout("m", kSize)};
  std::uint64_t base_snap = 0;
  std::uint64_t middle_snap = 0;
};

const Start kOperations[] = {
    [](Image& image, Answered answered) {
      image.extents(0, kSize, status_to(std::move(answered)));
    },
    [](Image& image, Answered answered) {
      image.extents(kObject, kBlockBytes, status_to(std::move(answered)));
    },
    // Of nothing but absent blocks, and of some.
    [](Image& image, Answered answered) {
      image.read(kObject, kBlockBytes, status_to(std::move(answered)));
    },
    [](Image& image, Answered answered) {
      image.read(2 * kObject, 2 * kBlockBytes, status_to(std::move(answered)));
    },
    // A copyup.
    [](Image& image, Answered answered) {
      image.write(kObject + 100, Buffer::zeroed(5), std::move(answered));
    },
};

}  // namespace

TEST_CASE("another parent: what began with the one before is answered") {
  TwoParents world;
  for (const Start start : kOperations) world.run_at_any_moment(start, false);
  world.run_at_any_moment(
      [](Image& image, Answered answered) { image.populated(status_to(std::move(answered))); },
      false);
}

TEST_CASE("another parent: a gate that is drained waits for what began with the one before") {
  TwoParents world;
  for (const Start start : kOperations) world.run_at_any_moment(start, true);
}

}  // namespace cairn::image
