// The gate of an image's requests: order, draining, failing; then an image over simulated OSDs that
// loses its lock.
#include "image/access_gate.hh"

#include <cstring>

#include "image/image.hh"
#include "objecter/fence_sweep.hh"
#include "pg/sim_osds.hh"

namespace cairn::image {

namespace {

// "ok", "fenced"
std::string name_of(const Status& status) {
  const std::string text = status.to_string();
  return text.substr(0, text.find(':'));
}

struct Gate {
  io::SimExecutor executor{io::SimExecutor::Options{1, false, 1'000'000'000}};
  std::shared_ptr<AccessGate> gate = std::make_shared<AccessGate>(executor, true);
  std::vector<AccessEvent> events;
  std::string trace;

  Gate() {
    gate->on_event([this](AccessEvent event) { events.push_back(event); });
  }
  void defer(const char* name) {
    gate->defer([this, name](const Status& status) { trace += name + status.to_string() + " "; });
  }
  void settle() {
    executor.run_until([] { return false; }, 1'000'000);
  }
};

}  // namespace

TEST_CASE("access gate: what came before the lock runs in order when it opens, under its token") {
  Gate test;
  CHECK(test.gate->holds_back());
  test.defer("1:");
  test.defer("2:");
  test.settle();
  CHECK(test.trace.empty());
  test.gate->open({"image1", 7});
  CHECK(test.trace == "1:ok 2:ok ");
  CHECK_FALSE(test.gate->holds_back());
  CHECK(test.gate->fence() == net::Fence{"image1", 7});
}

TEST_CASE("access gate: it has drained when the last operation has ended") {
  Gate test;
  test.gate->open({"image1", 7});
  test.gate->operation_started();
  test.gate->operation_started();
  int drained = 0;
  test.gate->close([&drained] { ++drained; });
  CHECK(test.gate->holds_back());
  test.gate->operation_ended(Status::ok());
  CHECK(drained == 0);
  test.gate->operation_ended(Status(ErrorCode::io_error, "x"));
  CHECK(drained == 1);
  test.gate->close([&drained] { ++drained; });
  CHECK(drained == 2);
}

TEST_CASE("access gate: closed for another client, it asks again when a request waits, once") {
  Gate test;
  test.gate->begin_use();
  test.defer("1:");
  CHECK(test.events.size() == 1);
  test.gate->open({"image1", 7});
  test.gate->close([] {});
  CHECK(test.events.size() == 1);
  test.defer("2:");
  test.defer("3:");
  CHECK(test.events == std::vector<AccessEvent>{AccessEvent::wanted, AccessEvent::wanted});
}

TEST_CASE("access gate: a refused token fails all that waits and comes, once and for good") {
  Gate test;
  test.gate->open({"image1", 7});
  test.gate->operation_started();
  test.gate->operation_started();
  test.gate->close([] {});
  test.defer("1:");
  test.gate->operation_ended(Status(ErrorCode::fenced, "taken"));
  test.gate->operation_ended(Status(ErrorCode::fenced, "taken"));
  CHECK(test.events == std::vector<AccessEvent>{AccessEvent::wanted, AccessEvent::fenced});
  test.gate->open({"image1", 9});
  test.defer("2:");
  CHECK(test.trace.empty());  // never inside the call
  test.settle();
  CHECK(test.trace == "1:fenced: taken 2:fenced: taken ");
}

TEST_CASE("access gate: the users of a device are told of as one, and end with the release") {
  Gate test;
  int ended = 0;
  const auto end_use = [&] { test.gate->end_use([&ended] { ++ended; }); };
  test.gate->begin_use();
  test.gate->begin_use();
  CHECK(test.events == std::vector<AccessEvent>{AccessEvent::wanted});
  end_use();
  CHECK(ended == 1);
  end_use();
  CHECK(ended == 1);
  CHECK(test.events.back() == AccessEvent::unused);
  test.gate->released();
  CHECK(ended == 2);
  test.gate->begin_use();
  end_use();
  test.gate->fail(Status(ErrorCode::canceled, "over"));
  CHECK(ended == 3);
}

TEST_CASE("image: under a lock that another has taken over it fails, and writes nothing") {
  pg::SimOsds cluster(80);
  cluster.new_interval({0, 1, 2});
  const ImageLayout layout{pg::kTestPg.pool, "rbd_data.1", 1 << 20, 64 << 10, false, true};
  Image old_holder(cluster.executor, *cluster.client, layout);
  Image new_holder(cluster.executor, *cluster.client, layout);
  std::vector<std::string> answers;
  const auto write = [&](Image& image, int value) {
    Buffer data = Buffer::allocate(kBlockBytes);
    std::memset(data.data(), value, data.size());
    image.write(0, data, [&answers](const Status& status) { answers.push_back(name_of(status)); });
  };
  write(old_holder, 1);
  CHECK(answers.empty());
  old_holder.gate().open({"1", 1});
  cluster.run_until([&answers] { return answers.size() == 1; });
  new_holder.gate().open({"1", 2});
  write(new_holder, 2);
  cluster.run_until([&answers] { return answers.size() == 2; });
  write(old_holder, 3);
  cluster.run_until([&answers] { return answers.size() == 3; });
  write(old_holder, 3);
  cluster.run_until([&answers] { return answers.size() == 4; });
  CHECK(answers == std::vector<std::string>{"ok", "ok", "fenced", "fenced"});
  int value = 0;
  bool read = false;
  new_holder.read(0, 1, [&](const Status& status, const Buffer& data) {
    CHECK(status.is_ok());
    value = static_cast<int>(data.data()[0]);
    read = true;
  });
  cluster.run_until([&read] { return read; });
  CHECK(value == 2);
}

TEST_CASE("image: a sweep fences the old holder where the new one has not been yet") {
  pg::SimOsds cluster(81);
  cluster.new_interval({0, 1, 2});
  const auto sweep = [&cluster](std::uint64_t token) {
    bool done = false;
    std::string outcome;
    objecter::sweep_fence(cluster.executor, *cluster.client, pg::kTestPg.pool, {"1", token},
                          1'000'000'000, [&](const Status& status, objecter::SweepResult result) {
                            outcome = name_of(status) + " " + std::to_string(result.raised) + " " +
                                      std::to_string(result.silent);
                            done = true;
                          });
    cluster.run_until([&done] { return done; });
    return outcome;
  };
  CHECK(sweep(2) == "ok 1 0");
  CHECK(cluster.operate_fenced({"1", 1}, "a", {{net::StepCode::stat, 0, 0, {}, {}}}, {}).code() ==
        ErrorCode::fenced);
  CHECK(sweep(1) == "fenced 0 0");
  for (OsdId osd = 0; osd < 3; ++osd) cluster.kill(osd);
  CHECK(sweep(3) == "ok 0 1");
}

}  // namespace cairn::image
