// A disk of zeros on a vhost-user socket and nothing else: what the front end costs by itself.
//   bench_vhost_null_server --socket PATH [--size-bytes N] [--queues N]
// Ends on SIGINT or SIGTERM.
#include <signal.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "image/null_device.hh"
#include "io/reactor.hh"
#include "vhost_user/server.hh"
#include "virtio/block_backend.hh"

namespace {

using namespace cairn;

struct Options {
  std::string socket;
  std::uint64_t size_bytes = std::uint64_t{1} << 30;
  std::uint32_t queues = 1;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--socket")
      options.socket = argv[i + 1];
    else if (name == "--size-bytes")
      options.size_bytes = std::strtoull(argv[i + 1], nullptr, 10);
    else if (name == "--queues")
      options.queues = static_cast<std::uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
    else
      return false;
  }
  return argc % 2 == 1 && !options.socket.empty() && options.queues >= 1 &&
         options.queues <= virtio::BlockBackend::kMaxQueues;
}

void print_log(LogLevel, std::string_view text) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

int fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: %s --socket PATH [--size-bytes N] [--queues 1-64]\n", argv[0]);
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const vhost_user::FileDescriptor signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC));

  auto reactor = io::Reactor::create();
  if (!reactor) return fail(reactor.status());
  io::Reactor& loop = **reactor;
  image::NullDevice device(options.size_bytes);
  virtio::BlockBackend backend(device, loop, {options.queues, "null"}, print_log);
  auto server = vhost_user::Server::listen(loop, backend, options.socket, print_log);
  if (!server) return fail(server.status());
  const io::WatchId watch = loop.watch_readable(signal_fd.get(), [&] {
    signalfd_siginfo info;
    [[maybe_unused]] const ssize_t got = ::read(signal_fd.get(), &info, sizeof info);
    (*server)->close([&] { loop.stop(); });
  });
  loop.run();
  loop.unwatch(watch);
  server->reset();
  return 0;
}
