// Samples of the data-path messages with every field set, for tests. tools/make-message-golden.mjs
// makes the golden bytes of the same values.
#pragma once

#include <cstring>

#include "net/lease_messages.hh"
#include "net/messages.hh"
#include "net/scrub_messages.hh"
#include "net/watch_messages.hh"

namespace cairn::net::sample {

inline constexpr ClientId kClient = 0x1122334455667788;
inline constexpr PgId kPg{3, 17};
inline const std::string kDataObject = "rbd_data.1.0000000000000002";

inline Buffer one_block() {
  Buffer block = Buffer::allocate(kBlockBytes);
  for (std::size_t i = 0; i < kBlockBytes; ++i) block.data()[i] = static_cast<std::byte>(i * 7);
  return block;
}

inline constexpr OpTrace kTrace{9'000'000, 1'000'000, 2'000'000, 3'000'000, 5'000'000, 4'000'000};

inline Step range(StepCode code, std::uint64_t offset, std::uint64_t length) {
  return {code, offset, length, {}, {}};
}
inline Step pair(StepCode code, std::string key, std::string value) {
  return {code, 0, 0, std::move(key), std::move(value)};
}

inline OpRequest write_request() {
  return {.id = {kClient, 42},
          .oldest_unacked = 40,
          .map_epoch = 7,
          .resent = false,
          .pg = kPg,
          .object = kDataObject,
          .fence = {"1", 5},
          .steps = {range(StepCode::write, 8192, kBlockBytes)}};
}

inline OpRequest traced_request() {
  OpRequest request = write_request();
  request.traced = true;
  return request;
}

inline OpRequest reserved_request() {
  OpRequest request = write_request();
  request.reservation = {500, 3, 2};
  return request;
}

inline OpRequest watch_request() {
  Step watch = pair(StepCode::watch, "lock", "host1 pid 7");
  watch.length = 10'000;
  return {.id = {kClient, 44},
          .oldest_unacked = 43,
          .map_epoch = 7,
          .pg = {3, 1},
          .object = "rbd_header.1",
          .fence = {},
          .steps = {watch}};
}

inline OpRequest omap_request() {
  return {
      .id = {kClient, 43},
      .oldest_unacked = 43,
      .map_epoch = 7,
      .resent = true,
      .pg = {3, 1},
      .object = "rbd_header.1",
      .fence = {},
      .steps = {pair(StepCode::omap_compare, "size", "1"), pair(StepCode::omap_set, "size", "22")}};
}

inline OpRequest snap_read_request() {
  return {.id = {kClient, 45},
          .oldest_unacked = 45,
          .map_epoch = 7,
          .pg = kPg,
          .object = kDataObject,
          .fence = {},
          .snap = 6,
          .steps = {range(StepCode::sparse_read, 8192, 2 * kBlockBytes)}};
}

inline OpRequest copyup_request() {
  return {.id = {kClient, 46},
          .oldest_unacked = 45,
          .map_epoch = 7,
          .resent = true,
          .pg = kPg,
          .object = kDataObject,
          .fence = {"1", 5},
          .snap_context = {9, {6, 4}},
          .steps = {range(StepCode::copyup, 8192, kBlockBytes)}};
}

inline OpRequest list_objects_request() {
  Step list = pair(StepCode::list_objects, "rbd_data.1.", kDataObject);
  list.offset = 6;
  list.length = 100;
  return {.id = {kClient, 47},
          .oldest_unacked = 45,
          .map_epoch = 7,
          .pg = kPg,
          .object = "rbd_data.1.",
          .fence = {},
          .steps = {list}};
}

inline OpRequest fill_request() {
  Step fill = range(StepCode::fill_layers, 8192, kBlockBytes);
  fill.value = pack_ids({4, 6, kHead});
  OpRequest request = copyup_request();
  request.id = {kClient, 48};
  request.resent = false;
  request.steps = {fill};
  return request;
}

inline OpRequest lacking_request() {
  Step lacking = range(StepCode::lacking, 0, 3 * kBlockBytes);
  lacking.value = pack_ids({4, kHead});
  return {.id = {kClient, 49},
          .oldest_unacked = 45,
          .map_epoch = 7,
          .pg = kPg,
          .object = kDataObject,
          .fence = {},
          .steps = {lacking}};
}

inline OpRequest sparsify_request() {
  OpRequest request = lacking_request();
  request.id = {kClient, 50};
  request.steps = {range(StepCode::sparsify, 8192, 4 * kBlockBytes)};
  return request;
}

inline OpReply full_reply() {
  return {.sequence = 42,
          .code = ErrorCode::ok,
          .epoch = 8,
          .exists = true,
          .extents = {{0, 4096, 2}, {4096, 8192, 0}},
          .omap = {{"a", "1"}, {"b", ""}},
          .message = {}};
}

inline OpReply traced_reply() {
  OpReply reply = full_reply();
  reply.trace = kTrace;
  return reply;
}

inline OpReply refusal() {
  OpReply reply;
  reply.sequence = 42;
  reply.code = ErrorCode::stale_epoch;
  reply.epoch = 9;
  reply.message = "new interval";
  return reply;
}

inline Replicate replicated_write() {
  return {.pg = kPg,
          .interval = 7,
          .entry = {{7, 100}, {kClient, 42}, kDataObject, false},
          .trim_to = 4,
          .steps = {range(StepCode::write, 8192, kBlockBytes)}};
}

inline Replicate traced_replicate() {
  Replicate message = replicated_write();
  message.traced = true;
  return message;
}

inline Buffer two_blocks() {
  Buffer blocks = Buffer::allocate(2 * kBlockBytes);
  for (std::size_t i = 0; i < 2; ++i)
    std::memcpy(blocks.data() + i * kBlockBytes, one_block().data(), kBlockBytes);
  return blocks;
}

// Of two_blocks().
inline Replicate replicated_clone() {
  return {.pg = kPg,
          .interval = 7,
          .entry = {{7, 102}, {kClient, 46}, "o", false},
          .trim_to = 0,
          .steps = {range(StepCode::clone_head, 9, 0), range(StepCode::write, 8192, kBlockBytes),
                    range(StepCode::write, 16384, kBlockBytes),
                    pair(StepCode::set_snapset, "", "snap set")}};
}

// Of two_blocks(): what a primary makes of a filling.
inline Replicate replicated_filling() {
  const auto layers = [](StepCode code, std::uint64_t offset, std::vector<std::uint64_t> ids) {
    Step step = range(code, offset, kBlockBytes);
    step.value = pack_ids(ids);
    return step;
  };
  return {.pg = kPg,
          .interval = 7,
          .entry = {{7, 103}, {kClient, 48}, "o", false},
          .trim_to = 0,
          .steps = {range(StepCode::copy_clone, 4, 6), range(StepCode::write, 8192, kBlockBytes),
                    layers(StepCode::share_blocks, 8192, {kHead, 4}),
                    layers(StepCode::write_layer, 16384, {4}),
                    pair(StepCode::set_snapset, "", "snap set")}};
}

inline Replicate replicated_remove() {
  return {.pg = kPg,
          .interval = 7,
          .entry = {{7, 101}, {kClient, 44}, "o", true},
          .trim_to = 0,
          .steps = {range(StepCode::remove, 0, 0)}};
}

inline Push push_of_object() {
  Push push;
  push.pg = kPg;
  push.interval = 7;
  push.object = "o";
  push.exists = push.first = push.last = true;
  push.version = {7, 100};
  push.blocks = {{0, 1, 0, {6, 90}}, {5, 2, 0xdeadbeef, {7, 100}}};
  push.omap = {{"k", "v"}};
  return push;
}

inline Push push_of_clone() {
  Push push;
  push.pg = kPg;
  push.interval = 7;
  push.object = "o";
  push.exists = push.last = push.clears_omap = true;
  push.version = {6, 95};
  push.layer = 5;
  push.base = kHead;
  push.blocks = {{0, 0, 0, {0, 0}}, {5, 2, 0xdeadbeef, {6, 90}}};
  return push;
}

inline Push push_of_head() {
  Push push = push_of_object();
  push.last = false;
  push.attr = "snaps";
  return push;
}

inline ScrubRequest scrub_request(std::uint64_t id, ScrubQuestion question) {
  ScrubRequest request;
  request.pg = kPg;
  request.interval = 7;
  request.id = id;
  request.question = question;
  const bool lists = question == ScrubQuestion::list;
  request.name = lists ? "a" : "o";
  request.end = lists ? "q" : "";
  request.bytes_per_second = lists ? 0 : 1 << 20;
  return request;
}

inline ScrubReply scrub_reply() {
  ScrubObject bad;
  bad.name = "o";
  bad.exists = true;
  bad.version = {7, 100};
  bad.data_blocks = 4;
  bad.blocks_digest = 0xdeadbeef;
  bad.omap_digest = 0x1234;
  bad.bad_blocks = {0, 9};
  ScrubObject unreadable;
  unreadable.name = "p";
  unreadable.code = ErrorCode::corrupt;
  ScrubReply reply;
  reply.pg = kPg;
  reply.interval = 7;
  reply.id = 77;
  reply.end = "q";
  reply.objects = {bad, unreadable};
  return reply;
}

}  // namespace cairn::net::sample
