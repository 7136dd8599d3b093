// The windows of sequential reads.
#include "object_store/kv/read_ahead.hh"

#include <algorithm>
#include <cstring>

namespace cairn::kv {

Result<std::size_t> ReadAhead::read(const FileReader& reader, Cursor& cursor, std::uint64_t offset,
                                    MutableByteSpan into) {
  const bool sequential = cursor.end.exchange(offset + into.size()) == offset;
  if (copy_from_window(reader, offset, into)) return into.size();
  if (!sequential || into.size() >= kWindowBytes) return reader.read(offset, into);

  Buffer window = Buffer::allocate(kWindowBytes);
  const Result<std::size_t> length = reader.read(offset, window.span());
  // A damaged block further on is not this read's matter.
  if (!length) return reader.read(offset, into);
  const std::size_t part = std::min(into.size(), length.value());
  std::memcpy(into.data(), window.data(), part);
  keep(reader, offset, window.slice(0, length.value()));
  return part;
}

bool ReadAhead::copy_from_window(const FileReader& reader, std::uint64_t offset,
                                 MutableByteSpan into) {
  const std::lock_guard lock(mutex_);
  for (Window& window : windows_) {
    if (window.reader != &reader) continue;
    if (offset < window.offset || offset + into.size() > window.offset + window.bytes.size())
      return false;
    std::memcpy(into.data(), window.bytes.data() + (offset - window.offset), into.size());
    window.last_use = ++uses_;
    return true;
  }
  return false;
}

void ReadAhead::keep(const FileReader& reader, std::uint64_t offset, Buffer bytes) {
  const std::lock_guard lock(mutex_);
  const auto own = std::find_if(windows_.begin(), windows_.end(),
                                [&](const Window& window) { return window.reader == &reader; });
  const auto oldest =
      std::min_element(windows_.begin(), windows_.end(),
                       [](const Window& a, const Window& b) { return a.last_use < b.last_use; });
  *(own != windows_.end() ? own : oldest) = {&reader, offset, std::move(bytes), ++uses_};
}

void ReadAhead::forget(const FileReader& reader) {
  const std::lock_guard lock(mutex_);
  for (Window& window : windows_)
    if (window.reader == &reader) window = {};
}

}  // namespace cairn::kv
