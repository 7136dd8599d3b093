// Loopback echo through two TcpMessengers, each on a reactor and thread of its own: latency at
// queue depth 1, rate at depth 32, and the CPU time of both ends per round trip (two frames),
// beside a bare send/recv ping-pong of the same size.
//
//   bench_net [seconds per run, default 3] [data bytes, default 4096]
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/histogram.hh"
#include "net/tcp_messenger.hh"

namespace {

using namespace cairn;
using namespace cairn::net;

constexpr std::size_t kMetaBytes = 64;
constexpr Entity kServer{.kind = EntityKind::osd, .id = 1, .incarnation = 1};
constexpr Entity kClient{.kind = EntityKind::client, .id = 2, .incarnation = 2};

struct Load {
  std::uint64_t duration_ns = 0;
  std::uint32_t depth = 0;
  std::size_t data_bytes = 0;
  bool local_sockets = false;
};

struct Measured {
  std::uint64_t duration_ns = 0;
  std::uint64_t cpu_ns = 0;
  Histogram latency;
};

[[noreturn]] void die(const Status& status) {
  std::fprintf(stderr, "bench_net: %s\n", status.to_string().c_str());
  std::exit(1);
}

std::uint64_t cpu_ns() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_usec) * 1000;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::unique_ptr<io::Reactor> make_reactor() {
  auto reactor = io::Reactor::create();
  if (!reactor) die(reactor.status());
  return std::move(*reactor);
}

