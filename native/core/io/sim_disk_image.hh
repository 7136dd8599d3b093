// SimDiskImage: what a simulated disk holds, as a value: what is durable, what was written since,
// and what is still in flight. Copying one is cheap (see PageMap), so that a crash explorer can
// keep thousands of them. Knows no time, no executor, no faults: SimDisk adds those.
//
// The model, from the weakest disk that keeps the contract of disk.hh
// - A write takes effect for readers when it finishes. From its start to its flush it is pending:
//   a crash keeps or loses each pending write on its own, whatever their order, and may keep any
//   512-byte sectors of one.
// - Kept writes that overlap are applied in the order in which they took effect; what is durable
//   is never replaced by an older write.
// - A flush makes durable what had finished when it started, nothing else.
// Writes are whole 4 KiB pages, as disk.hh demands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/buffer.hh"
#include "io/page_map.hh"
#include "io/random.hh"

namespace cairn::io {

constexpr std::uint64_t kSectorBytes = 512;  // what a disk writes in one piece

// A write that a crash may lose.
struct PendingWrite {
  std::uint64_t id = 0;        // from start_write
  std::uint64_t sequence = 0;  // in order of effect; 0 while in flight
  std::uint64_t offset = 0;
  Buffer bytes;
};

// Which pending writes a crash keeps; the indices are those of SimDiskImage::pending().
struct CrashChoice {
  // Of one kept write only the bytes [from, to) reached the medium; multiples of 512.
  struct Tear {
    std::size_t index = 0;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };
  std::vector<bool> kept;  // those beyond its end are lost
  std::vector<Tear> tears;

  static CrashChoice lose_all() { return {}; }
  // The first count pending writes, whole.
  static CrashChoice keep_first(std::size_t count) { return {std::vector<bool>(count, true), {}}; }
  // The writes whose bit is set in mask; for up to 64 of them.
  static CrashChoice keep_mask(std::uint64_t mask);
  // Mostly all or none with exceptions, or a fair coin for each; some of those kept are torn.
  static CrashChoice draw(const std::vector<PendingWrite>& pending, Random& random);
};

class SimDiskImage {
 public:
  // All zeros; size_bytes is a multiple of 4096.
  explicit SimDiskImage(std::uint64_t size_bytes);

  std::uint64_t size_bytes() const { return size_bytes_; }
  // The newest data that finished, durable or not. offset and size are multiples of 4096.
  void read(std::uint64_t offset, MutableByteSpan into) const;

  // From here on a crash may keep the write. The bytes must not change any more. Returns its id.
  std::uint64_t start_write(std::uint64_t offset, Buffer bytes);
  // The write takes effect; durable: no crash can lose it now.
  void finish_write(std::uint64_t id, bool durable);
  // The write in flight never happened.
  void abandon_write(std::uint64_t id);

  // The newest write that has finished, for flush_up_to: take it when the flush starts.
  std::uint64_t newest_sequence() const { return next_sequence_ - 1; }
  // Makes the writes with sequences up to this one durable.
  void flush_up_to(std::uint64_t sequence);
  // What a failed flush does on Linux (fsync(2), "after an error"): these writes are no longer
  // pending and will never be durable, though reads still show them until a crash.
  void drop_up_to(std::uint64_t sequence);
  // Afterwards each page holds its old bytes, zeros or garbage, drawn from random.
  void discard(std::uint64_t offset, std::uint64_t length, Random& random);

  // Pending writes: finished ones in the order of their effect, then those in flight.
  std::vector<PendingWrite> pending() const;
  std::size_t pending_count() const { return unflushed_.size() + in_flight_.size(); }

  // The disk after a power cut: durable data and the chosen pending writes, nothing pending.
  SimDiskImage crash(const CrashChoice& choice) const;
  // Decay of the medium: inverts one bit (0 to 7) of one byte, in what is read and what is durable.
  void flip_bit(std::uint64_t byte_offset, unsigned bit);
  // A fault that nobody was told of: these bytes are in this place now, read and durable, as if
  // another write had come there, or this place's own had been lost.
  void replace(std::uint64_t offset, Buffer bytes);

  // Equal for images that read the same; unequal ones collide with a chance of 2^-64.
  std::uint64_t content_hash() const;

 private:
  void apply(PageMap& pages, const PendingWrite& write) const;
  void apply_part(PageMap& pages, const PendingWrite& write, std::uint64_t from,
                  std::uint64_t to) const;
  PendingWrite take_in_flight(std::uint64_t id);

  std::uint64_t size_bytes_;
  std::uint64_t next_id_ = 1;
  std::uint64_t next_sequence_ = 1;
  PageMap newest_;
  PageMap durable_;
  std::vector<PendingWrite> unflushed_;  // finished, ascending sequence
  std::vector<PendingWrite> in_flight_;  // ascending id
};

}  // namespace cairn::io
