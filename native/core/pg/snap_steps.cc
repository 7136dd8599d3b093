// The reading steps that are about layers and blocks: sparse reads, states, what differs between
// two snapshots, and which objects of the PG do.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_list_waits_for_recovery);

using net::Step;
using net::StepCode;
using object_store::BlockInfo;
using object_store::BlockState;

namespace {

constexpr std::size_t kListPage = 128;

// The states of [offset, offset + length) as runs of equal state; blocks: from block `first` on,
// absent behind the last one.
std::vector<net::ExtentRun> runs_of(const std::vector<BlockInfo>& blocks, std::uint64_t first,
                                    const Step& step) {
  std::vector<net::ExtentRun> runs;
  const std::uint64_t end = step.offset + step.length;
  for (std::uint64_t at = step.offset; at < end;) {
    const std::uint64_t index = at / kBlockBytes;
    const std::uint64_t block_end = std::min(end, (index + 1) * kBlockBytes);
    const auto state = index - first < blocks.size()
                           ? static_cast<std::uint8_t>(blocks[index - first].state)
                           : std::uint8_t{0};
    if (!runs.empty() && runs.back().state == state) {
      runs.back().length += block_end - at;
    } else {
      runs.push_back({at, block_end - at, state});
    }
    at = block_end;
  }
  return runs;
}

bool is_data(const net::ExtentRun& run) {
  return run.state == static_cast<std::uint8_t>(BlockState::data);
}

// The bytes of the runs of data, one behind the other; whole: those of all runs.
Buffer data_of(const std::vector<net::ExtentRun>& runs, Buffer whole) {
  if (std::all_of(runs.begin(), runs.end(), is_data)) return whole;
  std::uint64_t length = 0;
  for (const net::ExtentRun& run : runs) length += is_data(run) ? run.length : 0;
  Buffer data = Buffer::allocate(length);
  std::uint64_t at = 0;
  for (const net::ExtentRun& run : runs) {
    if (!is_data(run)) continue;
    std::memcpy(data.data() + at, whole.data() + (run.offset - runs.front().offset), run.length);
    at += run.length;
  }
  return data;
}

std::uint32_t blocks_in(const std::vector<net::ExtentRun>& runs, BlockState state) {
  std::uint64_t blocks = 0;
  for (const net::ExtentRun& run : runs) {
    if (run.state == static_cast<std::uint8_t>(state)) blocks += run.length / kBlockBytes;
  }
  return static_cast<std::uint32_t>(blocks);
}

std::string measured(std::uint8_t flags, const std::vector<net::ExtentRun>& runs) {
  Writer writer;
  writer.put(flags);
  writer.put(blocks_in(runs, BlockState::data));
  writer.put(blocks_in(runs, BlockState::zero));
  return std::string(as_text(writer.span()));
}

}  // namespace

void Pg::run_sparse_read(std::unique_ptr<Running> running, const Step& step) {
  LayerRead read = layer_read(*running, step.offset, step.length);
  read.with_blocks = true;
  read.done = [this, step, running = std::move(running)](Status status,
                                                         object_store::ReadResult result) mutable {
    if (!still_current(*running)) return;
    const FetchWanted wanted{running->op.request.snap, step.offset, step.length};
    const auto from_other = [this, step](std::unique_ptr<Running> waiting, FetchedRange range) {
      waiting->reply.exists = range.exists;
      waiting->reply.extents = runs_of(range.blocks, range.first_block, step);
      waiting->data =
          data_of(waiting->reply.extents, range.data.slice(step.offset % kBlockBytes, step.length));
      run_steps(std::move(waiting));
    };
    if (helped_by_others(running, status, wanted, from_other)) return;
    if (!status) return fail_steps(std::move(running), status.code(), status.message());
    running->reply.exists = result.exists;
    running->reply.extents = runs_of(result.blocks, step.offset / kBlockBytes, step);
    running->data = data_of(running->reply.extents, std::move(result.data));
    run_steps(std::move(running));
  };
  read_layer(std::move(read));
}

// Also the guard that wants all of them to be there.
void Pg::run_extents(std::unique_ptr<Running> running, const Step& step) {
  const std::string object = running->op.request.object;
  const std::uint64_t snap = running->op.request.snap;
  compare_layers(
      object, 0, snap,
      [this, step, snap, running = std::move(running)](Status status, LayerPair pair) mutable {
        if (!still_current(*running)) return;
        const FetchWanted wanted{snap, step.offset, step.length, false};
        const auto from_other = [this, step](std::unique_ptr<Running> waiting, FetchedRange range) {
          extents_found(std::move(waiting), step, range.exists,
                        runs_of(range.blocks, range.first_block, step));
        };
        if (helped_by_others(running, status, wanted, from_other)) return;
        if (!status) return fail_steps(std::move(running), status.code(), status.message());
        extents_found(std::move(running), step, pair.exists, runs_of(pair.to, 0, step));
      });
}

void Pg::extents_found(std::unique_ptr<Running> running, const Step& step, bool exists,
                       std::vector<net::ExtentRun> runs) {
  running->reply.exists = exists;
  const bool lacks = std::any_of(runs.begin(), runs.end(),
                                 [](const net::ExtentRun& run) { return run.state == 0; });
  if (step.code != StepCode::assert_present) {
    running->reply.extents = std::move(runs);
  } else if (lacks) {
    return fail_steps(std::move(running), ErrorCode::precondition_failed,
                      "a block of the range is absent");
  }
  run_steps(std::move(running));
}

