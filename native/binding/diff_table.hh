// DiffTable: the diffs that a NativeClient reads, by number: first their headers, then what follows
// each header goes into a device.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "diff/diff_reader.hh"

namespace cairn::binding {

class DiffTable {
 public:
  explicit DiffTable(io::Reactor& reactor) : reactor_(reactor) {}
  ~DiffTable() { cancel_all(); }

  // A regular file is looked through first. The descriptor stays the caller's, and open.
  void open(int fd, std::function<void(Result<std::uint32_t>)> done);
  // nullptr: closed.
  std::shared_ptr<diff::DiffReader> find(std::uint32_t number) const;
  // The next event that is image, diff or finished; what the header is, the reader's parser has.
  using HeaderDone = std::function<void(Result<diff::EventKind>)>;
  static void next_header(const std::shared_ptr<diff::DiffReader>& reader, HeaderDone done);
  void close(std::uint32_t number);
  // Those that wait for bytes of a pipe.
  void cancel_all();

 private:
  io::Reactor& reactor_;
  std::map<std::uint32_t, std::shared_ptr<diff::DiffReader>> readers_;
  std::uint32_t next_number_ = 1;
  // Callbacks see by it that the table is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace cairn::binding
