// WriteBatch on LevelDB's.
#include <leveldb/write_batch.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>
#include <vector>

#include "object_store/kv/kv_store.hh"

namespace cairn::kv {

namespace {

// An operation of a batch, in the batch's own memory.
struct Operation {
  // The first bytes of the key, big-endian: of most keys all, so that few of them are compared.
  std::array<std::uint64_t, 2> prefix{};
  std::size_t index = 0;
  leveldb::Slice key;
  leveldb::Slice value;
  bool is_put = false;
};

class Collector final : public leveldb::WriteBatch::Handler {
 public:
  explicit Collector(std::size_t count) { operations_.reserve(count); }
  void Put(const leveldb::Slice& key, const leveldb::Slice& value) override {
    add(key, value, true);
  }
  void Delete(const leveldb::Slice& key) override { add(key, {}, false); }
  // By key; those of one key in their order.
  std::vector<Operation> sorted() && {
    std::sort(operations_.begin(), operations_.end(), [](const Operation& a, const Operation& b) {
      if (a.prefix != b.prefix) return a.prefix < b.prefix;
      const int order = a.key.compare(b.key);
      return order != 0 ? order < 0 : a.index < b.index;
    });
    return std::move(operations_);
  }

 private:
  void add(const leveldb::Slice& key, const leveldb::Slice& value, bool is_put) {
    Operation operation{.index = operations_.size(), .key = key, .value = value, .is_put = is_put};
    for (std::size_t i = 0; i < sizeof operation.prefix; ++i) {
      const auto byte = static_cast<unsigned char>(i < key.size() ? key[i] : 0);
      operation.prefix[i / 8] = operation.prefix[i / 8] << 8 | byte;
    }
    operations_.push_back(operation);
  }

  std::vector<Operation> operations_;
};

}  // namespace

WriteBatch::WriteBatch() : encoded_(std::make_unique<leveldb::WriteBatch>()) {}
WriteBatch::WriteBatch(WriteBatch&&) noexcept = default;
WriteBatch& WriteBatch::operator=(WriteBatch&&) noexcept = default;
WriteBatch::~WriteBatch() = default;

void WriteBatch::put(std::string_view key, std::string_view value) {
  CAIRN_ASSERT(!key.empty());
  encoded_->Put({key.data(), key.size()}, {value.data(), value.size()});
  ++operation_count_;
  has_put_ = true;
}

void WriteBatch::erase(std::string_view key) {
  CAIRN_ASSERT(!key.empty());
  encoded_->Delete({key.data(), key.size()});
  ++operation_count_;
}

void WriteBatch::append(const WriteBatch& other) {
  encoded_->Append(*other.encoded_);
  operation_count_ += other.operation_count_;
  has_put_ = has_put_ || other.has_put_;
  reserve_allowed_ = reserve_allowed_ || other.reserve_allowed_;
}

void WriteBatch::sort() {
  Collector collector(operation_count_);
  const leveldb::Status status = encoded_->Iterate(&collector);
  CAIRN_ASSERT(status.ok());
  const std::vector<Operation> operations = std::move(collector).sorted();
  auto sorted = std::make_unique<leveldb::WriteBatch>();
  // Room at once for all: LevelDB has no other way to ask for it.
  sorted->Append(*encoded_);
  sorted->Clear();
  operation_count_ = 0;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Operation& operation = operations[i];
    if (i + 1 < operations.size() && operations[i + 1].key == operation.key) continue;
    if (operation.is_put)
      sorted->Put(operation.key, operation.value);
    else
      sorted->Delete(operation.key);
    ++operation_count_;
  }
  encoded_ = std::move(sorted);
}

void WriteBatch::clear() {
  encoded_->Clear();
  operation_count_ = 0;
  has_put_ = reserve_allowed_ = false;
}

std::size_t WriteBatch::size_bytes() const { return encoded_->ApproximateSize(); }

}  // namespace cairn::kv
