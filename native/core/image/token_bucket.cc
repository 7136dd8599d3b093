// The arithmetic of token_bucket.hh.
#include "image/token_bucket.hh"

#include <algorithm>
#include <cmath>

namespace cairn::image {

namespace {
constexpr double kNsPerSecond = 1e9;
constexpr double kDefaultBurstSeconds = 0.1;
// Far below one token: what rounding may eat.
constexpr double kRounding = 1e-3;
}  // namespace

void TokenBucket::set(const QosLimit& limit, std::uint64_t now_ns) {
  const bool was_limited = per_second_ > 0;
  const double level = level_at(now_ns);
  per_second_ = static_cast<double>(limit.per_second);
  capacity_ = limit.burst != 0 ? static_cast<double>(limit.burst)
                               : std::max(1.0, per_second_ * kDefaultBurstSeconds);
  level_ = was_limited ? std::min(level, capacity_) : capacity_;
  since_ns_ = now_ns;
}

double TokenBucket::level_at(std::uint64_t now_ns) const {
  const double elapsed = now_ns > since_ns_ ? static_cast<double>(now_ns - since_ns_) : 0.0;
  return std::min(capacity_, level_ + elapsed * per_second_ / kNsPerSecond);
}

std::uint64_t TokenBucket::wait_ns(std::uint64_t tokens, std::uint64_t now_ns) const {
  if (per_second_ <= 0) return 0;
  const double wanted = std::min(static_cast<double>(tokens), capacity_);
  const double lacking = wanted - level_at(now_ns);
  if (lacking <= kRounding) return 0;
  return static_cast<std::uint64_t>(std::ceil(lacking / per_second_ * kNsPerSecond));
}

void TokenBucket::take(std::uint64_t tokens, std::uint64_t now_ns) {
  if (per_second_ <= 0) return;
  level_ = level_at(now_ns) - static_cast<double>(tokens);
  since_ns_ = std::max(since_ns_, now_ns);
}

std::uint64_t QosBuckets::Pair::wait_ns(std::uint64_t byte_count, std::uint64_t now_ns) const {
  return std::max(requests.wait_ns(1, now_ns), bytes.wait_ns(byte_count, now_ns));
}

void QosBuckets::Pair::take(std::uint64_t byte_count, std::uint64_t now_ns) {
  requests.take(1, now_ns);
  bytes.take(byte_count, now_ns);
}

void QosBuckets::set(const QosLimits& limits, std::uint64_t now_ns) {
  total_.requests.set(limits.iops, now_ns);
  total_.bytes.set(limits.bytes, now_ns);
  own_[0].requests.set(limits.read_iops, now_ns);
  own_[0].bytes.set(limits.read_bytes, now_ns);
  own_[1].requests.set(limits.write_iops, now_ns);
  own_[1].bytes.set(limits.write_bytes, now_ns);
  limited_ = false;
  for (const QosLimit& limit : {limits.iops, limits.read_iops, limits.write_iops, limits.bytes,
                                limits.read_bytes, limits.write_bytes})
    limited_ = limited_ || limit.per_second != 0;
}

std::uint64_t QosBuckets::wait_total_ns(std::uint64_t bytes, std::uint64_t now_ns) const {
  return total_.wait_ns(bytes, now_ns);
}

std::uint64_t QosBuckets::wait_own_ns(IoDirection direction, std::uint64_t bytes,
                                      std::uint64_t now_ns) const {
  return own_[static_cast<std::size_t>(direction)].wait_ns(bytes, now_ns);
}

void QosBuckets::take(IoDirection direction, std::uint64_t bytes, std::uint64_t now_ns) {
  total_.take(bytes, now_ns);
  own_[static_cast<std::size_t>(direction)].take(bytes, now_ns);
}

}  // namespace cairn::image
