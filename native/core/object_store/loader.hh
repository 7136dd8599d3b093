// Loader: finds out which metadata an operation needs that is not in memory, and gets it from the
// key-value region. Loading goes in rounds (the header, then the shards that it points to, then the
// reference counts of the shared blocks in them): ask again until nothing is missing.
//
// While the cache has room, an object's whole block map comes with the first piece of it that is
// asked for: they lie side by side in the region, and to look there costs more than to read on.
// What cannot be read ahead is nobody's error until it is asked for by itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_function.hh"
#include "object_store/store_state.hh"
#include "object_store/transaction.hh"

namespace cairn::object_store {

// What one round has to load.
struct Missing {
  enum class Kind : std::uint8_t { header, shard, references, segment };
  struct Item {
    Kind kind = Kind::header;
    keys::Collection collection = 0;  // header
    std::string name;
    std::uint64_t snap = 0;
    Onode* onode = nullptr;       // shard; pinned while it is loaded
    PgEntry* pg = nullptr;        // segment
    std::uint64_t index = 0;      // of the shard, chunk or segment
    std::uint64_t object_id = 0;  // shard
  };
  // All shards of an object that have a block: most objects have few of those that they could have.
  struct Whole {
    Onode* onode = nullptr;  // pinned while they are loaded
    std::uint64_t object_id = 0;
    bool is_ahead = false;  // some of them nobody asks for yet
  };
  // Whether a head's name has layers from an id on.
  struct Layers {
    Onode* head = nullptr;  // pinned while they are looked for
    PgEntry* pg = nullptr;
    std::uint64_t from = 0;
  };
  std::vector<Item> items;
  std::vector<std::string> item_keys;  // one per item
  std::vector<Whole> wholes;
  std::vector<Layers> layers;
  std::vector<std::uint64_t> omap_ids;
  // What is known of layers alone is worth no look of its own.
  bool empty() const { return items.empty() && wholes.empty() && omap_ids.empty(); }
};

// Whose reference counts are needed.
enum class References : std::uint8_t { none, of_shared_blocks, of_all_blocks };

class Loader {
 public:
  explicit Loader(StoreState& state) : state_(state) {}

  // Adds what applying the op needs. What is known not to exist is in memory afterwards.
  void need(const Transaction::Op& op, Missing& missing);
  // Adds what is not known of the blocks [first, end) of the object. Returns the object when its
  // header is in memory, null when it is not or when there is no such PG.
  Onode* need_blocks(const ObjectKey& key, std::uint32_t first, std::uint32_t end,
                     References references, Missing& missing);

  // Errors: corrupt, io_error.
  void load(Missing missing, UniqueFunction<void(Status)> done);
  Status load_now(Missing missing);

 private:
  void need_shards(Onode& onode, std::uint32_t first, std::uint32_t end, Missing& missing) const;
  static void need_layers(PgEntry& pg, Onode& head, std::uint64_t from, Missing& missing);
  // An object of a new PG that is not in memory does not exist: nothing is needed of it.
  Onode* need_part(const PgEntry& pg, const ObjectKey& key, std::uint32_t first, std::uint32_t end,
                   References references, Missing& missing);
  void need_move(const Transaction::Op& op, const PgEntry& source, Missing& missing);
  void need_references(Onode& onode, std::uint32_t first, std::uint32_t end, References references,
                       Missing& missing);
  Status fill(Missing& missing, kv::Found found);
  Status fill(Missing::Item& item, const std::optional<std::string>& value);
  Status fill(Missing::Whole& whole, const std::vector<kv::KeyValue>& shards);
  static void fill(Missing::Layers& layers, const std::vector<kv::KeyValue>& headers);
  Status fill_shard(Onode& onode, std::uint32_t index, const std::optional<std::string>& value,
                    bool is_packed);
  void give_up_ahead(Missing::Whole& whole, const Status& error);
  Status fail(Missing& missing, Status error);
  void keep_omap(std::uint64_t omap_id, std::vector<kv::KeyValue> values);
  static std::vector<kv::KeyRange> ranges_of(const Missing& missing);
  static void pin(Missing& missing);
  static void unpin(Missing& missing);

  StoreState& state_;
};

}  // namespace cairn::object_store
