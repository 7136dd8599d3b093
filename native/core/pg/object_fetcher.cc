// Reading from another member's copy: see object_fetcher.hh.
#include "pg/object_fetcher.hh"

#include <cstring>
#include <optional>
#include <utility>

#include "base/probe.hh"
#include "pg/family.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(fetch_source_failed);
CAIRN_DEFINE_PROBE(fetch_source_silent);
CAIRN_DEFINE_PROBE(fetch_out_of_reach);
CAIRN_DEFINE_PROBE(fetch_ends_with_interval);

namespace {

using object_store::BlockState;

constexpr std::uint64_t kAnswerLimitNs = 5'000'000'000;

}  // namespace

struct ObjectFetcher::Fetch {
  std::string object;
  FetchWanted asked_for;
  std::vector<OsdId> sources;
  std::size_t next_source = 0;
  OsdId asked = kNoOsd;
  io::TimerId timer = 0;
  bool has_begun = false;     // the first part of the answer has come
  bool some_unheard = false;  // a source did not say that it can't: it may give the object yet
  // That the snapshot shows, by the answer's snap set; none: the object did not exist.
  std::optional<std::uint64_t> wanted;
  std::uint64_t layer = kHead;  // that the range shows
  FetchedRange range;
  FetchedRange head;  // of the range, kept for clones that are like it
  FetchDone done;

  void start_anew();
  // Takes what a part has of the wanted layer, or of one that it is made of. False when it can't be
  // right.
  bool take(PoolId pool, const net::Push& push, const Buffer& data);
  bool is_whole() const { return !wanted || layer == *wanted; }

 private:
  bool choose_layer(const net::Push& push);
  void begin_layer(const net::Push& push);
};

void ObjectFetcher::Fetch::start_anew() {
  has_begun = false;
  wanted.reset();
  layer = kHead;
  head = {};
  range.exists = false;
  range.omap.clear();
  range.blocks.assign(range.blocks.size(), {});
  if (!range.data.empty()) std::memset(range.data.data(), 0, range.data.size());
}

bool ObjectFetcher::Fetch::choose_layer(const net::Push& push) {
  auto family = Family::from_store(push.exists, push.version, push.attr);
  if (!family) return false;
  wanted = family->resolve(asked_for.snap);
  range.exists = wanted.has_value();
  return true;
}

// Clones come behind the head, each as what differs from the layer before it or from the head.
void ObjectFetcher::Fetch::begin_layer(const net::Push& push) {
  if (layer == kHead) {
    head.blocks = range.blocks;
    head.data = Buffer::copy_of(range.data.span());
  } else if (push.base == kHead) {
    range.blocks = head.blocks;
    range.data = Buffer::copy_of(head.data.span());
  }
  layer = push.layer;
}

bool ObjectFetcher::Fetch::take(PoolId pool, const net::Push& push, const Buffer& data) {
  if (push.first && !choose_layer(push)) return false;
  if (push.layer == kHead) range.omap.insert(push.omap.begin(), push.omap.end());
  // Layers come from the newest to the oldest.
  if (!wanted || push.layer < *wanted) return true;
  if (push.layer != layer) begin_layer(push);
  std::size_t taken = 0;
  for (const net::PushBlock& block : push.blocks) {
    const auto state = static_cast<BlockState>(block.state);
    ByteSpan bytes;
    if (state == BlockState::data) {
      bytes = data.span().subspan(taken, kBlockBytes);
      taken += kBlockBytes;
    }
    if (block.index < range.first_block) continue;
    const std::size_t at = block.index - range.first_block;
    if (at >= range.blocks.size()) continue;
    range.blocks[at] = {state, block.crc, block.version};
    if (!asked_for.with_data) continue;
    std::byte* const into = range.data.data() + at * kBlockBytes;
    if (state != BlockState::data) {
      std::memset(into, 0, kBlockBytes);
      continue;
    }
    const std::uint32_t crc =
        object_store::block_checksum(pool, object, block.index, block.version, bytes);
    if (crc != block.crc) return false;
    std::memcpy(into, bytes.data(), kBlockBytes);
  }
  return true;
}

