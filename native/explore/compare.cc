// Reads everything back: PGs, logs, metadata, lists, objects, omaps, blocks.
#include "explore/compare.hh"

#include <cstring>

namespace cairn::explore {

using object_store::ListedObject;
using object_store::ObjectInfo;
using object_store::ObjectStore;
using object_store::PgSnapshot;
using object_store::ReadResult;

namespace {

class Comparer {
 public:
  Comparer(ObjectStore& store, const RunUntil& run, Tolerance tolerance)
      : store_(store), run_(run), tolerance_(tolerance) {}

  void check_all(const Model& model);
  Comparison take() { return std::move(found_); }

 private:
  bool failed() const { return !found_.difference.empty(); }
  void differ(std::string what) {
    if (!failed()) found_.difference = where_ + std::move(what);
  }
  bool expect(bool holds, const char* what) {
    if (!holds) differ(what);
    return holds;
  }
  // Whether the answer is there to be compared. An error of damage is an answer of its own.
  bool answered(bool came, const Status& status) {
    if (!came) differ("no answer");
    if (!came || status) return came;
    const bool names_damage =
        status.code() == ErrorCode::corrupt || status.code() == ErrorCode::checksum_mismatch;
    if (tolerance_ == Tolerance::damaged && names_damage)
      ++found_.reported_errors;
    else
      differ(status.to_string());
    return false;
  }

  void check_pg(const PgSnapshot& found, const ModelPg& expected);
  bool list(PgId pg, std::vector<ListedObject>& objects);
  void check_object(PgId pg, const ObjectId& id, const ModelObject& expected);
  bool read(PgId pg, const ObjectId& id, std::uint32_t first, std::uint32_t count,
            ReadResult& result);
  void check_blocks(const ReadResult& result, std::uint32_t first, std::uint32_t count,
                    const ModelObject& expected);

