// `npm run explore`: crash states of the object store, by the thousand, against a model.
//
//   explore [--seconds N] [--states N] [--seed S] [--workers N] [--format plain|json]
//           [--wal-kib N] [--data-blocks N] [--replay SEED:STEP:STATE]
//
// Exit code: 0 no finding, 1 a finding, 2 bad arguments.
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "explore/report.hh"

using namespace cairn;
using namespace cairn::explore;

namespace {

constexpr const char* kUsage =
    "usage: npm run explore -- [--seconds N] [--states N] [--seed S] [--workers N]\n"
    "         [--format plain|json] [--wal-kib N] [--data-blocks N] [--replay SEED:STEP:STATE]\n"
    "Without --seconds and --states it runs for 60 s; without --seed the seed is drawn.\n";
constexpr std::uint64_t kLeastWalKib = 64;
constexpr std::uint64_t kMostKib = 1 << 20;
constexpr std::uint64_t kLeastDataBlocks = 80;
constexpr std::uint64_t kMostWorkers = 64;

struct Arguments {
  RunOptions run;
  bool is_json = false;
  std::optional<StateId> replay;
};

[[noreturn]] void usage(const std::string& problem) {
  std::fprintf(stderr, "%s\n%s", problem.c_str(), kUsage);
  std::exit(2);
}

std::uint64_t number(const char* name, const char* text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  if (error != std::errc() || at != end || value < least || value > most)
    usage(std::string(name) + " takes a number from " + std::to_string(least) + " to " +
          std::to_string(most));
  return value;
}

Arguments parse(int count, char** values) {
  constexpr std::uint64_t kAny = ~std::uint64_t{0};
  Arguments arguments;
  bool has_seconds = false;
  std::random_device entropy;
  arguments.run.seed = entropy() % 1'000'000'000;
  for (int i = 1; i < count; ++i) {
    const std::string name = values[i];
    if (name == "--help" || name == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (i + 1 == count) usage("unknown argument, or no value: " + name);
    const char* const value = values[++i];
    if (name == "--seconds") {
      arguments.run.seconds = static_cast<double>(number("--seconds", value, 1, 1'000'000));
      has_seconds = true;
    } else if (name == "--states") {
      arguments.run.most_states = number("--states", value, 1, kAny);
    } else if (name == "--seed") {
      arguments.run.seed = number("--seed", value, 0, kAny);
    } else if (name == "--workers") {
      arguments.run.workers = static_cast<unsigned>(number("--workers", value, 1, kMostWorkers));
    } else if (name == "--wal-kib") {
      const std::uint64_t kib = number("--wal-kib", value, kLeastWalKib, kMostKib);
      if (kib % 4 != 0) usage("--wal-kib takes a multiple of 4");
      arguments.run.geometry.wal_bytes = kib << 10;
    } else if (name == "--data-blocks") {
      arguments.run.geometry.data_blocks =
          static_cast<std::uint32_t>(number("--data-blocks", value, kLeastDataBlocks, kMostKib));
    } else if (name == "--format") {
      arguments.is_json = std::strcmp(value, "json") == 0;
      if (!arguments.is_json && std::strcmp(value, "plain") != 0)
        usage("--format is plain or json");
    } else if (name == "--replay") {
      arguments.replay = StateId::parse(value);
      if (!arguments.replay) usage("--replay takes SEED:STEP:STATE");
    } else {
      usage("unknown argument: " + name);
    }
  }
  if (arguments.run.most_states > 0 && !has_seconds) arguments.run.seconds = 0;
  return arguments;
}

// Everything goes on; remembers whether something was found.
class ReplaySink final : public ExplorerSink {
 public:
  bool go_on(const StateId&) override { return true; }
  void found(const StateId&, const std::string&) override { has_found = true; }
  bool has_found = false;
};

int replay(const Arguments& arguments) {
  Tally tally;
  ReplaySink sink;
  Explorer explorer(arguments.run.geometry, tally, sink);
  const std::optional<std::string> text = explorer.replay(*arguments.replay);
  if (!text) usage("the seed has no state " + arguments.replay->to_string());
  std::printf("%s\n%s\n", arguments.replay->to_string().c_str(), text->c_str());
  return sink.has_found ? 1 : 0;
}

int run(const Arguments& arguments) {
  const bool shows_progress = ::isatty(STDERR_FILENO) == 1;
  const RunOptions& options = arguments.run;
  if (!arguments.is_json)
    std::fprintf(stderr, "seed %lu\n", static_cast<unsigned long>(options.seed));
  const RunResult result = run_workers(options, [&](const RunResult& now) {
    if (shows_progress) std::fprintf(stderr, "\r%s ", progress_line(now, options).c_str());
  });
  if (shows_progress) std::fputc('\n', stderr);
  const std::string report =
      arguments.is_json ? json_report(result, options) : plain_report(result, options);
  std::fputs(report.c_str(), stdout);
  if (result.tally.total() == 0) std::fputs("nothing was checked\n", stderr);
  return result.findings.empty() && result.tally.total() > 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  const Arguments arguments = parse(count, values);
  return arguments.replay ? replay(arguments) : run(arguments);
}
