// Image: a BlockDevice striped over objects of a pool: byte o lies in object o / object_bytes,
// named PREFIX.%016x. TypeScript (client/image) reads the header and gives the layout; this class
// moves the bytes. An absent object or block reads as zeros. It keeps no cache: a completed write
// is durable on the acting set. Who may write, and when, its AccessGate says: an image that is
// opened as locked sends nothing before the gate has the lock's token.
#pragma once

#include <string>

#include "image/access_gate.hh"
#include "image/block_device.hh"
#include "objecter/objecter.hh"

namespace cairn::image {

struct ImageLayout {
  PoolId pool = 0;
  std::string object_prefix;  // "rbd_data.ID"
  std::uint64_t size_bytes = 0;
  std::uint64_t object_bytes = std::uint64_t{4} << 20;
  bool read_only = false;
  bool locked = false;  // used under the exclusive lock only
};

class Image : public BlockDevice {
 public:
  Image(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout);
  // After a resize; operations under way keep the size they started with.
  void set_size(std::uint64_t size_bytes) { layout_.size_bytes = size_bytes; }

  std::uint64_t size_bytes() const override { return layout_.size_bytes; }
  bool read_only() const override { return layout_.read_only; }
  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) override;
  void write(std::uint64_t offset, Buffer data, WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) override;
  void flush(WriteDone done) override;
  void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) override;
  void begin_use() override { gate_->begin_use(); }
  void end_use(UniqueFunction<void()> done) override { gate_->end_use(std::move(done)); }
  AccessGate& gate() { return *gate_; }

 private:
  struct Part {
    std::uint64_t object_number = 0;
    std::uint64_t object_offset = 0;
    std::uint64_t length_bytes = 0;
    std::uint64_t request_offset = 0;  // where the part lies in the request
  };
  std::vector<Part> split(std::uint64_t offset, std::uint64_t length_bytes) const;
  std::string object_name(std::uint64_t object_number) const;
  // out_of_range or read_only; ok when the range may be used.
  Status check(std::uint64_t offset, std::uint64_t length_bytes, bool writes) const;
  void fail(Status status, WriteDone done);
  // An operation on one object, under the gate's token.
  void submit(std::uint64_t object_number, const net::Step& step, Buffer data,
              objecter::OpDone done);
  void write_part(const Part& part, Buffer data, WriteDone done);
  void zero_part(const Part& part, net::StepCode code, bool edges, WriteDone done);

  io::Executor& executor_;
  objecter::Objecter& objecter_;
  ImageLayout layout_;
  // Shared with the operations in flight, which may end after this.
  std::shared_ptr<AccessGate> gate_;
};

}  // namespace cairn::image
