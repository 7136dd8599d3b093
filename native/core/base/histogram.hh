// A latency histogram with a bounded relative error: 16 linear steps per power of two (error below
// 1/16), values in nanoseconds up to 2^40 (18 minutes; larger ones count in the last bucket).
// About 5 KiB. Not thread-safe: each thread has its own, merge() adds them up.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace cairn {

class Histogram {
 public:
  static constexpr std::uint32_t kStepBits = 4;
  static constexpr std::uint32_t kBuckets = (40 - kStepBits + 1) << kStepBits;

  void record(std::uint64_t value_ns) {
    ++counts_[bucket_of(value_ns)];
    ++count_;
    sum_ns_ += value_ns;
    if (value_ns > max_ns_) max_ns_ = value_ns;
  }
  void merge(const Histogram& other) {
    for (std::uint32_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ns_ += other.sum_ns_;
    if (other.max_ns_ > max_ns_) max_ns_ = other.max_ns_;
  }
  std::uint64_t count() const { return count_; }
  std::uint64_t sum_ns() const { return sum_ns_; }
  std::uint64_t max_ns() const { return max_ns_; }
  // fraction in [0, 1]; the upper edge of the bucket, at most the maximum; 0 when empty.
  std::uint64_t percentile_ns(double fraction) const {
    if (count_ == 0) return 0;
    const auto target = static_cast<std::uint64_t>(fraction * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::uint32_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen > target || seen == count_) {
        const std::uint64_t edge = upper_edge(i);
        return edge < max_ns_ ? edge : max_ns_;
      }
    }
    return max_ns_;
  }
  const std::array<std::uint64_t, kBuckets>& counts() const { return counts_; }

  static std::uint32_t bucket_of(std::uint64_t value) {
    if (value < (1U << kStepBits)) return static_cast<std::uint32_t>(value);
    const auto power = static_cast<std::uint32_t>(std::bit_width(value)) - 1;  // >= kStepBits
    if (power >= 40) return kBuckets - 1;
    const auto step =
        static_cast<std::uint32_t>(value >> (power - kStepBits)) & ((1U << kStepBits) - 1);
    return ((power - kStepBits + 1) << kStepBits) + step;
  }
  // The largest value that falls into the bucket.
  static std::uint64_t upper_edge(std::uint32_t bucket) {
    const std::uint32_t group = bucket >> kStepBits;
    const std::uint64_t step = bucket & ((1U << kStepBits) - 1);
    if (group == 0) return step;
    return (((std::uint64_t{1} << kStepBits) + step + 1) << (group - 1)) - 1;
  }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
  std::uint64_t max_ns_ = 0;
};

}  // namespace cairn
