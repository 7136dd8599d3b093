// An object as one run of bytes: all layers, all blocks; equal on equal copies, and only there.
#include "pg/whole_object.hh"

#include <cstring>

#include "pg/sim_osds.hh"

namespace cairn::pg {

using object_store::Transaction;

namespace {

ObjectId layer(const std::string& name, std::uint64_t snap) { return {kTestPg.pool, name, snap}; }

Buffer filled(std::uint64_t blocks, int value) {
  Buffer data = Buffer::allocate(blocks * kBlockBytes);
  std::memset(data.data(), value, data.size());
  return data;
}

struct Copies : SimOsds {
  Copies() : SimOsds(70) { new_interval({0, 1, 2}); }

  void edit(OsdId osd, Transaction transaction) {
    bool done = false;
    osds[osd]->store->submit(std::move(transaction), [&done](const Status& status) {
      CHECK(status.to_string() == "ok");
      done = true;
    });
    run_until([&done] { return done; });
  }
  // The head has block 1 of its own and shares block 0 with the clone.
  void make(OsdId osd, const std::string& name) {
    Transaction change;
    change.write(kTestPg, layer(name, kHead), 0, filled(2, 10), {1, 1});
    change.clone(kTestPg, layer(name, kHead), layer(name, 4), {1, 1});
    change.write(kTestPg, layer(name, kHead), kBlockBytes, filled(1, 20), {1, 2});
    change.omap_set(kTestPg, layer(name, kHead), "key", "value", {1, 2});
    edit(osd, std::move(change));
  }
  std::optional<WholeObject> next(OsdId osd, std::optional<std::string> after) {
    std::optional<WholeObject> found;
    bool done = false;
    read_next_object(*osds[osd]->store, kTestPg, std::move(after),
                     [&](const Status& status, std::optional<WholeObject> object) {
                       CHECK(status.to_string() == "ok");
                       found = std::move(object);
                       done = true;
                     });
    run_until([&done] { return done; });
    return found;
  }
  WholeObject first(OsdId osd) {
    std::optional<WholeObject> found = next(osd, std::nullopt);
    REQUIRE(found.has_value());
    return std::move(*found);
  }
};

}  // namespace

TEST_CASE("whole object: the layers from the newest on, with every byte") {
  Copies copies;
  copies.make(0, "a");
  const WholeObject whole = copies.first(0);
  CHECK(whole.name == "a");
  CHECK(whole.bad_blocks == 0);
  const int values[] = {10, 20, 10, 10};  // of the head, then of the clone
  REQUIRE(whole.data.size() == std::size(values) * kBlockBytes);
  for (std::size_t at = 0; at < whole.data.size(); ++at) {
    if (static_cast<int>(whole.data[at]) == values[at / kBlockBytes]) continue;
    FAIL_CHECK("byte ", at);
    break;
  }
}

TEST_CASE("whole object: one after the other, also one that has clones only") {
  Copies copies;
  for (const char* name : {"b", "a", "c"}) copies.make(0, name);
  Transaction removal;
  removal.remove(kTestPg, layer("b", kHead));
  copies.edit(0, std::move(removal));
  std::string names;
  std::optional<WholeObject> found = copies.next(0, std::nullopt);
  for (; found; found = copies.next(0, found->name)) {
    names += found->name + std::to_string(found->data.size() / kBlockBytes);
  }
  CHECK(names == "a4b2c4");
}

TEST_CASE("whole object: copies differ by whatever one of them has more or else") {
  struct Change {
    const char* what;
    void (*make)(Transaction& change);
    bool in_data;
  };
  const Change changes[] = {
      {"data",
       [](Transaction& t) {
         t.write(kTestPg, layer("a", 4), 0, filled(1, 11), {1, 1});
       },
       true},
      {"a version",
       [](Transaction& t) {
         t.write(kTestPg, layer("a", 4), 0, filled(1, 10), {1, 3});
       },
       false},
      {"a value",
       [](Transaction& t) {
         t.omap_set(kTestPg, layer("a", kHead), "key", "v", {1, 2});
       },
       false},
      {"the attribute",
       [](Transaction& t) {
         t.set_attr(kTestPg, layer("a", kHead), "x", {1, 2});
       },
       false},
      {"a zero for an absent block",
       [](Transaction& t) {
         t.write_zeroes(kTestPg, layer("a", kHead), 5 * kBlockBytes, kBlockBytes, {1, 2});
       },
       true},
      {"a layer", [](Transaction& t) { t.remove(kTestPg, layer("a", 4)); }, true},
  };
  for (const Change& change : changes) {
    INFO(change.what);
    Copies copies;
    copies.make(0, "a");
    copies.make(1, "a");
    CHECK(copies.first(0).description == copies.first(1).description);
    CHECK(copies.first(0).data == copies.first(1).data);
    Transaction transaction;
    change.make(transaction);
    copies.edit(1, std::move(transaction));
    CHECK(copies.first(0).description != copies.first(1).description);
    CHECK((copies.first(0).data != copies.first(1).data) == change.in_data);
  }
}

TEST_CASE("whole object: a flipped bit is a bad block, and the others are read") {
  Copies copies;
  copies.make(0, "a");
  bool done = false;
  copies.osds[0]->store->checkpoint([&done](const Status&) { done = true; });
  copies.run_until([&done] { return done; });
  const io::SimDiskImage image = copies.osds[0]->disk->image();
  const Buffer wanted = filled(1, 20);
  std::byte page[kBlockBytes];
  int flipped = 0;
  for (std::uint64_t at = 0; at < image.size_bytes(); at += kBlockBytes) {
    image.read(at, page);
    if (std::memcmp(page, wanted.data(), kBlockBytes) != 0) continue;
    copies.osds[0]->disk->flip_bit(at + 7, 1);
    ++flipped;
  }
  REQUIRE(flipped >= 1);
  const WholeObject whole = copies.first(0);
  CHECK(whole.bad_blocks == 1);
  CHECK(static_cast<int>(whole.data[0]) == 10);
  CHECK(static_cast<int>(whole.data[kBlockBytes]) == 0);
  CHECK(static_cast<int>(whole.data[2 * kBlockBytes]) == 10);
}

}  // namespace cairn::pg
