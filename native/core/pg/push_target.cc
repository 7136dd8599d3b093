// A family that arrives: what the copy has of it goes first, whole, then it is built layer by
// layer. It is in the durable missing set until the last part of the last layer is durable.
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/layer_names.hh"
#include "pg/pg.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_push_repeated);
CAIRN_DEFINE_PROBE(pg_push_removes);
CAIRN_DEFINE_PROBE(pg_push_removes_clones);
CAIRN_DEFINE_PROBE(pg_push_held_for_layers);
CAIRN_DEFINE_PROBE(pg_source_had_other_version);

using object_store::BlockInfo;
using object_store::BlockState;

namespace {

void add_blocks(const net::Push& push, PgId pg, const Buffer& data,
                object_store::Transaction& transaction) {
  const ObjectId layer{pg.pool, push.object, push.layer};
  std::size_t taken = 0;
  for (std::size_t i = 0; i < push.blocks.size();) {
    const net::PushBlock& head = push.blocks[i];
    const std::uint64_t offset = head.index * kBlockBytes;
    const auto state = static_cast<BlockState>(head.state);
    if (state != BlockState::data) {
      if (state == BlockState::zero) {
        transaction.write_zeroes(pg, layer, offset, kBlockBytes, head.version);
      } else {
        transaction.punch(pg, layer, offset, kBlockBytes, push.version);
      }
      ++i;
      continue;
    }
    // One write for each run of neighbouring data blocks.
    std::vector<BlockInfo> run;
    const std::size_t run_start = taken;
    while (i < push.blocks.size() && push.blocks[i].index == head.index + run.size() &&
           static_cast<BlockState>(push.blocks[i].state) == BlockState::data) {
      run.push_back({BlockState::data, push.blocks[i].crc, push.blocks[i].version});
      taken += kBlockBytes;
      ++i;
    }
    transaction.write_checked(pg, layer, offset, data.slice(run_start, taken - run_start), run);
  }
}

}  // namespace

void Pg::on_push(net::ConnectionId connection, OsdId from, net::Push push, Buffer data) {
  if (!current(push.interval)) return;
  if (push.is_pull_reply) {
    if (fetcher_.on_part(from, push, data)) return;
    const auto found = recovering_.find(push.object);
    if (found == recovering_.end() || found->second.pulling_from != from) return;
    const auto missing = missing_.find(push.object);
    const bool is_checked = push.first && missing != missing_.end();
    if (is_checked && !missing->second.is_met_by(push.exists, push.version) &&
        !planted(PlantedBug::resurrect_delete)) {
      pg_source_had_other_version.hit();
      return pull_failed(push.object, Status(ErrorCode::unfound, "the source has another version"));
    }
  } else if (spec_.role != Role::replica) {
    return;
  }
  if (received_.contains(push.object)) {
    pg_push_repeated.hit();
    // Sent again although it had arrived: its acknowledgement was lost with a connection.
    if (push.last && !push.is_pull_reply) push_applied(push, connection, Status::ok());
    return;
  }
  if (push.first) return drop_layers(connection, std::move(push), std::move(data));
  const auto found = incoming_.find(push.object);
  if (found == incoming_.end()) return;  // its first part was lost with a connection
  if (found->second.is_dropping) {
    pg_push_held_for_layers.hit();
    found->second.held.push_back({connection, std::move(push), std::move(data)});
    return;
  }
  take_part(connection, push, std::move(data), {});
}

void Pg::drop_layers(net::ConnectionId connection, net::Push push, Buffer data) {
  Incoming& incoming = incoming_[push.object];
  incoming.attempt = ++incoming_attempts_;
  incoming.is_dropping = true;
  incoming.held.clear();
  // A copy that was bad, or whose version is not known, may be damaged: what its head says of
  // clones is not believed.
  const auto missing = missing_.find(push.object);
  const bool is_doubtful = bad_copies_.contains(push.object) ||
                           (missing != missing_.end() && !missing->second.is_known());
  const std::string name = push.object;
  LayersDone found = [this, connection, attempt = incoming.attempt, push = std::move(push),
                      data = std::move(data)](const Status& status,
                                              const std::vector<std::uint64_t>& layers) mutable {
    const auto arriving = incoming_.find(push.object);
    if (!current(push.interval) || arriving == incoming_.end() ||
        arriving->second.attempt != attempt) {
      return;
    }
    if (!status) return push_applied(push, connection, status);
    arriving->second.is_dropping = false;
    std::deque<Arrived> held = std::move(arriving->second.held);
    take_part(connection, push, std::move(data), layers);
    for (Arrived& part : held) take_part(part.connection, part.push, std::move(part.data), {});
  };
  if (is_doubtful) return list_layers(host_.store(), id_, name, std::move(found));
  find_layers(host_.store(), id_, name, std::move(found));
}

void Pg::take_part(net::ConnectionId connection, const net::Push& push, Buffer data,
                   const std::vector<std::uint64_t>& old_layers) {
  const auto arriving = incoming_.find(push.object);
  if (arriving == incoming_.end()) return;
  net::Push head = push;  // the blocks are not needed any more when it is durable
  head.blocks.clear();
  head.omap.clear();
  apply_push(push, std::move(data), old_layers,
             [this, connection, attempt = arriving->second.attempt,
              head = std::move(head)](const Status& status) {
               if (!current(head.interval)) return;
               const auto found = incoming_.find(head.object);
               if (found == incoming_.end() || found->second.attempt != attempt) return;
               push_applied(head, connection, status);
             });
}

void Pg::apply_push(const net::Push& push, const Buffer& data,
                    const std::vector<std::uint64_t>& old_layers, object_store::Done done) {
  object_store::Transaction transaction;
  const ObjectId layer{id_.pool, push.object, push.layer};
  families_.forget(push.object);
  if (!push.exists) pg_push_removes.hit();
  if (old_layers.size() > 1) pg_push_removes_clones.hit();
  const bool keeps = !push.exists && planted(PlantedBug::resurrect_delete);
  for (const std::uint64_t snap : old_layers) {
    if (!keeps) transaction.remove(id_, ObjectId{id_.pool, push.object, snap});
  }
  if (push.exists) {
    if (push.first) {
      transaction.touch(id_, layer, push.version);
      if (!push.attr.empty()) transaction.set_attr(id_, layer, push.attr, push.version);
    }
    if (push.base != 0) {
      transaction.clone(id_, ObjectId{id_.pool, push.object, push.base}, layer, push.version);
    }
    add_blocks(push, id_, data, transaction);
    if (push.clears_omap) transaction.omap_clear(id_, layer, push.version);
    for (const auto& [key, value] : push.omap) {
      transaction.omap_set(id_, layer, key, value, push.version);
    }
    transaction.set_object_version(id_, layer, push.version);
  }
  // Half an object is a missing one, also after a crash.
  if (push.last) {
    transaction.pg_meta_remove(id_, kMissingPrefix + push.object);
  } else if (push.first) {
    Missing& missing = missing_[push.object];
    if (!missing.is_known()) missing = {push.version, !push.exists};
    transaction.pg_meta_set(id_, kMissingPrefix + push.object, encode_missing(missing));
  }
  submit(std::move(transaction), std::move(done));
}

}  // namespace cairn::pg
