// Jobs that list an image's objects while the PGs of its pool split.
#include <doctest/doctest.h>

#include <optional>

#include "../../test/budget.hh"
#include "../../test/split_pool.hh"
#include "image/image.hh"
#include "image/listing_job.hh"
#include "image/object_numbers.hh"

namespace cairn::image {

using test::SplitPool;

namespace {

constexpr std::uint32_t kPgs = 2;
constexpr std::uint64_t kObjects = 3 * net::kMaxListedObjects;  // more than one page in each PG
constexpr std::uint64_t kLimitNs = 600'000'000'000;

// A pool with an image, and splits before the operations with these numbers.
struct Splitting {
  explicit Splitting(std::uint64_t seed, std::map<std::uint64_t, std::uint32_t> moments)
      : splits(std::move(moments)), pool(seed, kPgs) {
    ImageLayout layout;
    layout.pool = SplitPool::kPool;
    layout.object_prefix = "rbd_data.1";
    layout.object_bytes = kBlockBytes;
    layout.size_bytes = kObjects * kBlockBytes;
    image = std::make_shared<Image>(pool.executor, pool.client, layout);
    for (std::uint64_t i = 0; i < kObjects; ++i)
      pool.objects.insert(image->objects()->object_name(i));
    pool.objects.insert("rbd_data.11.0000000000000000");  // of another image
    pool.before_serving = [this](std::uint64_t served) {
      while (!splits.empty() && splits.begin()->first <= served) {
        pgs = splits.begin()->second;
        splits.erase(splits.begin());
        pool.split(pgs);
      }
    };
  }

  std::map<std::uint64_t, std::uint32_t> splits;
  std::uint32_t pgs = kPgs;
  SplitPool pool;
  std::shared_ptr<Image> image;
};

}  // namespace

TEST_CASE("listing jobs: PGs that split meanwhile hide no object and show none twice") {
  for (std::uint64_t moment = 0; moment < 8; ++moment) {
    for (std::uint64_t seed = 1; seed <= test::budgeted<std::uint64_t>(4, 2); ++seed) {
      INFO("split before operation ", moment, ", seed ", seed);
      Splitting rig(seed, {{moment, 4}, {moment + 3, 16}});
      std::optional<ImageUsage> usage;
      const auto job =
          MeasureJob::start(rig.image->objects(), 0, [&usage](const Status& status, ImageUsage u) {
            CHECK(status.to_string() == "ok");
            usage = u;
          });
      REQUIRE(rig.pool.executor.run_until([&usage] { return usage.has_value(); }, kLimitNs));
      CHECK(usage->objects == kObjects);
      // A split after the last page was served is no matter.
      CHECK(job->progress().done == job->progress().total);
      CHECK(job->progress().total >= (moment < 4 ? 4 : 2));
      CHECK(job->progress().total <= rig.pgs);
    }
  }
}

TEST_CASE("listing jobs: each object is changed once, whenever the PGs split") {
  for (const std::uint64_t moment : {0U, 2U, 3U, 4U, 5U, 100U, 1500U, 3000U}) {
    INFO("split before operation ", moment);
    Splitting rig(moment + 1, {{moment, 8}});
    std::optional<Status> outcome;
    const auto job = ChangeJob::remove(rig.image->objects(), 0,
                                       [&outcome](Status status) { outcome = std::move(status); });
    REQUIRE(rig.pool.executor.run_until([&outcome] { return outcome.has_value(); }, kLimitNs));
    CHECK(outcome->to_string() == "ok");
    CHECK(rig.pool.objects == std::set<std::string>{"rbd_data.11.0000000000000000"});
    CHECK(rig.pool.changes.size() == kObjects);
    CHECK(rig.pool.client.counters().operations <= kObjects + 30);
    for (const auto& changed : rig.pool.changes) CHECK_MESSAGE(changed.second == 1, changed.first);
  }
}

TEST_CASE("listing jobs: a split after all has been listed makes nothing be listed again") {
  Splitting rig(1, {{kObjects, 8}});  // while the last objects are removed
  std::optional<Status> outcome;
  const auto job = ChangeJob::remove(rig.image->objects(), 0,
                                     [&outcome](Status status) { outcome = std::move(status); });
  REQUIRE(rig.pool.executor.run_until([&outcome] { return outcome.has_value(); }, kLimitNs));
  CHECK(outcome->to_string() == "ok");
  CHECK(rig.pgs == 8);
  CHECK(rig.pool.client.epoch() == 2);
  CHECK(job->progress().total == kPgs);
}

TEST_CASE("object numbers: each is new once, far apart or beside each other") {
  ObjectNumbers numbers;
  for (const std::uint64_t number :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{512},
        std::uint64_t{1} << 32, ~std::uint64_t{0}, ~std::uint64_t{0} - 511}) {
    CAPTURE(number);
    CHECK(numbers.insert(number));
    CHECK_FALSE(numbers.insert(number));
  }
}

}  // namespace cairn::image
