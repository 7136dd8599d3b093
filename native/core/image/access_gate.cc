// The order of opening, draining and failing: see access_gate.hh.
#include "image/access_gate.hh"

#include <utility>

namespace cairn::image {

namespace {

void call_all(std::vector<UniqueFunction<void()>>& list) {
  for (auto& call : std::exchange(list, {})) call();
}

}  // namespace

void AccessGate::emit(AccessEvent event) {
  if (handler_) handler_(event);
}

void AccessGate::defer(Waiting run) {
  if (!failed()) {
    waiting_.push_back(traced(std::move(run)));
    if (!std::exchange(asked_, true)) emit(AccessEvent::wanted);
    return;
  }
  executor_.post([why = failure_, run = std::move(run)]() mutable { run(std::move(why)); });
}

AccessGate::Waiting AccessGate::traced(Waiting run) const {
  if (tracing_ == nullptr || tracing_->current() == nullptr) return run;
  return [&clock = executor_, since_ns = executor_.now_ns(), tracing = tracing_,
          request = tracing_->current(), run = std::move(run)](Status status) mutable {
    request->waited(clock.now_ns() - since_ns);
    const objecter::TraceScope scope(tracing.get(), std::move(request));
    run(std::move(status));
  };
}

void AccessGate::operation_ended(const Status& status) {
  CAIRN_ASSERT(in_flight_ > 0);
  --in_flight_;
  const bool refused =
      status.code() == ErrorCode::fenced || status.code() == ErrorCode::blocklisted;
  if (refused && !failed()) {
    fail(status);
    emit(AccessEvent::fenced);
  }
  check_drained();
}

void AccessGate::check_drained() {
  if (in_flight_ == 0) call_all(draining_);
}

void AccessGate::open(net::Fence fence) {
  if (failed()) return;
  closed_ = false;
  fence_ = std::move(fence);
  // A request may close or fail the gate again: those behind it then wait, or fail, in order.
  auto waiting = std::exchange(waiting_, {});
  for (Waiting& run : waiting) run(Status::ok());
}

void AccessGate::close(UniqueFunction<void()> drained) {
  closed_ = true;
  asked_ = false;
  draining_.push_back(std::move(drained));
  check_drained();
}

void AccessGate::fail(Status why) {
  CAIRN_ASSERT(!why);
  if (failed()) return;
  failure_ = std::move(why);
  for (Waiting& run : std::exchange(waiting_, {})) {
    executor_.post([status = failure_, run = std::move(run)]() mutable { run(std::move(status)); });
  }
  released();  // nobody will say so any more
}

void AccessGate::begin_use() {
  if (users_++ > 0) return;
  asked_ = true;
  emit(AccessEvent::wanted);
}

void AccessGate::end_use(UniqueFunction<void()> done) {
  CAIRN_ASSERT(users_ > 0);
  // Without anybody who takes locks, none is to be released.
  if (--users_ > 0 || !handler_ || failed()) return done();
  releasing_.push_back(std::move(done));
  emit(AccessEvent::unused);
}

void AccessGate::released() { call_all(releasing_); }

}  // namespace cairn::image
