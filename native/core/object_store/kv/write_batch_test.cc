// WriteBatch: what sort() leaves of a batch.
#include <doctest/doctest.h>
#include <leveldb/write_batch.h>

#include <map>

#include "io/random.hh"
#include "object_store/kv/kv_store.hh"

using namespace cairn;
using namespace cairn::kv;

namespace {

// The operations in their order; none: an erase.
class Operations final : public leveldb::WriteBatch::Handler {
 public:
  explicit Operations(WriteBatch& batch) { REQUIRE(batch.encoded().Iterate(this).ok()); }
  void Put(const leveldb::Slice& key, const leveldb::Slice& value) override {
    all.emplace_back(key.ToString(), value.ToString());
  }
  void Delete(const leveldb::Slice& key) override {
    all.emplace_back(key.ToString(), std::nullopt);
  }
  std::vector<std::pair<std::string, std::optional<std::string>>> all;
};

// Few bytes, so that keys share prefixes, differ behind them, end with zeros, and come again.
std::string some_key(io::Random& random) {
  constexpr char kBytes[] = {'\0', '\1', 'k', '\x7f', '\x80', '\xff'};
  std::string key(random.below(3) * 8, 'p');
  for (std::uint64_t more = 1 + random.below(4); more > 0; --more)
    key.push_back(kBytes[random.below(sizeof kBytes)]);
  return key;
}

}  // namespace

TEST_CASE("a sorted batch has the last operation of each key, in the order of memcmp") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    io::Random random(seed);
    WriteBatch batch;
    std::map<std::string, std::optional<std::string>> expected;
    for (std::uint64_t i = random.below(300); i > 0; --i) {
      const std::string key = some_key(random);
      if (random.below(4) == 0) {
        batch.erase(key);
        expected[key] = std::nullopt;
      } else {
        batch.put(key, std::to_string(i));
        expected[key] = std::to_string(i);
      }
    }
    batch.sort();
    const Operations found(batch);
    CHECK(batch.operation_count() == expected.size());
    REQUIRE(found.all.size() == expected.size());
    std::size_t at = 0;
    for (const auto& [key, value] : expected) {
      CHECK(found.all[at].first == key);
      CHECK(found.all[at].second == value);
      ++at;
    }
    // It goes on as a batch does.
    batch.put("z", "1");
    CHECK(batch.operation_count() == expected.size() + 1);
    batch.clear();
    CHECK(batch.empty());
  }
}

TEST_CASE("a batch keeps what it may do when it is sorted") {
  WriteBatch batch;
  batch.erase("a");
  batch.sort();
  CHECK(!batch.needs_room());
  batch.put("b", "1");
  batch.sort();
  CHECK(batch.needs_room());
  batch.allow_reserve();
  batch.sort();
  CHECK(!batch.needs_room());
}
