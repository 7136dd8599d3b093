// Mappings per second of the CRUSH mapper, beside crushtool's time for the same million inputs.
//
//   bench_crush MAP.cmap RULE NUM_REP [MAP.bin]
//
// MAP.bin is the same map as `crushtool -c` made it; with it, crushtool runs too (needs ceph-base),
// without output of mappings, and the ratio is printed. Its time includes its start and its own
// statistics, about a tenth of the whole.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "crush/map_codec.hh"
#include "crush/mapper.hh"

using namespace cairn;
using namespace cairn::crush;

namespace {

constexpr std::uint32_t kInputCount = 1000000;
constexpr int kRounds = 3;  // the best one counts: other programs share the machine

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Work>
double best_time_s(Work&& work) {
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const double start = now_s();
    work();
    best = std::min(best, now_s() - start);
  }
  return best;
}

std::uint32_t parse_number(const char* text) {
  return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: bench_crush MAP.cmap RULE NUM_REP [MAP.bin]\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  const Result<Map> map = decode_map(as_bytes(bytes.str()));
  const std::uint32_t rule_id = parse_number(argv[2]);
  const std::uint32_t num_rep = parse_number(argv[3]);
  if (!map || map.value().find_rule(rule_id) == nullptr || num_rep > kMaxResultSize) {
    std::fprintf(stderr, "bench_crush: no such map or rule: %s\n",
                 map.status().to_string().c_str());
    return 1;
  }
  const std::vector<std::uint32_t> weights(map.value().max_devices, kWeightOne);
  std::array<ItemId, kMaxResultSize> row;
  std::uint64_t device_count = 0;
  const double own_s = best_time_s([&] {
    for (std::uint32_t x = 0; x < kInputCount; ++x)
      device_count += static_cast<std::uint64_t>(
          do_rule(map.value(), rule_id, x, weights, std::span(row).first(num_rep)));
  });
  std::printf("cairn     %8.3f s  %9.0f mappings/s  (%.2f devices a mapping)\n", own_s,
              kInputCount / own_s, static_cast<double>(device_count) / kRounds / kInputCount);
  if (argc == 4) return 0;
  const std::string command = std::string("crushtool -i '") + argv[4] + "' --test --rule " +
                              argv[2] + " --num-rep " + argv[3] +
                              " --min-x 0 --max-x 999999 2>/dev/null";
  int status = 0;
  const double theirs_s = best_time_s([&] { status |= std::system(command.c_str()); });
  if (status != 0) {
    std::fprintf(stderr, "bench_crush: crushtool failed\n");
    return 1;
  }
  std::printf("crushtool %8.3f s  %9.0f mappings/s\nratio     %8.2f\n", theirs_s,
              kInputCount / theirs_s, theirs_s / own_s);
  return 0;
}
