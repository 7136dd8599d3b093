// Drives a vhost-user-blk back end without a guest: IOPS, latency and CPU of the front end.
//   bench_vhost_null --socket PATH [--queue-depth N] [--seconds S] [--io-size BYTES]
//       [--pattern rand|seq] [--op read|write] [--wait call|spin] [--server-pid PID] [--json]
// --wait call: sleeps until the back end interrupts, as a guest's kernel does. spin: looks at the
// used ring without end. It works with any back end, qemu-storage-daemon's included.
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "base/histogram.hh"
#include "vhost_user/client.hh"
#include "virtio/block_request.hh"

namespace {

using namespace cairn;
using virtio::DriverQueue;

constexpr std::uint32_t kMaxQueueDepth = 256;
constexpr std::uint32_t kDescriptorsPerRequest = 3;
constexpr int kStallMs = 5'000;

struct Options {
  std::string socket;
  std::uint32_t queue_depth = 1;
  double seconds = 3;
  std::uint32_t io_bytes = 4096;
  bool random = true;
  bool write = false;
  bool spin = false;
  int server_pid = 0;
  bool json = false;
};

bool parse_pair(const std::string& name, const std::string& value, Options& options) {
  if (name == "--socket")
    options.socket = value;
  else if (name == "--queue-depth")
    options.queue_depth = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
  else if (name == "--seconds")
    options.seconds = std::strtod(value.c_str(), nullptr);
  else if (name == "--io-size")
    options.io_bytes = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
  else if (name == "--pattern" && (value == "rand" || value == "seq"))
    options.random = value == "rand";
  else if (name == "--op" && (value == "read" || value == "write"))
    options.write = value == "write";
  else if (name == "--wait" && (value == "call" || value == "spin"))
    options.spin = value == "spin";
  else if (name == "--server-pid")
    options.server_pid = std::atoi(value.c_str());
  else
    return false;
  return true;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 >= argc || !parse_pair(name, argv[++i], options)) return false;
  }
  return !options.socket.empty() && options.queue_depth >= 1 &&
         options.queue_depth <= kMaxQueueDepth && options.seconds > 0 && options.io_bytes >= 512 &&
         options.io_bytes % 512 == 0 && options.io_bytes <= (1U << 20);
}

std::uint64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

