// PgSplitter: divides the PGs of one OSD when their pool gets more of them.
// docs/protocol/splitting.md has the argument.
//
// A copy with the objects of seed s modulo n gives those of s + n modulo 2n to a child, and again,
// until the pool's number is reached. Objects move in batches, each durable by itself; the child
// counts only with the last transaction, which also has its log, its part of what is missing, the
// fencing tokens, and the parent's new number.
//
// Invariants
//  - Nothing is said to peering about an interval of a parent before its split is over, and no
//    interval of a child starts before the child is made: on_interval_started() and will_make().
//  - The parent is quiet meanwhile: it is between start_interval() and activate(), or has had no
//    interval since the daemon started.
//  - What a crash leaves is a parent with its old number and a child that is marked as half made;
//    the same split, begun anew, ends both.
//
// It does not decide when a pool is split, nor who serves the children.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "object_store/object_store.hh"
#include "pg/pg.hh"

namespace cairn::pg {

// In the metadata of a PG: it is the child of a split that is not over.
constexpr const char* kHalfMadeKey = "half_made";
bool is_half_made(const object_store::PgSnapshot& snapshot);

// The PG that a PG's objects were in before it came into being. seed from 1.
PgId parent_of(const PgId& pg);

class PgSplitterHost {
 public:
  virtual ~PgSplitterHost() = default;
  virtual object_store::ObjectStore& split_store() = 0;
  virtual Pg* find_for_split(PgId pg) = 0;
  virtual std::unique_ptr<Pg> make_for_split(PgId pg) = 0;
  // From here on the OSD has it.
  virtual void child_made(std::unique_ptr<Pg> child) = 0;
  // The PG has given all its children what is theirs, or was made and has none. holds_report: of an
  // interval that has started.
  virtual void split_over(PgId pg, bool holds_report) = 0;
  // The store can't give or take something: this copy can't go on.
  virtual void split_failed(PgId parent, const Status& status) = 0;
};

class PgSplitter {
 public:
  explicit PgSplitter(PgSplitterHost& host) : host_(host) {}

  // The pool has so many PGs now. Splits the PG at once when it has had no interval, else as soon
  // as its next interval has started. pg_num: a power of two.
  void want(PgId pg, std::uint32_t pg_num);
  // True: the PG is to be split first; split_over() follows.
  bool on_interval_started(PgId pg);
  // A split that is wanted or under way will make this PG.
  bool will_make(PgId pg) const;
  bool is_splitting(PgId pg) const { return splits_.contains(pg); }

 private:
  struct Split {
    PgId parent;
    std::uint32_t target = 0;
    bool running = false;
    bool holds_report = false;  // of an interval of the parent
    PgId child;
  };
  // Null: given up meanwhile.
  using Handle = std::weak_ptr<Split>;

  void begin_child(const std::shared_ptr<Split>& split);
  void move_page(const Handle& handle, const std::optional<ObjectId>& after);
  void moved_page(const Handle& handle, std::vector<object_store::ListedObject> page);
  void finish_child(const Handle& handle);
  void commit_child(const Handle& handle, object_store::ObjectInfo tokens);
  void child_durable(Split& split, std::unique_ptr<Pg> child);
  void fail(const Handle& handle, const Status& status);

  PgSplitterHost& host_;
  std::map<PgId, std::shared_ptr<Split>> splits_;
};

}  // namespace cairn::pg
