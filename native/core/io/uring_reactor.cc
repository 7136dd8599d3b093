// The loop and the operations of UringReactor; see the header for its invariants.
#include "io/uring_reactor.hh"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>
#include <utility>

#include "io/scheduling.hh"
#include "io/uring_setup.hh"

namespace cairn::io {

namespace {

// Tasks per turn of the loop: long enough to batch what they submit, short enough that a chain of
// tasks that post each other cannot keep completions and timers waiting.
constexpr std::size_t kTasksPerTurn = 256;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
// leave_kernel() repeats its cancellation this often, for an operation that was just between two
// states when the last one looked.
constexpr std::uint64_t kCancelRepeatNs = 10'000'000;

// Whether nobody waits for the operation to begin: it ends when something comes in.
bool takes_in(const io_uring_sqe& sqe) {
  return sqe.opcode == IORING_OP_RECV || sqe.opcode == IORING_OP_POLL_ADD ||
         sqe.opcode == IORING_OP_ACCEPT || sqe.opcode == IORING_OP_READ;
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create() {
  auto made = UringReactor::make();
  if (!made) return made.status();
  return std::unique_ptr<Reactor>(std::move(made.value()));
}

Result<std::unique_ptr<UringReactor>> UringReactor::make() {
  Result<io_uring> ring = make_disabled_ring();
  if (!ring) return ring.status();
  // Blocking on purpose: the ring waits for it by itself; a non-blocking one would answer EAGAIN.
  const int wake_fd = ::eventfd(0, EFD_CLOEXEC);
  if (wake_fd < 0) {
    const int error_number = errno;
    io_uring_queue_exit(&*ring);
    return Status::from_errno(error_number, "make an eventfd");
  }
  return std::unique_ptr<UringReactor>(new UringReactor(*ring, wake_fd));
}

UringReactor::UringReactor(const io_uring& ring, int wake_fd) : ring_(ring), wake_fd_(wake_fd) {}

UringReactor::~UringReactor() {
  CAIRN_ASSERT(!running_ && in_kernel_ == 0);
  // Callbacks may own objects whose destructors call back into this reactor (cancel, unwatch,
  // cancel_fd), so they go while every member is still whole.
  std::vector<IoDone> dropped;
  operations_.for_each([&](Operation& operation) { dropped.push_back(std::move(operation.done)); });
  dropped.clear();
  while (!timers_.empty()) timers_.pop();
  const auto tasks = std::move(posted_);
  const auto round = std::move(round_);
  const auto watches = std::move(watches_);
  const auto pollers = std::move(pollers_);
  std::vector<Task> foreign;
  {
    const std::lock_guard lock(foreign_mutex_);
    foreign.swap(foreign_);
  }
  io_uring_queue_exit(&ring_);
  ::close(wake_fd_);
}

// --- Executor

std::uint64_t UringReactor::now_ns() const {
  timespec now;
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void UringReactor::post(Task task) { posted_.push_back(std::move(task)); }

TimerId UringReactor::run_after(std::uint64_t delay_ns, Task task) {
  const std::uint64_t now = now_ns();
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t due = delay_ns < most - now ? now + delay_ns : most;
  return timers_.add(due, timer_rank_++, std::move(task));
}

void UringReactor::cancel(TimerId id) { timers_.cancel(id); }

void UringReactor::run_due_timers() {
  if (timers_.empty()) return;
  const std::uint64_t now = now_ns();
  while (!timers_.empty() && timers_.next_due_ns() <= now) {
    Task task = timers_.pop();
    task();
  }
}

void UringReactor::run_posted() {
  for (std::size_t count = 0; count < kTasksPerTurn; ++count) {
    if (round_next_ == round_.size()) {
      round_.clear();
      round_next_ = 0;
      if (posted_.empty()) return;
      round_.swap(posted_);
    }
    Task task = std::move(round_[round_next_++]);
    task();
  }
}

// --- Other threads

void UringReactor::wake() {
  const std::uint64_t one = 1;
  // It cannot fail: the counter is far from its limit, since the loop resets it.
  const ssize_t written = ::write(wake_fd_, &one, sizeof one);
  CAIRN_ASSERT(written == sizeof one);
}

void UringReactor::post_from_any_thread(Task task) {
  bool must_wake;
  {
    const std::lock_guard lock(foreign_mutex_);
    foreign_.push_back(std::move(task));
    foreign_waiting_.store(true, std::memory_order_release);
    must_wake = sleeping_;
    sleeping_ = false;
  }
  if (must_wake) wake();
}

void UringReactor::stop() {
  bool must_wake;
  {
    const std::lock_guard lock(foreign_mutex_);
    stop_requested_.store(true, std::memory_order_release);
    must_wake = sleeping_;
    sleeping_ = false;
  }
  if (must_wake) wake();
}

void UringReactor::take_foreign_tasks() {
  if (!foreign_waiting_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(foreign_mutex_);
  for (Task& task : foreign_) posted_.push_back(std::move(task));
  foreign_.clear();
  foreign_waiting_.store(false, std::memory_order_relaxed);
}

void UringReactor::arm_wake() {
  io_uring_sqe sqe;
  io_uring_prep_read(&sqe, wake_fd_, &wake_value_, sizeof wake_value_, 0);
  start(sqe, [this](int) { arm_wake(); });
}

// --- The loop

void UringReactor::start_on_this_thread() {
  if (!enabled_) {
    thread_ = std::this_thread::get_id();
    enable_ring(ring_);
    enabled_ = true;
    ask_for_short_turns();
    arm_wake();
  }
  CAIRN_ASSERT(thread_ == std::this_thread::get_id());
  // Saves the kernel a descriptor look-up per call; only this thread can use it, so it is
  // unregistered when run() returns. A refusal changes nothing else.
  io_uring_register_ring_fd(&ring_);
}

void UringReactor::run() {
  CAIRN_ASSERT(!running_);
  start_on_this_thread();
  running_ = true;
  while (!stop_requested_.load(std::memory_order_acquire)) {
    deliver_finished();
    take_foreign_tasks();
    run_due_timers();
    run_posted();
    submit_and_wait(choose_wait());
    handle_completions();
  }
  leave_kernel();
  io_uring_unregister_ring_fd(&ring_);
  stop_requested_.store(false, std::memory_order_release);
  running_ = false;
}

bool UringReactor::kernel_has_news() const {
  const unsigned flags = IO_URING_READ_ONCE(*ring_.sq.kflags);
  return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void UringReactor::check_enter(int result) const {
  // ETIME, EINTR: nothing came. EAGAIN, EBUSY: short of memory or of room for completions; the loop
  // collects and comes again. Anything else means that completions may be lost.
  CAIRN_ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
               result == -EBUSY);
}

void UringReactor::submit_and_wait(const Wait& wait) {
  put_backlog_in_ring();
  if (wait.block && backlog_.empty()) {
    ++enter_count_;
    if (wait.bounded) {
      __kernel_timespec timeout;
      timeout.tv_sec = static_cast<std::int64_t>(wait.timeout_ns / kNsPerSecond);
      timeout.tv_nsec = static_cast<long long>(wait.timeout_ns % kNsPerSecond);
      io_uring_cqe* unused = nullptr;
      check_enter(io_uring_submit_and_wait_timeout(&ring_, &unused, 1, &timeout, nullptr));
    } else {
      check_enter(io_uring_submit_and_wait(&ring_, 1));
    }
  } else if (io_uring_sq_ready(&ring_) != 0 || kernel_has_news()) {
    ++enter_count_;
    check_enter(io_uring_submit_and_get_events(&ring_));
  }
  is_awaited_ = has_unsubmitted();
  if (!wait.block) return;
  const std::lock_guard lock(foreign_mutex_);
  sleeping_ = false;
}

// --- Operations

Operation* UringReactor::start(const io_uring_sqe& sqe, IoDone done) {
  Operation* operation = operations_.take();
  operation->sqe = sqe;
  operation->sqe.user_data = reinterpret_cast<std::uintptr_t>(operation);
  operation->done = std::move(done);
  if (!takes_in(sqe)) is_awaited_ = true;
  backlog_.push_back(operation);
  if (running_) put_backlog_in_ring();
  return operation;
}

void UringReactor::put_backlog_in_ring() {
  while (!backlog_.empty()) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {
      ++enter_count_;
      const int submitted = io_uring_submit(&ring_);
      check_enter(submitted);
      if (submitted <= 0) return;
      continue;
    }
    Operation* operation = backlog_.front();
    backlog_.pop_front();
    *sqe = operation->sqe;
    operation->state = OperationState::in_kernel;
    ++in_kernel_;
  }
}

bool UringReactor::has_unsubmitted() const {
  return !backlog_.empty() || io_uring_sq_ready(&ring_) != 0;
}

void UringReactor::submit() {
  put_backlog_in_ring();
  if (io_uring_sq_ready(&ring_) != 0) {
    ++enter_count_;
    check_enter(io_uring_submit(&ring_));
  }
  is_awaited_ = has_unsubmitted();
}

// A submission entry for a cancellation, which must not queue behind the backlog.
io_uring_sqe* UringReactor::sqe_now() {
  while (true) {
    if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_); sqe != nullptr) return sqe;
    ++enter_count_;
    check_enter(io_uring_submit(&ring_));
  }
}

void UringReactor::handle_completions() {
  // Only those that are there now: what callbacks start belongs to the next batch.
  const unsigned ready = io_uring_cq_ready(&ring_);
  batch_yield_.collected(ready);
  for (unsigned left = ready; left > 0; --left) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) return;
    auto* operation = reinterpret_cast<Operation*>(static_cast<std::uintptr_t>(cqe->user_data));
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);      // before the callback: it may look at the ring itself
    if (operation == nullptr) continue;  // the answer to a cancellation
    --in_kernel_;
    deliver(operation, result);
  }
}