  ObjectStore& store_;
  const RunUntil& run_;
  const Tolerance tolerance_;
  Comparison found_;
  std::string where_;
};

void Comparer::check_blocks(const ReadResult& result, std::uint32_t first, std::uint32_t count,
                            const ModelObject& expected) {
  static thread_local Buffer block = Buffer::allocate(kBlockBytes);
  if (!expect(result.exists, "the object does not exist") ||
      !expect(result.version == expected.version, "version of the object") ||
      !expect(result.attr == expected.attr, "attribute that a read gives") ||
      !expect(result.data.size() == count * kBlockBytes, "length of the data"))
    return;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto found = expected.blocks.find(first + i);
    const ModelBlock wanted = found == expected.blocks.end() ? ModelBlock{} : found->second;
    if (result.blocks[i].state != wanted.state || result.blocks[i].version != wanted.version)
      return differ("state or version of block " + std::to_string(first + i));
    if (wanted.state == BlockState::data)
      fill_block(wanted.content, block.span());
    else
      std::memset(block.data(), 0, kBlockBytes);
    if (std::memcmp(block.data(), result.data.data() + i * kBlockBytes, kBlockBytes) != 0)
      return differ("content of block " + std::to_string(first + i));
  }
}

bool Comparer::read(PgId pg, const ObjectId& id, std::uint32_t first, std::uint32_t count,
                    ReadResult& result) {
  bool came = false;
  Status outcome;
  store_.read(pg, id, first * kBlockBytes, count * kBlockBytes, true,
              [&](Status status, ReadResult found) {
                outcome = std::move(status);
                result = std::move(found);
                came = true;
              });
  run_(came);
  return answered(came, outcome);
}

void Comparer::check_object(PgId pg, const ObjectId& id, const ModelObject& expected) {
  where_ = "pg " + std::to_string(pg.seed) + " " + id.name + " snapshot " +
           (id.snap == kHead ? "head" : std::to_string(id.snap)) + ": ";
  bool came = false;
  Status outcome;
  ObjectInfo info;
  store_.info(pg, id, [&](Status status, ObjectInfo found) {
    outcome = std::move(status);
    info = std::move(found);
    came = true;
  });
  run_(came);
  if (!answered(came, outcome)) return;
  const std::vector<std::pair<std::string, std::string>> omap(expected.omap.begin(),
                                                              expected.omap.end());
  const std::uint32_t count = expected.blocks.empty() ? 0 : expected.blocks.rbegin()->first + 1;
  if (!expect(info.exists, "the object is not there") || !expect(info.omap == omap, "omap") ||
      !expect(info.version == expected.version, "version of the object") ||
      !expect(info.attr == expected.attr, "attribute of the object") ||
      !expect(info.block_count == count, "number of blocks"))
    return;
  ReadResult whole;
  if (read(pg, id, 0, count, whole)) {
    expect(whole.blocks == info.blocks, "info and read disagree about the blocks");
    return check_blocks(whole, 0, count, expected);
  }
  // One bad block must not hide what the others say.
  for (std::uint32_t i = 0; i < count && !failed(); ++i) {
    ReadResult one;
    if (read(pg, id, i, 1, one)) check_blocks(one, i, 1, expected);
  }
}

// In pages of two, to see the order and the continuation.
bool Comparer::list(PgId pg, std::vector<ListedObject>& objects) {
  constexpr std::size_t kPage = 2;
  std::optional<ObjectId> after;
  for (;;) {
    bool came = false;
    Status outcome;
    std::size_t count = 0;
    store_.list(pg, after, kPage, [&](Status status, std::vector<ListedObject> page) {
      outcome = std::move(status);
      count = page.size();
      objects.insert(objects.end(), page.begin(), page.end());
      came = true;
    });
    run_(came);
    if (!answered(came, outcome)) return false;
    if (count < kPage) return true;
    after = objects.back().id;
  }
}

void Comparer::check_pg(const PgSnapshot& found, const ModelPg& expected) {
  where_ = "pg " + std::to_string(found.pg.seed) + ": ";
  std::map<std::uint64_t, std::string> log;
  for (const object_store::LogEntryBytes& entry : found.log)
    log.emplace(entry.number, as_text(entry.bytes));
  std::uint64_t data_blocks = 0;
  for (const auto& [name, object] : expected.objects)
    for (const auto& [index, block] : object.blocks) data_blocks += block.state == BlockState::data;
  if (!expect(found.objects == expected.objects.size(), "number of objects") ||
      !expect(store_.stored_bytes(found.pg) == data_blocks * kBlockBytes, "stored bytes") ||
      !expect(
          std::map<std::string, std::string>(found.meta.begin(), found.meta.end()) == expected.meta,
          "PG metadata") ||
      !expect(log == expected.log && found.log.size() == log.size(), "PG log"))
    return;
  std::vector<ListedObject> objects;
  if (list(found.pg, objects)) {
    if (!expect(objects.size() == expected.objects.size(), "length of the object list")) return;
    auto wanted = expected.objects.begin();
    for (const auto& [id, version, attr] : objects) {
      if (!expect(id == ObjectId{found.pg.pool, wanted->first.first, wanted->first.second},
                  "object list") ||
          !expect(version == wanted->second.version, "version in the object list") ||
          !expect(attr == wanted->second.attr, "attribute in the object list"))
        return;
      ++wanted;
    }
  }
  for (const auto& [name, object] : expected.objects)
    if (!failed()) check_object(found.pg, {found.pg.pool, name.first, name.second}, object);
}

void Comparer::check_all(const Model& model) {
  Result<std::vector<PgSnapshot>> snapshots = store_.load_pgs();
  if (!answered(true, snapshots.status())) return;
  std::map<PgId, PgSnapshot*> found;
  for (PgSnapshot& snapshot : *snapshots) found[snapshot.pg] = &snapshot;
  std::uint64_t objects = 0;
  for (const auto& [id, pg] : model.pgs) {
    objects += pg.objects.size();
    const PgSnapshot nothing{id, 0, {}, {}};
    check_pg(found.contains(id) ? *found[id] : nothing, pg);
    found.erase(id);
    if (failed()) return;
  }
  // A PG of which nothing is left may or may not be known.
  for (const auto& [id, snapshot] : found) check_pg(*snapshot, ModelPg{});
  where_.clear();
  expect(store_.usage().objects == objects, "number of objects of the store");
}

}  // namespace

Comparison compare(ObjectStore& store, const Model& model, const RunUntil& run,
                   Tolerance tolerance) {
  Comparer comparer(store, run, tolerance);
  comparer.check_all(model);
  return comparer.take();
}

}  // namespace cairn::explore
