// A copy of a request that comes late: behind the answer to another copy, and behind what its
// client has done since. Connections that broke may still hold such copies.
#include <algorithm>
#include <optional>

#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr ClientId kLateClient = 78;

// A client that says when each of its requests is sent, as often as it likes.
class RawClient final : public net::MessengerHandler {
 public:
  explicit RawClient(SimOsds& cluster) : cluster_(cluster) {
    net::SimMessengerConfig config;
    config.host = "raw";
    config.cluster = net::ClusterId{1};
    config.self = {net::EntityKind::client, kLateClient, kLateClient};
    messenger_ = std::make_unique<net::SimMessenger>(*cluster.network, *this, config);
    const net::Entity osd{net::EntityKind::osd, 0, cluster.osds[0]->incarnation};
    connection_ = messenger_->connect({"osd0", 6800}, osd);
  }

  // The code of the answer to this sending. All requests below this one have been answered.
  ErrorCode send(std::uint64_t sequence, std::vector<Step> steps, Buffer data) {
    net::OpRequest request;
    request.id = {kLateClient, sequence};
    request.oldest_unacked = sequence;
    request.map_epoch = cluster_.epoch;
    request.resent = sequence < newest_;
    newest_ = std::max(newest_, sequence);
    request.pg = kTestPg;
    request.object = "a";
    request.steps = std::move(steps);
    answer_.reset();
    messenger_->send(connection_, net::encode(request, std::move(data)));
    cluster_.run_until([this] { return answer_.has_value(); });
    return *answer_;
  }

  void on_accepted(net::ConnectionId, const net::Entity&) override {}
  void on_connected(net::ConnectionId, const net::Entity&) override {}
  void on_closed(net::ConnectionId, const Status& reason) override { FAIL(reason.to_string()); }
  void on_frame(net::ConnectionId, net::Frame frame) override {
    net::OpReply reply;
    REQUIRE(net::decode(frame, reply).is_ok());
    answer_ = reply.code;
  }

 private:
  SimOsds& cluster_;
  std::unique_ptr<net::SimMessenger> messenger_;
  net::ConnectionId connection_ = 0;
  std::uint64_t newest_ = 0;
  std::optional<ErrorCode> answer_;
};

}  // namespace

// What has nothing to do is in no log: only its client knows that it was answered.
TEST_CASE("late copies: a filling that found nothing to do fills nothing later") {
  SnapTestCluster cluster(90);
  RawClient client(cluster);
  Step filling = of_range(StepCode::copyup, 0, 1);
  SUBCASE("a copyup") {}
  SUBCASE("of layers") {
    filling.code = StepCode::fill_layers;
    filling.value = net::pack_ids({kHead});
  }
  const std::uint64_t refused = hits_of("pg_answered_request_refused");
  CHECK(client.send(1, {of_range(StepCode::write, 0, 1)}, block_of(5)) == ErrorCode::ok);
  CHECK(client.send(2, {filling}, block_of(9)) == ErrorCode::ok);
  CHECK(client.send(3, {of_range(StepCode::punch, 0, 1)}, {}) == ErrorCode::ok);
  CHECK(client.send(2, {filling}, block_of(9)) == ErrorCode::too_old);
  CHECK(cluster.image.value("a", 0) == 0);
  CHECK(hits_of("pg_answered_request_refused") == refused + 1);
  check_same_copies(cluster);
}

TEST_CASE("late copies: what a guard has refused stays refused when it would pass by now") {
  SnapTestCluster cluster(91);
  RawClient client(cluster);
  const std::vector<Step> guarded{of_range(StepCode::assert_present, 0, 1),
                                  of_range(StepCode::write, 1, 1)};
  CHECK(client.send(1, {{StepCode::touch, 0, 0, {}, {}}}, {}) == ErrorCode::ok);
  CHECK(client.send(2, guarded, block_of(6)) == ErrorCode::precondition_failed);
  CHECK(client.send(3, {of_range(StepCode::write, 0, 2)}, Buffer::zeroed(2 * kBlockBytes)) ==
        ErrorCode::ok);
  CHECK(client.send(2, guarded, block_of(6)) == ErrorCode::too_old);
  CHECK(cluster.image.value("a", 1) == 0);
}

TEST_CASE("late copies: what is in the log is answered once more") {
  SnapTestCluster cluster(92);
  RawClient client(cluster);
  const std::vector<Step> write{of_range(StepCode::write, 0, 1)};
  for (const std::uint64_t sequence : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{1}})
    CHECK(client.send(sequence, write, block_of(static_cast<int>(sequence))) == ErrorCode::ok);
  CHECK(cluster.image.value("a", 0) == 2);
}

}  // namespace cairn::pg
