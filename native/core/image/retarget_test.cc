// A device that becomes another image while requests wait for it.
#include "image/clone_test.hh"

namespace cairn::image {

namespace {

ImageLayout layout_of(std::string prefix, std::uint64_t object_bytes) {
  ImageLayout layout;
  layout.object_prefix = std::move(prefix);
  layout.object_bytes = object_bytes;
  layout.size_bytes = std::uint64_t{1} << 20;
  layout.pool = pg::kTestPg.pool;
  return layout;
}

}  // namespace

TEST_CASE("retarget: what waits, and all that comes, is of the other image, over its parent") {
  CloneRig rig(1);
  const std::uint64_t size = std::uint64_t{1} << 20;
  const ImageLayout first = layout_of("rbd_data.1", 65536);
  ModelImage other(rig, layout_of("rbd_data.2", 131072));
  ImageLayout locked = first;
  locked.locked = true;
  const auto device =
      std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, std::move(locked));
  device->gate().open({"one", 1});
  const auto filled = [](std::uint64_t length, int value) {
    Buffer data = Buffer::allocate(length);
    std::fill_n(data.data(), length, static_cast<std::byte>(value));
    return data;
  };
  REQUIRE(rig.finish([&](WriteDone done) { device->write(0, filled(size, 1), std::move(done)); })
              .to_string() == "ok");
  CHECK(device->retarget(other.layout).code() == ErrorCode::busy);

  device->gate().close([] {});
  std::optional<Status> waiting;
  device->write(1000, filled(200'000, 2),
                [&waiting](Status status) { waiting = std::move(status); });
  ImageLayout wrong = other.layout;
  wrong.stripe_unit_bytes = 12345;
  CHECK(device->retarget(wrong).code() == ErrorCode::invalid_argument);
  REQUIRE(device->retarget(other.layout).to_string() == "ok");
  const auto parent = std::make_shared<Image>(rig.cluster.executor, *rig.cluster.client, first);
  device->set_parent({parent, size});
  CHECK(!waiting.has_value());
  device->gate().open({"two", 1});
  rig.cluster.run_until([&waiting] { return waiting.has_value(); });
  CHECK(waiting->to_string() == "ok");

  Bytes model(size, std::byte{1});
  rig.check(*parent, model);  // nothing more has come to the first one
  std::fill_n(model.begin() + 1000, 200'000, std::byte{2});
  rig.check(*device, model);
  std::fill(model.begin(), model.begin() + 1000, std::byte{0});
  std::fill(model.begin() + 201'000, model.end(), std::byte{0});
  // Alone it has the blocks that were written, filled up from the parent.
  std::fill(model.begin(), model.begin() + 1000, std::byte{1});
  std::fill(model.begin() + 201'000, model.begin() + 204'800, std::byte{1});
  rig.check(*other.image, model);
}

}  // namespace cairn::image
