// Overlay: the block images that are not yet in their place in the data area. Reads look here
// first.
//
// Three kinds: active (in the WAL, for the next checkpoint), frozen (being written in place by the
// running one) and direct (on their way to a fresh block beside the WAL, here until their WAL
// record is durable). A block has at most one image of each kind; active is the newest. A block
// with a direct image has neither of the others before it, because a block is not allocated again
// before its old images are gone (allocator.hh). Direct images come and go in runs of blocks that
// lie behind each other.
// Memory: the images of one checkpoint period, bounded by Options::pending_data_bytes and by the
// WAL's length; the Buffers are shared with the submitter, nothing is copied. 64 KiB beside them.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/buffer.hh"

namespace cairn::object_store {

// Images by block, kept by pieces of the data area: those of one time lie behind each other
// (redirector.hh), so that few pieces hold many. Most questions are for blocks that have none: a
// bit for each piece answers those, from 32 KiB in place of the whole table.
class ImageSet {
 public:
  void put(std::uint32_t physical, Buffer image) {
    may_have_[bit_of(physical)] = true;
    Buffer& place = pieces_[physical / kPieceBlocks][physical % kPieceBlocks];
    if (place.empty()) ++size_;
    place = std::move(image);
  }
  void erase(std::uint32_t physical) {
    if (!may_have_[bit_of(physical)]) return;
    const auto piece = pieces_.find(physical / kPieceBlocks);
    if (piece == pieces_.end() || piece->second[physical % kPieceBlocks].empty()) return;
    piece->second[physical % kPieceBlocks] = {};
    --size_;
  }
  // Empty: none.
  ByteSpan find(std::uint32_t physical) const {
    if (!may_have_[bit_of(physical)]) return {};
    const auto piece = pieces_.find(physical / kPieceBlocks);
    return piece == pieces_.end() ? ByteSpan() : piece->second[physical % kPieceBlocks].span();
  }
  std::size_t size() const { return size_; }
  // Keeps the table's room.
  void clear() {
    pieces_.clear();
    may_have_.reset();
    size_ = 0;
  }
  // By block.
  std::vector<std::pair<std::uint32_t, Buffer>> sorted() const;

 private:
  static constexpr std::uint32_t kPieceBlocks = 16;  // 400 bytes a piece
  // Each 16 GiB of the data area use the same bits again.
  static constexpr std::uint32_t kBits = 1U << 18;
  static std::size_t bit_of(std::uint32_t physical) { return physical / kPieceBlocks % kBits; }

  std::unordered_map<std::uint32_t, std::array<Buffer, kPieceBlocks>> pieces_;
  // Whether a piece with this bit has been put since clear().
  std::bitset<kBits> may_have_;
  std::size_t size_ = 0;
};

class Overlay {
 public:
  void put(std::uint32_t physical, Buffer image) { active_.put(physical, std::move(image)); }
  // images: of whole blocks, the first of which goes to that place.
  void put_direct(std::uint32_t physical, Buffer images) {
    direct_.insert_or_assign(physical, std::move(images));
  }
  // The run that was put there.
  void drop_direct(std::uint32_t physical) { direct_.erase(physical); }
  // The block has no owner any more: its image need not reach the disk.
  void forget(std::uint32_t physical) { active_.erase(physical); }

  // The newest image of the block, empty when it is in its place.
  ByteSpan find(std::uint32_t physical) const {
    for (const ImageSet* images : {&active_, &frozen_})
      if (const ByteSpan found = images->find(physical); !found.empty()) return found;
    return find_direct(physical);
  }
  // Whether the next checkpoint has to write the block.
  bool is_waiting(std::uint32_t physical) const { return !active_.find(physical).empty(); }
  // Images that the next checkpoint has to write.
  std::size_t active_count() const { return active_.size(); }

  // The moment of a checkpoint: its images, sorted by block. They stay visible until thaw().
  std::vector<std::pair<std::uint32_t, Buffer>> freeze();
  // The two tables take turns, and need their room again each time.
  void thaw() { frozen_.clear(); }

 private:
  ByteSpan find_direct(std::uint32_t physical) const;

  ImageSet active_;
  ImageSet frozen_;
  std::map<std::uint32_t, Buffer> direct_;  // by the first block of the run
};

}  // namespace cairn::object_store
