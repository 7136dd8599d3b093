// A real server on a reactor thread, and clients of our own: contents end to end, reconnects,
// draining, refusals, descriptors that are not leaked.
#include "vhost_user/server.hh"

#include <dirent.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "image/null_device.hh"
#include "vhost_user/client.hh"
#include "virtio/block_backend.hh"
#include "virtio/test_support.hh"

namespace cairn::vhost_user {
namespace {

using virtio::BlockRequestType;
using virtio::DriverQueue;

constexpr int kTimeoutMs = 5'000;

std::size_t open_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  REQUIRE(folder != nullptr);
  std::size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

std::string temporary_folder() {
  char name[] = "/tmp/cairn-vhost-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  return name;
}

// The server on its own thread.
class Service {
 public:
  explicit Service(image::BlockDevice& device, std::uint32_t queues = 2)
      : folder_(temporary_folder()), path(folder_ + "/disk.sock") {
    auto made = io::Reactor::create();
    REQUIRE(made.is_ok());
    reactor_ = std::move(*made);
    backend_ = std::make_unique<virtio::BlockBackend>(
        device, *reactor_, virtio::BlockBackend::Options{queues, "serial"}, log());
    auto listening = Server::listen(*reactor_, *backend_, path, log());
    REQUIRE(listening.is_ok());
    server_ = std::move(*listening);
    thread_ = std::thread([this] { reactor_->run(); });
  }
  ~Service() {
    on_reactor([this] { server_->close([this] { reactor_->stop(); }); });
    thread_.join();
    server_.reset();
    backend_.reset();
    reactor_.reset();
    CHECK(::access(path.c_str(), F_OK) != 0);  // it took its socket file away
    ::rmdir(folder_.c_str());
  }
  Server& server() { return *server_; }  // on the reactor's thread
  void on_reactor(io::Task task) { reactor_->post_from_any_thread(std::move(task)); }
  std::string lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  bool logged(const std::string& text) {
    for (int i = 0; i < kTimeoutMs; i += 5) {
      if (lines().find(text) != std::string::npos) return true;
      ::poll(nullptr, 0, 5);
    }
    return false;
  }

 private:
  LogFunction log() {
    return [this](LogLevel, std::string_view text) {
      const std::lock_guard lock(mutex_);
      lines_ += std::string(text) + "\n";
    };
  }
  std::string folder_;
  std::mutex mutex_;
  std::string lines_;
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<virtio::BlockBackend> backend_;
  std::unique_ptr<Server> server_;
  std::thread thread_;

 public:
  const std::string path;
};

// One request at a time over one ring.
class Disk {
 public:
  Disk(Client& client, std::uint32_t index, std::uint16_t first = 0) {
    auto started = client.start_ring(index, 64, first);
    REQUIRE(started.is_ok());
    ring = std::move(*started);
    header_ = client.take_memory(64);
    data = client.take_memory(kDataBytes);
  }
  void submit(BlockRequestType type, std::uint64_t sector, std::uint32_t length) {
    store_le(header_.data, static_cast<std::uint32_t>(type));
    store_le(header_.data + 8, sector);
    header_.data[16] = std::byte{0xff};
    const DriverQueue::Piece pieces[] = {{header_.guest_address, 16, false},
                                         {data.guest_address, length, type == BlockRequestType::in},
                                         {header_.guest_address + 16, 1, true}};
    REQUIRE(ring->queue->add(pieces).has_value());
    if (ring->queue->publish()) ring->notify();
  }
  // The status byte, or -1 after the time-out.
  int wait(int timeout_ms = kTimeoutMs) {
    while (!ring->queue->enable_calls())
      if (!ring->wait_for_call(timeout_ms)) return -1;
    REQUIRE(ring->queue->take_used().has_value());
    return std::to_integer<int>(header_.data[16]);
  }
  int request(BlockRequestType type, std::uint64_t sector, std::uint32_t length) {
    submit(type, sector, length);
    return wait();
  }
  static constexpr std::uint32_t kDataBytes = 64 << 10;
  std::unique_ptr<Client::Ring> ring;
  Client::Room data;

