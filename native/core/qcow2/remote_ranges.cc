// States of chunks, and who waits for them: see remote_ranges.hh.
#include "qcow2/remote_ranges.hh"

#include <algorithm>
#include <utility>

#include "base/assert.hh"

namespace cairn::qcow2 {

RemoteRanges::RemoteRanges(std::uint64_t chunk_bytes, std::vector<std::uint64_t> file_bytes,
                           Hooks hooks)
    : chunk_bytes_(chunk_bytes), hooks_(std::move(hooks)) {
  CAIRN_ASSERT(chunk_bytes > 0);
  for (const std::uint64_t size : file_bytes) {
    const std::uint64_t count = (size + chunk_bytes - 1) / chunk_bytes;
    CAIRN_ASSERT(count <= kMaxChunks);
    files_.push_back({size, std::vector<State>(count, State::missing), {}});
  }
}

RemoteRanges::~RemoteRanges() { hooks_.closed(); }

void RemoteRanges::ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
                          Done done) {
  CAIRN_ASSERT(source < files_.size());
  File& file = files_[source];
  const std::uint64_t end_bytes = std::min(offset + length, file.size_bytes);
  if (offset >= end_bytes) return done(Status::ok());
  const std::uint64_t first = offset / chunk_bytes_;
  const std::uint64_t end = (end_bytes + chunk_bytes_ - 1) / chunk_bytes_;
  const auto from = file.chunks.begin() + static_cast<std::ptrdiff_t>(first);
  const auto to = file.chunks.begin() + static_cast<std::ptrdiff_t>(end);
  if (std::all_of(from, to, [](State state) { return state == State::here; }))
    return done(Status::ok());
  file.waiting.push_back({first, end, std::move(done)});
  want_missing(source, first, end);
}

void RemoteRanges::want_missing(std::uint32_t source, std::uint64_t first, std::uint64_t end) {
  File& file = files_[source];
  for (std::uint64_t chunk = first; chunk < end; ++chunk) {
    if (file.chunks[chunk] != State::missing) continue;
    const std::uint64_t begin = chunk;
    while (chunk < end && file.chunks[chunk] == State::missing)
      file.chunks[chunk++] = State::wanted;
    const std::uint64_t offset = begin * chunk_bytes_;
    hooks_.wanted(source, offset, std::min(chunk * chunk_bytes_, file.size_bytes) - offset);
  }
}

void RemoteRanges::fetched(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
                           const Status& status) {
  if (source >= files_.size()) return;
  File& file = files_[source];
  const std::uint64_t first = offset / chunk_bytes_;
  const std::uint64_t end = std::min<std::uint64_t>(
      (offset + length + chunk_bytes_ - 1) / chunk_bytes_, file.chunks.size());
  for (std::uint64_t chunk = first; chunk < end; ++chunk)
    file.chunks[chunk] = status ? State::here : State::missing;
  std::vector<Waiting> over;
  std::erase_if(file.waiting, [&](Waiting& waiting) {
    if (waiting.end <= first || end <= waiting.first) return false;
    const bool whole = std::all_of(file.chunks.begin() + static_cast<std::ptrdiff_t>(waiting.first),
                                   file.chunks.begin() + static_cast<std::ptrdiff_t>(waiting.end),
                                   [](State state) { return state == State::here; });
    if (status && !whole) return false;
    over.push_back(std::move(waiting));
    return true;
  });
  // They may ask for more.
  for (Waiting& waiting : over) waiting.done(status);
}

}  // namespace cairn::qcow2
