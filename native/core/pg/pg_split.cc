// A PG's part in its split: which objects it has, and what a child gets of it (pg_splitter.hh).
#include <utility>

#include "base/planted_bug.hh"
#include "crush/object_hash.hh"
#include "pg/pg.hh"

namespace cairn::pg {

namespace {

std::uint32_t seed_of(std::string_view object, std::uint32_t pg_num) {
  return crush::object_name_hash(as_bytes(object)) & (pg_num - 1);
}

}  // namespace

bool Pg::owns(std::string_view object) const {
  return pg_num_ == 0 || object == kFenceObject || seed_of(object, pg_num_) == id_.seed;
}

bool Pg::goes_to_child(std::string_view object) const {
  return object != kFenceObject && seed_of(object, 2 * pg_num_) != id_.seed;
}

void Pg::set_pg_num(std::uint32_t pg_num) {
  pg_num_ = pg_num;
  object_store::Transaction transaction;
  transaction.pg_meta_set(id_, kInfoKey, encode_info());
  submit(std::move(transaction), [](const Status&) {});
}

void Pg::split_off(Pg& child, object_store::Transaction& transaction) const {
  child.pg_num_ = 2 * pg_num_;
  child.last_epoch_started_ = last_epoch_started_;
  child.granted_lease_ = granted_lease_;
  child.log_ = log_;
  child.horizon_.merge(horizon_);
  transaction.log_reset(child.id_, log_.tail_number() + 1);
  for (const net::LogEntry& entry : log_.entries_after(log_.tail_number(), log_.size())) {
    Writer writer;
    net::encode(entry, writer);
    transaction.log_append(child.id_, entry.version.number, writer.take());
  }
  child.horizon_.store(child.id_, transaction);
  for (const auto& [name, missing] : missing_) {
    const bool is_childs = goes_to_child(name);
    if (is_childs) transaction.pg_meta_remove(id_, kMissingPrefix + name);
    if (!is_childs && name != kFenceObject) continue;
    if (planted(PlantedBug::split_forgets_missing)) continue;
    child.missing_[name] = missing;
    transaction.pg_meta_set(child.id_, kMissingPrefix + name, encode_missing(missing));
  }
  for (const std::string& name : bad_copies_) {
    if (goes_to_child(name)) child.bad_copies_.insert(name);
  }
  // It lists objects of both: osd/scrub/record.ts tells whose they are.
  child.scrub_record_ = scrub_record_;
  if (!scrub_record_.empty()) transaction.pg_meta_set(child.id_, kScrubKey, scrub_record_);
  transaction.pg_meta_set(child.id_, kInfoKey, child.encode_info());
  transaction.pg_meta_set(id_, kInfoKey, encode_info(2 * pg_num_));
}

void Pg::gave_child() {
  std::erase_if(missing_, [this](const auto& entry) { return goes_to_child(entry.first); });
  pg_num_ *= 2;
}

void Pg::report_interval_again() {
  interval_report_due_ = true;
  host_.executor().post([this] { report_interval_when_quiet(); });
}

}  // namespace cairn::pg