double own_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// utime and stime, fields 14 and 15 of /proc/PID/stat; the name before them may contain spaces.
double cpu_seconds_of(int pid) {
  if (pid <= 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const auto end_of_name = text.rfind(')');
  if (end_of_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(end_of_name + 2));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user_ticks = 0;
  double system_ticks = 0;
  fields >> user_ticks >> system_ticks;
  return (user_ticks + system_ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

struct Measured {
  std::uint64_t operations = 0;
  std::uint64_t errors = 0;
  bool stalled = false;
  double seconds = 0;
  double client_cpu_seconds = 0;
  double server_cpu_seconds = 0;
  Histogram latency;
};

// Keeps queue_depth requests in flight. One slot of shared memory each: header, status, data.
class Load {
 public:
  Load(vhost_user::Client& client, vhost_user::Client::Ring& ring, const Options& options,
       std::uint64_t disk_bytes)
      : ring_(ring),
        queue_(*ring.queue),
        options_(options),
        places_(disk_bytes / options.io_bytes),
        slots_(options.queue_depth),
        slot_of_head_(queue_.size()) {
    for (Slot& slot : slots_) {
      slot.header = client.take_memory(virtio::kBlockHeaderBytes + 1);
      slot.data = client.take_memory(options.io_bytes);
    }
  }

  Measured run() {
    const double client_before = own_cpu_seconds();
    const double server_before = cpu_seconds_of(options_.server_pid);
    const std::uint64_t start = now_ns();
    const std::uint64_t end = start + static_cast<std::uint64_t>(options_.seconds * 1e9);
    std::uint64_t now = start;
    for (std::uint32_t i = 0; i < slots_.size(); ++i) submit(i, now);
    publish();
    while (now < end && !result_.stalled) {
      wait_for_used();
      now = now_ns();
      while (const auto used = queue_.take_used()) {
        const std::uint32_t slot = slot_of_head_[used->head];
        complete(slot, now);
        submit(slot, now);
      }
      publish();
    }
    result_.seconds = static_cast<double>(now - start) * 1e-9;
    result_.client_cpu_seconds = own_cpu_seconds() - client_before;
    result_.server_cpu_seconds = cpu_seconds_of(options_.server_pid) - server_before;
    return result_;
  }

 private:
  struct Slot {
    vhost_user::Client::Room header;
    vhost_user::Client::Room data;
    std::uint64_t started_ns = 0;
  };

  std::uint64_t next_place() {
    if (!options_.random) return sequence_++ % places_;
    seed_ ^= seed_ << 13;  // xorshift64
    seed_ ^= seed_ >> 7;
    seed_ ^= seed_ << 17;
    return seed_ % places_;
  }

  void submit(std::uint32_t index, std::uint64_t now) {
    Slot& slot = slots_[index];
    slot.started_ns = now;
    const std::uint64_t sector = next_place() * (options_.io_bytes / virtio::kSectorBytes);
    const auto type = options_.write ? virtio::BlockRequestType::out : virtio::BlockRequestType::in;
    store_le(slot.header.data, static_cast<std::uint32_t>(type));
    store_le(slot.header.data + 4, std::uint32_t{0});
    store_le(slot.header.data + 8, sector);
    slot.header.data[virtio::kBlockHeaderBytes] = std::byte{0xff};
    const DriverQueue::Piece pieces[kDescriptorsPerRequest] = {
        {slot.header.guest_address, virtio::kBlockHeaderBytes, false},
        {slot.data.guest_address, options_.io_bytes, !options_.write},
        {slot.header.guest_address + virtio::kBlockHeaderBytes, 1, true}};
    const auto head = queue_.add(pieces);
    CAIRN_ASSERT(head.has_value());
    slot_of_head_[*head] = index;
  }

  void complete(std::uint32_t index, std::uint64_t now) {
    Slot& slot = slots_[index];
    ++result_.operations;
    if (slot.header.data[virtio::kBlockHeaderBytes] != std::byte{0}) ++result_.errors;
    result_.latency.record(now - slot.started_ns);
  }

  void publish() {
    if (queue_.publish()) ring_.notify();
  }

  void wait_for_used() {
    if (options_.spin) {
      for (std::uint64_t turns = 1; !queue_.has_used(); ++turns) {
        __builtin_ia32_pause();
        if (turns % (1U << 28) == 0) result_.stalled = true;
        if (result_.stalled) return;
      }
      return;
    }
    while (!queue_.enable_calls()) {
      if (!ring_.wait_for_call(kStallMs)) {
        result_.stalled = !queue_.has_used();
        return;
      }
    }
    queue_.disable_calls();
  }

  vhost_user::Client::Ring& ring_;
  DriverQueue& queue_;
  const Options& options_;
  std::uint64_t places_;
  std::uint64_t sequence_ = 0;
  std::uint64_t seed_ = 0x9e3779b97f4a7c15;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> slot_of_head_;
  Measured result_;
};

void print(const Options& options, const Measured& result) {
  const auto operations = static_cast<double>(result.operations);
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-3; };
  const double mean_us = result.operations == 0 ? 0 : us(result.latency.sum_ns()) / operations;
  const double client_us = result.client_cpu_seconds * 1e6 / operations;
  const double server_us = result.server_cpu_seconds * 1e6 / operations;
  const char* format =
      options.json ? "{\"queueDepth\":%u,\"iops\":%.0f,\"latencyUs\":{\"mean\":%.2f,\"p50\":%.2f,"
                     "\"p99\":%.2f,\"max\":%.2f},\"cpuUsPerOp\":{\"client\":%.3f,\"server\":%.3f},"
                     "\"errors\":%llu}\n"
                   : "QD%u: %.0f IOPS, latency mean %.2f us, p50 %.2f, p99 %.2f, max %.2f; CPU per "
                     "operation: client %.3f us, server %.3f us; %llu errors\n";
  std::printf(format, options.queue_depth, operations / result.seconds, mean_us,
              us(result.latency.percentile_ns(0.5)), us(result.latency.percentile_ns(0.99)),
              us(result.latency.max_ns()), client_us, server_us,
              static_cast<unsigned long long>(result.errors));
}

int fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: %s --socket PATH [--queue-depth 1-256] [--seconds S] [--io-size BYTES]\n"
                 "  [--pattern rand|seq] [--op read|write] [--wait call|spin] [--server-pid PID]\n"
                 "  [--json]\n",
                 argv[0]);
    return 2;
  }
  auto client = vhost_user::Client::connect(options.socket, {.memory_bytes = 512U << 20});
  if (!client) return fail(client.status());
  auto config = (*client)->read_config(virtio::kBlockConfigBytes);
  if (!config) return fail(config.status());
  const std::uint64_t disk_bytes = load_le<std::uint64_t>(config->data()) * virtio::kSectorBytes;
  if (disk_bytes < options.io_bytes)
    return fail({ErrorCode::invalid_argument, "the disk is smaller than one operation"});
  auto ring = (*client)->start_ring(0, 1024);
  if (!ring) return fail(ring.status());
  const Measured result = Load(**client, **ring, options, disk_bytes).run();
  print(options, result);
  if (result.stalled) return fail({ErrorCode::timed_out, "the back end stopped answering"});
  if (const auto base = (*client)->stop_ring(0); !base) return fail(base.status());
  return result.errors == 0 ? 0 : 1;
}