void UringReactor::deliver(Operation* operation, int result) {
  IoDone done = std::move(operation->done);
  operations_.give(operation);
  done(result);
}

void UringReactor::deliver_finished() {
  if (finished_.empty()) return;
  const std::vector<Operation*> batch = std::exchange(finished_, {});
  for (Operation* operation : batch) deliver(operation, operation->result);
}

// Takes everything back from the kernel; see the first invariant.
void UringReactor::leave_kernel() {
  while (in_kernel_ > 0) {
    io_uring_sqe* sqe = sqe_now();
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = 0;
    __kernel_timespec timeout{0, static_cast<long long>(kCancelRepeatNs)};
    // Two: the answer to the cancellation, and at least one that we wait for.
    io_uring_cqe* cqe = nullptr;
    check_enter(io_uring_submit_and_wait_timeout(&ring_, &cqe, 2, &timeout, nullptr));
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      auto* operation = reinterpret_cast<Operation*>(static_cast<std::uintptr_t>(cqe->user_data));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (operation == nullptr) continue;
      --in_kernel_;
      take_back(operation, result);
    }
  }
}

void UringReactor::take_back(Operation* operation, int result) {
  if (result == -ECANCELED && !operation->cancel_requested) {
    operation->state = OperationState::waiting;
    backlog_.push_back(operation);
    return;
  }
  finish(operation, result);
}

