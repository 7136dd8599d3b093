// Connections between processes of one machine: Unix stream sockets beside TCP, which cost less CPU
// time. A listener on HOST:PORT also listens under the abstract name "cairn/HOST:PORT" of its
// network namespace; a dialer tries that name first. docs/protocol/frame.md
//
// An abstract name has no permissions: any process of the namespace may take it. A dialer
// therefore asks the kernel who made the listener. A listener asks nothing: its TCP port is open to
// the same processes.
#pragma once

#include <string>

#include "net/socket.hh"

namespace cairn::net {

// A listening socket under the name of the address, whose port is not 0. address_in_use: somebody
// has the name. io_error: no Unix sockets here.
Result<OwnedFd> open_local_listener(const Address& address);

// A connection to who listens under the name of the address; never waits. not_found: nobody there,
// or the address is none of this machine's (any more). permission_denied: a process of another
// user, who is neither ours nor root, has the name. busy: it does not accept. In each case TCP is
// to be used.
Result<OwnedFd> connect_local(const Address& address);

// The options of a connection. kLocalSendBytes: what it holds before the sender has to wait. The
// kernel's own choice is 208 KiB, with which frames of 1 MiB cost a fifth more CPU time; more than
// this gains nothing.
constexpr int kLocalSendBytes = 512 << 10;
void configure_local(int fd);

// Who is at the other end, for logs: "a local process (pid 7, uid 0)".
std::string local_peer_text(int fd);

}  // namespace cairn::net