TcpConfig config_of(const Entity& self, bool local_sockets) {
  TcpConfig config;
  config.self = self;
  config.local_sockets = local_sockets;
  config.log = [](LogLevel, std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  return config;
}

// Sends every frame back.
class EchoServer : public MessengerHandler {
 public:
  EchoServer() : reactor_(make_reactor()), messenger_(*reactor_, *this, config_of(kServer, true)) {
    Result<std::uint16_t> port = messenger_.listen({.host = "127.0.0.1", .port = 0});
    if (!port) die(port.status());
    port_ = *port;
    thread_ = std::thread([this] { reactor_->run(); });
  }
  ~EchoServer() override {
    reactor_->stop();
    thread_.join();
  }
  std::uint16_t port() const { return port_; }
  void on_accepted(ConnectionId, const Entity&) override {}
  void on_connected(ConnectionId, const Entity&) override {}
  void on_frame(ConnectionId id, Frame frame) override {
    frame.type = FrameType::op_reply;
    messenger_.send(id, std::move(frame));
  }
  void on_closed(ConnectionId, const Status&) override {}

 private:
  std::unique_ptr<io::Reactor> reactor_;
  TcpMessenger messenger_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

// Keeps depth frames in flight and measures their round trips. Replies come in order, so the start
// times are a ring.
class Client : public MessengerHandler {
 public:
  Client(std::uint16_t port, const Load& load)
      : load_(load),
        data_(Buffer::zeroed(load.data_bytes)),
        start_ns_(load.depth),
        reactor_(make_reactor()),
        messenger_(*reactor_, *this, config_of(kClient, load.local_sockets)) {
    messenger_.connect({.host = "127.0.0.1", .port = port}, kServer);
  }
  Measured run() {
    reactor_->run();
    return measured_;
  }
  void on_accepted(ConnectionId, const Entity&) override {}
  void on_connected(ConnectionId id, const Entity&) override {
    begin_ns_ = now_ns();
    begin_cpu_ns_ = cpu_ns();
    for (std::uint32_t i = 0; i < load_.depth; ++i) send(id, begin_ns_);
  }
  void on_frame(ConnectionId id, Frame) override {
    const std::uint64_t now = now_ns();
    measured_.latency.record(now - start_ns_[oldest_]);
    oldest_ = (oldest_ + 1) % load_.depth;
    if (now - begin_ns_ < load_.duration_ns) return send(id, now);
    measured_.duration_ns = now - begin_ns_;
    measured_.cpu_ns = cpu_ns() - begin_cpu_ns_;
    reactor_->stop();
  }
  void on_closed(ConnectionId, const Status& reason) override { die(reason); }

 private:
  void send(ConnectionId id, std::uint64_t now) {
    start_ns_[newest_] = now;
    newest_ = (newest_ + 1) % load_.depth;
    messenger_.send(
        id, {.type = FrameType::op, .meta = std::vector<std::byte>(kMetaBytes), .data = data_});
  }

  Load load_;
  Buffer data_;
  std::vector<std::uint64_t> start_ns_;
  std::size_t oldest_ = 0, newest_ = 0;
  std::uint64_t begin_ns_ = 0, begin_cpu_ns_ = 0;
  Measured measured_;
  std::unique_ptr<io::Reactor> reactor_;
  TcpMessenger messenger_;
};

bool send_all(int fd, std::vector<char>& bytes) {
  return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

bool receive_all(int fd, std::vector<char>& bytes) {
  return ::recv(fd, bytes.data(), bytes.size(), MSG_WAITALL) == static_cast<ssize_t>(bytes.size());
}

// What the kernel alone needs: blocking sockets, one message in flight.
Measured bare_ping_pong(const Load& load) {
  Result<OwnedFd> listener = open_listener({.host = "127.0.0.1", .port = 0});
  if (!listener) die(listener.status());
  Result<std::uint16_t> port = local_port(listener->get());
  if (!port) die(port.status());
  Result<SocketAddress> address = to_socket_address({.host = "127.0.0.1", .port = *port});
  if (!address) die(address.status());
  Result<OwnedFd> client = open_stream(*address);
  if (!client) die(client.status());
  if (::connect(client->get(), address->get(), address->length) != 0)
    die(Status::from_errno(errno, "connect"));
  OwnedFd server(::accept(listener->get(), nullptr, nullptr));
  configure_stream(client->get());
  configure_stream(server.get());
  const std::size_t length = kFrameHeaderBytes + kMetaBytes + load.data_bytes;
  std::thread echo([&] {
    std::vector<char> bytes(length);
    while (receive_all(server.get(), bytes) && send_all(server.get(), bytes)) continue;
  });
  Measured measured;
  std::vector<char> bytes(length);
  const std::uint64_t begin_ns = now_ns(), begin_cpu_ns = cpu_ns();
  for (std::uint64_t now = begin_ns; now - begin_ns < load.duration_ns;) {
    if (!send_all(client->get(), bytes) || !receive_all(client->get(), bytes)) break;
    const std::uint64_t end = now_ns();
    measured.latency.record(end - now);
    now = end;
  }
  measured.duration_ns = now_ns() - begin_ns;
  measured.cpu_ns = cpu_ns() - begin_cpu_ns;
  ::shutdown(client->get(), SHUT_RDWR);
  echo.join();
  return measured;
}

void print(const char* name, const Measured& measured) {
  const auto count = static_cast<double>(measured.latency.count());
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1000; };
  std::printf("%-22s %9.0f round trips/s   mean %6.1f p50 %6.1f p99 %6.1f us   CPU %5.2f us each\n",
              name, count * 1e9 / static_cast<double>(measured.duration_ns),
              us(measured.latency.sum_ns()) / count, us(measured.latency.percentile_ns(0.5)),
              us(measured.latency.percentile_ns(0.99)), us(measured.cpu_ns) / count);
}

}  // namespace

int main(int argument_count, char** arguments) {
  Load load{.duration_ns = 3'000'000'000, .depth = 1, .data_bytes = 4096};
  if (argument_count > 1)
    load.duration_ns = std::strtoull(arguments[1], nullptr, 10) * 1'000'000'000;
  if (argument_count > 2) load.data_bytes = std::strtoull(arguments[2], nullptr, 10);
  if (load.duration_ns == 0 || load.data_bytes > kMaxDataBytes) {
    std::fprintf(stderr, "usage: bench_net [seconds per run] [data bytes]\n");
    return 2;
  }
  std::printf("echo of frames with %zu bytes of meta and %zu of data; CPU of both ends together\n",
              kMetaBytes, load.data_bytes);
  print("bare send/recv, QD1", bare_ping_pong(load));
  EchoServer server;
  for (const std::uint32_t depth : {1U, 32U, 256U}) {
    load.depth = depth;
    for (const bool local : {false, true}) {
      load.local_sockets = local;
      const std::string name = std::string(local ? "messenger, Unix" : "messenger, TCP") + ", QD" +
                               std::to_string(depth);
      print(name.c_str(), Client(server.port(), load).run());
    }
  }
  return 0;
}
