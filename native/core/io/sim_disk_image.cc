// The state changes of SimDiskImage; the header has the model.
#include "io/sim_disk_image.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace cairn::io {

namespace {

// Chances of CrashChoice::draw. A coin for each of many writes practically never gives the two
// cases that find most bugs, "all but one" and "one alone", so those get most of the weight.
constexpr double kMostlyKept = 0.35;
constexpr double kMostlyLost = 0.35;
constexpr double kException = 0.1;
constexpr double kTorn = 0.2;
constexpr int kGarbage = 0xdd;

// Multiplication, not a CRC: pages that hold their own CRC would all look alike.
std::uint64_t page_hash(const Buffer& page, std::uint64_t index) {
  constexpr std::size_t kLanes = 4;
  constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15ULL;
  std::uint64_t lanes[kLanes] = {index, 1, 2, 3};
  for (std::size_t at = 0; at < kPageBytes; at += sizeof lanes) {
    std::uint64_t words[kLanes];
    std::memcpy(words, page.data() + at, sizeof words);
    for (std::size_t i = 0; i < kLanes; ++i)
      lanes[i] = std::rotl((lanes[i] ^ words[i]) * kFactor, 29);
  }
  std::uint64_t hash = 0;
  for (const std::uint64_t lane : lanes) hash = std::rotl((hash ^ lane) * kFactor, 31);
  return hash ^ hash >> 32;
}

bool is_zero(const Buffer& page) {
  return page.data()[0] == std::byte{0} &&
         std::memcmp(page.data(), page.data() + 1, kPageBytes - 1) == 0;
}

Buffer filled_page(int value) {
  Buffer page = Buffer::allocate(kPageBytes);
  std::memset(page.data(), value, kPageBytes);
  return page;
}

Buffer copy_of_page(const Page& page) {
  return page.bytes.empty() ? Buffer::zeroed(kPageBytes) : Buffer::copy_of(page.bytes.span());
}

CrashChoice::Tear draw_tear(std::size_t index, std::uint64_t length, Random& random) {
  const std::uint64_t sectors = length / kSectorBytes;
  const std::uint64_t cut = random.between(1, sectors - 1) * kSectorBytes;
  return random.below(2) == 0 ? CrashChoice::Tear{index, 0, cut}
                              : CrashChoice::Tear{index, cut, length};
}

}  // namespace

CrashChoice CrashChoice::keep_mask(std::uint64_t mask) {
  CrashChoice choice;
  for (; mask != 0; mask >>= 1) choice.kept.push_back((mask & 1) != 0);
  return choice;
}

CrashChoice CrashChoice::draw(const std::vector<PendingWrite>& pending, Random& random) {
  CrashChoice choice;
  double keep = 0.5;
  if (random.chance(kMostlyKept)) {
    keep = 1 - kException;
  } else if (random.chance(kMostlyLost / (1 - kMostlyKept))) {
    keep = kException;
  }
  for (std::size_t i = 0; i < pending.size(); ++i) {
    choice.kept.push_back(random.chance(keep));
    if (choice.kept.back() && random.chance(kTorn))
      choice.tears.push_back(draw_tear(i, pending[i].bytes.size(), random));
  }
  return choice;
}

SimDiskImage::SimDiskImage(std::uint64_t size_bytes)
    : size_bytes_(size_bytes), newest_(size_bytes / kPageBytes), durable_(newest_) {
  CAIRN_ASSERT(size_bytes > 0 && size_bytes % kPageBytes == 0);
}

void SimDiskImage::read(std::uint64_t offset, MutableByteSpan into) const {
  CAIRN_ASSERT(offset % kPageBytes == 0 && into.size() % kPageBytes == 0);
  CAIRN_ASSERT(offset <= size_bytes_ && into.size() <= size_bytes_ - offset);
  for (std::uint64_t done = 0; done < into.size(); done += kPageBytes) {
    const Page& page = newest_.at((offset + done) / kPageBytes);
    if (page.bytes.empty()) {
      std::memset(into.data() + done, 0, kPageBytes);
    } else {
      std::memcpy(into.data() + done, page.bytes.data(), kPageBytes);
    }
  }
}

std::uint64_t SimDiskImage::start_write(std::uint64_t offset, Buffer bytes) {
  CAIRN_ASSERT(offset % kPageBytes == 0 && bytes.size() % kPageBytes == 0 && !bytes.empty());
  CAIRN_ASSERT(offset <= size_bytes_ && bytes.size() <= size_bytes_ - offset);
  in_flight_.push_back({next_id_, 0, offset, std::move(bytes)});
  return next_id_++;
}

PendingWrite SimDiskImage::take_in_flight(std::uint64_t id) {
  const auto found = std::find_if(in_flight_.begin(), in_flight_.end(),
                                  [&](const PendingWrite& write) { return write.id == id; });
  CAIRN_ASSERT(found != in_flight_.end());
  PendingWrite write = std::move(*found);
  in_flight_.erase(found);
  return write;
}

void SimDiskImage::finish_write(std::uint64_t id, bool durable) {
  PendingWrite write = take_in_flight(id);
  write.sequence = next_sequence_++;
  apply(newest_, write);
  if (durable) {
    apply(durable_, write);
  } else {
    unflushed_.push_back(std::move(write));
  }
}

