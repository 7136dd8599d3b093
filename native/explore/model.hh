// What an object store should hold: a model, and random transactions that fit its state. Everything
// follows from seeds. For the explorer and for the tests of the object store.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/random.hh"
#include "object_store/object_store.hh"

namespace cairn::explore {

using io::Random;
using object_store::BlockInfo;
using object_store::BlockState;
using object_store::Transaction;

// Blocks are made of a number, so that a model needs no bytes.
void fill_block(std::uint64_t content, MutableByteSpan block);

struct ModelBlock {
  BlockState state = BlockState::absent;
  Version version;
  std::uint64_t content = 0;
  bool operator==(const ModelBlock&) const = default;
};

struct ModelObject {
  Version version;
  std::map<std::uint32_t, ModelBlock> blocks;  // those that are not absent
  std::map<std::string, std::string> omap;
  std::string attr;
};

struct ModelPg {
  std::map<std::pair<std::string, std::uint64_t>, ModelObject> objects;  // by name and snap
  std::map<std::string, std::string> meta;
  std::uint64_t log_first = 1;
  std::uint64_t log_next = 1;
  std::map<std::uint64_t, std::string> log;
};

struct Model {
  std::map<PgId, ModelPg> pgs;
  std::uint64_t transaction = 0;  // kept in the store too, as store meta "transaction"
  // Data blocks that the store needs for it; a block that clones share counts once.
  std::uint64_t data_blocks() const;
};

struct Mix {
  std::uint32_t pgs = 3;
  std::uint32_t names = 4;         // objects of a PG
  std::uint32_t blocks = 40;       // of an object
  std::uint32_t large_blocks = 8;  // a large write has up to twice as many
  std::uint32_t max_ops = 4;
  double more_scattered = 0;  // chance of an op that writes every other block of an object
  std::uint64_t most_data_blocks = ~std::uint64_t{0};  // beyond it only removals
};

// Makes the next transaction and applies it to the model.
Transaction next_transaction(Model& model, Random& random, const Mix& mix);

// A copy of a block, with its checksum, that arrives for the place of another block of its object:
// no store may take it. None when the model has no block of data.
std::optional<Transaction> misplaced_copy(const Model& model, Random& random);

}  // namespace cairn::explore
