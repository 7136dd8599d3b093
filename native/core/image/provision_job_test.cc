// Giving every block of an image space, on a simulated cluster: beside a writer, of striped images,
// on all copies.
#include "image/provision_job.hh"

#include "image/clone_test.hh"
#include "image/listing_job.hh"

namespace cairn::image {

namespace {

Status provision(CloneRig& rig, Image& image) {
  return rig.finish([&](WriteDone done) { ProvisionJob::start(image.objects(), std::move(done)); });
}

std::string all_data(const Image& image) {
  return text_of({{0, image.size_bytes(), ExtentState::data}});
}

}  // namespace

TEST_CASE("provision: every block is data; what was written before and meanwhile stays") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed ", seed);
    CloneRig rig(seed);
    io::Random random(seed);
    // The last set of objects is not full, and the last block is one in part.
    const bool striped = seed % 2 == 0;
    ModelImage image(rig, image_layout("a", 300 * kBlockBytes + 1536, 32 * kBlockBytes,
                                       striped ? 2 * kBlockBytes : 0, striped ? 3 : 1));
    REQUIRE(image.write(5 * kBlockBytes + 7, 40 * kBlockBytes, 1).is_ok());
    bool provisioned = false;
    const auto job = ProvisionJob::start(image.image->objects(), [&](const Status& status) {
      CHECK(status.to_string() == "ok");
      provisioned = true;
    });
    int writes = 0;
    while (!provisioned) {
      const std::uint64_t block = random.below(300);
      REQUIRE(image.write(block * kBlockBytes + 100, 3000, 10 + writes % 200).is_ok());
      ++writes;
    }
    CHECK(writes > 1);
    CHECK(job->progress().done == image.model.size());
    CHECK(job->progress().total == image.model.size());
    CHECK(text_of(rig.extents(*image.image, 0, image.model.size())) == all_data(*image.image));
    image.check();
    // Once more: nothing lacks anything.
    CHECK(provision(rig, *image.image).is_ok());
    image.check();
  }
}

TEST_CASE("provision: all copies have space for it, and writes of zeros leave it so") {
  CloneRig rig(7);
  constexpr std::uint64_t kSize = 2000 * kBlockBytes;
  ModelImage image(rig, image_layout("a", kSize, std::uint64_t{1} << 20));
  std::vector<std::uint64_t> before;
  for (OsdId osd = 0; osd < 3; ++osd)
    before.push_back(rig.cluster.osds.at(osd)->store->usage().used_bytes);
  REQUIRE(provision(rig, *image.image).is_ok());
  const auto check_used = [&] {
    for (OsdId osd = 0; osd < 3; ++osd)
      CHECK(rig.cluster.osds.at(osd)->store->usage().used_bytes >= before[osd] + kSize);
  };
  check_used();
  for (int i = 0; i < 10; ++i) {
    CHECK(rig.finish([&](WriteDone done) {
               image.image->write(0, Buffer::zeroed(std::uint64_t{1} << 20), std::move(done));
             })
              .is_ok());
  }
  check_used();
  CHECK(text_of(rig.extents(*image.image, 0, kSize)) == all_data(*image.image));
  CHECK(image.discard(0, kSize).is_ok());
  CHECK(text_of(rig.extents(*image.image, 0, kSize)).starts_with("absent 0+"));
}

TEST_CASE("provision: not of a clone, whose zeros would hide its parent, nor of a snapshot") {
  CloneRig rig(8);
  ModelImage base(rig, image_layout("b", 8 * kBlockBytes));
  REQUIRE(base.write(0, 8 * kBlockBytes, 1).is_ok());
  const auto shown = base.at_snapshot(base.snapshot());
  ModelImage clone(rig, image_layout("c", 8 * kBlockBytes), shown, base.model, 8 * kBlockBytes);
  CHECK(provision(rig, *clone.image).code() == ErrorCode::invalid_argument);
  clone.check();
  CHECK(provision(rig, *shown).code() == ErrorCode::read_only);
}

TEST_CASE("provision: canceled, it ends soon, and nothing is under way any more") {
  CloneRig rig(9);
  ModelImage image(rig, image_layout("a", std::uint64_t{64} << 20, std::uint64_t{4} << 20));
  Status outcome;
  bool over = false;
  const auto job = ProvisionJob::start(image.image->objects(), [&](Status status) {
    outcome = std::move(status);
    over = true;
  });
  rig.cluster.run_until([&] { return job->progress().done > 0; });
  job->cancel();
  rig.cluster.run_until([&] { return over; });
  CHECK(outcome.code() == ErrorCode::canceled);
  const std::uint64_t sent = rig.operations();
  CHECK(job->progress().done <= 2 * ImageJob::kMaxUnderWay * ProvisionJob::kPieceBytes);
  rig.cluster.executor.run_for(pg::kSecond);
  CHECK(rig.operations() == sent);
}

}  // namespace cairn::image
