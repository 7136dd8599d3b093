// Plain reads and writes of a device for users of the library. This is the one place where payload
// enters JavaScript, because the caller asks for just that; guests, NBD clients, benchmarks and
// copies never come here.
#pragma once

#include <napi.h>

#include "binding_promise.hh"
#include "image/block_device.hh"

namespace cairn::binding {

struct DeviceIo {
  enum class Kind : std::uint8_t { read, write, write_zeroes, flush };
  Kind kind = Kind::flush;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  bool may_unmap = false;
  Buffer data;  // of a write: a copy, so that the caller may use its array again
};

// The arguments behind the device handle: see readDevice and its neighbours in binding.d.ts.
DeviceIo get_device_io(const Napi::CallbackInfo& info, DeviceIo::Kind kind);
// On the core's thread.
void start_device_io(DeviceIo request, image::BlockDevice& device, const Promise& promise);

}  // namespace cairn::binding
