// The region file system's directory, allocation and commits; files are in region_file.cc.
#include "object_store/kv/region_fs.hh"

#include "base/assert.hh"
#include "object_store/kv/block_map.hh"

namespace cairn::kv {
namespace {

Status check_region(const io::BlockingDisk& disk, std::uint64_t offset, const Geometry& geometry) {
  const auto aligned = [](std::uint64_t value) { return value % kBlockBytes == 0; };
  if (!aligned(offset) || !aligned(geometry.region_length) || !aligned(geometry.unit_bytes) ||
      geometry.unit_bytes == 0)
    return {ErrorCode::invalid_argument, "key-value region: not in multiples of 4096 bytes"};
  if (offset > disk.size_bytes() || geometry.region_length > disk.size_bytes() - offset)
    return {ErrorCode::invalid_argument, "key-value region: reaches behind the end of the disk"};
  if (geometry.unit_count() == 0)
    return {ErrorCode::invalid_argument, "key-value region: too small for its file table"};
  return {};
}

std::uint32_t count_units(const FileEntry& entry) {
  std::uint32_t count = 0;
  for (const Extent& extent : entry.extents) count += extent.unit_count;
  return count;
}

}  // namespace

RegionFs::RegionFs(io::BlockingDisk& disk, std::uint64_t offset, FileTable table)
    : disk_(disk),
      offset_(offset),
      geometry_(table.geometry),
      unit_used_(table.geometry.unit_count()),
      generation_(table.generation),
      next_file_id_(table.next_file_id) {
  for (auto& [name, entry] : table.files) {
    for (const Extent& extent : entry.extents)
      for (std::uint32_t i = 0; i < extent.unit_count; ++i)
        unit_used_[extent.first_unit + i] = true;
    used_units_ += count_units(entry);
    files_.emplace(name, std::make_shared<File>(File{std::move(entry)}));
  }
}

Result<std::unique_ptr<RegionFs>> RegionFs::format(io::BlockingDisk& disk, std::uint64_t offset,
                                                   const Geometry& geometry) {
  CAIRN_RETURN_IF_ERROR(check_region(disk, offset, geometry));
  // An older table could have a higher generation: all four must be gone before the first commit.
  const Buffer zeros = Buffer::zeroed(kBlockBytes);
  for (unsigned copy = 0; copy < 2; ++copy)
    for (unsigned generation = 0; generation < 2; ++generation)
      CAIRN_RETURN_IF_ERROR(
          disk.write_now(offset + geometry.slot_offset(generation, copy), zeros.span()));
  CAIRN_RETURN_IF_ERROR(disk.flush_now());
  FileTable table;
  table.geometry = geometry;
  std::unique_ptr<RegionFs> fs(new RegionFs(disk, offset, std::move(table)));
  fs->dirty_ = true;
  CAIRN_RETURN_IF_ERROR(fs->commit());
  return fs;
}

Status RegionFs::read_slots(io::BlockingDisk& disk, std::uint64_t offset, const Geometry& geometry,
                            FileTable& newest, bool (&copy_good)[2]) {
  Status failure;
  Buffer slot = Buffer::allocate(geometry.slot_bytes());
  for (unsigned copy = 0; copy < 2; ++copy) {
    for (unsigned parity = 0; parity < 2; ++parity) {
      CAIRN_RETURN_IF_ERROR(
          disk.read_now(offset + geometry.slot_offset(parity, copy), slot.span()));
      Result<FileTable> table = FileTable::decode(slot.span(), geometry);
      if (!table) {
        // A table of another version or geometry says more than damage elsewhere.
        if (failure.is_ok() || failure.code() == ErrorCode::corrupt) failure = table.status();
        continue;
      }
      if (table->generation % 2 != parity || table->generation < newest.generation) continue;
      if (table->generation > newest.generation) copy_good[0] = copy_good[1] = false;
      copy_good[copy] = true;
      newest = std::move(table.value());
    }
  }
  if (newest.generation > 0) return {};
  return failure.is_ok() ? Status(ErrorCode::corrupt, "key-value file table: misplaced") : failure;
}

Result<std::unique_ptr<RegionFs>> RegionFs::mount(io::BlockingDisk& disk, std::uint64_t offset,
                                                  const Geometry& geometry) {
  CAIRN_RETURN_IF_ERROR(check_region(disk, offset, geometry));
  // What a killed process wrote may be readable and still not durable. Units that the table read
  // here has given up are about to be used again, so it must not disappear any more.
  CAIRN_RETURN_IF_ERROR(disk.flush_now());
  FileTable table;
  bool copy_good[2] = {false, false};
  CAIRN_RETURN_IF_ERROR(read_slots(disk, offset, geometry, table, copy_good));
  std::unique_ptr<RegionFs> fs(new RegionFs(disk, offset, table));
  for (unsigned copy = 0; copy < 2; ++copy) {
    if (copy_good[copy]) continue;
    CAIRN_RETURN_IF_ERROR(fs->write_table(table, copy));
    CAIRN_RETURN_IF_ERROR(fs->flush());
  }
  CAIRN_RETURN_IF_ERROR(fs->settle_tails());
  return fs;
}

// Puts the tails into their blocks, of which no durable table speaks yet: no file is written to any
// more, and the table has room for new tails.
Status RegionFs::settle_tails() {
  for (auto& [name, file] : files_) {
    FileEntry& entry = file->entry;
    if (entry.tail.empty()) continue;
    Buffer block = Buffer::zeroed(kBlockBytes);
    std::copy_n(as_bytes(entry.tail).begin(), entry.tail.size(), block.data());
    const std::uint64_t index = entry.block_count();
    seal_block(file_crc_seed(geometry_.nonce, entry.id), index, block.span());
    CAIRN_RETURN_IF_ERROR(write_blocks(file, index, block.span(), entry.size_bytes));
  }
  return {};
}

Status RegionFs::read_at(std::uint64_t offset, MutableByteSpan into) {
  counters_.bytes_read += into.size();
  return disk_.read_now(offset_ + offset, into);
}

Status RegionFs::write_at(std::uint64_t offset, ByteSpan from) {
  counters_.bytes_written += from.size();
  return disk_.write_now(offset_ + offset, from);
}

Status RegionFs::flush() {
  ++counters_.flushes;
  return disk_.flush_now();
}

Status RegionFs::write_table(const FileTable& table, unsigned copy) {
  Result<std::vector<std::byte>> bytes = table.encode();
  if (!bytes) return bytes.status();
  const Buffer aligned = Buffer::copy_of(*bytes);
  return write_at(geometry_.slot_offset(table.generation, copy), aligned.span());
}

FileTable RegionFs::snapshot() const {
  FileTable table;
  table.geometry = geometry_;
  table.generation = generation_ + 1;
  table.next_file_id = next_file_id_;
  for (const auto& [name, file] : files_) table.files.emplace(name, file->entry);
  return table;
}

Status RegionFs::commit() {
  const std::lock_guard commit_lock(commit_mutex_);
  FileTable table;
  std::size_t removed_count = 0;
  bool flush_data = false;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) return failure_;
    if (!dirty_) return {};
    table = snapshot();
    removed_count = removed_.size();
    flush_data = unflushed_data_;
    dirty_ = unflushed_data_ = false;
  }
  Status status = flush_data ? flush() : Status::ok();
  for (unsigned copy = 0; copy < 2 && status; ++copy) status = write_table(table, copy);
  if (status) status = flush();
  if (!status) {
    fail(status);
    return status;
  }
  ++counters_.commits;
  const std::lock_guard lock(mutex_);
  generation_ = table.generation;
  release_removed(removed_count);
  return {};
}

