// What UringDisk asks of the ring, and who makes its flushes; see the header for its invariants.
#include "io/uring_disk_requests.hh"

#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include <cerrno>
#include <utility>

namespace cairn::io {

namespace {

// The block layer may cut a longer write, and would flush behind each part.
constexpr std::uint64_t kMaxFlushedWriteBytes = 128 * 1024;

}  // namespace

// Whether RWF_DSYNC makes it durable without a thread that waits. On a block device the request
// carries FUA, and where the device has a volatile cache but no FUA, the kernel's block layer adds
// the flush behind it by itself (Documentation/block/writeback_cache_control.rst). A file system
// leaves the flush to a worker: see join_sync.
bool UringDisk::Request::is_durable_by_itself() const {
  if (!durable) return false;
  return state->writes_through || (state->is_block_device && length <= kMaxFlushedWriteBytes);
}

bool UringDisk::refuse_outside(std::uint64_t offset, std::uint64_t length, DiskDone& done) {
  if (is_inside(offset, length, state_->size)) return false;
  state_->reactor.post([state = state_, done = std::move(done), offset, length]() mutable {
    if (!state->closed) done(outside(offset, length, state->size));
  });
  return true;
}

void UringDisk::read(std::uint64_t offset, Buffer into, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset));
  if (refuse_outside(offset, into.size(), done)) return;
  Request* request = state_->take_request(Request::Kind::read, offset, std::move(done));
  request->state = state_;
  request->add(std::move(into));
  state_->flush_place.read_seen(state_->reactor.now_ns());
  submit(request);
}

void UringDisk::write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset) && !from.empty());
  std::uint64_t length = 0;
  for (const Buffer& buffer : from) length += buffer.size();
  if (refuse_outside(offset, length, done)) return;
  Request* request = state_->take_request(Request::Kind::write, offset, std::move(done));
  request->state = state_;
  request->durable = durable;
  for (Buffer& buffer : from) request->add(std::move(buffer));
  submit(request);
}

void UringDisk::flush(DiskDone done) {
  Request* request = state_->take_request(Request::Kind::flush, 0, std::move(done));
  request->state = state_;
  join_sync(request);
}

void UringDisk::discard(std::uint64_t offset, std::uint64_t length, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset) && is_aligned(length) && length > 0);
  if (refuse_outside(offset, length, done)) return;
  Request* request = state_->take_request(Request::Kind::discard, offset, std::move(done));
  request->state = state_;
  request->length = length;
  submit(request);
}

// Hands the request, or what is left of it, to the ring.
void UringDisk::submit(Request* request) {
  State& state = *request->state;
  // The closure owns the request: a reactor that goes away frees it.
  IoDone done = [owned = std::unique_ptr<Request>(request)](int result) mutable {
    complete(owned.release(), result);
  };
  const std::uint64_t offset = request->offset + request->moved;
  const std::size_t count =
      std::min<std::size_t>(request->vectors.size() - request->next_vector, IOV_MAX);
  const std::span<const iovec> vectors(request->vectors.data() + request->next_vector, count);
  switch (request->kind) {
    case Request::Kind::read:
      state.reactor.readv(state.fd, vectors, offset, std::move(done));
      break;
    case Request::Kind::write:
      state.reactor.writev(state.fd, vectors, offset,
                           request->is_durable_by_itself() ? RWF_DSYNC : 0, std::move(done));
      break;
    case Request::Kind::discard:
      // For a block device too: its fallocate unmaps like BLKDISCARD, but does not block us.
      state.reactor.fallocate(state.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                              request->length, std::move(done));
      break;
    case Request::Kind::flush:
      CAIRN_ASSERT(false);  // goes through join_sync
  }
}

