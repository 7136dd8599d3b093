// Streams, their segments and the faults of SimNetwork.
#include "net/sim_network.hh"

#include "base/assert.hh"

namespace cairn::net {

SimNetwork::SimNetwork(io::Executor& executor, std::uint64_t seed, SimNetworkConfig config)
    : executor_(executor),
      config_(config),
      random_(seed),
      life_(std::make_shared<SimNetwork*>(this)) {}

SimNetwork::~SimNetwork() { *life_ = nullptr; }

// The standard's distributions differ between libraries, its generators do not.
std::uint64_t SimNetwork::random_below(std::uint64_t bound) { return random_() % bound; }

std::uint64_t SimNetwork::random_delay_ns() {
  CAIRN_ASSERT(config_.min_delay_ns <= config_.max_delay_ns);
  return config_.min_delay_ns + random_below(config_.max_delay_ns - config_.min_delay_ns + 1);
}

bool SimNetwork::separated(const std::string& a, const std::string& b) const {
  return partitions_.contains({a, b}) || partitions_.contains({b, a});
}

void SimNetwork::run_after(std::uint64_t delay_ns, void (SimNetwork::*step)(StreamId),
                           StreamId id) {
  executor_.run_after(delay_ns, [life = life_, step, id] {
    if (*life != nullptr) ((*life)->*step)(id);
  });
}

// ---- faults

void SimNetwork::partition(const std::string& from, const std::string& to) {
  const std::uint64_t number = next_partition_++;
  if (!partitions_.emplace(Way{from, to}, number).second) return;
  executor_.run_after(kPeerGoneNs, [life = life_, way = Way{from, to}, number] {
    if (*life == nullptr) return;
    const auto found = (*life)->partitions_.find(way);
    if (found == (*life)->partitions_.end() || found->second != number) return;
    (*life)->break_streams_between(way.first, way.second, "the peer does not answer any more");
  });
}

void SimNetwork::heal(const std::string& from, const std::string& to) {
  if (partitions_.erase({from, to}) != 0) pump_all_of(to);
}

void SimNetwork::heal_all() {
  for (const auto& [way, number] : std::exchange(partitions_, {})) pump_all_of(way.second);
}

void SimNetwork::freeze(const std::string& host) { frozen_.insert(host); }

void SimNetwork::thaw(const std::string& host) {
  if (frozen_.erase(host) == 0) return;
  for (auto& [id, stream] : streams_) {
    if (stream.peer_host != host) continue;
    for (Segment& segment : stream.incoming)
      if (segment.held) schedule(id, segment);
  }
  if (auto postponed = postponed_.extract(host); !postponed.empty())
    for (io::Task& task : postponed.mapped()) executor_.post(std::move(task));
  pump_all_of(host);
}

void SimNetwork::reset_streams(const std::string& a, const std::string& b) {
  break_streams_between(a, b, "connection reset by peer");
}

void SimNetwork::break_streams_between(const std::string& a, const std::string& b,
                                       const std::string& reason) {
  for (const auto& [id, stream] : streams_) {
    const bool between =
        (stream.host == a && stream.peer_host == b) || (stream.host == b && stream.peer_host == a);
    if (between) break_stream(id, reason);
  }
}

// What was on its way to this end is lost.
void SimNetwork::break_stream(StreamId id, const std::string& reason) {
  Stream& stream = streams_.at(id);
  stream.incoming.clear();
  stream.incoming_bytes = 0;
  ++counters_.resets;
  push_segment(id, closed_segment(reason, true));
}

void SimNetwork::pump_all_of(const std::string& host) {
  for (const auto& [id, stream] : streams_)
    if (stream.host == host && !stream.incoming.empty())
      run_after(random_delay_ns(), &SimNetwork::pump, id);
}

// ---- what endpoints do

Result<std::uint16_t> SimNetwork::listen(SimEndpoint& endpoint, const Address& address) {
  Address bound = address;
  while (bound.port == 0 || (address.port == 0 && listeners_.contains(bound)))
    bound.port = next_port_++;
  if (!listeners_.emplace(bound, &endpoint).second)
    return Status{
        ErrorCode::address_in_use,
        "listen on " + bound.host + ":" + std::to_string(bound.port) + ": Address already in use"};
  return bound.port;
}

StreamId SimNetwork::dial(SimEndpoint& endpoint, const std::string& host, const Address& to) {
  const StreamId id = next_link_;
  next_link_ += 2;
  Stream stream;
  stream.endpoint = &endpoint;
  stream.host = host;
  stream.peer_host = to.host;
  streams_.emplace(id, std::move(stream));
  dialing_.emplace(id, to);
  run_after(random_delay_ns(), &SimNetwork::connect_arrives, id);
  return id;
}

void SimNetwork::connect_arrives(StreamId dialer) {
  auto dialing = dialing_.extract(dialer);
  const auto found = streams_.find(dialer);
  if (dialing.empty() || found == streams_.end()) return;
  const std::string host = found->second.host;
  const Address& to = dialing.mapped();
  if (separated(host, to.host) || frozen_.contains(host)) return;  // the dialer's timer ends it
  const auto listener = listeners_.find(to);
  if (listener == listeners_.end()) {
    push_segment(dialer, closed_segment("Connection refused", false));
    return;
  }
  Stream stream;
  stream.endpoint = listener->second;
  stream.host = to.host;
  stream.peer_host = host;
  streams_.emplace(dialer ^ 1, std::move(stream));
  Segment accepted;
  accepted.kind = SegmentKind::accepted;
  accepted.local = true;
  push_segment(dialer ^ 1, std::move(accepted));
  Segment connected;
  connected.kind = SegmentKind::connected;
  connected.local = true;
  push_segment(dialer, std::move(connected));
}

void SimNetwork::write(StreamId from, std::vector<std::byte> bytes) {
  ++counters_.writes;
  const StreamId to = from ^ 1;
  if (!streams_.contains(from) || !streams_.contains(to)) return;  // a close is on its way
  if (happens(config_.resets_per_million)) {
    break_stream(from, "connection reset by peer");
    break_stream(to, "connection reset by peer");
    return;
  }
  if (happens(config_.corruptions_per_million)) {
    ++counters_.corruptions;
    const std::uint64_t bit = random_below(bytes.size() * 8);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  Segment segment;
  segment.bytes = std::move(bytes);
  push_segment(to, std::move(segment));
}

void SimNetwork::close(StreamId id, bool abrupt) {
  if (streams_.erase(id) == 0) return;
  const auto peer = streams_.find(id ^ 1);
  if (peer == streams_.end()) return;
  if (abrupt && random_below(2) == 0) {
    // An accepted or connected segment stays: the handler must hear of the connection first.
    std::deque<Segment>& incoming = peer->second.incoming;
    std::erase_if(incoming, [](const Segment& s) { return s.kind == SegmentKind::bytes; });
    peer->second.incoming_bytes = 0;
  }
  push_segment(id ^ 1, closed_segment("the peer closed the connection", false));
}

std::uint64_t SimNetwork::undelivered_bytes(StreamId from) const {
  const auto peer = streams_.find(from ^ 1);
  return peer == streams_.end() ? 0 : peer->second.incoming_bytes;
}

void SimNetwork::remove(SimEndpoint& endpoint) {
  std::erase_if(listeners_, [&](const auto& entry) { return entry.second == &endpoint; });
  std::vector<StreamId> own;
  for (const auto& [id, stream] : streams_)
    if (stream.endpoint == &endpoint) own.push_back(id);
  for (const StreamId id : own) close(id, true);
}

void SimNetwork::post(const std::string& host, io::Task task) {
  if (frozen_.contains(host))
    postponed_[host].push_back(std::move(task));
  else
    executor_.post(std::move(task));
}

// ---- segments

SimNetwork::Segment SimNetwork::closed_segment(const std::string& reason, bool local) {
  Segment segment;
  segment.kind = SegmentKind::closed;
  segment.reason = {ErrorCode::disconnected, reason};
  segment.local = local;
  return segment;
}

void SimNetwork::push_segment(StreamId to, Segment segment) {
  Stream& stream = streams_.at(to);
  stream.incoming_bytes += segment.bytes.size();
  segment.held = !segment.local && frozen_.contains(stream.peer_host);
  stream.incoming.push_back(std::move(segment));
  if (!stream.incoming.back().held) schedule(to, stream.incoming.back());
}

void SimNetwork::schedule(StreamId to, Segment& segment) {
  // A segment that is due before the one in front of it waits for that one's turn.
  const std::uint64_t delay_ns = random_delay_ns();
  segment.held = false;
  segment.due_ns = executor_.now_ns() + delay_ns;
  run_after(delay_ns, &SimNetwork::pump, to);
}

bool SimNetwork::may_deliver(const Stream& stream) {
  const Segment& segment = stream.incoming.front();
  if (segment.held || frozen_.contains(stream.host)) {
    ++counters_.held_by_freeze;
    return false;
  }
  if (!segment.local && partitions_.contains({stream.peer_host, stream.host})) {
    ++counters_.held_by_partition;
    return false;
  }
  return segment.due_ns <= executor_.now_ns();
}

// Delivers what is due at this end of a stream.
void SimNetwork::pump(StreamId id) {
  SimEndpoint* endpoint = nullptr;
  auto found = streams_.find(id);
  while (found != streams_.end() && !found->second.incoming.empty() && may_deliver(found->second)) {
    endpoint = found->second.endpoint;
    Segment segment = std::move(found->second.incoming.front());
    found->second.incoming.pop_front();
    found->second.incoming_bytes -= segment.bytes.size();
    deliver(id, std::move(segment));
    found = streams_.find(id);
  }
  if (endpoint != nullptr) endpoint->stream_batch_end();
}

void SimNetwork::deliver(StreamId id, Segment segment) {
  SimEndpoint* endpoint = streams_.at(id).endpoint;
  switch (segment.kind) {
    case SegmentKind::accepted:
      return endpoint->stream_accepted(id);
    case SegmentKind::connected:
      return endpoint->stream_connected(id);
    case SegmentKind::bytes:
      return deliver_bytes(id, segment.bytes);
    case SegmentKind::closed:
      streams_.erase(id);
      return endpoint->stream_closed(id, segment.reason);
  }
}

// TCP keeps no boundaries: the receiver sees other pieces than the sender wrote.
void SimNetwork::deliver_bytes(StreamId id, ByteSpan bytes) {
  while (!bytes.empty()) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    const bool whole = random_below(2) == 0;
    const std::size_t length = whole ? bytes.size() : 1 + random_below(bytes.size());
    found->second.endpoint->stream_bytes(id, bytes.first(length));
    bytes = bytes.subspan(length);
  }
}

}  // namespace cairn::net
