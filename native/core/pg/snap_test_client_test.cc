// What the copies hold: see snap_test_client.hh.
#include "pg/snap_test_client.hh"

#include "base/probe.hh"

namespace cairn::pg {

std::string layers_of(SimOsds& cluster, OsdId osd) {
  object_store::ObjectStore& store = *cluster.osds[osd]->store;
  std::vector<object_store::ListedObject> objects;
  bool listed = false;
  store.list(kTestPg, std::nullopt, 1000, [&](Status status, auto found) {
    CHECK(status.to_string() == "ok");
    objects = std::move(found);
    listed = true;
  });
  cluster.run_until([&listed] { return listed; });
  std::string text;
  for (const object_store::ListedObject& object : objects) {
    bool answered = false;
    store.info(kTestPg, object.id, [&](Status status, object_store::ObjectInfo info) {
      CHECK(status.to_string() == "ok");
      text += object.id.name + "@" + std::to_string(object.id.snap) + " " +
              std::to_string(info.version.number) + " [" + info.attr + "]";
      for (const object_store::BlockInfo& block : info.blocks)
        text += " " + std::to_string(static_cast<int>(block.state)) + ":" +
                std::to_string(block.crc) + ":" + std::to_string(block.version.number);
      text += "\n";
      answered = true;
    });
    cluster.run_until([&answered] { return answered; });
  }
  return text;
}

std::uint64_t used_bytes(SimOsds& cluster, OsdId osd) {
  return cluster.osds[osd]->store->usage().used_bytes;
}

std::uint64_t probe_hits(const std::string& probe) {
  for (const auto& [name, hits] : Probe::all())
    if (name == probe) return hits;
  FAIL("no such probe: " << probe);
  return 0;
}

void check_same_copies(SimOsds& cluster) {
  const std::string first = layers_of(cluster, 0);
  CHECK(layers_of(cluster, 1) == first);
  CHECK(layers_of(cluster, 2) == first);
}

}  // namespace cairn::pg
