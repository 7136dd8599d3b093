// Reading and writing descriptors in full over the reactor: short transfers go on, interrupted ones
// start again.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/buffer.hh"
#include "base/status.hh"
#include "io/reactor.hh"

namespace cairn::qcow2 {

// The offset of descriptors that have none: pipes, sockets, terminals.
constexpr std::uint64_t kStreamOffset = ~std::uint64_t{0};

// Makes waiting for the descriptor the kernel's business: the reactor reports EAGAIN on
// descriptors that say O_NONBLOCK. io_error.
Status make_blocking(int fd);

// length_bytes: how much was read; less than asked only at the end of the file. into must live
// until done has run.
using FileReadDone = UniqueFunction<void(Status, std::size_t length_bytes)>;
void read_fully(io::Reactor& reactor, int fd, MutableByteSpan into, std::uint64_t offset,
                FileReadDone done);
using FileWriteDone = UniqueFunction<void(Status)>;
void write_fully(io::Reactor& reactor, int fd, Buffer from, std::uint64_t offset,
                 FileWriteDone done);

}  // namespace cairn::qcow2
