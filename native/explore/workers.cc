// Forks the workers, watches them, and adds up what they say.
#include "explore/workers.hh"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

namespace cairn::explore {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostFindingsOfWorker = 16;
constexpr std::size_t kFindingBytes = 1024;
constexpr auto kPollInterval = std::chrono::milliseconds(100);
// A state takes a millisecond; a machine that is busy with other things, or a sanitizer, some more.
constexpr double kHangSeconds = 60;
constexpr std::size_t kTallyWords = sizeof(Tally) / sizeof(std::uint64_t);
static_assert(sizeof(Tally) % sizeof(std::uint64_t) == 0);

// In memory that the parent and one worker share.
struct Page {
  struct Finding {
    StateId state;
    char text[kFindingBytes];
  };
  std::atomic<bool> stop;
  std::atomic<std::uint64_t> seed, step, state;  // about to be checked
  std::atomic<std::uint64_t> beats;
  std::atomic<std::uint64_t> tally[kTallyWords];
  std::atomic<std::uint64_t> finding_count;  // those before it are complete
  Finding findings[kMostFindingsOfWorker];

  StateId at() const { return {seed, step, state}; }
};

Page* shared_page() {
  void* const memory =
      ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CAIRN_ASSERT(memory != MAP_FAILED);
  return new (memory) Page();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The worker's side.
class PageSink final : public ExplorerSink {
 public:
  PageSink(Page& page, const Tally& tally) : page_(page), tally_(tally) {}

  bool go_on(const StateId& next) override {
    publish();
    page_.seed = next.seed;
    page_.step = next.step;
    page_.state = next.state;
    ++page_.beats;
    return !page_.stop && page_.finding_count < kMostFindingsOfWorker;
  }
  void found(const StateId& state, const std::string& text) override {
    publish();
    const std::uint64_t count = page_.finding_count;
    if (count >= kMostFindingsOfWorker) return;
    Page::Finding& finding = page_.findings[count];
    finding.state = state;
    const std::size_t length = text.copy(finding.text, kFindingBytes - 1);
    finding.text[length] = '\0';
    page_.finding_count = count + 1;
  }
  bool is_stopped() const { return page_.stop || page_.finding_count >= kMostFindingsOfWorker; }

 private:
  void publish() {
    std::uint64_t words[kTallyWords];
    std::memcpy(words, &tally_, sizeof words);
    for (std::size_t i = 0; i < kTallyWords; ++i)
      page_.tally[i].store(words[i], std::memory_order_relaxed);
  }

  Page& page_;
  const Tally& tally_;
};

[[noreturn]] void run_worker(Page& page, const RunOptions& options, unsigned number) {
  Tally tally;
  PageSink sink(page, tally);
  Explorer explorer(options.geometry, tally, sink);
  for (std::uint64_t seed = options.seed + number; !sink.is_stopped(); seed += options.workers) {
    explorer.explore(seed);
    sink.go_on({seed, 0, 0});
  }
  ::_exit(0);
}

// The parent's side.
class Watcher {
 public:
  explicit Watcher(const RunOptions& options) : options_(options), start_(Clock::now()) {
    for (unsigned number = 0; number < options.workers; ++number) start_worker(number);
  }
  ~Watcher() {
    for (Worker& worker : workers_) {
      end(worker);
      ::munmap(worker.page, sizeof(Page));
    }
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  RunResult run(UniqueFunction<void(const RunResult&)>& progress) {
    while (is_any_alive()) {
      std::this_thread::sleep_for(kPollInterval);
      for (Worker& worker : workers_) watch(worker);
      add_up();
      progress(result_);
      const bool is_over =
          (options_.seconds > 0 && result_.seconds >= options_.seconds) ||
          (options_.most_states > 0 && result_.tally.total() >= options_.most_states) ||
          result_.findings.size() >= options_.most_findings;
      if (is_over)
        for (Worker& worker : workers_) worker.page->stop = true;
    }
    return result_;
  }

 private:
  struct Worker {
    Page* page = nullptr;
    pid_t pid = -1;  // -1: it has ended
    std::uint64_t findings_seen = 0;
    std::uint64_t beats_seen = 0;
    Clock::time_point last_beat;
  };

  void start_worker(unsigned number) {
    Worker& worker = workers_.emplace_back();
    worker.page = shared_page();
    worker.last_beat = start_;
    worker.pid = ::fork();
    CAIRN_ASSERT(worker.pid >= 0);
    if (worker.pid == 0) run_worker(*worker.page, options_, number);
  }
  bool is_any_alive() const {
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const Worker& worker) { return worker.pid > 0; });
  }
  void end(Worker& worker) {
    if (worker.pid <= 0) return;
    ::kill(worker.pid, SIGKILL);
    ::waitpid(worker.pid, nullptr, 0);
    worker.pid = -1;
  }
  void add_finding(const StateId& state, std::string text) {
    result_.findings.push_back({state, std::move(text), seconds_since(start_)});
  }

  void watch(Worker& worker) {
    const std::uint64_t count = worker.page->finding_count;
    for (; worker.findings_seen < count; ++worker.findings_seen) {
      const Page::Finding& finding = worker.page->findings[worker.findings_seen];
      add_finding(finding.state, finding.text);
    }
    if (worker.pid <= 0) return;
    if (const std::uint64_t beats = worker.page->beats; beats != worker.beats_seen) {
      worker.beats_seen = beats;
      worker.last_beat = Clock::now();
    } else if (seconds_since(worker.last_beat) > kHangSeconds) {
      end(worker);
      return add_finding(worker.page->at(), "the store hangs");
    }
    int status = 0;
    if (::waitpid(worker.pid, &status, WNOHANG) != worker.pid) return;
    worker.pid = -1;
    if (WIFSIGNALED(status))
      add_finding(worker.page->at(),
                  "the store died of signal " + std::to_string(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
      add_finding(worker.page->at(), "exit code " + std::to_string(WEXITSTATUS(status)));
  }

  void add_up() {
    std::uint64_t sums[kTallyWords] = {};
    for (const Worker& worker : workers_)
      for (std::size_t i = 0; i < kTallyWords; ++i)
        sums[i] += worker.page->tally[i].load(std::memory_order_relaxed);
    std::memcpy(static_cast<void*>(&result_.tally), sums, sizeof sums);
    result_.seconds = seconds_since(start_);
  }

  const RunOptions& options_;
  const Clock::time_point start_;
  std::vector<Worker> workers_;
  RunResult result_;
};

}  // namespace

RunResult run_workers(const RunOptions& options, UniqueFunction<void(const RunResult&)> progress) {
  return Watcher(options).run(progress);
}

}  // namespace cairn::explore
