// Connections between OSDs that break under writes: the primary sends again what a replica has not
// acknowledged, and each copy ends with the same layers.
#include "pg/snap_test_client.hh"

namespace cairn::pg {

namespace {

const std::vector<std::string> kObjects = {"a", "b", "c", "d"};

// What a copy has of one layer.
std::string layer_of(SimOsds& cluster, OsdId osd, const std::string& object, std::uint64_t snap) {
  std::string text;
  cluster.osds[osd]->store->info(
      kTestPg, ObjectId{kTestPg.pool, object, snap},
      [&text](const Status& status, const object_store::ObjectInfo& info) {
        text = status.to_string() + (info.exists ? " exists" : " absent");
        for (const object_store::BlockInfo& block : info.blocks) {
          text += " " + std::to_string(block.crc) + ":" + std::to_string(block.version.number);
        }
      });
  cluster.run_until([&text] { return !text.empty(); });
  return text;
}

}  // namespace

TEST_CASE("replication: what a broken connection took is sent again, with what snapshots add") {
  SimOsds cluster(11);
  cluster.new_interval({0, 1, 2});
  SnapTestClient client(cluster);
  const std::uint64_t resent = hits_of("pg_write_resent_to_peer");
  const std::uint64_t repeated = hits_of("pg_replicate_repeated");
  constexpr std::uint64_t kRounds = 40;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    if (round % 4 == 0) client.take_snapshot();
    std::vector<std::shared_ptr<SnapAnswer>> answers;
    for (std::uint64_t i = 0; i < 2 * kObjects.size(); ++i) {
      const std::string& object = kObjects[i % kObjects.size()];
      const std::uint64_t offset = (round + i) % 8 * kBlockBytes;
      answers.push_back(client.send(object, {{net::StepCode::write, offset, kBlockBytes, {}, {}}},
                                    block_of(static_cast<int>(round + i))));
    }
    // At another moment of the writes' way each time.
    cluster.executor.run_for((1 + round % 10) * 60'000);
    cluster.network->reset_streams("osd0", round % 2 == 0 ? "osd1" : "osd2");
    for (const auto& answer : answers) {
      client.wait(answer);
      CHECK(answer->status.to_string() == "ok");
    }
  }
  CHECK(hits_of("pg_write_resent_to_peer") > resent);
  CHECK(hits_of("pg_replicate_repeated") > repeated);
  for (const std::string& object : kObjects) {
    std::vector<std::uint64_t> layers = client.context.snaps;
    layers.push_back(kHead);
    for (const std::uint64_t layer : layers) {
      const std::string expected = layer_of(cluster, 0, object, layer);
      // Nothing had been written when the first snapshot was taken.
      CHECK(expected.starts_with(layer == 1 ? "ok absent" : "ok exists"));
      CHECK(layer_of(cluster, 1, object, layer) == expected);
      CHECK(layer_of(cluster, 2, object, layer) == expected);
    }
  }
}

}  // namespace cairn::pg
