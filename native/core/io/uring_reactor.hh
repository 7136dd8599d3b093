// UringReactor: the Reactor on io_uring.
//
// Invariants
// - Outside run() the kernel holds none of our operations and no memory of ours: operations wait in
//   a backlog, and run() takes everything back before it returns (what a cancellation there stopped
//   is repeated by the next run(), what completed is delivered by it). So the reactor may be made
//   on one thread, run on another and destroyed on a third once run() has returned.
// - An operation has exactly one completion; its record is free again before its callback runs.
// - Callbacks run from the loop only, never inside the method that started or cancelled something.
// - One io_uring_enter per wake-up submits, waits and collects; under load there may be one more
//   before and behind a yield (batch_yield.hh). Without timers, posted tasks or
//   pollers that found work it waits without a limit: an idle reactor has no wake-ups of its own.
//
// Does not: keep descriptors (the caller closes them, after cancel_fd), register buffers (locked
// memory may be scarce), retry what the kernel refused.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "io/batch_yield.hh"
#include "io/operation_slab.hh"
#include "io/reactor.hh"
#include "io/timer_queue.hh"
#include "io/yield_backoff.hh"

namespace cairn::io {

class UringReactor final : public Reactor {
 public:
  // Probes the kernel and makes the ring, disabled until run(). Errors: unsupported_feature with
  // the remedy.
  static Result<std::unique_ptr<UringReactor>> make();
  // Drops what is pending: its callbacks are destroyed without being called. Not from a callback.
  ~UringReactor() override;
  UringReactor(const UringReactor&) = delete;
  UringReactor& operator=(const UringReactor&) = delete;

  std::uint64_t now_ns() const override;
  void post(Task task) override;
  TimerId run_after(std::uint64_t delay_ns, Task task) override;
  void cancel(TimerId id) override;

  // A stop() that came before makes it return at once (and is used up). It may be called again,
  // always on the same thread.
  void run() override;
  void stop() override;
  void post_from_any_thread(Task task) override;

  WatchId watch_readable(int fd, UniqueFunction<void()> ready) override;
  void unwatch(WatchId id) override;

  void recv(int fd, MutableByteSpan into, IoDone done) override;
  void sendmsg(int fd, const msghdr* message, IoDone done) override;
  void accept(int fd, IoDone done) override;
  void connect(int fd, const sockaddr* address, socklen_t length, IoDone done) override;
  void readv(int fd, std::span<const iovec> into, std::uint64_t offset, IoDone done) override;
  void writev(int fd, std::span<const iovec> from, std::uint64_t offset, int flags,
              IoDone done) override;
  void fdatasync(int fd, IoDone done) override;
  int fdatasync_here(int fd) override;
  void fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
                 IoDone done) override;
  // Also ends every watch of the descriptor. A file operation that is already executing is not
  // interrupted and reports its own result.
  void cancel_fd(int fd) override;

  WatchId add_poller(std::uint64_t spin_ns, UniqueFunction<bool()> poll,
                     UniqueFunction<bool()> before_sleep = nullptr) override;
  void remove_poller(WatchId id) override;

  // How often the thread entered the kernel for the ring; for tests and metrics.
  std::uint64_t enter_count() const { return enter_count_; }
  // How often it has offered its processor before it would have slept.
  std::uint64_t yield_count() const { return yield_count_; }

 private:
  struct Watch {
    int fd;
    UniqueFunction<void()> ready;
    Operation* poll;  // the armed one-shot poll, or null while ready runs
  };
  struct Poller {
    WatchId id;
    std::uint64_t spin_ns;
    UniqueFunction<bool()> poll;
    UniqueFunction<bool()> before_sleep;  // may be empty
    bool removed;
  };
  // How the next io_uring_enter waits.
  struct Wait {
    bool block = false;
    bool bounded = false;
    std::uint64_t timeout_ns = 0;
  };

  UringReactor(const io_uring& ring, int wake_fd);

  Operation* start(const io_uring_sqe& sqe, IoDone done);
  void put_backlog_in_ring();
  void submit();
  bool has_unsubmitted() const;
  io_uring_sqe* sqe_now();
  void submit_and_wait(const Wait& wait);
  bool kernel_has_news() const;
  void check_enter(int result) const;
  void handle_completions();
  void deliver(Operation* operation, int result);
  void deliver_finished();

  void run_due_timers();
  void run_posted();
  void take_foreign_tasks();
  bool ask_pollers(UniqueFunction<bool()> Poller::*question);
  bool spin(std::uint64_t now);
  bool yield_for_batch();
  Wait choose_wait();
  void wake();

  void start_on_this_thread();
  void leave_kernel();
  void take_back(Operation* operation, int result);
  void finish(Operation* operation, int result);

  void arm_wake();
  void arm_watch(WatchId id, Watch& watch);
  void on_poll(WatchId id, int result);

  io_uring ring_;
  int wake_fd_;                   // eventfd; other threads write it
  std::uint64_t wake_value_ = 0;  // of the read that is always armed on wake_fd_
  bool running_ = false;
  bool enabled_ = false;
  std::thread::id thread_;     // of run(), once enabled
  std::size_t in_kernel_ = 0;  // operations that will still complete
  std::uint64_t enter_count_ = 0;

  OperationSlab operations_;
  std::deque<Operation*> backlog_;    // waiting, in order
  std::vector<Operation*> finished_;  // result known, callback still to run
  TimerQueue timers_;
  std::uint64_t timer_rank_ = 0;
  std::vector<Task> posted_;  // added by post()
  std::vector<Task> round_;   // being run, from round_next_ on
  std::size_t round_next_ = 0;
  std::unordered_map<WatchId, Watch> watches_;
  std::vector<std::unique_ptr<Poller>> pollers_;
  WatchId next_watch_id_ = 1;
  std::uint64_t poller_found_ns_ = 0;  // when a poller last found work
  YieldBackoff yield_backoff_;
  BatchYield batch_yield_;
  std::uint64_t yield_count_ = 0;
  bool is_awaited_ = false;  // somebody waits for one that is not submitted yet

  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> foreign_waiting_{false};
  std::mutex foreign_mutex_;   // guards the two below
  std::vector<Task> foreign_;  // from post_from_any_thread
  bool sleeping_ = false;      // a wake-up needs the eventfd, and none is on its way
};

}  // namespace cairn::io
