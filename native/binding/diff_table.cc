// Opening diffs and reading their headers: see diff_table.hh.
#include "diff_table.hh"

#include <utility>

namespace cairn::binding {

void DiffTable::open(int fd, std::function<void(Result<std::uint32_t>)> done) {
  auto opened = diff::DiffReader::open(reactor_, fd);
  if (!opened) return done(opened.status());
  (*opened)->check([this, alive = std::weak_ptr<bool>(alive_), reader = *opened,
                    done = std::move(done)](Status status) {
    if (!status) return done(status);
    if (alive.expired()) return done(Status(ErrorCode::canceled, "the client is closing"));
    readers_[next_number_] = reader;
    done(next_number_++);
  });
}

std::shared_ptr<diff::DiffReader> DiffTable::find(std::uint32_t number) const {
  const auto found = readers_.find(number);
  return found == readers_.end() ? nullptr : found->second;
}

void DiffTable::next_header(const std::shared_ptr<diff::DiffReader>& reader, HeaderDone done) {
  const Result<diff::DiffEvent> event = reader->next();
  if (!event) return done(event.status());
  switch (event.value().kind) {
    case diff::EventKind::need_bytes:
      return reader->fill([reader, done = std::move(done)](Status status) {
        if (!status) return done(status);
        next_header(reader, done);
      });
    case diff::EventKind::image:
    case diff::EventKind::diff:
    case diff::EventKind::finished:
      return done(event.value().kind);
    default:
      return done(Status(ErrorCode::invalid_argument, "the diff before was not imported"));
  }
}

void DiffTable::close(std::uint32_t number) {
  const auto reader = find(number);
  if (reader == nullptr) return;
  reader->cancel();
  readers_.erase(number);
}

void DiffTable::cancel_all() {
  for (const auto& [number, reader] : readers_) reader->cancel();
}

}  // namespace cairn::binding