void SimDiskImage::abandon_write(std::uint64_t id) { take_in_flight(id); }

void SimDiskImage::flush_up_to(std::uint64_t sequence) {
  auto write = unflushed_.begin();
  for (; write != unflushed_.end() && write->sequence <= sequence; ++write) apply(durable_, *write);
  unflushed_.erase(unflushed_.begin(), write);
}

void SimDiskImage::drop_up_to(std::uint64_t sequence) {
  std::erase_if(unflushed_, [&](const PendingWrite& write) { return write.sequence <= sequence; });
}

void SimDiskImage::discard(std::uint64_t offset, std::uint64_t length, Random& random) {
  CAIRN_ASSERT(offset % kPageBytes == 0 && length % kPageBytes == 0);
  CAIRN_ASSERT(offset <= size_bytes_ && length <= size_bytes_ - offset);
  // Undefined contents need no crash semantics of their own: the page changes for good at once,
  // and its sequence keeps older pending writes from coming back.
  const std::uint64_t sequence = next_sequence_++;
  for (std::uint64_t index = offset / kPageBytes; index < (offset + length) / kPageBytes; ++index) {
    const std::uint64_t kind = random.below(3);
    if (kind == 0) continue;
    const Page page{kind == 1 ? Buffer() : filled_page(kGarbage), sequence};
    newest_.set(index, page);
    durable_.set(index, page);
  }
}

std::vector<PendingWrite> SimDiskImage::pending() const {
  std::vector<PendingWrite> all = unflushed_;
  all.insert(all.end(), in_flight_.begin(), in_flight_.end());
  return all;
}

void SimDiskImage::apply(PageMap& pages, const PendingWrite& write) const {
  apply_part(pages, write, 0, write.bytes.size());
}

void SimDiskImage::apply_part(PageMap& pages, const PendingWrite& write, std::uint64_t from,
                              std::uint64_t to) const {
  CAIRN_ASSERT(from % kSectorBytes == 0 && to % kSectorBytes == 0);
  CAIRN_ASSERT(from <= to && to <= write.bytes.size());
  for (std::uint64_t start = from - from % kPageBytes; start < to; start += kPageBytes) {
    const std::uint64_t index = (write.offset + start) / kPageBytes;
    const Page& old = pages.at(index);
    if (old.sequence > write.sequence) continue;
    Buffer bytes = write.bytes.slice(start, kPageBytes);
    const std::uint64_t first = std::max(from, start);
    const std::uint64_t last = std::min(to, start + kPageBytes);
    if (last - first < kPageBytes) {
      Buffer merged = copy_of_page(old);
      std::memcpy(merged.data() + (first - start), bytes.data() + (first - start), last - first);
      bytes = std::move(merged);
    }
    pages.set(index, {std::move(bytes), write.sequence});
  }
}

SimDiskImage SimDiskImage::crash(const CrashChoice& choice) const {
  SimDiskImage after = *this;
  after.unflushed_.clear();
  after.in_flight_.clear();
  const std::size_t count = std::min(choice.kept.size(), pending_count());
  for (std::size_t i = 0; i < count; ++i) {
    if (!choice.kept[i]) continue;
    const bool finished = i < unflushed_.size();
    PendingWrite write = finished ? unflushed_[i] : in_flight_[i - unflushed_.size()];
    if (!finished) write.sequence = after.next_sequence_++;
    const auto tear = std::find_if(choice.tears.begin(), choice.tears.end(),
                                   [&](const CrashChoice::Tear& t) { return t.index == i; });
    if (tear == choice.tears.end()) {
      apply(after.durable_, write);
    } else {
      apply_part(after.durable_, write, tear->from, tear->to);
    }
  }
  after.newest_ = after.durable_;
  return after;
}

void SimDiskImage::flip_bit(std::uint64_t byte_offset, unsigned bit) {
  CAIRN_ASSERT(byte_offset < size_bytes_ && bit < 8);
  const std::uint64_t index = byte_offset / kPageBytes;
  for (PageMap* pages : {&newest_, &durable_}) {
    const Page& old = pages->at(index);
    Buffer bytes = copy_of_page(old);
    bytes.data()[byte_offset % kPageBytes] ^= static_cast<std::byte>(1U << bit);
    pages->set(index, {std::move(bytes), old.sequence});
  }
}

void SimDiskImage::replace(std::uint64_t offset, Buffer bytes) {
  CAIRN_ASSERT(offset % kPageBytes == 0 && bytes.size() % kPageBytes == 0);
  CAIRN_ASSERT(offset <= size_bytes_ && bytes.size() <= size_bytes_ - offset);
  for (std::uint64_t at = 0; at < bytes.size(); at += kPageBytes) {
    const std::uint64_t index = (offset + at) / kPageBytes;
    for (PageMap* pages : {&newest_, &durable_})
      pages->set(index, {bytes.slice(at, kPageBytes), pages->at(index).sequence});
  }
}

std::uint64_t SimDiskImage::content_hash() const {
  std::uint64_t sum = 0;
  for (std::uint64_t index = 0; index < size_bytes_ / kPageBytes; ++index) {
    const Buffer& page = newest_.at(index).bytes;
    if (!page.empty() && !is_zero(page)) sum += page_hash(page, index);
  }
  return sum;
}

}  // namespace cairn::io