void UringReactor::finish(Operation* operation, int result) {
  operation->state = OperationState::finished;
  operation->result = result;
  finished_.push_back(operation);
}

void UringReactor::cancel_fd(int fd) {
  std::vector<Watch> dead;  // destroyed last: their callbacks may own anything
  for (auto entry = watches_.begin(); entry != watches_.end();) {
    if (entry->second.fd != fd) {
      ++entry;
      continue;
    }
    dead.push_back(std::move(entry->second));
    entry = watches_.erase(entry);
  }
  std::erase_if(backlog_, [&](Operation* operation) {
    if (operation->sqe.fd != fd) return false;
    finish(operation, -ECANCELED);
    return true;
  });
  if (!running_) return;
  bool pending = false;
  operations_.for_each([&](Operation& operation) {
    if (operation.state != OperationState::in_kernel || operation.sqe.fd != fd) return;
    operation.cancel_requested = true;
    pending = true;
  });
  if (!pending) return;
  io_uring_sqe* sqe = sqe_now();
  io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
  sqe->user_data = 0;
  // At once: the caller is about to close the descriptor, and its number may be used again before
  // the next turn of the loop.
  ++enter_count_;
  check_enter(io_uring_submit(&ring_));
}

void UringReactor::recv(int fd, MutableByteSpan into, IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_recv(&sqe, fd, into.data(), into.size(), 0);
  // Mostly the socket has just been emptied: a first try would find nothing.
  sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
  start(sqe, std::move(done));
}

void UringReactor::sendmsg(int fd, const msghdr* message, IoDone done) {
  io_uring_sqe sqe;
  // MSG_WAITALL: the kernel itself goes on after a full socket buffer.
  io_uring_prep_sendmsg(&sqe, fd, message, MSG_NOSIGNAL | MSG_WAITALL);
  start(sqe, std::move(done));
}

void UringReactor::accept(int fd, IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_accept(&sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
  start(sqe, std::move(done));
}

void UringReactor::connect(int fd, const sockaddr* address, socklen_t length, IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_connect(&sqe, fd, address, length);
  start(sqe, std::move(done));
}

void UringReactor::readv(int fd, std::span<const iovec> into, std::uint64_t offset, IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_readv(&sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
  start(sqe, std::move(done));
}

void UringReactor::writev(int fd, std::span<const iovec> from, std::uint64_t offset, int flags,
                          IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_writev2(&sqe, fd, from.data(), static_cast<unsigned>(from.size()), offset, flags);
  start(sqe, std::move(done));
}

void UringReactor::fdatasync(int fd, IoDone done) {
  io_uring_sqe sqe;
  io_uring_prep_fsync(&sqe, fd, IORING_FSYNC_DATASYNC);
  start(sqe, std::move(done));
}

int UringReactor::fdatasync_here(int fd) {
  CAIRN_ASSERT(running_);
  submit();
  while (::fdatasync(fd) != 0)
    if (errno != EINTR) return -errno;
  return 0;
}

void UringReactor::fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
                             IoDone done) {
  // Filled by hand: liburing 2.3 declares offset and length as off_t and narrows the mode.
  io_uring_sqe sqe;
  io_uring_prep_rw(IORING_OP_FALLOCATE, &sqe, fd, nullptr, static_cast<unsigned>(mode), offset);
  sqe.addr = length;
  start(sqe, std::move(done));
}

}  // namespace cairn::io
