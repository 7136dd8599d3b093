// Reading and writing one file of the region file system.
#include "object_store/kv/block_map.hh"
#include "object_store/kv/region_fs.hh"

namespace cairn::kv {
namespace {

// Writes go out in pieces of 64 KiB, which the buffer's free list keeps.
constexpr std::size_t kBufferBlocks = 16;
// Longest single read.
constexpr std::uint64_t kMaxReadBlocks = 64;

}  // namespace

FileReader::FileReader(RegionFs& fs, RegionFs::FilePtr file, FileEntry entry)
    : fs_(fs),
      file_(std::move(file)),
      entry_(std::move(entry)),
      crc_seed_(file_crc_seed(fs.geometry_.nonce, entry_.id)) {}

Result<std::size_t> FileReader::read(std::uint64_t offset, MutableByteSpan into) const {
  if (offset >= entry_.size_bytes) return std::size_t{0};
  const std::size_t length = std::min<std::uint64_t>(into.size(), entry_.size_bytes - offset);
  std::size_t done = 0;
  while (done < length) {
    const std::uint64_t block = (offset + done) / kPayloadBytes;
    const std::size_t skip = (offset + done) % kPayloadBytes;
    if (block >= entry_.block_count()) {
      std::memcpy(into.data() + done, entry_.tail.data() + skip, length - done);
      return length;
    }
    const std::uint64_t wanted = (skip + length - done + kPayloadBytes - 1) / kPayloadBytes;
    const std::uint64_t blocks = std::min({wanted, kMaxReadBlocks, entry_.block_count() - block});
    const Run run = find_run(fs_.geometry_, entry_, block, blocks);
    Buffer scratch = Buffer::allocate(run.block_count * kBlockBytes);
    CAIRN_RETURN_IF_ERROR(fs_.read_at(run.offset, scratch.span()));
    std::size_t first = skip;
    for (std::uint64_t i = 0; i < run.block_count; ++i, first = 0) {
      const ByteSpan bytes = scratch.span().subspan(i * kBlockBytes, kBlockBytes);
      if (!block_is_good(crc_seed_, block + i, bytes))
        return Status(ErrorCode::corrupt,
                      "key-value region: bad checksum of the block at region offset " +
                          std::to_string(run.offset + i * kBlockBytes));
      const std::size_t part = std::min<std::size_t>(kPayloadBytes - first, length - done);
      std::memcpy(into.data() + done, bytes.data() + first, part);
      done += part;
    }
  }
  return length;
}

FileWriter::FileWriter(RegionFs& fs, RegionFs::FilePtr file, std::uint32_t crc_seed)
    : fs_(fs),
      file_(std::move(file)),
      crc_seed_(crc_seed),
      buffer_(Buffer::allocate(kBufferBlocks * kBlockBytes)) {}

FileWriter::~FileWriter() {
  if (Status status = close(); !status) fs_.fail(status);
}

std::uint64_t FileWriter::size_bytes() const {
  return (written_blocks_ + used_ / kBlockBytes) * kPayloadBytes + tail_length();
}

Status FileWriter::append(ByteSpan bytes) {
  if (!status_) return status_;
  if (const std::uint64_t size = size_bytes() + bytes.size(); size > reserved_bytes_) {
    status_ = fs_.reserve(file_, size);
    if (!status_) return status_;
    reserved_bytes_ = size;
  }
  while (!bytes.empty()) {
    const std::size_t filled = tail_length();
    const std::size_t part = std::min<std::size_t>(kPayloadBytes - filled, bytes.size());
    std::memcpy(buffer_.data() + used_, bytes.data(), part);
    bytes = bytes.subspan(part);
    used_ += part;
    if (filled + part < kPayloadBytes) break;
    const std::size_t block = used_ / kBlockBytes;
    seal_block(crc_seed_, written_blocks_ + block,
               buffer_.span().subspan(block * kBlockBytes, kBlockBytes));
    used_ += kBlockBytes - kPayloadBytes;
    if (used_ == buffer_.size()) CAIRN_RETURN_IF_ERROR(write_whole_blocks());
  }
  return {};
}

Status FileWriter::write_whole_blocks() {
  const std::size_t blocks = used_ / kBlockBytes;
  if (blocks == 0) return {};
  const std::size_t length = blocks * kBlockBytes;
  status_ = fs_.write_blocks(file_, written_blocks_, buffer_.span().first(length),
                             (written_blocks_ + blocks) * kPayloadBytes);
  if (!status_) return status_;
  written_blocks_ += blocks;
  used_ -= length;
  std::memmove(buffer_.data(), buffer_.data() + length, used_);
  return {};
}

Status FileWriter::sync() {
  if (!status_) return status_;
  CAIRN_RETURN_IF_ERROR(write_whole_blocks());
  fs_.set_tail(file_, size_bytes(), std::string(as_text(buffer_.span().first(tail_length()))));
  status_ = fs_.commit();
  return status_;
}

Status FileWriter::close() {
  if (closed_) return status_;
  closed_ = true;
  if (!status_) return status_;
  CAIRN_RETURN_IF_ERROR(write_whole_blocks());
  if (used_ == 0) return {};
  const std::uint64_t size = size_bytes();
  std::memset(buffer_.data() + used_, 0, kBlockBytes - used_);
  seal_block(crc_seed_, written_blocks_, buffer_.span().first(kBlockBytes));
  status_ = fs_.write_blocks(file_, written_blocks_, buffer_.span().first(kBlockBytes), size);
  return status_;
}

}  // namespace cairn::kv