void RegionFs::fail(Status status) {
  const std::lock_guard lock(mutex_);
  if (failure_) failure_ = std::move(status);
}

// Frees the units of the first candidate_count removed files, of which no durable table speaks any
// more; those that still have readers wait for a later commit.
void RegionFs::release_removed(std::size_t candidate_count) {
  std::vector<FilePtr> kept;
  for (std::size_t i = 0; i < removed_.size(); ++i) {
    if (i >= candidate_count || removed_[i].use_count() > 1) {
      kept.push_back(std::move(removed_[i]));
      continue;
    }
    const FileEntry& entry = removed_[i]->entry;
    for (const Extent& extent : entry.extents)
      for (std::uint32_t k = 0; k < extent.unit_count; ++k)
        unit_used_[extent.first_unit + k] = false;
    used_units_ -= count_units(entry);
  }
  removed_ = std::move(kept);
}

std::uint32_t RegionFs::removed_units() const {
  std::uint32_t count = 0;
  for (const FilePtr& file : removed_) count += count_units(file->entry);
  return count;
}

bool RegionFs::allocate_unit(FileEntry& entry) {
  const auto unit_count = static_cast<std::uint32_t>(unit_used_.size());
  if (used_units_ == unit_count) return false;
  // Behind the file's last unit if that one is free, so that files stay in few pieces.
  std::uint32_t unit = next_unit_;
  if (!entry.extents.empty())
    unit = entry.extents.back().first_unit + entry.extents.back().unit_count;
  while (unit >= unit_count || unit_used_[unit]) unit = unit + 1 < unit_count ? unit + 1 : 0;
  unit_used_[unit] = true;
  ++used_units_;
  next_unit_ = unit;
  if (!entry.extents.empty() &&
      entry.extents.back().first_unit + entry.extents.back().unit_count == unit)
    ++entry.extents.back().unit_count;
  else
    entry.extents.push_back({unit, 1});
  return true;
}

