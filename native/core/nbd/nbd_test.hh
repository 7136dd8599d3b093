// What the tests of the server share: a client that writes its bytes by hand, and a server on a
// reactor of its own thread.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../../test/memory_device.hh"
#include "nbd/nbd_server.hh"

namespace cairn::nbd {

constexpr std::uint64_t kDiskBytes = 256 << 20;

// A blocking client on a Unix socket.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const timeval timeout{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  ~Client() { leave(); }
  void leave() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  template <typename... T>
  void send(T... numbers) {
    std::vector<std::byte> bytes;
    (
        [&] {
          std::byte encoded[sizeof numbers];
          store_be(encoded, numbers);
          bytes.insert(bytes.end(), encoded, encoded + sizeof numbers);
        }(),
        ...);
    send_bytes(bytes);
  }
  void send_bytes(ByteSpan bytes) {
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  // Fewer bytes when the server closed.
  std::vector<std::byte> receive(std::size_t length) {
    std::vector<std::byte> bytes(length);
    std::size_t filled = 0;
    while (filled < length) {
      const ssize_t got = ::recv(fd_, bytes.data() + filled, length - filled, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      filled += static_cast<std::size_t>(got);
    }
    bytes.resize(filled);
    return bytes;
  }
  template <typename T>
  T number() {
    const auto bytes = receive(sizeof(T));
    REQUIRE(bytes.size() == sizeof(T));
    return load_be<T>(bytes.data());
  }
  bool closed() { return receive(1).empty(); }
  int fd() const { return fd_; }

  void option(Option type, std::string_view data = {}) {
    send(kOptionMagic, static_cast<std::uint32_t>(type), static_cast<std::uint32_t>(data.size()));
    send_bytes(as_bytes(data));
  }
  OptionReply answer() {
    REQUIRE(number<std::uint64_t>() == kOptionReplyMagic);
    static_cast<void>(number<std::uint32_t>());
    const auto type = static_cast<OptionReply>(number<std::uint32_t>());
    static_cast<void>(receive(number<std::uint32_t>()));
    return type;
  }
  // Goes to the transmission phase.
  void start(bool structured, std::vector<std::string> contexts = {"base:allocation"}) {
    REQUIRE(receive(18).size() == 18);
    send(std::uint32_t{3});
    if (structured) {
      option(Option::structured_reply);
      REQUIRE(answer() == OptionReply::ack);
      std::string query("\0\0\0\0\0\0\0", 7);
      query += static_cast<char>(contexts.size());
      for (const std::string& context : contexts)
        query += std::string("\0\0\0", 3) + static_cast<char>(context.size()) + context;
      option(Option::set_meta_context, query);
      for (std::size_t i = 0; i < contexts.size(); ++i)
        REQUIRE(answer() == OptionReply::meta_context);
      REQUIRE(answer() == OptionReply::ack);
    }
    option(Option::export_name);
    REQUIRE(receive(10).size() == 10);
  }
  void request(Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0,
               std::uint64_t cookie = 1) {
    send(kRequestMagic, flags, static_cast<std::uint16_t>(command), cookie, offset, length);
  }
  WireError simple_reply(std::uint64_t cookie = 1) {
    REQUIRE(number<std::uint32_t>() == kSimpleReplyMagic);
    const auto error = static_cast<WireError>(number<std::uint32_t>());
    REQUIRE(number<std::uint64_t>() == cookie);
    return error;
  }
  struct Chunk {
    std::uint16_t flags;
    ReplyType type;
    std::vector<std::byte> body;
  };
  Chunk chunk() {
    REQUIRE(number<std::uint32_t>() == kStructuredReplyMagic);
    Chunk result;
    result.flags = number<std::uint16_t>();
    result.type = static_cast<ReplyType>(number<std::uint16_t>());
    static_cast<void>(number<std::uint64_t>());
    result.body = receive(number<std::uint32_t>());
    return result;
  }

 private:
  int fd_;
};

// Two bitmaps: of the first the blocks 2 and 3 are dirty, the second can't be told.
class TestBitmaps final : public DirtySource {
 public:
  explicit TestBitmaps(std::vector<std::string> names = {"good", "bad"})
      : names_(std::move(names)) {}
  std::vector<std::string> names() const override { return names_; }
  void dirty(std::size_t bitmap, std::uint64_t offset, std::uint64_t,
             image::ExtentsDone done) override {
    if (bitmap == 1) return done({ErrorCode::timed_out, "the test's bitmap"}, {});
    std::vector<image::Extent> extents;
    if (offset < 16384) extents.push_back({8192, 8192, image::ExtentState::data});
    done(Status::ok(), std::move(extents));
  }

 private:
  std::vector<std::string> names_;
};

// A server on a reactor of its own thread. The device belongs to that thread: run() enters it.
class Fixture {
 public:
  explicit Fixture(bool read_only = false) {
    char pattern[] = "/tmp/cairn-nbd-XXXXXX";
    folder_ = ::mkdtemp(pattern);
    reactor_ = std::move(*io::Reactor::create());
    device_ = std::make_unique<test::MemoryDevice>(*reactor_, kDiskBytes, read_only);
    ServerOptions options;
    options.unix_path = path();
    options.export_name = "disk";
    options.dirty = std::make_shared<TestBitmaps>();
    options.max_connections = 4;
    options.limits.negotiation_timeout_ns = 300'000'000;
    auto server = NbdServer::listen(*reactor_, *device_, options,
                                    [this](LogLevel, std::string_view) { ++log_lines; });
    REQUIRE(server.is_ok());
    server_ = std::move(*server);
    thread_ = std::thread([this] { reactor_->run(); });
  }
  ~Fixture() {
    reactor_->stop();
    thread_.join();
    server_.reset();
    CHECK(::access(path().c_str(), F_OK) != 0);
    ::rmdir(folder_.c_str());
  }
  std::string path() const { return folder_ + "/nbd.sock"; }
  // Runs the task on the reactor's thread and waits for it.
  template <typename F>
  void run(F task) {
    std::atomic<bool> ran{false};
    reactor_->post_from_any_thread([&] {
      task();
      ran.store(true);
      ran.notify_one();
    });
    ran.wait(false);
  }
  // Asks on the reactor's thread until it is true, for ten seconds at most.
  template <typename F>
  bool wait_until(F reached) {
    bool result = false;
    for (int i = 0; i < 10'000 && !result; ++i) {
      run([&] { result = reached(); });
      if (!result) ::usleep(1000);
    }
    return result;
  }
  io::Reactor& reactor() { return *reactor_; }
  test::MemoryDevice& device() { return *device_; }
  NbdServer& server() { return *server_; }
  std::atomic<int> log_lines{0};

 private:
  std::string folder_;
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<test::MemoryDevice> device_;
  std::unique_ptr<NbdServer> server_;
  std::thread thread_;
};

inline std::vector<std::byte> pattern(std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(i * 13 + 1);
  return bytes;
}

}  // namespace cairn::nbd
