// Who may connect to an OSD: not one who claims its own id, nor that of a peer that the map knows
// as another incarnation.
#include "pg/sim_osds.hh"

namespace cairn::pg {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// Dials an OSD under any name, and keeps what came of it.
struct Dialer : net::MessengerHandler {
  Dialer(SimOsds& sim, OsdId claimed, std::uint64_t incarnation) {
    net::SimMessengerConfig config;
    config.host = "dialer" + std::to_string(incarnation);
    config.cluster = net::ClusterId{1};
    config.self = {net::EntityKind::osd, static_cast<std::uint64_t>(claimed), incarnation};
    messenger = std::make_unique<net::SimMessenger>(*sim.network, *this, config);
    connection = messenger->connect({"osd0", 6800}, {net::EntityKind::osd, 0, 0});
    sim.executor.run_for(kSecondNs);
  }
  void on_accepted(net::ConnectionId, const net::Entity&) override { FAIL("nobody dials it"); }
  void on_connected(net::ConnectionId, const net::Entity&) override { is_in = true; }
  void on_frame(net::ConnectionId, net::Frame) override {}
  void on_closed(net::ConnectionId, const Status& reason) override { closed = reason.code(); }

  std::unique_ptr<net::SimMessenger> messenger;
  net::ConnectionId connection = 0;
  bool is_in = false;
  ErrorCode closed = ErrorCode::ok;
};

std::uint64_t refusals(SimOsds& sim) {
  const auto& counts = sim.osds[0]->messenger->counters().refused_connections;
  const auto found = counts.find(ErrorCode::permission_denied);
  return found == counts.end() ? 0 : found->second;
}

}  // namespace

TEST_CASE("admission: a claimed id of another incarnation is refused and counted") {
  SimOsds sim(1);
  sim.new_interval({0, 1, 2});
  Dialer other(sim, 1, 5000);
  CHECK(!other.is_in);
  CHECK(other.closed == ErrorCode::permission_denied);
  Dialer self(sim, 0, 5001);
  CHECK(self.closed == ErrorCode::permission_denied);
  CHECK(refusals(sim) == 2);
  // An OSD that the map does not have yet may be one that has just booted.
  Dialer unknown(sim, 7, 5002);
  CHECK(unknown.is_in);
  CHECK(unknown.closed == ErrorCode::ok);
  CHECK(refusals(sim) == 2);
  CHECK(sim.operate("object", {{net::StepCode::touch, 0, 0, {}, {}}}, {}).code == ErrorCode::ok);
}

TEST_CASE("admission: who was let in loses the connection when the map names another incarnation") {
  SimOsds sim(2);
  sim.new_interval({0, 1});
  sim.kill(2);
  sim.new_interval({0, 1});
  Dialer early(sim, 2, 5000);
  CHECK(early.is_in);
  sim.restart(2);
  sim.new_interval({0, 1, 2});
  sim.executor.run_for(kSecondNs);
  CHECK(early.closed != ErrorCode::ok);
  CHECK(refusals(sim) == 1);
  CHECK(sim.operate("object", {{net::StepCode::touch, 0, 0, {}, {}}}, {}).code == ErrorCode::ok);
}

}  // namespace cairn::pg
