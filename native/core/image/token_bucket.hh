// Token buckets for the limits of a device: requests per second and bytes per second, in total and
// of reads and writes alone. Pure: the time is given.
//
// A bucket fills at its rate up to its burst. A request that costs more than the burst may go when
// the bucket is full, and leaves a debt, so that the rate holds for requests of any size.
#pragma once

#include <array>
#include <cstdint>

namespace cairn::image {

struct QosLimit {
  std::uint64_t per_second = 0;  // 0: no limit
  std::uint64_t burst = 0;       // tokens that may be saved up; 0: those of a tenth of a second
  bool operator==(const QosLimit&) const = default;
};

// Discards and zeroing are writes of no bytes: no payload moves.
struct QosLimits {
  QosLimit iops, read_iops, write_iops;
  QosLimit bytes, read_bytes, write_bytes;
  bool operator==(const QosLimits&) const = default;
};

class TokenBucket {
 public:
  // Begins full; after a change it keeps what it has, up to the new burst.
  void set(const QosLimit& limit, std::uint64_t now_ns);
  // How long until so many tokens are there; 0: they are.
  std::uint64_t wait_ns(std::uint64_t tokens, std::uint64_t now_ns) const;
  void take(std::uint64_t tokens, std::uint64_t now_ns);

 private:
  double level_at(std::uint64_t now_ns) const;

  double per_second_ = 0;  // 0: no limit
  double capacity_ = 0;
  double level_ = 0;  // at since_ns_; below 0: a debt
  std::uint64_t since_ns_ = 0;
};

enum class IoDirection : std::uint8_t { read, write };

class QosBuckets {
 public:
  void set(const QosLimits& limits, std::uint64_t now_ns);
  bool limited() const { return limited_; }
  // Until the buckets of both directions, and those of this one, allow a request; 0: they do.
  std::uint64_t wait_total_ns(std::uint64_t bytes, std::uint64_t now_ns) const;
  std::uint64_t wait_own_ns(IoDirection direction, std::uint64_t bytes, std::uint64_t now_ns) const;
  void take(IoDirection direction, std::uint64_t bytes, std::uint64_t now_ns);

 private:
  // Of total, read, write.
  struct Pair {
    TokenBucket requests, bytes;
    std::uint64_t wait_ns(std::uint64_t byte_count, std::uint64_t now_ns) const;
    void take(std::uint64_t byte_count, std::uint64_t now_ns);
  };
  Pair total_;
  std::array<Pair, 2> own_;  // by IoDirection
  bool limited_ = false;
};

}  // namespace cairn::image
