// States of chunks, and who waits for them: see remote_ranges.hh.
#include "qcow2/remote_ranges.hh"

#include <algorithm>
#include <utility>

#include "base/assert.hh"

namespace cairn::qcow2 {

RemoteRanges::RemoteRanges(std::uint64_t chunk_bytes, std::vector<std::uint64_t> file_bytes,
                           std::uint64_t max_kept_bytes, Hooks hooks)
    : chunk_bytes_(chunk_bytes), max_kept_bytes_(max_kept_bytes), hooks_(std::move(hooks)) {
  CAIRN_ASSERT(chunk_bytes > 0);
  for (const std::uint64_t size : file_bytes) files_.push_back({size, {}, {}});
}

RemoteRanges::~RemoteRanges() { hooks_.closed(); }

RemoteRanges::Span RemoteRanges::span_of(const File& file, std::uint64_t offset,
                                         std::uint64_t length) const {
  const std::uint64_t end = std::min(offset + length, file.size_bytes);
  if (offset >= end) return {};
  return {offset / chunk_bytes_, (end + chunk_bytes_ - 1) / chunk_bytes_};
}

std::uint64_t RemoteRanges::bytes_of(const Key& key) const {
  const std::uint64_t begin = key.second * chunk_bytes_;
  return std::min(begin + chunk_bytes_, files_[key.first].size_bytes) - begin;
}

bool RemoteRanges::all_here(const File& file, Span span) const {
  for (std::uint64_t chunk = span.first; chunk < span.end; ++chunk)
    if (file.chunks.at(chunk).state != State::here) return false;
  return true;
}

void RemoteRanges::ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
                          Done done) {
  CAIRN_ASSERT(source < files_.size());
  File& file = files_[source];
  const Span span = span_of(file, offset, length);
  for (std::uint64_t number = span.first; number < span.end; ++number) {
    Chunk& chunk = file.chunks[number];
    ++chunk.holds;
    if (chunk.state == State::here) used_.splice(used_.end(), used_, chunk.place);
  }
  if (all_here(file, span)) return done(Status::ok());
  file.waiting.push_back({span, std::move(done)});
  want_missing(source, span);
}

void RemoteRanges::want_missing(std::uint32_t source, Span span) {
  File& file = files_[source];
  const auto missing = [&file](std::uint64_t number) {
    const auto found = file.chunks.find(number);
    return found != file.chunks.end() && found->second.state == State::missing;
  };
  for (std::uint64_t number = span.first; number < span.end; ++number) {
    if (!missing(number)) continue;
    const std::uint64_t begin = number;
    while (number < span.end && missing(number)) file.chunks[number++].state = State::wanted;
    const std::uint64_t offset = begin * chunk_bytes_;
    hooks_.wanted(source, offset, std::min(number * chunk_bytes_, file.size_bytes) - offset);
  }
}

void RemoteRanges::release(std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
  let_go(source, span_of(files_[source], offset, length));
  drop_unused();
}

void RemoteRanges::let_go(std::uint32_t source, Span span) {
  File& file = files_[source];
  for (std::uint64_t number = span.first; number < span.end; ++number) {
    const auto found = file.chunks.find(number);
    CAIRN_ASSERT(found != file.chunks.end() && found->second.holds > 0);
    Chunk& chunk = found->second;
    if (--chunk.holds == 0 && chunk.state == State::missing) file.chunks.erase(found);
  }
}

void RemoteRanges::keep(const Key& key, Chunk& chunk) {
  chunk.state = State::here;
  chunk.place = used_.insert(used_.end(), key);
  kept_bytes_ += bytes_of(key);
}

void RemoteRanges::drop_unused() {
  for (auto place = used_.begin(); place != used_.end() && kept_bytes_ > max_kept_bytes_;) {
    const Key key = *place;
    auto& chunks = files_[key.first].chunks;
    const auto found = chunks.find(key.second);
    if (found->second.holds > 0) {
      ++place;
      continue;
    }
    chunks.erase(found);
    place = used_.erase(place);
    kept_bytes_ -= bytes_of(key);
    if (dropped_) dropped_(key.first, key.second * chunk_bytes_, bytes_of(key));
  }
}

void RemoteRanges::fetched(std::uint32_t source, std::uint64_t offset, std::uint64_t length,
                           const Status& status) {
  if (source >= files_.size()) return;
  File& file = files_[source];
  const Span span = span_of(file, offset, length);
  for (std::uint64_t number = span.first; number < span.end; ++number) {
    const auto found = file.chunks.find(number);
    if (found == file.chunks.end() || found->second.state != State::wanted) continue;
    if (status) {
      keep({source, number}, found->second);
    } else if (found->second.holds > 0) {
      found->second.state = State::missing;
    } else {
      file.chunks.erase(found);
    }
  }
  std::vector<Waiting> over;
  std::erase_if(file.waiting, [&](Waiting& waiting) {
    if (waiting.span.end <= span.first || span.end <= waiting.span.first) return false;
    if (status && !all_here(file, waiting.span)) return false;
    over.push_back(std::move(waiting));
    return true;
  });
  if (!status) {
    for (const Waiting& waiting : over) let_go(source, waiting.span);
  }
  // They may ask for more.
  for (Waiting& waiting : over) waiting.done(status);
  drop_unused();
}

}  // namespace cairn::qcow2
