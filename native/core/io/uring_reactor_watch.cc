// Watches and pollers of UringReactor: how a front end learns that it has something to do.
#include <poll.h>

#include <cerrno>
#include <utility>

#include "io/uring_reactor.hh"

namespace cairn::io {

WatchId UringReactor::watch_readable(int fd, UniqueFunction<void()> ready) {
  const WatchId id = next_watch_id_++;
  Watch& watch = watches_.emplace(id, Watch{fd, std::move(ready), nullptr}).first->second;
  arm_watch(id, watch);
  return id;
}

// One poll per event, armed again after the callback: arming looks at the descriptor, so that the
// watch is level-triggered (a multishot poll reports edges only). It costs one submission entry,
// but no system call of its own.
void UringReactor::arm_watch(WatchId id, Watch& watch) {
  io_uring_sqe sqe;
  io_uring_prep_poll_add(&sqe, watch.fd, POLLIN | POLLRDHUP);
  watch.poll = start(sqe, [this, id](int result) { on_poll(id, result); });
}

void UringReactor::on_poll(WatchId id, int result) {
  auto found = watches_.find(id);
  if (found == watches_.end()) return;  // unwatched meanwhile
  found->second.poll = nullptr;
  if (result == -EBADF) {  // closed without cancel_fd: polling again would spin
    watches_.erase(found);
    return;
  }
  // The callback runs from here and not from the map: it may unwatch itself.
  UniqueFunction<void()> ready = std::move(found->second.ready);
  ready();
  found = watches_.find(id);
  if (found == watches_.end()) return;
  found->second.ready = std::move(ready);
  arm_watch(id, found->second);
}

void UringReactor::unwatch(WatchId id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  Operation* poll = found->second.poll;
  const auto watch = watches_.extract(found);  // destroyed last: its callback may own anything
  if (poll == nullptr) return;
  if (poll->state == OperationState::waiting && std::erase(backlog_, poll) != 0)
    finish(poll, -ECANCELED);
  if (poll->state != OperationState::in_kernel) return;  // its completion will find no watch
  poll->cancel_requested = true;
  io_uring_sqe* sqe = sqe_now();
  io_uring_prep_cancel(sqe, poll, 0);
  sqe->user_data = 0;
}

// --- Pollers

WatchId UringReactor::add_poller(std::uint64_t spin_ns, UniqueFunction<bool()> poll,
                                 UniqueFunction<bool()> before_sleep) {
  const WatchId id = next_watch_id_++;
  pollers_.push_back(std::make_unique<Poller>(
      Poller{id, spin_ns, std::move(poll), std::move(before_sleep), false}));
  return id;
}

void UringReactor::remove_poller(WatchId id) {
  for (const auto& poller : pollers_)
    if (poller->id == id) poller->removed = true;
}

bool UringReactor::ask_pollers(UniqueFunction<bool()> Poller::*question) {
  bool found = false;
  for (std::size_t i = 0; i < pollers_.size(); ++i) {  // a callback may add some
    Poller& poller = *pollers_[i];
    if (!poller.removed && poller.*question && (poller.*question)()) found = true;
  }
  std::erase_if(pollers_, [](const auto& poller) { return poller->removed; });
  return found;
}

}  // namespace cairn::io