void UringDisk::complete(Request* request, int result) {
  if (request->kind == Request::Kind::read)
    request->state->flush_place.read_seen(request->state->reactor.now_ns());
  if (result == -EINTR) return submit(request);
  if (result < 0) {
    // What has failed may be the flush that the kernel makes behind such a write.
    if (request->is_durable_by_itself() && result != -ECANCELED)
      request->state->has_lost_writes = true;
    return finish(request, failure(*request, -result));
  }
  if (request->kind == Request::Kind::discard) return finish(request, Status::ok());
  request->advance(static_cast<std::uint64_t>(result));
  if (request->moved < request->length) {
    const bool goes_on = request->kind == Request::Kind::write && result > 0;
    if (goes_on) return submit(request);
    return finish(
        request, short_transfer(request->name(), request->offset, request->length, request->moved));
  }
  const bool needs_sync = request->durable && !request->is_durable_by_itself();
  if (needs_sync && !request->state->closed) return join_sync(request);
  finish(request, Status::ok());
}

Status UringDisk::failure(const Request& request, int error_number) {
  if (request.kind == Request::Kind::discard && error_number == EOPNOTSUPP)
    return Status::ok();  // a hint
  if (error_number == ECANCELED)
    return {ErrorCode::canceled, std::string("the ") + request.name() + " was cancelled"};
  return Status::from_errno(error_number, std::string(request.name()) + " " + request.state->path);
}

// Flushes, and durable writes whose bytes have been written, wait here for the next fdatasync.
// Those of one turn of the loop share it.
//
// Why not always RWF_DSYNC: where the device must be flushed, ext4 completes such a direct write in
// a kernel worker that is bound to one CPU. As soon as the CPUs are busy it waits a whole time
// slice (3.6 ms measured), where io_uring's own worker goes to the other CPU (110 us), and the
// reactor's thread is mostly running already. A link in the ring saves nothing over two submissions
// and could not be shared. Where the device needs no flush, nobody has to wait for one, and the
// kernel's worker has little to do (a kernel of 6.18: 0.29 ms at depth 1 on three OSDs, with the
// ring's 0.36).
void UringDisk::join_sync(Request* request) {
  State& state = *request->state;
  state.sync_waiters.emplace_back(request);
  if (state.sync_waiters.size() > 1) return;
  state.reactor.post([state = request->state] {
    // Behind what this turn has still to send: nobody is to wait for it but those who write.
    if (state->may_flush_here())
      state->reactor.post([state] { start_sync(state); });
    else
      start_sync(state);
  });
}

void UringDisk::start_sync(std::shared_ptr<State> state) {
  if (state->sync_waiters.empty()) return;  // the disk has gone
  const bool here = state->may_flush_here();
  auto waiters = std::exchange(state->sync_waiters, {});
  if (here) {
    const std::uint64_t start_ns = state->reactor.now_ns();
    const int result = state->reactor.fdatasync_here(state->fd);
    ++state->flush_counts.own_thread;
    finish_sync(*state, std::move(waiters), start_ns, result);
  } else {
    flush_by_worker(std::move(state), std::move(waiters));
  }
}

void UringDisk::flush_by_worker(std::shared_ptr<State> state,
                                std::vector<std::unique_ptr<Request>> waiters) {
  Reactor& reactor = state->reactor;
  const int fd = state->fd;
  state->flush_place.worker_began();
  ++state->flush_counts.worker;
  reactor.fdatasync(fd, [state = std::move(state), waiters = std::move(waiters),
                         start_ns = reactor.now_ns()](int result) mutable {
    state->flush_place.worker_ended();
    if (result == -EINTR) return flush_by_worker(std::move(state), std::move(waiters));
    finish_sync(*state, std::move(waiters), start_ns, result);
  });
}

// result: 0 or -errno
void UringDisk::finish_sync(State& state, std::vector<std::unique_ptr<Request>> waiters,
                            std::uint64_t start_ns, int result) {
  state.flush_place.flushed(state.reactor.now_ns() - start_ns);
  const Status outcome = state.flush_outcome(-result);
  for (auto& waiter : waiters) finish(waiter.release(), outcome);
}

// Recycles the request and tells its owner.
void UringDisk::finish(Request* request, Status status) {
  DiskDone done = std::move(request->done);
  const std::shared_ptr<State> state = std::move(request->state);
  state->give_request(std::unique_ptr<Request>(request));
  if (!state->closed) done(std::move(status));
}

}  // namespace cairn::io
