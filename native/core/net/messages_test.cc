// The data-path messages: golden bytes, round trips, and what a decoder refuses.
#include "net/messages.hh"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "net/sample_messages.hh"

namespace cairn::net {

namespace {

using namespace sample;

const Ping kPing{123456789, 9, 20, 30};

// The messages of test/golden/messages by file name.
std::map<std::string, Frame> golden_messages() {
  std::map<std::string, Frame> frames;
  frames["op-write"] = encode(write_request(), one_block());
  frames["op-omap"] = encode(omap_request(), {});
  frames["op-traced"] = encode(traced_request(), one_block());
  frames["op-reserved"] = encode(reserved_request(), one_block());
  frames["op-watch"] = encode(watch_request(), {});
  frames["op-snap-read"] = encode(snap_read_request(), {});
  frames["op-copyup"] = encode(copyup_request(), one_block());
  frames["op-fill-layers"] = encode(fill_request(), one_block());
  frames["op-lacking"] = encode(lacking_request(), {});
  frames["op-sparsify"] = encode(sparsify_request(), {});
  frames["op-list-objects"] = encode(list_objects_request(), {});
  frames["watch-notify"] = encode(WatchNotify{kPg, 9, "o", "lock", "request"});
  frames["watch-notify-ack"] = encode(WatchNotifyAck{kPg, 9, "o", "lock", "soon"});
  frames["op-reply"] = encode(full_reply(), {});
  frames["op-reply-traced"] = encode(traced_reply(), {});
  frames["op-reply-refused"] = encode(refusal(), {});
  frames["replicate"] = encode(replicated_write(), one_block());
  frames["replicate-traced"] = encode(traced_replicate(), one_block());
  frames["replicate-remove"] = encode(replicated_remove(), {});
  frames["replicate-clone"] = encode(replicated_clone(), two_blocks());
  frames["replicate-layers"] = encode(replicated_filling(), two_blocks());
  frames["replicate-ack"] = encode(ReplicateAck{kPg, 7, 100, ErrorCode::ok});
  frames["replicate-ack-traced"] = encode(ReplicateAck{kPg, 7, 100, ErrorCode::ok, 4'000'000});
  frames["pull"] = encode(Pull{kPg, 7, "o"});
  frames["push"] = encode(push_of_object(), one_block());
  frames["push-head"] = encode(push_of_head(), one_block());
  frames["push-clone"] = encode(push_of_clone(), one_block());
  frames["push-ack"] = encode(PushAck{kPg, 7, "o", ErrorCode::ok});
  frames["scrub-request"] = encode(scrub_request(77, ScrubQuestion::list));
  frames["scrub-verify"] = encode(scrub_request(78, ScrubQuestion::verify));
  frames["scrub-reply"] = encode(scrub_reply());
  frames["mark-missing"] = encode(MarkMissing{kPg, 7, 79, "o", {6, 123}});
  frames["mark-missing-ack"] = encode(MarkMissingAck{kPg, 7, 79, ErrorCode::ok});
  frames["lease"] = encode_lease({123456789, {{kPg, 7}, {{4, 0}, 9}}});
  frames["lease-ack"] = encode_lease_ack({123456789, {{kPg, 7}}});
  frames["ping"] = encode_ping(kPing);
  frames["pong"] = encode_pong(kPing);
  return frames;
}

template <typename Message>
Status again_with_data(const Frame& frame, Frame& into) {
  Message message;
  CAIRN_RETURN_IF_ERROR(decode(frame, message));
  into = encode(message, frame.data);
  return Status::ok();
}

template <typename Message>
Status again(const Frame& frame, Frame& into) {
  Message message;
  CAIRN_RETURN_IF_ERROR(decode(frame, message));
  into = encode(message);
  return Status::ok();
}

// Decodes a frame and encodes what came out.
Status reencode(const Frame& frame, Frame& into) {
  switch (frame.type) {
    case FrameType::op:
      return again_with_data<OpRequest>(frame, into);
    case FrameType::watch_notify:
      return again<WatchNotify>(frame, into);
    case FrameType::watch_notify_ack:
      return again<WatchNotifyAck>(frame, into);
    case FrameType::op_reply:
      return again_with_data<OpReply>(frame, into);
    case FrameType::replicate:
      return again_with_data<Replicate>(frame, into);
    case FrameType::replicate_ack:
      return again<ReplicateAck>(frame, into);
    case FrameType::pull:
      return again<Pull>(frame, into);
    case FrameType::push:
      return again_with_data<Push>(frame, into);
    case FrameType::push_ack:
      return again<PushAck>(frame, into);
    case FrameType::scrub_request:
      return again<ScrubRequest>(frame, into);
    case FrameType::scrub_reply:
      return again<ScrubReply>(frame, into);
    case FrameType::mark_missing:
      return again<MarkMissing>(frame, into);
    case FrameType::mark_missing_ack:
      return again<MarkMissingAck>(frame, into);
    case FrameType::lease:
    case FrameType::lease_ack: {
      Lease lease;
      CAIRN_RETURN_IF_ERROR(decode(frame, lease));
      into = frame.type == FrameType::lease ? encode_lease(lease) : encode_lease_ack(lease);
      return Status::ok();
    }
    default: {
      Ping ping;
      CAIRN_RETURN_IF_ERROR(decode(frame, ping));
      into = frame.type == FrameType::ping ? encode_ping(ping) : encode_pong(ping);
      return Status::ok();
    }
  }
}

std::vector<std::byte> bytes_of(const Frame& frame) {
  std::vector<std::byte> bytes(kFrameHeaderBytes);
  encode_header(frame, 1, bytes.data());
  bytes.insert(bytes.end(), frame.meta.begin(), frame.meta.end());
  bytes.insert(bytes.end(), frame.data.span().begin(), frame.data.span().end());
  return bytes;
}

// The bytes behind the line "bytes:" of a golden file.
std::vector<std::byte> read_golden(const std::filesystem::path& path) {
  std::ifstream stream(path);
  std::string line;
  while (std::getline(stream, line) && line != "bytes:") continue;
  std::vector<std::byte> bytes;
  while (std::getline(stream, line)) {
    for (std::size_t i = 0; i + 1 < line.size(); i += 2)
      bytes.push_back(static_cast<std::byte>(std::stoul(line.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// What a decoder says must be all or nothing: an error, or a value that encodes to the same bytes.
void check_refused_or_equal(const Frame& frame) {
  Frame result;
  const Status status = reencode(frame, result);
  if (status) {
    CHECK(result.meta == frame.meta);
  } else {
    CHECK(status.code() == ErrorCode::protocol_error);
  }
}

template <typename Message>
bool refused(const Frame& frame) {
  Message message;
  return decode(frame, message).code() == ErrorCode::protocol_error;
}

bool op_refused(const std::function<void(OpRequest&)>& change, Buffer data = {}) {
  OpRequest request = omap_request();
  change(request);
  return refused<OpRequest>(encode(request, std::move(data)));
}

bool push_refused(const std::function<void(Push&)>& change) {
  Push push = push_of_object();
  change(push);
  return refused<Push>(encode(push, one_block()));
}

bool replicate_refused(const std::function<void(Replicate&)>& change, Buffer data = one_block()) {
  Replicate message = replicated_write();
  change(message);
  return refused<Replicate>(encode(message, std::move(data)));
}

}  // namespace

TEST_CASE("messages: golden bytes") {
  const std::map<std::string, Frame> expected = golden_messages();
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CAIRN_GOLDEN_DIR "/messages")) {
    if (entry.path().extension() != ".hex") continue;
    const std::string name = entry.path().stem().string();
    INFO(std::string(name));
    REQUIRE(expected.contains(name));
    CHECK(read_golden(entry.path()) == bytes_of(expected.at(name)));
    ++files;
  }
  CHECK(files == expected.size());
}

TEST_CASE("messages: what is decoded encodes to the same bytes") {
  for (const auto& entry : golden_messages()) {
    INFO(entry.first);
    const Frame& frame = entry.second;
    Frame result;
    CHECK(reencode(frame, result).to_string() == "ok");
    CHECK(bytes_of(result) == bytes_of(frame));
  }
}

TEST_CASE("messages: fields come back") {
  OpRequest request;
  REQUIRE(decode(encode(write_request(), one_block()), request).is_ok());
  CHECK(request.id == RequestId{kClient, 42});
  CHECK(request.oldest_unacked == 40);
  CHECK(request.pg == kPg);
  CHECK(request.object == kDataObject);
  CHECK(request.mutates());
  Push push;
  REQUIRE(decode(encode(push_of_object(), one_block()), push).is_ok());
  CHECK(push.last);
  CHECK_FALSE(push.is_pull_reply);
  CHECK(push.blocks[1].crc == 0xdeadbeef);
  CHECK(push.version == Version{7, 100});
  OpReply reply;
  REQUIRE(decode(encode(refusal(), {}), reply).is_ok());
  CHECK(reply.code == ErrorCode::stale_epoch);
  CHECK(reply.message == "new interval");
}

TEST_CASE("messages: cut short at any length, or with a byte too much, they are refused") {
  for (const auto& entry : golden_messages()) {
    INFO(entry.first);
    const Frame& whole = entry.second;
    Frame frame = whole;
    Frame result;
    for (std::size_t length = 0; length < whole.meta.size(); ++length) {
      frame.meta.assign(whole.meta.begin(), whole.meta.begin() + static_cast<int>(length));
      CHECK(reencode(frame, result).code() == ErrorCode::protocol_error);
    }
    frame.meta = whole.meta;
    frame.meta.push_back(std::byte{0});
    CHECK(reencode(frame, result).code() == ErrorCode::protocol_error);
  }
}

TEST_CASE("messages: with any byte changed they are refused or mean what they say") {
  for (const auto& entry : golden_messages()) {
    INFO(entry.first);
    const Frame& whole = entry.second;
    Frame frame = whole;
    for (std::size_t at = 0; at < whole.meta.size(); ++at) {
      for (const int value : {0, 1, 2, 3, 0x7f, 0x80, 0xff}) {
        frame.meta[at] = static_cast<std::byte>(value);
        check_refused_or_equal(frame);
      }
      frame.meta[at] = whole.meta[at];
    }
  }
}

TEST_CASE("messages: the limits of an operation") {
  CHECK_FALSE(op_refused([](OpRequest&) {}));
  CHECK(op_refused([](OpRequest& op) { op.object.clear(); }));
  CHECK_FALSE(op_refused([](OpRequest& op) { op.object.assign(kMaxObjectNameBytes, 'n'); }));
  CHECK(op_refused([](OpRequest& op) { op.object.assign(kMaxObjectNameBytes + 1, 'n'); }));
  CHECK(op_refused([](OpRequest& op) { op.steps.clear(); }));
  CHECK(op_refused([](OpRequest& op) { op.steps[0].key.assign(kMaxOmapKeyBytes + 1, 'k'); }));
  CHECK_FALSE(op_refused([](OpRequest& op) { op.steps[0].value.assign(kMaxOmapValueBytes, 'v'); }));
  CHECK(op_refused([](OpRequest& op) { op.steps[0].value.assign(kMaxOmapValueBytes + 1, 'v'); }));
  // Each value may pass, all together would not fit the frame that replicates them.
  CHECK(op_refused([](OpRequest& op) {
    const std::string value(kMaxOmapValueBytes, 'v');
    op.steps.assign(9, pair(StepCode::omap_set, "k", value));
  }));
  CHECK(op_refused([](OpRequest& op) { op.steps = {range(StepCode::read, kMaxObjectBytes, 1)}; }));
  CHECK(op_refused(
      [](OpRequest& op) { op.steps = {range(StepCode::punch, 4096, ~std::uint64_t{0})}; }));
  CHECK(
      op_refused([](OpRequest& op) { op.steps.assign(2, range(StepCode::read, 0, kBlockBytes)); }));
  CHECK(op_refused([](OpRequest& op) { op.steps[0].code = static_cast<StepCode>(0); }));
}

TEST_CASE("messages: the limits of fences, watches and notifications") {
  const auto fenced = [](const std::string& key) {
    return [key](OpRequest& op) { op.fence = {key, 1}; };
  };
  CHECK(op_refused(fenced("")));
  CHECK_FALSE(op_refused(fenced(std::string(kMaxFenceKeyBytes, 'k'))));
  CHECK(op_refused(fenced(std::string(kMaxFenceKeyBytes + 1, 'k'))));
  const auto with = [](StepCode code, std::size_t key, std::size_t value, std::uint64_t length) {
    Step step = pair(code, std::string(key, 'k'), std::string(value, 'v'));
    step.length = length;
    return [step](OpRequest& op) { op.steps = {step}; };
  };
  using enum StepCode;
  CHECK_FALSE(op_refused(with(watch, kMaxCookieBytes, kMaxWatchDescriptionBytes, 1)));
  CHECK(op_refused(with(watch, kMaxCookieBytes + 1, 0, 1)));
  CHECK(op_refused(with(watch, 1, kMaxWatchDescriptionBytes + 1, 1)));
  CHECK(op_refused(with(watch, 1, 1, 0)));
  CHECK(op_refused(with(watch, 1, 1, kMaxWatchTimeoutMs + 1)));
  CHECK(op_refused(with(unwatch, 1, 1, 0)));
  CHECK_FALSE(op_refused(with(notify, 0, kMaxNotifyPayloadBytes, 1)));
  CHECK(op_refused(with(notify, 0, kMaxNotifyPayloadBytes + 1, 1)));
  CHECK(op_refused(with(notify, 1, 1, 1)));
  CHECK(op_refused(with(list_watchers, 1, 0, 0)));
  CHECK_FALSE(op_refused(with(list_watchers, 0, 0, 0)));
  CHECK(refused<WatchNotify>(encode(WatchNotify{kPg, 9, "", "lock", ""})));
  CHECK(refused<WatchNotify>(encode(WatchNotify{kPg, 9, "o", std::string(65, 'c'), ""})));
}

TEST_CASE("messages: snapshots come back, and cost nothing where there are none") {
  OpRequest request;
  REQUIRE(decode(encode(copyup_request(), one_block()), request).is_ok());
  CHECK(request.resent);
  CHECK(request.snap == kHead);
  CHECK(request.snap_context == SnapContext{9, {6, 4}});
  OpRequest at_snap;
  REQUIRE(decode(encode(snap_read_request(), {}), at_snap).is_ok());
  CHECK(at_snap.snap == 6);
  CHECK(at_snap.snap_context == SnapContext{});
  const std::size_t with = encode(snap_read_request(), {}).meta.size();
  OpRequest plain = snap_read_request();
  plain.snap = kHead;
  CHECK(encode(plain, {}).meta.size() == with - sizeof(std::uint64_t));
}

TEST_CASE("messages: the limits of what is about snapshots") {
  const auto context = [](std::uint64_t seq, std::vector<std::uint64_t> snaps) {
    return [seq, snaps](OpRequest& op) { op.snap_context = {seq, snaps}; };
  };
  CHECK_FALSE(op_refused(context(9, {})));
  CHECK_FALSE(op_refused(context(9, {9, 3})));
  CHECK(op_refused(context(9, {10})));
  CHECK(op_refused(context(9, {3, 3})));
  CHECK(op_refused(context(9, {3, 4})));
  CHECK(op_refused(context(9, {3, 0})));
  CHECK(op_refused(context(kHead, {3})));
  std::vector<std::uint64_t> snaps;
  for (std::uint64_t snap = kMaxContextSnaps; snap > 0; --snap) snaps.push_back(snap);
  CHECK_FALSE(op_refused(context(kMaxContextSnaps, snaps)));
  CHECK(op_refused([](OpRequest& op) { op.snap = 3; }));  // it sets a value
  const auto with = [](Step step) { return [step](OpRequest& op) { op.steps = {step}; }; };
  const auto listing = [](std::uint64_t limit, std::size_t prefix) {
    Step step = pair(StepCode::list_objects, std::string(prefix, 'p'), "");
    step.length = limit;
    return step;
  };
  CHECK_FALSE(op_refused(with(listing(kMaxListedObjects, kMaxObjectNameBytes))));
  CHECK(op_refused(with(listing(kMaxListedObjects + 1, 1))));
  CHECK(op_refused(with(listing(0, 1))));
  CHECK(op_refused(with(listing(1, kMaxObjectNameBytes + 1))));
  CHECK_FALSE(op_refused(with(range(StepCode::rollback, 4, 0))));
  CHECK(op_refused(with(range(StepCode::rollback, 0, 0))));
  CHECK(op_refused(with(range(StepCode::rollback, kHead, 0))));
  CHECK_FALSE(op_refused(with(range(StepCode::diff, 0, 0))));
  CHECK(op_refused(with(range(StepCode::diff, 0, 1))));
  CHECK(op_refused(with(range(StepCode::copyup, 1, kBlockBytes)), one_block()));
  CHECK(op_refused([](OpRequest& op) {
    op.steps = {range(StepCode::read, 0, 1), range(StepCode::sparse_read, 0, 1)};
  }));
  CHECK(op_refused([](OpRequest& op) {
    op.steps = {range(StepCode::rollback, 4, 0), range(StepCode::touch, 0, 0)};
  }));
}

TEST_CASE("messages: the steps between primary and replica are refused from clients") {
  using enum StepCode;
  for (const StepCode code : {clone_head, remove_clone, restore_head}) {
    CHECK(op_refused([code](OpRequest& op) { op.steps = {range(code, 9, 0)}; }));
    const auto one = [code](Replicate& message) { message.steps = {range(code, 9, 0)}; };
    CHECK_FALSE(replicate_refused(one, {}));
  }
  CHECK(op_refused([](OpRequest& op) { op.steps = {pair(set_snapset, "", "s")}; }));
  const auto snapset = [](std::size_t bytes) {
    return [bytes](Replicate& message) {
      message.steps = {pair(set_snapset, "", std::string(bytes, 's'))};
    };
  };
  CHECK_FALSE(replicate_refused(snapset(kMaxSnapSetBytes), {}));
  CHECK(replicate_refused(snapset(kMaxSnapSetBytes + 1), {}));
}

TEST_CASE("messages: data belongs to exactly one write of its length") {
  const auto with = [](std::vector<Step> steps) {
    return [steps](OpRequest& op) { op.steps = steps; };
  };
  const Step write = range(StepCode::write, 0, kBlockBytes);
  CHECK_FALSE(op_refused(with({write}), one_block()));
  CHECK(op_refused(with({write, write}), one_block()));
  CHECK(op_refused(with({write}), {}));
  CHECK(op_refused(with({range(StepCode::write, 0, 4095)}), one_block()));
  CHECK(op_refused(with({range(StepCode::write, 0, 0)}), {}));
  CHECK(op_refused(with({range(StepCode::touch, 0, 0)}), one_block()));
}

TEST_CASE("messages: a replicated entry holds whole blocks and mutations only") {
  CHECK_FALSE(replicate_refused([](Replicate&) {}));
  CHECK(replicate_refused([](Replicate& message) { message.steps[0].offset = 1; }));
  CHECK(replicate_refused(
      [](Replicate& message) { message.steps = {range(StepCode::read, 0, 4096)}; }, {}));
  // These have become others when they are replicated.
  CHECK(replicate_refused(
      [](Replicate& message) { message.steps = {range(StepCode::copyup, 0, 4096)}; }));
  CHECK(replicate_refused(
      [](Replicate& message) { message.steps = {range(StepCode::rollback, 4, 0)}; }, {}));
  CHECK(replicate_refused(
      [](Replicate& message) { message.steps.push_back(range(StepCode::write, 0, 4096)); }));
  CHECK(replicate_refused([](Replicate& message) { message.trim_to = 100; }));
  CHECK(replicate_refused([](Replicate& message) {
    message.trim_to = 0;
    message.entry.version.number = 0;
  }));
}

TEST_CASE("messages: a scrub reply names objects and bad blocks in order, not too many") {
  const auto reply_refused = [](const std::function<void(ScrubReply&)>& change) {
    ScrubReply reply = scrub_reply();
    change(reply);
    return refused<ScrubReply>(encode(reply));
  };
  CHECK_FALSE(reply_refused([](ScrubReply&) {}));
  CHECK(reply_refused([](ScrubReply& reply) { reply.objects[1].name = "o"; }));
  CHECK(reply_refused([](ScrubReply& reply) { reply.objects[1].name.clear(); }));
  CHECK(reply_refused([](ScrubReply& reply) { reply.objects[0].bad_blocks = {9, 9}; }));
  CHECK(reply_refused(
      [](ScrubReply& reply) { reply.objects[0].bad_blocks = {kMaxObjectBytes / kBlockBytes}; }));
  CHECK(reply_refused([](ScrubReply& reply) {
    reply.objects.clear();
    for (std::uint32_t i = 0; i <= kMaxScrubObjects; ++i) {
      reply.objects.push_back({});
      reply.objects.back().name = std::string(1, static_cast<char>(i + 1));
    }
  }));
  ScrubRequest request = scrub_request(1, ScrubQuestion::verify);
  request.name.clear();
  CHECK(refused<ScrubRequest>(encode(request)));
  request = scrub_request(1, ScrubQuestion::record);
  request.record.assign(kMaxScrubRecordBytes + 1, 'r');
  CHECK(refused<ScrubRequest>(encode(request)));
}

TEST_CASE("messages: a push names its blocks in order, with their bytes") {
  CHECK_FALSE(push_refused([](Push&) {}));
  CHECK(push_refused([](Push& push) { push.blocks[0].index = 5; }));
  CHECK(push_refused([](Push& push) { push.blocks[1].index = kMaxObjectBytes / kBlockBytes; }));
  CHECK(push_refused([](Push& push) { push.blocks[0].state = 0; }));
  CHECK(push_refused([](Push& push) { push.blocks[0].state = 2; }));
  CHECK(push_refused([](Push& push) { push.blocks[1].state = 1; }));
  CHECK(push_refused([](Push& push) { push.blocks[0].state = 3; }));
  CHECK(push_refused([](Push& push) { push.clears_omap = true; }));
}

TEST_CASE("messages: a pushed clone comes behind the head, and is made of a newer layer") {
  const auto clone_refused = [](const std::function<void(Push&)>& change) {
    Push push = push_of_clone();
    change(push);
    return refused<Push>(encode(push, one_block()));
  };
  CHECK_FALSE(clone_refused([](Push&) {}));
  CHECK_FALSE(clone_refused([](Push& push) { push.base = 6; }));
  CHECK(clone_refused([](Push& push) { push.base = 5; }));
  CHECK(clone_refused([](Push& push) { push.layer = 0; }));
  CHECK(clone_refused([](Push& push) { push.first = true; }));
  CHECK(clone_refused([](Push& push) { push.exists = false; }));
  CHECK(clone_refused([](Push& push) { push.attr = "snaps"; }));
  Push head;
  REQUIRE(decode(encode(push_of_head(), one_block()), head).is_ok());
  CHECK(head.attr == "snaps");
  CHECK(head.layer == kHead);
  CHECK(push_refused([](Push& push) { push.attr = std::string(kMaxSnapSetBytes + 1, 'a'); }));
  CHECK(push_refused([](Push& push) {
    push.attr = "snaps";
    push.first = false;
  }));
}

TEST_CASE("messages: counts that cannot be true allocate nothing") {
  Frame frame = encode(full_reply(), {});
  const std::size_t extent_count_at = 8 + 2 + 4 + 1;
  store_le(frame.meta.data() + extent_count_at, std::uint32_t{0xffffffff});
  CHECK(refused<OpReply>(frame));
  frame = encode(push_of_object(), one_block());
  store_le(frame.meta.data() + 28, std::uint32_t{0xffffffff});
  CHECK(refused<Push>(frame));
  frame = encode_lease({1, {{kPg, 7}}});
  store_le(frame.meta.data() + 8, std::uint32_t{0xffffffff});
  CHECK(refused<Lease>(frame));
}

TEST_CASE("messages: a long explanation is cut, not garbled") {
  OpReply reply = refusal();
  reply.message.assign(100'000, 'm');
  OpReply decoded;
  REQUIRE(decode(encode(reply, {}), decoded).is_ok());
  CHECK(decoded.message.size() == kMaxReplyMessageBytes);
}

}  // namespace cairn::net