void Pg::run_diff(std::unique_ptr<Running> running, const Step& step) {
  const std::string object = running->op.request.object;
  const std::uint64_t from = step.offset;
  const std::uint64_t to = running->op.request.snap;
  compare_layers(
      object, from, to,
      [this, from, to, running = std::move(running)](Status status, LayerPair pair) mutable {
        if (!still_current(*running)) return;
        const auto from_other = [this, from, status](std::unique_ptr<Running> waiting,
                                                     FetchedRange range) {
          auto fetched = std::make_shared<LayerPair>();
          fetched->exists = range.exists;
          fetched->to = std::move(range.blocks);
          fetch_older_layer(std::move(waiting), status, from, std::move(fetched));
        };
        if (helped_by_others(running, status, whole_object(to), from_other)) return;
        if (!status) return fail_steps(std::move(running), status.code(), status.message());
        running->reply.exists = pair.exists;
        running->reply.extents = pair.differences();
        run_steps(std::move(running));
      });
}

void Pg::fetch_older_layer(std::unique_ptr<Running> running, const Status& damage,
                           std::uint64_t from, std::shared_ptr<LayerPair> pair) {
  const auto compare = [this, pair](std::unique_ptr<Running> waiting, FetchedRange range) {
    pair->from = std::move(range.blocks);
    waiting->reply.exists = pair->exists;
    waiting->reply.extents = pair->differences();
    run_steps(std::move(waiting));
  };
  if (from == 0) return compare(std::move(running), {});
  if (helped_by_others(running, damage, whole_object(from), compare)) return;
  fail_steps(std::move(running), damage.code(), damage.message());
}

// A list of the PG's objects under way.
struct Pg::Listing {
  std::unique_ptr<Running> running;
  Step step;
  std::uint64_t to = kHead;
  std::optional<ObjectId> after;
  std::vector<std::pair<std::string, std::uint8_t>> unmeasured;  // of a page, last one first
  bool at_end = false;
};

void Pg::run_list(std::unique_ptr<Running> running, const Step& step) {
  // What is missing here can't be told; clients of the object would wait for it too.
  const auto missing = missing_.lower_bound(std::max(step.key, step.value + '\0'));
  if (missing != missing_.end() && missing->first.starts_with(step.key)) {
    pg_list_waits_for_recovery.hit();
    const std::string object = missing->first;
    return wait_for_object(object, std::move(running->op));
  }
  auto listing = std::make_shared<Listing>();
  listing->step = step;
  listing->to = running->op.request.snap;
  // The clones of a name come before its head.
  if (!step.value.empty()) listing->after = ObjectId{id_.pool, step.value, kHead};
  if (step.key > step.value) listing->after = ObjectId{id_.pool, step.key, 0};
  listing->running = std::move(running);
  list_next(listing);
}

void Pg::list_next(const std::shared_ptr<Listing>& listing) {
  if (!listing->unmeasured.empty()) return measure_next(listing);
  if (listing->at_end || listing->running->reply.omap.size() >= listing->step.length) {
    return run_steps(std::move(listing->running));
  }
  host_.store().list(id_, listing->after, kListPage,
                     [this, listing](Status status, std::vector<object_store::ListedObject> found) {
                       if (!still_current(*listing->running)) return;
                       if (status) status = take_page(*listing, found);
                       if (!status) {
                         return fail_steps(std::move(listing->running), status.code(),
                                           status.message());
                       }
                       list_next(listing);
                     });
}

Status Pg::take_page(Listing& listing, const std::vector<object_store::ListedObject>& found) {
  auto& omap = listing.running->reply.omap;
  const std::string& prefix = listing.step.key;
  listing.at_end = found.size() < kListPage;
  const std::uint64_t room = listing.step.length - omap.size();
  for (const object_store::ListedObject& object : found) {
    listing.after = object.id;
    if (!object.id.name.starts_with(prefix)) {
      listing.at_end = true;
      break;
    }
    if (object.id.snap != kHead || object.id.name == kFenceObject) continue;
    auto family = Family::from_store(true, object.version, object.attr);
    if (!family) return family.status();
    const std::optional<std::uint64_t> to = family->resolve(listing.to);
    const std::optional<std::uint64_t> from =
        listing.step.offset == 0 ? std::nullopt : family->resolve(listing.step.offset);
    const auto flags = static_cast<std::uint8_t>((to ? net::kListedExists : 0) |
                                                 (to != from ? net::kListedMayDiffer : 0));
    if (flags == 0) continue;
    listing.unmeasured.emplace_back(object.id.name, flags);
    if (listing.unmeasured.size() == room) break;
  }
  std::reverse(listing.unmeasured.begin(), listing.unmeasured.end());
  return Status::ok();
}

void Pg::measure_next(const std::shared_ptr<Listing>& listing) {
  const std::pair<std::string, std::uint8_t> object = std::move(listing->unmeasured.back());
  listing->unmeasured.pop_back();
  auto& omap = listing->running->reply.omap;
  const std::uint8_t flags = object.second;
  if (listing->step.code == StepCode::list_objects || (flags & net::kListedMayDiffer) == 0) {
    const bool lists = listing->step.code == StepCode::list_objects;
    omap.emplace_back(object.first,
                      lists ? std::string(1, static_cast<char>(flags)) : measured(flags, {}));
    return list_next(listing);
  }
  compare_layers(
      object.first, listing->step.offset, listing->to,
      [this, listing, name = object.first, flags](Status status, LayerPair pair) {
        if (!still_current(*listing->running)) return;
        if (!status) {
          return fail_steps(std::move(listing->running), status.code(), status.message());
        }
        listing->running->reply.omap.emplace_back(name, measured(flags, pair.differences()));
        list_next(listing);
      });
}

}  // namespace cairn::pg