 private:
  Client::Room header_;
};

std::unique_ptr<Client> connected(const std::string& path, std::uint64_t features = ~0ULL) {
  Client::Options options;
  options.wanted_features = features;
  auto client = Client::connect(path, options);
  REQUIRE_MESSAGE(client.is_ok(), client.status().to_string());
  return std::move(*client);
}

TEST_CASE("random writes and reads over two rings agree with a model") {
  virtio::test::MemoryDevice device(1 << 20);
  {
    Service service(device);
    // Modern, and as a legacy driver would: no VERSION_1, no EVENT_IDX.
    for (const std::uint64_t features : {~std::uint64_t{0}, virtio::kBlockFlush}) {
      std::vector<std::byte> model = device.bytes;
      auto client = connected(service.path, features);
      Disk disks[] = {{*client, 0}, {*client, 1}};
      std::mt19937 random(3);
      for (int round = 0; round < 1000; ++round) {
        Disk& disk = disks[random() % 2];
        const std::uint64_t sector = random() % 1900;
        const auto length = static_cast<std::uint32_t>(512 * (1 + random() % 128));
        if (sector * 512 + length > model.size()) continue;
        if (random() % 2 == 0) {
          for (std::uint32_t i = 0; i < length; ++i)
            disk.data.data[i] = static_cast<std::byte>(random());
          std::memcpy(&model[sector * 512], disk.data.data, length);
          REQUIRE(disk.request(BlockRequestType::out, sector, length) == 0);
        } else {
          REQUIRE(disk.request(BlockRequestType::in, sector, length) == 0);
          REQUIRE(std::memcmp(&model[sector * 512], disk.data.data, length) == 0);
        }
      }
      // Both rings drained: the device is ours again.
      REQUIRE(client->stop_ring(0).is_ok());
      REQUIRE(client->stop_ring(1).is_ok());
      CHECK(device.bytes == model);
    }
  }
}

TEST_CASE("the configuration space and the features arrive") {
  image::NullDevice device(1 << 30);
  Service service(device, 3);
  auto client = connected(service.path);
  CHECK(client->ask_u64(Request::get_queue_num).value() == 3);
  const auto config = client->read_config(virtio::kBlockConfigBytes);
  REQUIRE(config.is_ok());
  CHECK(load_le<std::uint64_t>(config.value().data()) == (1U << 30) / 512);
  CHECK((client->features() & virtio::kFeatureVersion1) != 0);
  CHECK((client->features() & virtio::kBlockMultiQueue) != 0);
}

TEST_CASE("a front end that wants to know hears that the device has another size") {
  virtio::test::MemoryDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  service.on_reactor([&] { service.server().config_changed(); });  // nobody to tell yet
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  MessageSocket channel{FileDescriptor(ends[0])};
  REQUIRE(client->send_checked(Request::set_backend_req_fd, {}, {&ends[1], 1}).is_ok());
  ::close(ends[1]);
  service.on_reactor([&] {
    device.bytes.resize(2 << 20);
    service.server().config_changed();
  });
  pollfd readable{channel.fd(), POLLIN, 0};
  REQUIRE(::poll(&readable, 1, kTimeoutMs) == 1);
  auto told = channel.receive();
  REQUIRE(told.is_ok());
  REQUIRE(told->has_value());
  CHECK(static_cast<std::uint32_t>((*told)->request) == 2);  // VHOST_USER_BACKEND_CONFIG_CHANGE_MSG
  CHECK_FALSE((*told)->need_reply);
  CHECK((*told)->payload.empty());
  auto config = client->read_config(8);
  REQUIRE(config.is_ok());
  CHECK(load_le<std::uint64_t>(config->data()) == (2 << 20) / 512);
}

TEST_CASE("a front end that closed the channel for our requests keeps its disk") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  REQUIRE(client->send_checked(Request::set_backend_req_fd, {}, {&ends[1], 1}).is_ok());
  ::close(ends[0]);
  ::close(ends[1]);
  service.on_reactor([&] { service.server().config_changed(); });
  CHECK(service.logged("not told of changes any more"));
  Disk disk(*client, 0);
  CHECK(disk.request(BlockRequestType::in, 0, 512) == 0);
}

TEST_CASE("a ring stopped and started again goes on at its base, with other features") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  {
    Disk disk(*client, 0, 65530);
    for (int i = 0; i < 10; ++i) REQUIRE(disk.request(BlockRequestType::in, 0, 512) == 0);
    CHECK(client->stop_ring(0).value() == 4);
  }
  // A firmware is followed by a kernel: features, addresses and indices are all new.
  REQUIRE(client->send_u64(Request::set_features, kFeatureProtocolFeatures).is_ok());
  REQUIRE(client->send_memory_table().is_ok());
  REQUIRE(client->send_u64(Request::set_features, client->features()).is_ok());
  Disk disk(*client, 0);
  CHECK(disk.request(BlockRequestType::in, 0, 512) == 0);
}