Status RegionFs::reserve(const FilePtr& file, std::uint64_t size_bytes) {
  const std::uint64_t blocks = (size_bytes + kPayloadBytes - 1) / kPayloadBytes;
  const std::uint64_t units =
      (blocks * kBlockBytes + geometry_.unit_bytes - 1) / geometry_.unit_bytes;
  bool committed = false;
  std::unique_lock lock(mutex_);
  std::uint64_t missing = units - std::min<std::uint64_t>(units, count_units(file->entry));
  while (missing > 0) {
    if (allocate_unit(file->entry)) {
      --missing;
      continue;
    }
    if (committed || removed_units() == 0)
      return {ErrorCode::no_space, "the key-value region is full"};
    lock.unlock();
    CAIRN_RETURN_IF_ERROR(commit());
    committed = true;
    lock.lock();
  }
  return {};
}

Status RegionFs::write_blocks(const FilePtr& file, std::uint64_t first_block, ByteSpan blocks,
                              std::uint64_t size_bytes) {
  FileEntry entry;
  {
    const std::lock_guard lock(mutex_);
    entry.extents = file->entry.extents;
  }
  while (!blocks.empty()) {
    const Run run = find_run(geometry_, entry, first_block, blocks.size() / kBlockBytes);
    const std::size_t length = run.block_count * kBlockBytes;
    CAIRN_RETURN_IF_ERROR(write_at(run.offset, blocks.first(length)));
    blocks = blocks.subspan(length);
    first_block += run.block_count;
  }
  const std::lock_guard lock(mutex_);
  file->entry.size_bytes = size_bytes;
  file->entry.tail.clear();
  dirty_ = unflushed_data_ = true;
  return {};
}

void RegionFs::set_tail(const FilePtr& file, std::uint64_t size_bytes, std::string tail) {
  const std::lock_guard lock(mutex_);
  if (file->entry.size_bytes == size_bytes) return;
  file->entry.size_bytes = size_bytes;
  file->entry.tail = std::move(tail);
  dirty_ = true;
}

Result<std::unique_ptr<FileWriter>> RegionFs::create(const std::string& name) {
  if (name.empty() || name.size() > kMaxFileNameBytes)
    return Status(ErrorCode::invalid_argument, "bad file name " + name);
  const std::lock_guard lock(mutex_);
  if (const auto old = files_.find(name); old != files_.end()) {
    removed_.push_back(std::move(old->second));
    files_.erase(old);
  }
  if (files_.size() >= geometry_.max_files())
    return Status(ErrorCode::no_space, "too many files in the key-value region");
  FilePtr file = std::make_shared<File>();
  file->entry.id = next_file_id_++;
  files_.emplace(name, file);
  dirty_ = true;
  const std::uint32_t seed = file_crc_seed(geometry_.nonce, file->entry.id);
  return std::unique_ptr<FileWriter>(new FileWriter(*this, std::move(file), seed));
}

Result<std::unique_ptr<FileReader>> RegionFs::open_reader(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(name);
  if (found == files_.end()) return Status(ErrorCode::not_found, name);
  return std::unique_ptr<FileReader>(new FileReader(*this, found->second, found->second->entry));
}

Status RegionFs::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(name);
  if (found == files_.end()) return {ErrorCode::not_found, name};
  removed_.push_back(std::move(found->second));
  files_.erase(found);
  dirty_ = true;
  return {};
}

Status RegionFs::rename(const std::string& from, const std::string& to) {
  CAIRN_ASSERT(!to.empty() && to.size() <= kMaxFileNameBytes);
  {
    const std::lock_guard lock(mutex_);
    const auto source = files_.find(from);
    if (source == files_.end()) return {ErrorCode::not_found, from};
    FilePtr file = std::move(source->second);
    files_.erase(source);
    if (const auto old = files_.find(to); old != files_.end()) {
      removed_.push_back(std::move(old->second));
      files_.erase(old);
    }
    files_.emplace(to, std::move(file));
    dirty_ = true;
  }
  return commit();
}

bool RegionFs::exists(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return files_.count(name) > 0;
}

Result<std::uint64_t> RegionFs::size_bytes(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(name);
  if (found == files_.end()) return Status(ErrorCode::not_found, name);
  return found->second->entry.size_bytes;
}

std::vector<std::string> RegionFs::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

std::uint64_t RegionFs::capacity_bytes() const {
  return std::uint64_t{geometry_.unit_count()} * geometry_.unit_bytes;
}

std::uint64_t RegionFs::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_units_ * geometry_.unit_bytes;
}

std::uint64_t RegionFs::free_bytes() const {
  const std::lock_guard lock(mutex_);
  return (unit_used_.size() - used_units_ + removed_units()) * geometry_.unit_bytes;
}

}  // namespace cairn::kv
