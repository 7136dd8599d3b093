// Serves a disk in memory over NBD until it gets SIGTERM or SIGINT: to measure the NBD front end
// alone, and for outside clients (nbdinfo, nbdcopy, qemu-img, fio) to test it against.
//   bench_nbd_memory_server SOCKET_PATH SIZE_MIB [read-only]
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "../test/memory_device.hh"
#include "io/reactor.hh"
#include "nbd/nbd_server.hh"

namespace {

using cairn::LogLevel;

// A descriptor that becomes readable on SIGTERM or SIGINT.
int open_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t size_mib = argc >= 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (size_mib == 0) {
    std::fprintf(stderr, "usage: %s SOCKET_PATH SIZE_MIB [read-only]\n", argv[0]);
    return 2;
  }
  auto reactor = cairn::io::Reactor::create();
  if (!reactor) {
    std::fprintf(stderr, "%s\n", reactor.status().to_string().c_str());
    return 1;
  }
  cairn::test::MemoryDevice device(**reactor, size_mib << 20);
  cairn::nbd::ServerOptions options;
  options.unix_path = argv[1];
  options.export_name = "memory";
  options.read_only = argc > 3 && std::string_view(argv[3]) == "read-only";
  auto server = cairn::nbd::NbdServer::listen(
      **reactor, device, options, [](LogLevel, std::string_view line) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
      });
  if (!server) {
    std::fprintf(stderr, "%s\n", server.status().to_string().c_str());
    return 1;
  }
  (*reactor)->watch_readable(open_signals(), [&reactor] { (*reactor)->stop(); });
  (*reactor)->run();
  return 0;
}