TEST_CASE("GET_VRING_BASE answers only when the requests in flight are done") {
  virtio::test::MemoryDevice device(1 << 20, false);
  Service service(device);
  auto client = connected(service.path);
  Disk disk(*client, 0);
  disk.submit(BlockRequestType::in, 0, 512);
  REQUIRE(client->send_ring_state(Request::get_vring_base, 0, 0).is_ok());
  pollfd state{client->socket().fd(), POLLIN, 0};
  CHECK(::poll(&state, 1, 50) == 0);
  CHECK_FALSE(disk.ring->queue->has_used());
  service.on_reactor([&] { device.complete_all(); });
  const auto reply = client->receive(Request::get_vring_base);
  REQUIRE(reply.is_ok());
  CHECK(load_le<std::uint32_t>(reply.value().payload.data() + 4) == 1);
  CHECK(disk.ring->queue->has_used());
}

TEST_CASE("a client that vanishes with requests in flight is drained, the next one waits for it") {
  virtio::test::MemoryDevice device(1 << 20, false);
  Service service(device);
  auto client = connected(service.path);
  {
    Disk disk(*client, 0);
    disk.submit(BlockRequestType::in, 0, 512);
    // In flight for certain once the device has it.
    for (int i = 0; i < kTimeoutMs; ++i) {
      std::promise<std::size_t> waiting;
      service.on_reactor([&] { waiting.set_value(device.waiting()); });
      if (waiting.get_future().get() == 1) break;
      ::poll(nullptr, 0, 1);
    }
  }
  client.reset();
  auto next = std::async(std::launch::async, [&] { return Client::connect(service.path, {}); });
  CHECK(next.wait_for(std::chrono::milliseconds(100)) == std::future_status::timeout);
  service.on_reactor([&] { device.complete_all(); });
  auto second = next.get();
  REQUIRE_MESSAGE(second.is_ok(), second.status().to_string());
  Disk disk(**second, 0);
  disk.submit(BlockRequestType::in, 0, 512);
  service.on_reactor([&] {
    // Runs behind the kick's turn or before it: complete now and again a little later.
    device.complete_all();
  });
  while (disk.wait(20) != 0) service.on_reactor([&] { device.complete_all(); });
}

TEST_CASE("a second client beside a live one is refused, the first is not disturbed") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto first = connected(service.path);
  const auto second = Client::connect(service.path, {});
  CHECK_FALSE(second.is_ok());
  CHECK(service.logged("second front end"));
  Disk disk(*first, 0);
  CHECK(disk.request(BlockRequestType::in, 0, 512) == 0);
}

TEST_CASE("many sessions leak neither descriptors nor memory mappings") {
  image::NullDevice device(1 << 20);
  Service service(device);
  const auto session = [&](bool orderly) {
    auto client = connected(service.path);
    Disk disk(*client, 0);
    REQUIRE(disk.request(BlockRequestType::in, 0, 512) == 0);
    if (orderly) REQUIRE(client->stop_ring(0).is_ok());
  };
  session(true);
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 30; ++i) session(i % 2 == 0);
  auto last = connected(service.path);  // the one before it has been cleaned up by now
  CHECK(open_descriptors() <= before + 3);
}

TEST_CASE("what is not understood closes the connection with one line, and its descriptors") {
  image::NullDevice device(1 << 20);
  Service service(device);
  const std::size_t before = open_descriptors();
  SUBCASE("an unknown request") {
    auto client = connected(service.path);
    int pipes[2];
    REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
    REQUIRE(client->send(static_cast<Request>(99), {}, pipes).is_ok());
    ::close(pipes[1]);
    CHECK(client->receive(Request::get_features).status().code() == ErrorCode::disconnected);
    CHECK(service.logged("request 99 is not supported"));
    // Nobody holds the writing end any more, so the reading end says that it is over.
    pollfd state{pipes[0], POLLIN, 0};
    CHECK(::poll(&state, 1, kTimeoutMs) == 1);
    CHECK((state.revents & POLLHUP) != 0);
    ::close(pipes[0]);
  }
  SUBCASE("an unknown request that wants an acknowledgement") {
    auto client = connected(service.path);
    REQUIRE(client->send(static_cast<Request>(99), {}, {}, true).is_ok());
    const auto reply = client->receive(static_cast<Request>(99));
    REQUIRE(reply.is_ok());
    CHECK(load_le<std::uint64_t>(reply.value().payload.data()) == 1);
    CHECK(client->ask_u64(Request::get_features).is_ok());
  }
  SUBCASE("garbage") {
    auto client = Client::connect_raw(service.path, {});
    REQUIRE(client.is_ok());
    const char garbage[] = "GET / HTTP/1.1\r\n\r\n";
    REQUIRE(::send((*client)->socket().fd(), garbage, sizeof garbage, MSG_NOSIGNAL) > 0);
    CHECK((*client)->receive(Request::get_features).status().code() == ErrorCode::disconnected);
    CHECK(service.logged("connection closed"));
  }
  SUBCASE("a header cut short by the end") {
    auto client = Client::connect_raw(service.path, {});
    REQUIRE(client.is_ok());
    REQUIRE(::send((*client)->socket().fd(), "abc", 3, MSG_NOSIGNAL) == 3);
  }
  auto after = connected(service.path);
  CHECK(after->ask_u64(Request::get_features).is_ok());
  after.reset();
  CHECK(service.logged("disconnected"));
  CHECK(open_descriptors() <= before + 3);
}

