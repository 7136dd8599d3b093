// The bytes of op_trace.hh.
#include "net/op_trace.hh"

namespace cairn::net {

void put(Writer& writer, const OpTrace& trace) {
  writer.put(trace.total_ns);
  writer.put(trace.queue_ns);
  writer.put(trace.disk_ns);
  writer.put(trace.replica_wait_ns);
  writer.put(trace.replica_ns);
  writer.put(trace.replica_commit_ns);
}

OpTrace get_op_trace(Reader& reader) {
  OpTrace trace;
  trace.total_ns = reader.get<std::uint64_t>();
  trace.queue_ns = reader.get<std::uint64_t>();
  trace.disk_ns = reader.get<std::uint64_t>();
  trace.replica_wait_ns = reader.get<std::uint64_t>();
  trace.replica_ns = reader.get<std::uint64_t>();
  trace.replica_commit_ns = reader.get<std::uint64_t>();
  return trace;
}

}  // namespace cairn::net