void ObjectFetcher::fetch(const std::string& object, const FetchWanted& wanted,
                          std::vector<OsdId> sources, FetchDone done) {
  CAIRN_ASSERT(!is_fetching(object));
  auto fetch = std::make_shared<Fetch>();
  fetch->object = object;
  fetch->asked_for = wanted;
  fetch->sources = std::move(sources);
  fetch->range.first_block = static_cast<std::uint32_t>(wanted.offset / kBlockBytes);
  const std::uint64_t end = wanted.offset + wanted.length;
  const std::uint64_t end_block = (end + kBlockBytes - 1) / kBlockBytes;
  fetch->range.blocks.resize(end_block - fetch->range.first_block);
  if (wanted.with_data) {
    fetch->range.data = Buffer::zeroed(fetch->range.blocks.size() * kBlockBytes);
  }
  fetch->done = std::move(done);
  fetches_[object] = fetch;
  ask_next(fetch);
}

void ObjectFetcher::ask_next(const FetchPointer& fetch) {
  gate_.scrub_executor().cancel(std::exchange(fetch->timer, 0));
  fetch->start_anew();
  if (fetch->next_source == fetch->sources.size()) {
    if (fetch->some_unheard) {
      fetch_out_of_reach.hit();
      return finish(fetch,
                    {ErrorCode::disconnected, "no member in reach can give " + fetch->object});
    }
    return finish(fetch, {ErrorCode::unfound, "no member can give " + fetch->object});
  }
  fetch->asked = fetch->sources[fetch->next_source++];
  fetch->timer = gate_.scrub_executor().run_after(kAnswerLimitNs, [this, fetch] {
    fetch_source_silent.hit();
    fetch->some_unheard = true;
    fetch->timer = 0;
    ask_next(fetch);
  });
  gate_.send_to_member(fetch->asked,
                       net::encode(net::Pull{gate_.pg(), gate_.interval(), fetch->object}));
}

ObjectFetcher::FetchPointer ObjectFetcher::awaited_from(OsdId osd,
                                                        const std::string& object) const {
  const auto found = fetches_.find(object);
  if (found == fetches_.end() || found->second->asked != osd) return nullptr;
  return found->second;
}

bool ObjectFetcher::on_part(OsdId from, const net::Push& push, const Buffer& data) {
  const FetchPointer fetch = awaited_from(from, push.object);
  if (fetch == nullptr) return false;
  if (push.first) {
    fetch->start_anew();
    fetch->has_begun = true;
  }
  if (!fetch->has_begun) return true;  // its first part was lost with a connection
  if (!fetch->take(gate_.pg().pool, push, data) || (push.last && !fetch->is_whole())) {
    fetch_source_failed.hit();
    ask_next(fetch);
  } else if (push.last) {
    finish(fetch, Status::ok());
  }
  return true;
}

bool ObjectFetcher::on_refusal(OsdId from, const net::PushAck& ack) {
  const FetchPointer fetch = awaited_from(from, ack.object);
  if (fetch == nullptr) return false;
  fetch_source_failed.hit();
  // It has another map for the moment.
  if (ack.code == ErrorCode::stale_epoch) fetch->some_unheard = true;
  ask_next(fetch);
  return true;
}

void ObjectFetcher::source_gone(OsdId osd) {
  std::vector<FetchPointer> asked;
  for (const auto& [object, fetch] : fetches_) {
    if (fetch->asked == osd) asked.push_back(fetch);
  }
  for (const FetchPointer& fetch : asked) {
    fetch->some_unheard = true;
    ask_next(fetch);
  }
}

void ObjectFetcher::reset() {
  const auto fetches = std::exchange(fetches_, {});
  for (const auto& [object, fetch] : fetches) {
    fetch_ends_with_interval.hit();
    gate_.scrub_executor().cancel(fetch->timer);
    fetch->done(Status(ErrorCode::stale_epoch, "new interval"), {});
  }
}

void ObjectFetcher::finish(const FetchPointer& fetch, Status status) {
  gate_.scrub_executor().cancel(std::exchange(fetch->timer, 0));
  fetches_.erase(fetch->object);
  fetch->done(std::move(status), std::move(fetch->range));
}

}  // namespace cairn::pg