TEST_CASE("a ring that the guest broke stops alone; the session goes on") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  Disk broken(*client, 0);
  Disk healthy(*client, 1);
  store_le(broken.ring->queue->available() + virtio::kAvailableIndexAt, std::uint16_t{9999});
  broken.ring->notify();
  CHECK(service.logged("queue 0 stopped"));
  CHECK(healthy.request(BlockRequestType::in, 0, 512) == 0);
  CHECK(client->stop_ring(0).is_ok());
}

TEST_CASE("a ring outside the memory is refused with a line, and can be set right") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  Writer place;
  place.put(std::uint32_t{0});
  place.put(std::uint32_t{0});
  for (int i = 0; i < 4; ++i) place.put(std::uint64_t{0x1234'0000});
  REQUIRE(client->send_ring_state(Request::set_vring_num, 0, 64).is_ok());
  REQUIRE(client->send_checked(Request::set_vring_addr, place.span()).is_ok());
  const FileDescriptor kick(::eventfd(0, EFD_CLOEXEC));
  const int fd = kick.get();
  REQUIRE(client->send_u64(Request::set_vring_kick, 0, {&fd, 1}).is_ok());
  REQUIRE(client->send_ring_state(Request::set_vring_enable, 0, 1).is_ok());
  CHECK(service.logged("ring 0 cannot start"));
  Disk disk(*client, 0);
  CHECK(disk.request(BlockRequestType::in, 0, 512) == 0);
}

TEST_CASE("a kick descriptor that is no eventfd is given up instead of spun on") {
  image::NullDevice device(1 << 20);
  Service service(device);
  auto client = connected(service.path);
  Disk disk(*client, 0);
  int pipes[2];
  REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
  ::close(pipes[1]);  // readable for ever: end of file
  REQUIRE(client->send_u64(Request::set_vring_kick, 0, {pipes, 1}).is_ok());
  CHECK(service.logged("no eventfd"));
  ::close(pipes[0]);
}

TEST_CASE("the socket file: mode 0600, a stale one is replaced, a live one is not") {
  image::NullDevice device(1 << 20);
  Service service(device);
  struct stat info {};
  REQUIRE(::lstat(service.path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);

  auto reactor = io::Reactor::create();
  REQUIRE(reactor.is_ok());
  virtio::BlockBackend backend(device, **reactor, {}, [](LogLevel, std::string_view) {});
  const auto listen = [&](const std::string& path) {
    return Server::listen(**reactor, backend, path, [](LogLevel, std::string_view) {});
  };
  CHECK(listen(service.path).status().code() == ErrorCode::address_in_use);
  CHECK(connected(service.path) != nullptr);  // still served

  const std::string folder = temporary_folder();
  const std::string path = folder + "/x.sock";
  {
    const FileDescriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  CHECK(listen(path).is_ok());
  CHECK(::access(path.c_str(), F_OK) != 0);  // and removed with its server
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  CHECK(listen(path).status().code() == ErrorCode::address_in_use);
  CHECK(::access(path.c_str(), F_OK) == 0);  // a file of somebody's is left alone
  ::close(file);
  ::unlink(path.c_str());
  ::rmdir(folder.c_str());
  CHECK(listen(folder + "/x.sock").status().code() == ErrorCode::not_found);
  CHECK(listen(std::string(108, 'x')).status().code() == ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace cairn::vhost_user
