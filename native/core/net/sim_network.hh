// SimNetwork: TCP as a simulation in virtual time. Streams of bytes between endpoints on named
// hosts, with the faults that TCP shows its users: delay, partition (one way or both), connections
// that break, processes that freeze or die, and, below the checksums, flipped bits.
//
// Invariants
// - Bytes of a stream arrive in order, each once, or the stream closes. Nothing is reordered.
// - Everything happens on the executor, and the same seed and calls give the same run.
// - A frozen host receives nothing and what it does reaches nobody until it is thawed. Its timers
//   are the executor's and still run: what they send is held back.
// - A partition drops packets: bytes wait until it heals, both ends close when it lasts longer than
//   kPeerGoneNs, and connecting across it gets no answer.
//
// It knows no frames: SimMessenger puts them on top.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/executor.hh"
#include "net/messenger.hh"

namespace cairn::net {

using StreamId = std::uint64_t;  // one end of a stream; its peer is id ^ 1

// A process's view of its streams. Calls come from the executor, never inside a call to the
// network.
class SimEndpoint {
 public:
  virtual ~SimEndpoint() = default;
  virtual void stream_accepted(StreamId id) = 0;
  virtual void stream_connected(StreamId id) = 0;
  virtual void stream_bytes(StreamId id, ByteSpan bytes) = 0;
  virtual void stream_closed(StreamId id, const Status& reason) = 0;
  // All bytes that were due have been delivered.
  virtual void stream_batch_end() = 0;
};

struct SimNetworkConfig {
  std::uint64_t min_delay_ns = 20'000;  // one way, uniform
  std::uint64_t max_delay_ns = 200'000;
  std::uint32_t resets_per_million = 0;       // of writes: the stream breaks instead
  std::uint32_t corruptions_per_million = 0;  // of writes: one bit is flipped
};

// The faults that took place, to tell a calm run from a stormy one.
struct SimNetworkCounters {
  std::uint64_t writes = 0, resets = 0, corruptions = 0;
  std::uint64_t held_by_partition = 0, held_by_freeze = 0;  // deliveries that were stopped
};

class SimNetwork {
 public:
  static constexpr std::uint64_t kPeerGoneNs = 15'000'000'000;

  // The executor must outlive the network, and the network all its endpoints.
  SimNetwork(io::Executor& executor, std::uint64_t seed, SimNetworkConfig config = {});
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;
  ~SimNetwork();

  io::Executor& executor() { return executor_; }
  const SimNetworkCounters& counters() const { return counters_; }
  void set_config(const SimNetworkConfig& config) { config_ = config; }

  // Faults. Packets from one host no longer reach the other; partition both ways with two calls.
  void partition(const std::string& from, const std::string& to);
  void heal(const std::string& from, const std::string& to);
  void heal_all();
  void freeze(const std::string& host);
  void thaw(const std::string& host);
  // All streams between the two break, at both ends.
  void reset_streams(const std::string& a, const std::string& b);

  // For endpoints. address_in_use when another endpoint listens there; port 0 takes a free one.
  Result<std::uint16_t> listen(SimEndpoint& endpoint, const Address& address);
  // stream_connected or stream_closed follows, or nothing at all.
  StreamId dial(SimEndpoint& endpoint, const std::string& host, const Address& to);
  void write(StreamId from, std::vector<std::byte> bytes);
  // The peer hears of it; this end hears nothing any more. abrupt: what is still on its way may be
  // lost (seeded), as when a process dies; otherwise it arrives first.
  void close(StreamId id, bool abrupt);
  // Bytes written and not yet delivered.
  std::uint64_t undelivered_bytes(StreamId from) const;
  // The process dies: its streams close, its ports are free. (Thaw a frozen host for the next one.)
  void remove(SimEndpoint& endpoint);
  // Runs the task soon; when the host is frozen, once it is thawed.
  void post(const std::string& host, io::Task task);

 private:
  enum class SegmentKind : std::uint8_t { accepted, connected, bytes, closed };
  struct Segment {
    SegmentKind kind = SegmentKind::bytes;
    std::vector<std::byte> bytes;
    Status reason;       // closed
    bool local = false;  // made by the own kernel: no partition stops it
    bool held = false;   // until the sender is thawed
    std::uint64_t due_ns = 0;
  };
  struct Stream {
    SimEndpoint* endpoint = nullptr;  // null: the answer to the dialer is on its way
    std::string host;
    std::string peer_host;
    std::deque<Segment> incoming;
    std::uint64_t incoming_bytes = 0;
  };
  using Way = std::pair<std::string, std::string>;  // from, to

  std::uint64_t random_below(std::uint64_t bound);
  bool happens(std::uint32_t per_million) { return random_below(1'000'000) < per_million; }
  std::uint64_t random_delay_ns();
  bool separated(const std::string& a, const std::string& b) const;
  void run_after(std::uint64_t delay_ns, void (SimNetwork::*step)(StreamId), StreamId id);

  void connect_arrives(StreamId dialer);
  static Segment closed_segment(const std::string& reason, bool local);
  void push_segment(StreamId to, Segment segment);
  void schedule(StreamId to, Segment& segment);
  void pump(StreamId id);
  bool may_deliver(const Stream& stream);
  void deliver(StreamId id, Segment segment);
  void deliver_bytes(StreamId id, ByteSpan bytes);
  void break_stream(StreamId id, const std::string& reason);
  void break_streams_between(const std::string& a, const std::string& b, const std::string& reason);
  void pump_all_of(const std::string& host);

  io::Executor& executor_;
  SimNetworkConfig config_;
  SimNetworkCounters counters_;
  std::mt19937_64 random_;
  std::shared_ptr<SimNetwork*> life_;  // holds null once the network is gone
  std::map<StreamId, Stream> streams_;
  std::map<StreamId, Address> dialing_;
  std::map<Address, SimEndpoint*> listeners_;
  std::map<Way, std::uint64_t> partitions_;  // value: which partition it is
  std::set<std::string> frozen_;
  std::map<std::string, std::vector<io::Task>> postponed_;  // by frozen host
  StreamId next_link_ = 2;                                  // even: the dialer's end
  std::uint64_t next_partition_ = 1;
  std::uint16_t next_port_ = 40000;
};

}  // namespace cairn::net
