// Reactor: the real executor with descriptors. One thread runs run(); every other method but
// post_from_any_thread() and stop() belongs to that thread.
//
// While busy it batches: all completions of one wake-up are handled before the next submission, so
// that a batch costs one system call. When idle it sleeps in the kernel and uses no CPU. Pollers
// let a front end look at shared memory before sleeping (see add_poller).
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.hh"
#include "base/status.hh"
#include "io/executor.hh"

namespace cairn::io {

using WatchId = std::uint64_t;
// result: bytes or 0, or -errno
using IoDone = UniqueFunction<void(int result)>;

class Reactor : public Executor {
 public:
  // io_uring, probed; an error that names the remedy when the kernel forbids it (seccomp,
  // io_uring_disabled, memlock).
  static Result<std::unique_ptr<Reactor>> create();

  virtual void run() = 0;   // until stop()
  virtual void stop() = 0;  // from any thread
  virtual void post_from_any_thread(Task task) = 0;

  // Calls ready whenever fd has become readable, until unwatch. Level-triggered: the callback must
  // drain the descriptor, or is called again.
  virtual WatchId watch_readable(int fd, UniqueFunction<void()> ready) = 0;
  virtual void unwatch(WatchId id) = 0;

  // One-shot operations. The memory and the iovec array must live until done has run.
  virtual void recv(int fd, MutableByteSpan into, IoDone done) = 0;
  virtual void sendmsg(int fd, const msghdr* message, IoDone done) = 0;
  virtual void accept(int fd, IoDone done) = 0;
  virtual void connect(int fd, const sockaddr* address, socklen_t length, IoDone done) = 0;
  virtual void readv(int fd, std::span<const iovec> into, std::uint64_t offset, IoDone done) = 0;
  // flags: RWF_DSYNC or 0
  virtual void writev(int fd, std::span<const iovec> from, std::uint64_t offset, int flags,
                      IoDone done) = 0;
  virtual void fdatasync(int fd, IoDone done) = 0;
  // The same while the loop waits: no wake-ups, but nothing else is served meanwhile. Only inside
  // of run(). What was started before is handed to the kernel first, as far as it takes it. Returns
  // 0 or -errno.
  virtual int fdatasync_here(int fd) = 0;
  virtual void fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
                         IoDone done) = 0;
  // Cancels everything pending on the descriptor (their done runs with -ECANCELED). Call before
  // close().
  virtual void cancel_fd(int fd) = 0;

  // A poller is asked before each sleep whether it found work (true: do not sleep, ask again).
  // It is asked for at most spin_ns after the last time that any poller found work, so an idle
  // process never spins. Returns an id for remove_poller.
  // before_sleep, if given, is the last question before the thread sleeps in the kernel: there the
  // front end asks its peer for notifications again and looks once more. true: work came meanwhile
  // and was begun, do not sleep. false: nothing was begun.
  virtual WatchId add_poller(std::uint64_t spin_ns, UniqueFunction<bool()> poll,
                             UniqueFunction<bool()> before_sleep = nullptr) = 0;
  virtual void remove_poller(WatchId id) = 0;
};

}  // namespace cairn::io
